package notify

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Send sends a state ("READY=1") to a notify socket above us, the value of NOTIFY_SOCKET: an absolute path, or an
// abstract name behind @. It does not block.
func Send(socket, state string) error {
	if socket == "" || socket[0] != '/' && socket[0] != '@' {
		return fmt.Errorf("cannot notify %q: want an absolute path or @NAME", socket)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot notify %s: %w", socket, err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte(state), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket}); err != nil {
		return fmt.Errorf("cannot notify %s: %w", socket, err)
	}
	return nil
}
