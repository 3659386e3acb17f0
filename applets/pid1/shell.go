package pid1

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
)

// shell is the one on the console.
type shell struct {
	pid   int
	first bool // everything else waits for its end
}

// shells are tried in this order. sulogin asks for root's password where there is one.
var shells = [][]string{
	{"/sbin/sulogin"}, {"/usr/sbin/sulogin"}, {"/bin/sh"}, {"/bin/bash"}, {"/bin/busybox", "sh"}, {"/usr/bin/sh"},
}

// openShell opens a shell on the console of a machine and reports whether one is open now.
func (s *shim) openShell(service, why string) bool {
	if s.mode != keeper.Machine || s.stop.phase != phaseRun {
		return false
	}
	if s.shell.pid > 0 {
		s.con.warn(why)
		return true
	}
	announced := false
	for _, argv := range shells {
		if !executable(argv[0]) {
			continue
		}
		if !announced {
			announced = true
			s.con.warn("shell on the console, leave it with exit: ", why)
		}
		if s.spawnShell(argv, service) {
			return true
		}
	}
	if !announced {
		s.con.warn("no shell here to repair this: ", why)
	}
	return false
}

func (s *shim) spawnShell(argv []string, service string) bool {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	env := append(environ(stateEnv), "ZINIT_FAILED_SERVICE="+service)
	c := child{exe: -1, path: argv[0], argv: argv, env: env, files: []uintptr{uintptr(fd), uintptr(fd), uintptr(fd)}}
	c.sys = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	pid, err := s.spawn(c)
	if err != nil {
		// Not every console can be a controlling terminal; job control is then missing, nothing else.
		c.sys = &syscall.SysProcAttr{Setsid: true}
		pid, err = s.spawn(c)
	}
	if err != nil {
		s.con.warn("cannot start ", argv[0], ": ", err.Error())
		return false
	}
	s.shell.pid = pid
	return true
}

func (s *shim) shellEnded() {
	s.shell.pid = 0
	if s.shell.first {
		s.shell.first = false
		s.startAll(false)
	}
}
