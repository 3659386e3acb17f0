package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

// belongingsIn is Belongings with their places below dir.
func belongingsIn(dir string) *Belongings {
	b := NewBelongings(nil)
	b.places = [graph.NDirs]string{dir + "/run", dir + "/lib", dir + "/cache", dir + "/log"}
	b.credentials = dir + "/run/zinit/credentials/x"
	return b
}

// listing is what lies below a directory: names, permissions, owners.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return err
		}
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			fmt.Fprintf(&b, "%s %04o %d:%d\n", rel, st.Mode&0o7777, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBelongings(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("p4ss\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &graph.Config{Name: "web", Identity: graph.Identity{User: "54321", Group: "54322"}, Credentials: map[string]string{"db": secret}}
	for kind := range c.Dirs {
		c.Dirs[kind].Mode = 0o755
	}
	c.Dirs[graph.DirRuntime] = graph.Dir{Names: []string{"web", "group/web"}, Mode: 0o750}
	c.Dirs[graph.DirState].Names = []string{"web"}
	// Somebody else's state, which the service gets, and a link out of it, which stays what it is.
	if err := os.MkdirAll(dir+"/lib/web/deep", 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, dir+"/lib/web/deep/link"); err != nil {
		t.Fatal(err)
	}
	b := belongingsIn(dir)
	if err := b.Make(c, 1); err != nil {
		t.Fatal(err)
	}
	const made = `lib 0700 0:0
lib/web 0755 54321:54322
lib/web/deep 0700 54321:54322
lib/web/deep/link 0777 54321:54322
outside 0600 0:0
run 0755 0:0
run/group 0755 0:0
run/group/web 0750 54321:54322
run/web 0750 54321:54322
run/zinit 0711 0:0
run/zinit/credentials 0711 0:0
run/zinit/credentials/x 0711 0:0
run/zinit/credentials/x/web 0500 54321:54322
run/zinit/credentials/x/web/db 0400 54321:54322
secret 0600 0:0
`
	if got := listing(t, dir); got != made {
		t.Errorf("made\n%swant\n%s", got, made)
	}
	env := strings.Join(b.Environ(c), "\n")
	want := strings.ReplaceAll("RUNTIME_DIRECTORY=D/run/web:D/run/group/web\nSTATE_DIRECTORY=D/lib/web\n"+
		"CREDENTIALS_DIRECTORY=D/run/zinit/credentials/x/web", "D/", dir+"/")
	if env != want {
		t.Errorf("environment\n%s\nwant\n%s", env, want)
	}

	late := b.Clear(c, false)
	if err := os.WriteFile(dir+"/run/web/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Make(c, 2); err != nil { // the next incarnation is there before the last one is cleared
		t.Fatal(err)
	}
	if err := late(); err != nil || !strings.Contains(listing(t, dir), "run/web/file") {
		t.Errorf("clearing after the last incarnation took what is the next one's (%v)", err)
	}
	if err := b.Clear(c, true)(); err != nil || strings.Contains(listing(t, dir), "db") || !strings.Contains(listing(t, dir), "run/web/file") {
		t.Errorf("a finished oneshot has\n%s(%v)", listing(t, dir), err)
	}
	if err := b.Make(c, 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Clear(c, false)(); err != nil {
		t.Error(err)
	}
	if got := listing(t, dir); strings.Contains(got, "/web 0750") || strings.Contains(got, "db") || !strings.Contains(got, "lib/web/deep") {
		t.Errorf("cleared\n%s", got)
	}
	if clear := b.Clear(&graph.Config{Name: "other"}, false); clear != nil {
		t.Error("there is something to clear for a service that has nothing")
	}

	if err := b.Make(c, 4); err != nil {
		t.Fatal(err)
	}
	b.Sweep(func(service string) bool { return service == "web" })
	if !strings.Contains(listing(t, dir), "web/db") {
		t.Error("the credentials of a service that runs are gone")
	}
	b.Sweep(func(string) bool { return false })
	if strings.Contains(listing(t, dir), "db") {
		t.Error("credentials that a dead server has left stay")
	}
}

func TestBelongingsFailures(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	b := belongingsIn(dir)
	if err := os.MkdirAll(dir+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, owner := range map[string]int{"own": 0, "foreign": 54321} {
		if err := os.Symlink(dir, dir+"/run/"+name); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(dir+"/run/"+name, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/run/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runtime := func(name string) *graph.Config {
		c := &graph.Config{Name: "a"}
		c.Dirs[graph.DirRuntime] = graph.Dir{Names: []string{name}, Mode: 0o755}
		return c
	}
	for _, test := range []struct {
		c            *graph.Config
		step, detail string
	}{
		{runtime("own"), "", ""},
		{runtime("own/below"), "", ""},
		{runtime("foreign/below"), "runtime_dir", "cannot make the runtime_dir D/run/foreign/below: foreign is a symbolic link of user 54321"},
		{runtime("file"), "runtime_dir", "cannot make the runtime_dir D/run/file: not a directory"},
		{&graph.Config{Name: "a", Credentials: map[string]string{"db": dir + "/none"}}, StepCredentials,
			"cannot read the credential db from D/none: no such file or directory"},
		{&graph.Config{Name: "a", Credentials: map[string]string{"db": dir}}, StepCredentials,
			"cannot read the credential db from D: not a regular file"},
	} {
		err := b.Make(test.c, 1)
		if want := strings.ReplaceAll(test.detail, "D/", dir+"/"); detail(err) != strings.ReplaceAll(want, "from D:", "from "+dir+":") ||
			err != nil && err.Step != test.step {
			t.Errorf("got %+v, want %s %s", err, test.step, want)
		}
		b.of = map[string]*belonging{}
	}
}

func init() {
	helpers["belongings"] = func(args []string) {
		b := belongingsIn(args[0])
		c := &graph.Config{Name: "a", Credentials: map[string]string{"self": "/proc/self/exe"}}
		c.Credentials["self"] = args[0] + "/own"
		if err := os.WriteFile(c.Credentials["self"], []byte("x"), 0o600); err != nil {
			fmt.Println(err)
		}
		c.Dirs[graph.DirRuntime] = graph.Dir{Names: []string{"a"}, Mode: 0o555}
		if err := b.Make(c, 1); err != nil {
			fmt.Println(err)
		}
		fmt.Println(os.ReadDir(filepath.Join(b.credentials, "a")))
		fmt.Println(b.Clear(c, false)())
		left, _ := os.ReadDir(args[0] + "/run")
		fmt.Println(len(left))
	}
}

// TestBelongingsOfAUser: a server without privileges can remove what nobody may write.
func TestBelongingsOfAUser(t *testing.T) {
	need.Root(t)
	dir := readable(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := &Spec{Plan: Plan{Argv: []string{"helper", dir}}, Files: o.files(t), Identity: graph.Identity{User: "54321", Group: "54321"},
		Env: []string{helperVariable + "=belongings"}}
	makeReachable(t, s)
	pid := mustStart(t, s)
	if got, want := o.all(t), "[- self] <nil>\n<nil>\n1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	waitPID(pid)
}

func TestSecretsInTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"ok": "p4ss word\r\n\n", "nul": "p4ss\x00", "long": strings.Repeat("x", secretMax+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"ok": "p4ss word", "nul": "cannot set PW from D/nul: a NUL byte", "none": "cannot set PW from D/none: no such file or directory",
		"long": "cannot set PW from D/long: larger than 131072 bytes",
	} {
		env, err := Environ([]string{"PW=base"}, &graph.Config{Name: "a", EnvFromFile: map[string]string{"PW": filepath.Join(dir, file)}}, 1)
		got, _ := Getenv(env, "PW")
		if err != nil {
			got = err.Detail
		}
		if got != strings.ReplaceAll(want, "D/", dir+"/") {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}
