//go:build mips || mipsle || mips64 || mips64le

package proc

import "unsafe"

// limitNames are the limits of getrlimit(2) by their numbers on MIPS (asm/resource.h).
var limitNames = [...]string{"cpu", "fsize", "data", "stack", "core", "nofile", "as", "rss", "nproc", "memlock", "locks",
	"sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// siginfo is what waitid(2) fills in for a child: si_signo, si_code, si_errno (in this order on MIPS), then (aligned to a
// pointer) si_pid, si_uid, si_status.
type siginfo struct {
	signo, code, errno int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // 4 on 64-bit machines, 0 on 32-bit ones
	pid                int32
	uid                uint32
	status             int32
	_                  [100]byte
}

// sigsetSize is the size of the kernel's set of signals, in bytes: MIPS has 127.
const sigsetSize = 16
