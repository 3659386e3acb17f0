package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeSupervisor reaps everything but the main processes it was told to keep, as the driver does: not while a start is
// under way.
type fakeSupervisor struct {
	mu   sync.Mutex
	keep map[int]bool
	stop chan struct{}
	done chan struct{}
}

func newFakeSupervisor(t testing.TB) *fakeSupervisor {
	t.Helper()
	noChildren(t)
	f := &fakeSupervisor{keep: map[int]bool{}, stop: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	t.Cleanup(f.end)
	return f
}

// start starts a main process, whose zombie is kept.
func (f *fakeSupervisor) start(s *Spec) (int, *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := Start(s)
	if err == nil {
		f.keep[pid] = true
	}
	return pid, err
}

func (f *fakeSupervisor) run() {
	defer close(f.done)
	r := NewReaper()
	for {
		f.mu.Lock()
		for e, ok := r.Next(); ok; e, ok = r.Next() {
			if !f.keep[e.PID] {
				r.Reap(e.PID)
			}
		}
		f.mu.Unlock()
		select {
		case <-f.stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// finish waits for a child that was kept and reaps it.
func (f *fakeSupervisor) finish(pid int) {
	waitPID(pid)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keep, pid)
}

// end reaps what was kept, after all of it has been killed.
func (f *fakeSupervisor) end() {
	close(f.stop)
	<-f.done
	for pid := range f.keep {
		_ = unix.Kill(-pid, unix.SIGKILL)
		waitPID(pid)
	}
}

// scenario is a service that tries to get away. Its processes have MARK in their command lines, which is replaced by
// something unique. HOP is a script that starts itself again and exits, for ever; SESSIONHOP does so in a new session each
// time.
type scenario struct {
	name string
	line string
	// alive is how many processes with MARK there are in the end, at least; 0 = they come and go.
	alive int
	// needs says by which sign alone the survivors can be recognised without a cgroup: "tag" when all others are shed.
	needs string
}

// shedAll leaves a process without its session, environment, descriptors and parent.
const shedAll = "env -i setsid sleep MARK </dev/null >/dev/null 2>&1 & exit 0"

var scenarios = []scenario{
	{"children", "sleep MARK & sleep MARK & exec sleep MARK", 3, ""},
	{"main process gone", "sleep MARK & sleep MARK & exit 0", 2, ""},
	{"setsid", "setsid sleep MARK & exec sleep MARK", 2, ""},
	{"own process groups", "set -m; sleep MARK & sleep MARK & exit 0", 2, ""},
	{"double fork", "(setsid sh -c 'sleep MARK & sleep MARK & exit 0' &) ; exit 0", 2, ""},
	{"triple fork with a living middle", "(setsid sh -c 'setsid sleep MARK & exec sleep MARK' &) ; exit 0", 2, ""},
	{"TERM ignored", "trap '' TERM HUP INT; sleep MARK & setsid sleep MARK & while :; do sleep MARK; done", 3, ""},
	{"stopped", "setsid sh -c ': MARK; kill -STOP $$' & sh -c ': MARK; kill -STOP $$' & exit 0", 2, ""},
	{"environment shed, pipe kept", "env -i setsid sleep MARK & exit 0", 1, ""},
	{"pipe shed, environment kept", "setsid sleep MARK </dev/null >/dev/null 2>&1 & exit 0", 1, ""},
	{"all shed", shedAll, 1, "tag"},
	{"fork storm", "while :; do sh -c ': MARK; exit 0' & done", 0, ""},
	{"fork storm in sessions", "for i in 1 2 3; do setsid sh -c 'while :; do sh -c \": MARK; exit 0\" & done' & done; exit 0", 0, ""},
	{"hop from process to process", "exec HOP", 0, ""},
	{"hop in an own session, main gone", "setsid HOP & exit 0", 0, ""},
	{"hop from session to session", "SESSIONHOP & exit 0", 0, ""},
	{"three hundred", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); setsid sleep MARK & done; exit 0", 300, ""},
}

// launched is a scenario under way.
type launched struct {
	owner Owner
	mark  string
	group *Group
}

// launch starts a scenario and waits until its processes are there.
func launch(t *testing.T, f *fakeSupervisor, s *scenario, gen uint64, group *Group, tagged bool) *launched {
	t.Helper()
	dir := t.TempDir()
	l := &launched{mark: fmt.Sprintf("6%05d.%06d", os.Getpid(), gen), group: group}
	hop := filepath.Join(dir, "hop"+l.mark)
	if err := os.WriteFile(hop, []byte("#!/bin/sh\n\"$0\" &\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sessionHop := filepath.Join(dir, "session"+l.mark)
	if err := os.WriteFile(sessionHop, []byte("#!/bin/sh\nsetsid \"$0\" &\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	line := strings.NewReplacer("MARK", l.mark, "SESSIONHOP", sessionHop, "HOP", hop).Replace(s.line)
	o := newOutput(t)
	spec := shellSpec(t, o, line)
	spec.Env = append(spec.Env, EnvID+"="+ID("svc", gen), EnvInstance+"=test")
	spec.Cgroup = group
	if tagged {
		spec.Tag = Tag("test", gen)
	}
	pid, err := f.start(spec)
	if err != nil {
		t.Fatal(err)
	}
	p, perr := ReadProcess(pid)
	if perr != nil {
		t.Fatal(perr)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(o.w.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	l.owner = Owner{Service: "svc", Gen: gen, Main: pid, Start: p.Start, PipeInodes: []uint64{st.Ino}}
	o.w.Close()
	if group != nil {
		l.owner.Cgroup = group.Main()
	}
	t.Cleanup(func() { killMarked(l.mark) })
	await(t, "the processes of the scenario", func() bool {
		p, err := ReadProcess(pid)
		ended := err != nil || p.Dead()
		return s.arrived(l.mark) && (ended || !strings.HasSuffix(s.line, "exit 0"))
	})
	return l
}

// arrived reports whether the processes are what they are going to be: a shell's child is a shell until its exec.
func (s *scenario) arrived(mark string) bool {
	if !strings.Contains(s.line, "sleep MARK") {
		return len(marked(mark)) >= max(s.alive, 1)
	}
	n := 0
	for _, pid := range marked(mark) {
		if argv := Cmdline(pid); len(argv) == 2 && argv[0] == "sleep" {
			n++
		}
	}
	return n >= s.alive
}

// marked lists the living processes with a mark in their command line: the test's own book.
func marked(mark string) (out []int) {
	for _, pid := range listNumbers("/proc", nil) {
		var buf [4096]byte
		data, err := readProc(pid, "cmdline", buf[:])
		if err == nil && bytes.Contains(data, []byte(mark)) {
			if p, err := ReadProcess(pid); err == nil && !p.Dead() {
				out = append(out, pid)
			}
		}
	}
	return out
}

// killMarked is the safety net of a test that has failed.
func killMarked(mark string) {
	for range 1000 {
		pids := marked(mark)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// gone waits until nothing of a scenario is left, and stays away.
func (l *launched) gone(t *testing.T) {
	t.Helper()
	quiet := 0
	await(t, "nothing with the mark is left", func() bool {
		if len(marked(l.mark)) > 0 {
			quiet = 0
			return false
		}
		quiet++
		return quiet > 20
	})
}

// needsTags leaves out a test of what is only true with marks.
func needsTags(t *testing.T) {
	t.Helper()
	if !canTag() {
		t.Skip("a 32-bit machine has no marks")
	}
}

func TestNothingEscapesTheSweep(t *testing.T) {
	f := newFakeSupervisor(t)
	bystander := sleeperWith(t, f, []string{EnvID + "=svc.1", EnvInstance + "=other"})
	gen := uint64(100)
	for _, tagged := range []bool{true, false} {
		for i := range scenarios {
			s := &scenarios[i]
			if (!tagged || !canTag()) && s.needs == "tag" {
				continue
			}
			gen++
			t.Run(fmt.Sprintf("%s, tagged %v", s.name, tagged), func(t *testing.T) {
				l := launch(t, f, s, gen, nil, tagged)
				scanner := &Scanner{Instance: "test"}
				await(t, "KillTree leaves nothing", func() bool { return scanner.KillTree(&l.owner) == 0 })
				l.gone(t)
			})
		}
	}
	if p, err := ReadProcess(bystander); err != nil || p.Dead() {
		t.Error("a process of another supervisor with the same names was killed")
	}
}

func sleeperWith(t testing.TB, f *fakeSupervisor, env []string) int {
	t.Helper()
	pid, err := f.start(&Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "600"}}, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestNothingEscapesTheCgroup(t *testing.T) {
	root := testRoot(t)
	f := newFakeSupervisor(t)
	for i := range scenarios {
		s := &scenarios[i]
		t.Run(s.name, func(t *testing.T) {
			group, err := root.New("svc", uint64(i+1), graphCgroupNone)
			if err != nil {
				t.Fatal(err)
			}
			l := launch(t, f, s, uint64(i+1), group, false)
			if !group.Populated(0) {
				t.Error("the group is not populated")
			}
			members := (&Scanner{}).Members(&l.owner)
			if s.alive > 0 && len(members) < s.alive {
				t.Errorf("Members finds %d of %d", len(members), s.alive)
			}
			if err := group.Kill(); err != nil {
				t.Fatal(err)
			}
			await(t, "the group is empty", func() bool { return !group.Populated(0) })
			l.gone(t)
			if err := group.Remove(); err != nil {
				t.Error(err)
			}
			if exists(group.Path()) {
				t.Errorf("%s is still there", group.Path())
			}
		})
	}
}

func TestScanTellsManyTreesApartInOnePass(t *testing.T) {
	f := newFakeSupervisor(t)
	var all []*launched
	var owners []Owner
	lines := []string{"sleep MARK & exec sleep MARK", "setsid sleep MARK & exit 0", shedAll}
	if !canTag() {
		lines[2] = lines[1]
	}
	for i := range 15 {
		s := &scenario{line: lines[i%3], alive: []int{2, 1, 1}[i%3]}
		l := launch(t, f, s, uint64(500+i), nil, true)
		all, owners = append(all, l), append(owners, l.owner)
	}
	scanner := &Scanner{Instance: "test"}
	members, strays := scanner.Scan(owners)
	for i, l := range all {
		got := []int{}
		for _, p := range members[l.owner.Gen] {
			got = append(got, p.PID)
		}
		want := marked(l.mark)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("tree %d: %v, want %v", i, got, want)
		}
	}
	if len(strays) > 0 {
		t.Errorf("strays: %+v", strays)
	}
	// Without its owner a tree is stray.
	members, strays = scanner.Scan(owners[1:])
	if len(members[500]) != 0 || len(strays) != 2 {
		t.Errorf("an unknown tree: members %v, strays %+v", members[500], strays)
	}
}

func TestStraysAreWhatHasShedEverything(t *testing.T) {
	f := newFakeSupervisor(t)
	s := &scenario{line: shedAll, alive: 1}
	l := launch(t, f, s, 600, nil, false)
	scanner := &Scanner{Instance: "test"}
	members, strays := scanner.Scan([]Owner{l.owner})
	if len(members) != 0 || len(strays) != 1 || strays[0].PID != marked(l.mark)[0] {
		t.Errorf("members %v, strays %+v", members, strays)
	}
	if n := scanner.Signal(strays, unix.SIGKILL); n != 1 {
		t.Errorf("%d signalled", n)
	}
	l.gone(t)
}

func TestOrphans(t *testing.T) {
	needsTags(t)
	f := newFakeSupervisor(t)
	scanner := &Scanner{Instance: "test"}
	known := func(pids ...int) func(int) bool { return func(pid int) bool { return slices.Contains(pids, pid) } }
	a := launch(t, f, &scenario{line: "exec sleep MARK", alive: 1}, 700, nil, true)
	if got := scanner.Orphans(known(a.owner.Main)); len(got) != 0 {
		t.Errorf("orphans %+v", got)
	}
	b := launch(t, f, &scenario{line: "setsid sh -c 'sleep MARK & exec sleep MARK' & exit 0", alive: 2}, 701, nil, false)
	c := launch(t, f, &scenario{line: shedAll, alive: 1}, 702, nil, true)
	got := scanner.Orphans(known(a.owner.Main, b.owner.Main, c.owner.Main))
	gens := []uint64{}
	for _, o := range got {
		gens = append(gens, o.Gen)
	}
	slices.Sort(gens)
	if !slices.Equal(gens, []uint64{701, 702}) {
		t.Errorf("orphans of %v: %+v", gens, got)
	}
}

func TestForksUnderWayAreNoStrays(t *testing.T) {
	f := newFakeSupervisor(t)
	scanner := &Scanner{Instance: "test"}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for gen := uint64(1); ; gen++ {
			select {
			case <-stop:
				return
			default:
			}
			env := []string{EnvID + "=" + ID("x", gen), EnvInstance + "=test"}
			pid, err := f.start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Env: env, Tag: Tag("test", gen)})
			if err == nil {
				f.finish(pid) // each zombie makes a look slower, in which there come to be more of them
			}
		}
	}()
	// We hold the log pipe of a service that is coming to its end, as the driver does; what we fork now is not of it.
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	var st unix.Stat_t
	if err := unix.Fstat(pipe[0], &st); err != nil {
		t.Fatal(err)
	}
	ending := Owner{Service: "ending", Gen: 1 << 30, PipeInodes: []uint64{st.Ino}}
	for range 300 {
		if got := scanner.Members(&ending); len(got) > 0 {
			t.Errorf("a child of another service before its exec counts as one of a service that ends: %+v", got)
		}
		for _, o := range scanner.Orphans(func(int) bool { return false }) {
			if o.Gen == 0 && Executable(o.PID) == Executable(os.Getpid()) {
				t.Errorf("a child before its exec was told: %+v", o)
			}
		}
	}
	close(stop)
	<-done
}

func TestProtectedProcessesAreNeverSignalled(t *testing.T) {
	parent := os.Getppid() // the go command, whose children the tests of other packages are: their services are not ours
	scanner := &Scanner{Keeper: parent, Instance: "test"}
	for _, pid := range []int{0, 1, -1, os.Getpid(), parent, parentOf(parent)} {
		if !scanner.guard().protects(pid) {
			t.Errorf("%d is not protected", pid)
		}
	}
	self, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Signal 0 would reach them; SIGWINCH would do no harm if the test fails.
	if n := scanner.Signal([]Process{self, {PID: parent}, {PID: 1}}, unix.SIGWINCH); n != 0 {
		t.Errorf("%d were signalled", n)
	}
	members, _ := scanner.Scan([]Owner{{Gen: 1, Main: os.Getpid(), Start: self.Start}, {Gen: 2, Main: parent}, {Gen: 3, Main: 1}})
	if len(members) != 0 {
		t.Errorf("protected processes became members: %v", members)
	}
}

func TestARecycledPidIsNobodys(t *testing.T) {
	f := newFakeSupervisor(t)
	l := launch(t, f, &scenario{line: "sleep MARK & exec sleep MARK", alive: 2}, 800, nil, false)
	owner := l.owner
	owner.Start--
	owner.Gen, owner.PipeInodes = 801, nil
	scanner := &Scanner{Instance: "test"}
	if got := scanner.Members(&owner); len(got) != 0 {
		t.Errorf("members by a pid with another start time: %+v", got)
	}
	if n := scanner.KillTree(&owner); n != 0 || len(marked(l.mark)) != 2 {
		t.Errorf("left %d, alive %d", n, len(marked(l.mark)))
	}
	if err := SignalProcess(owner.Main, owner.Start, unix.SIGKILL); err != ErrGone {
		t.Errorf("SignalProcess: %v", err)
	}
	if _, err := OpenPidfd(owner.Main, owner.Start); err != ErrGone {
		t.Errorf("OpenPidfd: %v", err)
	}
}

func TestTags(t *testing.T) {
	needsTags(t)
	a, b := Tag("one", 7), Tag("two", 7)
	if a == b || a == 0 || a>>63 != 1 || a == unix.RLIM_INFINITY {
		t.Errorf("%x %x", a, b)
	}
	if gen, ok := genOf(a, "one"); !ok || gen != 7 {
		t.Errorf("%d %v", gen, ok)
	}
	for _, tag := range []uint64{0, b, a &^ (1 << 63), 1 << 63} {
		if gen, ok := genOf(tag, "one"); ok {
			t.Errorf("%x is taken for %d", tag, gen)
		}
	}
	if Tag("", 1) != 0 || Tag("one", 0) != 0 || Tag("one", 1<<40) != 0 {
		t.Error("a tag for nothing")
	}
	pid := mustStart(t, &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "600"}}, Tag: a})
	if hard, err := marksOn(pid); err != nil || hard.Ours() != a {
		t.Errorf("%x, want %x", hard, a)
	}
	out := runLine(t, "grep realtime.timeout /proc/self/limits; grep realtime.timeout /proc/$$/limits", nil)
	if strings.Count(out, "unlimited") != 4 {
		t.Errorf("without a tag: %s", out)
	}
}

func TestSignalTreeReachesAll(t *testing.T) {
	f := newFakeSupervisor(t)
	dir := t.TempDir()
	line := "trap 'echo x >> " + dir + "/a; exit' TERM; setsid sh -c ': MARK; trap \"echo x >> " + dir +
		"/b; exit\" TERM; : > " + dir + "/ready; while :; do sleep 0.02; done' & while :; do sleep 0.02; : MARK; done"
	l := launch(t, f, &scenario{line: line, alive: 2}, 900, nil, true)
	await(t, "the second has set its trap", func() bool { return exists(dir + "/ready") })
	scanner := &Scanner{Instance: "test"}
	scanner.SignalTree(&l.owner, unix.SIGTERM)
	l.gone(t)
	for _, name := range []string{"a", "b"} {
		if data, _ := os.ReadFile(dir + "/" + name); string(data) != "x\n" {
			t.Errorf("%s: %q", name, data)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	f := newFakeSupervisor(b)
	var owners []Owner
	for i := range 200 {
		pid := sleeperWith(b, f, []string{EnvID + "=" + ID("x", uint64(i+1))})
		p, err := ReadProcess(pid)
		if err != nil {
			b.Fatal(err)
		}
		owners = append(owners, Owner{Gen: uint64(i + 1), Main: pid, Start: p.Start})
	}
	known := map[int]bool{}
	for _, o := range owners {
		known[o.Main] = true
	}
	scanner := &Scanner{Instance: "test"}
	processes := len(listNumbers("/proc", nil))
	b.Run("scan of "+strconv.Itoa(processes)+" processes", func(b *testing.B) {
		for b.Loop() {
			if members, _ := scanner.Scan(owners); len(members) != len(owners) {
				b.Fatal(len(members))
			}
		}
	})
	b.Run("orphans of 200 children", func(b *testing.B) {
		for b.Loop() {
			if n := len(scanner.Orphans(func(pid int) bool { return known[pid] })); n != 0 {
				b.Fatal(n)
			}
		}
	})
	b.Run("stat of one process", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadProcess(owners[0].Main); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestSessionOfAnother: a process is a service's by its session only if it began after the service's main process: the number
// of a session may be one of an earlier process.
func TestSessionOfAnother(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	p, err := ReadProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for later, want := range map[uint64]int{0: 0, 1: -1} {
		look := &table{
			scanner: &Scanner{Instance: "t"}, owners: []Owner{{Gen: 7, Main: p.PID, Start: p.Start + later}},
			sessions: map[int]int{p.Session: 0}, keepers: []int{os.Getpid()},
		}
		if got := look.bySigns(&node{Process: p}, os.Getpid()); got != want {
			t.Errorf("a main process that began %d ticks later: owner %d, want %d", later, got, want)
		}
	}
}
