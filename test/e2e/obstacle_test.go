package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/deadmount"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// cannotEnd stops a service that something keeps from ending, and checks that stop, why, status, events and the log name its
// pid with the cause.
func cannotEnd(t *testing.T, s *testkit.Server, name string, pid int, cause string) {
	t.Helper()
	_, stderr, code := s.Zinit("stop", name)
	if code == 0 {
		t.Errorf("stop %s answers 0 while pid %d is there", name, pid)
	}
	pidText := fmt.Sprintf("pid %d (", pid)
	why, _, _ := s.Zinit("why", name)
	status, _, _ := s.Zinit("status", name)
	for from, text := range map[string]string{"stop": stderr, "why": why, "status": status} {
		if !strings.Contains(text, pidText) || !strings.Contains(text, cause) {
			t.Errorf("%s does not say %q of %s\n%s", from, cause, pidText, text)
		}
	}
	s.Await("the event and the line of the log", func() bool {
		events, _, _ := s.Zinit("events")
		both := strings.Contains(events, pidText) && strings.Contains(events, cause)
		return both && strings.Contains(s.Logs(), name+" cannot be ended: "+pidText)
	})
}

const obstinate = `
[service]
name = "%s"
exec = ["sleep", "%s"]
[lifecycle]
stop_timeout_ms = 100
`

// TestTracedCannotEnd: a debugger that holds a process keeps even its exit to itself.
func TestTracedCannotEnd(t *testing.T) {
	runtime.LockOSThread() // ptrace(2) goes by threads
	m := mark(t, 70)
	s := testkit.Start(t, map[string]string{"traced.toml": fmt.Sprintf(obstinate, "traced", m)}, testkit.Options{})
	pid := s.AwaitState(s.Client(), "traced", "running").PID
	need.That(t, unix.PtraceSeize(pid) == nil, "ptrace")
	cannotEnd(t, s, "traced", pid, "which traces it, has not taken note of that")
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil { // lets it go
		t.Fatal(err)
	}
	s.Await("the stop goes on", func() bool {
		out, _, _ := s.Zinit("list")
		return strings.Contains(out, "exited") || strings.Contains(out, "inactive")
	})
}

