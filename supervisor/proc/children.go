package proc

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Children appends the pids of the children of this process, living or zombies, to into. They belong to the threads that
// forked them, and adopted ones to the first thread, so all threads are asked. The kernel reads long lists page by page
// and counts entries, so while somebody reaps at the same moment, one may be missed: ask from the goroutine that reaps.
func Children(into []int) []int { return ChildrenOf(into, os.Getpid()) }

// ChildrenOf is Children of another process. Where the kernel does not list children (CONFIG_PROC_CHILDREN), all
// processes are looked at.
func ChildrenOf(into []int, pid int) []int {
	if !usable() {
		return into
	}
	base := "/proc/" + strconv.Itoa(pid) + "/task/"
	threads := listNumbers(base, nil)
	for _, tid := range threads {
		var listed bool
		if into, listed = childrenOfThread(into, base+strconv.Itoa(tid)); !listed {
			return childrenByParent(into, pid)
		}
	}
	return into
}

// childrenOfThread reads one list; false when the kernel has none.
func childrenOfThread(into []int, thread string) ([]int, bool) {
	if !usable() {
		return into, false
	}
	fd, err := unix.Open(thread+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return into, err != unix.ENOENT || threadGone(thread)
	}
	defer unix.Close(fd)
	var buf [4096]byte // the kernel hands out a page at most, in whole entries
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return into, true
		}
		f := fields{rest: buf[:n]}
		for w := f.word(); len(w) > 0; w = f.word() {
			if pid, ok := atoi(w); ok {
				into = append(into, pid)
			}
		}
	}
}

// threadGone tells an ended thread from a kernel without lists of children.
func threadGone(thread string) bool {
	var st unix.Stat_t
	return unix.Stat(thread, &st) != nil
}

func childrenByParent(into []int, parent int) []int {
	for _, pid := range listProcesses(nil) {
		if p, err := ReadProcess(pid); err == nil && p.PPID == parent {
			into = append(into, pid)
		}
	}
	return into
}
