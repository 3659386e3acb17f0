package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
)

// TestChangedOnDisk: who restarts a service whose file was edited hears that the old definition
// counts, also after a crash of the server; a reload finds env files that say something else than
// when the service started.
func TestChangedOnDisk(t *testing.T) {
	dir := t.TempDir()
	env := filepath.Join(dir, "a.env")
	write := func(text string) {
		if err := os.WriteFile(env, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("A=1\n")
	files := map[string]string{
		"a.toml": service("a", sleeper+fmt.Sprintf("env_file = %q\n", env)),
		"b.toml": service("b", sleeper),
	}
	s := testkit.Start(t, files, testkit.Options{Applet: "pid1"})
	c := s.Client()
	first := s.AwaitState(c, "a", "running").PID
	s.AwaitState(c, "b", "running")
	onDisk := func(name string) string {
		full, err := c.StatusFull(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return full.ChangedOnDisk
	}
	if got := onDisk("a") + onDisk("b"); got != "" {
		t.Errorf("nothing was edited: %s", got)
	}
	write("# the same\nA = 1\n")
	if got := onDisk("a"); got != "" {
		t.Errorf("the variables are the same: %s", got)
	}
	write("A=2\n")
	before, err := c.Ping(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the next server to know", func() bool {
		next, err := rpc.Dial(ctx, s.Socket)
		if err != nil {
			return false
		}
		defer next.Close()
		full, err := next.StatusFull(ctx, "a")
		return err == nil && full.State.State == "running" && full.ChangedOnDisk == "env_file" && full.PID == first
	})
	plan, _, _ := s.Zinit("plan")
	if !strings.Contains(plan, "a  restart  env_file changed") || strings.Contains(plan, " b ") {
		t.Errorf("plan: %s", plan)
	}
	if _, stderr, code := s.Zinit("add-service", "other", "--exec", "sleep 1000"); code != 0 {
		t.Fatal(stderr)
	}
	if pid := s.AwaitState(s.Client(), "a", "running").PID; pid != first {
		t.Error("adding another service restarted one whose env_file changed")
	}
	s.Write(map[string]string{"b.toml": service("b", "exec = \"sleep 2000000\"\n")})
	_, stderr, code := s.Zinit("restart", "b")
	if want := "b: changed on disk: exec; what was loaded before counts (apply it: zinit reload)\n"; code != 0 || stderr != want {
		t.Errorf("restart: %d %q, want %q", code, stderr, want)
	}
	write("nonsense\n")
	if out, stderr, code := s.Zinit("reload"); code != 0 || !strings.Contains(stderr, "what runs keeps what it has read") ||
		!strings.Contains(out, "b  restart  exec changed") || strings.Contains(out, " a ") {
		t.Errorf("reload with an env_file that cannot be read: %d\n%s%s", code, out, stderr)
	}
	write("A=3\n")
	if out, stderr, code := s.Zinit("reload"); code != 0 || !strings.Contains(out, "a  restart  env_file changed") {
		t.Errorf("reload: %d\n%s%s", code, out, stderr)
	}
	if got := environment(t, s, "a")["A"]; got != "3" {
		t.Errorf("after the reload A=%s", got)
	}
	if err := os.Remove(filepath.Join(s.Dir, "b.toml")); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := s.Zinit("status", "b"); !strings.Contains(out, "changed on disk: its file is gone (zinit reload)") {
		t.Errorf("status: %s", out)
	}
}
