package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc/wire"
)

// marked lists the living processes whose command line has a text that only this test uses.
func marked(text string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmd, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(cmd), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mark is a number for sleep that no other test uses.
func mark(t *testing.T, n int) string {
	t.Helper()
	return fmt.Sprintf("%d%02d", 7000000+os.Getpid(), n)
}

// TestEscapes: however a program tries to get out of its service's tree, after the stop nothing of it is left.
func TestEscapes(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		m := mark(t, len(env))
		scripts := map[string]string{
			"setsid":  "setsid sleep %[1]s & exec sleep %[1]s",
			"double":  "(setsid sh -c 'setsid sleep %[1]s & exit' &) ; exec sleep %[1]s",
			"deaf":    "trap '' TERM; (trap '' TERM; setsid sleep %[1]s) & while :; do sleep %[1]s; done",
			"bare":    "env -i setsid sleep %[1]s </dev/null >/dev/null 2>&1 & exec sleep %[1]s",
			"nested":  "for i in 1 2 3 4 5 6 7 8; do (sleep %[1]s & setsid sleep %[1]s & sleep %[1]s) & done; exec sleep %[1]s",
			"breeder": "trap '' TERM; while :; do setsid sleep %[1]s & sleep 0.02; done",
			"hopper":  "trap '' TERM; hop() { (trap '' TERM; sleep 0.01; hop) & exit 0; }; (hop) & exec sleep %[1]s",
		}
		files := map[string]string{}
		for name, script := range scripts {
			files[name+".toml"] = service(name, "exec = '''\n"+fmt.Sprintf(script, m)+"\n'''\n[lifecycle]\nstop_timeout_ms = 300\nrestart = \"never\"\n")
		}
		s := testkit.Start(t, files, testkit.Options{Env: env})
		c := s.Client()
		for name := range scripts {
			s.AwaitState(c, name, "running")
		}
		s.Await("the trees to grow", func() bool { return len(marked(m)) > 40 })
		for name := range scripts {
			t0 := time.Now()
			if _, stderr, code := s.Zinit("stop", name); code != 0 {
				t.Errorf("stop %s: %d %s", name, code, stderr)
			}
			if d := time.Since(t0); d > 8*time.Second {
				t.Errorf("stop %s took %v", name, d)
			}
			st, _ := c.StatusFull(ctx, name)
			if len(st.Processes) > 0 || st.State.State != "exited" {
				t.Errorf("%s after the stop: %s, %v", name, st.State.State, st.Processes)
			}
		}
		if left := marked(m); len(left) > 0 {
			t.Errorf("%d processes are left", len(left))
		}
	})
}

// crowd is how many processes one service has: all that the issue names where CI runs, fewer elsewhere.
func crowd() int {
	if os.Getenv("ZINIT_TEST_STRICT") == "1" {
		return 1500
	}
	return 300
}

// TestCrowd: a service with very many processes, half of them in sessions of their own, deaf to SIGTERM and without our
// variables, ends with its stop, and when its main process is killed.
func TestCrowd(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		n := crowd()
		s := testkit.Start(t, map[string]string{
			"crowd.toml": service("crowd", helper(t, "crowd "+strconv.Itoa(n))+"[lifecycle]\nstop_timeout_ms = 300\nrestart = \"never\"\n"),
		}, testkit.Options{Env: env})
		c := s.Client()
		for _, way := range []string{"stop", "kill"} {
			if way == "kill" {
				if _, stderr, code := s.Zinit("start", "crowd"); code != 0 {
					t.Fatal(stderr)
				}
			}
			pid := s.AwaitState(c, "crowd", "running").PID
			var pids []int
			s.Await("all processes", func() bool {
				st, err := c.StatusFull(ctx, "crowd")
				pids = pids[:0]
				for _, p := range st.Processes {
					pids = append(pids, p.PID)
				}
				return err == nil && len(pids) == n+1
			})
			switch way {
			case "stop":
				if _, stderr, code := s.Zinit("stop", "crowd"); code != 0 {
					t.Fatalf("stop: %d %s", code, stderr)
				}
			case "kill":
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				s.AwaitState(c, "crowd", "failed")
			}
			for _, p := range pids {
				if alive(p) {
					t.Fatalf("%s: process %d lives", way, p)
				}
			}
		}
	})
}

