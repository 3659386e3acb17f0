package supervisor

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/logfile"
	"github.com/zinit/zinit/supervisor/ship"
	"github.com/zinit/zinit/supervisor/syslog"
)

// sinkPatience is how long the end of the server waits for files and destinations to take the last lines.
const sinkPatience = 2 * time.Second

// sinks are where lines go beside the rings, and the syslog socket by which more of them come.
type sinks struct {
	files  *logfile.Files
	ship   *ship.Shipper
	syslog atomic.Pointer[syslog.Server]
	// syslogFD is the syslog socket, -1 = none; a lone server leaves it open for the executable that replaces it.
	syslogFD int
}

func newSinks(d *driver) *sinks {
	return &sinks{syslogFD: -1,
		files: logfile.New(d.arena, logfile.Options{Report: func(service, path string, err error, lost uint64) {
			if err != nil {
				d.log.Error("cannot write a log file, it is tried again", "service", service, "file", path, "error", err)
			} else {
				d.log.Info("a log file is written again", "service", service, "file", path, "lost_lines", lost)
			}
		}}),
		ship: ship.New(d.arena, ship.Options{Report: func(target, service string, err error, lost uint64) {
			switch {
			case err != nil:
				d.log.Error("cannot ship logs, it is tried again", "to", target, "error", err)
			case service != "":
				d.log.Warn("lines were lost while a destination was down", "to", target, "service", service, "lost_lines", lost)
			default:
				d.log.Info("logs are shipped again", "to", target)
			}
		}}),
	}
}

// direct gives a service its ring, file and destination, before it can write a line.
func (d *driver) direct(c *graph.Config) {
	if c.Target {
		return
	}
	d.arena.Ring(c.Name, ringLimits(d.opt, c))
	var file *logfile.Config
	if l := &c.Logging; l.File != "" {
		file = &logfile.Config{Path: l.File, Rotate: l.RotateBytes, Keep: l.RotateKeep, Gzip: l.RotateGzip}
	}
	d.sinks.files.Set(c.Name, file)
	if err := d.sinks.ship.Set(c.Name, d.opt.forwardURL(c), c.Logging.SyslogMaxBytes); err != nil {
		d.log.Error("cannot ship the logs of a service", "service", c.Name, "error", err)
	}
}

// undirect ends file and destination of a service that is gone.
func (d *driver) undirect(name string) {
	d.sinks.files.Set(name, nil)
	_ = d.sinks.ship.Set(name, "", 0)
}

// forwardURL is where a service's lines go: what its file says, else the default of the settings.
func (o *Options) forwardURL(c *graph.Config) string {
	f := c.Logging.Forward
	fallback := graph.Forward{}
	if o.Settings != nil {
		fallback = o.Settings.Forward
	}
	switch {
	case f.Set && !f.On:
		return ""
	case f.Set && f.URL != "":
		return f.URL
	case f.Set || fallback.On:
		return fallback.URL
	}
	return ""
}

// sinksOf are the files and destinations of one service's log; "" means the destinations of all.
func (s *Supervisor) sinksOf(name string) []wire.Sink {
	if name == "" {
		return slices.Concat([]wire.Sink{}, s.driver.sinks.ship.Sinks())
	}
	out := []wire.Sink{}
	if sink, ok := s.driver.sinks.files.Sink(name); ok {
		out = append(out, sink)
	}
	if sink, ok := s.driver.sinks.ship.Sink(name); ok {
		out = append(out, sink)
	}
	return out
}

// ReopenLogs makes the log files be opened anew, after somebody moved them away.
func (s *Supervisor) ReopenLogs() { s.driver.sinks.files.Reopen() }

// closeSinks lets files and destinations take the last lines, for a bounded time.
func (s *Supervisor) closeSinks() {
	ctx, stop := context.WithTimeout(context.Background(), sinkPatience)
	defer stop()
	k := s.driver.sinks
	if server := k.syslog.Load(); server != nil {
		server.Close()
		_ = os.Remove(s.opt.Syslog)
	}
	k.files.Flush(ctx)
	k.ship.Flush(ctx)
	k.files.Close()
	k.ship.Close()
}

// keeperSyslog is the name under which the keeper holds the syslog socket: senders do not notice a crash of the server.
const keeperSyslog = "syslog"

// serveSyslog serves /dev/log, or the path that was asked for. Without it everything else works.
func (s *Supervisor) serveSyslog() {
	if s.opt.Syslog == "" {
		return
	}
	d := s.driver
	fd := s.inheritedFile(keeperSyslog)
	if fd < 0 {
		var err error
		if fd, err = syslog.Listen(s.opt.Syslog); err != nil {
			d.log.Error("no syslog", "error", err)
			return
		}
		if d.keeper != nil {
			_ = d.keeper.StoreFile(keeperSyslog, s.opt.Syslog, fd)
		}
	}
	server, err := syslog.Serve(fd, d.arena, syslog.Options{Owner: s.ownerOf, OwnerOfGroup: s.ownerOfGroup})
	if err != nil {
		d.log.Error("no syslog", "error", err)
		return
	}
	d.sinks.syslog.Store(server)
	d.post(func() { d.sinks.syslogFD = fd })
}

// inheritedFile takes a descriptor that the keeper held under a name, -1 = none.
func (s *Supervisor) inheritedFile(name string) int {
	if s.opt.Handover == nil {
		return -1
	}
	i := slices.IndexFunc(s.opt.Handover.Files, func(f keeper.File) bool { return f.Name == name })
	if i < 0 {
		return -1
	}
	return s.opt.Handover.Files[i].FD
}

// ownerOf names the service whose process sent a message, by the tag or the identity that it inherited.
func (s *Supervisor) ownerOf(pid int32, _ uint32) string {
	gen := s.driver.scanner.GenOf(int(pid))
	if gen == 0 {
		return ""
	}
	for _, e := range s.driver.views.load().Entries {
		if uint64(e.Info.Gen) == gen {
			return e.Config.Name
		}
	}
	return ""
}

// ownerOfGroup names the service whose control group has a number, the inode of its directory.
func (s *Supervisor) ownerOfGroup(group uint64) string {
	for _, e := range s.driver.views.load().Entries {
		if e.Run == nil || e.Run.cgroup == "" {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(e.Run.cgroup, &st) == nil && st.Ino == group {
			return e.Config.Name
		}
	}
	return ""
}
