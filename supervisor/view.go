package supervisor

import (
	"slices"
	"sync/atomic"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// View is what the outside sees: an immutable picture of all services, published by the driver after each batch, so
// that list, status, why and tree never queue behind the driver.
type View struct {
	Graph   *graph.Graph
	Entries []*Entry // by graph.ID; the ones after Graph.Len() are removed services that are still ending
	all     []*Entry // by the machine's ID: with the removed ones of which nothing is left
	Halting bool
	KillAt  machine.Time // when what is left of the stop of everything is killed, 0 = not bounded
}

// Entry is one service in a View.
type Entry struct {
	Config   *graph.Config
	Info     machine.Info
	Standing graph.Standing
	Run      *run // what the driver knows of the present incarnation, nil without one
}

// run is the part of an incarnation that queries need; it is immutable, the driver replaces it.
type run struct {
	gen        machine.Gen
	pid        int
	owner      proc.Owner // how its processes are recognised
	cgroup     string     // path below the mount, "" = none
	statusText string     // STATUS= of sd_notify
	announced  string     // "reloading", "stopping": RELOADING=1, STOPPING=1
	warning    string
}

// lookup finds a service by name, also one that was removed and is still ending.
func (v *View) lookup(name string) (*Entry, graph.ID, bool) {
	if id, ok := v.Graph.Lookup(name); ok {
		return v.Entries[id], id, true
	}
	for i := v.Graph.Len(); i < len(v.Entries); i++ {
		if v.Entries[i].Config.Name == name {
			return v.Entries[i], graph.ID(i), true
		}
	}
	return nil, graph.None, false
}

// standing is the function graph.CanStart asks.
func (v *View) standing(id graph.ID) graph.Standing { return v.Entries[id].Standing }

// unmet is what a service waits for, by the same function the machine uses.
func (v *View) unmet(id graph.ID) []graph.Unmet {
	if int(id) >= v.Graph.Len() {
		return nil
	}
	return graph.CanStart(v.Graph, id, v.standing)
}

// viewPublisher holds the current View and wakes those who wait for the next one.
type viewPublisher struct {
	current atomic.Pointer[View]
	waiters atomic.Pointer[chan struct{}] // nil: nobody waits, so publishing costs nothing
}

func (p *viewPublisher) load() *View { return p.current.Load() }

// watch returns the current View and a channel that is closed when a later one has been published.
func (p *viewPublisher) watch() (*View, <-chan struct{}) {
	for {
		if ch := p.waiters.Load(); ch != nil {
			return p.load(), *ch
		}
		ch := make(chan struct{})
		p.waiters.CompareAndSwap(nil, &ch)
	}
}

// store publishes a View and wakes the waiters.
func (p *viewPublisher) store(v *View) {
	p.current.Store(v)
	if ch := p.waiters.Swap(nil); ch != nil {
		close(*ch)
	}
}

// publish copies the pointers of the last View and replaces the touched entries.
func (d *driver) publish() {
	old := d.views.load()
	n := d.m.Len()
	v := &View{Graph: d.m.Graph(), all: make([]*Entry, n), Halting: d.halting, KillAt: d.m.KillAt()}
	if old != nil && old.Graph == v.Graph && len(old.all) == n && !d.allDirty {
		copy(v.all, old.all)
		for _, id := range d.touched {
			v.all[id] = d.entry(id)
		}
	} else {
		for i := range v.all {
			v.all[i] = d.entry(graph.ID(i))
		}
	}
	v.Entries = shown(v.all, v.Graph.Len())
	d.rest.busy(max(1, len(d.touched)))
	d.touched, d.allDirty = d.touched[:0], false
	d.views.store(v)
}

// shown leaves out the removed services, behind the first n, of which nothing is left.
func shown(all []*Entry, n int) []*Entry {
	forgotten := func(e *Entry) bool { return e.Info.Forgotten }
	if !slices.ContainsFunc(all[n:], forgotten) {
		return all
	}
	return append(slices.Clip(all[:n]), slices.DeleteFunc(slices.Clone(all[n:]), forgotten)...)
}

// entry reads one service out of the machine.
func (d *driver) entry(id graph.ID) *Entry {
	e := &Entry{Config: d.m.Config(id), Info: d.m.Info(id), Standing: d.m.Standing(id)}
	if c := d.children[e.Info.Gen]; c != nil {
		e.Run = c.public()
	}
	return e
}
