package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// reference is a slow, naive model of the dependency rules, written from docs/design/states.md 1 to 4 and not from the machine: given
// the graph, what is wanted of each service, and how its own attempts went, it works out by trial and repetition in which
// state each one is when nothing moves any more. The only thing it shares with the machine is graph.CanStart.
type reference struct {
	g     *graph.Graph
	given []situation
	state []machine.State
	known []bool // the state is settled
}

// situation is what is known of one service from outside.
type situation struct {
	job       bool // it runs when it is due
	up        bool // wanted up
	owed      bool // a start is owed, or would be if its dependencies allowed it
	runs      bool // its main process lives
	done      bool // oneshot: exited with success, nobody asked it to stop
	left      bool // a oneshot that is done has left processes
	portless  bool // a port or process filter is held by somebody else
	returning bool // it has run, waits to come back, and holds its conflicts meanwhile
	over      over // how its last attempt ended for good
	state     machine.State
}

// over is how a service has ended for good by itself.
type over uint8

const (
	overNot over = iota
	overExited
	overFailed
)

func newReference(g *graph.Graph) *reference {
	n := g.Len()
	return &reference{g: g, given: make([]situation, n), state: make([]machine.State, n), known: make([]bool, n)}
}

func (r *reference) enter(id graph.ID, x situation) { r.given[id] = x }

// solve settles what is certain, and then repeats looking at all services in start order until nothing changes.
func (r *reference) solve() {
	for id := range r.given {
		r.settleAlone(graph.ID(id))
	}
	for changed := true; changed; {
		changed = false
		for _, id := range r.g.Order() {
			if !r.known[id] && r.settle(id) {
				changed = true
				break // from the beginning: the first in start order has precedence
			}
		}
	}
	for id := range r.given {
		if !r.known[id] {
			r.state[id] = machine.Blocked
		}
	}
}

// settleAlone settles what does not depend on others.
func (r *reference) settleAlone(id graph.ID) {
	x := &r.given[id]
	target := r.g.Config(id).Target
	kind, _ := r.g.Broken(id)
	switch {
	case x.runs:
		r.put(id, machine.Running)
	case kind != "" && x.state == machine.Failed:
		r.put(id, machine.Failed)
	case !x.up:
		r.put(id, x.state) // Inactive, Exited or Failed, see allows
	case target:
	case x.job && !x.owed:
		r.put(id, x.state)
	case x.done, x.over == overExited && !x.owed:
		r.put(id, machine.Exited)
	case x.over == overFailed && !x.owed:
		r.put(id, machine.Failed)
	}
}

func (r *reference) put(id graph.ID, s machine.State) { r.state[id], r.known[id] = s, true }

// settle looks whether the fate of id follows from what is settled: it could start (and then runs, as far as others are
// concerned), or something that it requires has failed for good.
func (r *reference) settle(id graph.ID) bool {
	if len(r.g.Missing(id)) > 0 {
		r.put(id, machine.Failed)
		return true
	}
	unmet := graph.CanStart(r.g, id, r.standing)
	for _, u := range unmet {
		if u.Failed {
			r.put(id, machine.Failed)
			return true
		}
	}
	if len(unmet) > 0 || r.given[id].portless || r.heldUp(id) {
		return false
	}
	r.put(id, machine.Running)
	return true
}

// standing is what others see of a service.
func (r *reference) standing(id graph.ID) graph.Standing {
	x := &r.given[id]
	oneshot := r.g.Config(id).Oneshot
	if kind, _ := r.g.Broken(id); kind != "" {
		return graph.FailedForGood
	}
	if !r.known[id] {
		if r.comes(id, 0) {
			return graph.Pending
		}
		return 0
	}
	switch r.state[id] {
	case machine.Running:
		if oneshot {
			return graph.Holds | graph.Pending
		}
		return graph.Satisfied | graph.Holds
	case machine.Exited:
		if oneshot && x.done && x.up {
			if x.left { // machine/doc.go: it holds its conflicts as long
				return graph.Satisfied | graph.Holds
			}
			return graph.Satisfied
		}
		if x.up {
			return graph.FailedForGood
		}
	case machine.Failed:
		if x.up {
			return graph.FailedForGood
		}
	}
	return 0
}

// comes reports whether an unsettled service is on its way: everything it waits for is settled well or on its way.
func (r *reference) comes(id graph.ID, depth int) bool {
	if depth > r.g.Len() || r.known[id] || !r.given[id].up || r.g.Config(id).Status == graph.StatusIgnore || r.given[id].portless || r.heldUp(id) {
		return false
	}
	for _, kind := range [...]graph.Kind{graph.KindRequires, graph.KindBinds} {
		for _, to := range r.g.Edges(id, kind) {
			if r.known[to] && r.standing(to)&graph.Satisfied == 0 || !r.known[to] && !r.comes(to, depth+1) {
				return false
			}
		}
	}
	for _, to := range r.g.Conflicts(id) {
		if r.known[to] && r.standing(to)&graph.Holds != 0 {
			return false
		}
	}
	return true
}

// allows reports whether a state at rest is one that the rules lead to.
func (r *reference) allows(id graph.ID, got machine.State) bool {
	x := &r.given[id]
	if !x.up {
		return got == machine.Inactive || got == machine.Exited || got == machine.Failed
	}
	return got == r.state[id]
}

// heldUp: a service that has run and waits for its return goes on holding its conflicts. Whether it does is history, which
// this model does not know, so it follows what is observed.
func (r *reference) heldUp(id graph.ID) bool {
	if r.given[id].state != machine.Blocked {
		return false
	}
	for _, rival := range r.g.Conflicts(id) {
		if x := &r.given[rival]; x.up && x.returning && !r.known[rival] {
			return true
		}
	}
	return false
}

func (r *reference) describe(id graph.ID) string { return r.state[id].String() }

// falseTarget finds a target that is taken for reached and should not be.
func (r *reference) falseTarget() string {
	for i := range r.given {
		id := graph.ID(i)
		if !r.g.Config(id).Target || !r.given[i].runs {
			continue
		}
		for _, kind := range [...]graph.Kind{graph.KindRequires, graph.KindBinds} {
			for _, to := range r.g.Edges(id, kind) {
				if r.standing(to)&graph.Satisfied == 0 {
					return r.g.Name(id)
				}
			}
		}
	}
	return ""
}
