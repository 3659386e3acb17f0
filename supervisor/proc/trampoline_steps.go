package proc

import (
	"math/bits"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions here prepare a step and return the function that takes it. What they return allocates nothing and makes
// only raw system calls, on the calling thread.

func rawWrite(fd int, b []byte) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)))
	return errno
}

// writeStep writes a short text to a file of the kernel.
func writeStep(path, content string) func() syscall.Errno {
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return nil
	}
	data := []byte(content)
	return func() syscall.Errno {
		at := unix.AT_FDCWD
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(p)),
			syscall.O_WRONLY|syscall.O_CLOEXEC, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		errno = rawWrite(int(fd), data)
		syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
		return errno
	}
}

func niceStep(n int) func() syscall.Errno {
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(n))
		return errno
	}
}

func umaskStep(n int) func() syscall.Errno {
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(syscall.SYS_UMASK, uintptr(n), 0, 0)
		return errno
	}
}

func limitStep(n int, soft, hard uint64) func() syscall.Errno {
	limit := &unix.Rlimit{Cur: soft, Max: hard}
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, uintptr(n), uintptr(unsafe.Pointer(limit)), 0, 0, 0)
		return errno
	}
}

func groupsStep(value string) func() syscall.Errno {
	groups := []uint32{0} // room, so that there is an address
	if value != "" {
		for g := range strings.SplitSeq(value, ",") {
			n, ok := parseID(g)
			if !ok {
				return nil
			}
			groups = append(groups, uint32(n))
		}
	}
	groups = groups[1:]
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(sysSetgroups, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
		return errno
	}
}

func groupStep(gid int) func() syscall.Errno {
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(sysSetresgid, uintptr(gid), uintptr(gid), uintptr(gid))
		return errno
	}
}

func userStep(uid int) func() syscall.Errno {
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(sysSetresuid, uintptr(uid), uintptr(uid), uintptr(uid))
		return errno
	}
}

func dirStep(path string) func() syscall.Errno {
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return nil
	}
	return func() syscall.Errno {
		_, _, errno := syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(p)), 0, 0)
		return errno
	}
}

func prctl(option int, a, b uintptr) (uintptr, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, uintptr(option), a, b, 0, 0, 0)
	return r, errno
}

func keepCapsStep() syscall.Errno {
	_, errno := prctl(unix.PR_SET_KEEPCAPS, 1, 0)
	return errno
}

func noNewPrivilegesStep() syscall.Errno {
	_, errno := prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	return errno
}

// deathStep sets the parent-death signal again, because a change of identity clears it, and ends the process if the
// supervisor is gone already.
func deathStep(supervisor int) func() syscall.Errno {
	return func() syscall.Errno {
		if _, errno := prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0); errno != 0 {
			return errno
		}
		if ppid, _, _ := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0); int(ppid) != supervisor {
			return syscall.ESRCH
		}
		return 0
	}
}

// capabilityStep sets the bounding set or the ambient set, given in hexadecimal.
func capabilityStep(kind, value string) func() syscall.Errno {
	set, err := strconv.ParseUint(value, 16, 64)
	if err != nil {
		return nil
	}
	c := &capabilities{header: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	if kind == "bounding" {
		return func() syscall.Errno { return c.bound(set) }
	}
	return func() syscall.Errno { return c.raise(set) }
}

// capabilities is the memory for capget(2) and capset(2).
type capabilities struct {
	header unix.CapUserHeader
	data   [2]unix.CapUserData
}

func (c *capabilities) get() syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&c.header)),
		uintptr(unsafe.Pointer(&c.data[0])), 0)
	return errno
}

func (c *capabilities) put() syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&c.header)),
		uintptr(unsafe.Pointer(&c.data[0])), 0)
	return errno
}

// bound drops everything but set from the bounding and the inheritable set: an inherited capability would come back
// at the exec.
func (c *capabilities) bound(set uint64) syscall.Errno {
	if errno := c.get(); errno != 0 {
		return errno
	}
	c.data[0].Inheritable &= uint32(set)
	c.data[1].Inheritable &= uint32(set >> 32)
	if errno := c.put(); errno != 0 {
		return errno
	}
	for n := uintptr(0); n < 64; n++ {
		has, errno := prctl(unix.PR_CAPBSET_READ, n, 0)
		if errno == syscall.EINVAL {
			return 0 // beyond the last one that the kernel knows
		}
		if set>>n&1 == 1 || has == 0 {
			continue
		}
		if _, errno := prctl(unix.PR_CAPBSET_DROP, n, 0); errno != 0 {
			return errno
		}
	}
	return 0
}

// raise makes a set inheritable, effective and ambient, so that it survives the exec of a program without file
// capabilities.
func (c *capabilities) raise(set uint64) syscall.Errno {
	if errno := c.get(); errno != 0 {
		return errno
	}
	for i := range c.data {
		part := uint32(set >> (32 * i))
		if part&^c.data[i].Permitted != 0 {
			return syscall.EPERM
		}
		c.data[i].Inheritable |= part
		c.data[i].Effective |= part
	}
	if errno := c.put(); errno != 0 {
		return errno
	}
	for rest := set; rest != 0; rest &= rest - 1 {
		if _, errno := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(bits.TrailingZeros64(rest))); errno != 0 {
			return errno
		}
	}
	return 0
}

// execStep executes the program; with script one that has no #! runs under /bin/sh (Start looked that it is
// text).
func execStep(words []string, script bool) func() syscall.Errno {
	if len(words) < 2 {
		return nil
	}
	path, err1 := syscall.BytePtrFromString(words[0])
	argv, err2 := syscall.SlicePtrFromStrings(words[1:])
	env, err3 := syscall.SlicePtrFromStrings(syscall.Environ())
	shell, err4 := syscall.BytePtrFromString(shellPath)
	shellArgv, err5 := syscall.SlicePtrFromStrings(append([]string{"sh", words[0]}, words[2:]...))
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return nil
		}
	}
	return func() syscall.Errno {
		errno := execve(path, argv, env)
		if errno == syscall.ENOEXEC && script {
			errno = execve(shell, shellArgv, env)
		}
		return errno
	}
}

func execve(path *byte, argv, env []*byte) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	return errno
}
