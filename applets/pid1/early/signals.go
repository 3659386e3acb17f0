package early

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	counts = new(tally)
	page   = -1 // the memfd that counts is in, -1 = ordinary memory
	bell   = -1
	on     bool
	one    = [8]byte{0: 1, 7: 0} // what is written to the bell
)

// tally counts signals that arrived and were not taken yet.
type tally [NSignals]atomic.Uint32

// Listen takes over every signal that the runtime lets go of. It is idempotent.
func Listen() {
	if on {
		return
	}
	on = true
	share()
	bell, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	install()
	Open()
	Release()
}

// Ring makes Bell readable.
func Ring() {
	if bell >= 0 {
		_, _ = unix.Write(bell, one[:])
	}
}

// Bell returns the descriptor that becomes readable when a signal came, -1 when there is none (then ask Take again and
// again).
func Bell() int {
	if bell < 0 {
		bell, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	return bell
}

// Take returns how often signal n came since the last call. The main thread has blocked what it took: see Open.
func Take(n int) int { return int(counts[n].Swap(0)) }

// share puts the counts into a page that the next image can read: until the kernel ends them, in the exec, the other
// threads go on receiving signals.
func share() {
	fd, err := unix.MemfdCreate("zinit-signals", unix.MFD_CLOEXEC)
	if err != nil {
		return
	}
	if unix.Ftruncate(fd, pageSize) == nil && unix.Fallocate(fd, 0, 0, pageSize) == nil {
		if mem, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			counts, page = (*tally)(unsafe.Pointer(&mem[0])), fd
			return
		}
	}
	_ = unix.Close(fd)
}

const pageSize = 4096

// Page returns the descriptor of the counts, -1 = none, for the next image.
func Page() int { return page }

// Adopt adds the counts of the image before, and closes its page.
func Adopt(fd int) {
	if fd < 0 {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size == pageSize {
		if mem, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ, unix.MAP_SHARED); err == nil {
			before := (*tally)(unsafe.Pointer(&mem[0]))
			for n := range before {
				counts[n].Add(before[n].Load())
			}
			_ = unix.Munmap(mem)
		}
	}
	_ = unix.Close(fd)
	Ring()
}

// held is what the main thread blocks all the time: with SIGTTOU a terminal could stop it while it writes, or gives the
// terminal away.
const held = unix.SIGTTOU

// Open opens all signals in the main thread, which blocks one after the other as it takes them: a flood costs a round of
// the loop and never holds it up.
func Open() { setMask(only(held)) }

// Spawning calls fork with nothing blocked in the calling thread, since a child inherits what is. busy tells that signals
// are coming in right now, and that the child has to be started through Unmask.
func Spawning(fork func(busy bool)) {
	if now := mask(); now != only(held) && now != (sigset{}) {
		fork(true)
		return
	}
	atomic.StoreUint32(&keep, 1)
	setMask(sigset{})
	fork(false)
	setMask(only(held))
	atomic.StoreUint32(&keep, 0)
}

// Block prepares the calling thread to execute another image of ours: what comes stays pending. When nobody holds the
// signals (see Holder) those that the runtime opens whatever it inherits, and that would end the process before its
// handlers stand, are ignored, and so lost. Unblock takes it back.
func Block(held bool) {
	setMask(every())
	Freeze()
	for i, n := range soon {
		if actions[i] = (sigaction{}); !held {
			sigactionCall(n, &sigaction{handler: sigIgn}, &actions[i])
		}
	}
}

// Unblock is for an exec that failed.
func Unblock() {
	for i, n := range soon {
		if actions[i].handler != 0 {
			sigactionCall(n, &actions[i], nil)
		}
	}
	Open()
	Release()
}

// soon are those that the runtime unblocks before it has its handlers.
var (
	soon = [...]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGINT, syscall.SIGHUP, syscall.SIGSEGV,
		syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, sigReady, syscall.SIGSYS, 32, 33, 34}
	actions [len(soon)]sigaction
)

// fatal are those of a server's signals that would end it where it has no handler.
var (
	fatal   = [...]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP}
	heeded  [len(fatal)]sigaction
	ignored bool
)

// Ignore lets what would end a server be lost instead, until Heed or the next image's handlers: for an execution during
// which nobody holds signals (see HolderOfAll). Between the runtime's handlers, which do not heed that for TERM and QUIT,
// and this package's init either of them still ends it.
func Ignore() {
	for i, n := range fatal {
		sigactionCall(n, &sigaction{handler: sigIgn}, &heeded[i])
	}
	ignored = true
}

// Heed takes Ignore back, after an exec that failed.
func Heed() {
	if !ignored {
		return
	}
	for i, n := range fatal {
		sigactionCall(n, &heeded[i], nil)
	}
	ignored = false
}

// Restore gives the calling thread an empty mask, for an exec of a program that is not ours.
func Restore() { setMask(sigset{}) }

// sigset is the kernel's set of signals: one bit a signal, in words of the machine, the lowest first.
type sigset [(NSignals - 1) / (8 * unsafe.Sizeof(uintptr(0)))]uintptr

// add puts a signal into the set.
func (s *sigset) add(n syscall.Signal) {
	const bits = 8 * unsafe.Sizeof(uintptr(0))
	s[(uintptr(n)-1)/bits] |= 1 << ((uintptr(n) - 1) % bits)
}

// only is the set of one signal.
func only(n syscall.Signal) (set sigset) {
	set.add(n)
	return set
}

// every is the set of all signals.
func every() (set sigset) {
	for i := range set {
		set[i] = ^uintptr(0)
	}
	return set
}

func mask() (set sigset) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&set)),
		unsafe.Sizeof(set), 0, 0)
	return set
}

func setMask(set sigset) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&set)), 0,
		unsafe.Sizeof(set), 0, 0)
}

const sigIgn = 1

// sigactionCall is rt_sigaction(2) behind the runtime's back.
func sigactionCall(n syscall.Signal, set, old *sigaction) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigset{}), 0, 0)
	return errno
}