// TestFrozenCannotEnd: a freezer of cgroup version 1 holds up SIGKILL; a server that must leave the process behind says so,
// and its exit code too.
func TestFrozenCannotEnd(t *testing.T) {
	need.Root(t)
	const freezer = "/sys/fs/cgroup/freezer"
	_, err := os.Stat(freezer + "/cgroup.procs")
	need.That(t, err == nil, "the freezer of cgroup version 1")
	group := filepath.Join(freezer, "zinit-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	m := mark(t, 71)
	s := testkit.Start(t, map[string]string{"cold.toml": fmt.Sprintf(obstinate, "cold", m)}, testkit.Options{})
	pid := s.AwaitState(s.Client(), "cold", "running").PID
	write(t, group+"/cgroup.procs", strconv.Itoa(pid))
	write(t, group+"/freezer.state", "FROZEN")
	thaw := func() {
		write(t, group+"/freezer.state", "THAWED")
		s.Await("the group is empty", func() bool { return os.Remove(group) == nil })
	}
	t.Cleanup(thaw)
	s.Await("it is frozen", func() bool {
		state, _ := os.ReadFile(group + "/freezer.state")
		return string(state) == "FROZEN\n"
	})
	cannotEnd(t, s, "cold", pid, "its control group is frozen ("+group)
	if code := s.Stop(syscall.SIGTERM); code != 1 || !strings.Contains(s.Logs(), fmt.Sprintf("left behind: pid %d (", pid)) {
		t.Errorf("exit code %d\n%s", code, s.Logs())
	}
	thaw()
	if err := os.Mkdir(group, 0o755); err != nil { // for the cleanup
		t.Error(err)
	}
}

// TestUninterruptibleCannotEnd: a process that waits for a file server which has taken its question and never answers is not
// even ended by SIGKILL; the function of the kernel in which it waits is told.
func TestUninterruptibleCannotEnd(t *testing.T) {
	dead := deadmount.NewDeaf(t)
	s := testkit.Start(t, map[string]string{"stuck.toml": "[service]\nname = \"stuck\"\nexec = [\"cat\", \"" + dead +
		"/file\"]\n[lifecycle]\nstop_timeout_ms = 100\n"}, testkit.Options{})
	pid := s.AwaitState(s.Client(), "stuck", "running").PID
	wchan := ""
	s.Await("it has asked", func() bool {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
		wchan = string(name)
		return strings.Contains(wchan, "request_wait_answer") || strings.Contains(wchan, "fuse")
	})
	cannotEnd(t, s, "stuck", pid, "it is in an uninterruptible sleep in the kernel ("+wchan+")")
	if code := s.Stop(syscall.SIGTERM); code != 1 || !strings.Contains(s.Logs(), fmt.Sprintf("left behind: pid %d (", pid)) {
		t.Errorf("exit code %d\n%s", code, s.Logs())
	}
	deadmount.Abort(dead)
	wait.For(t, "its end, once there is an answer", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// TestMovedOutOfItsGroup: a process that has left the control group of its service is listed, and ended with it, even when
// it ignores SIGTERM and its parent has ended.
func TestMovedOutOfItsGroup(t *testing.T) {
	need.Root(t)
	m := mark(t, 72)
	// The root of the hierarchy takes processes at any time; $1 is how deep the escape is nested.
	const escape = `g=$(sed -n 's|^0::||p' /proc/self/cgroup); r=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
[ -n "$r" ] && echo $$ >$r/cgroup.procs || exit 9
`
	files := map[string]string{
		"child.toml":  moved("child", escape+`(trap "" TERM; while :; do sleep `+m+`; done) & exec sleep `+m),
		"orphan.toml": moved("orphan", `sh -c '`+strings.ReplaceAll(escape, "'", `'\''`)+` (trap "" TERM; setsid sh -c "trap \"\" TERM; sleep `+m+`; :" &)'; exec sleep `+m),
	}
	s := testkit.Start(t, files, testkit.Options{})
	need.That(t, strings.Contains(firstOf(s.Zinit("status")), "tracking     cgroup"), "control groups that can be written")
	c := s.Client()
	for name := range files {
		name = strings.TrimSuffix(name, ".toml")
		s.AwaitState(c, name, "running")
	}
	s.Await("all processes", func() bool { return len(marked(m)) >= 5 })
	for name, least := range map[string]int{"child": 1, "orphan": 1} {
		out := firstOf(s.Zinit("status", name))
		if strings.Count(out, "outside its control group") < least {
			t.Errorf("status of %s does not show what was moved\n%s", name, out)
		}
	}
	for name := range files {
		name = strings.TrimSuffix(name, ".toml")
		if _, stderr, code := s.Zinit("stop", name); code != 0 {
			t.Errorf("stop %s: %d %s", name, code, stderr)
		}
	}
	if left := marked(m); len(left) > 0 {
		out, _ := exec.Command("ps", "-o", "pid,ppid,stat,args", "-p", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(left)), ","), "[]")).Output()
		t.Errorf("left behind:\n%s", out)
	}
}

func firstOf(out, _ string, _ int) string { return out }

func moved(name, script string) string {
	return "[service]\nname = \"" + name + "\"\nexec = [\"sh\", \"-c\", '''" + script + "''']\n[lifecycle]\nstop_timeout_ms = 500\n"
}

// TestStraysEndWithTheServer: a server without a keeper ends what its services have left behind, however long ago, and not
// what was there before it.
func TestStraysEndWithTheServer(t *testing.T) {
	m, other := mark(t, 73), mark(t, 74)
	wrapper := filepath.Join(t.TempDir(), "zinit")
	script := "#!/bin/sh\n[ \"$1\" = server ] && sleep " + other + " &\nexec " + testkit.Binary(t, "") + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, map[string]string{"once.toml": "[service]\nname = \"once\"\noneshot = true\n" +
		"exec = [\"sh\", \"-c\", '''trap \"\" TERM; env -i setsid sh -c 'trap \"\" TERM; sleep " + m + "; :' </dev/null >/dev/null 2>&1 &''']\n"},
		testkit.Options{Env: []string{"ZINIT_CGROUP=0"}, Bin: wrapper})
	s.Await("what the oneshot left", func() bool { return len(marked(m)) == 2 && len(marked(other)) == 1 })
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := marked(m); len(left) > 0 {
		t.Errorf("left behind: %v\n%s", left, s.Logs())
	}
	bystanders := marked(other)
	if len(bystanders) == 0 {
		t.Errorf("what the server has not started was ended\n%s", s.Logs())
	}
	for _, pid := range bystanders {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	wait.For(t, "the end of the bystander", func() bool { return len(marked(other)) == 0 })
}
