package confdir

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph"
)

const projectText = `# a stack
env_file = "all.env"

[logging]
buffer_lines = 7

[env]
LEVEL = "info"
HOME = "/all"

[defaults]
restart = "always"
env = { HOME = "/default", SHELL = "sh" }

[defaults.logging]
buffer_bytes = 99

# the web server
[services.web]
exec = "web"
env_file = ["own.env"]
requires = ["db"]

[services.web.env]
HOME = "/own"

[services.db]
exec = "db"
ready = "notify"
dir = "data"
lifecycle.restart = "never"

[services.job]
exec = "job"
oneshot = true
`

func newProject(t *testing.T, text string) (dir string, load func() *Loaded) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, ProjectFile), []byte(text))
	return dir, func() *Loaded {
		settings, problems := LoadSettings(SettingsFile(dir), Options{Dirs: []string{dir}})
		if len(problems) > 0 {
			t.Fatalf("settings: %s", problemText(problems))
		}
		return Load([]string{dir}, Options{Settings: settings})
	}
}

func configOf(t *testing.T, loaded *Loaded, name string) *graph.Config {
	t.Helper()
	i := slices.IndexFunc(loaded.Configs, func(c *graph.Config) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("%s is not loaded: %s", name, problemText(loaded.Problems))
	}
	return loaded.Configs[i]
}

// TestProjectMerges: what the file says for all counts where a service does not say it itself, the nearest word wins.
func TestProjectMerges(t *testing.T) {
	dir, load := newProject(t, projectText)
	loaded := load()
	if len(loaded.Problems) > 0 {
		t.Fatal(problemText(loaded.Problems))
	}
	web, db, job := configOf(t, loaded, "web"), configOf(t, loaded, "db"), configOf(t, loaded, "job")
	if got := []string{web.Env["HOME"], web.Env["SHELL"], web.Env["LEVEL"], db.Env["HOME"]}; !slices.Equal(got, []string{"/own", "sh", "info", "/default"}) {
		t.Errorf("variables: %q", got)
	}
	if want := []string{filepath.Join(dir, "all.env"), filepath.Join(dir, "own.env")}; !slices.Equal(web.EnvFiles, want) {
		t.Errorf("env files: %q", web.EnvFiles)
	}
	if web.Dir != dir || db.Dir != filepath.Join(dir, "data") {
		t.Errorf("directories: %s, %s", web.Dir, db.Dir)
	}
	if web.Lifecycle.Restart != graph.RestartAlways || db.Lifecycle.Restart != graph.RestartNever || job.Lifecycle.Restart != graph.RestartNever {
		t.Errorf("restart: %s, %s, %s", web.Lifecycle.Restart, db.Lifecycle.Restart, job.Lifecycle.Restart)
	}
	if web.Logging.BufferLines != 7 || web.Logging.BufferBytes != 99 {
		t.Errorf("logging: %+v", web.Logging)
	}
	if !slices.Equal(web.Deps.Requires, []string{"db"}) {
		t.Errorf("requires: %q", web.Deps.Requires)
	}
}

// TestProjectEdit: what is saved into a zinit.toml is there when it is read again, and the rest of the file stays as it is.
func TestProjectEdit(t *testing.T) {
	dir, load := newProject(t, projectText)
	edit := func(c *graph.Config, given ...string) *graph.Config {
		t.Helper()
		e, err := NewEdit([]string{dir}, c, given, Options{})
		if err == nil {
			err = e.Write()
		}
		if err != nil {
			t.Fatal(err)
		}
		return e.Config
	}
	fresh := New("new one", false)
	if _, err := NewEdit([]string{dir}, fresh, nil, Options{}); err == nil {
		t.Error("a bad name is saved")
	}
	fresh.Name = "new.one"
	fresh.Exec.Line, fresh.Env = "fresh", map[string]string{"X": "y"}
	if c := edit(fresh); c.Lifecycle.Restart != graph.RestartAlways || c.Env["LEVEL"] != "info" || c.Dir != dir {
		t.Errorf("the file's defaults do not count for what is added: %+v", c)
	}
	if c := edit(fresh, "lifecycle.restart"); c.Lifecycle.Restart != graph.RestartOnFailure {
		t.Error("what was said is not written where it is the built-in default")
	}
	web := *configOf(t, load(), "web")
	web.Exec.Line = "web 2"
	edit(&web)
	loaded := load()
	if c := configOf(t, loaded, "web"); c.Exec.Line != "web 2" || c.Env["HOME"] != "/own" || !slices.Equal(c.Deps.Requires, []string{"db"}) {
		t.Errorf("written over: %+v", c)
	}
	if err := Delete(filepath.Join(dir, ProjectFile), "web"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ProjectFile))
	if err != nil || strings.Contains(string(text), "web") || !strings.HasPrefix(string(text), projectText[:strings.Index(projectText, "# the web")]) {
		t.Errorf("after the removal: %v\n%s", err, text)
	}
	if loaded = load(); len(loaded.Configs) != 3 || len(loaded.Problems) > 0 {
		t.Errorf("loaded %d: %s", len(loaded.Configs), problemText(loaded.Problems))
	}
}

