package survival

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
)

// TestUpgradeOfALoneServerWithMuch: what a server without a keeper passes on may be longer than a variable of the
// environment can be (128 KiB). The names are long, so that fewer processes do.
func TestUpgradeOfALoneServerWithMuch(t *testing.T) {
	const services = 400
	files := map[string]string{}
	name := func(i int) string { return fmt.Sprintf("s%d-%s", i, strings.Repeat("x", 100)) }
	for i := range services {
		files[name(i)+".toml"] = fmt.Sprintf("[service]\nname = %q\nexec = \"sleep 100000\"\n", name(i))
	}
	s := testkit.Start(t, files, testkit.Options{})
	first := s.AwaitState(s.Client(), name(0), "running")
	before := s.Client() // one: on a busy machine the polls would be more than a server takes clients
	s.Await("all services", func() bool {
		st, err := before.SystemStatus(ctx)
		return err == nil && st.Counts["running"] == services
	})
	if out, stderr, code := s.Zinit("upgrade"); code != 0 || !strings.Contains(out, "upgraded from") {
		t.Fatalf("exit code %d: %s%s", code, out, stderr)
	}
	c := s.Client()
	st, err := c.SystemStatus(ctx)
	if err != nil || st.Counts["running"] != services || st.LastUpgrade == nil || st.LastUpgrade.Outcome != "done" {
		t.Errorf("%+v, %v", st, err)
	}
	if now := s.AwaitState(c, name(0), "running"); now.PID != first.PID || now.Incarnation != first.Incarnation {
		t.Errorf("%d.%d, before %d.%d", now.PID, now.Incarnation, first.PID, first.Incarnation)
	}
}

// TestUpgradeThatComesToNothing: the command ends with 1 and the reason, and the service goes on.
func TestUpgradeThatComesToNothing(t *testing.T) {
	bin := testkit.Binary(t, "zinit_fault")
	for _, applet := range applets {
		points := t.TempDir()
		s := testkit.Start(t, map[string]string{"one.toml": sleeper},
			testkit.Options{Applet: applet, Bin: bin, Env: []string{"ZINIT_FAULT=" + points}})
		one := s.AwaitState(s.Client(), "one", "running")
		next := copyOf(t, bin, "next", nil)
		point := filepath.Join(points, "exec")
		if err := os.WriteFile(point, []byte("wait"), 0o600); err != nil {
			t.Fatal(err)
		}
		go func() {
			s.Await("the exec", func() bool { _, err := os.Stat(point + ".here"); return err == nil })
			_ = os.Chmod(next, 0o644) // now it cannot be executed any more
			_ = os.Remove(point)
		}()
		_, stderr, code := s.Zinit("upgrade", next)
		if code != 1 || !strings.Contains(stderr, "failed: permission denied; version") {
			t.Errorf("%s: exit code %d: %s", applet, code, stderr)
		}
		if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
			t.Errorf("%s: pid %d, before %d", applet, now.PID, one.PID)
		}
		if out, stderr, code := s.Zinit("upgrade", copyOf(t, bin, "good", nil)); code != 0 {
			t.Errorf("%s: the next upgrade: %d %s%s", applet, code, out, stderr)
		}
	}
}

// TestUpgradeTakenBack: an executable that passes its self test and dies at once. With a keeper the version before is
// back when the command ends; without one there is none to go back to.
func TestUpgradeTakenBack(t *testing.T) {
	bad := program(t, badProgram)
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1"})
	one := s.AwaitState(s.Client(), "one", "running")
	if _, stderr, code := s.Zinit("upgrade", bad); code != 1 || !strings.Contains(stderr, "was taken back: "+bad+" died 3 times") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
		t.Errorf("pid %d, before %d", now.PID, one.PID)
	}
	lone := testkit.Start(t, nil, testkit.Options{})
	if _, stderr, code := lone.Zinit("upgrade", bad); code != 1 || !strings.Contains(stderr, "the server ended in the upgrade") {
		t.Errorf("alone: exit code %d: %s", code, stderr)
	}
	lone.Wait()
}
