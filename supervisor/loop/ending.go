package loop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// signalTree is the stop signal, to what kill_mode says: as a rule all processes, once the main one is gone all that are left.
// sent is called once, when all that has been sent, if there was somebody to send it to.
func (d *driver) signalTree(c *child, sig graph.Signal, sent func()) {
	send := d.signalGroup
	switch mode := d.killMode(c); {
	case c.gone && mode == graph.KillProcess:
		d.leaveRest(c)
		return
	case c.gone && mode == graph.KillMixed:
		d.kill(c.gen)
		sent()
		return
	case c.gone:
		send = func(c *child, sig graph.Signal, sent func(bool)) { d.world.SignalTree(c.owner(), sig, sent) }
	case mode != graph.KillControlGroup:
		send = d.signalMain
	default:
		defer d.signalOthers(c, c.stopSignals(sig))
	}
	sigs := c.stopSignals(sig)
	left := len(sigs)
	for _, sig := range sigs {
		send(c, sig, func(bool) {
			if left--; left == 0 {
				sent()
			}
		})
	}
}

// killMode is what the present definition says: a reload may have changed it without a restart.
func (d *driver) killMode(c *child) graph.KillMode {
	if id, ok := d.m.ByGen(c.gen); ok {
		return d.m.Config(id).Lifecycle.KillMode
	}
	return c.config.Lifecycle.KillMode
}

// stopSignals are the stop signal and what follows it: SIGHUP where the service has a terminal, as when its line is hung up,
// since a shell on one ignores SIGTERM, and SIGCONT, so that a stopped process can act on them.
func (c *child) stopSignals(sig graph.Signal) []graph.Signal {
	if c.config.Tty != "" {
		return []graph.Signal{sig, proc.SIGHUP, proc.SIGCONT}
	}
	return []graph.Signal{sig, proc.SIGCONT}
}

// askedToEnd remembers who got the stop signal, by pid with the start time: a second one means to some programs that they
// must not take their time.
type askedToEnd map[int]uint64

// fresh returns those that have not got it, and takes them for such that have.
func (a *askedToEnd) fresh(ps []proc.Process) (out []proc.Process) {
	for _, p := range ps {
		if start, ok := (*a)[p.PID]; ok && start == p.Start {
			continue
		}
		if *a == nil {
			*a = askedToEnd{}
		}
		(*a)[p.PID] = p.Start
		out = append(out, p)
	}
	return out
}

// signalOthers gives the stop signal to the processes of a service that are not in the group of its main process: that may
// wait for them. Where its members are signalled one by one anyway they have had it.
func (d *driver) signalOthers(c *child, sigs []graph.Signal) {
	if c.adopted || c.reaped || c.daemonized || c.pid == 0 {
		return
	}
	main := c.pid
	d.world.Members(c.owner(), d.children.accountedFor(), func(tree []proc.Process) {
		d.signalEach(c, slices.DeleteFunc(tree, func(p proc.Process) bool { return p.PGRP == main }), sigs)
	})
}

// signalRest gives the stop signal to what is left of a tree after its main process and has not had it.
func (d *driver) signalRest(c *child, survivors []proc.Process) {
	rest := slices.DeleteFunc(survivors, func(p proc.Process) bool { return p.PGRP == c.pid })
	d.signalEach(c, rest, c.stopSignals(c.config.Lifecycle.StopSignal))
}

func (d *driver) signalEach(c *child, ps []proc.Process, sigs []graph.Signal) {
	if ps = c.asked.fresh(ps); len(ps) > 0 {
		d.world.SignalEach(ps, sigs)
	}
}

// endRest goes on with what a main process has left that was to end.
func (d *driver) endRest(c *child, survivors []proc.Process) {
	switch d.killMode(c) {
	case graph.KillProcess:
		d.leaveRest(c)
	case graph.KillMixed:
		d.kill(c.gen)
	default:
		d.signalRest(c, survivors)
	}
}

// leaveRest lets go of an incarnation whose main process is gone, with what it has left (kill_mode = "process").
func (d *driver) leaveRest(c *child) {
	delete(d.trees.lingering, c.gen)
	d.world.Members(c.owner(), d.children.accountedFor(), func(left []proc.Process) {
		if d.children.current(c) {
			d.left(c, left)
		}
	})
}

// left lets go of an incarnation that has left these processes.
func (d *driver) left(c *child, left []proc.Process) {
	if len(left) > 0 {
		words := make([]string, len(left))
		for i, p := range left {
			words[i] = fmt.Sprintf("%d (%s)", p.PID, p.Comm)
		}
		d.log.Info(c.config.Name+": left running: "+strings.Join(words, ", ")+` (kill_mode = "process")`, "service", c.config.Name)
		if d.leftRunning == nil {
			d.leftRunning = map[string][]proc.Process{}
		}
		d.leftRunning[c.config.Name] = left
	}
	delete(d.trees.lingering, c.gen)
	d.world.Drain([]uint64{uint64(c.gen)})
	d.step(machine.TreeEmpty{Gen: c.gen})
	d.release(c)
}

// onTerminal names another service that runs on the terminal of an incarnation, "" = none: two would share its input.
func (d *driver) onTerminal(c *child) string {
	if c.config.Tty == "" {
		return ""
	}
	for _, other := range d.children.all() {
		if other != c && other.config.Tty != "" && filepath.Clean(other.config.Tty) == filepath.Clean(c.config.Tty) {
			return other.config.Name
		}
	}
	return ""
}
