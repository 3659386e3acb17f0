package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestDirectoriesAndSecrets: what is made for a service is there for its user from pre_start on,
// and gone with it; a oneshot that is done keeps what it has made for others; no command shows a
// secret.
func TestDirectoriesAndSecrets(t *testing.T) {
	need.Root(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("p4ssw0rd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("zinit-test-%d", os.Getpid())
	run := filepath.Join("/run", name)
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	s := testkit.Start(t, map[string]string{
		"a.toml": service("a", fmt.Sprintf(`exec = ["sh", "-c", '[ "$(cat "$CREDENTIALS_DIRECTORY/db")" = "$PW" ] && echo ready; exec sleep 1000']
user = "65534"
group = "65534"
runtime_dir = "%s/a"
runtime_dir_mode = "0700"
pre_start = ["sh", "-c", 'id -u > "$RUNTIME_DIRECTORY/pre"; cat "$CREDENTIALS_DIRECTORY/db" > /dev/null']
credentials = { db = %q }
env_from_file = { PW = %[2]q }
`, name, secret)),
		"o.toml": service("o", fmt.Sprintf("oneshot = true\nruntime_dir = %q\nexec = ['sh', '-c', 'echo x > $RUNTIME_DIRECTORY/made']\n", name+"/o")),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "o", "exited")
	s.Await("the service to have read its secrets", func() bool {
		out, _, _ := s.Zinit("logs", "a", "-o", "cat")
		return out == "ready\n"
	})
	credentials := environment(t, s, "a")["CREDENTIALS_DIRECTORY"]
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if pre, _ := os.ReadFile(run + "/a/pre"); string(pre) != "65534\n" || !there(credentials+"/db") || !there(run+"/o/made") {
		t.Errorf("pre_start saw %q; credentials %v, of the oneshot %v", pre, there(credentials+"/db"), there(run+"/o/made"))
	}
	for _, args := range [][]string{{"get", "a", "-o", "json"}, {"get", "a"}, {"plan"}, {"status", "a", "-o", "json"}, {"why", "a"}} {
		if out, stderr, _ := s.Zinit(args...); strings.Contains(out+stderr, "p4ssw0rd") {
			t.Errorf("%v shows a secret: %s%s", args, out, stderr)
		}
	}
	if _, stderr, code := s.Zinit("stop", "a", "o"); code != 0 {
		t.Fatal(stderr)
	}
	s.Await("what belonged to them to be gone", func() bool {
		return !there(credentials) && !there(run+"/a") && !there(run+"/o")
	})
	if _, stderr, code := s.Zinit("start", "a"); code != 0 {
		t.Fatal(stderr)
	}
	if !there(run+"/a/pre") || !there(credentials+"/db") {
		t.Error("nothing was made for the second start")
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	if there(run+"/a") || there(credentials) {
		t.Error("the server ended before what belonged to its services was gone")
	}
	if strings.Contains(s.Logs(), "p4ssw0rd") {
		t.Error("the log has a secret")
	}
}

// TestSecretsThatAreMissing: a start without them fails, and says which.
func TestSecretsThatAreMissing(t *testing.T) {
	s := testkit.Start(t, map[string]string{
		"a.toml": service("a", sleeper+"credentials = { db = \"/nowhere/db\" }\n"),
		"b.toml": service("b", sleeper+"env_from_file = { PW = \"/nowhere/pw\" }\n"),
	}, testkit.Options{})
	c := s.Client()
	for name, want := range map[string][2]string{
		"a": {"credentials", "cannot read the credential db from /nowhere/db: no such file or directory"},
		"b": {"env_from_file", "cannot set PW from /nowhere/pw: no such file or directory"},
	} {
		r := s.AwaitState(c, name, "failed").State.Reason
		if r == nil || r.Kind != want[0] || !strings.Contains(r.Message, want[1]) {
			t.Errorf("%s: %+v, want %v", name, r, want)
		}
	}
}
