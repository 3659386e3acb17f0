package proc

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/supervisor/machine"
)

func intp(n int) *int { return &n }

// output is a pipe for a child's descriptors 1 and 2.
type output struct{ r, w *os.File }

func newOutput(t testing.TB) *output {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &output{r: r, w: w}
}

// files are the usual three descriptors of a service.
func (o *output) files(t testing.TB) []int {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return []int{int(null.Fd()), int(o.w.Fd()), int(o.w.Fd())}
}

// all reads until every writer is gone.
func (o *output) all(t testing.TB) string {
	t.Helper()
	o.w.Close()
	data, err := io.ReadAll(o.r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// shellSpec is a line for /bin/sh with the usual descriptors.
func shellSpec(t testing.TB, o *output, line string) *Spec {
	t.Helper()
	return &Spec{Plan: shellPlan(line), Env: []string{"PATH=" + DefaultPath}, Files: o.files(t)}
}

// mustStart starts a spec and kills what is left of it at the end of the test.
func mustStart(t testing.TB, s *Spec) int {
	t.Helper()
	pid, err := Start(s)
	if err != nil {
		t.Fatalf("cannot start %q: %v", s.Argv, err)
	}
	t.Cleanup(func() {
		if _, err := ReadProcess(pid); err == nil && parentOf(pid) == os.Getpid() {
			_ = unix.Kill(-pid, unix.SIGKILL)
			waitPID(pid)
		}
	})
	return pid
}

// wait waits for one child and reaps it.
func waitPID(pid int) machine.Status {
	_ = ignoringEINTR(func() error { return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
	e, _ := PeekPID(pid)
	Reap(pid)
	return e.Status
}

// runLine runs a shell line with a change to its spec and returns what it printed.
func runLine(t testing.TB, line string, change func(*Spec)) string {
	t.Helper()
	o := newOutput(t)
	s := shellSpec(t, o, line)
	if change != nil {
		change(s)
	}
	pid := mustStart(t, s)
	text := o.all(t)
	if status := waitPID(pid); status != (machine.Status{}) {
		t.Errorf("%q ended with %+v: %s", line, status, text)
	}
	return text
}

// ways are how a child can be started: by clone3 and a table of calls, by the library's fork, and by the trampoline
// behind that. The last two are forced as an old kernel does, and by a key that changes nothing visible.
var ways = []struct {
	name    string
	refused bool
	change  func(*Spec)
}{
	{"clone", false, func(*Spec) {}},
	{"library", true, func(*Spec) {}},
	{"trampoline", true, func(s *Spec) { s.Identity.Umask = intp(0o022) }},
}

// everyWay runs a test in each of the ways.
func everyWay(t *testing.T, f func(t *testing.T, change func(*Spec))) {
	for _, way := range ways {
		if !way.refused && !canClone { // this architecture has the other two only
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			cloneRefused.Store(way.refused)
			defer cloneRefused.Store(false)
			f(t, way.change)
			if !way.refused && cloneRefused.Load() {
				t.Error("clone3 was refused")
			}
		})
	}
}

func TestChildStandsAlone(t *testing.T) {
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		s := &Spec{Plan: Plan{Path: "/bin/cat", Argv: []string{"cat", "/proc/self/stat"}}, Files: o.files(t)}
		change(s)
		pid := mustStart(t, s)
		p, err := ParseStat([]byte(o.all(t)))
		if err != nil || p.PID != pid || p.PGRP != pid || p.Session != pid || p.PPID != os.Getpid() || p.Comm != "cat" || p.TTY != 0 {
			t.Errorf("child %d: %+v, %v", pid, p, err)
		}
		waitPID(pid)
	})
}

func TestChildHasDefaultSignals(t *testing.T) {
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		s := &Spec{Plan: Plan{Path: "/bin/cat", Argv: []string{"cat", "/proc/self/status"}}, Files: o.files(t)} // a shell clears its mask
		change(s)
		pid := mustStart(t, s)
		status := o.all(t)
		waitPID(pid)
		for _, field := range []string{"SigBlk", "SigIgn", "SigCgt"} {
			if !strings.Contains(status, field+":\t0000000000000000") {
				t.Errorf("%s is not empty:\n%s", field, status)
			}
		}
	})
}

