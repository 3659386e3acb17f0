package loop_test

import (
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/system"
	"github.com/zinit/zinit/supervisor/view"
)

// threadCPU is the processor time that the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// newLoop is a loop with real processes and a journal.
func newLoop(t *testing.T) (*loop.Loop, *system.System) {
	t.Helper()
	arena, err := logring.New(32 << 20)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Create()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	o := &loop.Options{Environ: proc.BaseEnviron([]string{"PATH=/bin:/usr/bin"}), Log: log, Arena: arena, Journal: j,
		Jobs: jobs.Open("", "jobs", log)}
	world, err := system.New(o)
	if err != nil {
		t.Fatal(err)
	}
	o.World = world
	return loop.New(*o), world
}

// services is a configuration of n services that wait to be asked for.
func services(t *testing.T, n int, exec string) *view.Definitions {
	t.Helper()
	ds := &view.Definitions{Configs: map[string]*graph.Config{}}
	for i := range n {
		name := fmt.Sprintf("s%04d", i)
		c, problems := confdir.Parse(name+".toml", []byte("[service]\nname = \""+name+"\"\nexec = \""+exec+"\"\nstatus = \"stop\"\n"), confdir.Options{})
		if c == nil {
			t.Fatal(problems)
		}
		ds.Configs[name] = c
	}
	return ds
}

// turns runs a loop and measures its turns.
type turns struct {
	*loop.Loop
	t       *testing.T
	code    chan int
	ended   chan struct{}
	longest time.Duration            // of the phase that goes on; the loop's own
	best    map[string]time.Duration // by phase: of the longest turns of several rounds the shortest, since a busy machine makes one longer
}

func measure(t *testing.T, ds *view.Definitions) *turns {
	l, world := newLoop(t)
	m := &turns{Loop: l, t: t, code: make(chan int), ended: make(chan struct{}), best: map[string]time.Duration{}}
	m.Load(ds, ds.Graph(), nil, "")
	signal.Notify(world.SIGCHLD(), unix.SIGCHLD)
	t.Cleanup(func() { signal.Reset(unix.SIGCHLD) })
	go func() {
		runtime.LockOSThread()
		world.ServeForks(m.code)
	}()
	go func() {
		defer close(m.ended)
		runtime.LockOSThread()
		m.Begin()
		for !m.Halted() {
			before := threadCPU()
			m.Turn()
			m.longest = max(m.longest, threadCPU()-before)
		}
	}()
	return m
}

// phase does something, and waits until it is so for all services.
func (m *turns) phase(name string, do func(), ok func(*view.Entry) bool) {
	m.t.Helper()
	m.now(func() { m.longest = 0 })
	do()
	for {
		v, changed := m.Window().Views.Watch()
		late := slices.IndexFunc(v.Entries, func(e *view.Entry) bool { return !ok(e) })
		if late < 0 {
			break
		}
		select {
		case <-changed:
		case <-time.After(wait.Patience):
			m.t.Fatalf("%s: timed out, one is %+v", name, v.Entries[late].Info)
		}
	}
	m.now(func() {
		if best, known := m.best[name]; !known || m.longest < best {
			m.best[name] = m.longest
		}
	})
}

// now runs a word and waits for it.
func (m *turns) now(word func()) {
	done := make(chan struct{})
	m.Do(func() { word(); close(done) })
	<-done
}

// TestNoTurnIsLong: whatever is asked of two hundred services at once, no turn of the loop takes longer than 5 ms of its
// thread's time, so that whoever asks for something else waits no longer than that.
func TestNoTurnIsLong(t *testing.T) {
	const many, rounds, limit = 200, 3, loop.Slowness * 5 * time.Millisecond
	loaded := services(t, many, "sleep 1000")
	m := measure(t, loaded)
	all := func(*view.Entry) bool { return true }
	runs := func(e *view.Entry) bool { return e.Info.State == machine.Running }
	for round := range rounds {
		m.phase("start", func() { m.Bulk(machine.VerbStart, all) }, runs)
		exec := fmt.Sprintf("sleep %d", 1001+round)
		m.phase("reload", func() {
			next := services(t, many, exec)
			g := next.Graph()
			plan := graph.Diff(loaded.Graph(), g, func(string) bool { return true }, func(string) []string { return nil })
			if refused, ok := m.Reload(next, g, plan); !ok || len(refused) > 0 {
				t.Fatal(refused)
			}
			loaded = next
		}, func(e *view.Entry) bool {
			return runs(e) && e.Config.Exec.Line == exec && e.Run != nil && e.Run.PID == e.Info.PID
		})
		m.phase("stop", func() { m.Bulk(machine.VerbStop, all) }, func(e *view.Entry) bool { return !view.Active(e.Info.State) })
	}
	m.Shutdown("stop")
	<-m.ended
	m.code <- 0
	for name, took := range m.best {
		t.Log(name, took)
		if took > limit {
			t.Errorf("%s: a turn took %v", name, took)
		}
	}
}
