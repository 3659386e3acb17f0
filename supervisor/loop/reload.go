package loop

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// reload takes over a graph, or says why not. texts are the documents of what the plan adds and changes.
func (d *driver) reload(next *view.Definitions, g *graph.Graph, plan *graph.Plan, texts []document) []string {
	if refused := d.m.RefuseReload(g); len(refused) > 0 {
		return refused
	}
	if hasJobs(g) && (d.clockWatch == nil || !slices.Equal(zoneNames(g), zoneNames(d.m.Graph()))) {
		d.tellClockFor(g) // before the first jobs come: a clock that was set since the start must not make them late
	}
	d.commit() // what was decided with the old numbers is done before they change
	d.allDirty = true
	d.diary.hold()
	d.diary.reloaded(next, texts)
	d.step(machine.Reloaded{Graph: g, Plan: plan})
	d.diary.flush()
	for _, doc := range texts {
		d.world.Direct(doc.config)
	}
	d.show() // who asked sees it; what follows from it is carried out in turns
	return nil
}
