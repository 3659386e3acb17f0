//go:build amd64 && !zinit_notify

package early

import (
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Addresses of the handlers in handler_amd64.s.
var onSignalPC, onFaultPC, onUrgentPC, onFreezePC uintptr

// What the handlers read and write, on any thread.
var (
	self      uint32  // our pid
	keep      uint32  // not 0: a thread stays open for what it has taken
	runtimePC uintptr // the runtime's own handler
	freezing  uint32
	frozen    uint32
	blockable uint64
)

const (
	sigFreeze  = sigReady
	sigRuntime = syscall.Signal(33) // the runtime's, for system calls in all threads
)

// faults are those that the processor makes, and that no thread may block.
var faults = [...]syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS}

// install puts the handlers in the place of the runtime's, first those of signals that would end the process.
func install() {
	self = uint32(unix.Getpid())
	var found sigaction
	if sigactionCall(syscall.SIGSEGV, nil, &found) != 0 || found.handler <= 1 {
		return
	}
	atomic.StoreUintptr(&runtimePC, found.handler)
	set := func(n syscall.Signal, pc uintptr) {
		found.handler = pc
		sigactionCall(n, &found, nil)
	}
	for _, n := range [...]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGINT, syscall.SIGHUP} {
		set(n, onSignalPC)
	}
	for _, n := range faults {
		set(n, onFaultPC)
	}
	can := ^uint64(0)
	for n := syscall.Signal(1); n < NSignals; n++ {
		switch {
		case n == syscall.SIGKILL || n == syscall.SIGSTOP:
		case n == sigRuntime || isFault(n):
			can &^= 1 << (n - 1)
		case n == syscall.SIGURG:
			set(n, onUrgentPC)
		case n == sigFreeze:
			set(n, onFreezePC)
		default:
			set(n, onSignalPC)
		}
	}
	atomic.StoreUint64(&blockable, can)
}

func isFault(n syscall.Signal) bool {
	for _, f := range faults {
		if f == n {
			return true
		}
	}
	return false
}

// Freeze blocks all signals in all other threads, so that what comes from now on waits for the next image. A handler that
// runs has counted when it returns. It needs /proc.
func Freeze() {
	fd, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	atomic.StoreUint32(&freezing, 1)
	defer atomic.StoreUint32(&freezing, 0)
	atomic.StoreUint32(&frozen, 0)
	told := uint32(0)
	Entries(fd, func(name string) {
		if tid, _ := strconv.Atoi(name); tid > 0 && tid != unix.Gettid() && unix.Tgkill(int(self), tid, sigFreeze) == nil {
			told++
		}
	})
	for range 1000 { // at most 100 ms
		if atomic.LoadUint32(&frozen) >= told {
			return
		}
		_, _ = unix.Poll(nil, 0)
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil)
	}
}
