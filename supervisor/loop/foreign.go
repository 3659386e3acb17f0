package loop

import (
	"maps"
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// adoptLegacy answers a Spawn by the process that runs already.
func (d *driver) adoptLegacy(c *child) bool {
	p, ok := d.legacy[c.config.Name]
	if !ok {
		return false
	}
	delete(d.legacy, c.config.Name)
	if !d.world.Lives(p.PID, p.Start) {
		return false
	}
	c.adopted, c.daemonized = true, true // not started by us, so nobody but the kernel tells of its end
	c.warning = "taken over from zinit 0.3.9: its output is captured after its next start"
	if p.Gen != 0 {
		c.warning = "taken over without the state of the server before"
		c.group = d.world.FindGroup(c.config.Name, p.Gen)
	}
	d.spawned(c, Forked{PID: p.PID, Start: p.Start, At: d.clock.Time(), Group: c.group})
	d.watchForeign(c)
	return true
}

// takePipes reads on what the keeper holds of a server without a state; what it knew by the other descriptors is lost.
func (d *driver) takePipes() {
	if d.opt.Handover == nil {
		return
	}
	for _, p := range d.opt.Handover.Pipes {
		if p.Stream < StreamReady {
			d.world.Inherit(p)
		} else {
			d.world.Lose(p)
		}
	}
}

// startLegacy asks for the services that ran without being wanted by their files.
func (d *driver) startLegacy() {
	var ids []graph.ID
	for _, name := range slices.Sorted(maps.Keys(d.legacy)) {
		if id, ok := d.m.Graph().Lookup(name); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		d.step(machine.Asked{Verb: machine.VerbStart, IDs: ids})
	}
}

// watchForeign waits for the end of a process that is neither our child nor, perhaps, the keeper's.
func (d *driver) watchForeign(c *child) {
	pid, start := c.pid, c.start
	ended := func() {
		if c.pid == pid && c.start == start {
			d.giveUpLater(c)
		}
	}
	if !d.world.Watch(pid, start, ended) {
		d.giveUpLater(c)
	}
}
