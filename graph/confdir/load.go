package confdir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/parallel"
)

const (
	servicesDir = "services"
	targetsDir  = "targets"
	systemDir   = "system"
)

// isRoot reports whether dir is a root such as /etc/zinit, with the directories of files in it, or a zinit.toml with services.
func isRoot(dir string) bool {
	if IsProject(dir) {
		return true
	}
	for _, name := range []string{servicesDir, targetsDir, systemDir} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// entry is one file that was found.
type entry struct {
	path    string
	system  bool
	config  *graph.Config // nil when it cannot be used
	service string        // "" = not known
	problem string        // why it cannot be used
	onExit  graph.OnExit  // what a file that cannot be used says of it
	data    []byte
	found   []graph.Problem // all that is to be said about it
}

type loader struct {
	o        Options
	trust    trust
	entries  []*entry
	problems []graph.Problem
	unread   []string // each a zinit.toml that cannot be read at all
}

// Load reads directories of files, each either the directory itself or a root with services/, targets/ and system/. It
// never fails as a whole: what cannot be used is reported and the rest is loaded.
func Load(dirs []string, o Options) *Loaded {
	l := &loader{o: o, trust: trustOf(o)}
	for _, d := range l.directories(dirs) {
		if d.project {
			l.project(d.path)
		} else {
			l.directory(d.path, d.system)
		}
	}
	loaded := l.choose()
	loaded.build()
	return loaded
}

type directory struct {
	path    string
	system  bool
	project bool // what is read is its zinit.toml
}

// directories resolves roots; all system directories come first.
func (l *loader) directories(dirs []string) []directory {
	var system, rest []directory
	for _, dir := range dirs {
		dir = absolute(dir)
		if !isRoot(dir) {
			rest = append(rest, directory{path: dir})
			continue
		}
		l.lookTrust(dir)
		l.strays(dir)
		for _, name := range []string{systemDir, servicesDir, targetsDir} {
			sub := directory{path: filepath.Join(dir, name), system: name == systemDir}
			if info, err := os.Stat(sub.path); err != nil || !info.IsDir() {
				continue
			}
			switch {
			case !sub.system:
				rest = append(rest, sub)
			case l.o.System:
				system = append(system, sub)
			}
		}
		if IsProject(dir) {
			rest = append(rest, directory{path: dir, project: true})
		}
	}
	return append(system, rest...)
}

// strays warns of files that stand in a root instead of in one of its directories. Beside the zinit.toml of a project other
// programs have theirs.
func (l *loader) strays(dir string) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return // the directories below are read anyway
	}
	project := IsProject(dir)
	for _, f := range files {
		if isConfigName(f.Name()) && f.Name() != ProjectFile && (!project || isServiceFile(filepath.Join(dir, f.Name()))) {
			l.report(filepath.Join(dir, f.Name()), graph.SeverityWarning, "not read: services belong into "+
				filepath.Join(dir, servicesDir))
		}
	}
}

// isServiceFile reports whether a file looks like that of a service or target.
func isServiceFile(path string) bool {
	data, problem := readFile(path, trust{})
	return problem == nil && slices.ContainsFunc(strings.Split(string(data), "\n"), func(line string) bool {
		line = strings.TrimSpace(line)
		return line == "[service]" || line == "[target]"
	})
}

func isConfigName(name string) bool { return strings.HasSuffix(name, ".toml") && name[0] != '.' }

func (l *loader) report(file string, severity graph.Severity, message string) {
	l.problems = append(l.problems, graph.Problem{File: file, Severity: severity, Message: message})
}

// lookTrust reports a directory that is not trusted; it returns why its files are refused, "" when they are not.
func (l *loader) lookTrust(dir string) string {
	err := l.trust.check(dir)
	if err == nil {
		return ""
	}
	severity := l.trust.severity(dir)
	l.report(dir, severity, err.Error())
	if severity != graph.SeverityError {
		return ""
	}
	return "directory " + dir + " is " + err.Error()
}

// directory reads the files of one directory, by name.
func (l *loader) directory(dir string, system bool) {
	files, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.report(dir, graph.SeverityNote, "the directory does not exist: no services")
		return
	case err != nil:
		l.report(dir, graph.SeverityError, "cannot read directory: "+cause(err))
		return
	}
	refused := l.lookTrust(dir)
	if refused == "" && !l.trusted(filepath.Dir(dir), dir) {
		refused = "directory " + filepath.Dir(dir) + " is not trusted"
	}
	var usable []*entry
	for _, f := range files {
		if !isConfigName(f.Name()) {
			continue
		}
		e := &entry{path: filepath.Join(dir, f.Name()), system: system, service: baseName(f.Name())}
		if refused != "" {
			e.problem = refused
			l.entries = append(l.entries, e)
			continue
		}
		if f.Name() == ProjectFile {
			l.report(e.path, graph.SeverityWarning, "not read: the settings of the server belong beside the directory, in "+
				filepath.Join(filepath.Dir(dir), ProjectFile))
			continue
		}
		usable = append(usable, e)
	}
	parallel.Do(len(usable), func(i int) { l.file(usable[i]) })
	for _, e := range usable {
		l.problems = append(l.problems, e.found...)
	}
	l.entries = append(l.entries, usable...)
}

