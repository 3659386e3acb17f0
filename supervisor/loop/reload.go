package loop

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// reload runs in the driver.
func (d *driver) reload(next *view.Definitions, g *graph.Graph, plan *graph.Plan) []string {
	if refused := d.m.RefuseReload(g); len(refused) > 0 {
		return refused
	}
	d.commit() // what was decided with the old numbers is done before they change
	d.allDirty = true
	d.diary.hold()
	d.diary.reloaded(next, plan)
	d.step(machine.Reloaded{Graph: g, Plan: plan})
	if d.clockWatch == nil && hasJobs(g) {
		d.tellClock()
	}
	d.diary.flush()
	for _, c := range next.Configs {
		d.direct(c)
	}
	d.commit()
	return nil
}
