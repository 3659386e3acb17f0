package confdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/zinit/zinit/graph"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var byteOrderMark = []byte("\xef\xbb\xbf")

// Parse reads one TOML file. The configuration is nil when it cannot be used; the problems then name the service if it
// could be found out, from the file or by its base name. Relative paths count from the file's directory.
func Parse(file string, data []byte, o Options) (*graph.Config, []graph.Problem) {
	data = bytes.TrimPrefix(data, byteOrderMark)
	base := baseName(file)
	if problem := unreadable(file, data); problem != nil {
		problem.Service = guessName(data, base)
		return nil, []graph.Problem{*problem}
	}
	document := map[string]any{}
	if err := toml.Unmarshal(data, &document); err != nil {
		return nil, []graph.Problem{syntaxProblem(file, data, base, err)}
	}
	r := &reader{file: file, service: base, lenient: o.Lenient || o.UnknownWarns, settings: o.Settings}
	if file != "" {
		r.base = filepath.Dir(absolute(file))
	}
	r.document(document)
	if r.cfg != nil && r.service != base && base != "" && !r.failed() {
		r.warn(r.kind()+".name", "the file should be called "+r.service+".toml, after the name in it")
	}
	for i := range r.problems {
		if r.problems[i].Service == base {
			r.problems[i].Service = r.service // found before the name was
		}
	}
	locate(data, r.problems)
	byPosition(r.problems)
	if r.failed() {
		return nil, r.problems
	}
	r.cfg.Source = file
	return r.cfg, r.problems
}

// kind is the name of the section that says what the file is.
func (r *reader) kind() string {
	if r.cfg.Target {
		return targetSection().name
	}
	return serviceSection().name
}

// baseName returns the service's name as the file's name tells it, "" when it tells none.
func baseName(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".toml")
	if file == "" || CheckName(name) != nil || slices.Contains(reserved, name) {
		return ""
	}
	return name
}

// unreadable tells what makes a file no text at all.
func unreadable(file string, data []byte) *graph.Problem {
	problem := &graph.Problem{File: file, Line: 1, Column: 1}
	switch at := invalidUTF8(data); {
	case len(data) > MaxFileBytes:
		problem.Message = "the file has more than 1 MiB, it cannot be a service"
	case at >= 0:
		problem.Line = 1 + bytes.Count(data[:at], []byte{'\n'})
		problem.Column = at - bytes.LastIndexByte(data[:at], '\n')
		problem.Message = "not UTF-8: this is no text file, or in another encoding"
	case len(bytes.TrimSpace(data)) == 0:
		problem.Message = "the file is empty: want [service] or [target]"
	default:
		return nil
	}
	return problem
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, -1 when all is.
func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// syntaxProblem turns an error of the TOML library into a problem. Only the first one can be told: what follows a
// syntax error means nothing.
func syntaxProblem(file string, data []byte, base string, err error) graph.Problem {
	problem := graph.Problem{File: file, Service: guessName(data, base)}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		problem.Line, problem.Column = decode.Position()
	}
	problem.Message = "no valid TOML: " + strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "toml: ")
	return problem
}

// guessName looks for the name in a file that cannot be parsed: the first line with name = "…"; else the base name counts.
func guessName(data []byte, base string) string {
	for line := range bytes.Lines(data[:min(len(data), MaxFileBytes)]) {
		rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("name"))
		if !ok {
			continue
		}
		if rest, ok = bytes.CutPrefix(bytes.TrimSpace(rest), []byte("=")); !ok {
			continue
		}
		name := string(bytes.Trim(bytes.TrimSpace(rest), `"'`))
		if CheckName(name) == nil && !slices.Contains(reserved, name) {
			return name
		}
	}
	return base
}

// guessOnExit looks for on_exit in a file that cannot be used: a stack that is to end with a service
// must end too when that service can never start.
func guessOnExit(data []byte) graph.OnExit {
	for line := range bytes.Lines(data[:min(len(data), MaxFileBytes)]) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		_, rest, _ := bytes.Cut(line, []byte("on_exit"))
		rest, isKey := bytes.CutPrefix(bytes.TrimSpace(rest), []byte("="))
		if rest = bytes.TrimSpace(rest); !isKey || len(rest) == 0 {
			continue
		}
		value, _, _ := bytes.Cut(rest[1:], rest[:1]) // between two quotes of one kind
		if on, err := graph.ParseOnExit(string(value)); err == nil {
			return on
		}
	}
	return graph.OnExitContinue
}

// document reads a whole document.
func (r *reader) document(document map[string]any) {
	_, isService := document["service"]
	_, isTarget := document["target"]
	sections := serviceSections()
	switch {
	case isService && isTarget:
		r.report(graph.SeverityError, "target", "", "a file has either [service] or [target], not both")
		delete(document, "target")
	case isTarget:
		sections = targetSections()
	case !isService:
		text := "want a [service] or a [target] section"
		if document[projectServices] != nil || document[projectTargets] != nil {
			text += "; several services stand in a file called " + ProjectFile
		}
		r.report(graph.SeverityError, "", "", text)
		if r.file != "" {
			r.problems[0].Line, r.problems[0].Column = 1, 1
		}
	}
	r.cfg = New("", isTarget && !isService)
	if r.settings != nil && !r.cfg.Target {
		r.cfg.Logging.BufferLines, r.cfg.Logging.BufferBytes = r.settings.BufferLines, r.settings.BufferBytes
		r.cfg.Logging.SyslogMaxBytes = r.settings.SyslogMaxBytes
	}
	r.tables(sections, document)
	r.check()
}

