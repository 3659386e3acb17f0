package graph

import (
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// service builds a configuration from "name requires:a,b after:c".
func service(text string) *Config {
	words := strings.Fields(text)
	c := &Config{Name: words[0], Lifecycle: Lifecycle{MaxRestarts: 10}}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, ":")
		list := strings.Split(value, ",")
		switch key {
		case "requires":
			c.Deps.Requires = list
		case "binds":
			c.Deps.Binds = list
		case "after":
			c.Deps.After = list
		case "wants":
			c.Deps.Wants = list
		case "conflicts":
			c.Deps.Conflicts = list
		case "target":
			c.Target = true
		case "system":
			c.Class = ClassSystem
		case "oneshot":
			c.Oneshot = true
		case "stop":
			c.Status = StatusStop
		case "tty":
			c.Tty = value
		case "exec":
			c.Exec.Line = value
		case "critical":
			c.Critical = true
		case "notify":
			c.Ready.Kind = ReadyNotify
		default:
			panic("unknown word " + w)
		}
	}
	return c
}

func services(lines ...string) []*Config {
	var configs []*Config
	for _, line := range lines {
		configs = append(configs, service(line))
	}
	return configs
}

func (g *Graph) testNames(ids []ID) string {
	var names []string
	for _, id := range ids {
		names = append(names, g.Name(id))
	}
	return strings.Join(names, " ")
}

func mustID(t testing.TB, g *Graph, name string) ID {
	t.Helper()
	id, ok := g.Lookup(name)
	if !ok {
		t.Fatalf("%s is not in the graph", name)
	}
	return id
}

func TestEdges(t *testing.T) {
	g := New(services("web requires:db,db binds:cache after:log,db wants:mail", "db", "cache", "log conflicts:mail",
		"mail", "worker requires:db,gone after:lost binds:gone"), []Broken{{Name: "bad", Source: "bad.toml", Problem: "no TOML"}})
	web, db, mail, worker := mustID(t, g, "web"), mustID(t, g, "db"), mustID(t, g, "mail"), mustID(t, g, "worker")
	for _, c := range []struct {
		what, want string
		got        []ID
	}{
		{"requires", "db", g.Requires(web)},
		{"binds", "cache", g.Binds(web)},
		{"after", "db log", g.After(web)},
		{"wants", "mail", g.Wants(web)},
		{"conflicts", "log", g.Conflicts(mail)},
		{"requirers", "web worker", g.Requirers(db)},
		{"requirers by binds", "web", g.Requirers(mustID(t, g, "cache"))},
		{"binders", "web", g.Binders(mustID(t, g, "cache"))},
		{"followers", "web", g.Followers(db)},
		{"wanters", "web", g.Wanters(mail)},
		{"order", "bad cache db log mail web worker", g.Order()},
	} {
		if got := g.testNames(c.got); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	if got := g.Missing(worker); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("missing: %q", got)
	}
	if kind, problem := g.Broken(mustID(t, g, "bad")); kind != BrokenFile || problem != "no TOML" {
		t.Errorf("broken file: %q %q", kind, problem)
	}
	if id, ok := g.Lookup("nobody"); ok || id != None {
		t.Errorf("lookup of an unknown name: %d %v", id, ok)
	}
}

func TestSoundBeforeBrokenOfOneName(t *testing.T) {
	g := New(services("a"), []Broken{{Name: "a", Problem: "x"}})
	if kind, _ := g.Broken(0); g.Len() != 1 || kind != "" {
		t.Errorf("%d services, broken %q", g.Len(), kind)
	}
}

func TestBroken(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  []string
		broken string // name kind, by name
		cycles string
	}{
		{"none", []string{"a requires:b", "b"}, "", ""},
		{"self", []string{"a after:a", "b requires:a"}, "a self", ""},
		{"self conflict", []string{"a conflicts:a"}, "a self", ""},
		{"two", []string{"a requires:b", "b after:a", "c wants:a"}, "a cycle, b cycle", "a b a"},
		{"mixed", []string{"a requires:b", "b binds:c", "c after:d", "d wants:a"}, "a cycle, b cycle, c cycle, d cycle", "a b c d a"},
		{"eight", []string{"m requires:a,z", "a after:m", "z wants:m"}, "a cycle, m cycle, z cycle", "a m a; z m z"},
		{"two knots", []string{"a after:b", "b after:a", "c after:d", "d after:c,a"}, "a cycle, b cycle, c cycle, d cycle",
			"a b a; c d c"},
		{"conflict is no cycle", []string{"a conflicts:b", "b conflicts:a"}, "", ""},
		{"contradiction", []string{"a requires:b", "b conflicts:a"}, "a contradiction", ""},
		{"contradiction through others", []string{"a requires:b", "b binds:c", "c conflicts:a", "d requires:a"}, "a contradiction", ""},
		{"after and conflicts", []string{"a after:b conflicts:b", "b"}, "", ""},
		{"class", []string{"a system: requires:b", "b"}, "a class", ""},
		{"class binds", []string{"a system: binds:b", "b"}, "a class", ""},
		{"class wants", []string{"a system: wants:b after:b", "b"}, "", ""},
		{"class through target", []string{"a system: requires:t", "t target: requires:u", "u target: requires:b", "b"}, "u class", ""},
	} {
		g := New(services(c.lines...), nil)
		var broken, cycles []string
		for id := range ID(g.Len()) {
			if kind, problem := g.Broken(id); kind != "" {
				broken = append(broken, g.Name(id)+" "+kind)
				if problem == "" {
					t.Errorf("%s: %s has no text", c.name, g.Name(id))
				}
			}
		}
		for _, path := range g.Cycles() {
			cycles = append(cycles, strings.Join(path, " "))
		}
		if got := strings.Join(broken, ", "); got != c.broken {
			t.Errorf("%s: broken %q, want %q", c.name, got, c.broken)
		}
		if got := strings.Join(cycles, "; "); got != c.cycles {
			t.Errorf("%s: cycles %q, want %q", c.name, got, c.cycles)
		}
		if errors := countErrors(g); (errors > 0) != (c.broken != "") {
			t.Errorf("%s: %d errors among the problems, broken %q", c.name, errors, c.broken)
		}
	}
}