func TestChildHasOnlyItsDescriptors(t *testing.T) {
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Fatal(err)
	}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		extra, err := os.Open("/etc/passwd")
		if err != nil {
			t.Fatal(err)
		}
		defer extra.Close()
		s := shellSpec(t, o, "ls /proc/self/fd | grep -vx 3; readlink /proc/self/fd/5; readlink /proc/self/fd/0")
		s.Files = append(s.Files, -1, -1, int(extra.Fd()))
		change(s)
		pid := mustStart(t, s)
		if got, want := strings.Fields(o.all(t)), "0 1 2 5 /etc/passwd /dev/null"; strings.Join(got, " ") != want {
			t.Errorf("got %q, want %s", got, want)
		}
		waitPID(pid)
	})
}

func TestChildDirectoryAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		got := runLine(t, "pwd; env", func(s *Spec) {
			s.Dir = dir
			s.Env = []string{"PATH=" + DefaultPath, "A=b c", "EMPTY="}
			change(s)
		})
		want := dir + "\nPATH=" + DefaultPath + "\nA=b c\nEMPTY=\nPWD=" + dir + "\n"
		for _, line := range strings.Split(want, "\n") {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in\n%s", line, got)
			}
		}
		if strings.Contains(got, helperVariable) || strings.Contains(got, "HOME") {
			t.Errorf("our own environment leaked:\n%s", got)
		}
	})
}

func TestExitStatusIsExact(t *testing.T) {
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		for line, want := range map[string]machine.Status{
			"exit 0":                          {},
			"exit 7":                          {Code: 7},
			"exit 255":                        {Code: 255},
			"kill -KILL $$":                   {Signal: 9},
			"kill -TERM $$":                   {Signal: 15},
			"ulimit -c 0; kill -SEGV $$":      {Signal: 11},
			"kill -" + "HUP" + " $$; exit 3":  {Signal: 1},
			"trap 'exit 4' TERM; kill -15 $$": {Code: 4},
		} {
			o := newOutput(t)
			s := shellSpec(t, o, line)
			change(s)
			got := waitPID(mustStart(t, s))
			got.Core = false
			if got != want {
				t.Errorf("%s: %+v, want %+v", line, got, want)
			}
		}
	})
}

func TestNofileIsWhatTheSupervisorGot(t *testing.T) {
	// Go raises the soft limit for itself. The helper starts with a soft limit of 99 and must hand on 99.
	o := newOutput(t)
	s := &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper"}}, Files: o.files(t),
		Env:      []string{helperVariable + "=nofile", "PATH=" + DefaultPath},
		Identity: graph.Identity{Limits: []graph.Limit{{Name: "nofile", Soft: 99, Hard: 1000}}}}
	pid := mustStart(t, s)
	if got := o.all(t); !strings.HasPrefix(got, "99 1000\n99 1000\n99 1000\n") {
		t.Errorf("got %q", got)
	}
	waitPID(pid)
}

func init() {
	helpers["nofile"] = func([]string) {
		for _, way := range ways {
			cloneRefused.Store(way.refused)
			s := &Spec{Plan: shellPlan("echo $(ulimit -Sn) $(ulimit -Hn)"), Files: []int{0, 1, 2}, Env: os.Environ()}
			way.change(s)
			pid, err := Start(s)
			if err != nil {
				os.Stdout.WriteString(err.Detail)
				return
			}
			waitPID(pid)
		}
	}
}

