package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// TestTreeIsGoneAfterStop: children in sessions of their own, double forks and ones that ignore SIGTERM end with the
// service, with cgroups and without.
func TestTreeIsGoneAfterStop(t *testing.T) {
	for _, cgroups := range []bool{true, false} {
		t.Run(fmt.Sprintf("cgroups=%v", cgroups), func(t *testing.T) {
			env := []string{}
			if !cgroups {
				env = append(env, "ZINIT_CGROUP=0")
			}
			s := testkit.Start(t, map[string]string{"tree.toml": `
[service]
name = "tree"
exec = '''
setsid sleep 100001 &
(setsid sh -c 'sleep 100002 & exit') &
(trap "" TERM; sleep 100003) &
env -i setsid sleep 100004 </dev/null >/dev/null 2>&1 &
exec sleep 100005
'''
[lifecycle]
stop_timeout_ms = 500
`}, testkit.Options{Env: env})
			c := s.Client()
			s.AwaitState(c, "tree", "running")
			var pids []int
			s.Await("five processes", func() bool {
				st, err := c.StatusFull(ctx, "tree")
				pids = pids[:0]
				for _, p := range st.Processes {
					if strings.Contains(p.Cmdline, "sleep 10000") {
						pids = append(pids, p.PID)
					}
				}
				return err == nil && len(pids) == 5
			})
			st, _ := c.StatusFull(ctx, "tree")
			if got := st.Tracking == "cgroup"; got != cgroups && cgroups {
				t.Logf("no cgroups here: tracking %s", st.Tracking)
			} else if got && !cgroups {
				t.Errorf("tracking by %s", st.Tracking)
			}
			if _, stderr, code := s.Zinit("stop", "tree"); code != 0 {
				t.Fatalf("stop: %d %s", code, stderr)
			}
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("process %d of the tree lives after the stop", pid)
				}
			}
		})
	}
}

// TestNotify: ready = "notify" with systemd-notify, a status, and a stop; ready = "fd:3" from a shell.
func TestNotify(t *testing.T) {
	need.Program(t, "systemd-notify")
	gate := filepath.Join(t.TempDir(), "gate")
	s := testkit.Start(t, map[string]string{
		"n.toml": fmt.Sprintf(`
[service]
name = "n"
ready = "notify"
exec = '''
systemd-notify --status="warming up"
while [ ! -e %s ]; do sleep 0.02; done
systemd-notify --ready --status="serving"
exec sleep 100000
'''
`, gate),
		"after.toml": "[service]\nname = \"after\"\nexec = \"sleep 100000\"\n[dependencies]\nrequires = [\"n\"]\n",
		"fd.toml":    "[service]\nname = \"fd\"\nready = \"fd:3\"\nexec = 'echo ready >&3; exec 3>&-; exec sleep 100000'\n",
	}, testkit.Options{})
	c := s.Client()
	s.Await("the status text", func() bool {
		st, err := c.StatusFull(ctx, "n")
		return err == nil && st.StatusText == "warming up"
	})
	if st := s.AwaitState(c, "n", "starting"); st.ReadyAt != "" {
		t.Errorf("ready before READY=1: %+v", st.ReadyAt)
	}
	s.AwaitState(c, "after", "blocked")
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.AwaitState(c, "n", "running")
	s.AwaitState(c, "after", "running")
	s.AwaitState(c, "fd", "running")
	s.Await("the second status text", func() bool {
		st, err := c.StatusFull(ctx, "n")
		return err == nil && st.StatusText == "serving"
	})
}

