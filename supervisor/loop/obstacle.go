package loop

import (
	"time"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// watchObstacles finds out, some time after a kill and then again and again, why something is still there.
func (d *driver) watchObstacles(c *child, wait time.Duration) {
	d.world.After(wait, func() {
		if !d.children.current(c) {
			return
		}
		d.world.Obstacles(c.tree(), d.children.accountedFor(), func(text string) { d.obstructed(c, text) })
		d.watchObstacles(c, min(2*wait, obstacleSlow))
	})
}

// obstructed takes what was found. Once nobody waits for it any more it is told, and again when it has become another.
func (d *driver) obstructed(c *child, text string) {
	if !d.children.current(c) {
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
	d.notes = append(d.notes, wire.Event{Time: view.RFC3339(d.clock.Time()), Service: c.config.Name, From: state, To: state,
		Cause: "unkillable", PID: c.pid, Text: text})
}
