package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// definitions is what is loaded: every sound definition by name, the files that are not, and what is wrong. It is
// immutable; changes make a new one. Only the holder of the configuration's turn replaces it.
type definitions struct {
	configs  map[string]*graph.Config
	broken   []graph.Broken
	problems []graph.Problem
}

// graph builds the dependency graph of these definitions.
func (ds *definitions) graph() *graph.Graph {
	configs := make([]*graph.Config, 0, len(ds.configs))
	for _, c := range ds.configs {
		configs = append(configs, c)
	}
	slices.SortFunc(configs, func(a, b *graph.Config) int { return strings.Compare(a.Name, b.Name) })
	return graph.New(configs, ds.broken)
}

// clone copies the maps, not the definitions.
func (ds *definitions) clone() *definitions {
	c := &definitions{configs: make(map[string]*graph.Config, len(ds.configs)+1), broken: slices.Clone(ds.broken),
		problems: slices.Clone(ds.problems)}
	for k, v := range ds.configs {
		c.configs[k] = v
	}
	return c
}

// unbreak removes the broken entry of a name, when a good definition takes its place.
func (ds *definitions) unbreak(name string) {
	ds.broken = slices.DeleteFunc(ds.broken, func(b graph.Broken) bool { return b.Name == name })
}

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

func (s *Supervisor) endTurn() { <-s.turn }

// read reads the directories, for the first time or again; again, a file that broke keeps the running definition, and
// what was added at run time without persist stays.
func (s *Supervisor) read() (*definitions, *graph.Graph) {
	o, now := s.loadOptions(), s.defs.Load()
	if now != nil {
		o.Loaded = func(name string) bool { return now.configs[name] != nil }
		o.Settings = roomForFiles(o.Settings, now)
	}
	l := s.opt.takePreloaded()
	if l == nil {
		l = confdir.Load(s.opt.ConfigDirs, o)
	}
	if now != nil {
		l.Carry(s.driver.views.load().Graph)
	}
	ds := &definitions{configs: make(map[string]*graph.Config, len(l.Configs)), broken: l.Broken, problems: l.Problems}
	for _, c := range l.Configs {
		ds.configs[c.Name] = c
	}
	return ds, l.Graph
}

// roomForFiles takes those that were added at run time, and have no file, off limits.services.
func roomForFiles(settings *confdir.Settings, now *definitions) *confdir.Settings {
	if settings == nil || settings.MaxServices <= 0 {
		return settings
	}
	room := *settings
	for _, c := range now.configs {
		if c.Ephemeral {
			room.MaxServices--
		}
	}
	room.MaxServices = max(room.MaxServices, 1)
	return &room
}

// loadOptions are the rules for files and for definitions over RPC.
func (s *Supervisor) loadOptions() confdir.Options {
	return s.opt.loadOptions(s.defs.Load() == nil)
}

func (o *Options) loadOptions(first bool) confdir.Options {
	return confdir.Options{Lenient: o.Lenient, System: o.System, Trust: true, TrustWarns: o.Mode == "container",
		Settings: o.Settings, UnknownWarns: o.Mode == "machine" && first}
}

// Preload begins to read the configuration that New will want, while its caller does something else. What decides about it
// must not change any more: ConfigDirs, Settings, Lenient, System, Mode.
func (o *Options) Preload() {
	result := make(chan *confdir.Loaded, 1)
	o.preloaded = result
	dirs, how := o.ConfigDirs, o.loadOptions(true)
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
	plan, view := s.diff(g), s.driver.views.load()
	if err := refuseCycles(g); err != nil { // the differences around a cycle are none that can be applied
		answer := wirePlan(&graph.Plan{}, g, view, allProblems(next, g))
		answer.Refused = err.Error()
		return answer, nil
	}
	answer := wirePlan(plan, g, view, allProblems(next, g))
	if err := cmp.Or(refuseRemoval(view, plan, g), s.refuseConflicts(g)); err != nil {
		answer.Refused = err.Error()
	}
	return answer, nil
}

