package confdir

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/zinit/zinit/graph"
)

// Edit is a definition that is about to be written into its file.
type Edit struct {
	Config *graph.Config // what the file will say: in a zinit.toml its [defaults] and [env] count too
	dir    string
	data   []byte
}

// NewEdit prepares to write c into the file it came from, else into the place of SaveDir. given are the keys, "section.key",
// that were said: in a zinit.toml they are written also where they say the built-in default. Nothing is written yet.
func NewEdit(dirs []string, c *graph.Config, given []string, o Options) (*Edit, error) {
	if err := CheckName(c.Name); err != nil {
		return nil, fmt.Errorf("cannot save service: %w", err)
	}
	path := c.Source
	if path == "" {
		place := SaveDir(dirs)
		if path = filepath.Join(place, c.Name+".toml"); IsProjectFile(place) {
			path = place
		}
	}
	if !IsProjectFile(path) {
		saved := *c
		saved.Source = path
		return &Edit{Config: &saved, dir: filepath.Dir(path), data: TOML(c)}, nil
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot save %s: %w", c.Name, err)
	}
	without, at, err := cutMember(path, old, c.Name)
	if err != nil {
		return nil, fmt.Errorf("cannot save %s: %w", c.Name, err)
	}
	document := map[string]any{}
	_ = toml.Unmarshal(old, &document) // what cannot be read is told below
	port := portOf(document, c.Name)
	if bare, _ := withMember(path, without, at, bareText(c, port), c.Name, o); bare != nil {
		own := *c
		own.Env = maps.Clone(c.Env)
		maps.DeleteFunc(own.Env, func(name, value string) bool { return bare.Env[name] == value }) // the file says it for all
		c = &own
	}
	text := memberText(path, c, port, given)
	if at == 0 || bytes.HasSuffix(without[:at], []byte("\n\n")) {
		text = text[1:]
	}
	if at < len(without) {
		text = append(text, '\n')
	}
	config, err := withMember(path, without, at, text, c.Name, o)
	if err != nil {
		return nil, fmt.Errorf("cannot save %s: %w", c.Name, err)
	}
	return &Edit{Config: config, dir: filepath.Dir(path), data: insert(without, at, text)}, nil
}

func insert(data []byte, at int, text []byte) []byte {
	return bytes.Join([][]byte{data[:at], text, data[at:]}, nil)
}

// withMember reads a service from the text of a zinit.toml with something put in.
func withMember(path string, data []byte, at int, text []byte, name string, o Options) (*graph.Config, error) {
	entries, problems := parseProject(path, insert(data, at, text), o)
	for _, e := range entries {
		if e.service == name && e.config != nil {
			return e.config, nil
		} else if e.service == name {
			problems = e.found
		}
	}
	return nil, fmt.Errorf("with it the file would not be right: %s", firstOf(problems))
}

// bareText is a service that says nothing but what has to be said.
func bareText(c *graph.Config, port any) []byte {
	if c.Target {
		return nil
	}
	text := "\n[" + projectServices + "." + tomlKey(c.Name) + "]\nexec = \"x\"\n"
	if port != nil {
		text += portKey + " = " + tomlValue(port) + "\n"
	}
	for _, d := range []struct {
		key   string
		names []string
	}{{"requires", c.Deps.Requires}, {"binds", c.Deps.Binds}, {"wants", c.Deps.Wants}, {"after", c.Deps.After}} {
		text += d.key + " = " + tomlValue(append([]string{}, d.names...)) + "\n"
	}
	return []byte(text)
}

func firstOf(problems []graph.Problem) string {
	for _, p := range problems {
		if p.Severity == graph.SeverityError {
			return p.Where() + p.Message
		}
	}
	return "it does not hold the service"
}

// Write writes the file. It is atomic: after a crash the old or the new file is there, whole. The directory is made if it does
// not exist.
func (e *Edit) Write() error {
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return fmt.Errorf("cannot save %s: %w", e.Config.Name, err)
	}
	if err := writeAtomic(e.Config.Source, e.data); err != nil {
		return fmt.Errorf("cannot save %s: %w", e.Config.Name, err)
	}
	return nil
}

