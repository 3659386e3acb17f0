package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// noChildren makes sure that a test which reaps whatever comes has the process for itself.
func noChildren(t testing.TB) {
	t.Helper()
	for {
		e, ok := Peek()
		if !ok {
			break
		}
		Reap(e.PID)
	}
	if left := Children(nil); len(left) > 0 {
		t.Fatalf("children of an earlier test are left: %v", left)
	}
}

// sleeper starts a process that sleeps.
func sleeper(t testing.TB) int {
	t.Helper()
	return mustStart(t, &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "600"}}})
}

func exiting(t testing.TB, code int) int {
	t.Helper()
	return mustStart(t, &Spec{Plan: Plan{Path: "/bin/sh", Argv: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}}})
}

func TestReaperTellsEachOnceWhileZombiesAreKept(t *testing.T) {
	noChildren(t)
	r := NewReaper()
	alive := sleeper(t)
	want := map[int]int32{}
	got := map[int]machine.Status{}
	collect := func() {
		await(t, "all exits are told", func() bool {
			for e, ok := r.Next(); ok; e, ok = r.Next() {
				if _, twice := got[e.PID]; twice {
					t.Fatalf("%d was told twice", e.PID)
				}
				got[e.PID] = e.Status
			}
			return len(got) == len(want)
		})
	}
	for round := range 3 { // nothing is reaped between the rounds
		for i := range 20 {
			code := round*20 + i
			want[exiting(t, code)] = int32(code)
		}
		collect()
	}
	for pid, code := range want {
		if got[pid] != (machine.Status{Code: code}) {
			t.Errorf("%d: %+v, want code %d", pid, got[pid], code)
		}
		if p, err := ReadProcess(pid); err != nil || p.State != 'Z' {
			t.Errorf("%d is no zombie any more: %+v %v", pid, p, err)
		}
	}
	if r.Kept() != 60 {
		t.Errorf("%d kept", r.Kept())
	}
	for pid := range want {
		r.Reap(pid)
	}
	if children := Children(nil); !slices.Equal(children, []int{alive}) || r.Kept() != 0 {
		t.Errorf("after reaping: children %v, kept %d, want only %d", children, r.Kept(), alive)
	}
	if e, ok := r.Next(); ok {
		t.Errorf("told %+v after all", e)
	}
}

func TestReaperReapsAsItGoes(t *testing.T) {
	noChildren(t)
	r := NewReaper()
	left := map[int]bool{}
	for range 50 {
		left[exiting(t, 1)] = true
	}
	await(t, "all are reaped", func() bool {
		for e, ok := r.Next(); ok; e, ok = r.Next() {
			if !left[e.PID] {
				t.Fatalf("told %d, which is nobody's", e.PID)
			}
			delete(left, e.PID)
			r.Reap(e.PID)
		}
		return len(left) == 0
	})
}

func TestReapNeverWaits(t *testing.T) {
	noChildren(t)
	pid := sleeper(t)
	Reap(pid)
	Reap(1)
	Reap(1 << 22)
	if _, ok := PeekPID(pid); ok {
		t.Error("a living child was taken for dead")
	}
	if _, ok := Peek(); ok {
		t.Error("a living child was taken for dead")
	}
}

func TestFailedStartsBesideAReaper(t *testing.T) {
	// Start waits for its failed child itself; a reaper that is faster must do no harm.
	noChildren(t)
	r := NewReaper()
	done := make(chan int)
	for range 2 {
		go func() {
			failures := 0
			for range 100 {
				if _, err := Start(&Spec{Plan: Plan{Path: "/none", Argv: []string{"x"}}}); err != nil && err.Step == StepExec {
					failures++
				}
			}
			done <- failures
		}()
	}
	for finished := 0; finished < 2; {
		select {
		case n := <-done:
			finished++
			if n != 100 {
				t.Errorf("%d of 100 failed as they should", n)
			}
		default:
			for e, ok := r.Next(); ok; e, ok = r.Next() {
				r.Reap(e.PID)
			}
		}
	}
	noChildren(t)
}

