package graph

// Standing is what others may know of a service when they ask whether they can start: a set of these bits.
type Standing uint8

// The bits of a Standing. The caller derives them from its states as docs/design/states.md 4 says.
const (
	// Satisfied: running and ready, a reached target, a oneshot that exited 0 without being asked to stop.
	Satisfied     Standing = 1 << iota
	Pending                // on its way: its start is still to be attempted; a oneshot: it has not exited yet
	Holds                  // holds its conflicts: starting, running, stopping, waiting for its restart or own return
	FailedForGood          // failed, or exited and no oneshot, with no restart due
)

// Unmet is one reason why a service cannot start now.
type Unmet struct {
	Kind   Kind
	On     ID     // None when the name is missing
	Name   string // of the other one
	Failed bool   // requires and binds: it has failed for good
}

// CanStart returns everything that keeps id from starting while the others stand as of tells; nil = it can start. The
// order is requires, binds, after, conflicts, by name in each. A service it comes after and also requires counts as
// required only. Whether id itself is broken is a question for Broken. This is the only place where the dependency
// rules of docs/design/states.md 4 are written down as code.
func CanStart(g *Graph, id ID, of func(ID) Standing) []Unmet {
	var list []Unmet
	g.eachUnmet(id, of, func(u Unmet) bool {
		list = append(list, u)
		return true
	})
	return list
}

// FirstUnmet returns the first that CanStart would, without looking further.
func FirstUnmet(g *Graph, id ID, of func(ID) Standing) (Unmet, bool) {
	var first Unmet
	found := false
	g.eachUnmet(id, of, func(u Unmet) bool {
		first, found = u, true
		return false
	})
	return first, found
}

func (g *Graph) eachUnmet(id ID, of func(ID) Standing, yield func(Unmet) bool) {
	for _, m := range g.missing[id] {
		if m.kind <= KindBinds && !yield(Unmet{Kind: m.kind, On: None, Name: m.name}) {
			return
		}
	}
	for _, kind := range [...]Kind{KindRequires, KindBinds} {
		for _, to := range g.out[kind].row(id) {
			standing := of(to)
			if kind == KindBinds && g.out[KindRequires].has(id, to) {
				continue
			}
			if standing&Satisfied == 0 && !yield(Unmet{kind, to, g.Name(to), standing&FailedForGood != 0}) {
				return
			}
		}
	}
	for _, to := range g.out[KindAfter].row(id) {
		if of(to)&Pending != 0 && !g.needs(id, to) && !yield(Unmet{KindAfter, to, g.Name(to), false}) {
			return
		}
	}
	for _, to := range g.out[KindConflicts].row(id) {
		if of(to)&Holds != 0 && !yield(Unmet{KindConflicts, to, g.Name(to), false}) {
			return
		}
	}
}

// needs reports whether id requires or binds to.
func (g *Graph) needs(id, to ID) bool {
	return g.out[KindRequires].has(id, to) || g.out[KindBinds].has(id, to)
}
