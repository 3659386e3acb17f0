package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

// envFormats are the formats of env files, and the tables of what each reads.
var envFormats = map[graph.EnvFormat]string{
	graph.EnvDotenv: "envfile.txt", graph.EnvSh: "envfile-sh.txt", graph.EnvSystemd: "envfile-systemd.txt",
}

func TestEnvFilesReadAsTheTableSays(t *testing.T) {
	for format, table := range envFormats {
		for _, b := range blocks(t, table) {
			text := strings.ReplaceAll(strings.Join(b.input, "\n")+"\n", `\r`+"\n", "\r\n")
			file := EnvFile{}
			err := file.parse(text, format)
			var got []string
			for _, v := range file.Vars {
				got = append(got, "= "+v.Name+" "+strconv.Quote(v.Value))
			}
			for _, line := range file.Ignored {
				got = append(got, "~ "+strconv.Itoa(line))
			}
			if err != nil {
				got = []string{"! " + strconv.Itoa(file.Line) + ": " + err.Error()}
			}
			if !slices.Equal(got, b.want) {
				t.Errorf("%s:%d:\n%s\n got %s\nwant %s", table, b.line, text, strings.Join(got, "\n     "),
					strings.Join(b.want, "\n     "))
			}
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	for _, table := range envFormats {
		for _, b := range blocks(f, table) {
			f.Add(strings.Join(b.input, "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, data string) {
		for format := range envFormats {
			file := EnvFile{}
			err := file.parse(data, format)
			if (err != nil) != (file.Line > 0) {
				t.Fatalf("%s: error %v, line %d", format, err, file.Line)
			}
			for _, v := range file.Vars {
				if v.Name == "" || strings.ContainsAny(v.Name, "=\x00\n ") || strings.IndexByte(v.Value, 0) >= 0 {
					t.Fatalf("%s: bad pair %q", format, v)
				}
			}
		}
	})
}

// TestEnvFilesInOrder: a later file wins over an earlier one, and a broken one says where.
func TestEnvFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "X=a\nA=1\n", "b": "X=b\nB=2\n", "bad": "A=1\n\"secret\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &graph.Config{Name: "s", Source: filepath.Join(dir, "s.toml"), EnvFiles: []string{"a", "-none", filepath.Join(dir, "b")}}
	env, err := Environ(nil, c, 1)
	if got := strings.Join(env[:3], " "); err != nil || got != "X=b A=1 B=2" {
		t.Errorf("got %s, %v", got, err)
	}
	c.EnvFiles = append(c.EnvFiles, "bad")
	_, err = Environ(nil, c, 1)
	want := "cannot read env_file " + dir + "/bad:2: want NAME=VALUE with a name of letters, digits, _ . and -"
	if got := detail(err); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnvironLayers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if err := os.WriteFile(file, []byte("FILE=1\nBOTH=file\nUSER=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"HOME=/root", "USER=boss", "LANG=C", "BOTH=base", "ZINIT_SOCKET=/run/z", "ZINIT_LENIENT=1", "ZINIT_ID=old.1",
		"NOTIFY_SOCKET=/n", "LISTEN_FDS=1", "WATCHDOG_USEC=1", "JOURNAL_STREAM=1:2", "=odd", "noequals"}
	c := &graph.Config{Name: "web", Env: map[string]string{"BOTH": "env", "Z": "1", "A": "2"}, EnvFiles: []string{"env"}, Source: dir + "/web.toml"}
	got, err := Environ(base, c, 7, "NOTIFY_SOCKET=@x")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"HOME=/root", "USER=file", "LANG=C", "BOTH=env", "ZINIT_SOCKET=/run/z", "FILE=1", "A=2", "Z=1",
		"ZINIT_SERVICE=web", "ZINIT_ID=web.7", "NOTIFY_SOCKET=@x", "PATH=" + DefaultPath}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if filtered, _ := Environ(BaseEnviron(base), c, 7, "NOTIFY_SOCKET=@x"); !slices.Equal(filtered, want) {
		t.Errorf("with a filtered base: %q", filtered)
	}
}

func TestEnvironDefaults(t *testing.T) {
	got, err := Environ(nil, &graph.Config{Name: "a"}, 1)
	want := []string{"ZINIT_SERVICE=a", "ZINIT_ID=a.1", "PATH=" + DefaultPath, "HOME=/"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	got, _ = Environ([]string{"PATH=", "HOME="}, &graph.Config{Name: "a"}, 1)
	if !slices.Equal(got, []string{"PATH=", "HOME=", "ZINIT_SERVICE=a", "ZINIT_ID=a.1"}) {
		t.Errorf("empty is not unset: %q", got)
	}
}

func TestEnvironFollowsTheUser(t *testing.T) {
	withAccounts(t, "root:x:0:0::/root:/bin/bash\nweb:x:1234:1235::/srv/web:\n# web2:x:1:1::/:\nbroken:x:y\n", "")
	base := []string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash"}
	for _, name := range []string{"web", "1234"} {
		c := &graph.Config{Name: "a", Identity: graph.Identity{User: name}}
		got, err := Environ(base, c, 1)
		want := []string{"HOME=/srv/web", "USER=web", "LOGNAME=web", "SHELL=/bin/sh"}
		if err != nil || !slices.Equal(got[:4], want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	c := &graph.Config{Name: "a", Identity: graph.Identity{User: "web"}, Env: map[string]string{"HOME": "/elsewhere"}}
	if got, _ := Environ(base, c, 1); got[0] != "HOME=/elsewhere" {
		t.Errorf("env must win over the user's: %q", got)
	}
	for _, name := range []string{"nobody-here", "broken", "web2", "4294967295", "-1"} {
		c := &graph.Config{Name: "a", Identity: graph.Identity{User: name}}
		if _, err := Environ(base, c, 1); err == nil || err.Step != StepUser {
			t.Errorf("user %s: got %v", name, err)
		}
	}
}

// withAccounts replaces /etc/passwd and /etc/group for a test that is not parallel.
func withAccounts(t *testing.T, passwd, group string) {
	t.Helper()
	oldPasswd, oldGroup := passwdFile, groupFile
	t.Cleanup(func() { passwdFile, groupFile = oldPasswd, oldGroup })
	dir := t.TempDir()
	passwdFile, groupFile = dir+"/passwd", dir+"/group"
	for file, text := range map[string]string{passwdFile: passwd, groupFile: group} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnvFileMissingOrOdd(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ file, want string }{
		{"-" + dir + "/none", ""},
		{dir + "/none", "cannot read env_file " + dir + "/none: no such file or directory; - before the name lets it be missing"},
		{dir, "cannot read env_file " + dir + ": not a regular file"},
		{"/dev/zero", "cannot read env_file /dev/zero: not a regular file"},
	} {
		_, err := Environ(nil, &graph.Config{Name: "a", EnvFiles: []string{test.file}}, 1)
		if got := detail(err); got != test.want {
			t.Errorf("%s: got %q, want %q", test.file, got, test.want)
		}
	}
}

func detail(err *Error) string {
	if err == nil {
		return ""
	}
	return err.Detail
}

func TestIDs(t *testing.T) {
	for _, name := range []string{"a", "a.b", "x.7"} {
		service, gen, ok := ParseID(ID(name, 42))
		if !ok || service != name || gen != 42 {
			t.Errorf("%s: %s %d %v", name, service, gen, ok)
		}
	}
	for _, bad := range []string{"", ".", ".1", "a", "a.", "a.x", "a.-1"} {
		if _, _, ok := ParseID(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestResolveIdentity(t *testing.T) {
	need.Root(t)
	withAccounts(t, "web:x:1234:1235::/srv/web:/bin/sh\n", "web:x:1235:\nwww:x:50:other,web\nssl:x:51:web\nlog:x:52:webx\n")
	for _, test := range []struct {
		id   graph.Identity
		want *Credential
		step string
	}{
		{graph.Identity{}, nil, ""},
		{graph.Identity{User: "web"}, &Credential{UID: 1234, GID: 1235, Groups: []int{50, 51}}, ""},
		{graph.Identity{User: "1234"}, &Credential{UID: 1234, GID: 1235, Groups: []int{50, 51}}, ""},
		{graph.Identity{User: "web", Group: "log", Groups: []string{}}, &Credential{UID: 1234, GID: 52}, ""},
		{graph.Identity{User: "web", Groups: []string{"ssl", "77"}}, &Credential{UID: 1234, GID: 1235, Groups: []int{51, 77}}, ""},
		{graph.Identity{User: "999", Group: "999"}, &Credential{UID: 999, GID: 999}, ""},
		{graph.Identity{Group: "ssl"}, &Credential{GID: 51, KeepGroups: true}, ""},
		{graph.Identity{User: "999"}, nil, StepUser},
		{graph.Identity{User: "nobody-here"}, nil, StepUser},
		{graph.Identity{Group: "nobody-here"}, nil, StepGroup},
		{graph.Identity{User: "web", Groups: []string{"nobody-here"}}, nil, StepGroups},
	} {
		got, err := ResolveIdentity(&test.id)
		if err != nil || test.step != "" {
			if err == nil || err.Step != test.step {
				t.Errorf("%+v: error %v, want step %q", test.id, err, test.step)
			}
			continue
		}
		if (got == nil) != (test.want == nil) || got != nil && (got.UID != test.want.UID || got.GID != test.want.GID ||
			got.KeepGroups != test.want.KeepGroups || !slices.Equal(got.Groups, test.want.Groups)) {
			t.Errorf("%+v: got %+v, want %+v", test.id, got, test.want)
		}
	}
}
