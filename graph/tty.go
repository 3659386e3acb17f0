package graph

import "path"

// reviewTerminals warns of services that have the terminal of another and may run while that one does: whichever comes
// second is refused. Each is told of one other.
func (g *Graph) reviewTerminals() {
	on := map[string][]ID{}
	for id := range ID(len(g.configs)) {
		c := g.configs[id]
		if c.Tty == "" {
			continue
		}
		tty := path.Clean(c.Tty)
		for _, other := range on[tty] {
			if g.apart(id, other) {
				continue
			}
			g.report(id, SeverityWarning, "its terminal "+tty+" is that of "+g.Name(other)+
				" too: while one of them runs the other does not start; another tty, or conflicts", "service.tty", "")
			break
		}
		on[tty] = append(on[tty], id)
	}
}

// apart reports whether two services never run at the same time: they, or what they need to run, conflict, or one comes
// after the other, which is a oneshot and done by then.
func (g *Graph) apart(a, b ID) bool {
	needsA, needsB := g.necessary(a), g.necessary(b)
	for id := range needsA {
		for _, other := range g.Conflicts(id) {
			if needsB[other] {
				return true
			}
		}
	}
	return g.doneBefore(a, b, needsB) || g.doneBefore(b, a, needsA)
}

// doneBefore reports whether first is a oneshot and later, of which needs is what it needs, waits for its end.
func (g *Graph) doneBefore(first, later ID, needs map[ID]bool) bool {
	if c := g.configs[first]; !c.Oneshot || len(c.Schedules) > 0 {
		return false
	}
	return needs[first] || g.out[KindAfter].has(later, first)
}

// necessary is the service and all that must run while it does, or that must be done.
func (g *Graph) necessary(id ID) map[ID]bool {
	found, list := map[ID]bool{id: true}, []ID{id}
	for at := 0; at < len(list); at++ {
		for _, kind := range [...]Kind{KindRequires, KindBinds} {
			for _, to := range g.out[kind].row(list[at]) {
				if !found[to] {
					found[to] = true
					list = append(list, to)
				}
			}
		}
	}
	return found
}