// TestWhichWay: status of the whole and of one service say how processes are kept together; memory and CPU are those of
// the whole tree.
func TestWhichWay(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		s := testkit.Start(t, map[string]string{"a.toml": service("a", "exec = '''\n(while :; do :; done) & exec sleep 100002\n'''\n")},
			testkit.Options{Env: env})
		c := s.Client()
		s.AwaitState(c, "a", "running")
		whole, _, _ := s.Zinit("status")
		one, _, _ := s.Zinit("status", "a")
		if env != nil {
			if !strings.Contains(whole, "process group and /proc (switched off by ZINIT_CGROUP=0)") || !strings.Contains(one, "process group and /proc") {
				t.Errorf("status:\n%s\n%s", whole, one)
			}
		} else if st, _ := c.StatusFull(ctx, "a"); st.Cgroup != "" && (!strings.Contains(one, "cgroup "+st.Cgroup) || !strings.Contains(whole, "cgroup ")) {
			t.Errorf("status:\n%s\n%s", whole, one)
		}
		var stats wire.Stats
		s.Await("the CPU time of a child", func() bool {
			var err error
			stats, err = c.Stats(ctx, "a")
			return err == nil && stats.CPUPercent > 0 && stats.MemoryBytes > 0
		})
	})
}

// TestHooksLeaveNothing: what a hook leaves in the background ends with it, also when it is in a session of its own.
func TestHooksLeaveNothing(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		pre, post, reload := mark(t, 10+len(env)), mark(t, 20+len(env)), mark(t, 30+len(env))
		s := testkit.Start(t, map[string]string{"h.toml": service("h", sleeper+fmt.Sprintf(
			"pre_start = 'setsid sleep %s >/dev/null 2>&1 & echo pre $MAINPID.'\npost_stop = 'setsid sleep %s >/dev/null 2>&1 & echo post'\nreload = 'sleep %s >/dev/null 2>&1 & echo reload $MAINPID.'\n", pre, post, reload))},
			testkit.Options{Env: env})
		c := s.Client()
		pid := s.AwaitState(c, "h", "running").PID
		s.Await("pre_start's output", hasLine(s, "h", "pre ."))
		if left := marked(pre); len(left) > 0 {
			t.Errorf("pre_start left %v beside the running service", left)
		}
		if _, stderr, code := s.Zinit("signal-reload", "h"); code != 0 {
			t.Fatal(stderr)
		}
		s.Await("the reload command", hasLine(s, "h", fmt.Sprintf("reload %d.", pid)))
		s.Await("what it left to be gone", func() bool { return len(marked(reload)) == 0 })
		if st, err := c.StatusFull(ctx, "h"); err != nil || len(st.Processes) != 1 {
			t.Errorf("the service has %+v %v", st.Processes, err)
		}
		if _, stderr, code := s.Zinit("stop", "h"); code != 0 {
			t.Fatal(stderr)
		}
		if left := marked(post); len(left) > 0 {
			t.Errorf("left after the stop: %v", left)
		}
		s.Await("post_stop's output", hasLine(s, "h", "post"))
	})
}

// TestOneshotLeavesADaemon: a oneshot such as `udevd --daemon` or a FUSE mount is done when its command is; what it left
// is shown, seen to end, and ended by a stop, also after the server was replaced.
func TestOneshotLeavesADaemon(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		dir := t.TempDir()
		m := mark(t, 40+len(env))
		fake := "setsid sh -c 'echo $$ >%[1]s/pid; exec sleep %[2]s' >/dev/null 2>&1 </dev/null & while [ ! -s %[1]s/pid ]; do sleep 0.01; done; exit 0"
		s := testkit.Start(t, map[string]string{
			"udevd.toml":   service("udevd", "oneshot = true\nclass = \"system\"\nexec = '''\n"+fmt.Sprintf(fake, dir, m)+"\n'''\n"),
			"trigger.toml": service("trigger", "oneshot = true\nexec = \"true\"\n[dependencies]\nrequires = [\"udevd\"]\n"),
		}, testkit.Options{Env: env})
		c := s.Client()
		s.AwaitState(c, "udevd", "exited")
		s.AwaitState(c, "trigger", "exited")
		shown := func() bool {
			st, err := c.StatusFull(ctx, "udevd")
			return err == nil && st.State.State == "exited" && len(st.Processes) == 1
		}
		s.Await("the daemon to be shown", shown)
		if out, _, code := s.Zinit("upgrade"); code != 0 {
			t.Fatalf("upgrade: %d %s", code, out)
		}
		s.Await("the new server to know it", func() bool {
			c = s.Client()
			return shown()
		})
		if _, stderr, code := s.Zinit("stop", "udevd"); code != 0 {
			t.Fatalf("stop: %d %s", code, stderr)
		}
		if left := marked(m); len(left) > 0 {
			t.Errorf("the daemon lives after the stop: %v", left)
		}
		_ = os.Remove(filepath.Join(dir, "pid"))
		if _, stderr, code := s.Zinit("start", "udevd"); code != 0 {
			t.Fatalf("start: %d %s", code, stderr)
		}
		s.Await("the second daemon to be shown", shown)
		for _, pid := range marked(m) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		s.Await("its end to be seen", func() bool {
			st, err := c.StatusFull(ctx, "udevd")
			return err == nil && st.State.State == "exited" && len(st.Processes) == 0
		})
	})
}

