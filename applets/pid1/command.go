package pid1

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// mainCommand is the program behind --, whose init we are.
type mainCommand struct {
	pid int // 0 = not running
}

// startMain starts it in its own process group, which gets the terminal if there is one.
func (s *shim) startMain() {
	env := environ(stateEnv)
	path, err := lookPath(s.opt.command[0], env)
	if err == nil {
		s.main.pid, err = s.spawn(child{exe: -1, path: path, argv: s.opt.command, env: env, files: []uintptr{0, 1, 2},
			sys: &syscall.SysProcAttr{Setpgid: true}})
	}
	if err != nil {
		s.main.pid = 0
		s.con.warn("cannot execute ", s.opt.command[0], ": ", err.Error())
		status := 126
		if err == unix.ENOENT {
			status = 127
		}
		s.end(status)
		return
	}
	if ownTerminal() {
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, s.main.pid)
		// It may have read from the terminal in the instant before and been stopped.
		_ = unix.Kill(-s.main.pid, unix.SIGCONT)
	}
}

// mainEnded stops the services and ends with the command's status.
func (s *shim) mainEnded(ws unix.WaitStatus) {
	s.main.pid = 0
	s.end(exitCode(ws))
}

// end stops everything and exits with status, if this is no machine.
func (s *shim) end(status int) {
	s.stop.status, s.stop.fixed = status, true
	if s.stop.phase == phaseRun {
		s.beginStop(actStop)
	}
}
