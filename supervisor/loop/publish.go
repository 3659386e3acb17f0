package loop

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/view"
)

// publish copies the pointers of the last View and replaces the touched entries.
func (d *driver) publish() {
	old := d.views.Load()
	n := d.m.Len()
	v := &view.View{Graph: d.m.Graph(), All: make([]*view.Entry, n), Halting: d.halting || d.m.Globals().ShuttingDown, KillAt: d.m.KillAt()}
	if old != nil && old.Graph == v.Graph && len(old.All) == n && !d.allDirty {
		copy(v.All, old.All)
		for _, id := range d.touched {
			v.All[id] = d.entry(id)
		}
	} else {
		for i := range v.All {
			v.All[i] = d.entry(graph.ID(i))
		}
	}
	v.Entries = shown(v.All, v.Graph.Len())
	d.rest.busy(max(1, len(d.touched)))
	d.touched, d.allDirty = d.touched[:0], false
	d.views.Store(v)
}

// shown leaves out the removed services, behind the first n, of which nothing is left.
func shown(all []*view.Entry, n int) []*view.Entry {
	forgotten := func(e *view.Entry) bool { return e.Info.Forgotten }
	if !slices.ContainsFunc(all[n:], forgotten) {
		return all
	}
	return append(slices.Clip(all[:n]), slices.DeleteFunc(slices.Clone(all[n:]), forgotten)...)
}

// entry reads one service out of the machine.
func (d *driver) entry(id graph.ID) *view.Entry {
	e := &view.Entry{Config: d.m.Config(id), Info: d.m.Info(id), Standing: d.m.Standing(id)}
	e.Left = d.leftRunning[e.Config.Name]
	if c := d.children.of(e.Info.Gen); c != nil {
		e.Run = c.public()
	}
	return e
}
