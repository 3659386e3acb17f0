package pid1

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// console is where pid1 says what it does: one line each, without escapes, and never waiting: a terminal that was
// stopped by ^S must not stop process 1.
type console struct {
	fd    int
	quiet bool // kernel word quiet: only what went wrong
}

// info says what is going on; it is dropped under quiet.
func (c *console) info(parts ...string) {
	if !c.quiet {
		c.warn(parts...)
	}
}

// warn says what went wrong or what somebody waits for.
func (c *console) warn(parts ...string) {
	line := make([]byte, 0, 256)
	line = append(line, "zinit-pid1: "...)
	for _, p := range parts {
		for _, b := range []byte(p) {
			if b < ' ' || b == 0x7f {
				b = ' '
			}
			line = append(line, b)
		}
	}
	if len(line) > 1000 {
		line = append(line[:1000], "..."...)
	}
	c.write(append(line, '\n'))
}

// write waits at most 50 ms for room.
func (c *console) write(b []byte) {
	for deadline := 50; len(b) > 0; {
		set := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(set, deadline)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || set[0].Revents&unix.POLLOUT == 0 {
			return
		}
		n, err = unix.Write(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil || n <= 0:
			return
		default:
			b = b[n:]
		}
	}
}

// openConsole gives a machine's process 1 the console as standard input and outputs where it has none, and returns a
// console for its own lines that cannot block.
func openConsole() console {
	if !isOpen(0) || isNull(1) && isNull(2) {
		if fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0); err == nil {
			for n := range 3 {
				if fd != n {
					_ = unix.Dup2(fd, n)
				}
			}
			if fd > 2 {
				closeFD(fd)
			}
		}
	}
	if fd, err := unix.Open("/dev/console", unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		return console{fd: fd}
	}
	return console{fd: 2}
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// isNull reports whether fd is closed or /dev/null, which the Go runtime puts where nothing is open.
func isNull(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFCHR && uint64(st.Rdev) == unix.Mkdev(1, 3)
}

func itoa(n int) string { return strconv.Itoa(n) }

// seconds writes a duration in nanoseconds for people.
func seconds(ns int64) string {
	if ns < second {
		return strconv.FormatInt(ns/millisecond, 10) + " ms"
	}
	return strconv.FormatFloat(float64(ns)/1e9, 'f', -1, 64) + " s"
}