// refuseConflicts makes the error of a reload after which two running services would conflict.
func (s *Supervisor) refuseConflicts(g *graph.Graph) error {
	done := make(chan []string, 1)
	s.driver.post(func() { done <- s.driver.m.RefuseReload(g) })
	select {
	case refused := <-done:
		return refusal(refused)
	case <-s.opt.done:
		return errStopping()
	}
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
	if err := s.takeTurn(ctx); err != nil {
		return wire.Plan{}, err
	}
	defer s.endTurn()
	next, g := s.read()
	view := s.driver.views.load()
	plan := s.diff(g)
	if err := refuseCycles(g); err != nil {
		return wire.Plan{}, err
	}
	if err := refuseRemoval(view, plan, g); err != nil && !allowRemoval {
		return wire.Plan{}, err
	}
	answer := wirePlan(plan, g, view, allProblems(next, g))
	if err := s.apply(next, g, plan); err != nil {
		return wire.Plan{}, err
	}
	s.driver.log.Info("configuration reloaded", "added", len(plan.Added), "removed", len(plan.Removed),
		"changed", len(plan.Changed), "problems", len(answer.ConfigErrors))
	return answer, nil
}

// diff compares with what is loaded, knowing which services have a process.
func (s *Supervisor) diff(g *graph.Graph) *graph.Plan {
	v := s.driver.views.load()
	return graph.Diff(v.Graph, g, func(name string) bool {
		e, _, ok := v.lookup(name)
		return ok && active(e.Info.State)
	})
}

func active(st machine.State) bool {
	return st == machine.Starting || st == machine.Running || st == machine.Stopping
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
func refuseRemoval(v *View, plan *graph.Plan, next *graph.Graph) error {
	var names, dependents []string
	for _, name := range plan.Removed {
		id, ok := v.Graph.Lookup(name)
		if !ok {
			continue
		}
		for _, r := range v.Graph.Requirers(id) {
			dep := v.Graph.Name(r)
			if _, stays := next.Lookup(dep); stays && active(v.Entries[r].Info.State) && stillRequires(next, dep, name) {
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
func (s *Supervisor) apply(next *definitions, g *graph.Graph, plan *graph.Plan) error {
	if len(plan.Added)+len(plan.Removed)+len(plan.Changed) == 0 && !brokenChanged(s.defs.Load(), next) {
		s.defs.Store(next)
		return nil
	}
	done := make(chan []string, 1)
	s.driver.post(func() { done <- s.driver.reload(next, g, plan) })
	select {
	case refused := <-done:
		if err := refusal(refused); err != nil {
			return err
		}
		s.defs.Store(next)
		return nil
	case <-s.opt.done:
		return errStopping()
	}
}

func brokenChanged(a, b *definitions) bool { return !slices.Equal(a.broken, b.broken) }

func errStopping() error {
	return wire.NewError(wire.CodeInternal, "the supervisor is stopping")
}

// reload runs in the driver.
func (d *driver) reload(next *definitions, g *graph.Graph, plan *graph.Plan) []string {
	if refused := d.m.RefuseReload(g); len(refused) > 0 {
		return refused
	}
	d.commit() // what was decided with the old numbers is done before they change
	d.allDirty = true
	d.together(func() {
		d.saveDefinitions(next, plan)
		d.step(machine.Reloaded{Graph: g, Plan: plan})
	})
	for _, c := range next.configs {
		d.direct(c)
	}
	d.commit()
	return nil
}

// together writes all that f puts into the journal at once: a crash finds all of it or nothing.
func (d *driver) together(f func()) {
	if d.journal == nil {
		f()
		return
	}
	d.journal.Hold()
	f()
	d.flushJournal()
}

func (d *driver) flushJournal() {
	if err := d.journal.Flush(); err != nil {
		d.log.Error("cannot write the journal: a crash of the server now would lose state", "error", err)
	}
	fault.Here("journal")
}

// saveDefinitions keeps the loaded definitions in the journal: a crash or an upgrade keeps them, edited files act only
// through a reload.
func (d *driver) saveDefinitions(next *definitions, plan *graph.Plan) {
	if d.journal == nil {
		return
	}
	define := func(name string) {
		if c, ok := next.configs[name]; ok {
			d.define(c)
		}
	}
	for _, name := range plan.Added {
		define(name)
	}
	for _, ch := range plan.Changed {
		define(ch.Name)
	}
	d.noteBroken(next)
}

// noteBroken keeps the broken files in the journal.
func (d *driver) noteBroken(ds *definitions) {
	if d.journal == nil {
		return
	}
	b, _ := json.Marshal(ds.broken)
	_ = d.journal.Note("broken", b)
}
