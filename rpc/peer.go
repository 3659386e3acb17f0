package rpc

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection, by the kernel's word.
type peer struct {
	uid    int // -1: unknown, may read states only
	groups []uint32
}

// peerOf asks the kernel. Groups are the peer's own and its supplementary ones at the time it connected.
func peerOf(conn *net.UnixConn) peer {
	p := peer{uid: -1}
	raw, err := conn.SyscallConn()
	if err != nil {
		return p
	}
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		p.uid = int(cred.Uid)
		p.groups = append(peerGroups(int(fd)), cred.Gid)
	})
	return p
}

// peerGroups returns the supplementary groups, none where the kernel is older than 4.13.
func peerGroups(fd int) []uint32 {
	for size := 64; size <= 1<<16; {
		groups := make([]uint32, size)
		length := uint32(4 * size)
		_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&length)), 0)
		switch {
		case errno == 0:
			return groups[:length/4]
		case errno != syscall.ERANGE:
			return nil
		}
		size = max(int(length/4), 2*size)
	}
	return nil
}

// member reports whether the peer is in the group.
func (p peer) member(gid int) bool {
	for _, g := range p.groups {
		if int(g) == gid {
			return true
		}
	}
	return false
}

// sendNow writes to a socket without waiting, and without a signal when nobody reads.
func sendNow(fd int, line []byte) {
	_ = unix.Sendto(fd, line, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
}
