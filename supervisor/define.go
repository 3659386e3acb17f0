package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
)

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
	if !confdir.InProfile(c, s.opt.Files.Profiles) {
		return wire.Added{}, wire.NewError(wire.CodeValidation, fmt.Sprintf("%s is in profile %s, which this server does not load: "+
			"start it with --profile %s", c.Name, strings.Join(c.Profiles, " and "), c.Profiles[0]))
	}
	if err := missingExecutable(c); err != nil { // outside of the turn: its file system may not answer
		return wire.Added{}, err
	}
	if err := s.takeChange(ctx); err != nil {
		return wire.Added{}, err
	}
	defer s.endTurn()
	now := s.defs.Load()
	old, exists := now.Configs[c.Name]
	if exists && r.mustBeNew {
		return wire.Added{}, wire.NewError(wire.CodeExists, "service "+c.Name+" exists already: use service.set to replace it")
	}
	if len(now.Configs) >= s.opt.maxServices() && !exists {
		return wire.Added{}, wire.NewError(wire.CodeValidation, fmt.Sprintf("%s: limits.services allows %d services "+
			"and targets, and so many are loaded: remove one, or raise it in zinit.toml and start the server again", c.Name, s.opt.maxServices()))
	}
	c.Ephemeral = !r.persist
	if exists && r.persist {
		c.Source = old.Source
	}
	var edit *confdir.Edit
	if r.persist {
		var err error
		if edit, err = s.edit(c, raw); err != nil {
			return wire.Added{}, err
		}
		c = edit.Config
	}
	next := now.Clone()
	next.Configs[c.Name] = c
	next.Unbreak(c.Name)
	g := next.Graph()
	if err := refuseDefinition(g, c); err != nil {
		return wire.Added{}, err
	}
	answer := wire.Added{Name: c.Name, Warnings: warningsOf(problems, g, c.Name)}
	if r.dryRun {
		return answer, nil
	}
	if edit != nil {
		if err := s.save(edit); err != nil {
			return wire.Added{}, err
		}
		answer.Path = &c.Source
	}
	plan := s.diff(g, false)
	if r.mustBeNew {
		plan.Quiet = []string{c.Name} // service.add does not start
	}
	return answer, s.apply(next, g, plan)
}

// edit prepares to write the file of a persisted definition.
func (s *Supervisor) edit(c *graph.Config, raw json.RawMessage) (*confdir.Edit, error) {
	if c.Source == "" && confdir.SaveDir(s.opt.Files.Dirs) == "" {
		return nil, wire.NewError(wire.CodePersist, "cannot save "+c.Name+": the server has no configuration directory")
	}
	edit, err := confdir.NewEdit(s.opt.Files.Dirs, c, confdir.Given(raw), s.loadOptions())
	if err != nil {
		return nil, wire.NewError(wire.CodePersist, err.Error()+"; nothing was changed")
	}
	return edit, nil
}

// save writes the file of a persisted definition, before anything is changed in memory.
func (s *Supervisor) save(edit *confdir.Edit) error {
	c := edit.Config
	if err := edit.Write(); err != nil {
		return wire.NewError(wire.CodePersist, err.Error()+"; nothing was changed")
	}
	if err := newWritten(s.opt.Files.StateDir).note(c.Source, c.Name); err != nil {
		s.log.Warn("it cannot be noted that the server wrote a file: zinit remove will keep it", "file", c.Source, "error", err)
	}
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
