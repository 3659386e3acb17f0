// Package deadmount mounts a file system that never answers, as that of a server which has gone away: whoever looks at it
// waits until the end of the test, or until it is killed.
package deadmount

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
)

// New mounts one below a new folder and returns its path. The caller must not look at anything in it.
func New(t testing.TB) string {
	t.Helper()
	dir, _ := mount(t) // nobody ever reads, not even the kernel's first request, so every other one waits behind it
	return dir
}

// NewDeaf mounts one whose server takes requests and never answers them: a process that has asked cannot even be killed.
func NewDeaf(t testing.TB) string {
	t.Helper()
	dir, fd := mount(t)
	go swallow(fd)
	return dir
}

func mount(t testing.TB) (dir string, fd int) {
	t.Helper()
	need.Root(t)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	need.That(t, err == nil, "/dev/fuse")
	dir = t.TempDir()
	err = unix.Mount("zinit-dead", dir, "fuse.zinit-dead", unix.MS_NOSUID|unix.MS_NODEV,
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd))
	if err != nil {
		unix.Close(fd)
	}
	need.That(t, err == nil, "mounts of FUSE")
	t.Cleanup(func() {
		Abort(dir)
		unix.Close(fd)
	})
	return dir, fd
}

// swallow takes what the kernel asks for, until the mount is aborted. Only the first request is answered, without which the
// kernel sends no other.
func swallow(fd int) {
	const first, header, version, minor = 26, 16, 7, 31 // FUSE_INIT, struct fuse_out_header, FUSE_KERNEL_VERSION
	le := binary.NativeEndian
	request := make([]byte, 1<<17)
	for {
		n, err := unix.Read(fd, request)
		switch {
		case err == unix.EINTR || err == unix.ENOENT: // one that was withdrawn
			continue
		case err != nil || n < 40:
			return
		case le.Uint32(request[4:]) != first:
			continue
		}
		answer := make([]byte, header+64)
		le.PutUint32(answer, uint32(len(answer)))
		le.PutUint64(answer[8:], le.Uint64(request[8:])) // of this request
		le.PutUint32(answer[header:], version)
		le.PutUint32(answer[header+4:], minor)
		le.PutUint32(answer[header+20:], 4096) // max_write
		_, _ = unix.Write(fd, answer)
	}
}

// Abort gives everybody who waits an error, and unmounts.
func Abort(dir string) {
	_ = unix.Unmount(dir, unix.MNT_FORCE)
	_ = unix.Unmount(dir, unix.MNT_DETACH)
}