func countErrors(g *Graph) int {
	n := 0
	for _, p := range g.Problems() {
		if p.Severity == SeverityError {
			n++
		}
	}
	return n
}

func TestContradictionsBeyondOneWord(t *testing.T) {
	// 200 pairs: more than the bits of a word, each pair must be found and no other.
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("a%03d requires:m%03d conflicts:z%03d", i, i, i), fmt.Sprintf("m%03d requires:z%03d", i, (i+i%2)%200),
			fmt.Sprintf("z%03d", i))
	}
	g := New(services(lines...), nil)
	for i := range 200 {
		kind, _ := g.Broken(mustID(t, g, fmt.Sprintf("a%03d", i)))
		if want := i%2 == 0; (kind == BrokenContradiction) != want {
			t.Errorf("a%03d: %q, contradiction %v", i, kind, want)
		}
	}
}

func TestClassOfTargets(t *testing.T) {
	g := New(services("a system: requires:t", "t target: requires:u", "u target:", "v target:"), nil)
	for name, want := range map[string]Class{"a": ClassSystem, "t": ClassSystem, "u": ClassSystem, "v": ClassUser} {
		if got := g.Class(mustID(t, g, name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// checkGraph compares a graph with what a naive look at its configurations says.
func checkGraph(t testing.TB, g *Graph) {
	t.Helper()
	seen := make([]bool, g.Len())
	for i, id := range g.Order() {
		if int(g.Rank(id)) != i || seen[id] {
			t.Fatalf("rank of %s is %d, place %d", g.Name(id), g.Rank(id), i)
		}
		seen[id] = true
	}
	reach := naiveReach(g)
	for id := range ID(g.Len()) {
		kind, _ := g.Broken(id)
		if onCycle := reach[id][id]; (kind == BrokenCycle) != onCycle && kind != BrokenSelf {
			t.Fatalf("%s: broken %q, on a cycle %v", g.Name(id), kind, onCycle)
		}
		for k := range KindConflicts {
			for _, to := range g.Edges(id, k) {
				if g.Rank(to) >= g.Rank(id) {
					t.Fatalf("%s %s %s, but ranks are %d and %d", g.Name(id), k, g.Name(to), g.Rank(id), g.Rank(to))
				}
			}
		}
		for _, name := range namedBy(g.Config(id)) {
			to, ok := g.Lookup(name)
			if ok && to != id && !reach[to][id] && g.Rank(to) >= g.Rank(id) {
				t.Fatalf("%s names %s and comes before it", g.Name(id), name)
			}
		}
	}
	for _, path := range g.Cycles() {
		for i, name := range path[1:] {
			if !slices.Contains(namedBy(g.Config(mustID(t, g, path[i]))), name) {
				t.Fatalf("cycle %v has no edge from %s to %s", path, path[i], name)
			}
		}
		if path[0] != path[len(path)-1] || len(path) < 3 {
			t.Fatalf("%v is no cycle", path)
		}
	}
}

func namedBy(c *Config) []string {
	return slices.Concat(c.Deps.Requires, c.Deps.Binds, c.Deps.After, c.Deps.Wants)
}

func naiveReach(g *Graph) [][]bool {
	reach := make([][]bool, g.Len())
	for id := range reach {
		reach[id] = make([]bool, g.Len())
		for _, name := range namedBy(g.Config(ID(id))) {
			if to, ok := g.Lookup(name); ok && to != ID(id) {
				reach[id][to] = true
			}
		}
	}
	for k := range reach {
		for i := range reach {
			for j := range reach {
				reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
			}
		}
	}
	return reach
}

// randomConfigs draws n services with edges of all kinds, forward only (no cycles) or any.
func randomConfigs(r *rand.Rand, n, edges int, forward bool) []*Config {
	configs := make([]*Config, n)
	for i := range configs {
		configs[i] = &Config{Name: fmt.Sprintf("s%02d", i)}
	}
	for range edges {
		from, to := r.IntN(n), r.IntN(n+1)
		if forward && from <= to {
			continue
		}
		name := fmt.Sprintf("s%02d", to) // s<n> is missing
		d := &configs[from].Deps
		list := []*[]string{&d.Requires, &d.Binds, &d.After, &d.Wants, &d.Conflicts}[r.IntN(5)]
		*list = append(*list, name)
	}
	r.Shuffle(n, func(i, j int) { configs[i], configs[j] = configs[j], configs[i] })
	return configs
}

func TestRandomGraphs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		n := 1 + r.IntN(12)
		configs := randomConfigs(r, n, r.IntN(3*n), r.IntN(2) == 0)
		g := New(configs, nil)
		checkGraph(t, g)
		r.Shuffle(n, func(i, j int) { configs[i], configs[j] = configs[j], configs[i] })
		again := New(configs, nil)
		if !slices.Equal(g.Order(), again.Order()) || !reflect.DeepEqual(g.Problems(), again.Problems()) {
			t.Fatal("the order of the files changes the graph")
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add([]byte{3, 0, 1, 0, 1, 2, 1, 2, 0, 2})
	f.Add([]byte{5, 0, 0, 4, 1, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 200 {
			return
		}
		n := 1 + int(data[0])%10
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprint("s", i), Target: i%4 == 3}
		}
		for rest := data[1:]; len(rest) >= 3; rest = rest[3:] {
			d := &configs[int(rest[0])%n].Deps
			list := []*[]string{&d.Requires, &d.Binds, &d.After, &d.Wants, &d.Conflicts}[rest[2]%5]
			*list = append(*list, fmt.Sprint("s", int(rest[1])%(n+1)))
		}
		g := New(configs, nil)
		checkGraph(t, g)
		for id := range ID(n) {
			view := func(ID) NodeView { return NodeView{State: "blocked"} }
			if WhyLine(Why(g, id, view)) == "" {
				t.Fatal("empty answer")
			}
		}
	})
}

// TestBigShapes builds 10,000 services of each shape within a second, the bound of the specification, and checks the edges.
func TestBigShapes(t *testing.T) {
	for name, build := range shapes {
		g := New(build(10_000), nil)
		if g.Len() != 10_000 {
			t.Fatalf("%s: %d services", name, g.Len())
		}
		last := int32(-1)
		for _, id := range g.Order() {
			if g.Rank(id) != last+1 {
				t.Fatalf("%s: ranks have a gap", name)
			}
			last = g.Rank(id)
			for k := range KindConflicts {
				for _, to := range g.Edges(id, k) {
					if g.Rank(to) >= g.Rank(id) {
						t.Fatalf("%s: %s comes before %s", name, g.Name(id), g.Name(to))
					}
				}
			}
		}
		if broken := name == "ring" || name == "missing"; (countErrors(g) > 0) != broken {
			t.Errorf("%s: %d errors", name, countErrors(g))
		}
		if text := Tree(g, func(ID) NodeView { return NodeView{} }, TreeOptions{}); len(text) > 6_000_000 {
			t.Errorf("%s: the tree has %d bytes", name, len(text))
		}
	}
}

// TestNotesDoNotRepeat: a chain of services that do not say when they are ready is one note, and a few are noted one by
// one, where they stand.
func TestNotesDoNotRepeat(t *testing.T) {
	for _, n := range []int{3, 30} {
		var chain []*Config
		for i := range n {
			c := &Config{Name: "s" + strconv.Itoa(100+i), Source: "/x"}
			if i > 0 {
				c.Deps.Requires = []string{chain[i-1].Name}
			}
			chain = append(chain, c)
		}
		problems := New(chain, nil).Problems()
		switch {
		case n == 3 && (len(problems) != 2 || problems[0].File != "/x" || problems[0].Key != "dependencies.requires"):
			t.Errorf("%d services: %v", n, problems)
		case n == 30 && (len(problems) != 1 || problems[0].Message != "29 services require others, s100, s101, s102 and others, "+
			"which declare neither ready nor health nor oneshot: they count as ready once executed"):
			t.Errorf("%d services: %v", n, problems)
		}
	}
}

// TestImports keeps the package pure, and the machine's floor above it with it.
func TestImports(t *testing.T) {
	forbidden := []string{"os", "net", "sync", "fmt", "encoding/json", "math/rand", "math/rand/v2", "reflect", "io", "bufio", "log",
		"log/slog", "context", "syscall", "unsafe"}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			own := strings.HasSuffix(path, "/graph/calendar") // as pure as this package
			if slices.Contains(forbidden, path) || strings.Contains(path, ".") && !own {
				t.Errorf("%s imports %s", name, path)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "time."+"Now(") {
			t.Errorf("%s reads the clock", name)
		}
	}
}
