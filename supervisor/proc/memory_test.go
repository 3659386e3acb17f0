package proc

import (
	"os"
	"sync/atomic"
	"testing"

	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestAProcessThatCannotBeReadHoldsUpNobody: the memory of a process may never come, when it waits for a file system that has
// gone away. A look goes on without it, and the next ones do not even try until the first try has ended.
func TestAProcessThatCannotBeReadHoldsUpNobody(t *testing.T) {
	pid := os.Getpid()
	never, tries := make(chan struct{}), atomic.Int32{}
	read := func() ([]byte, error) {
		tries.Add(1)
		<-never
		return []byte("late"), nil
	}
	for range 3 {
		if data, err := patiently(pid, read); err != errHangs {
			t.Fatalf("%q %v", data, err)
		}
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("%d tries hang, not one", n)
	}
	close(never)
	wait.For(t, "the process to be read again", func() bool { _, ok := Variable(pid, "PATH"); return ok })
	if data, err := patiently(pid, read); err != nil || string(data) != "late" {
		t.Errorf("%q %v", data, err)
	}
}
