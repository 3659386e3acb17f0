package proc

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A child inherits scheduling policy, priority, I/O class and affinity of the thread that forks it.
// A server that an operator runs under chrt(1), nice(1), ionice(1) or taskset(1) keeps them for
// itself; its services get the defaults.

// The values of ioprio_get(2) that mean the default: no class, and what kernels make of that for a
// nice value of 0 (best effort, level 4).
const (
	ioClassNone = 0
	ioLevel4    = 4
	ioDefault   = 2<<13 | ioLevel4
	ioWhoSelf   = 1 // IOPRIO_WHO_PROCESS
)

// everyProcessor is the affinity of a process that nobody restricted: all that its control group
// allows. The mask of the calling thread is widened and set back to find out.
var everyProcessor = sync.OnceValue(func() (all unix.CPUSet) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own unix.CPUSet
	if unix.SchedGetaffinity(0, &own) != nil {
		return unix.CPUSet{}
	}
	all = noMask()
	if unix.SchedSetaffinity(0, &all) != nil || unix.SchedGetaffinity(0, &all) != nil {
		return own
	}
	_ = unix.SchedSetaffinity(0, &own)
	return all
})

// noMask has every bit set: the kernel keeps what the control group allows.
func noMask() (mask unix.CPUSet) {
	for i := range mask {
		mask[i] = ^mask[i]
	}
	return mask
}

// inheritsScheduling reports whether a child of the calling thread would get anything but the
// defaults.
func inheritsScheduling() bool {
	policy, _, errno := syscall.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	if errno == 0 && policy != unix.SCHED_NORMAL {
		return true
	}
	const nice0 = 20 // the system call returns 20 - nice
	n, _, errno := syscall.RawSyscall(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	if errno == 0 && n != nice0 {
		return true
	}
	io, _, errno := syscall.RawSyscall(unix.SYS_IOPRIO_GET, ioWhoSelf, 0, 0)
	if errno == 0 && io != ioClassNone && io != ioLevel4 && io != ioDefault {
		return true
	}
	var mask unix.CPUSet
	return unix.SchedGetaffinity(0, &mask) == nil && mask != everyProcessor()
}

// defaultScheduling is the memory of the calls that set the defaults.
type defaultScheduling struct {
	mask  unix.CPUSet
	param int32 // struct sched_param: priority 0
}

// calls returns them. Each may fail: an unprivileged server under nice(1) cannot raise its services
// above itself.
func (d *defaultScheduling) calls() [4]call {
	d.mask = noMask()
	return [4]call{
		{nr: unix.SYS_SCHED_SETSCHEDULER, args: [6]uintptr{0, unix.SCHED_NORMAL, address(&d.param)},
			pass: anyError},
		{nr: unix.SYS_SETPRIORITY, args: [6]uintptr{unix.PRIO_PROCESS, 0, 0}, pass: anyError},
		{nr: unix.SYS_IOPRIO_SET, args: [6]uintptr{ioWhoSelf, 0, ioClassNone}, pass: anyError},
		{nr: unix.SYS_SCHED_SETAFFINITY, args: [6]uintptr{0, unsafe.Sizeof(d.mask), address(&d.mask)},
			pass: anyError},
	}
}

// schedulingStep is the same for the trampoline.
func schedulingStep() func() syscall.Errno {
	d := new(defaultScheduling)
	calls := d.calls()
	return func() syscall.Errno {
		for i := range calls {
			a := &calls[i].args
			_, _, _ = syscall.RawSyscall(calls[i].nr, a[0], a[1], a[2])
		}
		runtime.KeepAlive(d)
		return 0
	}
}
