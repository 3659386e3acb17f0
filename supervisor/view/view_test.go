package view

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

// TestEventLog compares the ring with a plain slice, over its wrap and from any number on.
func TestEventLog(t *testing.T) {
	for _, first := range []uint64{1, 5000} {
		l := NewEventLog(first)
		var all []wire.Event
		for i := range 3 * EventsKept / 1000 {
			batch := make([]wire.Event, 1000)
			for j := range batch {
				batch[j] = wire.Event{Service: "s", PID: i*1000 + j}
			}
			l.Append(batch)
			all = append(all, batch...)
		}
		end := first + uint64(len(all))
		if l.End() != end {
			t.Fatalf("end %d, want %d", l.End(), end)
		}
		for _, from := range []uint64{0, 1, first, end - EventsKept - 1, end - EventsKept, end - EventsKept + 1, end - 1, end} {
			checkEvents(t, l, all, first, from)
		}
	}
}

func checkEvents(t *testing.T, l *EventLog, all []wire.Event, first, from uint64) {
	t.Helper()
	oldest := first + uint64(len(all)) - EventsKept
	got, next, missed, _ := l.Since(from, 10)
	start := max(from, 1, oldest)
	if want := start - max(from, 1); missed != want {
		t.Errorf("since(%d): missed %d, want %d", from, missed, want)
	}
	if next != start+uint64(len(got)) {
		t.Errorf("since(%d): next %d after %d events from %d", from, next, len(got), start)
	}
	for i, e := range got {
		if e.Seq != start+uint64(i) || e.PID != all[e.Seq-first].PID {
			t.Errorf("since(%d): event %d is %+v", from, i, e)
		}
	}
}

// TestEventLogWakes: a follower sleeps until there is more.
func TestEventLogWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewEventLog(1)
		_, _, _, more := l.Since(1, 10)
		go func() {
			time.Sleep(time.Hour) // of the bubble's clock
			l.Append([]wire.Event{{Service: "a"}})
		}()
		<-more
		if evs, _, _, _ := l.Since(1, 10); len(evs) != 1 || evs[0].Seq != 1 {
			t.Errorf("%+v", evs)
		}
	})
}

// TestWatchMissesNoView: whoever waits after looking is woken by the next View, however the two race.
func TestWatchMissesNoView(t *testing.T) {
	var p Publisher
	p.Store(&View{})
	const last = 2000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				v, changed := p.Watch()
				if len(v.Entries) == last {
					return
				}
				<-changed
			}
		})
	}
	for i := range last {
		p.Store(&View{Entries: make([]*Entry, i+1)})
	}
	wg.Wait()
}
