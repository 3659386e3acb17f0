package rpc

import (
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// lockThread binds the goroutine to its thread for good: the thread ends with it.
func lockThread() { runtime.LockOSThread() }

// becomeOther changes the credentials of this thread alone; the functions of package syscall would change them all.
func becomeOther(uid, gid int, groups []int) error {
	var list [16]uint32
	for i, g := range groups {
		list[i] = uint32(g)
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list)), 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return errno
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return errno
	}
	return nil
}

// failingListener answers Accept with errors from a channel.
type failingListener struct {
	errs    chan error
	closed  chan struct{}
	accepts atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.accepts.Add(1)
	select {
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *failingListener) Close() error   { close(l.closed); return nil }
func (l *failingListener) Addr() net.Addr { return &net.UnixAddr{} }
