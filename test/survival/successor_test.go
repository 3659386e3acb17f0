package survival

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc/wire"
)

// successors are services whose main process gives way to another one: at SIGUSR2, named by MAINPID or by a pid file, and
// one that goes into the background as soon as the file go is there.
func successors(dir string) map[string]string {
	program := func(name, more, begin, handOver string) string {
		return fmt.Sprintf("[service]\nname = %q\n%sexec = ['sh', '-c', '''\ncd %s\ntrap \"kill \\$s; sleep 100000 & %s; exit 0\" USR2\n%s\n"+
			"while :; do sleep 1000 & s=$!; wait; done''']\n", name, more, dir, handOver, begin)
	}
	return map[string]string{
		"word.toml": program("word", "ready = \"notify\"\n", "systemd-notify --ready", `systemd-notify --no-block MAINPID=\$!`),
		"file.toml": program("file", "pid_file = \""+dir+"/pid\"\n", "echo $$ >pid", `echo \$! >pid`),
		"daemon.toml": fmt.Sprintf("[service]\nname = \"daemon\"\npid_file = \"%[1]s/d.pid\"\nexec = ['sh', '-c', '''cd %[1]s\n"+
			"while [ ! -e go ]; do sleep 0.05; done; sleep 100000 & sleep 100000 & echo $! >d.pid''']\n", dir),
	}
}

// TestSuccessor: a main process that is replaced while no server is there, or one that is executing another, has its
// successor: it is not killed and nothing is restarted.
func TestSuccessor(t *testing.T) {
	need.Program(t, "systemd-notify")
	for _, how := range []string{"killed", "pid1", "server"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			work, points := t.TempDir(), t.TempDir()
			o := testkit.Options{Applet: how, Bin: testkit.Binary(t, "zinit_fault"), Env: []string{"ZINIT_FAULT=" + points}}
			if how == "killed" {
				o.Applet = "pid1"
			}
			s := testkit.Start(t, successors(work), o)
			c := s.Client()
			before := map[string]wire.StatusFull{"word": s.AwaitState(c, "word", "running"), "file": s.AwaitState(c, "file", "running")}
			s.Await("the launcher", func() bool {
				st, err := c.StatusFull(ctx, "daemon")
				before["daemon"] = st
				return err == nil && st.PID > 0
			})
			if how == "killed" {
				keeper := s.Command.Process.Pid
				signal(t, keeper, syscall.SIGSTOP)
				defer func() { _ = syscall.Kill(keeper, syscall.SIGCONT) }()
				signal(t, serverPIDOf(t, c), syscall.SIGKILL)
				succeed(t, s, work, before)
				signal(t, keeper, syscall.SIGCONT)
			} else {
				const point = "image"
				if err := os.WriteFile(filepath.Join(points, point), []byte("wait"), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Upgrade(ctx, ""); err != nil {
					t.Fatal(err)
				}
				s.Await("the new image", func() bool { _, err := os.Stat(filepath.Join(points, point+".here")); return err == nil })
				succeed(t, s, work, before)
				_ = os.Remove(filepath.Join(points, point))
			}
			c = s.Client()
			for name, old := range before {
				var now wire.StatusFull
				s.Await(name+" to go on with another process", func() bool {
					var err error
					now, err = c.StatusFull(ctx, name)
					return err == nil && now.State.State == "running" && now.PID > 0 && now.PID != old.PID
				})
				if now.Restarts != 0 || now.Incarnation != old.Incarnation || syscall.Kill(now.PID, 0) != nil {
					t.Errorf("%s: pid %d after %d, %d restarts, incarnation %d after %d\n%s", name, now.PID, old.PID, now.Restarts,
						now.Incarnation, old.Incarnation, s.Logs())
				}
			}
		})
	}
}

// succeed replaces the main processes and waits until they have ended.
func succeed(t *testing.T, s *testkit.Server, work string, before map[string]wire.StatusFull) {
	t.Helper()
	for _, name := range []string{"word", "file"} {
		signal(t, before[name].PID, syscall.SIGUSR2)
	}
	if err := os.WriteFile(filepath.Join(work, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, st := range before {
		s.Await("the end of "+name, func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(st.PID) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}

func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
