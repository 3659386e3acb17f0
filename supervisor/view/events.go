package view

import (
	"sync"

	"github.com/zinit/zinit/rpc/wire"
)

// EventLog keeps the last transitions by number. The driver appends; any goroutine reads. The lock is held for a copy
// only, and never by anybody who waits for the driver.
type EventLog struct {
	mu   sync.Mutex
	ring []wire.Event
	base uint64        // number of the first event of this server's life, at slot 0
	next uint64        // number of the next event, from 1
	more chan struct{} // closed and replaced at each append
}

// NewEventLog makes an empty log whose first event gets the number next, at least 1.
func NewEventLog(next uint64) *EventLog {
	next = max(next, 1)
	return &EventLog{base: next, next: next, more: make(chan struct{})}
}

// Append numbers the events and wakes the followers once.
func (l *EventLog) Append(evs []wire.Event) {
	if len(evs) == 0 {
		return
	}
	l.mu.Lock()
	for _, e := range evs {
		e.Seq = l.next
		l.next++
		if len(l.ring) < EventsKept {
			l.ring = append(l.ring, e)
		} else {
			l.ring[l.slot(e.Seq)] = e
		}
	}
	close(l.more)
	l.more = make(chan struct{})
	l.mu.Unlock()
}

// Since returns up to limit events with Seq >= seq, the number to go on with, how many are lost, and a channel that
// is closed when there is more.
func (l *EventLog) Since(seq uint64, limit int) (evs []wire.Event, next, missed uint64, more <-chan struct{}) {
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

func (l *EventLog) slot(seq uint64) uint64 { return (seq - l.base) % EventsKept }

// End is the number of the next event.
func (l *EventLog) End() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}