// TestHooks: pre_start runs before and can fail the start with its output, post_stop after, stop_command in place of the
// signal, the reload command on signal-reload.
func TestHooks(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	s := testkit.Start(t, map[string]string{
		"h.toml": fmt.Sprintf(`
[service]
name = "h"
pre_start = "echo pre >>%[1]s"
exec = "trap 'exit 0' USR1; echo main >>%[1]s; while :; do sleep 0.05; done"
stop_command = "echo stop >>%[1]s; kill -USR1 $MAINPID"
post_stop = "echo post >>%[1]s"
reload = "echo reload >>%[1]s"
`, log),
		"bad.toml": "[service]\nname = \"bad\"\npre_start = \"echo the disk is missing; exit 4\"\nexec = \"sleep 1000\"\n[lifecycle]\nrestart = \"never\"\n",
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "h", "running")
	st := s.AwaitState(c, "bad", "failed")
	if r := st.State.Reason; r == nil || r.Type != "spawn_error" || r.Kind != "pre_start" || !strings.Contains(r.Message, "the disk is missing") {
		t.Errorf("pre_start failure: %+v", r)
	}
	has := func(want string) func() bool {
		return func() bool { b, _ := os.ReadFile(log); return string(b) == want }
	}
	s.Await("the service to be under way", has("pre\nmain\n")) // it is ready as soon as it is executed
	if _, err := c.SignalReload(ctx, "h"); err != nil {
		t.Fatal(err)
	}
	s.Await("the reload command", has("pre\nmain\nreload\n"))
	if ok, err := c.Stop(ctx, "h", rpc.Change{Wait: true}); err != nil || ok.Outcome != "done" {
		t.Fatalf("stop: %+v %v", ok, err)
	}
	s.Await("stop_command and post_stop", has("pre\nmain\nreload\nstop\npost\n"))
	if st := s.AwaitState(c, "h", "exited"); st.State.ExitCode == nil || *st.State.ExitCode != 0 {
		t.Errorf("after stop_command: %+v", st.State)
	}
}

// TestDaemonize: a program that goes into the background is followed by its pid file, or as the only one left; several
// without a pid file are a failure that says so, never a restart loop.
func TestDaemonize(t *testing.T) {
	dir := t.TempDir()
	s := testkit.Start(t, map[string]string{
		"pidfile.toml": fmt.Sprintf("[service]\nname = \"pidfile\"\nexec = 'sleep 100001 & sleep 100002 & echo $! >%[1]s/pid; exit 0'\npid_file = \"%[1]s/pid\"\n", dir),
		"single.toml":  "[service]\nname = \"single\"\nexec = 'sleep 100003 & exit 0'\n",
		"double.toml":  "[service]\nname = \"double\"\nexec = 'setsid sh -c \"setsid sleep 100007 & sleep 0.1; exit 0\" & exit 0'\n",
		"late.toml":    fmt.Sprintf("[service]\nname = \"late\"\nexec = 'sleep 100008 & (sleep 0.1; sleep 100009 & echo $! >%[1]s/late) & exit 0'\npid_file = \"%[1]s/late\"\n", dir),
		"several.toml": "[service]\nname = \"several\"\nexec = 'sleep 100004 & sleep 100005 & exit 0'\n[lifecycle]\nrestart = \"never\"\nstop_timeout_ms = 500\n",
		"once.toml":    "[service]\nname = \"once\"\noneshot = true\nexec = 'sleep 100006 & exit 0'\n",
	}, testkit.Options{})
	c := s.Client()
	s.Await("the pid in pid_file to be the main process", func() bool {
		st, err := c.StatusFull(ctx, "pidfile")
		b, _ := os.ReadFile(filepath.Join(dir, "pid"))
		return err == nil && st.State.State == "running" && fmt.Sprint(st.PID) == strings.TrimSpace(string(b))
	})
	s.Await("the only process left to be the main one, with a warning", func() bool {
		st, err := c.StatusFull(ctx, "single")
		return err == nil && st.State.State == "running" && len(st.Warnings) > 0 && strings.Contains(st.Warnings[0], "pid_file")
	})
	// On the way into the background there may be more processes for a moment, and the pid file may come late.
	for name, program := range map[string]string{"double": "sleep\x00100007\x00", "late": "sleep\x00100009\x00"} {
		var st wire.StatusFull
		s.Await(name+" to follow its daemon", func() bool {
			st, _ = c.StatusFull(ctx, name)
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.PID))
			return st.State.State == "running" && string(cmd) == program
		})
		if st.Restarts != 0 {
			t.Errorf("%s was restarted %d times before", name, st.Restarts)
		}
	}
	st := s.AwaitState(c, "several", "failed")
	if !strings.Contains(st.Cause, "pid_file") {
		t.Errorf("several left: %q", st.Cause)
	}
	once := s.AwaitState(c, "once", "exited")
	if len(once.Processes) != 1 {
		t.Errorf("the oneshot's process is not shown: %+v", once.Processes)
	}
	single := s.AwaitState(c, "single", "running").PID
	if err := syscall.Kill(single, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the daemon's end to be seen", func() bool {
		st, err := c.StatusFull(ctx, "single")
		return err == nil && st.LastExit != nil && st.LastExit.Signal != nil && *st.LastExit.Signal == 9
	})
	for _, name := range []string{"once", "pidfile", "single", "double", "late"} {
		if _, stderr, code := s.Zinit("stop", name); code != 0 {
			t.Errorf("stop %s: %d %s", name, code, stderr)
		}
	}
}

