package early

import "golang.org/x/sys/unix"

// Entries calls f with the name of each entry of an open directory but . and .., as the kernel lists them. Package os would start
// the runtime's poller, which process 1 does without here.
func Entries(dir int, f func(name string)) {
	buf := make([]byte, 16384)
	for {
		n, err := unix.Getdents(dir, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			f(name)
		}
	}
}
