package proc

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// forking counts the starts that are under way, forked all that ever began. Until its exec a child looks like the
// supervisor itself, so who looks at processes meanwhile must take care.
var forking, forked atomic.Int64

func beginFork() { forked.Add(1); forking.Add(1); forkers.add(unix.Gettid()) }
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

// threads is a set of the ids of threads or processes.
type threads struct{ ids sync.Map }

// forkers are the threads that ever called Start. Only they and the first thread, which gets the orphans and the children
// of threads that have ended, can have children; a Go process has a dozen more, and asking those makes up much of what a
// restart costs.
var forkers threads

// remove takes an id out; one that is not in it is no error.
func (t *threads) remove(id int) { t.ids.Delete(id) }

func (t *threads) add(id int) {
	if _, ok := t.ids.Load(id); !ok {
		t.ids.Store(id, struct{}{})
	}
}

// unlisted are the children that Start has made where nothing else lists them, until they are reaped.
var unlisted threads

// started appends the children that Start has made, and the orphans where /proc tells.
func started(into []int) []int {
	if !usable() {
		unlisted.ids.Range(func(id, _ any) bool {
			into = append(into, id.(int))
			return true
		})
		return into
	}
	self := os.Getpid()
	into = adoptedBy(into, self)
	base := "/proc/" + strconv.Itoa(self) + "/task/"
	forkers.ids.Range(func(id, _ any) bool {
		if tid := id.(int); tid != self {
			into, _ = childrenOfThread(into, base+strconv.Itoa(tid))
		}
		return true
	})
	return into
}