func TestSpawnErrorsNameTheStep(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path, dir, step, detail string
	}{
		{"no program", "/no/such/program", "", StepExec, "cannot execute /no/such/program: no such file or directory"},
		{"no directory", "/bin/true", dir + "/none", StepDir, "cannot change to the directory " + dir + "/none: no such file or directory"},
		{"both missing: the directory is first", "/no/such", dir + "/none", StepDir, ""},
		{"a file as directory", "/bin/true", write("file", "", 0o644), StepDir, "cannot change to " + dir + "/file: not a directory"},
		{"no interpreter", write("noint", "#!/no/such/interp -x\n", 0o755), "", StepInterpreter,
			"cannot execute " + dir + "/noint: its interpreter /no/such/interp: no such file or directory"},
		{"DOS line ends", write("dos", "#!/bin/sh\r\necho\r\n", 0o755), "", StepInterpreter,
			"cannot execute " + dir + "/dos: its first line ends in a carriage return (DOS line ends)"},
		{"not executable", write("plain", "#!/bin/sh\n", 0o644), "", StepExec,
			"cannot execute " + dir + "/plain: it is not executable (chmod +x)"},
		{"a directory as program", dir, "", StepExec, "cannot execute " + dir + ": not a regular file"},
		{"no format", write("junk", "\x01\x02\x03\x00", 0o755), "", StepExec,
			"cannot execute " + dir + "/junk: no program of this machine, and no script that begins with #!"},
		{"relative to the directory", "./missing", dir, StepExec, "cannot execute ./missing: no such file or directory"},
	}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		for _, test := range tests {
			o := newOutput(t)
			s := &Spec{Plan: Plan{Path: test.path, Argv: []string{"x"}}, Dir: test.dir, Files: o.files(t)}
			change(s)
			_, err := Start(s)
			if err == nil || err.Step != test.step || test.detail != "" && err.Detail != test.detail {
				t.Errorf("%s:\n got %+v\nwant %s: %s", test.name, err, test.step, test.detail)
			}
		}
		if e, ok := Peek(); ok {
			t.Errorf("a failed start left the zombie %d", e.PID)
		}
	})
}

func TestMissingLoaderIsNamed(t *testing.T) {
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	loader := interpreterOf("/bin/true")
	need.That(t, loader != "", "a dynamically linked /bin/true")
	broken := strings.Replace(string(data), loader, "/none"+loader[5:], 1)
	path := filepath.Join(t.TempDir(), "true")
	if err := os.WriteFile(path, []byte(broken), 0o755); err != nil {
		t.Fatal(err)
	}
	_, serr := Start(&Spec{Plan: Plan{Path: path, Argv: []string{"true"}}})
	if serr == nil || serr.Step != StepInterpreter || !strings.Contains(serr.Detail, "/none"+loader[5:]) {
		t.Errorf("got %+v", serr)
	}
}

func TestScriptWithoutFirstLineRunsUnderSh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("echo \"$0|$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		plan, err := Resolve(graph.Command{Line: path + " 'a b'"}, false, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		s := &Spec{Plan: plan, Files: o.files(t)}
		change(s)
		pid := mustStart(t, s)
		if got := o.all(t); got != path+"|a b\n" {
			t.Errorf("got %q", got)
		}
		waitPID(pid)
	})
	_, err := Start(&Spec{Plan: Plan{Path: path, Argv: []string{path}}})
	if err == nil || err.Step != StepExec {
		t.Errorf("an array must not fall back to a shell: %v", err)
	}
}

func TestForkFailsWithoutDescriptors(t *testing.T) {
	o := newOutput(t)
	s := &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper"}}, Files: o.files(t),
		Env:      []string{helperVariable + "=emfile"},
		Identity: graph.Identity{Limits: []graph.Limit{{Name: "nofile", Soft: 40, Hard: 40}}}}
	pid := mustStart(t, s)
	const refused = "fork: cannot fork: too many open files (out of descriptors"
	clone := "clone: started\n"
	if !canClone {
		clone = "clone: " + refused
	}
	if got := o.all(t); !strings.HasPrefix(got, clone) || !strings.Contains(got, "\nlibrary: "+refused) {
		t.Errorf("got %q", got)
	}
	waitPID(pid)
}

func init() {
	helpers["emfile"] = func([]string) {
		for {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				break
			}
		}
		tellStarts()
	}
}

// tellStarts starts a program in the first two ways and writes a line about each.
func tellStarts() {
	for _, way := range ways[:2] {
		cloneRefused.Store(way.refused)
		if _, err := Start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}}); err != nil {
			os.Stdout.WriteString(way.name + ": " + err.Step + ": " + err.Detail + "\n")
		} else {
			os.Stdout.WriteString(way.name + ": started\n") // it needs no descriptor
		}
	}
}

