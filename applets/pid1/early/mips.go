//go:build mips || mipsle || mips64 || mips64le

package early

import (
	"syscall"
	"unsafe"
)

// NSignals is one more than the highest signal number, of which MIPS has twice as many.
const NSignals = 129

// sigReady is that of an emulator trap, which Linux never sends: ours. MIPS has no SIGSTKFLT.
const sigReady = syscall.SIGEMT

// sigaction is the kernel's struct, which begins with the flags on MIPS.
type sigaction struct {
	flags   uint32
	handler uintptr
	rest    [7]uintptr
}

// siginfo is the kernel's struct (sigaction(2)) of a signal that a process sent; code comes before errno on MIPS.
type siginfo struct {
	signo, code, errno int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned to a pointer
	pid                int32
	_                  [108]byte
}
