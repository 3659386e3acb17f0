package pid1

import (
	"cmp"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
)

// child is a program to start.
type child struct {
	exe   int // an open executable, -1 = path
	path  string
	argv  []string
	env   []string
	files []uintptr // standard input, outputs and what follows
	sys   *syscall.SysProcAttr
	oom   string // its oom_score_adj, "" = what pid1 found
	wrap  string // the name of ours to start through, see early.Limits, "" = none
}

// spawn starts a child with an empty signal mask and the oom_score_adj that pid1 found. It never looks up PATH.
func (s *shim) spawn(c child) (pid int, err error) {
	if s.oom != "" {
		writeFile("/proc/self/oom_score_adj", cmp.Or(c.oom, s.oom))
		defer writeFile("/proc/self/oom_score_adj", "-1000")
	}
	early.Spawning(func(busy bool) {
		if early.Raised() {
			c.wrap = early.Limits
		} else if busy {
			c.wrap = early.Unmask
		}
		pid, err = s.wrapped(c).start()
	})
	return pid, err
}

// wrapped makes the child start through this binary, when it is to: only a program can take back what it has inherited.
func (s *shim) wrapped(c child) child {
	if c.wrap == "" {
		return c
	}
	path := c.path
	if c.exe >= 0 && exists("/proc/self/fd") {
		path = "/proc/self/fd/" + itoa(len(c.files))
		c.files = append(slices.Clip(c.files), uintptr(c.exe))
	}
	c.argv = append([]string{c.wrap, path}, c.argv...)
	c.exe, c.path = s.server.self, s.server.selfPath
	return c
}

// start forks. The child puts its files to their places before it executes, so a descriptor with a low number would be
// another.
func (c child) start() (pid int, err error) {
	exe := c.exe
	if exe >= 0 {
		if exe, err = unix.FcntlInt(uintptr(exe), unix.F_DUPFD_CLOEXEC, lowDescriptors); err != nil {
			return 0, err
		}
		defer closeFD(exe)
	}
	return syscall.ForkExec(execPath(exe, c.path), c.argv, &syscall.ProcAttr{Env: c.env, Files: c.files, Sys: c.sys})
}

// lowDescriptors is more than any child is given.
const lowDescriptors = 16

// execPath names an open executable where /proc is there, so that it is found also after its file was replaced.
func execPath(fd int, path string) string {
	if fd >= 0 && exists("/proc/self/fd/"+itoa(fd)) {
		return "/proc/self/fd/" + itoa(fd)
	}
	return path
}

// lookPath finds a program as a shell does. The error is that of the last file that exists but cannot be executed, else
// ENOENT.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var err error = unix.ENOENT
	for _, e := range env {
		dirs, found := strings.CutPrefix(e, "PATH=")
		if !found {
			continue
		}
		for _, dir := range strings.Split(dirs, ":") {
			if dir == "" {
				dir = "."
			}
			if file := dir + "/" + name; executable(file) {
				return file, nil
			} else if exists(file) {
				err = unix.EACCES
			}
		}
	}
	return "", err
}
