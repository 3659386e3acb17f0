package graph

import "strings"

// branch returns what stands before a line of a drawing and what stands before the lines below it.
func branch(last bool, width int) (line, below string) {
	if last {
		return "└─ ", strings.Repeat(" ", width)
	}
	return "├─ ", "│" + strings.Repeat(" ", width-1)
}

// TreeASCII draws as zinit 0.3.9's service.tree does: every service in start order and below it what it names, one level
// deep; names that do not exist are left out. With roots only these and what they need are drawn; nil = all.
func TreeASCII(g *Graph, roots []ID, view View) string {
	list := g.order
	if roots != nil {
		list = g.Closure(roots, false)
	}
	var lines []string
	for i, id := range list {
		line, below := branch(i == len(list)-1, 5)
		v := view(id)
		lines = append(lines, line+Symbol(v.State)+" "+g.Name(id)+" ("+v.state()+")")
		var edges []string
		g.eachEdge(id, func(k Kind, to ID, name string) {
			if to != None {
				other := view(to)
				edges = append(edges, k.String()+" "+name+" ("+other.state()+")")
			}
		})
		for j, text := range edges {
			mark, _ := branch(j == len(edges)-1, 0+3)
			lines = append(lines, below+mark+text)
		}
	}
	return strings.Join(lines, "\n")
}

// TreeOptions say how Tree draws.
type TreeOptions struct {
	// Roots is what to begin with; nil = everything that nobody names (with Reverse: that names nobody).
	Roots   []ID
	Reverse bool                              // from the services to those that name them
	Legend  bool                              // explain the symbols below
	Paint   func(state, symbol string) string // colours a symbol, nil = none
}

// maxDepth is where a branch is cut and goes on as a tree of its own, so that a long chain is not drawn as a triangle of
// its length squared.
const maxDepth = 24

// Tree draws the dependency tree as our client shows it: what a service names below it, to the end; a service that was
// drawn already is named only, with "see above" when there is more below it. Names that do not exist are shown as
// missing, targets are marked. The lines end with newlines.
func Tree(g *Graph, view View, o TreeOptions) string {
	d := drawing{g: g, view: view, o: o, drawn: make([]bool, g.Len())}
	roots := o.Roots
	if roots == nil {
		roots = d.defaultRoots()
	}
	for _, id := range roots {
		d.queue = append(d.queue, id)
		for len(d.queue) > 0 {
			next := d.queue[0]
			d.queue = d.queue[1:]
			if !d.drawn[next] {
				d.node(next, "", "", "")
			}
		}
	}
	if o.Legend {
		d.b.WriteString(Legend() + "\n")
	}
	return d.b.String()
}

// Legend explains the symbols of the drawings in one line.
func Legend() string {
	return "[+] running or reached  [>] starting  [!] stopping  [?] blocked  [.] exited  [X] failed  [-] inactive; " +
		"(target) has no process of its own"
}

type drawing struct {
	g     *Graph
	view  View
	o     TreeOptions
	b     strings.Builder
	drawn []bool
	queue []ID // cut off at maxDepth, to be drawn below
}

type child struct {
	label string
	id    ID
	name  string
}

var reverseLabels = [nKinds]string{"required by", "bound by", "before", "wanted by", "conflicts"}

func (d *drawing) children(id ID) []child {
	var list []child
	if !d.o.Reverse {
		d.g.eachEdge(id, func(k Kind, to ID, name string) { list = append(list, child{k.String(), to, name}) })
		return list
	}
	for k := range KindConflicts {
		for _, from := range d.g.in[k].row(id) {
			list = append(list, child{reverseLabels[k], from, d.g.Name(from)})
		}
	}
	return list
}

func (d *drawing) defaultRoots() []ID {
	var roots []ID
	for id := range ID(d.g.Len()) {
		edges := &d.g.in
		if d.o.Reverse {
			edges = &d.g.out
		}
		root := true
		for k := range KindConflicts {
			root = root && len(edges[k].row(id)) == 0
		}
		if root {
			roots = append(roots, id)
		}
	}
	return roots
}

// node draws one service and what is below it. The depth of the recursion is bounded by maxDepth.
func (d *drawing) node(id ID, mark, below, label string) {
	children := d.children(id)
	cut := len([]rune(below)) >= maxDepth*3
	suffix := ""
	switch {
	case d.drawn[id] && len(children) > 0:
		suffix = ", see above"
	case !d.drawn[id] && cut && len(children) > 0:
		suffix = ", see below"
		d.queue = append(d.queue, id)
	}
	d.b.WriteString(mark + label + d.text(id) + suffix + "\n")
	if d.drawn[id] || suffix != "" {
		return
	}
	d.drawn[id] = true
	for i, c := range children {
		line, deeper := branch(i == len(children)-1, 3)
		switch {
		case c.id == None:
			d.b.WriteString(below + line + c.label + " " + c.name + " (does not exist)\n")
		case c.label == KindConflicts.String():
			d.b.WriteString(below + line + c.label + " " + d.text(c.id) + "\n")
		default:
			d.node(c.id, below+line, below+deeper, c.label+" ")
		}
	}
}

func (d *drawing) text(id ID) string {
	v := d.view(id)
	symbol := Symbol(v.State)
	if d.o.Paint != nil {
		symbol = d.o.Paint(v.state(), symbol)
	}
	state := v.state()
	if d.g.Config(id).Target {
		state = "target, " + state
	}
	return symbol + " " + d.g.Name(id) + " (" + state + ")"
}

// DebugState draws as zinit 0.3.9's debug.state does: every service in start order with its edges both ways and its
// processes.
func DebugState(g *Graph, view View) string {
	var b strings.Builder
	b.WriteString("=== Service Graph State ===\n")
	for _, id := range g.order {
		b.WriteString("\n")
		debugNode(&b, g, id, view)
	}
	return b.String()
}

func debugNode(b *strings.Builder, g *Graph, id ID, view View) {
	v := view(id)
	b.WriteString(Symbol(v.State) + " " + g.Name(id) + " - " + debugText(&v) + "\n")
	first := true
	g.eachEdge(id, func(k Kind, to ID, name string) {
		if to == None && k > KindBinds {
			return
		}
		if first {
			b.WriteString("    ← depends on:\n")
			first = false
		}
		mark, state := "✗", "missing"
		if to != None {
			other := view(to)
			state = other.state()
			if meets(k, other.Standing) {
				mark = "✓"
			}
		}
		b.WriteString("      " + mark + " " + k.String() + " " + name + " (" + state + ")\n")
	})
	if names := namers(g, id); len(names) > 0 {
		b.WriteString("    → required by: " + strings.Join(names, ", ") + "\n")
	}
	if len(v.Children) > 0 {
		b.WriteString("    └─ child processes:\n")
	}
	for i, line := range v.Children {
		mark, _ := branch(i == len(v.Children)-1, 3)
		b.WriteString("       " + mark + line + "\n")
	}
}

// namers returns the names of those with an edge of any ordering kind to id, by name.
func namers(g *Graph, id ID) []string {
	all := make(map[ID]bool)
	for k := range KindConflicts {
		for _, from := range g.in[k].row(id) {
			all[from] = true
		}
	}
	return g.sortedNames(all)
}
