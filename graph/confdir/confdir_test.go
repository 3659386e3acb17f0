package confdir

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

func mustParse(t testing.TB, file, text string) *graph.Config {
	t.Helper()
	c, problems := Parse(file, []byte(text), Options{})
	if c == nil {
		t.Fatalf("cannot parse:\n%s", problemText(problems))
	}
	return c
}

const minimal = "[service]\nname = \"x\"\nexec = \"true\"\n"

// TestDefaults checks each default of the specification, and those that depend on other keys.
func TestDefaults(t *testing.T) {
	c := mustParse(t, "", minimal)
	l := c.Lifecycle
	got := fmt.Sprint(c.Class, c.Status, c.Critical, c.Oneshot, c.KillOthers, c.Reload.Signal, c.Health == nil, l.Restart, l.RestartSet,
		l.RestartDelay, l.RestartDelayMax, l.MaxRestarts, l.StabilityPeriod, l.StartTimeout, l.StopTimeout, l.StopSignal,
		l.SuccessCodes, l.OnExit, c.Logging, c.PreStart.Timeout)
	want := "user start false false false SIGHUP true on-failure false 1s 5m0s 10 30s 30s 10s SIGTERM [0] continue " +
		"{1000 262144  10485760 5 false plain {false false } 2048} 0s"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, c := range []struct {
		text string
		is   func(c *graph.Config) bool
	}{
		{"oneshot = true", func(c *graph.Config) bool { return c.Lifecycle.StartTimeout == 0 && !c.Lifecycle.RestartSet }},
		{"oneshot = true\n[lifecycle]\nrestart = \"on-failure\"\nstart_timeout_ms = 5", func(c *graph.Config) bool {
			return c.Lifecycle.StartTimeout == 5*time.Millisecond && c.Lifecycle.RestartSet && c.Lifecycle.Restart == graph.RestartOnFailure
		}},
		{"class = \"system\"", func(c *graph.Config) bool { return c.Lifecycle.MaxRestarts == 0 }},
		{"critical = true", func(c *graph.Config) bool { return c.Lifecycle.MaxRestarts == 0 }},
		{"critical = true\n[lifecycle]\nmax_restarts = 10", func(c *graph.Config) bool { return c.Lifecycle.MaxRestarts == 10 }},
		{"[lifecycle]\nrestart_delay_ms = 600000", func(c *graph.Config) bool { return c.Lifecycle.RestartDelayMax == 10*time.Minute }},
		{"[lifecycle]\nrestart = \"on_failure\"\nstop_signal = \"int\"", func(c *graph.Config) bool {
			return c.Lifecycle.Restart == graph.RestartOnFailure && c.Lifecycle.StopSignal == graph.SIGINT
		}},
		{"stop_command = \"x\"\npre_start = \"y\"\npost_stop = [\"z\", \"\"]\n[lifecycle]\nstop_timeout_ms = 7", func(c *graph.Config) bool {
			return c.StopCommand.Timeout == 7*time.Millisecond && c.PreStart.Timeout == 30*time.Second &&
				c.PostStop.Timeout == 10*time.Second && c.PostStop.Command.Argv[0] == "z"
		}},
		{"[health]\ntype = \"http\"\nendpoint = \"http://h/\"", func(c *graph.Config) bool {
			h := c.Health
			return h.Target == "http://h/" && h.Interval == 10*time.Second && h.Timeout == 5*time.Second && h.Retries == 3 &&
				h.StartPeriod == 0 && h.TLSVerify && reflect.DeepEqual(h.ExpectStatus, []graph.StatusRange{{Low: 200, High: 200}})
		}},
		{"[health]\ntype = \"http\"\ntarget = \"http://h/\"\nexpect_status = [\"2xx\", 301, \"400-404\"]", func(c *graph.Config) bool {
			return reflect.DeepEqual(c.Health.ExpectStatus, []graph.StatusRange{{Low: 200, High: 299}, {Low: 301, High: 301}, {Low: 400, High: 404}})
		}},
		{"umask = \"22\"\nuser = 5\ngroups = [\"a\", 6]", func(c *graph.Config) bool {
			return *c.Identity.Umask == 0o22 && c.Identity.User == "5" && slices.Equal(c.Identity.Groups, []string{"a", "6"})
		}},
		{"umask = 0o27", func(c *graph.Config) bool { return *c.Identity.Umask == 0o27 }},
		{"reload = \"USR1\"", func(c *graph.Config) bool { return c.Reload.Signal == 10 && c.Reload.Command.IsZero() }},
		{"reload = \"kill -HUP 1\"", func(c *graph.Config) bool { return c.Reload.Signal == 0 && c.Reload.Command.Line == "kill -HUP 1" }},
		{"[cgroup]\ncpu_max = \"150%\"\nmemory_max = 1048576", func(c *graph.Config) bool {
			return c.Cgroup.CPUMax == "150000 100000" && c.Cgroup.MemoryMax == "1048576"
		}},
		{"capabilities = { ambient = [\"net_admin\"], bounding = [] }", func(c *graph.Config) bool {
			caps := c.Identity.Capabilities
			return caps.Ambient[0] == "CAP_NET_ADMIN" && caps.Bounding != nil && len(caps.Bounding) == 0
		}},
		{"limits = { nofile = \"4096:8192\", core = 0, stack = \"infinity\" }", func(c *graph.Config) bool {
			return reflect.DeepEqual(c.Identity.Limits, []graph.Limit{{Name: "core"}, {Name: "nofile", Soft: 4096, Hard: 8192},
				{Name: "stack", Soft: infinity, Hard: infinity}})
		}},
		{"[logging]\nforward = false", func(c *graph.Config) bool { return c.Logging.Forward == graph.Forward{Set: true} }},
	} {
		if !c.is(mustParse(t, "", minimal+c.text)) {
			t.Errorf("%q is not read as it should be", c.text)
		}
	}
}