// trusted reports whether a root may be used; it was reported already.
func (l *loader) trusted(root, dir string) bool {
	name := filepath.Base(dir)
	if name != servicesDir && name != targetsDir && name != systemDir {
		return true
	}
	return l.trust.check(root) == nil || l.trust.severity(root) != graph.SeverityError
}

// file reads one file; others are read at the same time.
func (l *loader) file(e *entry) {
	data, problem := readFile(e.path, l.trust)
	if problem != nil {
		e.found = []graph.Problem{{File: e.path, Service: e.service, Severity: problem.severity, Message: problem.err.Error()}}
		if problem.severity == graph.SeverityError {
			e.problem = e.path + ": " + problem.err.Error()
			return
		}
	}
	config, problems := Parse(e.path, data, l.o)
	e.found = append(e.found, problems...)
	if config == nil {
		for _, p := range problems {
			if p.Severity == graph.SeverityError {
				e.service, e.problem, e.onExit = p.Service, p.Where()+p.Message, guessOnExit(data)
				return
			}
		}
	}
	e.config, e.service, e.data = config, config.Name, data
	if e.system {
		e.setSystem()
	}
}

// Reread reads the definition of a service from the file that Load has read it from, by the same rules. The error is why it
// cannot be used.
func Reread(path, name string, o Options) (*graph.Config, error) {
	if IsProjectFile(path) {
		return rereadProject(path, name, o)
	}
	l := &loader{o: o, trust: trustOf(o)}
	dir := filepath.Dir(path)
	e := &entry{path: path, service: baseName(path),
		system: o.System && filepath.Base(dir) == systemDir && isRoot(filepath.Dir(dir))}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if l.file(e); e.config == nil {
		return nil, errors.New(e.problem)
	}
	return e.config, nil
}

// setSystem makes a service of system/ one of class system, with the default that goes with it.
func (e *entry) setSystem() {
	c := e.config
	if c.Class == graph.ClassUser && c.Lifecycle.MaxRestarts == defaultMaxRestarts && !hasKey(e.data, "lifecycle.max_restarts") {
		c.Lifecycle.MaxRestarts = unlimitedRestarts
	}
	c.Class = graph.ClassSystem
}

func hasKey(data []byte, key string) bool {
	_, ok := positions(data)[key]
	return ok
}

// choose settles which file counts where several have one name: those of system/ before others, sound ones before
// broken ones, the one that is called after the name, the first.
func (l *loader) choose() *Loaded {
	loaded := &Loaded{Problems: l.problems, sources: map[string][]byte{}, unread: l.unread,
		inactive: map[string]*graph.Config{}}
	winner := map[string]*entry{}
	for _, e := range l.entries {
		if w := winner[e.service]; e.service != "" && (w == nil || e.before(w)) {
			winner[e.service] = e
		}
	}
	for _, e := range l.entries {
		w := winner[e.service]
		switch {
		case e.service == "":
		case e != w:
			if e.config != nil {
				loaded.Problems = append(loaded.Problems, e.duplicate(w))
			}
		case e.config != nil && !InProfile(e.config, l.o.Profiles):
			loaded.inactive[e.service] = e.config
		case e.config != nil:
			loaded.Configs = append(loaded.Configs, e.config)
			loaded.sources[e.path] = e.data
		default:
			loaded.Broken = append(loaded.Broken, graph.Broken{Name: e.service, Source: e.path,
				Problem: e.problem, OnExit: e.onExit})
		}
	}
	if s := l.o.Settings; s != nil && s.MaxServices > 0 {
		loaded.bound(s.MaxServices, l.o.Loaded)
	}
	return loaded
}

// InProfile reports whether a service is loaded where these profiles are chosen.
func InProfile(c *graph.Config, chosen []string) bool {
	return len(c.Profiles) == 0 || slices.ContainsFunc(c.Profiles, func(p string) bool { return slices.Contains(chosen, p) })
}

// Inactive are the services that are not loaded because none of their profiles is chosen, with these.
func (loaded *Loaded) Inactive() map[string][]string {
	profiles := map[string][]string{}
	for name, c := range loaded.inactive {
		profiles[name] = c.Profiles
	}
	return profiles
}

// explainProfiles says of a dependency that does not exist that it is only not loaded.
func (loaded *Loaded) explainProfiles(problems []graph.Problem) {
	for i := range problems {
		if c := loaded.inactive[problems[i].Value]; c != nil {
			problems[i].Message += " here: it is in profile " + strings.Join(c.Profiles, " and ") + " (--profile " + c.Profiles[0] + ")"
		}
	}
}

