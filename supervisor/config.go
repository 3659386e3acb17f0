package supervisor

import (
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
	l := confdir.Load(s.opt.ConfigDirs, s.loadOptions())
	if s.defs.Load() != nil {
		l.Carry(s.driver.views.load().Graph)
	}
	ds := &definitions{configs: make(map[string]*graph.Config, len(l.Configs)), broken: l.Broken, problems: l.Problems}
	for _, c := range l.Configs {
		ds.configs[c.Name] = c
	}
	return ds, l.Graph
}

// loadOptions are the rules for files and for definitions over RPC.
func (s *Supervisor) loadOptions() confdir.Options {
	return confdir.Options{Lenient: s.opt.Lenient, System: s.opt.System, Trust: true, TrustWarns: s.opt.Mode == "container",
		Settings: s.opt.Settings, UnknownWarns: s.opt.Mode == "machine" && s.defs.Load() == nil}
}

// Plan says what Reload would do.
func (s *Supervisor) Plan() (wire.Plan, error) {
	if err := s.takeTurn(context.Background()); err != nil {
		return wire.Plan{}, err
	}
	defer s.endTurn()
	next, g := s.read()
	plan := s.diff(g)
	return wirePlan(plan, g, s.driver.views.load(), allProblems(next, g)), nil
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
		if len(refused) > 0 {
			return wire.NewError(wire.CodeValidation, strings.Join(refused, "; ")+"; nothing was changed").With("errors", refused)
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

// Add loads one more definition. It is not started.
func (s *Supervisor) Add(ctx context.Context, config json.RawMessage, persist bool) (wire.Added, error) {
	return s.put(ctx, config, putRules{mustBeNew: true, persist: persist})
}

// Set adds or replaces a definition by the rules of a reload, and persists it.
func (s *Supervisor) Set(ctx context.Context, config json.RawMessage, dryRun bool) (wire.Added, error) {
	return s.put(ctx, config, putRules{persist: true, dryRun: dryRun})
}

type putRules struct{ mustBeNew, persist, dryRun bool }

func (s *Supervisor) put(ctx context.Context, raw json.RawMessage, r putRules) (wire.Added, error) {
	c, problems := confdir.ParseJSON(raw, s.loadOptions())
	if c == nil {
		return wire.Added{}, validationError(problems)
	}
	if err := s.takeTurn(ctx); err != nil {
		return wire.Added{}, err
	}
	defer s.endTurn()
	now := s.defs.Load()
	old, exists := now.configs[c.Name]
	if exists && r.mustBeNew {
		return wire.Added{}, wire.NewError(wire.CodeExists, "service "+c.Name+" exists already: use service.set to replace it")
	}
	if len(now.configs) >= s.opt.maxServices() && !exists {
		return wire.Added{}, wire.NewError(wire.CodeValidation, fmt.Sprintf("cannot add %s: the limit of %d services is reached", c.Name, s.opt.maxServices()))
	}
	c.Ephemeral = !r.persist
	if exists && old.Source != "" {
		c.Source = old.Source
	}
	if err := missingExecutable(c); err != nil {
		return wire.Added{}, err
	}
	next := now.clone()
	next.configs[c.Name] = c
	next.unbreak(c.Name)
	g := next.graph()
	if err := refuseDefinition(g, c); err != nil {
		return wire.Added{}, err
	}
	answer := wire.Added{Name: c.Name, Warnings: warningsOf(problems, g, c.Name)}
	if r.dryRun {
		return answer, nil
	}
	if err := s.save(c, r.persist); err != nil {
		return wire.Added{}, err
	}
	if c.Source != "" {
		answer.Path = &c.Source
	}
	plan := s.diff(g)
	if r.mustBeNew {
		plan.Quiet = []string{c.Name} // service.add does not start
	}
	return answer, s.apply(next, g, plan)
}

// save writes the file of a persisted definition, before anything is changed in memory.
func (s *Supervisor) save(c *graph.Config, persist bool) error {
	if !persist {
		c.Source = ""
		return nil
	}
	dir := confdir.SaveDir(s.opt.ConfigDirs)
	if c.Source != "" {
		dir = filepath.Dir(c.Source)
	}
	if dir == "" {
		return wire.NewError(wire.CodePersist, "cannot save "+c.Name+": the server has no configuration directory")
	}
	path, err := confdir.Save(dir, c)
	if err != nil {
		return wire.NewError(wire.CodePersist, fmt.Sprintf("cannot save %s: %v; nothing was changed", c.Name, err))
	}
	c.Source = path
	return nil
}

// missingExecutable refuses an absolute program that does not exist; anything else is found out at the start, so that
// what works from a file works over RPC too.
func missingExecutable(c *graph.Config) error {
	argv := c.Exec.Argv
	if len(argv) == 0 {
		argv = strings.Fields(c.Exec.Line)
	}
	if c.Target || len(argv) == 0 || !filepath.IsAbs(argv[0]) || strings.ContainsAny(argv[0], "$`'\"\\*?[;&|<>()") {
		return nil
	}
	if _, err := os.Stat(argv[0]); os.IsNotExist(err) {
		return wire.NewError(wire.CodeNoExecutable, "executable not found: "+argv[0]+" (service "+c.Name+", key exec)")
	}
	return nil
}

// refuseDefinition finds what makes one definition unacceptable in the graph it would stand in.
func refuseDefinition(g *graph.Graph, c *graph.Config) error {
	if err := refuseCycles(g); err != nil {
		return err
	}
	id, _ := g.Lookup(c.Name)
	if _, problem := g.Broken(id); problem != "" {
		return wire.NewError(wire.CodeValidation, problem).With("errors", []string{problem})
	}
	if missing := g.Missing(id); len(missing) > 0 {
		return wire.NewError(wire.CodeMissingDependency, fmt.Sprintf("%s requires %s, which does not exist: add %s first",
			c.Name, missing[0], missing[0])).With("missing", missing)
	}
	return nil
}

func validationError(problems []graph.Problem) error {
	var lines []string
	for _, p := range problems {
		if p.Severity == graph.SeverityError {
			lines = append(lines, p.Message)
		}
	}
	if len(lines) == 0 {
		lines = []string{"not a service definition"}
	}
	return wire.NewError(wire.CodeValidation, strings.Join(lines, "; ")).With("errors", lines)
}

func warningsOf(problems []graph.Problem, g *graph.Graph, name string) []string {
	out := []string{}
	for _, p := range problems {
		if p.Severity != graph.SeverityError {
			out = append(out, p.Message)
		}
	}
	for _, p := range g.Problems() {
		if p.Service == name && p.Severity == graph.SeverityWarning {
			out = append(out, p.Message)
		}
	}
	return out
}

// Remove stops and forgets a service, with its file. Without cascade it is refused while a loaded service requires it.
func (s *Supervisor) Remove(ctx context.Context, name string, cascade bool) (wire.OK, error) {
	if err := s.takeTurn(ctx); err != nil {
		return wire.OK{}, err
	}
	defer s.endTurn()
	view := s.driver.views.load()
	id, ok := view.Graph.Lookup(name)
	if !ok {
		return wire.OK{}, s.notFound(name)
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
	next := now.clone()
	for _, n := range names {
		source := ""
		if c, ok := now.configs[n]; ok {
			source = c.Source
		}
		for _, b := range now.broken {
			if b.Name == n {
				source = b.Source
			}
		}
		if source != "" {
			if err := os.Remove(source); err != nil && !os.IsNotExist(err) {
				return wire.NewError(wire.CodePersist, fmt.Sprintf("cannot remove %s: %v; nothing was changed", n, err))
			}
		}
		delete(next.configs, n)
		next.unbreak(n)
	}
	g := next.graph()
	return s.apply(next, g, s.diff(g))
}

// DeleteAll removes every service and target of class user.
func (s *Supervisor) DeleteAll(ctx context.Context) ([]string, error) {
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.endTurn()
	names := []string{}
	view := s.driver.views.load()
	for id, e := range view.Entries[:view.Graph.Len()] {
		if view.Graph.Class(graph.ID(id)) == graph.ClassUser {
			names = append(names, e.Config.Name)
		}
	}
	return names, s.removeNames(names)
}

// wirePlan turns a plan into what service.plan and service.reload answer.
func wirePlan(p *graph.Plan, next *graph.Graph, v *View, problems []wire.Problem) wire.Plan {
	out := wire.Plan{Added: list(p.Added), Removed: list(p.Removed), Changed: []string{}, ConfigErrors: problems, Actions: []wire.PlanAction{}}
	for _, name := range p.Added {
		a := wire.PlanAction{Name: name, Action: "add", Reason: "new, not started"}
		if id, ok := next.Lookup(name); ok && next.Config(id).Status == graph.StatusStart {
			a = wire.PlanAction{Name: name, Action: "start", Reason: "new, status = start"}
		}
		out.Actions = append(out.Actions, a)
	}
	for _, name := range p.Removed {
		a := wire.PlanAction{Name: name, Action: "remove", Reason: "its file is gone"}
		if e, _, ok := v.lookup(name); ok && active(e.Info.State) {
			a = wire.PlanAction{Name: name, Action: "stop", Reason: "its file is gone; removed when it has ended"}
		}
		out.Actions = append(out.Actions, a)
	}
	for _, ch := range p.Changed {
		if len(ch.Fields) > 0 {
			out.Changed = append(out.Changed, ch.Name)
		}
		out.Actions = append(out.Actions, planAction(ch, v))
	}
	slices.SortFunc(out.Actions, func(a, b wire.PlanAction) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func planAction(ch graph.Change, v *View) wire.PlanAction {
	reason := ch.Because
	if len(ch.Fields) > 0 {
		reason = strings.Join(ch.Fields, ", ") + " changed"
	}
	e, _, ok := v.lookup(ch.Name)
	if ch.Restart && ok && active(e.Info.State) {
		return wire.PlanAction{Name: ch.Name, Action: "restart", Reason: reason}
	}
	return wire.PlanAction{Name: ch.Name, Action: "update", Reason: reason}
}

// allProblems lists what is wrong with a configuration, of the files and of the graph.
func allProblems(ds *definitions, g *graph.Graph) []wire.Problem {
	out := []wire.Problem{}
	told := map[[2]string]bool{} // what was read from files comes first: it knows the place
	for _, p := range slices.Concat(ds.problems, g.Problems()) {
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

// list makes a nil slice an empty one: JSON never omits a key or says null for a list.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
