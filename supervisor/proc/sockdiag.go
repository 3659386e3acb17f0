package proc

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// The parts of linux/sock_diag.h and linux/inet_diag.h that are needed.
const (
	sockDiagByFamily = 20
	diagStateListen  = 1 << 10 // TCP_LISTEN
	diagRequestSize  = unix.NLMSG_HDRLEN + 56
	diagAnswerSize   = 72 // struct inet_diag_msg
	diagPortAt       = 4  // id.idiag_sport, in network byte order
	diagInodeAt      = 68
)

// listeningByDiag asks the kernel for the listening TCP sockets of one family on one of the ports; false when it cannot
// tell (no tcp_diag, a sandbox). Unlike /proc/net/tcp this does not walk the table of all connections, which takes
// milliseconds even when it is empty.
func listeningByDiag(family uint8, ports []uint16) (out []socket, ok bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, diagRequest(family), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false
		}
		var done bool
		if out, done, ok = diagAnswers(buf[:n], ports, out); done || !ok {
			return out, ok
		}
	}
}

// diagRequest is a struct nlmsghdr and a struct inet_diag_req_v2 that asks for all listening sockets.
func diagRequest(family uint8) []byte {
	b := make([]byte, diagRequestSize)
	binary.NativeEndian.PutUint32(b[0:], diagRequestSize)
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := b[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], diagStateListen)
	return b
}

// diagAnswers reads a datagram of netlink messages. done says that it was the last; ok is false after an error.
func diagAnswers(b []byte, ports []uint16, into []socket) (out []socket, done, ok bool) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return nil, true, false
		}
		body := b[unix.NLMSG_HDRLEN:length]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return into, true, true
		case unix.NLMSG_ERROR:
			return nil, true, false
		case sockDiagByFamily:
			if len(body) < diagAnswerSize {
				return nil, true, false
			}
			port := binary.BigEndian.Uint16(body[diagPortAt:])
			if slices.Contains(ports, port) {
				into = append(into, socket{int(port), uint64(binary.NativeEndian.Uint32(body[diagInodeAt:]))})
			}
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return into, false, true
}