// tables reads the sections in their order and reports what else is there.
func (r *reader) tables(sections []*section, document map[string]any) {
	for _, s := range sections {
		v, ok := document[s.name]
		if !ok {
			continue
		}
		r.key = s.name
		if s == scheduleSection() {
			r.schedules(v)
			continue
		}
		values, isTable := v.(map[string]any)
		if !isTable {
			r.fail("want one [%s] section, not %s", s.name, describe(v))
			continue
		}
		if s == healthSection() {
			r.cfg.Health = newHealth()
		}
		r.values(s, values)
	}
	for _, name := range sortedKeys(document) {
		if sectionOf(sections, name) == nil {
			_, isTable := document[name].(map[string]any)
			r.unknownSection(sections, name, isTable)
		}
	}
}

// values reads the keys of one section in the order of the table, so that the name is known first.
func (r *reader) values(s *section, values map[string]any) {
	if s == healthSection() {
		if v, ok := values["endpoint"]; ok { // zinit 0.3.9's README calls it so
			if _, both := values["target"]; both {
				r.key = "health.endpoint"
				r.fail("is another name of target, which is there as well")
			} else {
				values["target"] = v
			}
			delete(values, "endpoint")
		}
	}
	known := 0
	for i := range s.fields {
		f := &s.fields[i]
		v, ok := values[f.key]
		if !ok {
			continue
		}
		known++
		r.key = s.name + "." + f.key
		r.set = append(r.set, r.key)
		f.read(r, v)
	}
	if known == len(values) {
		return
	}
	for _, key := range sortedKeys(values) {
		if s.field(key) == nil {
			r.unknownKey(s, key)
		}
	}
}

// check looks at what concerns more than one key, and fills in the defaults that do.
func (r *reader) check() {
	c := r.cfg
	kind := r.kind()
	r.key = kind
	if !r.has(kind+".name") && !r.failed() {
		r.fail(`want name = "…"`)
	}
	if c.Target {
		return
	}
	if !r.has("service.exec") && !r.failed() {
		r.fail("want exec, the command to run")
	}
	if c.Health != nil {
		r.checkHealth()
	}
	r.checkSchedules()
	r.checkOneshot()
	r.checkPairs()
	derive(c, r.has)
	r.key = "lifecycle.restart_delay_max_ms"
	if c.Lifecycle.RestartDelayMax < c.Lifecycle.RestartDelay {
		r.fail("may not be less than restart_delay_ms")
	}
}

func (r *reader) checkOneshot() {
	if !r.cfg.Oneshot {
		return
	}
	if r.cfg.Lifecycle.Restart == graph.RestartAlways {
		r.key = "lifecycle.restart"
		r.fail(`a oneshot cannot have restart = "always": it would never be done`)
	}
	if r.cfg.Ready.Kind != graph.ReadyNone {
		r.key = "service.ready"
		r.fail("a oneshot has no readiness: it counts when it exits 0")
	}
	if r.cfg.Health != nil {
		r.key = "health"
		r.fail("a oneshot has no health check: it counts when it exits 0")
	}
}

// checkPairs warns of keys that have no effect without another one.
func (r *reader) checkPairs() {
	c := r.cfg
	for _, hook := range []struct {
		name string
		hook *graph.Hook
	}{{"pre_start", &c.PreStart}, {"post_stop", &c.PostStop}, {"stop_command", &c.StopCommand}} {
		key := "service." + hook.name + "_timeout_ms"
		if r.has(key) && !r.has("service."+hook.name) {
			r.warn(key, key+" has no effect without "+hook.name)
		}
	}
	for name := range c.EnvFromFile {
		if _, both := c.Env[name]; both {
			r.key = "service.env_from_file." + name
			r.fail("%s stands in env as well", name)
		}
	}
	for kind := range graph.NDirs {
		if key := "service." + kind.String(); r.has(key+"_mode") && !r.has(key) {
			r.warn(key+"_mode", key+"_mode has no effect without "+kind.String())
			c.Dirs[kind].Mode = defaultDirMode
		}
	}
	if c.KillOthers && len(c.Ports) == 0 && len(c.ProcessFilters) == 0 {
		r.warn("service.kill_others", "service.kill_others has no effect without ports or process_filters")
	}
}

