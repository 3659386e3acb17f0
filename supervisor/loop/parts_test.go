package loop

import (
	"os"
	"syscall"
	"testing"
	"time"
)

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
