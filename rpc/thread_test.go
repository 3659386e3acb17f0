package rpc

import (
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// lockThread binds the goroutine to its thread for good: the thread ends with it.
func lockThread() { runtime.LockOSThread() }

// becomeOther changes the credentials of this thread alone; the functions of package syscall would change them all.
func becomeOther(uid, gid int, groups []int) error {
	own := make([]uint32, len(groups))
	for i, g := range groups {
		own[i] = uint32(g)
	}
	if err := setGroups(own); err != nil {
		return err
	}
	var errno syscall.Errno
	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return errno
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return errno
	}
	return nil
}

// setGroups changes the supplementary groups of this thread alone.
func setGroups(groups []uint32) error {
	wide := append(slices.Clone(groups), 0)
	narrow := make([]uint16, len(wide)) // what the call of this number takes on the older 32-bit machines
	for i, g := range wide {
		narrow[i] = uint16(g)
	}
	list := unsafe.Pointer(&wide[0])
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		list = unsafe.Pointer(&narrow[0])
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
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