func TestRelativePathsCountFromTheFile(t *testing.T) {
	c := mustParse(t, "/etc/zinit/services/x.toml", minimal+"dir = \"../data\"\nenv_file = \"-x.env\"\n[logging]\nfile = \"/log\"")
	if c.Dir != "/etc/zinit/data" || !slices.Equal(c.EnvFiles, []string{"-/etc/zinit/services/x.env"}) || c.Logging.File != "/log" {
		t.Errorf("dir %s, env_file %s, file %s", c.Dir, c.EnvFiles, c.Logging.File)
	}
	_, problems := ParseJSON([]byte(`{"service":{"name":"x","exec":"true","dir":"data"}}`), Options{})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "absolute") {
		t.Errorf("a relative path over RPC: %s", problemText(problems))
	}
}

func TestParseJSON(t *testing.T) {
	for _, c := range []struct{ document, problem string }{
		{`{"service":{"name":"x","exec":"true"}}`, ""},
		{`{"service":{"name":"x","exec":"true","dir":null,"exec_argv":["a","b"]},"health":null,"is_target":false}`, ""},
		{`{"is_target":true,"name":"t","dependencies":{"requires":["a"]}}`, ""},
		{`{"target":{"name":"t"}}`, ""},
		{`{"service":{"name":"x","exec":"true","execs":1}}`, `unknown key "execs" in [service]; did you mean "exec"?`},
		{`{"service":{"name":"x","exec":"true"},"extra":{}}`, "unknown section [extra]"},
		{`{"service":{"name":"x","exec":"true","ports":[1.5]}}`, "element 1 is 1.5"},
		{`{"service":{"name":"x","exec":"true"},"lifecycle":{"max_restarts":1e400}}`, "not 1e400"},
		{`{"service":{"name":"x","exec":"a\u0000b"}}`, "NUL"},
		{`{"is_target":"yes","name":"t"}`, "want true or false"},
		{`{"name":"x","exec":"true"}`, "want a [service]"},
		{`[]`, "no valid configuration document"},
		{`null`, "want an object"},
		{``, "no valid configuration document"},
		{`{} {}`, "something follows"},
		{"{\"service\":{\"name\":\"\xff\"}}", "not UTF-8"},
	} {
		config, problems := ParseJSON([]byte(c.document), Options{})
		text := problemText(problems)
		if (config != nil) != (c.problem == "") || !strings.Contains(text, c.problem) {
			t.Errorf("%s: %s", c.document, text)
		}
	}
	if c, problems := ParseJSON([]byte(`{"service":{"name":"x","exec":"true","new":1}}`), Options{Lenient: true}); c == nil || len(problems) != 1 {
		t.Errorf("lenient: %s", problemText(problems))
	}
}

