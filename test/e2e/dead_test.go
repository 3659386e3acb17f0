package e2e

import (
	"strings"
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
	for name, one := range map[string]string{
		"pid file": "exec = \"sleep 1000 & sleep 1000 & exit 0\"\npid_file = \"DEAD/pid\"\n",
		"log file": "exec = \"echo a line; exec sleep 1000\"\n[logging]\nfile = \"DEAD/log\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadMount(t, one)
		})
	}
}

func deadMount(t *testing.T, one string) {
	dead := deadmount.New(t)
	s := testkit.Start(t, map[string]string{
		"one.toml":   "[service]\nname = \"one\"\n" + strings.ReplaceAll(one, "DEAD", dead),
		"other.toml": "[service]\nname = \"other\"\nexec = \"sleep 1000\"\n",
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "other", "running")
	began := time.Now()
	for range 5 {
		if _, stderr, code := s.Zinit("restart", "other"); code != 0 {
			t.Fatalf("restart: %d %s", code, stderr)
		}
	}
	if took := time.Since(began); took > 10*time.Second { // each takes some milliseconds
		t.Errorf("five restarts of another service took %v", took)
	}
	began = time.Now()
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > wait.Patience/3 {
		t.Errorf("the stop took %v", took)
	}
}
