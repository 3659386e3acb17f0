// Package anon makes files that have no name: in memory where the kernel can, else in a directory of the machine.
package anon

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// places are tried in this order where there is no memfd_create(2): the first two are in memory too.
var places = []string{"/dev/shm", "/run", os.TempDir()}

// memfd is memfd_create(2); tests stand in for a kernel or a seccomp profile that does not have it.
var memfd = unix.MemfdCreate

// File returns a descriptor, close-on-exec, of a new empty file that can be read, written, mapped and passed on. It can
// be sealed where it is a memfd. The name is for /proc only. The error names what was tried.
func File(name string) (fd int, err error) {
	fd, err = memfd(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		return fd, nil
	}
	errs := []error{fmt.Errorf("memfd_create: %w", err)}
	for _, dir := range places {
		if fd, err = in(dir, name); err == nil {
			return fd, nil
		}
		errs = append(errs, err)
	}
	return -1, errors.Join(errs...)
}

// in makes the file in a directory: without a name where the file system can, else with one that it loses at once.
func in(dir, name string) (int, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return fd, nil
	}
	file, err := os.CreateTemp(dir, name+"-*")
	if err != nil {
		return -1, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	if err := os.Remove(file.Name()); err != nil {
		return -1, err
	}
	return unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
}

// Reserve takes room for n bytes from offset on, so that writing them through a mapping cannot fault. Where the file
// system has no fallocate(2) it writes zeros: call it for bytes only that nobody has written yet.
func Reserve(fd int, offset, n int64) error {
	for {
		err := fallocate(fd, 0, offset, n)
		switch {
		case err == unix.EINTR:
			continue
		case err != unix.EOPNOTSUPP && err != unix.ENOSYS && err != unix.EPERM:
			return err
		}
		return Zero(fd, offset, n)
	}
}

// Zero writes n zeros from offset on.
func Zero(fd int, offset, n int64) error {
	zeros := make([]byte, min(n, 64<<10))
	for n > 0 {
		written, err := unix.Pwrite(fd, zeros[:min(n, int64(len(zeros)))], offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		offset, n = offset+int64(written), n-int64(written)
	}
	return nil
}

// fallocate is fallocate(2), with the same purpose as memfd.
var fallocate = unix.Fallocate
