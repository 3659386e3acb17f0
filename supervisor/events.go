package supervisor

import (
	"sync"

	"github.com/zinit/zinit/rpc/wire"
)

// eventLog keeps the last transitions by number. The driver appends; any goroutine reads. The lock is held for a copy
// only, and never by anybody who waits for the driver.
type eventLog struct {
	mu   sync.Mutex
	ring []wire.Event
	base uint64        // number of the first event of this server's life, at slot 0
	next uint64        // number of the next event, from 1
	more chan struct{} // closed and replaced at each append
}

func newEventLog(next uint64) *eventLog {
	next = max(next, 1)
	return &eventLog{base: next, next: next, more: make(chan struct{})}
}

// append numbers the events and wakes the followers once.
func (l *eventLog) append(evs []wire.Event) {
	if len(evs) == 0 {
		return
	}
	l.mu.Lock()
	for _, e := range evs {
		e.Seq = l.next
		l.next++
		if len(l.ring) < eventsKept {
			l.ring = append(l.ring, e)
		} else {
			l.ring[l.slot(e.Seq)] = e
		}
	}
	close(l.more)
	l.more = make(chan struct{})
	l.mu.Unlock()
}

// since returns up to limit events with Seq >= seq, the number to go on with, how many are lost, and a channel that
// is closed when there is more.
func (l *eventLog) since(seq uint64, limit int) (evs []wire.Event, next, missed uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.next - uint64(len(l.ring))
	seq = max(seq, 1)
	if seq < first {
		missed, seq = first-seq, first
	}
	for seq < l.next && len(evs) < limit {
		evs = append(evs, l.ring[l.slot(seq)])
		seq++
	}
	return evs, max(seq, 1), missed, l.more
}

func (l *eventLog) slot(seq uint64) uint64 { return (seq - l.base) % eventsKept }

// end is the number of the next event.
func (l *eventLog) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}
