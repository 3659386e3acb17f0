// Package deadmount mounts a file system that never answers, as that of a server which has gone away: whoever looks at it
// waits until the end of the test, or until it is killed.
package deadmount

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
)

// New mounts one below a new folder and returns its path. The caller must not look at anything in it.
func New(t testing.TB) string {
	t.Helper()
	need.Root(t)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	need.That(t, err == nil, "/dev/fuse")
	dir := t.TempDir()
	// Nobody ever reads from the descriptor, not even the kernel's first request, so every other one waits behind it.
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
	return dir
}

// Abort gives everybody who waits an error, and unmounts.
func Abort(dir string) {
	_ = unix.Unmount(dir, unix.MNT_FORCE)
	_ = unix.Unmount(dir, unix.MNT_DETACH)
}
