package proc

import (
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A fork copies the table of descriptors and the exec closes what is in the copy, so that each start of a supervisor with a
// thousand services, which holds two pipes of each, spends a fifth of its time on those of the others. So the child is forked
// with the table itself (CLONE_FILES), and takes as its first call a copy of the beginning (CLOSE_RANGE_UNSHARE, Linux 5.9).
// What it shall get must lie there: a descriptor with a higher number is lent one of some numbers that are kept for that.

const (
	copied    = 64 // how many descriptors the child copies
	lentFirst = 32 // the first number that may be lent; a child with more descriptors than that is forked otherwise
	lentEach  = 4  // how many numbers each program has
)

// unshareRefused is set once CLOSE_RANGE_UNSHARE was refused.
var unshareRefused atomic.Bool

// unshareCall is the first call of a child with a shared table. Nothing may come before it, nor after it if it fails.
var unshareCall = call{nr: unix.SYS_CLOSE_RANGE, args: [6]uintptr{copied, 1<<32 - 1, unix.CLOSE_RANGE_UNSHARE}}

// lender keeps numbers of descriptors. While nobody has them they are descriptors of nothing.
type lender struct {
	idle  int // what a number refers to meanwhile, -1 = no numbers
	slots []int
	lent  int   // how many of the slots are lent now
	files []int // what the child gets
}

// open reserves the numbers; where low ones are taken already there are none to lend.
func (l *lender) open() {
	var err error
	if l.idle, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		l.idle = -1
		return
	}
	for range lentEach {
		fd, err := unix.FcntlInt(uintptr(l.idle), unix.F_DUPFD_CLOEXEC, lentFirst)
		if err != nil || fd >= copied {
			if err == nil {
				unix.Close(fd)
			}
			return
		}
		l.slots = append(l.slots, fd)
	}
}

// lend returns files with low numbers instead of high ones, and of those that the child would overwrite; false when that cannot
// be done.
func (l *lender) lend(files []int) ([]int, bool) {
	if unshareRefused.Load() || len(files) > lentFirst {
		return files, false
	}
	l.files = append(l.files[:0], files...)
	for i, fd := range files {
		overwritten := fd >= 0 && fd < len(files) && fd != i // before its turn, it may be
		if fd < copied && !overwritten {
			continue
		}
		slot := -1
		for k := range i { // one descriptor may be there several times
			if files[k] == fd && l.files[k] != fd {
				slot = l.files[k]
			}
		}
		if slot < 0 {
			if l.lent == len(l.slots) || unix.Dup3(fd, l.slots[l.lent], unix.O_CLOEXEC) != nil {
				l.takeBack()
				return files, false
			}
			slot = l.slots[l.lent]
			l.lent++
		}
		l.files[i] = slot
	}
	return l.files, true
}

// takeBack ends what was lent: the end of a pipe is not seen while it is.
func (l *lender) takeBack() {
	for ; l.lent > 0; l.lent-- {
		_ = unix.Dup3(l.idle, l.slots[l.lent-1], unix.O_CLOEXEC)
	}
}

// throughDescriptor reports whether a path leads through a descriptor of the child's, which may be one that it would not copy:
// an upgrade tries the new file by the descriptor that it has opened.
func throughDescriptor(path string) bool {
	return strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/dev/fd/")
}

// failedToUnshare reports whether the child failed at its first call, with the table still shared.
func (p *program) failedToUnshare() bool {
	return p.clone.flags&unix.CLONE_FILES != 0 && p.failed.at == address(&p.calls[0]) && p.failed.errno != 0
}

// runApart makes the child, without the shared table where the kernel has no way out of it.
func (p *program) runApart(c *child, path string, argv []string) (pid int, errno syscall.Errno, err *Error) {
	for {
		if err = p.write(c, path, argv); err != nil {
			p.lender.takeBack()
			return 0, 0, err
		}
		pid, errno = p.run()
		p.lender.takeBack()
		if errno == 0 || !p.failedToUnshare() {
			return pid, errno, nil
		}
		unshareRefused.Store(true)
	}
}
