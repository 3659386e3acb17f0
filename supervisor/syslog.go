package supervisor

import (
	"os"
	"slices"

	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/syslog"
)

// ReopenLogs makes the log files be opened anew, after somebody moved them away.
func (s *Supervisor) ReopenLogs() { s.world.Files().Reopen() }

// keeperSyslog is the name under which the keeper holds the syslog socket: senders do not notice a crash of the server.
const keeperSyslog = "syslog"

// serveSyslog serves /dev/log, or the path that was asked for. Without it everything else works.
func (s *Supervisor) serveSyslog() {
	if s.opt.Syslog == "" {
		return
	}
	fd := s.inheritedFile(keeperSyslog)
	if fd < 0 {
		var err error
		if fd, err = syslog.Listen(s.opt.Syslog); err != nil {
			s.log.Error("no syslog", "error", err)
			return
		}
		if k := s.opt.Loop.Keeper; k != nil {
			_ = k.StoreFile(keeperSyslog, s.opt.Syslog, fd)
		}
	}
	server, err := syslog.Serve(fd, s.opt.Loop.Arena, syslog.Options{Owner: s.OwnerOf, OwnerOfGroup: s.OwnerOfGroup})
	if err != nil {
		s.log.Error("no syslog", "error", err)
		return
	}
	s.syslog, s.syslogFD = server, fd
}

// closeSyslog ends the service of the socket.
func (s *Supervisor) closeSyslog() {
	if s.syslog != nil {
		s.syslog.Close()
		_ = os.Remove(s.opt.Syslog)
	}
}

// inheritedFile takes a descriptor that the keeper held under a name, -1 = none.
func (s *Supervisor) inheritedFile(name string) int {
	h := s.opt.Loop.Handover
	if h == nil {
		return -1
	}
	i := slices.IndexFunc(h.Files, func(f keeper.File) bool { return f.Name == name })
	if i < 0 {
		return -1
	}
	return h.Files[i].FD
}