// TestProjectEditRefuses: what stands within a table of others is not taken out.
func TestProjectEditRefuses(t *testing.T) {
	for _, text := range []string{"services = { web = { exec = \"x\" } }\n", "[services]\nweb.exec = \"x\"\n", "services.web.exec = \"x\"\n"} {
		dir, load := newProject(t, text)
		c := *configOf(t, load(), "web")
		_, err := NewEdit([]string{dir}, &c, nil, Options{})
		if err == nil || !strings.Contains(err.Error(), "by hand") {
			t.Errorf("saved into %s: %v", text, err)
		}
		if err := Delete(c.Source, "web"); err == nil || !strings.Contains(err.Error(), "by hand") {
			t.Errorf("deleted from %s: %v", text, err)
		}
		if after, _ := os.ReadFile(c.Source); string(after) != text {
			t.Errorf("the file is now %s", after)
		}
	}
}

// TestProjectKeepsRunning: a zinit.toml that breaks takes nothing down.
func TestProjectKeepsRunning(t *testing.T) {
	dir, load := newProject(t, projectText)
	running := load()
	for _, text := range []string{"[servi\n", "[services.web]\nexec = \"x\n", "[services.web]\nexec = 3\n[services.db]\nexec=\"x\"\n[services.job]\nexec=\"y\"\n"} {
		write(t, filepath.Join(dir, ProjectFile), []byte("[services.zz]\nexec = 1\n"+text))
		next := Load([]string{dir}, Options{})
		next.Carry(running.Graph)
		for _, name := range []string{"web", "db", "job"} {
			configOf(t, next, name)
		}
	}
}

