package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestHookFailures: hooks that fail, hang or are called off end in bounded time and say so.
func TestHookFailures(t *testing.T) {
	trap := "exec = 'trap \"exit 0\" TERM; echo up; while :; do sleep 0.02; done'\n"
	m := mark(t, 60)
	s := testkit.Start(t, map[string]string{
		"slowpre.toml":  service("slowpre", sleeper+"pre_start = \"echo still busy; sleep "+m+"\"\npre_start_timeout_ms = 1500\n[lifecycle]\nrestart = \"never\"\n"),
		"nopre.toml":    service("nopre", sleeper+"pre_start = \"/nowhere/prepare\"\n[lifecycle]\nrestart = \"never\"\n"),
		"again.toml":    service("again", sleeper+"pre_start = \"exit 3\"\n[lifecycle]\nrestart_delay_ms = 10\nmax_restarts = 3\n"),
		"stopfail.toml": service("stopfail", trap+"stop_command = \"exit 9\"\n"),
		"stophang.toml": service("stophang", trap+"stop_command = \"sleep "+m+"\"\nstop_command_timeout_ms = 200\n"),
		"posthang.toml": service("posthang", sleeper+"post_stop = \"sleep "+m+"\"\npost_stop_timeout_ms = 200\n"),
		"called.toml":   service("called", sleeper+"status = \"stop\"\npre_start = \"sleep "+m+"\"\n"),
	}, testkit.Options{})
	c := s.Client()
	for name, text := range map[string]string{"slowpre": "did not end within", "nopre": "/nowhere/prepare"} {
		r := s.AwaitState(c, name, "failed").State.Reason
		if r.Type != "spawn_error" || r.Kind != "pre_start" || !strings.Contains(r.Message, text) {
			t.Errorf("%s: %+v, want %q", name, r, text)
		}
	}
	if r := s.AwaitState(c, "slowpre", "failed").State.Reason; !strings.Contains(r.Message, "still busy") {
		t.Errorf("the output of pre_start is not in the reason: %q", r.Message)
	}
	s.Await("the policy to give up", func() bool {
		st, err := c.StatusFull(ctx, "again")
		return err == nil && st.State.State == "failed" && st.Restarts == 3 && st.NextRestartMS == nil
	})
	for _, name := range []string{"stopfail", "stophang", "posthang"} {
		s.AwaitState(c, name, "running")
		if name != "posthang" {
			s.Await(name+" to be ready for the signal", hasLine(s, name, "up"))
		}
		began := time.Now()
		if _, stderr, code := s.Zinit("stop", name); code != 0 {
			t.Errorf("stop %s: %d %s", name, code, stderr)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("stop %s took %v", name, d)
		}
	}
	if _, err := c.Start(ctx, "called", change(false)); err != nil {
		t.Fatal(err)
	}
	s.Await("its pre_start", func() bool { return len(marked(m)) > 0 })
	if _, stderr, code := s.Zinit("stop", "called"); code != 0 {
		t.Errorf("stop while pre_start runs: %d %s", code, stderr)
	}
	if left := marked(m); len(left) > 0 {
		t.Errorf("commands of hooks live: %v", left)
	}
}

// TestHooksRunAsTheService: user, directory and environment are the service's, MAINPID and ZINIT_HOOK are told, the output
// is in its log.
func TestHooksRunAsTheService(t *testing.T) {
	need.Root(t)
	show := func(what string) string { return "echo " + what + " $(id -un) $(pwd) $COLOUR $ZINIT_HOOK $MAINPID." }
	s := testkit.Start(t, map[string]string{"h.toml": service("h", sleeper+fmt.Sprintf(
		"user = \"nobody\"\ndir = \"/usr\"\nenv = {COLOUR = \"blue\"}\npre_start = '%s'\npost_stop = '%s'\nreload = '%s'\nstop_command = '%s; kill $MAINPID'\n", show("A"), show("B"), show("C"), show("D")))},
		testkit.Options{})
	pid := s.AwaitState(s.Client(), "h", "running").PID
	if _, stderr, code := s.Zinit("signal-reload", "h"); code != 0 {
		t.Fatal(stderr)
	}
	s.Await("the reload command", hasLine(s, "h", "C nobody"))
	if _, stderr, code := s.Zinit("stop", "h"); code != 0 {
		t.Fatal(stderr)
	}
	for _, want := range []string{"A nobody /usr blue pre_start .", fmt.Sprintf("C nobody /usr blue reload %d.", pid),
		fmt.Sprintf("D nobody /usr blue stop_command %d.", pid), "B nobody /usr blue post_stop ."} {
		s.Await(want, hasLine(s, "h", want))
	}
}

// TestSuccessCodes: exit codes that count as 0, for services, oneshots and what requires them; a reload signal of choice.
func TestSuccessCodes(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	s := testkit.Start(t, map[string]string{
		"three.toml": service("three", "exec = 'sleep 0.05; exit 3'\n[lifecycle]\nsuccess_codes = [3]\n"),
		"once.toml":  service("once", "oneshot = true\nexec = 'exit 3'\n[lifecycle]\nsuccess_codes = [3]\n"),
		"needs.toml": service("needs", sleeper+"[dependencies]\nrequires = [\"once\"]\n"),
		"bad.toml":   service("bad", "oneshot = true\nexec = 'exit 4'\n[lifecycle]\nsuccess_codes = [3]\n"),
		"usr.toml":   service("usr", fmt.Sprintf("reload = \"SIGUSR2\"\nexec = 'trap \"echo usr2 >>%s\" USR2; echo up; while :; do sleep 0.02; done'\n", log)),
		"hup.toml":   service("hup", fmt.Sprintf("exec = 'trap \"echo hup >>%s\" HUP; echo up; while :; do sleep 0.02; done'\n", log)),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "needs", "running")
	if st := s.AwaitState(c, "three", "exited"); st.State.ExitCode == nil || *st.State.ExitCode != 3 || st.NextRestartMS != nil {
		t.Errorf("three: %+v", st.State)
	}
	if r := s.AwaitState(c, "bad", "failed").State.Reason; r.Type != "exit_code" || r.Code == nil || *r.Code != 4 {
		t.Errorf("bad: %+v", r)
	}
	for name, line := range map[string]string{"usr": "usr2", "hup": "hup"} {
		s.Await(name+" to be up", hasLine(s, name, "up"))
		if _, stderr, code := s.Zinit("signal-reload", name); code != 0 {
			t.Fatal(stderr)
		}
		s.Await("the reload of "+name, func() bool { b, _ := os.ReadFile(log); return strings.Contains(string(b), line+"\n") })
	}
}
