package server

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor/keeper"
)

// handleSignals turns signals into what they ask for; a second stop kills at once, unless it comes so soon that it is the
// same. SIGQUIT (Ctrl-\) is never the same: a Go program would otherwise end with a dump of its goroutines.
func (s *server) handleSignals() {
	for sig := range early.ServerSignals {
		switch sig {
		case flushSignal:
			select {
			case s.flushed <- struct{}{}:
			default:
			}
		case unix.SIGTERM, unix.SIGINT:
			s.stop(keeper.OrderStop, false)
		case unix.SIGQUIT:
			s.stop(keeper.OrderStop, true)
		case unix.SIGHUP:
			s.order(keeper.OrderReload)
		case unix.SIGUSR1:
			s.order(keeper.OrderUpgrade)
		}
	}
}

// order takes what a signal or the keeper asks.
func (s *server) order(o keeper.Order) {
	if powerOf[o] != "" {
		s.stop(o, false)
		return
	}
	s.orders.take(o, s.carryOut)
}

// stop takes a request to end; a second one kills what is left. sure is a request that cannot be the first again.
func (s *server) stop(o keeper.Order, sure bool) {
	now := time.Now()
	switch {
	case s.stopped.CompareAndSwap(nil, &now):
		s.orders.take(o, s.carryOut)
	case sure || now.Sub(*s.stopped.Load()) >= doubled:
		s.orders.take(keeper.OrderKill, s.carryOut)
	}
}

// carryOut does what was asked. What takes time it leaves to a goroutine.
func (s *server) carryOut(o keeper.Order) {
	switch o {
	case keeper.OrderReload:
		s.orders.goReload(s.reload)
	case keeper.OrderUpgrade:
		s.orders.goUpgrade(func(ctx context.Context) (func(), error) {
			_, begin, err := s.sup.Upgrade(ctx, "")
			return begin, err
		}, func(err error) { s.log.Error("cannot upgrade", "error", err) })
	case keeper.OrderKill:
		s.sup.KillAll()
	default:
		s.sup.End(powerOf[o])
	}
}

// doubled is how soon after a stop another one is the same: timeout(1), and shells that end, signal a process and then
// its whole group.
const doubled = 100 * time.Millisecond

var powerOf = map[keeper.Order]rpc.Power{keeper.OrderStop: rpc.PowerStop, keeper.OrderPowerOff: rpc.PowerPoweroff,
	keeper.OrderReboot: rpc.PowerReboot, keeper.OrderHalt: rpc.PowerHalt}

func (s *server) reload() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	notifyAbove("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10))
	s.restoreSocket()
	s.sup.ReopenLogs()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if _, err := s.sup.Reload(ctx, false); err != nil {
		s.log.Error("cannot reload", "error", err)
	}
	notifyAbove("READY=1")
}

// notifyAbove tells the supervisor that runs this server, if it asked for it (sd_notify(3)).
func notifyAbove(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" || !filepath.IsAbs(path) && path[0] != '@' {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, []byte(state), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: path})
}
