package proc

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// Exit is a child that ended. It stays a zombie until Reap, so its pid and group id cannot be given to another process.
type Exit struct {
	PID    int
	Status machine.Status
}

// The values of si_code for SIGCHLD (sigaction(2)).
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// waitid looks at one dead child, or at any, without waiting and without removing it.
func waitid(kind, id int) (Exit, bool) {
	for {
		var info siginfo
		// It does not block, so it goes around the scheduler: of a thousand children each is looked at.
		_, _, err := unix.RawSyscall6(unix.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != 0 || info.pid == 0:
			return Exit{}, false
		}
		return Exit{PID: int(info.pid), Status: statusOf(&info)}, true
	}
}

func statusOf(info *siginfo) machine.Status {
	switch info.code {
	case cldExited:
		return machine.Status{Code: info.status}
	case cldKilled, cldDumped:
		return machine.Status{Signal: info.status, Core: info.code == cldDumped}
	}
	return machine.Status{Unknown: true}
}

// Peek looks at some child that has ended, without reaping it; the same one again until it is reaped.
func Peek() (Exit, bool) { return waitid(unix.P_ALL, 0) }

// PeekPID looks whether a certain child has ended.
func PeekPID(pid int) (Exit, bool) { return waitid(unix.P_PID, pid) }

// GroupLives reports whether a child of ours lives in a process group: asked without WEXITED, the kernel knows only of
// children that have not ended. It is what can be known where /proc is not ours.
func GroupLives(group int) bool {
	for {
		var info siginfo
		_, _, err := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PGID, uintptr(group), uintptr(unsafe.Pointer(&info)),
			unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		if err != unix.EINTR {
			return err == 0
		}
	}
}

// Reap removes a dead child. It never waits for one that lives, and a pid that is no child is no error.
func Reap(pid int) {
	_ = ignoringEINTR(func() error {
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		return err
	})
}

// Reaper tells the children that ended, each once, while any number of them are kept as zombies. It is used by one
// goroutine.
//
//	for e, ok := r.Next(); ok; e, ok = r.Next() {
//		… record it, then r.Reap(e.PID), now or much later
//	}
//
// While nothing is kept each look is one system call. Once something is kept, a zombie that has been told could hide
// others from waitid(P_ALL), so the children that Start has made, and orphans, are listed and looked at one by one, once
// in such a round: who dies behind that look sends another SIGCHLD, and so begins another round.
type Reaper struct {
	told    map[int]struct{} // told and not reaped yet
	batch   []Exit           // found by the last listing, not told yet
	listed  bool             // in this round
	scratch []int
}

// NewReaper returns a Reaper that has told nothing.
func NewReaper() *Reaper { return &Reaper{told: make(map[int]struct{})} }

// Next returns a dead child that was not told yet; false ends the round: there was none when it began.
//
// A child that Start is still working on, and whose start failed, may be told too, with a pid nobody knows: as long as
// a start is under way an unknown pid may be that, an orphan, or a main process that was faster than the word about it.
// Keep it, and decide when the starts that were under way have been answered.
func (r *Reaper) Next() (Exit, bool) {
	if e, ok := r.fromBatch(); ok {
		return e, true
	}
	if r.listed {
		r.listed = false
		return Exit{}, false
	}
	e, ok := Peek()
	if !ok {
		return Exit{}, false
	}
	if _, told := r.told[e.PID]; !told {
		r.told[e.PID] = struct{}{}
		return e, true
	}
	r.list()
	e, r.listed = r.fromBatch()
	return e, r.listed
}

func (r *Reaper) fromBatch() (Exit, bool) {
	for len(r.batch) > 0 {
		e := r.batch[0]
		r.batch = r.batch[1:]
		if _, told := r.told[e.PID]; !told {
			r.told[e.PID] = struct{}{}
			return e, true
		}
	}
	return Exit{}, false
}

// list looks at each child that was not told.
func (r *Reaper) list() {
	r.scratch = started(r.scratch[:0])
	r.batch = r.batch[:0]
	for _, pid := range r.scratch {
		if _, told := r.told[pid]; told {
			continue
		}
		if e, ok := PeekPID(pid); ok {
			r.batch = append(r.batch, e)
		}
	}
}

// Reap removes a child that was told. One that somebody else has waited for meanwhile (Start, after a failure) is
// forgotten as well.
func (r *Reaper) Reap(pid int) {
	Reap(pid)
	delete(r.told, pid)
	unlisted.remove(pid)
}

// Told reports whether a child was told as dead and is kept.
func (r *Reaper) Told(pid int) bool { _, told := r.told[pid]; return told }

// Kept is the number of children that were told and not reaped.
func (r *Reaper) Kept() int { return len(r.told) }
