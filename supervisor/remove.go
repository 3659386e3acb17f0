package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
)

// Remove stops and forgets a service, and deletes the files that r says. Without r.Cascade it is refused while a loaded
// service requires it.
func (s *Supervisor) Remove(ctx context.Context, name string, r wire.Removal) (wire.OK, error) {
	if err := s.takeChange(ctx); err != nil {
		return wire.OK{}, err
	}
	defer s.endTurn()
	view := s.shown.Views.Load()
	id, ok := view.Graph.Lookup(name)
	if !ok {
		return wire.OK{}, s.NotFound(name)
	}
	names, dependents := closure(view.Graph, id)
	if len(dependents) > 0 && !r.Cascade {
		return wire.OK{}, wire.NewError(wire.CodeUnsafeRemoval, fmt.Sprintf("cannot remove %s: required by %s; remove with --cascade to remove them too",
			name, strings.Join(dependents, ", "))).With("dependents", dependents)
	}
	files, err := s.removeNames(names, r.Files)
	if err != nil {
		return wire.OK{}, err
	}
	_, err = s.Wait(ctx, names, "gone", 0)
	return wire.OK{OK: true, Pending: err != nil, Removed: files}, nil
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
func (s *Supervisor) removeNames(names []string, choice wire.FilesChoice) (files wire.Removed, err error) {
	list := newWritten(s.opt.Files.StateDir)
	now := s.defs.Load()
	next := now.Clone()
	var forgotten []string
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
		switch {
		case source == "":
		case choice == wire.FilesWritten && !list.has(source, n):
			files.Kept = addFile(files.Kept, source)
		default:
			if err := confdir.Delete(source, n); err != nil && !os.IsNotExist(err) {
				return files, wire.NewError(wire.CodePersist, fmt.Sprintf("cannot remove %s: %v; %s", n, err, deletedText(files.Deleted)))
			}
			files.Deleted = addFile(files.Deleted, source)
			forgotten = append(forgotten, listed(source, n))
		}
		delete(next.Configs, n)
		next.Unbreak(n)
	}
	if err := list.forget(forgotten); err != nil {
		s.log.Warn("the list of the files that the server wrote cannot be written", "error", err)
	}
	g := next.Graph()
	return files, s.apply(next, g, s.diff(g, false))
}

// addFile adds a file that may hold several of the services.
func addFile(list []string, file string) []string {
	if slices.Contains(list, file) {
		return list
	}
	return append(list, file)
}

// deletedText says what a removal that failed has done to files.
func deletedText(files []string) string {
	if len(files) == 0 {
		return "nothing was changed"
	}
	return "no service was changed, but deleted is " + strings.Join(files, ", ")
}

// DeleteAll removes every service and target of class user, and deletes the files that choice says.
func (s *Supervisor) DeleteAll(ctx context.Context, choice wire.FilesChoice) (wire.Bulk, error) {
	if err := s.takeChange(ctx); err != nil {
		return wire.Bulk{}, err
	}
	defer s.endTurn()
	names := []string{}
	view := s.shown.Views.Load()
	for id, e := range view.Entries[:view.Graph.Len()] {
		if view.Graph.Class(graph.ID(id)) == graph.ClassUser {
			names = append(names, e.Config.Name)
		}
	}
	files, err := s.removeNames(names, choice)
	return wire.Bulk{Deleted: names, Count: len(names), Removed: files}, err
}
