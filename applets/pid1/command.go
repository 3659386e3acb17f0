package pid1

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
)

// mainCommand is the program behind --, whose init we are.
type mainCommand struct {
	pid     int  // 0 = not running
	waiting bool // for the services
	listen  int  // descriptors from 3 on that were passed to us for it (sd_listen_fds(3))
}

// prepareMain starts it at once, or lets it wait until the services are up, which the server tells.
func (s *shim) prepareMain() {
	s.main.listen = listenFDs()
	for fd := range s.main.listen {
		setCloexec(listenFirst+fd, true)
	}
	if s.opt.noWait {
		s.startMain()
		return
	}
	s.main.waiting = true
	s.arm(timerMain, s.patience())
}

// patience is how long the command waits for the services.
func (s *shim) patience() int64 {
	if s.opt.waitMS > 0 {
		return int64(s.opt.waitMS) * millisecond
	}
	return 60 * second
}

// mainExpected reports whether there is a command that runs or is still to run.
func (s *shim) mainExpected() bool { return s.main.pid > 0 || s.main.waiting }

// releaseMain ends the waiting; why is said when the services are not up.
func (s *shim) releaseMain(why string) {
	if !s.main.waiting {
		return
	}
	s.main.waiting = false
	s.disarm(timerMain)
	if s.stop.phase != phaseRun {
		return
	}
	if why != "" {
		s.con.warn(why, "; starting ", s.opt.command[0], " all the same")
	}
	s.startMain()
}

// startMain starts it in its own process group, which gets the terminal if there is one.
func (s *shim) startMain() {
	c := child{exe: -1, argv: s.opt.command, files: []uintptr{0, 1, 2}, sys: &syscall.SysProcAttr{Setpgid: true}}
	drop, set := []string{stateEnv}, []string{}
	if path := s.socketPath(); path != "" {
		drop, set = append(drop, "ZINIT_SOCKET"), append(set, "ZINIT_SOCKET="+path)
	}
	if s.main.listen > 0 {
		drop, set = append(drop, "LISTEN_PID", "LISTEN_PIDFDID"), append(set, early.OwnListenPID)
		c.wrap = early.Unmask // its pid is known to itself only
	}
	for fd := range s.main.listen {
		c.files = append(c.files, uintptr(listenFirst+fd))
	}
	c.env = append(environ(drop...), set...)
	var err error
	if c.path, err = lookPath(s.opt.command[0], c.env); err == nil {
		s.main.pid, err = s.spawn(c)
	}
	for fd := range s.main.listen {
		closeFD(listenFirst + fd)
	}
	s.main.listen = 0
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

// listenFirst is SD_LISTEN_FDS_START.
const listenFirst = 3

// listenFDs is how many open descriptors were passed to this process in the way of sd_listen_fds(3).
func listenFDs() int {
	if pid := os.Getenv("LISTEN_PID"); pid != "" && pid != itoa(unix.Getpid()) {
		return 0
	}
	passed := min(number(os.Getenv("LISTEN_FDS")), listenMost)
	n := 0
	for n < passed && isOpen(listenFirst+n) {
		n++
	}
	return n
}

// listenMost bounds what is passed on.
const listenMost = 1024

// socketPath is where the server listens: what it has told, or was told.
func (s *shim) socketPath() string {
	if path := s.store.SocketPath(); path != "" {
		return path
	}
	for i, f := range s.flags {
		name, value, has := strings.Cut(f, "=")
		if name != "--socket" && name != "-s" {
			continue
		}
		if !has && i+1 < len(s.flags) {
			value = s.flags[i+1]
		}
		return value
	}
	return os.Getenv("ZINIT_SOCKET")
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