func TestParseStat(t *testing.T) {
	const tail = " S 10 20 30 34817 20 4194560 1 2 3 4 55 66 7 8 20 0 5 0 12345 4096000 100 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 0 0 0 0 0 0\n"
	for _, comm := range []string{"cat", "a b", "a) S 1 (b", ")", "((", "a\nb", "", "naïve", "\xff"} {
		p, err := ParseStat([]byte("42 (" + comm + ")" + tail))
		want := Process{PID: 42, PPID: 10, PGRP: 20, Session: 30, TTY: 34817, Start: 12345, State: 'S', Threads: 5, UTime: 55, STime: 66,
			RSSBytes: 100 * uint64(os.Getpagesize()), Comm: comm}
		if err != nil || p != want {
			t.Errorf("%q: got %+v, %v", comm, p, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (cat", "42 cat)" + tail, "x (cat)" + tail, "42 (cat) SS 1", "42 (cat) S 1 2 3", "(cat)" + tail,
		"42 (cat)" + strings.Replace(tail, "12345", "-5", 1), "99999999999999999999 (cat)" + tail} {
		if p, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q gave %+v", bad, p)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("1 () Z 0 0 0 0"))
	f.Add([]byte("1 ()"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseStat(data)
		if err == nil && (p.PID < 0 || p.State == 0) {
			t.Fatalf("%q gave %+v", data, p)
		}
	})
}

// FuzzProcTexts feeds the other readers of /proc with anything.
func FuzzProcTexts(f *testing.F) {
	for _, path := range []string{"/proc/self/environ", "/proc/self/mountinfo", "/proc/self/cgroup", "/proc/net/tcp"} {
		data, err := os.ReadFile(path)
		if err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		variableIn(data, "ZINIT_ID")
		ownFolder(string(data), "0::/a")
		ownFolder("1 1 0:1 / /cg rw - cgroup2 x rw", string(data))
		listeningIn(strings.NewReader(string(data)), []uint16{80})
		numbersIn(data, nil)
		if _, gen, ok := ParseID(string(data)); ok && gen == 0 && !strings.HasSuffix(string(data), "0") {
			t.Fatalf("%q", data)
		}
	})
}

func TestSelfIsReadRight(t *testing.T) {
	p, err := ReadProcess(os.Getpid())
	if err != nil || p.PID != os.Getpid() || p.PPID != os.Getppid() || p.PGRP != unix.Getpgrp() || p.Start == 0 || p.RSSBytes == 0 || p.Kernel {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := ReadProcess(1 << 22); err != ErrGone {
		t.Errorf("no such process: %v", err)
	}
	if got := Cmdline(os.Getpid()); !slices.Equal(got, os.Args) {
		t.Errorf("%q, want %q", got, os.Args)
	}
	exe, _ := os.Executable()
	if got := Executable(os.Getpid()); got != exe {
		t.Errorf("%s, want %s", got, exe)
	}
	if id := BootID(); len(id) != 36 {
		t.Errorf("boot id %q", id)
	}
	pid := mustStart(t, &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "600"}}, Env: []string{"XA=no", "A=yes=1", "B="}})
	await(t, "the exec has set up the environment", func() bool { _, ok := Variable(pid, "A"); return ok })
	for name, want := range map[string]string{"A": "yes=1", "B": "", "XA": "no"} {
		if got, ok := Variable(pid, name); got != want || !ok {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	if got, ok := Variable(pid, "C"); ok {
		t.Errorf("C: %q", got)
	}
}

func TestChildrenAreListedWhoeverForkedThem(t *testing.T) {
	noChildren(t)
	var want []int
	for range 3 {
		thread := NewThread()
		for range 400 / 3 {
			thread.Do(func() { want = append(want, sleeper(t)) })
		}
	}
	got := Children(nil)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d listed, %d forked", len(got), len(want))
	}
	slow := childrenByParent(nil, os.Getpid())
	slices.Sort(slow)
	if !slices.Equal(slow, want) {
		t.Errorf("by parent: %d listed, %d forked", len(slow), len(want))
	}
}