// bound keeps as many services and targets as limits.services says: first those that are loaded already, then those of class
// system, else by name; the others are told.
func (loaded *Loaded) bound(limit int, already func(string) bool) {
	if len(loaded.Configs) <= limit {
		return
	}
	order := slices.Clone(loaded.Configs)
	rank := func(c *graph.Config) int {
		if already != nil && already(c.Name) {
			return 0
		}
		return 1
	}
	slices.SortFunc(order, func(a, b *graph.Config) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Class, a.Class), strings.Compare(a.Name, b.Name))
	})
	text := fmt.Sprintf("not loaded: limits.services allows %d of the %d services and targets that are defined", limit, len(order))
	over := map[*graph.Config]bool{}
	for _, c := range order[limit:] {
		over[c] = true
		loaded.Broken = append(loaded.Broken, graph.Broken{Name: c.Name, Source: c.Source, Problem: text,
			OnExit: c.Lifecycle.OnExit})
		loaded.Problems = append(loaded.Problems, graph.Problem{File: c.Source, Service: c.Name, Severity: graph.SeverityError,
			Message: text + "; raise it in " + ProjectFile + " and start the server again"})
	}
	loaded.Configs = slices.DeleteFunc(loaded.Configs, func(c *graph.Config) bool { return over[c] })
}

// before reports whether e counts rather than w, which was found earlier.
func (e *entry) before(w *entry) bool {
	if e.system != w.system {
		return e.system
	}
	if (e.config != nil) != (w.config != nil) {
		return e.config != nil
	}
	return baseName(e.path) == e.service && baseName(w.path) != w.service
}

func (e *entry) duplicate(w *entry) graph.Problem {
	p := graph.Problem{File: e.path, Service: e.service, Severity: graph.SeverityError, Key: "service.name",
		Message: "not used: " + e.service + " is defined in " + w.path + " already"}
	if e.config.Target {
		p.Key = "target.name"
	}
	if w.system && !e.system {
		p.Severity, p.Message = graph.SeverityWarning, "not used: "+e.service+" is a system service, of "+w.path
	}
	problems := []graph.Problem{p}
	locate(e.data, problems)
	return problems[0]
}

// build makes the graph and adds its problems.
func (loaded *Loaded) build() {
	loaded.Graph = graph.New(loaded.Configs, loaded.Broken)
	files := loaded.Problems
	found := slices.Clone(loaded.Graph.Problems())
	loaded.explainProfiles(found)
	slices.SortStableFunc(found, func(a, b graph.Problem) int { return strings.Compare(a.File, b.File) })
	for _, list := range chunkByFile(found) {
		locate(loaded.sources[list[0].File], list)
	}
	loaded.Problems = append(files, found...)
	slices.SortStableFunc(loaded.Problems, func(a, b graph.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func chunkByFile(list []graph.Problem) [][]graph.Problem {
	var chunks [][]graph.Problem
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].File == list[start].File {
			end++
		}
		chunks = append(chunks, list[start:end])
		start = end
	}
	return chunks
}

// Carry prepares a reload next to the running graph: a broken file keeps the running definition of its service, if
// that is a sound one, and services that were added without persist stay unless a file of their name is there. Graph
// and its problems are made anew.
func (loaded *Loaded) Carry(running *graph.Graph) {
	var broken []graph.Broken
	for _, b := range loaded.Broken {
		if c := definition(running, b.Name); c != nil {
			loaded.Configs = append(loaded.Configs, c)
		} else {
			broken = append(broken, b)
		}
	}
	for id := range graph.ID(running.Len()) {
		// What a zinit.toml that cannot be read has defined is known from before only.
		if c := running.Config(id); c.Ephemeral || slices.Contains(loaded.unread, c.Source) && definition(running, c.Name) != nil {
			if _, ok := loaded.Graph.Lookup(c.Name); !ok {
				loaded.Configs = append(loaded.Configs, c)
			}
		}
	}
	old := loaded.Graph.Problems()
	loaded.Problems = slices.DeleteFunc(loaded.Problems, func(p graph.Problem) bool {
		return slices.ContainsFunc(old, func(o graph.Problem) bool {
			return o.File == p.File && o.Service == p.Service && strings.HasPrefix(p.Message, o.Message) // explainProfiles adds to it
		})
	})
	loaded.Broken = broken
	loaded.build()
}

// definition returns the definition that a service runs with, nil when there is none.
func definition(running *graph.Graph, name string) *graph.Config {
	id, ok := running.Lookup(name)
	if !ok {
		return nil
	}
	if kind, _ := running.Broken(id); kind == graph.BrokenFile {
		return nil
	}
	return running.Config(id)
}
