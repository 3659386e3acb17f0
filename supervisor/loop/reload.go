package loop

import (
	"encoding/json"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
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
	d.together(func() {
		d.saveDefinitions(next, plan)
		d.step(machine.Reloaded{Graph: g, Plan: plan})
	})
	for _, c := range next.Configs {
		d.direct(c)
	}
	d.commit()
	return nil
}

// together writes all that f puts into the journal at once: a crash finds all of it or nothing.
func (d *driver) together(f func()) {
	if d.journal == nil {
		f()
		return
	}
	d.journal.Hold()
	f()
	d.flushJournal()
}

func (d *driver) flushJournal() {
	if err := d.journal.Flush(); err != nil {
		d.log.Error("cannot write the journal: a crash of the server now would lose state", "error", err)
	}
	fault.Here("journal")
}

// saveDefinitions keeps the loaded definitions in the journal: a crash or an upgrade keeps them, edited files act only
// through a reload.
func (d *driver) saveDefinitions(next *view.Definitions, plan *graph.Plan) {
	if d.journal == nil {
		return
	}
	define := func(name string) {
		if c, ok := next.Configs[name]; ok {
			d.define(c)
		}
	}
	for _, name := range plan.Added {
		define(name)
	}
	for _, ch := range plan.Changed {
		define(ch.Name)
	}
	d.noteBroken(next)
}

// noteBroken keeps the broken files in the journal.
func (d *driver) noteBroken(ds *view.Definitions) {
	if d.journal == nil {
		return
	}
	b, _ := json.Marshal(ds.Broken)
	_ = d.journal.Note("broken", b)
}
