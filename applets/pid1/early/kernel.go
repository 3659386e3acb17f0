//go:build !mips && !mipsle && !mips64 && !mips64le

package early

import (
	"syscall"
	"unsafe"
)

// NSignals is one more than the highest signal number.
const NSignals = 65

// sigReady means nothing since there is no mathematical coprocessor, so it is ours. A real-time signal would not do: it is
// turned down when there are too many of them in the queue.
const sigReady = syscall.SIGSTKFLT

// sigaction is the kernel's struct, of which only the handler matters here.
type sigaction struct {
	handler uintptr
	rest    [7]uintptr
}

// siginfo is the kernel's struct (sigaction(2)) of a signal that a process sent.
type siginfo struct {
	signo, errno, code int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned to a pointer
	pid                int32
	_                  [108]byte
}
