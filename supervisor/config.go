package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// takeTurn waits for the right to change the configuration: one change at a time, each validated against the result of
// the one before. The driver never takes it, so holding it while waiting for the driver cannot deadlock.
func (s *Supervisor) takeTurn(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return wire.NewError(wire.CodeTimedOut, "another change of the configuration is under way: try again")
	}
}

// takeChange is takeTurn for what changes something: while everything is being stopped that is refused.
func (s *Supervisor) takeChange(ctx context.Context) error {
	if s.atEnd() {
		return s.AtEnd()
	}
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	if s.atEnd() {
		s.endTurn()
		return s.AtEnd()
	}
	return nil
}

func (s *Supervisor) endTurn() { <-s.turn }

// read reads the directories, for the first time or again; again, a file that broke keeps the running definition, and
// what was added at run time without persist stays.
func (s *Supervisor) read() (*view.Definitions, *graph.Graph) {
	o, now := s.loadOptions(), s.defs.Load()
	if now != nil {
		o.Loaded = func(name string) bool { return now.Configs[name] != nil }
		o.Settings = roomForFiles(o.Settings, now)
	}
	l := s.opt.takePreloaded()
	if l == nil {
		l = confdir.Load(s.opt.Files.Dirs, o)
	}
	if now != nil {
		l.Carry(s.shown.Views.Load().Graph)
	}
	ds := &view.Definitions{Configs: make(map[string]*graph.Config, len(l.Configs)), Broken: l.Broken, Problems: l.Problems}
	for _, c := range l.Configs {
		ds.Configs[c.Name] = c
	}
	return ds, l.Graph
}

// roomForFiles takes those that were added at run time, and have no file, off limits.services.
func roomForFiles(settings *confdir.Settings, now *view.Definitions) *confdir.Settings {
	if settings == nil || settings.MaxServices <= 0 {
		return settings
	}
	room := *settings
	for _, c := range now.Configs {
		if c.Ephemeral {
			room.MaxServices--
		}
	}
	room.MaxServices = max(room.MaxServices, 1)
	return &room
}

// loadOptions are the rules for files and for definitions over RPC.
func (s *Supervisor) loadOptions() confdir.Options {
	now := s.defs.Load()
	o := s.opt.loadOptions(now == nil)
	o.Port = func(file, name string) int {
		if now != nil && now.Configs[name] != nil && now.Configs[name].Source == file { // of the server before
			if port, err := strconv.Atoi(now.Configs[name].Env["PORT"]); err == nil {
				s.opt.ports.keep(file, name, port)
			}
		}
		return s.opt.ports.choose(file, name)
	}
	return o
}

func (o *Options) loadOptions(first bool) confdir.Options {
	return confdir.Options{Lenient: o.Files.Lenient, System: o.Files.System, Trust: true, TrustWarns: o.About.Mode == "container",
		EnvFile: proc.EnvFileValues, Port: o.ports.choose, Profiles: o.Files.Profiles, Settings: o.Files.Settings, UnknownWarns: o.About.Mode == "machine" && first}
}

// Preload begins to read the configuration that New will want, while its caller does something else. What decides about it
// must not change any more: Files and About.Mode.
func (o *Options) Preload() {
	result := make(chan *confdir.Loaded, 1)
	o.preloaded, o.ports = result, newAutoPorts()
	dirs, how := o.Files.Dirs, o.loadOptions(true)
	go func() { result <- confdir.Load(dirs, how) }()
	go makeRoom(dirs)
}

// makeRoom prepares for the descriptors of as many services as there are files, while these are read.
func makeRoom(dirs []string) {
	files := 0
	for _, dir := range dirs {
		for _, sub := range []string{".", "services", "system"} {
			f, err := os.Open(filepath.Join(dir, sub))
			if err != nil {
				continue
			}
			names, _ := f.Readdirnames(-1)
			files += len(names)
			f.Close()
		}
	}
	if files > fewFiles {
		proc.GrowDescriptors(2*files + spareDescriptors)
	}
}

func (o *Options) takePreloaded() *confdir.Loaded {
	if o.preloaded == nil {
		return nil
	}
	defer func() { o.preloaded = nil }()
	return <-o.preloaded
}

// Plan says what Reload would do.
func (s *Supervisor) Plan() (wire.Plan, error) {
	if err := s.takeTurn(context.Background()); err != nil {
		return wire.Plan{}, err
	}
	defer s.endTurn()
	next, g := s.read()
	plan, shown := s.diff(g, true), s.shown.Views.Load()
	if err := refuseCycles(g); err != nil { // the differences around a cycle are none that can be applied
		answer := answer.WirePlan(&graph.Plan{}, g, shown, view.AllProblems(next, g))
		answer.Refused = err.Error()
		return answer, nil
	}
	answer := answer.WirePlan(plan, g, shown, append(view.AllProblems(next, g), s.unreadable(shown)...))
	if err := cmp.Or(refuseRemoval(shown, plan, g), s.refuseConflicts(g)); err != nil {
		answer.Refused = err.Error()
	}
	return answer, nil
}

