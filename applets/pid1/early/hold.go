package early

import (
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Holder is the argv[0] of a process that keeps signals away from its parent while that executes another image. The
// runtime unblocks HUP, INT, QUIT, ABRT and TERM, whatever it inherits, before a program can have a handler: one of them
// would end process 1, or be lost. A tracer is asked before a signal is delivered; this one drops what would be, remembers
// it, and sends it again when the new image says that it listens (see Release). It says on descriptor 3 whether it may
// trace ("y", "n") after it was told to begin. Ended by anybody, or after holdLimit, it leaves its parent as it was without.
const Holder = "zinit-hold"

// HolderOfAll is the same for the server, whose threads have the runtime's handlers: all of them are traced, and the word of
// the new image is ReleaseAll.
const HolderOfAll = "zinit-hold-all"

// holdLimit is in seconds.
const holdLimit = 10

// hold never returns. It runs in an init function and so on one thread, as tracing needs.
func hold(all bool) {
	sigactionCall(syscall.SIGALRM, &sigaction{}, nil)
	_, _ = unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{Value: unix.Timeval{Sec: holdLimit}})
	parent := unix.Getppid()
	var word [1]byte
	if n, err := unix.Read(3, word[:]); n != 1 || err != nil {
		unix.Exit(1)
	}
	if !seize(parent, all) {
		_, _ = unix.Write(3, []byte("n"))
		unix.Exit(1)
	}
	_, _ = unix.Write(3, []byte("y"))
	var held [NSignals]int
	h := holder{parent: parent, all: all, held: &held}
	for {
		var ws unix.WaitStatus
		tid, err := h.wait(&ws)
		if err == unix.EINTR || err == nil && tid == 0 {
			continue
		}
		if err != nil {
			unix.Exit(0) // the parent is gone
		}
		if ws.Stopped() && h.goOn(tid, ws) {
			ptrace(unix.PTRACE_DETACH, parent, 0)
			break
		}
	}
	for n, times := range held {
		for range times {
			_ = unix.Kill(parent, syscall.Signal(n))
		}
	}
	unix.Exit(0) // what else is traced goes on by itself
}

// holder is what a Holder knows while it traces.
type holder struct {
	parent  int
	all     bool
	held    *[NSignals]int
	looks   int  // how often nothing had stopped
	leaving bool // the main thread was asked to stop
}

// patience is how often a HolderOfAll looks, five times a millisecond or less, until it takes the new image for one that
// knows nothing of it (version 0.4.0), lets go, and sends what it has kept: 3 s.
const patience = 15000

// wait waits until something has stopped. tid 0 says that nothing has.
func (h *holder) wait(ws *unix.WaitStatus) (tid int, err error) {
	if !h.all {
		return unix.Wait4(-1, ws, unix.WALL, nil)
	}
	tid, err = unix.Wait4(-1, ws, unix.WALL|unix.WNOHANG, nil)
	if tid == 0 && err == nil {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 200_000}, nil)
		if h.looks++; h.looks == patience {
			h.leaving = true
			ptrace(unix.PTRACE_INTERRUPT, h.parent, 0)
		}
	}
	return tid, err
}

// seize begins to trace the main thread of a process, or all threads. Those that a traced thread makes are traced too.
func seize(pid int, all bool) bool {
	if !all {
		return ptrace(unix.PTRACE_SEIZE, pid, unix.PTRACE_O_TRACECLONE) == 0
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	main := false
	for more := true; more; { // until no thread is found that was not traced
		more = false
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return false
		}
		Entries(fd, func(name string) {
			if tid, _ := strconv.Atoi(name); tid > 0 && ptrace(unix.PTRACE_SEIZE, tid, unix.PTRACE_O_TRACECLONE) == 0 {
				more = true
				main = main || tid == pid
			}
		})
	}
	return main
}

// goOn lets a stopped thread go on, without the signal that it was about to get. It returns true, and does not, when that
// is the word of the new image.
func (h *holder) goOn(tid int, ws unix.WaitStatus) bool {
	parent, held, all := h.parent, h.held, h.all
	ready := sigReady
	if all {
		ready = sigReadyAll
	}
	sig := ws.StopSignal()
	if event := int(ws) >> 16; event != 0 {
		if h.leaving && tid == parent {
			return true
		}
		if event == unix.PTRACE_EVENT_STOP && sig != syscall.SIGTRAP {
			ptrace(unix.PTRACE_LISTEN, tid, 0) // stopped by SIGSTOP and the like: that is not ours
		} else {
			ptrace(unix.PTRACE_CONT, tid, 0)
		}
		return false
	}
	var info siginfo
	_, _, _ = syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(tid), 0, uintptr(unsafe.Pointer(&info)), 0, 0)
	if sig == ready && tid == parent && (int(info.pid) == parent || info.pid == 0) {
		return true // no pid: when a user's queue is full the kernel does not tell
	}
	const byUser = 0 // what is above comes from the kernel: a fault, a child's end
	if info.code > byUser || int(info.pid) == parent {
		ptrace(unix.PTRACE_CONT, tid, uintptr(sig))
		return false
	}
	if n := int(sig); n > 0 && n < NSignals {
		held[n] = min(held[n]+1, 1000)
		if !all { // the server's threads must not have anything blocked: it would execute itself again
			block(tid, n)
		}
	}
	ptrace(unix.PTRACE_CONT, tid, 0)
	return false
}

// block keeps a flood of one signal from holding up the thread: more of them stay pending.
func block(tid, n int) {
	var set sigset
	for _, request := range [...]uintptr{unix.PTRACE_GETSIGMASK, unix.PTRACE_SETSIGMASK} {
		_, _, _ = syscall.RawSyscall6(unix.SYS_PTRACE, request, uintptr(tid), unsafe.Sizeof(set),
			uintptr(unsafe.Pointer(&set)), 0, 0)
		set.add(syscall.Signal(n))
	}
}

// sigReadyAll is one that the runtime lets a program have, and that does nothing by default: there may be no holder.
const sigReadyAll = syscall.SIGWINCH

// ReleaseAll tells a HolderOfAll, if there is one, that signals are welcome again.
func ReleaseAll() { _ = unix.Tgkill(unix.Getpid(), unix.Getpid(), sigReadyAll) }

// Own reports whether a signal is one that this package sends, and that nobody is to be told of.
func Own(n int) bool { return n == int(sigReady) }

// Release tells a Holder, if there is one, that signals are welcome again.
func Release() {
	var now sigaction
	if sigactionCall(sigReady, nil, &now) == 0 && now.handler > sigIgn {
		_ = unix.Tgkill(unix.Getpid(), unix.Getpid(), sigReady)
	}
}

func ptrace(request, pid int, data uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), 0, data, 0, 0)
	return errno
}