// TestProjectSchema: what an editor offers is what is read.
func TestProjectSchema(t *testing.T) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Defs       struct {
			Service struct {
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"service"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(ProjectSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Concat(projectKeys, settingSections) {
		if schema.Properties[key] == nil {
			t.Errorf("no %s", key)
		}
	}
	for _, key := range []string{"exec", "restart", "requires", "lifecycle", "health", "logging", "schedule"} {
		if schema.Defs.Service.Properties[key] == nil {
			t.Errorf("no services.NAME.%s", key)
		}
	}
}

const expandText = `env_file = "all.env"

[env]
HOST = "localhost"
URL = "pg://${HOST}:${PGPORT}"
OPTS = "-a"

[services.api]
exec = "api ${HOST} $$"
dir = "${SUB}"
ports = [80, "${PGPORT}", "1${PGPORT}"]
env = { OPTS = "${OPTS} -b", SHOWN = "$$5 $HOME ${OWN}", OWN = "own ${URL}" }
health = { type = "tcp", target = "${HOST}:${PGPORT}" }

[services.probe]
exec = "x"
health = { type = "exec", target = ["test", "${HOST}", "$$x"] }
`

// TestProjectExpand: ${NAME} is replaced where the page about the file says so, and nowhere else.
func TestProjectExpand(t *testing.T) {
	var asked []string
	o := Options{EnvFile: func(path string, _ graph.EnvFormat) (map[string]string, error) {
		asked = append(asked, filepath.Base(path))
		return map[string]string{"PGPORT": "543", "SUB": "sub", "HOST": "not this one"}, nil
	}}
	dir, _ := newProject(t, expandText)
	loaded := Load([]string{dir}, o)
	api, probe := configOf(t, loaded, "api"), configOf(t, loaded, "probe")
	if !slices.Equal(asked, []string{"all.env"}) {
		t.Errorf("read: %q", asked)
	}
	if want := map[string]string{"HOST": "localhost", "URL": "pg://localhost:543", "OPTS": "-a -b", "OWN": "own pg://localhost:543",
		"SHOWN": "$5 $HOME own pg://localhost:543"}; !maps.Equal(api.Env, want) {
		t.Errorf("env: %q", api.Env)
	}
	if !slices.Equal(api.Ports, []uint16{80, 543, 1543}) || api.Health.Target != "localhost:543" || api.Dir != filepath.Join(dir, "sub") {
		t.Errorf("ports %v, target %s, dir %s", api.Ports, api.Health.Target, api.Dir)
	}
	if api.Exec.Line != "api ${HOST} $$" || !slices.Equal(probe.Health.Exec.Argv, []string{"test", "localhost", "$x"}) {
		t.Errorf("exec %q, check %q", api.Exec.Line, probe.Health.Exec.Argv)
	}
	edit, err := NewEdit([]string{dir}, api, nil, o)
	if err != nil || !maps.Equal(edit.Config.Env, api.Env) || edit.Config.Health.Target != api.Health.Target {
		t.Errorf("saved again: %v %+v", err, edit)
	}
}

// TestProjectExpandErrors: what cannot be replaced is an error at its place.
func TestProjectExpandErrors(t *testing.T) {
	for line, want := range map[string]string{
		`ports = ["${NONE}"]`:               `zinit.toml:4:1: error: services.a.ports: ${NONE} is not set: give it a value in [env] or an env_file; $$ stands for a dollar`,
		`ports = ["${WORD}"]`:               `services.a.ports: want a port, ${WORD} is "word"`,
		`ports = ["80"]`:                    `services.a.ports: want whole numbers from 1 to 65535, element 1 is "80"`,
		`env = { X = "${WORD:-x}" }`:        `services.a.env.X: want ${NAME}, not ${WORD:-x}: only a name is replaced here, and $$ stands for a dollar`,
		`env = { X = "${WORD" }`:            `services.a.env.X: want ${NAME}, not ${WORD: only`,
		`env = { X = "${X}" }`:              `services.a.env.X: ${X} is not set`,
		`env = { X = "${Y}", Y = "${X}" }`:  `refers to itself`,
		`dir = "${NONE}"`:                   `zinit.toml:4:1: error: services.a.dir: ${NONE} is not set`,
		`health = { target = "${NONE}:1" }`: `services.a.health.target: ${NONE} is not set`,
	} {
		dir, _ := newProject(t, "[env]\nWORD = \"word\"\n[services.a]\n"+line+"\nexec = \"true\"\n")
		if got := problemText(Load([]string{dir}, Options{}).Problems); !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nwant %s", line, got, want)
		}
	}
}

// TestProfiles: a service with profiles is loaded only where one of them is chosen.
func TestProfiles(t *testing.T) {
	dir, _ := newProject(t, "[services.a]\nexec = \"a\"\n[services.b]\nexec = \"b\"\nprofiles = [\"dev\", \"ci\"]\n"+
		"ready = \"notify\"\n[services.c]\nexec = \"c\"\nrequires = [\"b\"]\n")
	without := Load([]string{dir}, Options{Profiles: []string{"other"}})
	if len(without.Configs) != 2 || !strings.Contains(problemText(without.Problems), "requires b, which does not exist here: it is in profile dev and ci (--profile dev)") {
		t.Errorf("%d loaded: %s", len(without.Configs), problemText(without.Problems))
	}
	with := Load([]string{dir}, Options{Profiles: []string{"ci"}})
	if len(with.Configs) != 3 || len(with.Problems) > 0 {
		t.Errorf("%d loaded: %s", len(with.Configs), problemText(with.Problems))
	}
	without.Carry(with.Graph)
	if n := strings.Count(problemText(without.Problems), "requires b"); n != 1 {
		t.Errorf("told %d times: %s", n, problemText(without.Problems))
	}
}

const portText = `[env]
LEVEL = "info"

[services.db-main]
exec = "db"
port = "auto"
ports = ["${PORT}"]
health = { type = "tcp", target = "127.0.0.1:${PORT}" }

[services.api]
exec = "api"
port = 8080
requires = ["db-main"]
env = { URL = "pg://localhost:${DB_MAIN_PORT}" }

[services.other]
exec = "x"
`

// TestProjectPort: a service is given its port, and those that depend on it are told.
func TestProjectPort(t *testing.T) {
	dir, _ := newProject(t, portText)
	asked := 0
	o := Options{Port: func(file, name string) int {
		if asked++; file != filepath.Join(dir, ProjectFile) || name != "db-main" {
			t.Errorf("asked for %s in %s", name, file)
		}
		return 20123
	}}
	loaded := Load([]string{dir}, o)
	db, api, other := configOf(t, loaded, "db-main"), configOf(t, loaded, "api"), configOf(t, loaded, "other")
	if asked != 1 || db.Env["PORT"] != "20123" || !slices.Equal(db.Ports, []uint16{20123}) || db.Health.Target != "127.0.0.1:20123" {
		t.Errorf("asked %d times, %v, ports %v, checked at %s", asked, db.Env, db.Ports, db.Health.Target)
	}
	if want := map[string]string{"LEVEL": "info", "PORT": "8080", "DB_MAIN_PORT": "20123", "URL": "pg://localhost:20123"}; !maps.Equal(api.Env, want) {
		t.Errorf("told: %q", api.Env)
	}
	if len(other.Env) != 1 {
		t.Errorf("who does not depend on them is told: %q", other.Env)
	}
	changed := *api
	changed.Exec.Line = "api 2"
	edit, err := NewEdit([]string{dir}, &changed, nil, o)
	if err == nil {
		err = edit.Write()
	}
	text, _ := os.ReadFile(filepath.Join(dir, ProjectFile))
	if err != nil || !maps.Equal(edit.Config.Env, api.Env) || !strings.Contains(string(text), "port = 8080\n") || strings.Contains(string(text), "DB_MAIN_PORT =") {
		t.Errorf("saved: %v\n%s", err, text)
	}
	for value, want := range map[string]string{`70000`: `zinit.toml:2:1: error: services.a.port: want "auto" or a whole number from 1 to 65535, not 70000`,
		`"any"`: `not "any"`} {
		dir, _ := newProject(t, "[services.a]\nport = "+value+"\nexec = \"true\"\n")
		if got := problemText(Load([]string{dir}, o).Problems); !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nwant %s", value, got, want)
		}
	}
}
