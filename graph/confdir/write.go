package confdir

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zinit/zinit/graph"
)

type pair struct {
	key   string
	value any
}

// table is a table with its keys in order.
type table []pair

// MarshalJSON writes an object with its members in order.
func (t table) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range t {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSON(&b, p.key)
		b.WriteByte(':')
		writeJSON(&b, p.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// writeJSON writes without escaping <, > and &: command lines are full of them.
func writeJSON(b *bytes.Buffer, v any) {
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(v) == nil {
		b.Truncate(b.Len() - 1) // the newline
	}
}

func sectionsOf(c *graph.Config) []*section {
	if c.Target {
		return targetSections()
	}
	return serviceSections()
}

// present reports whether a section stands in c at all.
func present(c *graph.Config, s *section) bool { return s != healthSection() || c.Health != nil }

// differing returns the keys of a section whose values are not the defaults.
func differing(c *graph.Config, base baseline, s *section) table {
	t := table{}
	if !present(c, s) {
		return t
	}
	for i := range s.fields {
		f := &s.fields[i]
		value := f.value(c)
		if f.key == "name" || s == healthSection() && (f.key == "type" || f.key == "target") ||
			!empty(value) && !reflect.DeepEqual(value, base.value(f)) {
			t = append(t, pair{f.key, value})
		}
	}
	return t
}

// empty reports whether a value says nothing. An empty array that is not nil says something.
func empty(v any) bool {
	list, isList := v.([]string)
	return v == nil || isList && list == nil
}

// TOML writes c as a file: what differs from the defaults only, in the order of the documentation. Parse of it gives c
// again.
func TOML(c *graph.Config) []byte {
	base := baselineOf(c)
	var b bytes.Buffer
	for _, s := range sectionsOf(c) {
		if s == scheduleSection() {
			eachSchedule(c, func(one *graph.Config) { writeSection(&b, "[["+s.name+"]]", s.name, differing(one, base, s)) })
			continue
		}
		writeSection(&b, "["+s.name+"]", s.name, differing(c, base, s))
	}
	return b.Bytes()
}

// writeSection writes a section under its head, nothing where there are no keys. name is the head without brackets.
func writeSection(b *bytes.Buffer, head, name string, t table) {
	if len(t) == 0 {
		return
	}
	if b.Len() > 1 {
		b.WriteByte('\n')
	}
	b.WriteString(head + "\n")
	var below []pair
	for _, p := range t {
		if p.key == "env" {
			below = append(below, p)
			continue
		}
		b.WriteString(p.key + " = " + tomlValue(p.value) + "\n")
	}
	for _, p := range below {
		b.WriteString("\n[" + name + "." + p.key + "]\n")
		for _, inner := range p.value.(table) {
			b.WriteString(tomlKey(inner.key) + " = " + tomlValue(inner.value) + "\n")
		}
	}
}

func tomlKey(key string) string {
	bare := key != ""
	for _, c := range []byte(key) {
		bare = bare && (c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z')
	}
	if bare {
		return key
	}
	return tomlString(key)
}

func tomlValue(v any) string {
	switch v := v.(type) {
	case string:
		return tomlString(v)
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = tomlString(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []any:
		parts := make([]string, len(v))
		for i, element := range v {
			parts[i] = tomlValue(element)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case table:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = tomlKey(p.key) + " = " + tomlValue(p.value)
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return `""`
}

// TOMLKey writes a name as a part of a key of a file.
func TOMLKey(name string) string { return tomlKey(name) }

// TOMLString writes a text as a value of a file.
func TOMLString(text string) string { return tomlString(text) }

// tomlString writes a basic string.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < ' ' || c == 0x7f:
			b.WriteString(`\u00` + strconv.FormatInt(int64(c)>>4, 16) + strconv.FormatInt(int64(c)&15, 16))
		case c == utf8.RuneError:
			b.WriteString("\uFFFD")
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// JSON writes the document of service.get: every member that zinit 0.3.9 has, null or empty when it is not set, and
// those of ours that are set. exec and a health check's target are always strings; an array stands beside them as
// exec_argv and target_argv. ParseJSON of it gives c again, except where it was read from and Ephemeral.
func JSON(c *graph.Config) []byte {
	var b bytes.Buffer
	if c.Target {
		writeJSON(&b, targetDocument(c))
	} else {
		writeJSON(&b, serviceDocument(c))
	}
	return b.Bytes()
}

func targetDocument(c *graph.Config) table {
	t := table{{"is_target", true}, {"name", c.Name}}
	if c.Critical {
		t = append(t, pair{"critical", true})
	}
	if dependencies := differing(c, baselineOf(c), dependenciesSection()); len(dependencies) > 0 {
		t = append(t, pair{"dependencies", dependencies})
	}
	return t
}

func serviceDocument(c *graph.Config) table {
	base := baselineOf(c)
	var document table
	for _, s := range serviceSections() {
		if !present(c, s) {
			document = append(document, pair{s.name, nil})
			continue
		}
		if s == scheduleSection() {
			document = append(document, scheduleMember(c, base)...)
			continue
		}
		ours := differing(c, base, s)
		t := table{}
		for i := range s.fields {
			f := &s.fields[i]
			value := f.value(c)
			isOurs := false
			for _, p := range ours {
				isOurs = isOurs || p.key == f.key
			}
			if f.legacy || isOurs || f.key == "expect_status" && value != nil {
				t = append(t, legacyForm(f.key, value)...)
			}
		}
		if len(t) > 0 {
			document = append(document, pair{s.name, t})
		}
	}
	return document
}

// scheduleMember is the list of schedules, nothing where there is none.
func scheduleMember(c *graph.Config, base baseline) []pair {
	var list []table
	eachSchedule(c, func(one *graph.Config) { list = append(list, differing(one, base, scheduleSection())) })
	if list == nil {
		return nil
	}
	return []pair{{scheduleSection().name, list}}
}

// legacyForm gives a member the type that it has in zinit 0.3.9, with what that type cannot carry in a member beside it.
func legacyForm(key string, value any) []pair {
	argv, isArgv := value.([]string)
	switch {
	case key == "exec" && isArgv:
		return []pair{{"exec", Quote(argv)}, {"exec_argv", argv}}
	case key == "target" && isArgv:
		return []pair{{"target", Quote(argv)}, {"target_argv", argv}}
	case key == "forward" && value != nil:
		if on, isBool := value.(bool); isBool {
			return []pair{{"forward", nil}, {"forward_on", on}}
		}
	case key == "expect_status":
		return expectStatusPairs(value)
	case isArgv && argv == nil:
		return []pair{{key, []string{}}}
	}
	return []pair{{key, value}}
}

// expectStatusPairs: 0.3.9's clients read one number.
func expectStatusPairs(value any) []pair {
	switch value.(type) {
	case nil, int, int64:
		return []pair{{"expect_status", value}}
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	first, err := parseStatus(list[0])
	if err != nil {
		return []pair{{"expect_status", nil}}
	}
	return []pair{{"expect_status", first.Low}, {"expect_status_list", list}}
}

func commandText(c graph.Command) string {
	if c.Argv != nil {
		return Quote(c.Argv)
	}
	return c.Line
}

// Quote writes an argument vector as a shell would read it.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		plain := word != "" && strings.IndexFunc(word, func(c rune) bool {
			return !strings.ContainsRune("@%_-+=:,./", c) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
		}) < 0
		if !plain {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		words[i] = word
	}
	return strings.Join(words, " ")
}
