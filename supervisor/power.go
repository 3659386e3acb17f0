package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
)

// powerState is what was asked to follow the stop of everything; the first request wins.
type powerState struct {
	mu    sync.Mutex
	asked wire.Power
}

// Shutdown accepts the end of everything. What it returns begins it, after the answer is on its way.
func (s *Supervisor) Shutdown(p wire.Power) (func(), error) {
	if p != wire.PowerStop && s.opt.About.Mode != "machine" {
		return nil, wire.NewError(wire.CodeInternal, fmt.Sprintf("%s is only available when zinit-pid1 is process 1 of a machine; "+
			"to end the supervisor use: zinit shutdown", p))
	}
	return func() { s.End(p) }, nil
}

// End stops all services in order and then ends the driver. Repeating it changes nothing.
func (s *Supervisor) End(p wire.Power) {
	s.power.mu.Lock()
	if s.power.asked != "" {
		s.power.mu.Unlock()
		s.loop.TellWaiting() // who asks is told what it waits for
		return
	}
	s.power.asked = p
	s.power.mu.Unlock()
	s.loop.Shutdown(string(p))
}

// atEnd reports whether everything is being stopped, or shall be.
func (s *Supervisor) atEnd() bool {
	s.power.mu.Lock()
	defer s.power.mu.Unlock()
	return s.power.asked != "" || s.shown.Views.Load().Halting
}

// shutdownTimeout is after how long of a stop what is left is killed, whatever the services ask for: [shutdown] timeout_ms,
// or what the keeper's own budget leaves if that is less. 0 = no such bound.
func (o *Options) shutdownTimeout() time.Duration {
	limit := o.KillAfter
	if s := o.Files.Settings; s != nil && s.ShutdownTimeout > 0 && (limit == 0 || s.ShutdownTimeout < limit) {
		limit = s.ShutdownTimeout
	}
	return limit
}

// KillAll ends what is left with SIGKILL: the second stop signal.
func (s *Supervisor) KillAll() {
	s.loop.KillAll()
}

// Power is what was asked to follow, PowerStop when nothing else was.
func (s *Supervisor) Power() wire.Power {
	s.power.mu.Lock()
	defer s.power.mu.Unlock()
	if s.power.asked == "" {
		return wire.PowerStop
	}
	return s.power.asked
}

// Bye is the reason the keeper gets when the server ends.
func (s *Supervisor) Bye() keeper.Reason {
	switch s.Power() {
	case wire.PowerReboot:
		return keeper.Reboot
	case wire.PowerPoweroff:
		return keeper.PowerOff
	case wire.PowerHalt:
		return keeper.Halt
	}
	return keeper.ByeStop
}

// Upgrade checks a new executable and, once the answer is written, executes it in this process's place. An empty path
// means the file this server was started from. While another upgrade is under way it waits: until that one has failed, or
// for the end of ctx, or for ever when this image is replaced, and then the next one is to be asked. What comes of the
// upgrade is told by system.status, under the number in the answer.
func (s *Supervisor) Upgrade(ctx context.Context, path string) (wire.Upgrade, func(), error) {
	u, err := s.prepareUpgrade(ctx, path)
	if err != nil {
		return wire.Upgrade{}, nil, err
	}
	answer := wire.Upgrade{OK: true, From: s.opt.About.Version, To: u.version, ID: s.last.Load().ID}
	return answer, func() { go s.execute(u) }, nil
}

// PrepareRestart answers 0.3.9's soft restart by an upgrade to the same executable, which keeps everything.
func (s *Supervisor) PrepareRestart(ctx context.Context) (wire.PrepareRestart, func(), error) {
	u, err := s.prepareUpgrade(ctx, "")
	if err != nil {
		return wire.PrepareRestart{}, nil, err
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", unix.Getpid(), u.journalFD)
	return wire.PrepareRestart{Ready: true, StatePath: path}, func() { go s.execute(u) }, nil
}

// upgrade is a checked executable, kept open so that what was checked is what is executed.
type upgrade struct {
	fd        int
	path      string
	version   string
	journalFD int
	state     int  // the version of the journal that it reads
	list      int  // the file of passOn, -1 = none
	prepared  bool // prepareExec was begun
}

// prepareUpgrade opens and checks the executable: it must run, say its version and accept this server's state.
func (s *Supervisor) prepareUpgrade(ctx context.Context, path string) (*upgrade, error) {
	if s.opt.Loop.Journal == nil {
		return nil, wire.NewError(wire.CodeInternal, "cannot upgrade: this server has no journal; its log says why (zinit logs zinit)")
	}
	select {
	case s.upgradeTurn <- struct{}{}:
	case <-ctx.Done():
		return nil, wire.NewError(wire.CodeInternal, "cannot upgrade: another upgrade is under way")
	case <-s.loop.Done():
		return nil, answer.ErrStopping()
	}
	u, err := s.checkExecutable(path)
	if err != nil {
		s.endUpgrade()
		return nil, err
	}
	fault.Here("checked")
	next := wire.LastUpgrade{ID: 1, Path: u.path, From: s.opt.About.Version, To: u.version, Outcome: upgradeUnderWay}
	if last := s.last.Load(); last != nil {
		next.ID = last.ID + 1
	}
	s.last.Store(&next)
	return u, nil
}

func (s *Supervisor) endUpgrade() { <-s.upgradeTurn }

func (s *Supervisor) checkExecutable(path string) (*upgrade, error) {
	if path == "" {
		path = s.opt.executable()
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wire.NewError(wire.CodeParams, fmt.Sprintf("cannot upgrade to %s: %v", path, err))
	}
	ctx, stop := context.WithTimeout(context.Background(), selfTestLimit)
	defer stop()
	state := s.opt.Loop.Journal.Version()
	version, err := s.selfTest(ctx, fd, path, state)
	if err != nil && state > journal.FirstVersion { // it may be the release before: the journal is converted for it
		var older error
		if version, older = s.selfTest(ctx, fd, path, journal.FirstVersion); older == nil {
			state, err = journal.FirstVersion, nil
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, wire.NewError(wire.CodeValidation, fmt.Sprintf("cannot upgrade to %s: %v; the running version goes on", path, err))
	}
	return &upgrade{fd: fd, path: path, version: version, state: state, journalFD: s.opt.Loop.Journal.FD(), list: -1}, nil
}
