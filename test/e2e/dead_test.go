package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/deadmount"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestADeadMountHoldsUpNobody: what belongs to one service and lies on a mount that never answers is noticed by no other
// service, and not by the stop of the server.
func TestADeadMountHoldsUpNobody(t *testing.T) {
	for _, c := range []struct{ name, state, one string }{
		{"pid file", "", "exec = \"sleep 1000 & sleep 1000 & exit 0\"\npid_file = \"DEAD/pid\"\n"},
		{"log file", "running", "exec = \"echo a line; exec sleep 1000\"\n[logging]\nfile = \"DEAD/log\"\n"},
		{"env file", "starting", "exec = \"sleep 1000\"\nenv_file = \"DEAD/env\"\n"},
		{"folder", "starting", "exec = \"sleep 1000\"\ndir = \"DEAD/folder\"\n"},
		{"program", "starting", "exec = [\"DEAD/program\"]\n"},
		{"hook", "starting", "exec = \"sleep 1000\"\npre_start = [\"DEAD/program\"]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			deadMount(t, c.one, c.state)
		})
	}
}

// deadMount runs one beside another service. one comes to a state, and no further; "" = that of a daemon is not told.
func deadMount(t *testing.T, one, state string) {
	dead := deadmount.New(t)
	s := testkit.Start(t, map[string]string{
		"one.toml":   "[service]\nname = \"one\"\n" + strings.ReplaceAll(one, "DEAD", dead),
		"other.toml": "[service]\nname = \"other\"\nexec = \"sleep 1000\"\n",
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "other", "running")
	if state != "" {
		s.AwaitState(c, "one", state)
	}
	began := time.Now()
	for range 5 {
		if _, stderr, code := s.Zinit("restart", "other"); code != 0 {
			t.Fatalf("restart: %d %s", code, stderr)
		}
	}
	if took := time.Since(began); took > 10*time.Second { // each takes some milliseconds
		t.Errorf("five restarts of another service took %v", took)
	}
	if state == "starting" {
		if _, stderr, code := s.Zinit("stop", "one"); code != 0 {
			t.Errorf("stop: %d %s", code, stderr)
		}
		if st, err := c.StatusFull(context.Background(), "one"); err != nil || st.Wanted != "down" || st.State.State == "stopping" {
			t.Errorf("after the stop: %+v %v", st, err)
		}
	}
	began = time.Now()
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > wait.Patience/3 {
		t.Errorf("the stop took %v", took)
	}
}

// TestADeadMountKeepsFewThreads: however often services whose files lie on such a mount are started and asked about, one
// thread a question waits for it, not one each time.
func TestADeadMountKeepsFewThreads(t *testing.T) {
	dead := deadmount.New(t)
	s := testkit.Start(t, map[string]string{
		"program.toml": "[service]\nname = \"program\"\nexec = [\"" + dead + "/program\"]\n",
		"env.toml":     "[service]\nname = \"env\"\nexec = \"sleep 1000\"\nenv_file = \"" + dead + "/env\"\n",
		"daemon.toml": "[service]\nname = \"daemon\"\nexec = \"sleep 1000 & sleep 1000 & exit 0\"\npid_file = \"" + dead + "/pid\"\n" +
			"[lifecycle]\nrestart_delay_ms = 100\nrestart_delay_max_ms = 100\n",
		"check.toml": "[service]\nname = \"check\"\nexec = \"sleep 1000\"\n[health]\ntype = \"exec\"\ntarget = \"" + dead +
			"/check\"\ninterval_ms = 100\ntimeout_ms = 100\nretries = 1000\n",
	}, testkit.Options{})
	c := s.Client()
	threads := func() int {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "Threads:")
		n, _ := strconv.Atoi(strings.Fields(rest)[0])
		return n
	}
	s.AwaitState(c, "program", "starting")
	s.AwaitState(c, "env", "starting")
	var wg sync.WaitGroup
	for range 50 {
		for _, name := range []string{"program", "env"} {
			wg.Go(func() {
				_, _ = c.Restart(context.Background(), name, change(false))
				_, _ = c.StatusFull(context.Background(), name)
			})
		}
	}
	wg.Wait()
	if n := threads(); n > 40 {
		t.Errorf("%d threads", n)
	}
}
