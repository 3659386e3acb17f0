package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Deserted is a control group of a supervisor that has died, of whatever socket, in which processes are left.
type Deserted struct {
	Folder    string
	Processes []Leftover
}

// desertedMax bounds how many control groups are looked at, and Deserted.Processes.
const desertedMax = 4096

// FindDeserted looks for them in the whole hierarchy. Only what is certain counts: nobody holds the folder's lock, the
// process that it is named after (a server, or the keeper that outlives it) is not there, and what is left is in our pid
// namespace, so that the supervisor was too and the number says something. A folder within that of a living supervisor is
// that one's business. It takes some milliseconds.
func (r *Root) FindDeserted() (found []Deserted) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !usable() {
		return nil
	}
	looked := 0
	var walk func(folder string, depth int)
	walk = func(folder string, depth int) {
		for _, sub := range subfolders(folder, depth) {
			if looked++; looked > desertedMax {
				return
			}
			if _, _, ok := ownerOfBase(filepath.Base(sub)); !ok {
				walk(sub, depth+1)
			} else if sub != r.base && !strings.HasPrefix(r.base, sub+"/") && deserted(sub) {
				if ps := leftIn(sub); len(ps) > 0 {
					found = append(found, Deserted{sub, ps})
				}
			}
		}
	}
	walk(folderOf(string(mounts), "", "/"), 0)
	return found
}

// IsDeserted reports whether a process is in such a group.
func IsDeserted(p Process) bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	var buf [4096]byte
	text, err2 := readProc(p.PID, "cgroup", buf[:])
	path, ok := unifiedPath(string(text))
	if err != nil || err2 != nil || !ok || !inOurNamespace(p.PID) {
		return false
	}
	top := ""
	for ; len(path) > 1; path = filepath.Dir(path) {
		if _, _, ok := ownerOfBase(filepath.Base(path)); ok {
			top = path
		}
	}
	return top != "" && deserted(folderOf(string(mounts), "", top)) && p.alive()
}

// deserted reports whether the supervisor of a folder is certainly dead.
func deserted(folder string) bool {
	pid, start, ok := ownerOfBase(filepath.Base(folder))
	if !ok {
		return false
	}
	if p, err := ReadProcess(pid); err == nil && p.Start == start && !p.Dead() {
		return false
	}
	lock, err := tryClaim(folder)
	if err == nil {
		unix.Close(lock)
	}
	return err == nil
}

// leftIn lists the processes in a folder that are in our pid namespace; none when one is not.
func leftIn(folder string) (out []Leftover) {
	for _, pid := range listed(folder, 0, nil) {
		if pid == 0 || !inOurNamespace(pid) || len(out) >= desertedMax {
			return nil
		}
		if p, err := ReadProcess(pid); err == nil && !p.Dead() {
			out = append(out, Leftover{Process: p, Service: serviceOf(pid)})
		}
	}
	slices.SortFunc(out, func(a, b Leftover) int { return a.PID - b.PID })
	return out
}

// inOurNamespace reports whether a process is certainly in our pid namespace; one that has ended by now counts as that.
func inOurNamespace(pid int) bool {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	if os.IsNotExist(err) {
		return true
	}
	ours, err2 := os.Readlink("/proc/self/ns/pid")
	return err == nil && err2 == nil && theirs == ours
}