// TestOnExit: the end of a service with on_exit = "shutdown" ends the whole stack with its code.
func TestOnExit(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	s := testkit.Start(t, map[string]string{
		"job.toml":  "[service]\nname = \"job\"\nexec = 'while [ ! -e " + gate + " ]; do sleep 0.02; done; exit 42'\n[lifecycle]\nrestart = \"never\"\non_exit = \"shutdown\"\n",
		"side.toml": "[service]\nname = \"side\"\nexec = \"sleep 100000\"\n",
	}, testkit.Options{})
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := s.Wait(); code != 42 {
		t.Errorf("exit code %d, want 42\n%s", code, s.Logs())
	}
}

// TestOnExitWithoutRun: with on_exit = "shutdown" the stack ends also with a service that can never start, and says why.
func TestOnExitWithoutRun(t *testing.T) {
	const ends = "[lifecycle]\nrestart = \"never\"\non_exit = \"shutdown\"\n"
	const job = "[service]\nname = \"job\"\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		code  int
		says  string
	}{
		{"requirement failed", map[string]string{
			"job.toml": job + "exec = \"sleep 100000\"\n[dependencies]\nrequires = [\"db\"]\n" + ends,
			"db.toml":  "[service]\nname = \"db\"\nexec = \"exit 3\"\noneshot = true\n",
		}, 1, "job: blocked -> failed (requires db, which failed)"},
		{"requirement missing", map[string]string{
			"job.toml": job + "exec = \"sleep 100000\"\n[dependencies]\nrequires = [\"db\"]\n" + ends,
		}, 1, "job: inactive -> failed (requires db, which does not exist)"},
		{"no TOML", map[string]string{"job.toml": job + "exec = sleep\n" + ends}, 1, "job: inactive -> failed (cannot start: "},
		{"unknown key", map[string]string{"job.toml": job + "exec = \"true\"\nnonsense = 1\n" + ends}, 1, "unknown key"},
		{"no program", map[string]string{"job.toml": job + "exec = \"/nowhere/job\"\n" + ends}, 1, "job: starting -> failed (cannot start: "},
		{"signal", map[string]string{"job.toml": job + "exec = \"kill -SEGV $$\"\n" + ends}, 128 + 11,
			"-> failed (killed by SIGSEGV"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["side.toml"] = "[service]\nname = \"side\"\nexec = \"sleep 100000\"\n"
			s := testkit.Start(t, c.files, testkit.Options{Brief: true})
			if code := s.Wait(); code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, s.Logs())
			}
			for _, want := range []string{c.says, "job has ended for good, on_exit"} {
				if !strings.Contains(s.Logs(), want) {
					t.Errorf("the log does not say %q:\n%s", want, s.Logs())
				}
			}
		})
	}
}

// TestIdentity: user, groups, umask, limits, nice and the environment that follows the user.
func TestIdentity(t *testing.T) {
	need.Root(t)
	dir, err := os.MkdirTemp("", "zti")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	s := testkit.Start(t, map[string]string{"id.toml": fmt.Sprintf(`
[service]
name = "id"
user = "nobody"
umask = "027"
nice = 5
no_new_privileges = true
limits = {nofile = "100:200", core = 0}
exec = '(id -un; umask; ulimit -n; ulimit -Hn; nice; echo $USER $HOME; grep NoNewPrivs /proc/self/status) >%s'
oneshot = true
`, out)}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "id", "exited")
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := "nobody\n0027\n100\n200\n5\nnobody /nonexistent\nNoNewPrivs:\t1\n"
	if string(b) != want {
		t.Errorf("got:\n%s\nwant:\n%s", b, want)
	}
}
