package supervisor

import (
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
)

// TestEventLog compares the ring with a plain slice, over its wrap and from any number on.
func TestEventLog(t *testing.T) {
	for _, first := range []uint64{1, 5000} {
		l := newEventLog(first)
		var all []wire.Event
		for i := range 3 * eventsKept / 1000 {
			batch := make([]wire.Event, 1000)
			for j := range batch {
				batch[j] = wire.Event{Service: "s", PID: i*1000 + j}
			}
			l.append(batch)
			all = append(all, batch...)
		}
		end := first + uint64(len(all))
		if l.end() != end {
			t.Fatalf("end %d, want %d", l.end(), end)
		}
		for _, from := range []uint64{0, 1, first, end - eventsKept - 1, end - eventsKept, end - eventsKept + 1, end - 1, end} {
			checkEvents(t, l, all, first, from)
		}
	}
}

func checkEvents(t *testing.T, l *eventLog, all []wire.Event, first, from uint64) {
	t.Helper()
	oldest := first + uint64(len(all)) - eventsKept
	got, next, missed, _ := l.since(from, 10)
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
		l := newEventLog(1)
		_, _, _, more := l.since(1, 10)
		go func() {
			time.Sleep(time.Hour) // of the bubble's clock
			l.append([]wire.Event{{Service: "a"}})
		}()
		<-more
		if evs, _, _, _ := l.since(1, 10); len(evs) != 1 || evs[0].Seq != 1 {
			t.Errorf("%+v", evs)
		}
	})
}

// TestWatchMissesNoView: whoever waits after looking is woken by the next View, however the two race.
func TestWatchMissesNoView(t *testing.T) {
	var p viewPublisher
	p.store(&View{})
	const last = 2000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				v, changed := p.watch()
				if len(v.Entries) == last {
					return
				}
				<-changed
			}
		})
	}
	for i := range last {
		p.store(&View{Entries: make([]*Entry, i+1)})
	}
	wg.Wait()
}

// TestClosure: removal with cascade takes everything that transitively requires or binds, nothing that only wants or
// follows.
func TestClosure(t *testing.T) {
	config := func(name string, deps graph.Deps) *graph.Config {
		return &graph.Config{Name: name, Exec: graph.Command{Line: "true"}, Deps: deps}
	}
	g := graph.New([]*graph.Config{
		config("db", graph.Deps{}),
		config("api", graph.Deps{Requires: []string{"db"}}),
		config("web", graph.Deps{Binds: []string{"api"}}),
		config("fan", graph.Deps{Wants: []string{"db"}, After: []string{"api"}}),
	}, nil)
	id, _ := g.Lookup("db")
	all, dependents := closure(g, id)
	if len(all) != 3 || all[0] != "db" || len(dependents) != 2 || dependents[0] != "api" || dependents[1] != "web" {
		t.Errorf("closure of db: %v %v", all, dependents)
	}
}

// TestReasonsAreWords: every reason has 0.3.9's word, its members, and a phrase.
func TestReasonsAreWords(t *testing.T) {
	for r := machine.ReasonExitCode; r <= machine.ReasonMissingDependency; r++ {
		reason := machine.Reason{Type: r, Code: 3, Signal: 9, Attempts: 2, Service: "db", Detail: "detail"}
		w := wireReason(reason)
		if w == nil || w.Type == "" || reasonPhrase(reason) == "" {
			t.Errorf("reason %d: %+v %q", r, w, reasonPhrase(reason))
		}
	}
	if wireReason(machine.Reason{}) != nil {
		t.Error("no reason became one")
	}
}

// TestPoolReplacesAStuckWorker: a spawn that hangs holds up no other for longer than spawnStuck.
func TestPoolReplacesAStuckWorker(t *testing.T) {
	words := make(chan func(), 64)
	p := newSpawnPool(func(w func()) { words <- w }, false)
	hang, done := make(chan struct{}), make(chan struct{})
	for range spawners {
		p.submit(func() func() { <-hang; return func() {} })
	}
	p.submit(func() func() { close(done); return func() {} })
	deadline := time.After(20 * time.Second)
	for finished := false; !finished; {
		select {
		case w := <-words:
			w()
			p.feed()
		case <-done:
			finished = true
		case <-deadline:
			t.Fatal("the second job waits for the first")
		}
	}
	close(hang)
}

// TestBirthClock: the clock and /proc agree, also once /proc is no longer asked.
func TestBirthClock(t *testing.T) {
	var b birthClock
	for range 20 {
		began := b.begin()
		pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "100"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		got, want := b.of(pid, began), startTime(pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		if got != want || want == 0 {
			t.Fatalf("start time %d, /proc says %d", got, want)
		}
	}
	if b.wrong.Load() {
		t.Error("the clock was found wrong")
	}
	wrong := birthClock{}
	wrong.proved.Store(birthProofs)
	wrong.wrong.Store(true)
	if got := wrong.of(os.Getpid(), wrong.begin()); got != startTime(os.Getpid()) {
		t.Errorf("a clock that is wrong was believed: %d", got)
	}
}
