package system

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// Deaths implements loop.Processes.
func (y *System) Deaths() <-chan proc.Death { return y.deaths }

// Ended implements loop.Processes.
func (y *System) Ended() (proc.Exit, bool) { return y.reaper.Next() }

// Reap implements loop.Processes.
func (y *System) Reap(pid int) { y.reaper.Reap(pid) }

// Lives implements loop.Processes.
func (y *System) Lives(pid int, start uint64) bool { return proc.Lives(pid, start) }

// Exists implements loop.Processes.
func (y *System) Exists(pid int) bool { return unix.Kill(pid, 0) != unix.ESRCH }

// Stands implements loop.Processes.
func (y *System) Stands(p proc.Process) (there, asleep bool) {
	now, err := proc.ReadProcess(p.PID)
	return err == nil && now.Start == p.Start && !now.Dead(), err == nil && now.State == 'D'
}

// sent takes what kill(2) said about a signal to a process that is there, and reports whether it was sent.
func (y *System) sent(service string, pid int, sig graph.Signal, err error) bool {
	// ESRCH: it has ended, and its end is on the way to us. SIGCONT follows one that was told.
	if err == unix.EPERM && sig != proc.SIGCONT {
		y.log.Warn("cannot send "+sig.Name()+" to "+service+": "+proc.Obstacle(proc.Process{PID: pid}), "service", service)
	}
	return err == nil
}

// Signal implements loop.Processes.
func (y *System) Signal(service string, pid int, sig graph.Signal) bool {
	return y.sent(service, pid, sig, unix.Kill(pid, unix.Signal(sig)))
}

// SignalGroup implements loop.Processes.
func (y *System) SignalGroup(service string, main int, sig graph.Signal) bool {
	return unix.Kill(-main, unix.Signal(sig)) == nil || y.Signal(service, main, sig)
}

// KillGroup implements loop.Processes.
func (y *System) KillGroup(main int) { _ = unix.Kill(-main, unix.SIGKILL) }

// SignalOther implements loop.Processes.
func (y *System) SignalOther(service string, pid int, start uint64, sig graph.Signal, then func(sent bool)) {
	y.beside(func() func() {
		sent := y.sent(service, pid, sig, proc.SignalProcess(pid, start, unix.Signal(sig)))
		return func() { then(sent) }
	})
}

// SignalEach implements loop.Processes.
func (y *System) SignalEach(ps []proc.Process, sigs []graph.Signal) {
	go func() {
		for _, sig := range sigs {
			y.scanner.Signal(ps, unix.Signal(sig))
		}
	}()
}

// Watch implements loop.Processes.
func (y *System) Watch(pid int, start uint64, ended func()) bool {
	fd, err := proc.OpenPidfd(pid, start)
	if err != nil {
		return false
	}
	_ = unix.SetNonblock(fd, true) // so that the runtime polls it
	f := os.NewFile(uintptr(fd), "pidfd")
	y.beside(func() func() {
		defer f.Close()
		if raw, err := f.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
				n, err := unix.Poll(set, 0)
				return n > 0 || err != nil && err != unix.EINTR
			})
		}
		return ended
	})
	return true
}

// PIDFile implements loop.Processes.
func (y *System) PIDFile(c *graph.Config, then func(pid int, why string)) {
	y.beside(func() func() {
		pid, why := 0, ""
		if !y.files.Ask("pid file at the end "+pidFile(c), pidFilePatience, func() { pid, why = proc.ReadPIDFile(c.Dir, c.PIDFile) }) {
			return func() { then(0, loop.PIDFileHangs) }
		}
		return func() { then(pid, why) }
	})
}

// pidFile names the file for those who ask for it.
func pidFile(c *graph.Config) string {
	if filepath.IsAbs(c.PIDFile) {
		return c.PIDFile
	}
	return filepath.Join(c.Dir, c.PIDFile)
}

// AwaitPIDFile implements loop.Processes.
func (y *System) AwaitPIDFile(c *graph.Config, pid int, then func()) (stop func()) {
	ctx, stop := context.WithCancel(context.Background())
	y.beside(func() func() {
		for pause := pidFileFirst; ; pause = min(2*pause, pidFileSlow) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			named := 0
			if y.files.Ask("pid file "+pidFile(c), pidFilePatience, func() { named, _ = proc.ReadPIDFile(c.Dir, c.PIDFile) }) && named == pid {
				return then
			}
		}
	})
	return stop
}

// Conflict implements loop.Services.
func (y *System) Conflict(c *graph.Config, ours []proc.Owner, kill bool, then func(*machine.Conflict)) {
	y.beside(func() func() {
		conflict := y.scanner.FindConflict(c, ours, kill)
		return func() { then(conflict) }
	})
}

// Probe implements loop.Services.
func (y *System) Probe(h *graph.Health, then func(ok bool, detail string)) (cancel func()) {
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	y.beside(func() func() {
		defer cancel()
		ok, detail := probe.Run(ctx, h)
		if ok && (y.leftovers || y.deserted.Load()) {
			if by := y.impostor(h); by != "" {
				ok, detail = false, by
			}
		}
		return func() { then(ok, detail) }
	})
	return cancel
}
