package anon

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithoutMemfd: a file that can be mapped and grown is there without memfd_create(2) and fallocate(2) too.
func TestWithoutMemfd(t *testing.T) {
	for _, denied := range []unix.Errno{0, unix.ENOSYS, unix.EPERM} {
		if denied != 0 {
			memfd = func(string, int) (int, error) { return -1, denied }
			fallocate = func(int, uint32, int64, int64) error { return denied }
		}
		fd, err := File("zinit-test")
		memfd, fallocate = unix.MemfdCreate, unix.Fallocate
		if err != nil {
			t.Fatalf("%v: %v", denied, err)
		}
		if denied != 0 {
			fallocate = func(int, uint32, int64, int64) error { return denied }
		}
		err = Reserve(fd, 0, 200_000)
		fallocate = unix.Fallocate
		if err != nil {
			t.Fatalf("%v: %v", denied, err)
		}
		mem, err := unix.Mmap(fd, 0, 200_000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatalf("%v: %v", denied, err)
		}
		mem[199_999] = 'x'
		var b [1]byte
		if n, err := unix.Pread(fd, b[:], 199_999); n != 1 || err != nil || b[0] != 'x' {
			t.Errorf("%v: %d bytes %q, %v", denied, n, b, err)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%v: it is not close-on-exec (%v)", denied, err)
		}
		_ = unix.Munmap(mem)
		_ = unix.Close(fd)
	}
}