// Delete takes a definition out of the file it came from: the file is removed, or its tables in a zinit.toml are.
func Delete(path, name string) error {
	if !IsProjectFile(path) {
		return os.Remove(path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	without, _, err := cutMember(path, data, name)
	if err != nil || len(without) == len(data) {
		return err
	}
	if text := bytes.TrimRight(without, "\n"); len(text) > 0 {
		without = append(text, '\n') // without the empty line before tables that were the last ones
	}
	return writeAtomic(path, without)
}

// Text is what stands in a file about a service: all of it, of a zinit.toml the tables of the service; nil when there is nothing.
func Text(path, name string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || !IsProjectFile(path) {
		return data, err
	}
	var text []byte
	for _, s := range memberSpans(data, name) {
		text = append(text, data[s.from:s.to]...)
	}
	return text, nil
}

// region is a part of a file.
type region struct {
	from, to int
	inline   bool // the definition stands within a table that has others too
}

// cutMember takes the tables of a service or target out of a zinit.toml. at is where they began, else the end of the file.
func cutMember(path string, data []byte, name string) (without []byte, at int, err error) {
	spans := memberSpans(data, name)
	if len(spans) == 0 {
		text := bytes.Clone(data)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		return text, len(text), nil
	}
	last := 0
	for _, s := range spans {
		if s.inline {
			return nil, 0, fmt.Errorf("it has no table of its own in %s, line %d: change that by hand", path,
				1+bytes.Count(data[:s.from], []byte{'\n'}))
		}
		without = append(without, data[last:s.from]...)
		last = s.to
	}
	return append(without, data[last:]...), spans[0].from, nil
}

// memberSpans finds the tables [services.NAME], [services.NAME.…] and the same of targets, from the comment before each head to the
// next one's.
func memberSpans(data []byte, name string) (spans []region) {
	var parser unstable.Parser
	parser.Reset(data)
	open, inTable := false, ""
	for parser.NextExpression() {
		node := parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			key, offset := keyOf(node.Key())
			from := commentBefore(data, offset)
			if open {
				spans[len(spans)-1].to = from
			}
			inTable = strings.Join(key, "\x00")
			if open = isMember(key, name); open {
				spans = append(spans, region{from: from, to: len(data)})
			}
		case unstable.KeyValue:
			key, offset := keyOf(node.Key())
			if inTable != "" {
				key = append(strings.Split(inTable, "\x00"), key...)
			}
			if !open && isMember(key, name) {
				spans = append(spans, region{from: offset, to: offset, inline: true})
			}
			if table, ok := inlineMember(key, node.Value(), name); ok && !open {
				spans = append(spans, region{from: table, to: table, inline: true})
			}
		}
	}
	return spans
}

// inlineMember looks for a service in services = { NAME = … }.
func inlineMember(key []string, value *unstable.Node, name string) (offset int, found bool) {
	if len(key) != 1 || value.Kind != unstable.InlineTable {
		return 0, false
	}
	for children := value.Children(); children.Next(); {
		inner, at := keyOf(children.Node().Key())
		if isMember(append([]string{key[0]}, inner...), name) {
			return at, true
		}
	}
	return 0, false
}

func keyOf(key unstable.Iterator) (parts []string, offset int) {
	for key.Next() {
		if parts == nil {
			offset = int(key.Node().Raw.Offset)
		}
		parts = append(parts, string(key.Node().Data))
	}
	return parts, offset
}

func isMember(key []string, name string) bool {
	return len(key) >= 2 && (key[0] == projectServices || key[0] == projectTargets) && key[1] == name
}

// commentBefore is where the lines of comment begin that stand directly before the line of offset; of that line where there are none.
func commentBefore(data []byte, offset int) int {
	start := bytes.LastIndexByte(data[:offset], '\n') + 1
	for start > 0 {
		before := bytes.LastIndexByte(data[:start-1], '\n') + 1
		if line := bytes.TrimSpace(data[before : start-1]); len(line) == 0 || line[0] != '#' {
			break
		}
		start = before
	}
	return start
}

// memberText writes c as tables of the zinit.toml at path, with an empty line before.
func memberText(path string, c *graph.Config, port any, given []string) []byte {
	base := baselineOf(c)
	kind := projectServices
	if c.Target {
		kind = projectTargets
	}
	head := kind + "." + tomlKey(c.Name)
	b := bytes.NewBufferString("\n")
	for i, s := range sectionsOf(c) {
		under := head
		if i > 0 {
			under += "." + s.name
		}
		if s == scheduleSection() {
			eachSchedule(c, func(one *graph.Config) { writeSection(b, "[["+under+"]]", under, differing(one, base, s)) })
			continue
		}
		t := differing(c, base, s)
		for j := range s.fields {
			f := &s.fields[j]
			value := f.value
			if said := slices.Contains(given, s.name+"."+f.key); said && !t.has(f.key) && present(c, s) && !empty(value(c)) {
				t = append(t, pair{f.key, value(c)})
			}
		}
		t = t.without("name").escaped(s.name)
		if i == 0 && c.Dir == filepath.Dir(path) {
			t = t.without("dir")
		}
		if i == 0 && port != nil {
			t = append(table{{portKey, port}}, t...)
		}
		if i == 0 && len(t) == 0 {
			b.WriteString("[" + head + "]\n")
		}
		writeSection(b, "["+under+"]", under, t)
	}
	return b.Bytes()
}

// escaped doubles the dollars where ${NAME} is replaced.
func (t table) escaped(section string) table {
	escape := func(s string) string { return strings.ReplaceAll(s, "$", "$$") }
	for i, p := range t {
		switch value := p.value.(type) {
		case string:
			if section == "service" && p.key == "dir" || section == "health" && p.key == "target" {
				t[i].value = escape(value)
			}
		case []string:
			if section == "health" && p.key == "target" {
				argv := slices.Clone(value)
				for j := range argv {
					argv[j] = escape(argv[j])
				}
				t[i].value = argv
			}
		case table:
			if section == "service" && p.key == "env" {
				env := slices.Clone(value)
				for j := range env {
					env[j].value = escape(env[j].value.(string))
				}
				t[i].value = env
			}
		}
	}
	return t
}

func (t table) has(key string) bool { return len(t.without(key)) < len(t) }

func (t table) without(key string) table {
	kept := table{}
	for _, p := range t {
		if p.key != key {
			kept = append(kept, p)
		}
	}
	return kept
}

// Given lists the keys, "section.key", that a configuration document of the RPC says something about.
func Given(raw []byte) (keys []string) {
	document, err := decodeJSON(raw)
	if err != nil {
		return nil
	}
	for section, v := range document {
		if values, ok := v.(map[string]any); ok {
			for key := range values {
				keys = append(keys, section+"."+key)
			}
		}
	}
	return keys
}
