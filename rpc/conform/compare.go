package conform

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// Difference is one place where two exchanges differ. Path is where, with [*] for list places; a member that only the
// second has (an addition, which 0.3.9's clients ignore) has Added set. Soft ones are texts of errors.
type Difference struct {
	Index      int // of the exchange in its transcript
	Path       string
	Want, Got  any
	Soft, Open bool // Open: not explained by DIFFERENCES.md
	Added      bool
	Send       string
}

// String shows the difference on one line.
func (d Difference) String() string {
	return fmt.Sprintf("#%d %s: want %s, got %s (sent %s)", d.Index, d.Path, show(d.Want), show(d.Got), cut(d.Send, 140))
}

func show(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return cut(strings.TrimSpace(b.String()), 200)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// absent stands for a member that is not there.
const absent = "<absent>"

// masked members differ from run to run: only that they are there is compared.
var masked = map[string]bool{"pid": true, "ppid": true, "timestamp_ms": true, "memory_bytes": true, "cpu_percent": true,
	"uptime_secs": true, "uptime_ms": true, "version": true, "path": true, "state_path": true}

var substitutions = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\b[Pp][Ii][Dd][ =]\d+`), "pid=N"},
	{regexp.MustCompile(`ppid=\d+`), "ppid=N"},
	{regexp.MustCompile(`uptime=[^,)]*`), "uptime=U"},
	{regexp.MustCompile(`^\d{12,} `), "TS "},
	{regexp.MustCompile(`/[\w./+-]*/[\w.+-]+`), "/PATH"},
	{regexp.MustCompile(`[├└│─]+`), " "},
	{regexp.MustCompile(`process group \d+`), "process group N"},
	{regexp.MustCompile(`R?Running since.*`), ""},
}

// normal makes an answer comparable: what differs from run to run is masked, drawings become sets of words.
func normal(v any, key string, unordered bool) any {
	if masked[key] && (key != "pid" || fmt.Sprint(v) != "0") {
		return "<" + key + ">"
	}
	switch v := v.(type) {
	case string:
		return normalText(v, key)
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = normal(element, "", unordered)
		}
		if unordered || key == "dependencies" {
			sort.SliceStable(list, func(i, j int) bool { return sortKey(list[i]) < sortKey(list[j]) })
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for k, element := range v {
			members[k] = normal(element, k, unordered)
		}
		return members
	}
	return v
}

func normalText(text, key string) string {
	if strings.Contains(text, "\n") || key == "ascii" || key == "output" {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			lines[i] = substitute(line)
		}
		words := strings.Fields(strings.Join(lines, "\n"))
		sort.Strings(words)
		return strings.Join(words, " ")
	}
	return substitute(text)
}

func substitute(text string) string {
	for _, s := range substitutions {
		text = s.pattern.ReplaceAllString(text, s.text)
	}
	return text
}

// sortKey orders list elements by their name first, so that added members do not change the order.
func sortKey(v any) string {
	if members, ok := v.(map[string]any); ok {
		return fmt.Sprint(members["name"], "\x00", members["dep_type"])
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// Compare returns where the exchanges of two transcripts differ, in order.
func Compare(want, got []Line) []Difference {
	var all []Difference
	if len(want) != len(got) {
		all = append(all, Difference{Index: -1, Path: "length", Want: len(want), Got: len(got)})
	}
	for i := range min(len(want), len(got)) {
		a, b := want[i], got[i]
		if a.Fuzzy || b.Fuzzy {
			continue
		}
		unordered := a.Unordered || strings.Contains(a.Send, `"service.list`) || strings.Contains(a.Send, `"xinet.list`) ||
			strings.Contains(a.Send, "status_all")
		w := walker{index: i, send: a.Send}
		w.walk(normal(a.Recv, "", unordered), normal(b.Recv, "", unordered), "")
		all = append(all, w.found...)
	}
	return all
}

type walker struct {
	index int
	send  string
	found []Difference
}

func (w *walker) add(path string, want, got any) {
	soft := path == ".error.message" || strings.HasPrefix(path, ".error.data")
	w.found = append(w.found, Difference{Index: w.index, Path: path, Want: want, Got: got, Soft: soft, Send: w.send,
		Added: want == any(absent)})
}

func (w *walker) walk(a, b any, path string) {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			w.walkMembers(a, b, path)
			return
		}
	case []any:
		if b, ok := b.([]any); ok {
			if len(a) != len(b) {
				w.add(path+".length", len(a), len(b))
			}
			for i := range min(len(a), len(b)) {
				w.walk(a[i], b[i], path+"[*]")
			}
			return
		}
	case json.Number:
		if b, ok := b.(json.Number); ok && sameNumber(a, b) {
			return
		}
	}
	if !same(a, b) {
		w.add(path, a, b)
	}
}

func (w *walker) walkMembers(a, b map[string]any, path string) {
	keys := make([]string, 0, len(a)+len(b))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		x, inA := a[k]
		y, inB := b[k]
		switch {
		case !inA:
			w.add(path+"."+k, absent, y)
		case !inB:
			w.add(path+"."+k, x, absent)
		default:
			w.walk(x, y, path+"."+k)
		}
	}
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y && len(a) < 16
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
