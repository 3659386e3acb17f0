package e2e

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
)

// helpHeadless ends its first thread, as pthread_exit(3) in main does, while others run on and ignore SIGTERM. With a path it
// goes into the background first and writes its pid there.
func helpHeadless(args []string) {
	signal.Ignore(syscall.SIGTERM)
	if len(args) == 2 {
		attr := &os.ProcAttr{Env: []string{helperVariable + "=headless " + args[0]}, Sys: &syscall.SysProcAttr{Setsid: true}}
		p, err := os.StartProcess(os.Args[0], os.Args[:1], attr)
		must(err)
		must(os.WriteFile(args[1], []byte(fmt.Sprintln(p.Pid)), 0o644))
		os.Exit(0)
	}
	go func() {
		for {
			time.Sleep(time.Hour) // the helper runs until it is killed
		}
	}()
	// During init the main goroutine is on the first thread of the process.
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

// headless lists the processes with that name whose first thread has ended while others run. They have no command line.
func headless(name string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, found := strings.Cut(string(stat), "("+name+") ")
		if f := strings.Fields(rest); found && f[0] == "Z" && f[17] != "1" {
			pid, _ := strconv.Atoi(e.Name())
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestFirstThreadGone: a process whose first thread has ended looks like a zombie and is none: it is running as long as its
// other threads are, and is ended by the stop, as a main process, as a child and as a daemon.
func TestFirstThreadGone(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		m := mark(t, 80+len(env))
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		self := t.TempDir() + "/hl" + m
		if err := os.Symlink(binary, self); err != nil {
			t.Fatal(err)
		}
		pidFile := t.TempDir() + "/pid"
		variable := fmt.Sprintf("env = {%s = %q}\n", helperVariable, "headless "+m)
		end := "[lifecycle]\nstop_timeout_ms = 200\nrestart = \"never\"\n"
		s := testkit.Start(t, map[string]string{
			"main.toml":  service("main", fmt.Sprintf("exec = [%q]\n", self)+variable+end),
			"child.toml": service("child", fmt.Sprintf("exec = [\"sh\", \"-c\", \"setsid %s & exec sleep %s\"]\n", self, m)+variable+end),
			"daemon.toml": service("daemon", fmt.Sprintf("exec = [%q]\npid_file = %q\nenv = {%s = %q}\n", self, pidFile, helperVariable,
				"headless "+m+" "+pidFile)+end),
		}, testkit.Options{Env: env})
		s.Await("all three", func() bool { return len(headless("hl"+m)) == 3 })
		all := headless("hl" + m)
		c := s.Client()
		for _, name := range []string{"main", "child", "daemon"} {
			s.AwaitState(c, name, "running")
		}
		out := firstOf(s.Zinit("status", "child"))
		if !strings.Contains(out, "[hl"+m+"]") {
			t.Errorf("status of child does not list it:\n%s", out)
		}
		for i, name := range []string{"child", "daemon", "main"} {
			_, stderr, code := s.Zinit("stop", name)
			if left := headless("hl" + m); code != 0 || len(left) != 2-i {
				t.Errorf("stop %s: %d %s, left %v of %v", name, code, stderr, left, all)
			}
		}
	})
}
