package supervisor

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// Where the state of the server before cannot be read (damaged, of a newer version, or there was no room for it) the keeper
// still knows which processes it had, and they say themselves which service they are. What is proven is taken over.

// lastGen is the highest number of an incarnation that the server before is known to have used: new ones go on behind it, so
// that nothing that is left of them (control groups, pipes, exits) is taken for another's.
func lastGen(h *keeper.Handover) uint64 {
	if h == nil {
		return 0
	}
	last := uint64(0)
	see := func(gen uint64) {
		if gen&proc.Aside == 0 {
			last = max(last, gen)
		}
	}
	for _, gen := range h.Tracked {
		see(gen)
	}
	for _, p := range h.Pipes {
		see(p.Gen)
	}
	for _, e := range h.Exits {
		see(e.Gen)
	}
	return last
}

// salvage finds the main processes that the server before has left. One that is of no service that is defined, or of which
// nobody can tell, is ended: a second copy beside it would be worse, and the keeper has not reaped it, so the number is its
// own.
func (s *Supervisor) salvage(defs *view.Definitions) map[string]loop.Found {
	h := s.opt.Loop.Handover
	if h == nil {
		return nil
	}
	pids := slices.Concat(slices.Collect(maps.Keys(h.Tracked)), proc.Children(nil))
	slices.Sort(pids)
	found := map[string]loop.Found{}
	for _, pid := range slices.Compact(pids) {
		p, err := proc.ReadProcess(pid)
		if err != nil || p.Dead() {
			continue
		}
		name, gen := nameOfLeft(h, pid)
		c := defs.Configs[name]
		if _, twice := found[name]; c == nil || c.Target || twice {
			if h.Tracked[pid] == 0 && name == "" {
				continue // a child that never was a service's
			}
			s.log.Warn("ending a process that the server before has left: no service that is defined", "pid", pid, "service", name)
			_ = unix.Kill(-pid, unix.SIGKILL)
			_ = unix.Kill(pid, unix.SIGKILL)
			continue
		}
		found[name] = loop.Found{Process: p, Gen: gen}
		s.log.Warn("taking over a process without the state of the server before", "service", name, "pid", pid)
	}
	return found
}

// nameOfLeft is the service of a process and its incarnation; "" when it is a hook's, or nothing proves whose it is.
func nameOfLeft(h *keeper.Handover, pid int) (string, uint64) {
	if hook, _ := proc.Variable(pid, "ZINIT_HOOK"); hook != "" {
		return "", 0
	}
	tracked := h.Tracked[pid]
	id, _ := proc.Variable(pid, "ZINIT_ID")
	if name, gen, ok := proc.ParseID(id); ok && gen&proc.Aside == 0 && (tracked == 0 || tracked == gen) {
		return name, gen
	}
	for _, p := range h.Pipes {
		if p.Gen == tracked && tracked != 0 {
			return p.Service, p.Gen
		}
	}
	return "", 0
}

// tellUnknown names the services that start as their files say, though an operator may have stopped them.
func (s *Supervisor) tellUnknown(defs *view.Definitions, found map[string]loop.Found) {
	var names []string
	for name, c := range defs.Configs {
		if _, runs := found[name]; !runs && !c.Target && c.Status == graph.StatusStart {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		s.log.Warn("started as their files say; nobody knows whether they had been stopped by hand, or had run to their end: " +
			strings.Join(names, ", "))
	}
}
