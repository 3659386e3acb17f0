package graph

import (
	"slices"
	"strings"
)

// ID is the dense index of a service or target in one Graph, by name order. A reload makes a new Graph with new IDs.
type ID int32

// None is no ID.
const None ID = -1

// Signal is a signal number of signal(7), 1 to 64.
type Signal int32

// Kind is the kind of a dependency edge.
type Kind uint8

// The kinds of docs/design/states.md 4, in the order in which they are asked and shown.
const (
	KindRequires Kind = iota
	KindBinds
	KindAfter
	KindWants
	KindConflicts
	nKinds
)

var kindNames = [nKinds]string{"requires", "binds", "after", "wants", "conflicts"}

// String returns the key of the [dependencies] section.
func (k Kind) String() string {
	if k < nKinds {
		return kindNames[k]
	}
	return "?"
}

// key is the kind as the key of a Problem.
func (k Kind) key() string { return "dependencies." + k.String() }

// Broken is a file that cannot be used although its service's name is known.
type Broken struct {
	Name    string
	Source  string // the file
	Problem string // one line
	OnExit  OnExit // what the file says of it, as far as that can be read
}

// The kinds of a broken service, as Graph.Broken answers them.
const (
	BrokenFile          = "broken_file"   // its file cannot be used
	BrokenSelf          = "self"          // it names itself in a dependency
	BrokenCycle         = "cycle"         // it is on a cycle over requires, binds, after and wants
	BrokenClass         = "class"         // a system service that requires or binds a user one
	BrokenContradiction = "contradiction" // it requires, perhaps through others, what it conflicts with
)

// flaw is why a service is broken, and the key and value of its file that are to blame.
type flaw struct{ kind, problem, key, value string }

type missing struct {
	kind Kind
	name string
}

// Graph is the set of all services and targets with their edges and their order. It is immutable once built and may
// be shared. Edges between the members of a cycle and of a service to itself are not in it (those services are
// broken), so that what is left has no cycle and every walk ends.
type Graph struct {
	configs  []*Config
	index    map[string]ID
	flaws    map[ID]flaw
	missing  map[ID][]missing // sorted by name; requires before binds of the same name
	out      [nKinds]rows     // conflicts are symmetric
	in       [nKinds]rows     // reverse of out, unused for conflicts
	needers  rows             // reverse of requires and binds together
	class    []Class
	rank     []int32
	order    []ID
	cycles   [][]string
	problems []Problem
}

// New builds the graph over configs and broken. IDs are dense and follow the names' order. Of two with one name the
// first counts, and a sound one before a broken one. It never fails: what is wrong stands in Problems and Broken.
// The cost is n log n in services and edges.
func New(configs []*Config, broken []Broken) *Graph {
	g := &Graph{flaws: map[ID]flaw{}, missing: map[ID][]missing{}}
	g.intern(configs, broken)
	edges := g.resolve()
	for k := range nKinds {
		g.out[k] = makeRows(len(g.configs), edges[k])
	}
	g.findCycles()
	for k := range KindConflicts {
		g.in[k] = g.out[k].reverse()
	}
	g.needers = merge(g.in[KindRequires], g.in[KindBinds])
	g.rankAll()
	g.classify()
	g.contradict()
	g.review()
	return g
}

// intern gives every name its ID.
func (g *Graph) intern(configs []*Config, broken []Broken) {
	type entry struct {
		config *Config
		flaw   string
	}
	all := make([]entry, 0, len(configs)+len(broken))
	for _, c := range configs {
		all = append(all, entry{config: c})
	}
	for _, b := range broken {
		problem := b.Problem
		if problem == "" {
			problem = "the file cannot be used"
		}
		all = append(all, entry{&Config{Name: b.Name, Source: b.Source, Lifecycle: Lifecycle{OnExit: b.OnExit}}, problem})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.config.Name, b.config.Name) })
	all = slices.CompactFunc(all, func(a, b entry) bool { return a.config.Name == b.config.Name })
	g.configs = make([]*Config, len(all))
	g.index = make(map[string]ID, len(all))
	for i, e := range all {
		g.configs[i] = e.config
		g.index[e.config.Name] = ID(i)
		if e.flaw != "" {
			g.flaws[ID(i)] = flaw{kind: BrokenFile, problem: e.flaw}
		}
	}
}

