package sim

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph"
)

func TestHeapOrder(t *testing.T) {
	t.Parallel()
	var h eventHeap
	r := newRng(1)
	for range 2000 {
		h.push(item{at: Time(r.n(50))})
	}
	last := item{at: -1}
	for range 2000 {
		it := h.pop()
		if earlier(&it, &last) {
			t.Fatalf("%v comes after %v", it, last)
		}
		last = it
	}
}

func TestRngIsStable(t *testing.T) {
	t.Parallel()
	// Regression seeds are worth nothing once the generator changes.
	a, b := newRng(42, 7), newRng(42, 8)
	if x, y := a.u32(), b.u32(); x != 0x3bd99c0f || y == x {
		t.Fatalf("first numbers are %#x and %#x", x, y)
	}
	counts := [10]int{}
	for range 10000 {
		counts[a.n(10)]++
	}
	for i, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("%d came %d times of 10000", i, n)
		}
	}
}

// TestPure is the rule of the lower floors: no clock, no files, no goroutines.
func TestPure(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{"math/bits": true, "slices": true, "sort": true, "strconv": true, "strings": true, "time": true,
		"github.com/zinit/zinit/graph": true, "github.com/zinit/zinit/graph/calendar": true, "github.com/zinit/zinit/supervisor/machine": true}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if path := strings.Trim(i.Path.Value, `"`); !allowed[path] {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// TestBlueprints looks at what is drawn: every edge goes to an earlier place, so no world has a cycle by accident, and
// all kinds of edges and services occur.
func TestBlueprints(t *testing.T) {
	t.Parallel()
	var edges [5]int
	targets, oneshots, broken, sizes := 0, 0, 0, map[int]int{}
	for seed := range uint64(2000) {
		b := draw(seed, Mask{})
		var configs []*graph.Config
		for i := range b.names {
			c := b.config(i, 0)
			configs = append(configs, c)
			if c.Target {
				targets++
			}
			if c.Oneshot {
				oneshots++
			}
			for k := range edges {
				edges[k] += len(c.Deps.Of(graph.Kind(k)))
			}
		}
		sizes[b.swarm.services]++
		g := graph.New(configs, nil)
		if len(g.Cycles()) > 0 {
			t.Fatalf("seed %d has the cycle %v", seed, g.Cycles())
		}
		for id := range graph.ID(g.Len()) {
			if kind, _ := g.Broken(id); kind != "" {
				broken++
			}
		}
	}
	if len(sizes) < 10 || sizes[200] == 0 || targets == 0 || oneshots == 0 || broken == 0 {
		t.Errorf("sizes %v, %d targets, %d oneshots, %d broken", sizes, targets, oneshots, broken)
	}
	for k, n := range edges {
		if n < 500 {
			t.Errorf("only %d edges of kind %s", n, graph.Kind(k))
		}
	}
	t.Logf("edges %v, %d targets, %d oneshots, %d broken", edges, targets, oneshots, broken)
}
