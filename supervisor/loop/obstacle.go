package loop

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// sent takes what kill(2) said about a signal to a process that is there.
func (d *driver) sent(c *child, pid int, sig unix.Signal, err error) {
	if err != unix.EPERM || sig == unix.SIGCONT { // which follows one that was told
		return // ESRCH: it has ended, and its end is on the way to us
	}
	d.log.Warn("cannot send "+graph.Signal(sig).Name()+" to "+c.config.Name+": "+proc.Obstacle(proc.Process{PID: pid}),
		"service", c.config.Name)
}

// watchObstacles finds out, some time after a kill and then again and again, why something is still there.
func (d *driver) watchObstacles(c *child, wait time.Duration) {
	time.AfterFunc(wait, func() {
		d.post(func() {
			if d.children[c.gen] != c {
				return
			}
			look, known := c.look(), d.accountedFor()
			go func() {
				text := d.obstacles(look, known)
				d.post(func() { d.obstructed(c, text) })
			}()
			d.watchObstacles(c, min(2*wait, obstacleSlow))
		})
	})
}

// obstacles says why what was killed is still there.
func (d *driver) obstacles(l treeLook, known func(pid int) bool) string {
	return proc.Obstacles(d.leftOf(l, known))
}

// leftOf lists the processes of a tree that are still there, or may be of it: its main process also as a zombie that we
// cannot reap.
func (d *driver) leftOf(l treeLook, known func(pid int) bool) []proc.Process {
	orphans := d.scanner.Orphans(known)
	left := d.scanner.TreeWith(&l.owner, orphans)
	if main, err := proc.ReadProcess(l.owner.Main); err == nil && main.Dead() && main.Start == l.owner.Start {
		if _, ended := proc.PeekPID(main.PID); !ended {
			left = append(left, main)
		}
	}
	return append(left, unproven(orphans)...)
}

// obstructed takes what was found. Once nobody waits for it any more it is told, and again when it has become another.
func (d *driver) obstructed(c *child, text string) {
	if d.children[c.gen] != c {
		return
	}
	if c.stuck != text {
		c.stuck = text
		d.changed(c)
	}
	id, ok := d.m.ByGen(c.gen)
	if !ok || text == "" || text == c.toldStuck || !d.m.Info(id).Unkillable {
		return
	}
	c.toldStuck = text
	text = c.config.Name + " cannot be ended: " + text
	d.log.Error(text, "service", c.config.Name)
	state := machine.Stopping.String()
	d.notes = append(d.notes, wire.Event{Time: view.RFC3339(time.Now()), Service: c.config.Name, From: state, To: state,
		Cause: "unkillable", PID: c.pid, Text: text})
}

// endWhatIsLeft is the last thing that a server without a keeper does: nobody else would end what its services have left.
// It returns a line for each process that is still there then.
func (d *driver) endWhatIsLeft() (left []string) {
	found := d.scanner.Own()
	if len(found) == 0 {
		return nil
	}
	d.log.Info("ending what services have left behind", "processes", len(found))
	signal := func(ps []proc.Process, sig unix.Signal) { d.scanner.Signal(ps, sig) }
	found = endAll(found, d.scanner.Own, signal, strayGrace)
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
		time.Sleep(treePollFirst)
		if found = look(); time.Now().After(kill) {
			signal(found, unix.SIGKILL)
		}
	}
	return found
}
