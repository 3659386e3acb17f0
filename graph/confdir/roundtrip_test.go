package confdir

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph"
)

const rounds = 3000

func problemText(problems []graph.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// equal compares what was read with what was written.
func equal(t *testing.T, what string, want, got *graph.Config, problems []graph.Problem, text []byte) {
	t.Helper()
	if got == nil {
		t.Fatalf("%s cannot be read:\n%s\n%s", what, problemText(problems), text)
	}
	read := *got
	read.Source = want.Source
	if !reflect.DeepEqual(want, &read) {
		t.Fatalf("%s gives another configuration\nwant %+v\ngot  %+v\nhealth %+v %+v\n%s", what, want, &read, want.Health, read.Health, text)
	}
}

func TestRoundTrip(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range rounds {
		c := g.config()
		text := TOML(c)
		read, problems := Parse("", text, Options{})
		equal(t, "TOML", c, read, problems, text)
		document := JSON(c)
		read, problems = ParseJSON(document, Options{})
		equal(t, "JSON", c, read, problems, document)
		if len(TOML(c)) > len(TOML(read)) {
			t.Fatalf("TOML of the same is not the same")
		}
	}
}

// TestGeneratorCoversEveryField keeps the round trip honest: every field of every type must have been set to something
// else than its default at least once.
func TestGeneratorCoversEveryField(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	seen := map[string]bool{}
	for range rounds {
		c := g.config()
		if c.Target {
			continue
		}
		base := New("-", false)
		base.Health, base.Identity.Capabilities = &graph.Health{}, &graph.Capabilities{}
		mark(seen, "", reflect.ValueOf(*c), reflect.ValueOf(*base))
	}
	all := map[string]bool{}
	mark(all, "", reflect.ValueOf(full()), reflect.ValueOf(graph.Config{}))
	for name := range all {
		if !seen[name] {
			t.Errorf("the generator never sets %s", name)
		}
	}
	if len(all) < 60 {
		t.Errorf("only %d fields found", len(all))
	}
}

// full is a configuration in which every leaf differs from the zero value, but those that no file sets.
func full() graph.Config {
	var c graph.Config
	fill(reflect.ValueOf(&c).Elem())
	c.Target, c.Source, c.Ephemeral = false, "", false
	return c
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	default:
		v.Set(reflect.ValueOf(7).Convert(v.Type()))
	}
}

// mark notes the leaves that differ.
func mark(seen map[string]bool, path string, a, b reflect.Value) {
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			mark(seen, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case a.Kind() == reflect.Pointer && a.Type().Elem().Kind() == reflect.Struct && !a.IsNil():
		other := reflect.Zero(a.Type().Elem())
		if !b.IsNil() {
			other = b.Elem()
		}
		mark(seen, path, a.Elem(), other)
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		seen[path] = true
	}
}