// unknownKey reports a key that no section, or another one, has.
func (r *reader) unknownKey(s *section, key string) {
	if s == targetSection() && serviceSection().field(key) != nil {
		r.unknownText(s.name+"."+key, "unknown key "+quoted(key)+" in [target]: a target has no process")
		return
	}
	for _, other := range serviceSections() {
		if foreignTexts[plainWord(key)] != "" {
			break // type of [health] means nothing to somebody who knows the one of a systemd unit
		}
		if other != s && s != targetSection() && other.field(key) != nil && other.field(key).key != "name" {
			r.unknownText(s.name+"."+key, "unknown key "+quoted(key)+" in ["+s.name+"]: it belongs to ["+other.name+"]")
			return
		}
	}
	text := "unknown key " + quoted(key) + " in [" + s.name + "]"
	if hint := s.hint(key); hint != "" {
		text += "; " + hint
	}
	r.unknownText(s.name+"."+key, text)
}

// hint says what a key that s does not have may have meant: the word of another tool, a typing error of
// one of its own keys, or of another section's; "" when nothing is near.
func (s *section) hint(key string) string {
	if text := foreignKey(s.name, key); text != "" {
		return text
	}
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.key
	}
	if near := graph.Nearest(key, slices.Values(names)); near != "" {
		return didYouMean(near, s.name, s.name)
	}
	if s == targetSection() {
		return ""
	}
	return nearestElsewhere(s, key)
}

// unknown reports a key with the nearest known one.
func (r *reader) unknown(section, key string, known []string) {
	text := "unknown key " + quoted(key) + " in [" + section + "]"
	if near := graph.Nearest(key, slices.Values(known)); near != "" {
		text += "; did you mean " + quoted(near) + "?"
	}
	r.unknownText(section+"."+key, text)
}

func (r *reader) unknownText(key, text string) {
	severity := graph.SeverityError
	if r.lenient {
		severity = graph.SeverityWarning
	}
	r.report(severity, key, "", text)
}

func (r *reader) unknownSection(sections []*section, name string, isTable bool) {
	text := "unknown section [" + name + "]"
	switch {
	case r.cfg.Target && sectionOf(serviceSections(), name) != nil:
		r.unknownText(name, "a target has no ["+name+"] section: it has no process")
		return
	case !isTable:
		text = "unknown key " + quoted(name) + " before the first section"
	}
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
		if s.field(name) != nil {
			r.unknownText(name, "unknown key "+quoted(name)+" before the first section: it belongs to ["+s.name+"]")
			return
		}
	}
	near := graph.Nearest(name, slices.Values(names))
	foreign := foreignSections[plainWord(name)]
	switch {
	case isTable && near != "":
		text += "; did you mean [" + near + "]?"
	case isTable && foreign != "":
		text += "; here it is " + foreign
	case !isTable:
		if hint := foreignKey("", name); hint != "" {
			text += "; " + hint
		}
	}
	r.unknownText(name, text)
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\n", " ") + `"` }

// ParseJSON reads the configuration document of the RPC: the shape of service.get, null meaning absent. A target is
// {"is_target":true,"name":…} or has a "target" member like a file.
func ParseJSON(data []byte, o Options) (*graph.Config, []graph.Problem) {
	r := &reader{lenient: o.Lenient || o.UnknownWarns, settings: o.Settings}
	document, err := decodeJSON(data)
	if err != nil {
		r.report(graph.SeverityError, "", "", "no valid configuration document: "+err.Error())
		return nil, r.problems
	}
	r.reshape(document)
	r.document(document)
	for i := range r.problems {
		r.problems[i].Service = r.service
	}
	if r.failed() {
		return nil, r.problems
	}
	return r.cfg, r.problems
}

func decodeJSON(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	if document == nil {
		return nil, errors.New("want an object")
	}
	dropNull(document)
	return document, nil
}

// dropNull takes out the members that are null, in the document and its sections.
func dropNull(document map[string]any) {
	for key, v := range document {
		if v == nil {
			delete(document, key)
		}
		sections, isList := v.([]any) // as [[schedule]] has them
		if !isList {
			sections = []any{v}
		}
		for _, section := range sections {
			if section, ok := section.(map[string]any); ok {
				maps.DeleteFunc(section, func(_ string, v any) bool { return v == nil })
			}
		}
	}
}

// reshape turns what the JSON form has in another way into the form of the file.
func (r *reader) reshape(document map[string]any) {
	if v, ok := document["is_target"]; ok {
		isTarget, isBool := v.(bool)
		r.key = "is_target"
		if !isBool {
			r.fail("want true or false, not %s", describe(v))
		}
		delete(document, "is_target")
		if isTarget && document["target"] == nil {
			target := map[string]any{}
			for _, key := range []string{"name", "critical"} {
				if v, ok := document[key]; ok {
					target[key] = v
					delete(document, key)
				}
			}
			document["target"] = target
		}
	}
	replace := func(section, from, to string) {
		if values, ok := document[section].(map[string]any); ok {
			if v, there := values[from]; there {
				values[to] = v
				delete(values, from)
			}
		}
	}
	replace("service", "exec_argv", "exec")
	replace("health", "target_argv", "target")
	replace("health", "expect_status_list", "expect_status")
	replace("logging", "forward_on", "forward")
}
