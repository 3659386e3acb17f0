package survival

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
)

// TestLegacyState: the processes that a zinit 0.3.9 names in /run/zinit/state.json are taken over, by pid and start time.
func TestLegacyState(t *testing.T) {
	testkit.NeedRoot(t)
	unshare := testkit.NeedProgram(t, "unshare")
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) {
			sleep := func() (pid int, startedMS int64) {
				cmd := exec.Command("sleep", "100000")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				go func() { _ = cmd.Wait() }()
				t.Cleanup(func() { _ = cmd.Process.Kill() })
				return cmd.Process.Pid, time.Now().UnixMilli()
			}
			dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state.json")
			services := map[string]any{}
			pids := map[string]int{}
			for _, name := range []string{"kept", "byhand", "guest", "recycled", "unknown"} {
				pid, at := sleep()
				pids[name] = pid
				entry := map[string]any{"name": name, "state": "running", "pid": pid, "restart_count": 0, "current_restart_delay_ms": 0,
					"last_exit_code": nil, "last_exit_signal": nil, "started_at": at, "last_state_change": at, "ephemeral": name == "guest"}
				switch name {
				case "guest":
					entry["config"] = map[string]any{"service": map[string]any{"name": "guest", "exec": "sleep 100000"}}
				case "recycled":
					entry["started_at"] = at - 3600_000
				}
				services[name] = entry
			}
			services["idle"] = map[string]any{"name": "idle", "state": "exited", "pid": nil, "started_at": nil, "ephemeral": false}
			b, err := json.Marshal(map[string]any{"version": 1, "saved_at": time.Now().UnixMilli(), "boot_time": 0, "services": services,
				"config_dir": dir, "socket_path": "/run/zinit.sock"})
			if err != nil || os.WriteFile(state, b, 0o644) != nil {
				t.Fatal(err)
			}
			files := map[string]string{
				"kept.toml":     "[service]\nname = \"kept\"\nexec = \"sleep 100000\"\n",
				"byhand.toml":   "[service]\nname = \"byhand\"\nexec = \"sleep 100000\"\nstatus = \"stop\"\n",
				"recycled.toml": "[service]\nname = \"recycled\"\nexec = \"sleep 100000\"\n",
			}
			prepare := fmt.Sprintf(`mount -t tmpfs none /run && mkdir /run/zinit && cp %s /run/zinit/state.json && exec "$@"`, state)
			s := testkit.Start(t, files, testkit.Options{Applet: applet, Dir: dir, Under: []string{unshare, "-m", "--fork", "--", "sh", "-c", prepare, "sh"}})
			c := s.Client()
			for _, name := range []string{"kept", "byhand", "guest"} {
				if st := s.AwaitState(c, name, "running"); st.PID != pids[name] {
					t.Errorf("%s: pid %d, want %d", name, st.PID, pids[name])
				}
			}
			if st := s.AwaitState(c, "recycled", "running"); st.PID == pids["recycled"] {
				t.Error("a process was adopted by its number alone")
			}
			if log := s.Logs(); !strings.Contains(log, "left alone") || !strings.Contains(log, fmt.Sprint(pids["unknown"])) {
				t.Errorf("the process of the service without a definition is not named:\n%s", log)
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/zinit/state.json", s.PID())); err == nil {
				t.Error("the file is still there")
			}
			gone := func(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
			if _, err := c.Stop(ctx, "kept", rpc.Change{Wait: true}); err != nil || !testkit.Until(testkit.Patience, func() bool { return gone(pids["kept"]) }) {
				t.Errorf("an adopted process cannot be stopped: %v", err)
			}
			if err := syscall.Kill(pids["guest"], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.Await("the end of an adopted process to be noticed", func() bool {
				st, err := c.StatusFull(ctx, "guest")
				return err == nil && st.State.State == "running" && st.PID != pids["guest"]
			})
		})
	}
}
