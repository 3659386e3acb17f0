package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// absent as a version says that a service is not in the configuration.
const absent = -1

// reload is a change of the configuration that was planned and not applied yet: the driver works it out beside the
// running machine.
type reload struct {
	graph    *graph.Graph
	versions []int
	plan     *graph.Plan
}

// graphOf builds the graph of one set of versions.
func (w *World) graphOf(versions []int) *graph.Graph {
	var configs []*graph.Config
	for i, v := range versions {
		if v != absent {
			configs = append(configs, w.b.config(i, v))
		}
	}
	return graph.New(configs, nil)
}

// adoptGraph makes a graph the present one in the world's books.
func (w *World) adoptGraph(g *graph.Graph, versions []int) {
	for _, s := range w.services {
		s.wasBroken = s.present && w.broken(s)
	}
	w.g = g
	w.byID = make([]*service, g.Len())
	for i, s := range w.services {
		s.version = versions[i]
		id, ok := g.Lookup(s.name)
		s.present, s.id = ok, id
		if ok {
			s.config = g.Config(id)
			w.byID[id] = s
		}
	}
}

// planReload draws a new configuration, as an editor would leave it, and what applying it means. What the driver refuses
// by itself (new broken services) never reaches the machine.
func (w *World) planReload(o *op) {
	if w.reloading != nil {
		return
	}
	versions := make([]int, len(w.services))
	for i, s := range w.services {
		versions[i] = w.nextVersion(s, i, o.number)
	}
	g := w.graphOf(versions)
	for id := range graph.ID(g.Len()) {
		kind, _ := g.Broken(id)
		if was, known := w.g.Lookup(g.Name(id)); kind != "" && known {
			if before, _ := w.g.Broken(was); before == "" {
				return
			}
		}
	}
	plan := graph.Diff(w.g, g, w.hasProcess, nil)
	if plan.Empty() {
		return
	}
	w.reloading = &reload{g, versions, plan}
	r := newRng(w.seed, 14, uint64(o.number))
	w.push(item{at: w.now + r.between(0, 4*millisecond), what: hReloaded})
}

func (w *World) hasProcess(name string) bool {
	switch w.byName[name].book.state {
	case machine.Starting, machine.Running, machine.Stopping:
		return true
	}
	return false
}

// nextVersion draws what a reload does to one service.
func (w *World) nextVersion(s *service, i, number int) int {
	r := newRng(w.seed, 15, uint64(i), uint64(number))
	k := r.n(1000)
	switch {
	case w.b.mask.lacksService(i):
		return absent
	case s.version == absent && k < 400:
		return number - 1 // a new name comes with its first definition at the first reload
	case s.version == absent:
		return absent
	case k < 120:
		return absent
	case k < 450:
		return number
	}
	return s.version
}

// reloaded applies what was planned, unless the driver has to refuse it in the present states.
func (w *World) reloaded() {
	r := w.reloading
	w.reloading = nil
	if r == nil || w.down || w.m.ShuttingDown() { // the driver refuses it then
		return
	}
	before := w.checker.hashIfDeep()
	if refusals := w.m.RefuseReload(r.graph); len(refusals) > 0 {
		w.checker.refused(before)
		return
	}
	w.applying = r.versions
	w.step(machine.Reloaded{Graph: r.graph, Plan: r.plan})
}
