package view

import (
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
)

// Definitions is what is loaded: every sound definition by name, the files that are not, and what is wrong. It is
// immutable; changes make a new one. Only the holder of the configuration's turn replaces it.
type Definitions struct {
	Configs  map[string]*graph.Config
	Broken   []graph.Broken
	Problems []graph.Problem
}

// Graph builds the dependency graph of these definitions.
func (ds *Definitions) Graph() *graph.Graph {
	configs := make([]*graph.Config, 0, len(ds.Configs))
	for _, c := range ds.Configs {
		configs = append(configs, c)
	}
	slices.SortFunc(configs, func(a, b *graph.Config) int { return strings.Compare(a.Name, b.Name) })
	return graph.New(configs, ds.Broken)
}

// Clone copies the maps, not the definitions.
func (ds *Definitions) Clone() *Definitions {
	c := &Definitions{Configs: make(map[string]*graph.Config, len(ds.Configs)+1), Broken: slices.Clone(ds.Broken),
		Problems: slices.Clone(ds.Problems)}
	for k, v := range ds.Configs {
		c.Configs[k] = v
	}
	return c
}

// Unbreak removes the broken entry of a name, when a good definition takes its place.
func (ds *Definitions) Unbreak(name string) {
	ds.Broken = slices.DeleteFunc(ds.Broken, func(b graph.Broken) bool { return b.Name == name })
}

// AllProblems lists what is wrong with a configuration, of the files and of the graph.
func AllProblems(ds *Definitions, g *graph.Graph) []wire.Problem {
	out := []wire.Problem{}
	told := map[[2]string]bool{} // what was read from files comes first: it knows the place
	for _, p := range slices.Concat(ds.Problems, g.Problems()) {
		key := [2]string{p.Service, p.Message}
		if !told[key] && p.Severity != graph.SeverityNote {
			told[key] = true
			out = append(out, wireProblem(p))
		}
	}
	return out
}

func wireProblem(p graph.Problem) wire.Problem {
	return wire.Problem{File: p.File, Line: p.Line, Column: p.Column, Service: p.Service, Severity: p.Severity.String(), Message: p.Message}
}
