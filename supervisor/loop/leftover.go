package loop

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// settleLeftovers deals with what servers that died without a keeper have left running, before anything starts: it holds
// ports and locks, and would answer the checks of its successors. It is named, and ended unless it is to be kept.
func (d *driver) settleLeftovers() {
	found := proc.Leftovers(d.opt.Dead)
	for _, l := range found {
		text := "pid " + strconv.Itoa(l.PID) + " (" + l.Comm + ") is left over from a server that was killed"
		if l.Service != "" {
			text += ", of service " + l.Service
		}
		if d.opt.KeepLeftovers {
			text += "; it is kept"
		}
		d.log.Warn(text)
	}
	if len(found) == 0 || d.opt.KeepLeftovers {
		d.leftovers = len(found) > 0
		return
	}
	found = endAll(found, func() []proc.Leftover { return proc.Leftovers(d.opt.Dead) }, signalLeftovers, leftoverGrace)
	d.leftovers = len(found) > 0
	for _, l := range found {
		d.log.Error("cannot end what a server before has left: " + proc.Obstacle(l.Process))
	}
}

func signalLeftovers(ls []proc.Leftover, sig unix.Signal) {
	for _, l := range ls {
		_ = proc.SignalProcess(l.PID, l.Start, sig)
	}
}

// impostor says who answered a check in place of the service, when that is proven to be a leftover; "" = not proven.
func (d *driver) impostor(h *graph.Health) string {
	port, local := probe.LocalPort(h)
	if !local {
		return ""
	}
	for _, holder := range proc.PortHolders([]uint16{port}) {
		if proc.IsLeftover(holder.Process, d.opt.Dead) {
			return "answered by pid " + strconv.Itoa(holder.Process.PID) + " (" + holder.Process.Comm +
				"), which a server that was killed has left over, not by this service"
		}
	}
	return ""
}
