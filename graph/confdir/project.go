package confdir

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/zinit/zinit/graph"
)

// The tables of a zinit.toml that are not settings of the server.
const (
	projectServices = "services"
	projectTargets  = "targets"
	projectDefaults = "defaults"
	projectEnv      = "env"
	projectEnvFile  = "env_file"
)

var projectKeys = []string{projectServices, projectTargets, projectDefaults, projectEnv, projectEnvFile}

// maxProjectFile bounds a file of many services, in bytes.
const maxProjectFile = MaxFileBytes

// shortcuts are the keys of other sections that may stand directly in [services.NAME] and [targets.NAME].
var shortcuts = map[string]string{"after": "dependencies", "requires": "dependencies", "wants": "dependencies", "conflicts": "dependencies",
	"binds": "dependencies", "restart": "lifecycle"}

// IsProject reports whether a directory has a zinit.toml with services or targets in it.
func IsProject(dir string) bool {
	data, problem := readFile(filepath.Join(dir, ProjectFile), trust{})
	return problem == nil && hasServices(data)
}

// IsProjectFile reports whether the file that a definition was read from holds others too.
func IsProjectFile(path string) bool { return filepath.Base(path) == ProjectFile }

// hasServices reports whether the text of a zinit.toml defines services or targets. Of one that cannot be parsed the heads of
// its tables tell.
func hasServices(data []byte) bool {
	document := map[string]any{}
	if toml.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), &document) == nil {
		return document[projectServices] != nil || document[projectTargets] != nil
	}
	return len(guessNames(data)) > 0
}

