package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Whose folder of control groups it is says a lock on the folder, flock(2), which the supervisor holds for as long as it
// lives: the numbers in its name are those of a pid namespace that need not be ours, while the folder is the same in all.

// claimWait is how long a claim is tried: another supervisor may be looking whether the folder is abandoned, and a child
// of ours that has not executed yet holds the lock of the server before an upgrade.
const (
	claimTries = 20
	claimWait  = 2 * time.Millisecond
)

// errClaimed says that a living supervisor has the folder.
var errClaimed = errors.New("another supervisor uses it")

// claim makes a folder and locks it for this process. The descriptor holds the lock; it is -1 where the kernel has none
// for folders.
func claim(folder string) (lock int, err error) {
	for try := range claimTries {
		if try > 0 {
			time.Sleep(claimWait) // flock(2) would wait without a limit, or not at all
		}
		if err = os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return -1, err
		}
		lock, err = tryClaim(folder)
		if err == nil {
			return lock, nil
		}
		if err != errClaimed && err != unix.ENOENT {
			return -1, nil
		}
	}
	return -1, err
}

// tryClaim locks a folder that is there: the error is errClaimed, unix.ENOENT when it is gone, or that of the kernel.
func tryClaim(folder string) (lock int, err error) {
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil && !sameFolder(fd, folder) {
		err = unix.ENOENT
	}
	switch err {
	case nil:
		return fd, nil
	case unix.EWOULDBLOCK:
		err = errClaimed
	}
	unix.Close(fd)
	return -1, err
}

// sameFolder reports whether an open folder is still what its path names.
func sameFolder(fd int, path string) bool {
	var open, named unix.Stat_t
	return unix.Fstat(fd, &open) == nil && unix.Stat(path, &named) == nil && open.Ino == named.Ino && open.Dev == named.Dev
}

// claims guards the lock of a Root.
type claims struct {
	mu   sync.Mutex
	lock int
}

// claimBase makes our folder, if it is not there, and claims it. One that is there already is ours from before an upgrade
// in place, or from a server before this one; when a living supervisor has it, which is in another pid namespace then, the
// next name is taken.
func (r *Root) claimBase(folder string, owner int) error {
	var err error
	for n := range uint64(nameTries) {
		r.base = filepath.Join(folder, baseName(owner, n))
		if r.claims.lock, err = claim(r.base); !errors.Is(err, errClaimed) {
			return err
		}
	}
	return fmt.Errorf("%s: %w", r.base, err)
}

// nameTries is how many supervisors may have got the same numbers in their namespaces.
const nameTries = 64

// remake makes our folder again when somebody has removed it, together with our claim.
func (r *Root) remake() error {
	r.claims.mu.Lock()
	defer r.claims.mu.Unlock()
	if exists(r.base) {
		return nil // another start was faster
	}
	lock, err := claim(r.base)
	if err != nil {
		return err
	}
	if r.claims.lock >= 0 {
		unix.Close(r.claims.lock)
	}
	r.claims.lock = lock
	return nil
}

// mkdir makes a folder in ours, which somebody may have removed while it was empty.
func (r *Root) mkdir(path string) error {
	err := os.Mkdir(path, 0o755)
	for range claimTries {
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
		if err = r.remake(); err == nil {
			err = os.Mkdir(path, 0o755)
		}
	}
	return err
}

// unclaimed reports whether no living supervisor holds a folder.
func unclaimed(folder string) bool {
	lock, err := tryClaim(folder)
	if err != nil {
		return err != errClaimed && err != unix.ENOENT
	}
	unix.Close(lock)
	return true
}