// TestDaemonsThatMisbehave: a pid file that names somebody else, or nobody, is not believed, and one that is a FIFO holds up
// nobody; several left over fail once.
func TestDaemonsThatMisbehave(t *testing.T) {
	dir := t.TempDir()
	m := mark(t, 50)
	daemon := func(name, pid string) string {
		return service(name, fmt.Sprintf("pid_file = \"%[1]s/%[2]s\"\nexec = 'sleep %[3]s & sleep %[3]s & echo %[4]s >%[1]s/%[2]s; exit 0'\n[lifecycle]\nrestart_delay_ms = 20\nmax_restarts = 3\nstop_timeout_ms = 500\n", dir, name, m, pid))
	}
	s := testkit.Start(t, map[string]string{
		"foreign.toml": daemon("foreign", strconv.Itoa(os.Getpid())),
		"dead.toml":    daemon("dead", "999999"),
		"garbage.toml": daemon("garbage", "hello"),
		"several.toml": service("several", fmt.Sprintf("exec = 'sleep %[1]s & sleep %[1]s & exit 0'\n[lifecycle]\nrestart_delay_ms = 20\nmax_restarts = 3\nstop_timeout_ms = 500\n", m)),
		"fifo.toml":    service("fifo", fmt.Sprintf("pid_file = \"%[1]s/fifo\"\nexec = '[ -p %[1]s/fifo ] || mkfifo %[1]s/fifo; sleep %[2]s & sleep %[2]s & exit 0'\n[lifecycle]\nrestart_delay_ms = 20\nmax_restarts = 3\nstop_timeout_ms = 500\n", dir, m)),
		"late.toml":    service("late", fmt.Sprintf("exec = 'echo x >>%[2]s/runs; sleep %[1]s & sleep %[1]s & exit 0'\n[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 20\nmax_restarts = 2\nstop_timeout_ms = 500\n", m, dir)),
	}, testkit.Options{})
	c := s.Client()
	for _, name := range []string{"foreign", "dead", "garbage", "fifo", "several", "late"} {
		s.Await(name+" to fail for good", func() bool {
			st, err := c.StatusFull(ctx, name)
			return err == nil && st.State.State == "failed" && st.NextRestartMS == nil && strings.Contains(st.Cause, "left 2 processes")
		})
		st, _ := c.StatusFull(ctx, name)
		if !strings.Contains(st.Cause, "pid_file") {
			t.Errorf("%s: %q", name, st.Cause)
		}
	}
	if left := marked(m); len(left) > 0 {
		t.Errorf("daemons of failed attempts live: %v", left)
	}
	if !alive(os.Getpid()) {
		t.Fatal("unreachable: the test itself was named in a pid file")
	}
}

// TestStopOnTheWayIntoTheBackground: a stop while it is not clear yet which process is the daemon ends all of them.
func TestStopOnTheWayIntoTheBackground(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		m := mark(t, 70+len(env))
		gone := filepath.Join(t.TempDir(), "gone")
		s := testkit.Start(t, map[string]string{
			"d.toml": service("d", fmt.Sprintf("exec = 'sleep %[1]s & setsid sleep %[1]s & echo >%[2]s; exit 0'\n[lifecycle]\nrestart = \"never\"\n", m, gone)),
		}, testkit.Options{Env: env})
		s.Await("its processes", func() bool { _, err := os.Stat(gone); return err == nil && len(marked(m)) == 2 })
		if _, stderr, code := s.Zinit("stop", "d"); code != 0 {
			t.Errorf("stop: %d %s", code, stderr)
		}
		if left := marked(m); len(left) > 0 {
			t.Errorf("left after the stop: %v", left)
		}
	})
}
