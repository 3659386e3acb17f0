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
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// legacyState is testdata/state-0.3.9.json: what the zinit-server 0.3.9 of the crate wrote when it was asked for
// system.prepare_restart, in a pid and mount namespace of its own. It ran seven services there: the target tgt, a and guest
// (sleep 100000), chatty, once (a oneshot), crash (in its back-off) and held (stopped by hand). Of it a test changes
// only the pids and times, to those of processes that live, and adds entries.
type legacyState struct {
	t        *testing.T
	document map[string]any
	services map[string]any
}

func readLegacyState(t *testing.T, dir string) *legacyState {
	t.Helper()
	b, err := os.ReadFile("testdata/state-0.3.9.json")
	if err != nil {
		t.Fatal(err)
	}
	l := &legacyState{t: t}
	if err := json.Unmarshal(b, &l.document); err != nil {
		t.Fatal(err)
	}
	l.services = l.document["services"].(map[string]any)
	l.document["config_dir"], l.document["saved_at"] = dir, time.Now().UnixMilli()
	return l
}

// process starts a process as 0.3.9 does, in a group of its own under a shell, and makes it that of a service, which is
// added when 0.3.9's file lacks it.
func (l *legacyState) process(name string) (pid int, entry map[string]any) {
	l.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "sleep 100000; true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	pid = cmd.Process.Pid
	go func() { _ = cmd.Wait() }()
	l.t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	entry, known := l.services[name].(map[string]any)
	if !known {
		entry = map[string]any{}
		for key, value := range l.services["a"].(map[string]any) {
			entry[key] = value
		}
		entry["name"] = name
		l.services[name] = entry
	}
	entry["pid"], entry["started_at"], entry["last_state_change"] = pid, time.Now().UnixMilli(), time.Now().UnixMilli()
	return pid, entry
}

// start runs our server where it finds the file as /run/zinit/state.json.
func (l *legacyState) start(applet, dir string, files map[string]string) *testkit.Server {
	l.t.Helper()
	state := filepath.Join(l.t.TempDir(), "state.json")
	b, err := json.MarshalIndent(l.document, "", "  ")
	if err != nil || os.WriteFile(state, b, 0o644) != nil {
		l.t.Fatal(err)
	}
	prepare := fmt.Sprintf(`mount -t tmpfs none /run && mkdir /run/zinit && cp %s /run/zinit/state.json && exec "$@"`, state)
	return testkit.Start(l.t, files, testkit.Options{Applet: applet, Dir: dir,
		Under: []string{need.Program(l.t, "unshare"), "-m", "--fork", "--", "sh", "-c", prepare, "sh"}})
}

// left reports whether the file is still there.
func (l *legacyState) left(s *testkit.Server) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/zinit/state.json", s.PID()))
	return err == nil
}

// legacyFiles are the definitions that the recorded 0.3.9 had, as far as processes go.
func legacyFiles() map[string]string {
	files := map[string]string{"tgt.toml": "[target]\nname = \"tgt\"\n",
		"once.toml":  "[service]\nname = \"once\"\nexec = \"true\"\noneshot = true\n",
		"crash.toml": "[service]\nname = \"crash\"\nexec = \"exit 3\"\n[lifecycle]\nrestart_delay_ms = 60000\n"}
	for _, name := range []string{"a", "chatty", "guest", "held", "recycled", "ending"} {
		files[name+".toml"] = fmt.Sprintf("[service]\nname = %q\nexec = \"sleep 100000\"\n", name)
	}
	files["byhand.toml"] = "[service]\nname = \"byhand\"\nexec = \"sleep 100000\"\nstatus = \"stop\"\n"
	return files
}

// TestLegacyState: the processes that a zinit 0.3.9 names in /run/zinit/state.json are taken over, by pid and start time.
func TestLegacyState(t *testing.T) {
	need.Root(t)
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) { takeOverLegacy(t, applet) })
	}
}

func takeOverLegacy(t *testing.T, applet string) {
	dir := t.TempDir()
	l := readLegacyState(t, dir)
	pids := map[string]int{}
	for _, name := range []string{"a", "chatty", "guest", "byhand", "recycled", "unknown", "ending", "ephemeral"} {
		pid, entry := l.process(name)
		pids[name] = pid
		switch name {
		case "recycled":
			entry["started_at"] = time.Now().Add(-time.Hour).UnixMilli()
		case "ending":
			entry["state"] = "stopping"
		case "ephemeral":
			entry["ephemeral"] = true
			entry["config"] = map[string]any{"service": map[string]any{"name": name, "exec": "sleep 100000"}}
		}
	}
	s := l.start(applet, dir, legacyFiles())
	c := s.Client()
	for _, name := range []string{"a", "chatty", "guest", "byhand", "ending", "ephemeral"} {
		if st := s.AwaitState(c, name, "running"); st.PID != pids[name] {
			t.Errorf("%s: pid %d, want %d", name, st.PID, pids[name])
		}
	}
	s.AwaitState(c, "tgt", "running")
	s.AwaitState(c, "once", "exited")
	if st := s.AwaitState(c, "recycled", "running"); st.PID == pids["recycled"] {
		t.Error("a process was adopted by its number alone")
	}
	if log := s.Logs(); !strings.Contains(log, "left alone") || !strings.Contains(log, fmt.Sprint("pid=", pids["unknown"])) {
		t.Errorf("the process of the service without a definition is not named:\n%s", log)
	}
	if errors.Is(syscall.Kill(pids["unknown"], 0), syscall.ESRCH) {
		t.Error("it was not left alone")
	}
	if l.left(s) {
		t.Error("the file is still there")
	}
	group := func(pid int) bool { return !errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) }
	if _, err := c.Stop(ctx, "a", rpc.Change{Wait: true}); err != nil || !wait.Until(wait.Patience, func() bool { return !group(pids["a"]) }) {
		t.Errorf("an adopted process cannot be stopped with all that it has started: %v", err)
	}
	if err := syscall.Kill(-pids["guest"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the end of an adopted process to be noticed", func() bool {
		st, err := c.StatusFull(ctx, "guest")
		return err == nil && st.State.State == "running" && st.PID != pids["guest"]
	})
}

// TestLegacyRefused: a file that is not for this server is not used, and no process that it names is touched.
func TestLegacyRefused(t *testing.T) {
	need.Root(t)
	tests := []struct {
		name   string
		change func(l *legacyState)
		says   string
		stays  bool // the file
	}{
		{"newer version", func(l *legacyState) { l.document["version"] = 2 }, "its version is 2, not 1", true},
		{"six minutes old", func(l *legacyState) { l.document["saved_at"] = time.Now().Add(-6 * time.Minute).UnixMilli() }, "", true},
		{"from the future", func(l *legacyState) { l.document["saved_at"] = time.Now().Add(time.Hour).UnixMilli() }, "", true},
		{"another server's", func(l *legacyState) { l.document["config_dir"] = "/nowhere" }, "", true},
		{"not a state", func(l *legacyState) { l.document["services"] = 7 }, "cannot read /run/zinit/state.json", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			l := readLegacyState(t, dir)
			pid, _ := l.process("a")
			test.change(l)
			s := l.start("server", dir, legacyFiles())
			if st := s.AwaitState(s.Client(), "a", "running"); st.PID == pid {
				t.Error("it was used")
			}
			if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				t.Error("a process that it names has ended")
			}
			if !strings.Contains(s.Logs(), test.says) {
				t.Errorf("the log does not say %q:\n%s", test.says, s.Logs())
			}
			if l.left(s) != test.stays {
				t.Errorf("the file is there: %v", !test.stays)
			}
		})
	}
}
