package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestLostGroups: somebody who removes empty control groups as fast as possible keeps no service from starting.
func TestLostGroups(t *testing.T) {
	need.Root(t)
	s := testkit.Start(t, map[string]string{"r.toml": service("r", "exec = [\"true\"]\n[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 1\nrestart_delay_max_ms = 1\nmax_restarts = 0\n")},
		testkit.Options{})
	_, path, found := strings.Cut(firstOf(s.Zinit("status")), "tracking     cgroup ")
	need.That(t, found, "control groups that can be written")
	path, _, _ = strings.Cut(path, "\n")
	done := make(chan struct{})
	var remover sync.WaitGroup
	removed := 0
	remover.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			groups, _ := filepath.Glob(path + "/r.*")
			inner, _ := filepath.Glob(path + "/r.*/*/")
			for _, g := range append(append(inner, groups...), path) {
				if unix.Rmdir(g) == nil {
					removed++
				}
			}
		}
	})
	c := s.Client()
	ok := wait.Until(wait.Patience, func() bool {
		st, err := c.StatusFull(context.Background(), "r")
		return err == nil && st.Restarts > 300
	})
	close(done)
	remover.Wait()
	if logs := s.Logs(); !ok || strings.Contains(logs, "control group") || removed == 0 {
		t.Errorf("300 restarts: %v, %d groups removed\n%s", ok, removed, logs[max(0, len(logs)-2000):])
	}
	_ = os.Remove(path)
}
