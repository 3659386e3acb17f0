package answer

import (
	"slices"
	"strconv"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// stranger says who listens where the check of a running service connects to, when that is known and is no process of the
// service: a proxy, or whoever passed it the socket. The check counts all the same. "" = nothing to say.
func (s *Reader) stranger(e *view.Entry, tree []proc.Process) string {
	if e.Config.Health == nil || e.Info.State != machine.Running {
		return ""
	}
	port, local := probe.LocalPort(e.Config.Health)
	if !local {
		return ""
	}
	text := ""
	for _, h := range proc.PortHolders([]uint16{port}) {
		if slices.ContainsFunc(tree, func(p proc.Process) bool { return p.PID == h.Process.PID }) {
			return ""
		}
		if h.Process.PID > 0 {
			text = "its check is answered by pid " + strconv.Itoa(h.Process.PID) + " (" + h.Process.Comm +
				"), which is no process of it"
		}
	}
	return text
}
