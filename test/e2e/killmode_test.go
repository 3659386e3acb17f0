package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// prefork is a program such as celery's: at SIGTERM its main process lets the worker finish its task, which a SIGTERM to the
// worker loses.
const prefork = `exec = '''
sh -c "echo worker up; i=0; while [ ! -e $GO ]; do sleep 0.05; done; echo task done" &
trap "touch $GO; wait" TERM
echo main up
wait
'''
`

// TestKillMode: control-group signals all, mixed and process the main process only.
func TestKillMode(t *testing.T) {
	for mode, done := range map[string]bool{"": false, "control-group": false, "group": false, "mixed": true, "process": true} {
		go1 := filepath.Join(t.TempDir(), "go")
		text := fmt.Sprintf("[service]\nname = \"job\"\n%senv = {GO = %q}\n", prefork, go1)
		if mode != "" {
			text += fmt.Sprintf("[lifecycle]\nkill_mode = %q\n", mode)
		}
		s := testkit.Start(t, map[string]string{"job.toml": text}, testkit.Options{})
		s.Await("the worker", func() bool { return hasLine(s, "job", "worker up")() && hasLine(s, "job", "main up")() })
		if out, stderr, code := s.Zinit("stop", "job"); code != 0 || out != "job: stopped\n" {
			t.Errorf("%s: stop: %d %s %s", mode, code, out, stderr)
		}
		if got := hasLine(s, "job", "task done")(); got != done {
			t.Errorf("%s: the task was done: %v, want %v", mode, got, done)
		}
		s.Stop(syscall.SIGTERM)
	}
}

// TestKillModeRest: what is left when the main process has ended is killed by mixed, and left running and named by process.
func TestKillModeRest(t *testing.T) {
	dir := t.TempDir()
	rest := func(mode string) string {
		return service(mode, "exec = 'trap \"\" TERM; setsid sh -c \"echo \\$\\$ >"+dir+"/"+mode+".pid; while :; do sleep 0.05; done\" & trap \"exit 0\" TERM; echo up; wait; wait'\n"+
			"[lifecycle]\nstop_timeout_ms = 60000\nkill_mode = \""+mode+"\"\n")
	}
	s := testkit.Start(t, map[string]string{"mixed.toml": rest("mixed"), "process.toml": rest("process")}, testkit.Options{})
	// Before its trap a shell ignores the stop signal, so each start is awaited.
	up := func(mode string, starts int) {
		s.Await(mode, func() bool { return strings.Count(logText(s, mode), "up") == starts })
	}
	for _, mode := range []string{"mixed", "process"} {
		var pid int
		s.Await("the rest of "+mode, func() bool {
			b, _ := os.ReadFile(filepath.Join(dir, mode+".pid"))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			return pid > 0
		})
		up(mode, 1)
		want := "mixed: stopped\n"
		if mode == "process" {
			want = fmt.Sprintf("process: stopped, left running: %d (sh)", pid)
		}
		out, stderr, code := s.Zinit("stop", mode)
		if code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%s: stop: %d %q %q, want %q", mode, code, out, stderr, want)
		}
		if alive := syscall.Kill(pid, 0) == nil; alive != (mode == "process") {
			t.Errorf("%s: the rest is alive: %v", mode, alive)
		}
		if mode != "process" {
			continue
		}
		out, _, _ = s.Zinit("stop", mode, "-o", "json")
		if !strings.Contains(out, fmt.Sprintf("\"pid\": %d", pid)) {
			t.Errorf("no pid %d in %s", pid, out)
		}
		if out, stderr, code := s.Zinit("start", mode); code != 0 {
			t.Errorf("start beside what was left: %d %s %s", code, out, stderr)
		}
		up(mode, 2)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestOtherSession: a child in a session of its own gets the stop signal too; its parent waits for it.
func TestOtherSession(t *testing.T) {
	s := testkit.Start(t, map[string]string{"a.toml": service("a",
		"exec = '''\nsetsid -w sh -c \"trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done\" &\n"+
			"trap 'wait; echo waited' TERM\nwait\n'''\n[lifecycle]\nstop_timeout_ms = 60000\n")}, testkit.Options{})
	s.Await("the child", hasLine(s, "a", "up"))
	if out, stderr, code := s.Zinit("stop", "a"); code != 0 || out != "a: stopped\n" {
		t.Errorf("stop: %d %s %s", code, out, stderr)
	}
	n := 0
	for _, line := range strings.Split(logText(s, "a"), "\n") {
		if line == "asked" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the child was asked %d times: %s", n, logText(s, "a"))
	}
}

func logText(s *testkit.Server, name string) string {
	out, _, _ := s.Zinit("logs", name, "-n", "100", "-o", "cat")
	return out
}

// TestTerminalEnds: an interactive shell ignores SIGTERM and ends when its line is hung up. Two services do not run on one
// terminal.
func TestTerminalEnds(t *testing.T) {
	bash := need.Program(t, "bash")
	master, pts := terminal(t)
	defer unix.Close(master)
	s := testkit.Start(t, map[string]string{
		"shell.toml": fmt.Sprintf("[service]\nname = \"shell\"\ntty = %q\nexec = [%q, \"--norc\", \"-i\"]\n[lifecycle]\nstop_timeout_ms = 60000\n", pts, bash),
		"other.toml": fmt.Sprintf("[service]\nname = \"other\"\ntty = %q\nexec = \"sleep 100000\"\nstatus = \"stop\"\n", pts),
	}, testkit.Options{})
	s.Await("the prompt", func() bool {
		var buf [512]byte
		n, err := unix.Read(master, buf[:])
		return err == nil && n > 0
	})
	if _, stderr, code := s.Zinit("start", "other"); code != 1 || !strings.Contains(stderr, "the terminal "+pts+" is in use by shell") {
		t.Errorf("a second one on the terminal: %d %s", code, stderr)
	}
	if out, stderr, code := s.Zinit("stop", "shell"); code != 0 || out != "shell: stopped\n" {
		t.Errorf("stop: %d %s %s", code, out, stderr)
	}
	if _, stderr, code := s.Zinit("start", "other"); code != 0 {
		t.Errorf("start on the free terminal: %d %s", code, stderr)
	}
}
