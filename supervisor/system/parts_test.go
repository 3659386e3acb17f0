package system

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/deadmount"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestPoolReplacesAStuckWorker: a spawn that hangs holds up no other for longer than spawnStuck.
func TestPoolReplacesAStuckWorker(t *testing.T) {
	words := make(chan func(), 64)
	p := newSpawnPool(func(w func()) { words <- w }, false)
	hang, done := make(chan struct{}), make(chan struct{})
	for range spawners {
		p.submit(nil, func() func() { <-hang; return func() {} })
	}
	p.submit(nil, func() func() { close(done); return func() {} })
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

// TestAStartThatCannotReachItsFiles: a start that waits for a file system which does not answer keeps no worker, and can be
// called off.
func TestAStartThatCannotReachItsFiles(t *testing.T) {
	dead := deadmount.New(t)
	words := make(chan func(), 64)
	p := newSpawnPool(func(w func()) { words <- w }, false)
	var hang []*job
	before := runtime.NumGoroutine()
	for range 2 * spawnersMax {
		hang = append(hang, p.submit([]string{dead + "/program"}, func() func() { t.Error("begun"); return func() {} }))
	}
	done := make(chan struct{})
	p.submit([]string{"/"}, func() func() { close(done); return func() {} })
	for finished := false; !finished; {
		select {
		case w := <-words:
			w()
		case <-done:
			finished = true
		case <-time.After(wait.Patience):
			t.Fatal("a start waits for one that hangs")
		}
	}
	(<-words)()
	if n := runtime.NumGoroutine() - before; n > spawners+2 {
		t.Errorf("%d goroutines for one question", n)
	}
	if n := len(p.workers); n != spawners {
		t.Errorf("%d workers", n)
	}
	for _, j := range hang {
		if !p.callOff(j) || p.callOff(j) {
			t.Error("it cannot be called off once")
		}
	}
	if p.left != 0 || p.busy() {
		t.Errorf("%d jobs are left, busy %v", p.left, p.busy())
	}
	later := p.submit([]string{dead + "/program"}, func() func() { return func() {} })
	if p.callOff(hang[0]) || p.left != 1 {
		t.Error("one that was called off counts for a later one")
	}
	deadmount.Abort(dead)
	(<-words)() // the answer, too late for all but the last
	(<-words)()
	if !later.begun || len(p.asked) != 0 {
		t.Errorf("the last is begun: %v, %d questions are open", later.begun, len(p.asked))
	}
	if len(p.pending) != 0 || p.left != 0 {
		t.Error("what was called off is begun")
	}
}