// resolve turns the names in the configurations into edges. Missing names and services that name themselves are
// noted; neither becomes an edge.
func (g *Graph) resolve() *[nKinds][]edge {
	var edges [nKinds][]edge
	for i, c := range g.configs {
		id := ID(i)
		for k := range nKinds {
			for _, name := range c.Deps.Of(k) {
				to, ok := g.index[name]
				switch {
				case !ok:
					g.missing[id] = append(g.missing[id], missing{k, name})
				case to == id:
					g.flawed(id, flaw{BrokenSelf, k.String() + " names the service itself", k.key(), name})
				case k == KindConflicts:
					edges[k] = append(edges[k], edge{id, to}, edge{to, id})
				default:
					edges[k] = append(edges[k], edge{id, to})
				}
			}
		}
	}
	for id, list := range g.missing {
		slices.SortFunc(list, func(a, b missing) int {
			if c := strings.Compare(a.name, b.name); c != 0 {
				return c
			}
			return int(a.kind) - int(b.kind)
		})
		g.missing[id] = slices.CompactFunc(list, func(a, b missing) bool {
			return a == b || a.name == b.name && max(a.kind, b.kind) == KindBinds // it is required as well
		})
	}
	return &edges
}

// flawed marks a service as broken; the first flaw stays.
func (g *Graph) flawed(id ID, f flaw) {
	if _, ok := g.flaws[id]; !ok {
		g.flaws[id] = f
	}
}

// Of returns the names of one kind, as written.
func (d *Deps) Of(k Kind) []string {
	switch k {
	case KindRequires:
		return d.Requires
	case KindBinds:
		return d.Binds
	case KindAfter:
		return d.After
	case KindWants:
		return d.Wants
	case KindConflicts:
		return d.Conflicts
	}
	return nil
}

// Len returns the number of services and targets; IDs run from 0 to Len-1.
func (g *Graph) Len() int { return len(g.configs) }

// Config returns the definition. Of a service whose file is broken only Name and Source are set.
func (g *Graph) Config(id ID) *Config { return g.configs[id] }

// Name returns the name of id.
func (g *Graph) Name(id ID) string { return g.configs[id].Name }

// Lookup finds a name.
func (g *Graph) Lookup(name string) (ID, bool) {
	id, ok := g.index[name]
	if !ok {
		return None, false
	}
	return id, true
}

// Broken tells why a service can never start as it is defined: one of the Broken kinds and a line for people, or ""
// when it is sound.
func (g *Graph) Broken(id ID) (kind, problem string) {
	f := g.flaws[id]
	return f.kind, f.problem
}

// Edges returns what id names with one kind, by name, existing names only. The slice is shared: read only.
func (g *Graph) Edges(id ID, k Kind) []ID { return g.out[k].row(id) }

// Requires returns what id requires. Shared slice, read only, by name; so are those of the methods below.
func (g *Graph) Requires(id ID) []ID { return g.out[KindRequires].row(id) }

// Binds returns what id binds.
func (g *Graph) Binds(id ID) []ID { return g.out[KindBinds].row(id) }

// After returns what id comes after.
func (g *Graph) After(id ID) []ID { return g.out[KindAfter].row(id) }

// Wants returns what id wants.
func (g *Graph) Wants(id ID) []ID { return g.out[KindWants].row(id) }

// Conflicts returns what id conflicts with, whichever file says it.
func (g *Graph) Conflicts(id ID) []ID { return g.out[KindConflicts].row(id) }

// Requirers returns who requires or binds id.
func (g *Graph) Requirers(id ID) []ID { return g.needers.row(id) }

// Binders returns who binds id.
func (g *Graph) Binders(id ID) []ID { return g.in[KindBinds].row(id) }

// Followers returns who comes after id by an after edge.
func (g *Graph) Followers(id ID) []ID { return g.in[KindAfter].row(id) }

// Wanters returns who wants id.
func (g *Graph) Wanters(id ID) []ID { return g.in[KindWants].row(id) }

// Missing returns the names that id requires or binds and that do not exist, by name.
func (g *Graph) Missing(id ID) []string {
	var names []string
	for _, m := range g.missing[id] {
		if m.kind <= KindBinds && (len(names) == 0 || names[len(names)-1] != m.name) {
			names = append(names, m.name)
		}
	}
	return names
}

// Class returns the class that counts for bulk operations: that of the definition, and ClassSystem for a target that
// a system service requires or binds, directly or through other targets (a target has no class of its own, and a
// bulk stop of it would stop the system service).
func (g *Graph) Class(id ID) Class { return g.class[id] }

// Rank returns the place in the start order, 0 to Len-1, unique: topological over requires, binds, after and wants, ties by
// name.
func (g *Graph) Rank(id ID) int32 { return g.rank[id] }

// Order returns all IDs by rank. Shared slice, read only.
func (g *Graph) Order() []ID { return g.order }

// Cycles returns the cycles as paths, each ending with the name it begins with. Every broken member of a knot of
// many cycles is on one of them, but not every cycle of the knot is listed.
func (g *Graph) Cycles() [][]string { return g.cycles }

// Problems returns everything that is wrong, by service name; problems of files are confdir's and not among them.
func (g *Graph) Problems() []Problem { return g.problems }
