package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
)

// Remove stops and forgets a service, with its file. Without cascade it is refused while a loaded service requires it.
func (s *Supervisor) Remove(ctx context.Context, name string, cascade bool) (wire.OK, error) {
	if err := s.takeTurn(ctx); err != nil {
		return wire.OK{}, err
	}
	defer s.endTurn()
	view := s.shown.Views.Load()
	id, ok := view.Graph.Lookup(name)
	if !ok {
		return wire.OK{}, s.NotFound(name)
	}
	names, dependents := closure(view.Graph, id)
	if len(dependents) > 0 && !cascade {
		return wire.OK{}, wire.NewError(wire.CodeUnsafeRemoval, fmt.Sprintf("cannot remove %s: required by %s; remove with --cascade to remove them too",
			name, strings.Join(dependents, ", "))).With("dependents", dependents)
	}
	if err := s.removeNames(names); err != nil {
		return wire.OK{}, err
	}
	_, err := s.Wait(ctx, names, "gone", 0)
	return wire.OK{OK: true, Pending: err != nil}, nil
}

// closure is a service with everything that transitively requires or binds it.
func closure(g *graph.Graph, id graph.ID) (all, dependents []string) {
	seen := map[graph.ID]bool{id: true}
	queue := []graph.ID{id}
	for len(queue) > 0 {
		for _, r := range g.Requirers(queue[0]) {
			if !seen[r] {
				seen[r] = true
				queue = append(queue, r)
				dependents = append(dependents, g.Name(r))
			}
		}
		queue = queue[1:]
	}
	slices.Sort(dependents)
	return append([]string{g.Name(id)}, dependents...), dependents
}

// removeNames takes definitions away, files first, so that a crash in between cannot bring them back half.
func (s *Supervisor) removeNames(names []string) error {
	now := s.defs.Load()
	next := now.Clone()
	for _, n := range names {
		source := ""
		if c, ok := now.Configs[n]; ok {
			source = c.Source
		}
		for _, b := range now.Broken {
			if b.Name == n {
				source = b.Source
			}
		}
		if source != "" {
			if err := os.Remove(source); err != nil && !os.IsNotExist(err) {
				return wire.NewError(wire.CodePersist, fmt.Sprintf("cannot remove %s: %v; nothing was changed", n, err))
			}
		}
		delete(next.Configs, n)
		next.Unbreak(n)
	}
	g := next.Graph()
	return s.apply(next, g, s.diff(g))
}

// DeleteAll removes every service and target of class user.
func (s *Supervisor) DeleteAll(ctx context.Context) ([]string, error) {
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.endTurn()
	names := []string{}
	view := s.shown.Views.Load()
	for id, e := range view.Entries[:view.Graph.Len()] {
		if view.Graph.Class(graph.ID(id)) == graph.ClassUser {
			names = append(names, e.Config.Name)
		}
	}
	return names, s.removeNames(names)
}
