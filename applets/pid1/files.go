package pid1

import (
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
)

// Small file helpers that allocate little and know no errors but "could not".

// readFile returns at most limit bytes of a file, "" when it cannot be read.
func readFile(path string, limit int) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer closeFD(fd)
	buf := make([]byte, 0, min(limit, 4096))
	for len(buf) < limit {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):min(cap(buf), limit)])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return string(buf)
}

// writeFile writes to an existing file and reports whether that worked.
func writeFile(path, text string) bool {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	n, err := unix.Write(fd, []byte(text))
	return err == nil && n == len(text)
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

func executable(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(path, unix.X_OK) == nil
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// monotonic is CLOCK_MONOTONIC, boottime CLOCK_BOOTTIME, in nanoseconds.
func monotonic() int64 { return clock(unix.CLOCK_MONOTONIC) }
func boottime() int64  { return clock(unix.CLOCK_BOOTTIME) }

func clock(id int32) int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(id, &t)
	return t.Nano()
}

const (
	millisecond = int64(1e6)
	second      = int64(1e9)
)

// dirNames lists a directory.
func dirNames(path string) (names []string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer closeFD(fd)
	early.Entries(fd, func(name string) { names = append(names, name) })
	return names
}
