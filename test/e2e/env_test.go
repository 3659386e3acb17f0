package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// environment reads what a running service was started with.
func environment(t *testing.T, s *testkit.Server, name string) map[string]string {
	t.Helper()
	pid := s.AwaitState(s.Client(), name, "running").PID
	out := map[string]string{}
	s.Await("the environment", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for kv := range strings.SplitSeq(string(b), "\x00") {
			if k, v, ok := strings.Cut(kv, "="); ok {
				out[k] = v
			}
		}
		return len(out) > 0
	})
	return out
}

// TestEnvironment: where each variable comes from, and which wins; env_file is read at each start.
func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\nFROM_FILE=one\nexport QUOTED=\"a  bc\\\"d\"\nBOTH=file\nDOLLAR=$HOME\nINHERITED=file\n")
	s := testkit.Start(t, map[string]string{
		"a.toml":        service("a", sleeper+fmt.Sprintf("env_file = %q\nenv = {BOTH = \"env\", OWN = \"x\"}\n", file)),
		"optional.toml": service("optional", sleeper+"env_file = \"-/nowhere/env\"\n"),
		"words.toml":    service("words", "exec = [\"sleep\", \"${N}00001\", \"$N$N\"]\nexpand = true\nenv = {N = \"1\"}\n"),
		"literal.toml":  service("literal", "exec = [\"sh\", \"-c\", \"for i in 1 2; do echo $i; done; exec sleep 100\"]\n"),
	}, testkit.Options{Env: []string{"INHERITED=server", "KEPT=server"}})
	env := environment(t, s, "a")
	for name, want := range map[string]string{"FROM_FILE": "one", "QUOTED": "a  bc\"d", "BOTH": "env", "DOLLAR": "$HOME", "INHERITED": "file",
		"KEPT": "server", "OWN": "x", "ZINIT_SERVICE": "a", "ZINIT_SOCKET": s.Socket} {
		if env[name] != want {
			t.Errorf("%s = %q, want %q", name, env[name], want)
		}
	}
	if !strings.HasPrefix(env["ZINIT_ID"], "a.") {
		t.Errorf("ZINIT_ID = %q", env["ZINIT_ID"])
	}
	environment(t, s, "optional")
	c := s.Client()
	if cmd := procFile(t, s.AwaitState(c, "words", "running").PID, "cmdline"); cmd != "sleep\x00100001\x0011\x00" {
		t.Errorf("words: %q", cmd)
	}
	s.Await("an array to be what it says", func() bool {
		out, _, _ := s.Zinit("logs", "literal", "-o", "cat")
		return out == "1\n2\n"
	})

	write("FROM_FILE=two\n")
	if _, stderr, code := s.Zinit("restart", "a"); code != 0 {
		t.Fatalf("restart: %s", stderr)
	}
	if env := environment(t, s, "a"); env["FROM_FILE"] != "two" || env["QUOTED"] != "" {
		t.Errorf("after a restart: %q %q", env["FROM_FILE"], env["QUOTED"])
	}
	write("FROM_FILE='open\n")
	if _, _, code := s.Zinit("restart", "a"); code == 0 {
		t.Error("a restart with a broken env_file is no failure")
	}
	s.Await("the start to fail", func() bool {
		st, err := c.StatusFull(ctx, "a")
		r := st.State.Reason
		return err == nil && r != nil && r.Type == "spawn_error" && r.Kind == "env_file" && strings.Contains(r.Message, file+":1")
	})
}

// TestEnvironmentFollowsUser: HOME, USER, LOGNAME and SHELL are the user's, unless the file says otherwise; without HOME
// and PATH there are defaults.
func TestEnvironmentFollowsUser(t *testing.T) {
	need.Root(t)
	s := testkit.Start(t, map[string]string{
		"n.toml":      service("n", sleeper+"user = \"daemon\"\n"),
		"set.toml":    service("set", sleeper+"user = \"daemon\"\nenv = {HOME = \"/elsewhere\"}\n"),
		"number.toml": service("number", sleeper+"user = \"4242\"\ngroup = \"4242\"\n"),
		"r.toml":      service("r", sleeper),
	}, testkit.Options{Env: []string{"HOME=/server", "USER=server", "LOGNAME=server", "SHELL=/server"}})
	n := environment(t, s, "n")
	if n["HOME"] != "/usr/sbin" || n["USER"] != "daemon" || n["LOGNAME"] != "daemon" || n["SHELL"] != "/usr/sbin/nologin" {
		t.Errorf("user daemon: %v", n)
	}
	if env := environment(t, s, "set"); env["HOME"] != "/elsewhere" {
		t.Errorf("env wins: HOME = %q", env["HOME"])
	}
	if env := environment(t, s, "r"); env["HOME"] != "/server" {
		t.Errorf("without user: HOME = %q", env["HOME"])
	}
	if env := environment(t, s, "number"); env["HOME"] == "/server" || env["USER"] == "server" {
		t.Errorf("a number without an entry has the server's: HOME = %q USER = %q", env["HOME"], env["USER"])
	}
}

// TestChecksRunAsTheService: an exec check has the service's user, directory, environment and limits, and its
// output is shown.
func TestChecksRunAsTheService(t *testing.T) {
	need.Root(t)
	bothWays(t, func(t *testing.T, env []string) {
		s := testkit.Start(t, map[string]string{"h.toml": service("h", sleeper+"user = \"nobody\"\ndir = \"/usr\"\nenv = {COLOUR = \"blue\"}\n"+
			"[health]\ntype = \"exec\"\ntarget = 'echo $(id -un) $(pwd) $COLOUR $ZINIT_SERVICE $(tail -n1 /proc/self/cgroup)'\n")}, testkit.Options{Env: env})
		c := s.Client()
		st := s.AwaitState(c, "h", "running")
		if st.Health == nil || !strings.HasPrefix(st.Health.LastDetail, "nobody /usr blue h 0::") {
			t.Fatalf("the check printed %+v", st.Health)
		}
		if st.Cgroup != "" && !strings.Contains(st.Health.LastDetail, filepath.Base(st.Cgroup)+"/h-") {
			t.Errorf("the check ran in %q, the limits are in %s", st.Health.LastDetail, st.Cgroup)
		}
	})
}