func TestForkFailsWithoutProcesses(t *testing.T) {
	need.Root(t)
	o := newOutput(t)
	s := &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper"}}, Files: o.files(t),
		Env:      []string{helperVariable + "=eagain", "GOMAXPROCS=1"},
		Identity: graph.Identity{User: "54321", Group: "54321"}}
	makeReachable(t, s)
	pid := mustStart(t, s)
	got := o.all(t)
	for _, way := range ways[:2] {
		if !strings.Contains(got, way.name+": fork: cannot fork: resource temporarily unavailable (too many processes") {
			t.Errorf("%s: got %q", way.name, got)
		}
	}
	waitPID(pid)
}

func init() {
	helpers["eagain"] = func([]string) {
		everyProcessor() // as the first start of a server has done; it may need a thread
		// Only now: the Go runtime itself needs threads, and they count.
		limit := unix.Rlimit{Cur: 1, Max: 1}
		_ = unix.Prlimit(0, unix.RLIMIT_NPROC, &limit, nil)
		tellStarts()
	}
}

// makeReachable gives a spec a copy of the test binary that other users can execute.
func makeReachable(t testing.TB, s *Spec) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := readable(t) + "/helper"
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Path = path
}

func TestParentDeathSignal(t *testing.T) {
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		mode := "direct"
		var probe Spec
		if change(&probe); probe.needsTrampoline() {
			mode = "trampoline"
		}
		s := &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper", mode}}, Files: o.files(t),
			Env: []string{helperVariable + "=deathsig", "PATH=" + DefaultPath}}
		pid := mustStart(t, s)
		var line [32]byte
		n, err := o.r.Read(line[:])
		if err != nil {
			t.Fatal(err)
		}
		child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
		if err != nil {
			t.Fatal(err)
		}
		p, err := ReadProcess(child)
		if err != nil {
			t.Fatalf("the child must survive the helper's other threads: %v", err)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		waitPID(pid)
		await(t, "the child ends with its supervisor", func() bool {
			now, err := ReadProcess(child)
			return err != nil || now.Dead() || now.Start != p.Start
		})
	})
}

func init() {
	helpers["deathsig"] = func(args []string) {
		thread := NewThread()
		var pid int
		var err *Error
		s := &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "60"}}, Files: []int{0, 1, 2}, Pdeathsig: true}
		if args[0] == "trampoline" {
			ways[2].change(s)
			if os.Geteuid() == 0 {
				s.Identity.User, s.Identity.Group = "54321", "54321" // a change of identity clears the signal
			}
		}
		thread.Do(func() { pid, err = Start(s) })
		if err != nil {
			os.Stdout.WriteString(err.Detail)
			return
		}
		// Threads that end must not matter.
		for range 3 {
			done := make(chan bool)
			go func() { runtime.LockOSThread(); close(done) }() // returns locked: its thread ends
			<-done
		}
		os.Stdout.WriteString(strconv.Itoa(pid) + "\n")
		time.Sleep(time.Hour) // until it is killed: it is the supervisor whose death is waited for
	}
}

func TestTerminalBecomesTheChilds(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	need.That(t, err == nil, "/dev/ptmx")
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		o := newOutput(t)
		s := shellSpec(t, o, "(tty; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; cut -d' ' -f7 /proc/self/stat) >&3")
		s.Files = append(s.Files, int(o.w.Fd()))
		s.Tty = path
		change(s)
		pid := mustStart(t, s)
		got := strings.Fields(o.all(t))
		if len(got) != 5 || got[0] != path || got[1] != path || got[3] == "" || got[4] == "0" {
			t.Errorf("got %q, want the terminal %s", got, path)
		}
		waitPID(pid)
	})
	_, serr := Start(&Spec{Plan: shellPlan("true"), Tty: "/dev/null"})
	if serr == nil || serr.Step != StepTTY {
		t.Errorf("/dev/null as terminal: %v", serr)
	}
	_, serr = Start(&Spec{Plan: shellPlan("true"), Tty: "/dev/none"})
	if serr == nil || serr.Step != StepTTY {
		t.Errorf("a missing terminal: %v", serr)
	}
}
