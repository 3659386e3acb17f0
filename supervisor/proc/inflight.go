package proc

import (
	"os"
	"sync/atomic"
)

// forking counts the starts that are under way, forked all that ever began. Until its exec a child looks like the
// supervisor itself, so who looks at processes meanwhile must take care.
var forking, forked atomic.Int64

func beginFork() { forked.Add(1); forking.Add(1) }
func endFork()   { forking.Add(-1) }

// watchForks returns a function that tells whether no start was under way since the call of watchForks.
func watchForks() (quiet func() bool) {
	before, busy := forked.Load(), forking.Load() > 0
	return func() bool { return !busy && forked.Load() == before }
}

// beforeExec reports whether a process runs our own program, as a child does that Start has forked but that has not
// executed yet.
func beforeExec(pid int) bool {
	exe := Executable(pid)
	return exe != "" && exe == Executable(os.Getpid())
}