func save(dir string, c *graph.Config) (string, error) {
	edit, err := NewEdit([]string{dir}, c, nil, Options{})
	if err != nil {
		return "", err
	}
	return edit.Config.Source, edit.Write()
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "services")
	c := mustParse(t, "", minimal)
	path, err := save(dir, c)
	if err != nil || path != filepath.Join(dir, "x.toml") {
		t.Fatalf("saved to %s: %v", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Exec.Line = "false"
	if _, err := save(dir, c); err != nil {
		t.Fatal(err)
	}
	loaded := Load([]string{dir}, Options{})
	if len(loaded.Configs) != 1 || loaded.Configs[0].Exec.Line != "false" || len(loaded.Problems) != 0 {
		t.Errorf("loaded %+v, %s", loaded.Configs, problemText(loaded.Problems))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is not kept: %v %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("left behind: %v %v", files, err)
	}
	// A file that is called otherwise is written over, not doubled.
	other := filepath.Join(dir, "other.toml")
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	c.Source = other
	if path, err = save(dir, c); err != nil || path != other {
		t.Errorf("saved to %s: %v", path, err)
	}
	// What cannot be written leaves the old one.
	if err := os.Mkdir(filepath.Join(dir, "y.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	y := mustParse(t, "", strings.ReplaceAll(minimal, "\"x\"", "\"y\""))
	if _, err := save(dir, y); err == nil || !strings.HasPrefix(err.Error(), "cannot save y: ") {
		t.Errorf("saving over a directory: %v", err)
	}
	if files, _ = os.ReadDir(dir); len(files) != 2 {
		t.Errorf("left behind: %v", files)
	}
}

func TestSaveDir(t *testing.T) {
	root := t.TempDir()
	if got := SaveDir([]string{"/a", root}); got != root {
		t.Errorf("plain: %s", got)
	}
	if err := os.Mkdir(filepath.Join(root, "services"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := SaveDir([]string{"/a", root}); got != filepath.Join(root, "services") {
		t.Errorf("root: %s", got)
	}
	if got := SettingsFile(root); got != filepath.Join(root, "zinit.toml") {
		t.Errorf("settings of a root: %s", got)
	}
	if got := SettingsFile(filepath.Join(root, "services")); got != filepath.Join(root, "zinit.toml") {
		t.Errorf("settings beside: %s", got)
	}
}

func TestMissingDirectoryIsANote(t *testing.T) {
	loaded := Load([]string{filepath.Join(t.TempDir(), "none")}, Options{})
	if len(loaded.Problems) != 1 || loaded.Problems[0].Severity != graph.SeverityNote || loaded.Graph.Len() != 0 {
		t.Errorf("got %s", problemText(loaded.Problems))
	}
}

func TestSeveralDirectories(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "x.toml"), []byte(minimal))
	write(t, filepath.Join(second, "x.toml"), []byte(minimal+"critical = true"))
	write(t, filepath.Join(second, "y.toml"), []byte(strings.ReplaceAll(minimal, "\"x\"", "\"y\"")))
	loaded := Load([]string{first, second}, Options{})
	if loaded.Graph.Len() != 2 || loaded.Graph.Config(0).Critical || countErrors(loaded) != 1 {
		t.Errorf("got %s", summary(loaded))
	}
}

func countErrors(loaded *Loaded) int {
	n := 0
	for _, p := range loaded.Problems {
		if p.Severity == graph.SeverityError {
			n++
		}
	}
	return n
}

func TestCarry(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		write(t, filepath.Join(dir, name+".toml"), []byte(strings.ReplaceAll(minimal, "\"x\"", "\""+name+"\"")))
	}
	ephemeral := mustParse(t, "", strings.ReplaceAll(minimal, "\"x\"", "\"e\"")+"[dependencies]\nrequires = [\"b\"]")
	ephemeral.Ephemeral = true
	shadowed := *ephemeral
	shadowed.Name = "a"
	first := Load([]string{dir}, Options{})
	running := graph.New(append([]*graph.Config{ephemeral}, first.Configs...), nil)
	write(t, filepath.Join(dir, "a.toml"), []byte("nonsense"))
	write(t, filepath.Join(dir, "new.toml"), []byte("nonsense"))
	if err := os.Remove(filepath.Join(dir, "b.toml")); err != nil {
		t.Fatal(err)
	}
	loaded := Load([]string{dir}, Options{})
	loaded.Carry(running)
	const want = "DIR/a.toml:1:8: error: no valid TOML: expected '=' after key (a)\n" +
		"DIR/new.toml:1:8: error: no valid TOML: expected '=' after key (new)\n" +
		"error: requires b, which does not exist (e)\n" +
		"ok a user a.toml\nok e user .\nbroken new broken_file: DIR/new.toml:1:8: no valid TOML: expected '=' after key\n"
	got := strings.Split(strings.ReplaceAll(summary(loaded), dir, "DIR"), "\n")
	wanted := strings.Split(want, "\n")
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestTrustOfOwners(t *testing.T) {
	if os.Getuid() != 0 {
		need.Root(t)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.toml")
	write(t, path, []byte(minimal))
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "ok x user x.toml"},
		{Options{Trust: true}, "broken x"},
		{Options{Trust: true, Lenient: true}, "ok x user x.toml"},
		{Options{Trust: true, TrustWarns: true}, "ok x user x.toml"},
	} {
		text := summary(Load([]string{dir}, c.o))
		if !strings.Contains(text, c.want) || strings.Contains(text, "owned by user 12345") != c.o.Trust ||
			strings.Contains(text, "--lenient") != (c.want == "broken x") {
			t.Errorf("%+v: got %s", c.o, text)
		}
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "zinit.toml")
	settings, problems := LoadSettings(path, Options{})
	if !reflect.DeepEqual(settings, DefaultSettings()) || len(problems) != 0 {
		t.Errorf("without a file: %+v %s", settings, problemText(problems))
	}
	write(t, path, []byte(`[socket]
mode = "0600"
group = "adm"
[logging]
forward = "tcp://log:1"
stdout = "json"
buffer_lines = 5
buffer_bytes = 6
syslog_max_bytes = 500
total_bytes = 2000000
[shutdown]
timeout_ms = 1500
[limits]
services = 7
connections = 8
request_bytes = 9000
`))
	settings, problems = LoadSettings(path, Options{})
	want := &Settings{SocketMode: 0o600, SocketGroup: "adm", Forward: graph.Forward{Set: true, On: true, URL: "tcp://log:1"},
		Stdout: "json", BufferLines: 5, BufferBytes: 6, SyslogMaxBytes: 500, TotalBytes: 2000000, ShutdownTimeout: 1500 * time.Millisecond, MaxServices: 7,
		MaxConnections: 8, MaxRequestBytes: 9000}
	if !reflect.DeepEqual(settings, want) || len(problems) != 0 {
		t.Errorf("got %+v %s", settings, problemText(problems))
	}
	c, _ := Parse("", []byte(minimal), Options{Settings: settings})
	if c.Logging.BufferLines != 5 || c.Logging.BufferBytes != 6 || c.Logging.SyslogMaxBytes != 500 {
		t.Errorf("the bounds are not the default of services: %+v", c.Logging)
	}
	write(t, path, []byte("sockets = 1\nlogging.stdout = \"xml\"\n[socket]\nmode = \"9\"\ngrup = \"x\"\n[limits]\nconnections = 0\n[shutdwn]\n"))
	_, problems = LoadSettings(path, Options{})
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.TrimPrefix(p.String(), path))
	}
	wantLines := []string{
		`:1:1: error: unknown section [sockets]; did you mean [socket]?`,
		`:2:9: error: logging.stdout: want true, false, "prefix", "plain" or "json", not "xml"`,
		`:4:1: error: socket.mode: want an octal string such as "0660", not "9"`,
		`:5:1: error: unknown key "grup" in [socket]; did you mean "group"?`,
		`:7:1: error: limits.connections: want a whole number from 1 to 2147483647, not 0`,
		`:8:2: error: unknown section [shutdwn]; did you mean [shutdown]?`,
	}
	slices.Sort(lines)
	if !slices.Equal(lines, wantLines) {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	write(t, path, []byte("nonsense"))
	if settings, problems = LoadSettings(path, Options{}); len(problems) != 1 || !reflect.DeepEqual(settings, DefaultSettings()) {
		t.Errorf("nonsense: %s", problemText(problems))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(legacyFile))
	f.Add([]byte(targetFile))
	f.Add([]byte("[service]\nname = \"x\"\nexec = [\"a\"]\nlimits = {core = \"1:2\"}\nenv = {\"a b\" = \"\\u0001\"}\n[cgroup]\ncpu_max = \"5%\""))
	f.Add([]byte("[[service]]\nname = 'x'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := Parse("/etc/x.toml", data, Options{})
		if c == nil {
			if len(problems) == 0 {
				t.Fatal("refused without a problem")
			}
			return
		}
		text := TOML(c)
		read, problems := Parse("/etc/x.toml", text, Options{})
		equal(t, "TOML", c, read, problems, text)
		document := JSON(c)
		read, problems = ParseJSON(document, Options{})
		equal(t, "JSON", c, read, problems, document)
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(legacyGet))
	f.Add([]byte(targetGet))
	f.Add([]byte(`{"service":{"name":"x","exec_argv":["a"],"env":{"a":null}},"health":{"target_argv":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := ParseJSON(data, Options{})
		if c == nil {
			if len(problems) == 0 {
				t.Fatal("refused without a problem")
			}
			return
		}
		document := JSON(c)
		read, problems := ParseJSON(document, Options{})
		equal(t, "JSON", c, read, problems, document)
	})
}

// writeMany fills a directory with n services of the benchmark's shape.
func writeMany(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		c := New(fmt.Sprintf("s%05d", i), false)
		c.Exec.Line = "sleep 1000"
		c.Env = map[string]string{"A": "1"}
		if i > 0 {
			c.Deps.Requires = []string{fmt.Sprintf("s%05d", i/2)}
		}
		if err := os.WriteFile(filepath.Join(dir, c.Name+".toml"), TOML(c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func BenchmarkLoad10000(b *testing.B) {
	dir := writeMany(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if loaded := Load([]string{dir}, Options{Trust: true}); loaded.Graph.Len() != 10_000 {
			b.Fatal("not all were loaded")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Parse("x.toml", []byte(legacyFile), Options{})
	}
}

// TestBrokenKeepsOnExit: a file that cannot be used still says whether the stack ends with its service.
func TestBrokenKeepsOnExit(t *testing.T) {
	for text, want := range map[string]graph.OnExit{
		"[service]\nname = \"a\"\nexec = sleep\n[lifecycle]\non_exit = \"shutdown\"\n": graph.OnExitShutdown,
		"[service]\nnonsense = 1\n[lifecycle]\n  on_exit='shutdown' # yes\n":           graph.OnExitShutdown,
		"nonsense = 1\nlifecycle = {on_exit = \"shutdown\", max_restarts = 1}\n":       graph.OnExitShutdown,
		"[service]\nnonsense = 1\n[lifecycle]\n# on_exit = \"shutdown\"\n":             graph.OnExitContinue,
		"[service]\nnonsense = 1\n[lifecycle]\non_exit = \"continue\"\n":               graph.OnExitContinue,
		"[service]\nnonsense = 1\n[lifecycle]\non_exit =\n":                            graph.OnExitContinue,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		loaded := Load([]string{dir}, Options{})
		if len(loaded.Broken) != 1 || loaded.Broken[0].OnExit != want {
			t.Errorf("%q: %+v, want %s", text, loaded.Broken, want)
		}
	}
}