func TestTOMLIsShort(t *testing.T) {
	c := New("web", false)
	c.Exec = graph.Command{Argv: []string{"/usr/bin/web", "--port", "80"}}
	c.Env = map[string]string{"B": "2", "A": "say \"hi\""}
	c.Deps.Requires = []string{"db"}
	c.Identity.Limits = []graph.Limit{{Name: "nofile", Soft: 4096, Hard: 8192}}
	const want = `[service]
name = "web"
exec = ["/usr/bin/web", "--port", "80"]
limits = { nofile = "4096:8192" }

[service.env]
A = "say \"hi\""
B = "2"

[dependencies]
requires = ["db"]
`
	if got := string(TOML(c)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The answers of zinit 0.3.9 to service.get, which its clients decode.
const (
	legacyFile = `[service]
name = "web"
exec = "echo hello; sleep 0.1; echo oops >&2; sleep 1000 & exec sleep 1000"
dir = "/tmp"
[service.env]
A = "1"
[dependencies]
requires = ["db"]
after = ["cache"]
wants = ["ghostwant"]
[health]
type = "exec"
target = "true"
[logging]
buffer_lines = 5
file = "/tmp/nope.log"
`
	legacyGet = `{"dependencies": {"after": ["cache"], "conflicts": [], "requires": ["db"], "wants": ["ghostwant"]},
"health": {"interval_ms": 10000, "retries": 3, "start_period_ms": 0, "target": "true", "timeout_ms": 5000, "type": "exec"},
"lifecycle": {"max_restarts": 10, "restart": "on-failure", "restart_delay_max_ms": 300000, "restart_delay_ms": 1000,
"stability_period_ms": 30000, "start_timeout_ms": 30000, "stop_signal": "SIGTERM", "stop_timeout_ms": 10000},
"logging": {"buffer_lines": 5, "file": "/tmp/nope.log", "forward": null},
"service": {"class": "user", "critical": false, "dir": "/tmp", "env": {"A": "1"},
"exec": "echo hello; sleep 0.1; echo oops >&2; sleep 1000 & exec sleep 1000", "kill_others": false, "name": "web",
"oneshot": false, "ports": [], "process_filters": [], "status": "start"}}`
	plainFile = "[service]\nname = \"db\"\nexec = \"sleep 1000\"\n"
	plainGet  = `{"dependencies": {"after": [], "conflicts": [], "requires": [], "wants": []}, "health": null,
"lifecycle": {"max_restarts": 10, "restart": "on-failure", "restart_delay_max_ms": 300000, "restart_delay_ms": 1000,
"stability_period_ms": 30000, "start_timeout_ms": 30000, "stop_signal": "SIGTERM", "stop_timeout_ms": 10000},
"logging": {"buffer_lines": 1000, "file": null, "forward": null},
"service": {"class": "user", "critical": false, "dir": null, "env": {}, "exec": "sleep 1000", "kill_others": false,
"name": "db", "oneshot": false, "ports": [], "process_filters": [], "status": "start"}}`
	targetFile = "[target]\nname = \"multi\"\n"
	targetGet  = `{"is_target": true, "name": "multi"}`
)

func TestServiceGetIsThatOf039(t *testing.T) {
	for file, want := range map[string]string{legacyFile: legacyGet, plainFile: plainGet, targetFile: targetGet} {
		c, problems := Parse("", []byte(file), Options{})
		if c == nil {
			t.Fatal(problemText(problems))
		}
		var a, b any
		if err := json.Unmarshal([]byte(want), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(JSON(c), &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("want %v\ngot  %v", a, b)
		}
		read, problems := ParseJSON([]byte(want), Options{})
		equal(t, "0.3.9's document", c, read, problems, []byte(want))
	}
}

func TestArraysStandBesideTheirStrings(t *testing.T) {
	c := New("x", false)
	c.Exec = graph.Command{Argv: []string{"/bin/echo", "it's", "a b", ""}}
	c.Health = &graph.Health{Type: graph.HealthExec, Exec: graph.Command{Argv: []string{"test", "-e", "/x y"}}}
	c.Logging.Forward = graph.Forward{Set: true, On: true}
	var document struct {
		Service struct {
			Exec string   `json:"exec"`
			Argv []string `json:"exec_argv"`
		}
		Health struct {
			Target string   `json:"target"`
			Argv   []string `json:"target_argv"`
		}
		Logging struct {
			Forward *string `json:"forward"`
			On      *bool   `json:"forward_on"`
		}
	}
	if err := json.Unmarshal(JSON(c), &document); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %q %s %q %v %v", document.Service.Exec, document.Service.Argv, document.Health.Target,
		document.Health.Argv, document.Logging.Forward, *document.Logging.On)
	want := `/bin/echo 'it'\''s' 'a b' '' ["/bin/echo" "it's" "a b" ""] test -e '/x y' ["test" "-e" "/x y"] <nil> true`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSchemaKnowsEveryKey(t *testing.T) {
	var schema struct {
		Properties map[string]struct {
			Properties map[string]struct{ Description string } `json:"properties"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(serviceSections(), targetSection()) {
		for _, f := range s.fields {
			if schema.Properties[s.name].Properties[f.key].Description == "" {
				t.Errorf("%s.%s is not in the schema or has no description", s.name, f.key)
			}
		}
	}
}
