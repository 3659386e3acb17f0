package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Obstacle says, for people, why a process is still there although it was killed: its pid, name and user, and one of the
// causes that a kill can fail for. It is "" for a process that has ended by now.
func Obstacle(p Process) string {
	who := "pid " + strconv.Itoa(p.PID)
	now, err := ReadProcess(p.PID)
	switch {
	case err != nil && p.Start == 0 && unix.Kill(p.PID, 0) != unix.ESRCH:
		return who + ": it may be one of its processes, but /proc does not show it (hidepid), so it was not killed"
	case err != nil || p.Start != 0 && now.Start != p.Start:
		return ""
	}
	who += " (" + now.Comm
	if name := userOf(p.PID); name != "" {
		who += ", user " + name
	}
	return who + "): " + obstacleOf(now)
}

func obstacleOf(p Process) string {
	tracer := numberIn(p.PID, "TracerPid:")
	switch {
	case p.Dead() && tracer > 0:
		return "it has ended, but pid " + strconv.Itoa(tracer) + nameIn(tracer) +
			", which traces it, has not taken note of that"
	case p.Dead():
		return "it has ended, but its parent, pid " + strconv.Itoa(p.PPID) + nameIn(p.PPID) + ", has not taken note of that"
	case unix.Kill(p.PID, 0) == unix.EPERM:
		return notPermitted(p.PID)
	}
	if group := frozenIn(p.PID); group != "" {
		return "its control group is frozen (" + group + ")"
	}
	switch {
	case tracer > 0:
		return "it is traced by pid " + strconv.Itoa(tracer) + nameIn(tracer)
	case p.State == 'D':
		return "it is in an uninterruptible sleep in the kernel" + waitsIn(p.PID)
	}
	return "it has not ended (state " + string(rune(p.State)) + ")"
}

// notPermitted says why kill(2) answers EPERM: by its rules, or although they allow it.
func notPermitted(pid int) string {
	if ids := strings.Fields(statusLine(pid, "Uid:")); len(ids) == 4 {
		for _, own := range [...]int{os.Getuid(), os.Geteuid()} {
			if id := strconv.Itoa(own); id == ids[0] || id == ids[2] { // real, and saved
				return "not permitted: a security module or a filter of system calls forbids it"
			}
		}
	}
	return "not permitted: it runs as another user, and this server lacks CAP_KILL"
}

// nameIn is the name of a process in parentheses, after a blank; "" when it cannot be read.
func nameIn(pid int) string {
	p, err := ReadProcess(pid)
	if err != nil {
		return ""
	}
	return " (" + p.Comm + ")"
}

// waitsIn is the function of the kernel that a process sleeps in, as far as we may know.
func waitsIn(pid int) string {
	var buf [128]byte
	name, err := readProc(pid, "wchan", buf[:])
	if err != nil || len(name) == 0 || string(name) == "0" {
		return ""
	}
	return " (" + string(name) + ")"
}

// userOf is the name of a process's user, else the number, "" when it cannot be read.
func userOf(pid int) string {
	fields := strings.Fields(statusLine(pid, "Uid:"))
	if len(fields) < 2 {
		return ""
	}
	if u, err := lookupUser(fields[1]); err == nil && u.Name != "" {
		return u.Name
	}
	return fields[1]
}

func numberIn(pid int, field string) int {
	n, _ := strconv.Atoi(statusLine(pid, field))
	return n
}

// statusLine is the value of a line of /proc/PID/status.
func statusLine(pid int, field string) string {
	var buf [4096]byte
	data, err := readProc(pid, "status", buf[:])
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte(field)); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// frozenIn finds the control group that keeps a process from acting on a signal: one of the freezer of version 1, which
// holds up even SIGKILL, or of version 2, which does not, but tells why nothing else happens. "" = it is in none.
func frozenIn(pid int) string {
	var buf [4096]byte
	groups, err := readProc(pid, "cgroup", buf[:])
	if err != nil {
		return ""
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "freezer" {
			continue
		}
		folder := folderOf(string(mounts), f[1], f[2])
		if folder == "" {
			continue
		}
		if state, err := os.ReadFile(filepath.Join(folder, "freezer.state")); err == nil && !strings.HasPrefix(string(state), "THAWED") {
			return folder
		}
		if n, ok := keyed(filepath.Join(folder, "cgroup.events"), "frozen"); ok && n == 1 {
			return folder
		}
	}
	return ""
}

// folderOf finds where a control group is mounted: of the hierarchy with that controller, or of version 2 for "".
func folderOf(mountinfo, controller, group string) string {
	for line := range strings.SplitSeq(mountinfo, "\n") {
		root, point, fstype := parseMount(line)
		if controller == "" && fstype != "cgroup2" || controller != "" && (fstype != "cgroup" || !hasOption(line, controller)) {
			continue
		}
		if rest, ok := below(group, root); ok {
			return filepath.Join(point, rest)
		}
	}
	return ""
}

// hasOption reports whether the file system of a line of mountinfo was mounted with an option, such as a controller.
func hasOption(line, option string) bool {
	f := strings.Fields(line)
	return slices.Contains(strings.Split(f[len(f)-1], ","), option)
}

// obstaclesShown bounds how many processes are named one by one.
const obstaclesShown = 8

// Obstacles is Obstacle for several, in one line; "" when all have ended.
func Obstacles(ps []Process) string {
	var texts []string
	for _, p := range ps {
		if text := Obstacle(p); text != "" {
			texts = append(texts, text)
		}
	}
	if n := len(texts) - obstaclesShown; n > 0 {
		texts = append(texts[:obstaclesShown], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(texts, "; ")
}
