package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
)

// mule ignores TERM for longer than any test waits.
const mule = "[service]\nname = \"mule\"\nexec = \"trap '' TERM; echo up; while :; do sleep 0.05; done\"\n" +
	"[lifecycle]\nstop_timeout_ms = 300000\n"

// TestSecondSignal: the first one says what is waited for, a second one a moment later kills what is left; SIGQUIT does so
// at any time. No signal makes the runtime's dump of goroutines.
func TestSecondSignal(t *testing.T) {
	for name, c := range map[string]struct {
		applet string
		second syscall.Signal
	}{
		"server TERM": {"server", syscall.SIGTERM}, "server INT": {"server", syscall.SIGINT}, "server QUIT": {"server", syscall.SIGQUIT},
		"pid1 TERM": {"pid1", syscall.SIGTERM}, "pid1 QUIT": {"pid1", syscall.SIGQUIT},
	} {
		t.Run(name, func(t *testing.T) {
			s := testkit.Start(t, map[string]string{"mule.toml": mule}, testkit.Options{Applet: c.applet})
			s.Await("the service", hasLine(s, "mule", "up"))
			_ = syscall.Kill(s.PID(), syscall.SIGTERM)
			s.Await("what is waited for", func() bool { return strings.Contains(s.Logs(), "waiting for mule (300 s left)") })
			began := time.Now()
			if c.second != syscall.SIGQUIT {
				time.Sleep(150 * time.Millisecond) // so soon it would be the first one again
			}
			if code := s.Stop(c.second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("killed after %v", took)
			}
			if strings.Contains(s.Logs(), "goroutine ") {
				t.Errorf("a dump of goroutines\n%s", s.Logs())
			}
		})
	}
}

// TestShutdownWaitSays: the client that waits for the end says what the server waits for, with the time left.
func TestShutdownWaitSays(t *testing.T) {
	s := testkit.Start(t, map[string]string{"mule.toml": mule}, testkit.Options{})
	s.Await("the service", hasLine(s, "mule", "up"))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	said := func() string {
		text, _ := os.ReadFile(out.Name())
		return string(text)
	}
	cmd := exec.Command(s.Bin, "-s", s.Socket, "shutdown", "--wait")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Await("what the client says", func() bool { return strings.Contains(said(), "waiting for mule (") })
	_ = syscall.Kill(s.PID(), syscall.SIGQUIT) // the first signal: it says what is waited for
	time.Sleep(150 * time.Millisecond)         // so soon it would be the first one again
	_ = syscall.Kill(s.PID(), syscall.SIGQUIT)
	s.Wait()
	if err := cmd.Wait(); err != nil || !strings.Contains(said(), "waiting for mule (") || !strings.Contains(said(), " s left)") {
		t.Errorf("%v: %s", err, said())
	}
}

// TestKeeperDoesNotCut: a keeper that nobody waits for gives services the time they ask for.
func TestKeeperDoesNotCut(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, map[string]string{"slow.toml": "[service]\nname = \"slow\"\n" +
		"exec = \"trap 'sleep 7; echo saved; exit' TERM; echo up; while :; do sleep 0.05; done\"\n[lifecycle]\nstop_timeout_ms = 60000\n"},
		testkit.Options{Applet: "pid1", Args: []string{"--log-stdout=plain"}})
	s.Await("the service", hasLine(s, "slow", "up"))
	if code := s.Stop(syscall.SIGTERM); code != 0 || !strings.Contains(s.Logs(), "saved") {
		t.Errorf("exit code %d\n%s", code, s.Logs())
	}
}