// refuseConflicts makes the error of a reload after which two running services would conflict.
func (s *Supervisor) refuseConflicts(g *graph.Graph) error {
	refused, ok := s.loop.RefuseReload(g)
	if !ok {
		return answer.ErrStopping()
	}
	return refusal(refused)
}

func refusal(reasons []string) error {
	if len(reasons) == 0 {
		return nil
	}
	return wire.NewError(wire.CodeValidation, strings.Join(reasons, "; ")+"; nothing was changed").With("errors", reasons)
}

// Reload reads the directories and applies the difference. A cycle, a conflict between running services or a removal
// that running services need refuses the whole and changes nothing.
func (s *Supervisor) Reload(ctx context.Context, allowRemoval bool) (wire.Plan, error) {
	if err := s.takeChange(ctx); err != nil {
		return wire.Plan{}, err
	}
	defer s.endTurn()
	next, g := s.read()
	shown := s.shown.Views.Load()
	plan := s.diff(g, true)
	if err := refuseCycles(g); err != nil {
		return wire.Plan{}, err
	}
	if err := refuseRemoval(shown, plan, g); err != nil && !allowRemoval {
		return wire.Plan{}, err
	}
	answer := answer.WirePlan(plan, g, shown, append(view.AllProblems(next, g), s.unreadable(shown)...))
	if err := s.apply(next, g, plan); err != nil {
		return wire.Plan{}, err
	}
	s.log.Info("configuration reloaded", "added", len(plan.Added), "removed", len(plan.Removed),
		"changed", len(plan.Changed), "problems", len(answer.ConfigErrors))
	return answer, nil
}

// diff compares with what is loaded, knowing which services have a process. With files it also looks at the files that
// running services have read: that is a reload's to do, and not of one who adds or removes another service.
func (s *Supervisor) diff(g *graph.Graph, files bool) *graph.Plan {
	v := s.shown.Views.Load()
	var changed func(name string) []string
	if files {
		changed = func(name string) []string {
			e, _, ok := v.Lookup(name)
			if !ok {
				return nil
			}
			return drifted(e)
		}
	}
	return graph.Diff(v.Graph, g, func(name string) bool {
		e, _, ok := v.Lookup(name)
		return ok && view.Active(e.Info.State)
	}, changed)
}

// refuseCycles makes the error of a reload or a set that would bring a cycle.
func refuseCycles(g *graph.Graph) error {
	cycles := g.Cycles()
	if len(cycles) == 0 {
		return nil
	}
	return wire.NewError(wire.CodeCycle, "dependency cycle: "+strings.Join(cycles[0], " -> ")+
		"; remove one of these dependencies, nothing was changed").With("cycle", cycles[0])
}

// refuseRemoval makes the error of a reload that removes what running services require.
func refuseRemoval(v *view.View, plan *graph.Plan, next *graph.Graph) error {
	var names, dependents []string
	for _, name := range plan.Removed {
		id, ok := v.Graph.Lookup(name)
		if !ok {
			continue
		}
		for _, r := range v.Graph.Requirers(id) {
			dep := v.Graph.Name(r)
			if _, stays := next.Lookup(dep); stays && view.Active(v.Entries[r].Info.State) && stillRequires(next, dep, name) {
				dependents = append(dependents, dep)
				names = append(names, name)
			}
		}
	}
	if len(dependents) == 0 {
		return nil
	}
	return wire.NewError(wire.CodeUnsafeRemoval, fmt.Sprintf("cannot remove %s: %s, which runs, requires it; "+
		"reload with --allow-removal to stop it, nothing was changed", names[0], dependents[0])).
		With("dependents", dependents)
}

func stillRequires(g *graph.Graph, dependent, name string) bool {
	id, ok := g.Lookup(dependent)
	return ok && slices.Contains(g.Missing(id), name)
}

// apply hands the new graph to the driver and waits until it has been taken over or refused.
func (s *Supervisor) apply(next *view.Definitions, g *graph.Graph, plan *graph.Plan) error {
	if len(plan.Added)+len(plan.Removed)+len(plan.Changed) == 0 && !brokenChanged(s.defs.Load(), next) {
		s.defs.Store(next)
		return nil
	}
	refused, ok := s.loop.Reload(next, g, plan)
	if !ok {
		return answer.ErrStopping()
	}
	if err := refusal(refused); err != nil {
		return err
	}
	s.defs.Store(next)
	return nil
}

func brokenChanged(a, b *view.Definitions) bool { return !slices.Equal(a.Broken, b.Broken) }
