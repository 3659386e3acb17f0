// Package mark is the sign by which the processes of a supervisor are recognised: a number in a
// resource limit that limits nothing. Children inherit it over fork, exec, setsid and a change of
// user, and everybody may read it in /proc/PID/limits, while environment, descriptors and program
// of another user's process are kept from a supervisor without CAP_SYS_PTRACE.
//
// It knows nothing of services, so that process 1 can read marks too; what the number says is the
// affair of supervisor/proc.
package mark

import (
	"bytes"
	"errors"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// limits are the limits that can carry a mark, in the order in which they are tried, with their
// names in /proc/PID/limits. As a limit a mark means nothing: 300,000 years of realtime processor
// time without a break, and a number of file locks that the kernel has not counted since 2.4.25.
var limits = [...]struct {
	number int
	name   string
}{
	{unix.RLIMIT_RTTIME, "Max realtime timeout"},
	{unix.RLIMIT_LOCKS, "Max file locks"},
}

// Values are the soft and the hard value of each limit that can carry a mark.
type Values [2 * len(limits)]uint64

// ErrNotAllowed says that the kernel does not let us read the limits of that process: it runs as
// another user, and we lack CAP_SYS_RESOURCE. /proc/PID/limits tells then; see Parse.
var ErrNotAllowed = errors.New("the limits of the process may not be read")

// Is reports whether the value of a limit is a mark: the highest bit is set, and it is not the word
// for no limit.
func Is(value uint64) bool { return value>>63 != 0 && value != unix.RLIM_INFINITY }

// Place is the limit that carries the marks of what this process starts, unless taken says of one
// that it is needed for something else: the first that was not limited when this process began. A
// supervisor that is itself somebody's service leaves that one's mark alone. -1 = there is none, as
// on a 32-bit machine, where limits have no room for a mark.
func Place(taken func(limit int) bool) int {
	if bits.UintSize < 64 {
		return -1
	}
	own := inherited()
	for i, l := range limits {
		if own[2*i] == unix.RLIM_INFINITY && own[2*i+1] == unix.RLIM_INFINITY && !taken(l.number) {
			return l.number
		}
	}
	return -1
}

// inherited is what this process was started with.
var inherited = sync.OnceValue(func() Values {
	own, _ := Read(0)
	return own
})

// under is held while this process carries a mark for a child that is being forked.
var under sync.Mutex

// forkLimit is how long a fork may take until another may begin: the kernel copies the limits first,
// and what takes so long is the execution of a program on a disk that does not answer.
const forkLimit = 500 * time.Millisecond

// Under runs a fork of a child that is to be born with a mark: one that was marked later could have
// forked before. The soft value is enough, and can be set without any right; this process has it for
// as long as fork runs, so no other fork runs beside it.
func Under(place int, value uint64, fork func()) {
	under.Lock()
	if place < 0 || value == 0 {
		defer under.Unlock()
		fork()
		return
	}
	set(0, place, value, unix.RLIM_INFINITY)
	end := sync.OnceFunc(func() {
		set(0, place, unix.RLIM_INFINITY, unix.RLIM_INFINITY)
		under.Unlock()
	})
	timer := time.AfterFunc(forkLimit, end)
	fork()
	timer.Stop()
	end()
}

// Seal makes the mark of a child one that only CAP_SYS_RESOURCE can take off. It needs the same user
// and group as the child's, or that capability; without them the mark can be taken off, by a process
// that means to.
func Seal(pid, place int, value uint64) { set(pid, place, value, value) }

func set(pid, place int, soft, hard uint64) {
	if place >= 0 {
		_ = unix.Prlimit(pid, place, &unix.Rlimit{Cur: soft, Max: hard}, nil)
	}
}

// Read returns the values of a process, which may be a zombie; 0 is this one. The error is
// ErrNotAllowed, or that of prlimit(2).
func Read(pid int) (v Values, err error) {
	for i, l := range limits {
		var limit unix.Rlimit
		switch err := unix.Prlimit(pid, l.number, nil, &limit); {
		case err == unix.EPERM:
			return v, ErrNotAllowed
		case err != nil:
			return v, err
		}
		v[2*i], v[2*i+1] = limit.Cur, limit.Max
	}
	return v, nil
}

// Parse is Read from the text of /proc/PID/limits; false when it has no such lines.
func Parse(text []byte) (v Values, ok bool) {
	found := 0
	for line := range bytes.Lines(text) {
		for i, l := range limits {
			rest, is := bytes.CutPrefix(line, []byte(l.name))
			if f := bytes.Fields(rest); is && len(f) >= 2 {
				v[2*i], v[2*i+1] = number(f[0]), number(f[1])
				found++
			}
		}
	}
	return v, found == len(limits)
}

func number(word []byte) uint64 {
	n, err := strconv.ParseUint(string(word), 10, 64)
	if err != nil { // "unlimited"
		return unix.RLIM_INFINITY
	}
	return n
}

// Ours picks the mark that this process, or one with the same limits, has put on another; 0 = none.
// What was there before it began is somebody else's.
func (v Values) Ours() uint64 {
	own := inherited()
	for _, value := range v {
		if Is(value) && !slices.Contains(own[:], value) {
			return value
		}
	}
	return 0
}

// Changed reports whether the limit that carries our marks has another value by now, which is none.
func (v Values) Changed() bool {
	place := Place(func(int) bool { return false })
	for i, l := range limits {
		if l.number == place && (v[2*i] != unix.RLIM_INFINITY || v[2*i+1] != unix.RLIM_INFINITY) {
			return !Is(v[2*i]) && !Is(v[2*i+1])
		}
	}
	return false
}
