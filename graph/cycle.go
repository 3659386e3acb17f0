package graph

import (
	"slices"
	"strconv"
	"strings"
)

const (
	maxCycles    = 64 // paths searched for in one graph; further members of a knot share the first path
	maxCycleText = 24 // names in the text of one cycle
)

// findCycles marks the members of every cycle as broken and takes the edges between them out of g.out.
func (g *Graph) findCycles() {
	component, sizes := g.components()
	if !slices.ContainsFunc(sizes, func(n int32) bool { return n > 1 }) {
		return
	}
	g.nameCycles(component, sizes)
	for k := range KindConflicts {
		g.out[k] = g.out[k].without(func(from, to ID) bool { return component[from] == component[to] })
	}
}

// without returns the rows without the edges that drop names.
func (r *rows) without(drop func(from, to ID) bool) rows {
	edges := make([]edge, 0, len(r.edges))
	n := len(r.start) - 1
	for from := range ID(n) {
		for _, to := range r.row(from) {
			if !drop(from, to) {
				edges = append(edges, edge{from, to})
			}
		}
	}
	return makeRows(n, edges)
}

// forward calls visit for every edge of id that orders.
func (g *Graph) forward(id ID, visit func(k Kind, to ID) (more bool)) {
	for k := range KindConflicts {
		for _, to := range g.out[k].row(id) {
			if !visit(k, to) {
				return
			}
		}
	}
}

// components numbers the strongly connected components (Tarjan, with a stack of its own instead of recursion: a chain
// of any length is fine) and counts their members.
func (g *Graph) components() (component, sizes []int32) {
	n := len(g.configs)
	t := tarjan{g: g, component: make([]int32, n), low: make([]int32, n), index: make([]int32, n)}
	for i := range n {
		t.component[i] = -1
	}
	for id := range ID(n) {
		if t.index[id] == 0 {
			t.search(id)
		}
	}
	return t.component, t.sizes
}

type tarjan struct {
	g                     *Graph
	index, low, component []int32 // index 0 = not seen; component -1 = not closed yet
	sizes                 []int32
	open                  []ID
	frames                []frame
	count                 int32
}

type frame struct {
	id   ID
	kind Kind
	next int32 // of the kind's row
}

func (t *tarjan) enter(id ID) {
	t.count++
	t.index[id], t.low[id] = t.count, t.count
	t.open = append(t.open, id)
	t.frames = append(t.frames, frame{id: id})
}

func (t *tarjan) search(root ID) {
	t.enter(root)
	for len(t.frames) > 0 {
		f := &t.frames[len(t.frames)-1]
		to, ok := t.g.step(f)
		switch {
		case !ok:
			id := f.id
			t.frames = t.frames[:len(t.frames)-1]
			if t.low[id] == t.index[id] {
				t.close(id)
			}
			if len(t.frames) > 0 {
				parent := t.frames[len(t.frames)-1].id
				t.low[parent] = min(t.low[parent], t.low[id])
			}
		case t.index[to] == 0:
			t.enter(to)
		case t.component[to] < 0:
			t.low[f.id] = min(t.low[f.id], t.index[to])
		}
	}
}

// step returns the next edge of a frame.
func (g *Graph) step(f *frame) (ID, bool) {
	for f.kind < KindConflicts {
		if row := g.out[f.kind].row(f.id); int(f.next) < len(row) {
			f.next++
			return row[f.next-1], true
		}
		f.kind, f.next = f.kind+1, 0
	}
	return None, false
}

func (t *tarjan) close(root ID) {
	number, size := int32(len(t.sizes)), int32(0)
	for {
		id := t.open[len(t.open)-1]
		t.open = t.open[:len(t.open)-1]
		t.component[id] = number
		size++
		if id == root {
			break
		}
	}
	t.sizes = append(t.sizes, size)
}

// nameCycles finds a path for every member of a component with more than one, the shortest through its first member
// not yet on one.
func (g *Graph) nameCycles(component, sizes []int32) {
	searcher := cycleSearch{g: g, component: component, from: make([]ID, len(g.configs)), seen: make([]int32, len(g.configs))}
	text := map[int32]string{}
	covered := make([]bool, len(g.configs))
	for id := range ID(len(g.configs)) {
		own := component[id]
		if sizes[own] < 2 {
			continue
		}
		if !covered[id] && len(g.cycles) < maxCycles {
			path := searcher.shortest(id)
			names, line := g.pathNames(path), g.pathText(path)
			g.cycles = append(g.cycles, names)
			if text[own] == "" {
				text[own] = line
			}
			for i, next := range path[1:] {
				covered[path[i]] = true
				g.flawed(path[i], flaw{BrokenCycle, line, g.edgeKind(path[i], next).key(), g.Name(next)})
			}
		}
		if text[own] == "" {
			text[own] = "dependency cycle (one of more than " + strconv.Itoa(maxCycles) + ")"
		}
		g.flawed(id, flaw{BrokenCycle, text[own], "dependencies", ""})
	}
}

type cycleSearch struct {
	g         *Graph
	component []int32
	from      []ID    // the one before, valid where seen == round
	seen      []int32 // the round
	round     int32
	queue     []ID
}

// shortest returns a shortest cycle through id inside its component: id, …, id. There is one.
func (s *cycleSearch) shortest(id ID) []ID {
	s.round++
	s.queue = append(s.queue[:0], id)
	for at := 0; at < len(s.queue) && s.seen[id] != s.round; at++ {
		member := s.queue[at]
		s.g.forward(member, func(_ Kind, to ID) bool {
			if s.component[to] == s.component[id] && s.seen[to] != s.round {
				s.seen[to], s.from[to] = s.round, member
				s.queue = append(s.queue, to)
			}
			return true
		})
	}
	path := []ID{id}
	for at := s.from[id]; at != id; at = s.from[at] {
		path = append(path, at)
	}
	path = append(path, id)
	slices.Reverse(path)
	return path
}

func (g *Graph) pathNames(path []ID) []string {
	names := make([]string, len(path))
	for i, id := range path {
		names[i] = g.Name(id)
	}
	return names
}

// pathText writes a cycle as "dependency cycle: a requires b, b after a".
func (g *Graph) pathText(path []ID) string {
	var b strings.Builder
	b.WriteString("dependency cycle: ")
	last := len(path) - 1
	for i := range last {
		if last > maxCycleText && i == maxCycleText-1 {
			b.WriteString("… (" + strconv.Itoa(last-maxCycleText) + " more), ")
		}
		if last > maxCycleText && i >= maxCycleText-1 && i < last-1 {
			continue
		}
		b.WriteString(g.Name(path[i]) + " " + g.edgeKind(path[i], path[i+1]).String() + " " + g.Name(path[i+1]))
		if i < last-1 {
			b.WriteString(", ")
		}
	}
	return b.String()
}

// edgeKind returns the first kind of edge between two.
func (g *Graph) edgeKind(from, to ID) Kind {
	for k := range KindConflicts {
		if g.out[k].has(from, to) {
			return k
		}
	}
	return KindConflicts
}
