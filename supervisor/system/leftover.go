package system

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// SettleLeftovers deals with what servers that died without a keeper have left running, before anything starts: it holds
// ports and locks, and would answer the checks of its successors. It is named, and ended unless it is to be kept.
func (y *System) SettleLeftovers() {
	found := proc.Leftovers(y.dead)
	for _, l := range found {
		text := "pid " + strconv.Itoa(l.PID) + " (" + l.Comm + ") is left over from a server that was killed"
		if l.Service != "" {
			text += ", of service " + l.Service
		}
		if y.opt.KeepLeftovers {
			text += "; it is kept"
		}
		y.log.Warn(text)
	}
	if y.cgroups != nil {
		y.beside(y.nameDeserted)
	}
	if len(found) == 0 || y.opt.KeepLeftovers {
		y.leftovers = len(found) > 0
		return
	}
	found = endAll(found, func() []proc.Leftover { return proc.Leftovers(y.dead) }, signalLeftovers, leftoverGrace)
	y.leftovers = len(found) > 0
	for _, l := range found {
		y.log.Error("cannot end what a server before has left: " + proc.Obstacle(l.Process))
	}
}

// nameDeserted says what zinits on other sockets have left running when they were killed. That is nobody's to end but the
// user's: the socket tells which services are the same. What of it answers a check does not count.
func (y *System) nameDeserted() (word func()) {
	for _, group := range y.cgroups.FindDeserted() {
		left := slices.DeleteFunc(group.Processes, func(l proc.Leftover) bool { return proc.IsLeftover(l.Process, y.dead) })
		if len(left) == 0 {
			continue // of this socket
		}
		y.deserted.Store(true)
		var names []string
		for i, l := range left {
			if i == desertedShown {
				names = append(names, "and "+strconv.Itoa(len(left)-i)+" more")
				break
			}
			text := "pid " + strconv.Itoa(l.PID) + " (" + l.Comm
			if l.Service != "" {
				text += ", of service " + l.Service
			}
			names = append(names, text+")")
		}
		y.log.Warn("a zinit on another socket was killed and has left running: " + strings.Join(names, ", ") +
			"; to end it: echo 1 >" + group.Folder + "/cgroup.kill")
	}
	return nil
}

func signalLeftovers(ls []proc.Leftover, sig unix.Signal) {
	for _, l := range ls {
		_ = proc.SignalProcess(l.PID, l.Start, sig)
	}
}

// impostor says who answered a check in place of the service, when that is proven to be a leftover; "" = not proven.
func (y *System) impostor(h *graph.Health) string {
	port, local := probe.LocalPort(h)
	if !local {
		return ""
	}
	for _, holder := range proc.PortHolders([]uint16{port}) {
		if proc.IsLeftover(holder.Process, y.dead) || y.deserted.Load() && proc.IsDeserted(holder.Process) {
			return "answered by pid " + strconv.Itoa(holder.Process.PID) + " (" + holder.Process.Comm +
				"), which a server that was killed has left over, not by this service"
		}
	}
	return ""
}

// endWhatIsLeft is the last thing that a server without a keeper does: nobody else would end what its services have left.
// It returns a line for each process that is still there then.
func (y *System) endWhatIsLeft() (left []string) {
	found := y.scanner.Own()
	if len(found) == 0 {
		return nil
	}
	y.log.Info("ending what services have left behind", "processes", len(found))
	signal := func(ps []proc.Process, sig unix.Signal) { y.scanner.Signal(ps, sig) }
	found = endAll(found, y.scanner.Own, signal, strayGrace)
	for _, p := range found {
		if text := proc.Obstacle(p); text != "" {
			left = append(left, text)
		}
	}
	return left
}

// endAll ends the processes that were found and that look goes on to find: by SIGTERM, after a grace by SIGKILL, and gives up
// sweepPatience later, with those that are left. They are not our children and may be in no group of ours, and new ones may
// come: nothing tells of their ends, so they are looked for again and again.
func endAll[P any](found []P, look func() []P, signal func([]P, unix.Signal), grace time.Duration) (left []P) {
	signal(found, unix.SIGTERM)
	signal(found, unix.SIGCONT)
	kill := time.Now().Add(grace)
	for len(found) > 0 && time.Now().Before(kill.Add(sweepPatience)) {
		time.Sleep(sweepPause)
		if found = look(); time.Now().After(kill) {
			signal(found, unix.SIGKILL)
		}
	}
	return found
}
