package syslog

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/closer"
)

// What x/sys does not name yet: see unix(7), include/uapi/linux/pidfd.h.
const (
	soPassPidfd     = 76 // from Linux 6.5 on; from 6.16 on also of senders that have ended
	soPassRights    = 83 // from Linux 6.16 on; 0 refuses descriptors
	scmPidfd        = 4
	pidfdGetInfo    = 0xc040ff0b // _IOWR(0xFF, 11, 64 bytes)
	infoCgroupID    = 1 << 2
	infoExit        = 1 << 3
	pidfdInfoLength = 64
)

// groupOf is the number of the control group that the process behind a pidfd is in, or was in when it ended; 0 where the
// kernel does not tell. It is the inode of the group's directory.
func groupOf(pidfd int) uint64 {
	if pidfd < 0 {
		return 0
	}
	var info [pidfdInfoLength / 8]uint64 // mask, cgroupid, then what is of no interest here
	info[0] = infoCgroupID | infoExit
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info[0]&infoCgroupID == 0 {
		return 0
	}
	return info[1]
}

// sender is what the kernel tells of who sent a datagram.
type sender struct {
	pid   int32 // 0 = not told
	uid   uint32
	pidfd int // -1 = not told; the receiver closes it
}

// senderOf reads the control messages of a datagram. Descriptors that somebody sends along, where the kernel cannot
// refuse them, are closed elsewhere: that may take as long as the sender likes.
func senderOf(oob []byte) sender {
	from := sender{pidfd: -1}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return from
	}
	for i := range messages {
		m := &messages[i]
		if fds, err := unix.ParseUnixRights(m); err == nil {
			closer.Go(func() {
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			})
		}
		if c, err := unix.ParseUnixCredentials(m); err == nil {
			from.pid, from.uid = c.Pid, c.Uid
		}
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == scmPidfd && len(m.Data) >= 4 && from.pidfd < 0 {
			from.pidfd = int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return from
}