// guessNames are the services and targets whose heads stand in a file that cannot be parsed.
func guessNames(data []byte) (names []string) {
	for line := range bytes.Lines(data[:min(len(data), maxProjectFile)]) {
		head := strings.TrimLeft(string(line), " \t[")
		rest, isService := strings.CutPrefix(head, projectServices+".")
		if !isService {
			if rest, isService = strings.CutPrefix(head, projectTargets+"."); !isService {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, "]")
		if quoted, ok := strings.CutPrefix(strings.TrimSpace(name), `"`); ok {
			name, _, _ = strings.Cut(quoted, `"`)
		} else {
			name, _, _ = strings.Cut(name, ".")
		}
		if name = strings.TrimSpace(name); CheckName(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// project reads the services of one zinit.toml.
type project struct {
	file     string
	data     []byte
	o        Options
	document map[string]any
	entries  []*entry
	ports    map[string]int       // of the services that have one
	files    map[string]envValues // read for ${NAME}, by format and path
}

// project reads the zinit.toml of a directory and adds its services.
func (l *loader) project(dir string) {
	file := filepath.Join(dir, ProjectFile)
	data, problem := readFile(file, l.trust)
	if problem == nil && l.lookTrust(dir) != "" {
		problem = &fileProblem{errors.New("directory " + dir + " is not trusted"), graph.SeverityError}
	}
	if problem != nil {
		l.report(file, problem.severity, problem.err.Error())
		if problem.severity == graph.SeverityError {
			untrusted, _ := os.ReadFile(file)
			l.brokenProject(file, untrusted, file+": "+problem.err.Error())
			return
		}
	}
	entries, problems := parseProject(file, data, l.o)
	l.problems = append(l.problems, problems...)
	if entries == nil && len(problems) > 0 {
		l.brokenProject(file, data, problems[0].Where()+problems[0].Message)
		return
	}
	l.entries = append(l.entries, entries...)
}

// brokenProject makes every service of a file that cannot be read at all a broken one, as far as their names are known.
func (l *loader) brokenProject(file string, data []byte, problem string) {
	l.unread = append(l.unread, file)
	for _, name := range guessNames(data) {
		l.entries = append(l.entries, &entry{path: file, service: name, problem: problem})
	}
}

// parseProject reads the services of a zinit.toml; nil when it cannot be read at all, which the one problem tells.
func parseProject(file string, data []byte, o Options) ([]*entry, []graph.Problem) {
	data = bytes.TrimPrefix(data, byteOrderMark)
	if problem := unreadable(file, data); problem != nil {
		return nil, []graph.Problem{*problem}
	}
	p := &project{file: file, data: data, o: o, document: map[string]any{}}
	if err := toml.Unmarshal(data, &p.document); err != nil {
		problem := syntaxProblem(file, data, "", err)
		problem.Service = ""
		return nil, []graph.Problem{problem}
	}
	p.entries = []*entry{}
	p.ports = p.portsOf()
	for _, kind := range []string{projectServices, projectTargets} {
		p.kind(kind)
	}
	var problems []graph.Problem
	for _, e := range p.entries {
		locate(data, e.found)
		byPosition(e.found)
		problems = append(problems, e.found...)
		for _, found := range e.found {
			if found.Severity == graph.SeverityError && e.config == nil && e.problem == "" {
				e.problem = found.Where() + found.Message
			}
		}
	}
	byPosition(problems)
	return p.entries, slices.CompactFunc(problems, func(a, b graph.Problem) bool { // what is wrong with [defaults] is so for all
		return a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
}

func byPosition(problems []graph.Problem) {
	slices.SortStableFunc(problems, func(a, b graph.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// kind reads all services, or all targets.
func (p *project) kind(kind string) {
	v, ok := p.document[kind]
	if !ok {
		return
	}
	tables, isTable := v.(map[string]any)
	if !isTable {
		e := &entry{path: p.file, data: p.data}
		e.found = []graph.Problem{{File: p.file, Severity: graph.SeverityError, Key: kind,
			Message: kind + ": want tables [" + kind + ".NAME], not " + describe(v)}}
		p.entries = append(p.entries, e)
		return
	}
	for _, name := range sortedKeys(tables) {
		e := &entry{path: p.file, data: p.data, service: name}
		if CheckName(name) != nil || slices.Contains(reserved, name) {
			e.service = ""
		}
		p.entries = append(p.entries, e)
		d := &member{head: kind + "." + name, target: kind == projectTargets, document: map[string]any{}, origin: map[string]string{}}
		d.origin[d.kind()] = d.head
		for _, s := range serviceSections()[1:] {
			d.sections = append(d.sections, s.name)
		}
		r := &reader{file: p.file, service: name, base: filepath.Dir(absolute(p.file)), lenient: p.o.Lenient || p.o.UnknownWarns,
			settings: p.o.Settings, member: d}
		e.config = p.read(r, name, tables[name])
		e.found = r.problems
		if e.config == nil {
			e.onExit = d.onExit()
		}
	}
}

// read reads one service or target.
func (p *project) read(r *reader, name string, v any) *graph.Config {
	d := r.member
	r.key = d.head
	if _, ok := r.name(name); !ok {
		return nil
	}
	values, isTable := v.(map[string]any)
	if !isTable {
		r.fail("want a table, not %s", describe(v))
		return nil
	}
	if _, named := values["name"]; named {
		r.key = d.head + ".name"
		r.fail("the name stands in the head of the table, [%s]", d.head)
		delete(values, "name")
	}
	d.add(r, values, d.head)
	d.section(d.kind())["name"] = name
	if !d.target {
		p.fill(r)
		vars := p.given(r)
		p.expand(r, values["env"], vars)
		d.tell(vars)
	}
	r.document(d.document)
	if r.failed() {
		return nil
	}
	r.cfg.Source = p.file
	return r.cfg
}

// fill adds what the file says for all its services.
func (p *project) fill(r *reader) {
	d := r.member
	service := d.section("service")
	if v, ok := p.document[projectDefaults]; ok {
		values, isTable := v.(map[string]any)
		if !isTable {
			r.key = projectDefaults
			r.fail("want a [defaults] section, not %s", describe(v))
		} else {
			d.fill(r, values)
		}
	}
	if v, ok := p.document[projectEnv]; ok {
		d.origin["service.env"] = cmp.Or(d.origin["service.env"], projectEnv)
		d.set(service, "env", v, projectEnv)
	}
	if v, ok := p.document[projectEnvFile]; ok { // first, since later ones win
		d.origin["service.env_file"] = cmp.Or(d.origin["service.env_file"], projectEnvFile)
		own, _ := service["env_file"].([]any)
		if one, isOne := service["env_file"].(string); isOne {
			own = []any{one}
		}
		all, isList := v.([]any)
		if !isList {
			all = []any{v}
		}
		service["env_file"] = slices.Concat(all, own)
	}
	if _, ok := service["dir"]; !ok {
		service["dir"] = r.base
	}
}

// member is one service of a zinit.toml in the shape of a file of its own.
type member struct {
	head     string // "services.web"
	target   bool
	document map[string]any
	sections []string          // all that there are
	origin   map[string]string // of the keys of document, "section.key": the key in the file
}

func (d *member) kind() string {
	if d.target {
		return "target"
	}
	return "service"
}

// section is a table of the document, made where it is not there.
func (d *member) section(name string) map[string]any {
	if s, ok := d.document[name].(map[string]any); ok {
		return s
	}
	s := map[string]any{}
	d.document[name] = s
	return s
}

// split says where a key of [services.NAME] belongs: a key of a section, or with "" a section.
func (d *member) split(key string, v any) (section, inner string) {
	if s := shortcuts[key]; s != "" {
		return s, key
	}
	_, isTable := v.(map[string]any)
	_, isList := v.([]any)
	switch {
	case serviceSection().field(key) != nil:
		return d.kind(), key
	case sectionOf(serviceSections(), key) != nil && key != "service", isTable, isList && key == "schedule":
		return key, ""
	}
	return d.kind(), key
}

// add puts the keys of a table, which stands at head in the file, into the document, where they are not there yet.
func (d *member) add(r *reader, values map[string]any, head string) {
	for _, key := range sortedKeys(values) {
		v, at := values[key], head+"."+key
		section, inner := d.split(key, v)
		if inner != "" {
			name := section + "." + inner
			if was, both := d.origin[name]; both && strings.HasPrefix(was, head+".") {
				r.key = at
				r.fail("stands in [%s.%s] as well", head, section)
				continue
			}
			if _, isTable := d.document[section].(map[string]any); d.document[section] != nil && !isTable {
				continue // which is reported
			}
			d.take(name, at)
			d.set(d.section(section), inner, v, at)
			continue
		}
		table, isTable := v.(map[string]any)
		if !isTable {
			if _, there := d.document[section]; !there {
				d.document[section] = v
				d.origin[section] = at
			}
			continue
		}
		d.origin[section] = cmp.Or(d.origin[section], at)
		if d.document[section] == nil {
			d.document[section] = map[string]any{}
		}
		into, ok := d.document[section].(map[string]any)
		if !ok {
			continue
		}
		for _, inner := range sortedKeys(table) {
			if was, both := d.origin[section+"."+inner]; both && strings.HasPrefix(was, head+".") {
				r.key = at + "." + inner
				r.fail("stands in [%s] as well", head)
				continue
			}
			d.take(section+"."+inner, at+"."+inner)
			d.set(into, inner, table[inner], at+"."+inner)
		}
	}
}

// take notes where a key comes from, unless it is there already.
func (d *member) take(name, at string) {
	if _, there := d.origin[name]; !there {
		d.origin[name] = at
	}
}

// set sets a key that is not there yet; of two tables the members are put together.
func (d *member) set(into map[string]any, key string, v any, at string) {
	was, there := into[key]
	if !there {
		into[key] = v
		return
	}
	old, isTable := was.(map[string]any)
	more, alsoTable := v.(map[string]any)
	if !isTable || !alsoTable {
		return
	}
	merged := maps.Clone(old)
	for _, name := range sortedKeys(more) {
		if _, there := merged[name]; !there {
			merged[name] = more[name]
			d.origin[d.kind()+"."+key+"."+name] = at + "." + name
		}
	}
	into[key] = merged
}

// fill adds the keys of [defaults]. Of a oneshot, which is done when it exits 0, those about what runs on do not count.
func (d *member) fill(r *reader, values map[string]any) {
	if _, named := values["name"]; named {
		r.key = projectDefaults + ".name"
		r.fail("a name is no default")
	}
	values = maps.Clone(values)
	delete(values, "name")
	if oneshot, _ := cmp.Or(d.section("service")["oneshot"], values["oneshot"]).(bool); oneshot || d.document["schedule"] != nil {
		delete(values, "ready")
		delete(values, "health")
		delete(values, "restart")
		if lifecycle, ok := values["lifecycle"].(map[string]any); ok {
			lifecycle = maps.Clone(lifecycle)
			delete(lifecycle, "restart")
			values["lifecycle"] = lifecycle
		}
	}
	d.add(r, values, projectDefaults)
}

// where is where a key of the document stands in the file.
func (d *member) where(key string) string {
	first, _, _ := strings.Cut(key, ".")
	if slices.Contains(projectKeys, first) {
		return key
	}
	for at := key; at != ""; at = parentKey(at) {
		if from, ok := d.origin[at]; ok {
			return from + key[len(at):]
		}
	}
	return d.head + "." + key
}

// words puts the heads of this definition into a message about a file of its own.
func (d *member) words(key, message string) string {
	if rest, ok := strings.CutPrefix(message, key); ok && key != "" {
		message = d.where(key) + rest
	}
	head := d.head
	if strings.HasPrefix(d.where(key), projectDefaults+".") {
		head = projectDefaults
	}
	pairs := []string{"[" + d.kind() + "]", "[" + head + "]", "[" + d.kind() + ".", "[" + head + "."}
	for _, section := range sortedKeys(d.document) {
		pairs = append(pairs, "["+section+"]", "["+head+"."+section+"]")
	}
	for _, section := range d.sections {
		pairs = append(pairs, "["+section+"]", "["+head+"."+section+"]")
	}
	return strings.NewReplacer(pairs...).Replace(message)
}

// onExit is what a definition that cannot be used says of the end of the whole.
func (d *member) onExit() graph.OnExit {
	lifecycle, _ := d.document["lifecycle"].(map[string]any)
	word, _ := lifecycle["on_exit"].(string)
	on, _ := graph.ParseOnExit(word)
	return on
}

// candidates are the keys under which a key of a definition may stand in a zinit.toml.
func candidates(head, key string) []string {
	section, inner, _ := strings.Cut(key, ".")
	list := []string{head + "." + key, head + "." + inner, projectDefaults + "." + key, projectDefaults + "." + inner}
	if section != "service" && section != "target" {
		return list
	}
	if name, ok := strings.CutPrefix(key, "service.env."); ok {
		list = append(list, projectEnv+"."+name)
	}
	if inner == "env_file" {
		list = append(list, projectEnvFile)
	}
	return list
}

// within maps the key of a problem about one service of a zinit.toml to the one in the file.
func within(found map[string]int, p *graph.Problem) string {
	section, _, _ := strings.Cut(p.Key, ".")
	if p.Service == "" || section != "target" && sectionOf(serviceSections(), section) == nil {
		return p.Key
	}
	for _, head := range []string{projectServices + "." + p.Service, projectTargets + "." + p.Service} {
		if _, ok := found[head]; !ok {
			continue
		}
		keys := candidates(head, p.Key)
		for _, suffix := range []string{"\x00" + p.Value, ""} {
			for _, key := range keys {
				if _, ok := found[key+suffix]; ok {
					return key
				}
			}
		}
		return head + "." + p.Key
	}
	return p.Key
}

// ErrNotDefined is why a service cannot be read again from a file that no longer has it.
var ErrNotDefined = errors.New("the file does not define it any more")

// rereadProject reads one service of a zinit.toml.
func rereadProject(path, name string, o Options) (*graph.Config, error) {
	data, problem := readFile(path, trustOf(o))
	if problem != nil && problem.severity == graph.SeverityError {
		return nil, problem.err
	}
	entries, problems := parseProject(path, data, o)
	if entries == nil && len(problems) > 0 {
		return nil, errors.New(problems[0].Where() + problems[0].Message)
	}
	for _, e := range entries {
		switch {
		case e.service != name:
		case e.config == nil:
			return nil, errors.New(e.problem)
		default:
			return e.config, nil
		}
	}
	return nil, ErrNotDefined
}
