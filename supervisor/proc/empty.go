package proc

import "golang.org/x/sys/unix"

// EmptyInput returns a descriptor, close-on-exec, from which a process reads nothing but the end: /dev/null, or, where that
// is not there (a bare chroot, an initramfs), the end of a pipe into which nobody writes. A closed standard input would let
// the first file that a program opens become its standard input. It is -1 only when there are no descriptors left.
func EmptyInput() int {
	var st unix.Stat_t
	if fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0); err == nil {
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
			return fd
		}
		unix.Close(fd) // a file that somebody has written by mistake: it may have something in it
	}
	var pipe [2]int
	if unix.Pipe2(pipe[:], unix.O_CLOEXEC) != nil {
		return -1
	}
	unix.Close(pipe[1])
	return pipe[0]
}
