package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// next starts another server on the socket of one that was killed.
func next(t *testing.T, s *testkit.Server, env []string, args ...string) (log func() string, stop func() int) {
	t.Helper()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(s.Bin, append([]string{"server", "--config", s.Dir, "--socket", s.Socket}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() int {
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return func() string { b, _ := os.ReadFile(file.Name()); return string(b) }, stop
}

// TestLeftovers: what a server without a keeper leaves when it is killed is named by the next one and ended before anything
// starts; when it is to be kept, it does not pass for the new copy.
func TestLeftovers(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		port := freePort(t)
		file := t.TempDir() + "/pid"
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		s := testkit.Start(t, map[string]string{"web.toml": service("web", fmt.Sprintf("exec = [\"sh\", \"-c\", \"setsid %s & exec sleep 7000\"]\n"+
			"env = {%s = \"listen %d %s\"}\n[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:%d\"\n[lifecycle]\nrestart = \"never\"\n",
			self, helperVariable, port, file, port))}, testkit.Options{Env: env})
		s.AwaitState(s.Client(), "web", "running")
		old, _ := os.ReadFile(file)
		left, _ := strconv.Atoi(string(old))
		kill := func() {
			if code := s.Stop(syscall.SIGKILL); code == 0 || !alive(left) {
				t.Fatalf("exit code %d; the listener is there: %v", code, alive(left))
			}
		}
		kill()

		log, stop := next(t, s, env, "--keep-leftovers")
		said := fmt.Sprintf("pid %d (%s) is left over from a server that was killed, of service web; it is kept", left, comm(left))
		answered := fmt.Sprintf("answered by pid %d (", left)
		ok := wait.Until(wait.Patience, func() bool {
			why, _, _ := s.Zinit("status", "web")
			return strings.Contains(log(), said) && strings.Contains(why, answered)
		})
		if out := firstOf(s.Zinit("list")); !ok || strings.Contains(out, "running") {
			t.Errorf("with the leftover kept: %s\n%s", out, log())
		}
		if code := stop(); code != 0 || !alive(left) {
			t.Errorf("exit code %d; the leftover that was to be kept is there: %v", code, alive(left))
		}

		log, stop = next(t, s, env)
		running := wait.Until(wait.Patience, func() bool {
			out, _, _ := s.Zinit("list")
			return strings.Contains(out, "running")
		})
		fresh, _ := os.ReadFile(file)
		if !running || alive(left) || string(fresh) == string(old) {
			t.Errorf("running: %v, the leftover is there: %v, the listener is %s, it was %s\n%s", running, alive(left), fresh, old, log())
		}
		if code := stop(); code != 0 {
			t.Errorf("exit code %d\n%s", code, log())
		}
		if lock, _ := os.ReadFile(s.Socket + ".lock"); len(strings.Fields(string(lock))) > 1 {
			t.Errorf("after a clean end the lock holds %q", lock)
		}
	})
}

// TestDesertedOnAnotherSocket: what a killed server of another socket has left in its control group is named and left alone,
// and does not pass for a service of this one; what lives under a keeper is not touched or named.
func TestDesertedOnAnotherSocket(t *testing.T) {
	port := freePort(t)
	file := t.TempDir() + "/pid"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	web := map[string]string{"web.toml": service("web", fmt.Sprintf("exec = [\"sh\", \"-c\", \"setsid %s & exec sleep 7000\"]\n"+
		"env = {%s = \"listen %d %s\"}\n[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:%d\"\n[lifecycle]\nrestart = \"never\"\n",
		self, helperVariable, port, file, port))}
	kept := testkit.Start(t, map[string]string{"kept.toml": service("kept", "exec = [\"sleep\", \"7000\"]\n")},
		testkit.Options{Applet: "pid1"})
	need.That(t, strings.Contains(firstOf(kept.Zinit("status")), "tracking     cgroup"), "control groups that can be written")
	lives := kept.AwaitState(kept.Client(), "kept", "running").PID
	dead := testkit.Start(t, web, testkit.Options{})
	dead.AwaitState(dead.Client(), "web", "running")
	text, _ := os.ReadFile(file)
	left, _ := strconv.Atoi(string(text))
	if dead.Stop(syscall.SIGKILL); !alive(left) {
		t.Fatal("the listener has ended")
	}
	t.Cleanup(func() { _ = syscall.Kill(left, syscall.SIGKILL) })

	s := testkit.Start(t, web, testkit.Options{})
	said := fmt.Sprintf("pid %d (%s, of service web)", left, comm(left))
	s.Await("its name", func() bool {
		return strings.Contains(s.Logs(), "a zinit on another socket was killed and has left running: "+said)
	})
	s.Await("the check that does not count", func() bool {
		return strings.Contains(firstOf(s.Zinit("status", "web")), fmt.Sprintf("answered by pid %d (", left))
	})
	if out := firstOf(s.Zinit("list")); strings.Contains(out, "running") || strings.Contains(s.Logs(), fmt.Sprintf("pid %d (sleep", lives)) {
		t.Errorf("%s\n%s", out, s.Logs())
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 || !alive(left) || !alive(lives) {
		t.Errorf("exit code %d; the other server's process is there: %v, the living one's: %v", code, alive(left), alive(lives))
	}
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

// TestStrangerAnswers: whoever else listens where the check connects to counts, and is named.
func TestStrangerAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := testkit.Start(t, map[string]string{"web.toml": service("web", fmt.Sprintf("exec = [\"sleep\", \"7001\"]\n[health]\n"+
		"type = \"tcp\"\ntarget = %q\n", l.Addr()))}, testkit.Options{})
	s.AwaitState(s.Client(), "web", "running")
	want := fmt.Sprintf("its check is answered by pid %d (", os.Getpid())
	for _, command := range []string{"why", "status"} {
		if out := firstOf(s.Zinit(command, "web")); !strings.Contains(out, want) {
			t.Errorf("%s does not say %q\n%s", command, want, out)
		}
	}
}
