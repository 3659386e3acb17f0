package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestRightsOfAStranger: a user who reaches the socket and may see states only learns nothing that a definition, a check
// or a hook said, by any command; root does, so the secrets are there to be seen.
func TestRightsOfAStranger(t *testing.T) {
	need.Root(t)
	s := testkit.Start(t, map[string]string{
		"url.toml": service("url", sleeper+
			"[health]\ntype = \"http\"\ntarget = \"http://user:s3cr3t-url@127.0.0.1:1/\"\ninterval_ms = 20\n"),
		"check.toml": service("check", sleeper+
			"[health]\ntype = \"exec\"\ntarget = \"echo s3cr3t-check; exit 1\"\ninterval_ms = 20\nretries = 1\n"+
			"[lifecycle]\nrestart = \"never\"\nstart_timeout_ms = 200\n"),
		"hook.toml": service("hook", sleeper+"pre_start = \"echo s3cr3t-hook; exit 3\"\n[lifecycle]\nrestart = \"never\"\n"),
		"spawn.toml": service("spawn", "exec = [\"/nowhere/s3cr3t-exec\"]\nenv = { A = \"s3cr3t-env\" }\n"+
			"[lifecycle]\nrestart = \"never\"\n"),
		"needs.toml":  service("needs", sleeper+"[dependencies]\nrequires = [\"hook\"]\n"),
		"broken.toml": service("broken", "exec = \"true\"\n[lifecycle]\nstop_signal = \"s3cr3t-signal\"\n"),
		"shown.toml":  service("shown", "exec = [\"sleep\", \"100000\", \"0.0\"]\nenv = { A = \"s3cr3t-env\" }\n"),
	}, testkit.Options{Args: []string{"--socket-mode", "0666"}})
	if err := os.Chmod(filepath.Dir(s.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	for _, name := range []string{"check", "hook", "spawn"} {
		s.AwaitState(c, name, "failed")
	}
	ask := func(uid uint32, args ...string) string {
		cmd := exec.Command(s.Bin, args...)
		cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+s.Socket, "HOME=/")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := ask(0, "status", "url"); !strings.Contains(out, "s3cr3t-url") {
		t.Fatalf("root does not see it either: the test cannot fail\n%s", out)
	}
	commands := []string{"list", "status", "tree", "events", "boot", "why needs", "wait --timeout 100ms url", "wait hook"}
	for _, name := range []string{"url", "check", "hook", "spawn", "needs", "broken", "shown"} {
		commands = append(commands, "status "+name, "why "+name)
	}
	seen := map[string]bool{}
	for _, command := range commands {
		for _, json := range []bool{false, true} {
			args := strings.Fields(command)
			if json {
				args = append(args, "-o", "json")
			}
			out := ask(65534, args...)
			if strings.Contains(out, "s3cr3t") {
				t.Errorf("%s shows a stranger:\n%s", command, out)
			}
			seen[out] = true
		}
	}
	if len(seen) < len(commands) {
		t.Errorf("%d commands gave only %d answers: %v", len(commands), len(seen), fmt.Sprint(seen))
	}
	for command, want := range map[string]string{
		"why hook": "spawn error", "list": "needs", "status shown": "running", "logs shown": "only root may", "plan": "only root may",
	} {
		if out := ask(65534, strings.Fields(command)...); !strings.Contains(out, want) {
			t.Errorf("%s, want %q:\n%s", command, want, out)
		}
	}
}
