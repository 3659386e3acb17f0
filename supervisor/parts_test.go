package supervisor

import (
	"testing"

	"github.com/zinit/zinit/graph"
)

// TestClosure: removal with cascade takes everything that transitively requires or binds, nothing that only wants or
// follows.
func TestClosure(t *testing.T) {
	config := func(name string, deps graph.Deps) *graph.Config {
		return &graph.Config{Name: name, Exec: graph.Command{Line: "true"}, Deps: deps}
	}
	g := graph.New([]*graph.Config{
		config("db", graph.Deps{}),
		config("api", graph.Deps{Requires: []string{"db"}}),
		config("web", graph.Deps{Binds: []string{"api"}}),
		config("fan", graph.Deps{Wants: []string{"db"}, After: []string{"api"}}),
	}, nil)
	id, _ := g.Lookup("db")
	all, dependents := closure(g, id)
	if len(all) != 3 || all[0] != "db" || len(dependents) != 2 || dependents[0] != "api" || dependents[1] != "web" {
		t.Errorf("closure of db: %v %v", all, dependents)
	}
}
