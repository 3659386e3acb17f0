package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

var graphCgroupNone graph.Cgroup

// testRoot is a Root in a folder of the test's own.
func testRoot(t testing.TB) *Root {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	folder, reason := ownFolder(string(mounts), string(own))
	need.That(t, reason == "", "cgroup2: "+reason)
	folder = filepath.Join(folder, fmt.Sprintf("zinit-test-%d", os.Getpid()))
	err = os.Mkdir(folder, 0o755)
	need.That(t, err == nil || os.IsExist(err), fmt.Sprintf("a writable cgroup2 hierarchy (%v)", err))
	t.Cleanup(func() { _ = removeFolders(folder, 0) })
	for _, c := range wantedControllers { // where there are any
		_ = writeFile(filepath.Dir(folder)+"/cgroup.subtree_control", "+"+c)
	}
	root, reason := detectIn(folder)
	need.That(t, root != nil, "cgroup2: "+reason)
	t.Cleanup(root.Close)
	return root
}

func TestOwnFolder(t *testing.T) {
	const (
		unified = "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 30 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"33 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		docker = "30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
		blank  = "30 24 0:26 / /mnt/c\\040g rw - cgroup2 cgroup2 rw\n"
		two    = "30 24 0:26 /other /a rw - cgroup2 c rw\n31 24 0:26 / /b rw - cgroup2 c rw\n"
	)
	for _, test := range []struct{ mounts, cgroup, folder, reason string }{
		{unified, "0::/user.slice/x\n", "/sys/fs/cgroup/user.slice/x", ""},
		{unified, "0::/\n", "/sys/fs/cgroup", ""},
		{hybrid, "4:memory:/a\n1:cpu:/\n0::/b\n", "/sys/fs/cgroup/unified/b", ""},
		{docker, "0::/docker/abc\n", "/sys/fs/cgroup", ""},
		{docker, "0::/docker/abc/sub\n", "/sys/fs/cgroup/sub", ""},
		{docker, "0::/docker/abcd\n", "", "the group /docker/abcd is not below any cgroup2 mount"},
		{blank, "0::/x\n", "/mnt/c g/x", ""},
		{two, "0::/x\n", "/b/x", ""},
		{"24 1 0:22 / /sys rw - sysfs sysfs rw\n", "0::/\n", "", "no cgroup2 file system is mounted"},
		{unified, "4:memory:/a\n", "", "the kernel has no cgroup2"},
		{"", "", "", "the kernel has no cgroup2"},
	} {
		folder, reason := ownFolder(test.mounts, test.cgroup)
		if folder != test.folder || reason != test.reason {
			t.Errorf("%q: got %q %q, want %q %q", test.cgroup, folder, reason, test.folder, test.reason)
		}
	}
}

func TestChildIsBornInItsGroup(t *testing.T) {
	root := testRoot(t)
	group, err := root.New("web.x", 7, graphCgroupNone)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(group.Path()) != "web.x.7" {
		t.Errorf("folder %s", group.Path())
	}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		got := runLine(t, "grep ^0:: /proc/self/cgroup; true", func(s *Spec) { s.Cgroup = group; change(s) })
		if !strings.HasSuffix(strings.TrimSpace(got), "/web.x.7/main") {
			t.Errorf("the child is in %q", got)
		}
	})
	t.Run("joined by the trampoline", func(t *testing.T) {
		old := *group
		old.into = false
		got := runLine(t, "grep ^0:: /proc/self/cgroup; true", func(s *Spec) { s.Cgroup = &old })
		if !strings.HasSuffix(strings.TrimSpace(got), "/web.x.7/main") {
			t.Errorf("the child is in %q", got)
		}
	})
	if group.Populated(0) {
		t.Error("populated after all have ended")
	}
	if _, err := root.New("web.x", 7, graphCgroupNone); err != nil {
		t.Errorf("an empty group of an earlier life is in the way: %v", err)
	}
	living := mustStart(t, &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "1000"}}, Cgroup: group})
	if _, err := root.New("web.x", 7, graphCgroupNone); err == nil || err.Step != StepCgroup {
		t.Errorf("a second group of one incarnation: %v", err)
	}
	_ = unix.Kill(living, unix.SIGKILL)
	waitPID(living)
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
	_, serr := Start(&Spec{Plan: shellPlan("true"), Cgroup: group})
	if serr == nil || serr.Step != StepCgroup {
		t.Errorf("a start in a group that is gone: %v", serr)
	}
}

func TestTheCgroupTrap(t *testing.T) {
	// A folder whose cgroup.kill was written kills what is born in it: the reason for one folder per incarnation.
	root := testRoot(t)
	for gen := uint64(1); gen <= 3; gen++ {
		group, err := root.New("svc", gen, graphCgroupNone)
		if err != nil {
			t.Fatal(err)
		}
		o := newOutput(t)
		s := shellSpec(t, o, "echo started; exec sleep 600")
		s.Cgroup = group
		pid := mustStart(t, s)
		var buf [16]byte
		if n, err := o.r.Read(buf[:]); err != nil || string(buf[:n]) != "started\n" {
			t.Fatalf("incarnation %d: %q %v", gen, buf[:n], err)
		}
		if err := group.Kill(); err != nil {
			t.Fatal(err)
		}
		if status := waitPID(pid); status.Signal != 9 {
			t.Errorf("incarnation %d: %+v", gen, status)
		}
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestKillWithoutCgroupKill(t *testing.T) {
	root := testRoot(t)
	group, err := root.New("svc", 1, graphCgroupNone)
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := shellSpec(t, o, "for i in 1 2 3 4 5; do setsid sh -c 'while :; do sh -c true & done' & done; exec sleep 600")
	s.Cgroup = group
	f := newFakeSupervisor(t)
	if _, err := f.start(s); err != nil {
		t.Fatal(err)
	}
	await(t, "the storm", func() bool { return len(group.Processes()) > 5 })
	if err := group.killFrozen(); err != nil {
		t.Fatal(err)
	}
	await(t, "the group is empty", func() bool { return !group.Populated(0) })
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
	if err := group.Kill(); err != nil {
		t.Errorf("killing a group that is gone: %v", err)
	}
}

func TestPopulatedLeavesOutTheMainProcess(t *testing.T) {
	root := testRoot(t)
	group, err := root.New("svc", 1, graphCgroupNone)
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := shellSpec(t, o, "exec sleep 600")
	s.Cgroup = group
	pid := mustStart(t, s)
	if !group.Populated(0) || group.Populated(pid) {
		t.Errorf("populated %v, without the main process %v", group.Populated(0), group.Populated(pid))
	}
	await(t, "usage is told", func() bool {
		memory, cpu, ok := GroupUsage(group.Path())
		return ok && memory > 0 && cpu > 0
	})
	if group.OOMKilled() {
		t.Error("nothing was killed for memory")
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	await(t, "the zombie does not count", func() bool { return !group.Populated(0) })
	if p, err := ReadProcess(pid); err != nil || p.State != 'Z' {
		t.Errorf("%+v %v", p, err)
	}
	if err := group.Remove(); err != nil {
		t.Errorf("with a zombie: %v", err)
	}
	waitPID(pid)
}

// inGroup starts a shell in a group of its own, whose folder is $G, and waits until it has written "ready".
func inGroup(t *testing.T, script string) (group *Group, pid int) {
	t.Helper()
	root := testRoot(t)
	group, err := root.New("svc", 1, graphCgroupNone)
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := shellSpec(t, o, script)
	s.Env = append(s.Env, "G="+group.Main())
	s.Cgroup = group
	pid = mustStart(t, s)
	var buf [16]byte
	if n, err := o.r.Read(buf[:]); err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("%q %v", buf[:n], err)
	}
	return group, pid
}

func TestNestedGroupsAreTheServices(t *testing.T) {
	group, pid := inGroup(t, "mkdir -p $G/a/b && sh -c 'echo 0 > $G/a/b/cgroup.procs; echo ready; exec sleep 600' & wait")
	if n := len(group.Processes()); n != 2 {
		t.Errorf("%d processes, want 2", n)
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	waitPID(pid)
	await(t, "the group is empty", func() bool { return !group.Populated(0) })
	for e, ok := Peek(); ok; e, ok = Peek() {
		Reap(e.PID)
	}
	if err := group.Remove(); err != nil || exists(group.Path()) {
		t.Error(err)
	}
}

func TestLimitsWithoutControllerFailTheStart(t *testing.T) {
	root := testRoot(t)
	for _, limits := range []graph.Cgroup{{MemoryMax: "64M"}, {PidsMax: "10"}, {CPUMax: "50000 100000"}, {IOWeight: "50"}, {MemoryHigh: "1M"}} {
		group, err := root.New("svc", 1, limits)
		if err == nil { // this machine has the controller
			if group.Remove() != nil {
				t.Error("cannot remove")
			}
			continue
		}
		if err.Step != StepCgroup || !strings.Contains(err.Detail, "controller") {
			t.Errorf("%+v: %v", limits, err)
		}
		if exists(filepath.Join(root.Path(), "svc.1")) {
			t.Error("the folder is still there")
		}
	}
}

func TestRootSurvivesAnUpgradeAndTidiesUp(t *testing.T) {
	root := testRoot(t)
	folder := filepath.Dir(root.Path())
	unix.Close(root.claims.lock) // as the execution of the new image does
	again, reason := detectIn(folder)
	if again == nil || again.Path() != root.Path() {
		t.Fatalf("after an upgrade in place: %v %s", again, reason)
	}
	root = again
	dead := filepath.Join(folder, "zinit-4194303-1")
	foreign := filepath.Join(folder, "other")
	for _, f := range []string{dead, dead + "/svc.1", foreign} {
		if err := os.Mkdir(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	other, reason := detectIn(folder)
	if reason != "" {
		t.Fatal(reason)
	}
	other.Close()
	if exists(dead) || !exists(foreign) {
		t.Errorf("what a dead supervisor left: %v, what is not ours: %v", exists(dead), exists(foreign))
	}
	if err := os.Remove(root.Path()); err != nil {
		t.Fatal(err)
	}
	group, err := root.New("svc", 1, graphCgroupNone)
	if err != nil {
		t.Errorf("after somebody removed our folder: %v", err)
	} else if err := group.Remove(); err != nil {
		t.Error(err)
	}
}

// TestGroupsOfOtherNamespaces: the number in a folder's name may be nobody's here, or somebody else's; a lock says whether
// the folder is abandoned.
func TestGroupsOfOtherNamespaces(t *testing.T) {
	folder := filepath.Dir(testRoot(t).Path())
	const nobody = 4194303
	detect := func() *Root {
		t.Helper()
		r, reason := detectFor(folder, nobody)
		if r == nil {
			t.Fatal(reason)
		}
		return r
	}
	first, second := detect(), detect()
	defer second.Close()
	if first.Path() == second.Path() {
		t.Errorf("two supervisors share %s", first.Path())
	}
	if !exists(first.Path()) {
		t.Error("the folder of a supervisor that lives was removed")
	}
	unix.Close(first.claims.lock) // it has been killed
	third := detect()
	defer third.Close()
	tidy(folder)
	if third.Path() != first.Path() || !exists(second.Path()) {
		t.Errorf("%s is there: %v; %s instead of %s", second.Path(), exists(second.Path()), third.Path(), first.Path())
	}
}

func TestDetectSaysWhyNot(t *testing.T) {
	root, reason := detectIn("/proc/self")
	if root != nil || !strings.HasPrefix(reason, "cannot make a control group in /proc/self: ") {
		t.Errorf("%v %q", root, reason)
	}
}

func TestControllersAreEnabledWhereTheyExist(t *testing.T) {
	root := testRoot(t)
	for _, c := range wantedControllers {
		available := slices.Contains(wordsIn(filepath.Dir(root.Path())+"/cgroup.controllers"), c)
		if enabled := slices.Contains(root.Controllers(), c); enabled && !available {
			t.Errorf("%s is enabled but not there", c)
		}
	}
}

func TestGroupWatchTellsWhenGroupsAreEmpty(t *testing.T) {
	root := testRoot(t)
	told := make(chan string, 100)
	watch, err := WatchGroups(func(path string) { told <- path })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Close)
	next := func() string {
		select {
		case path := <-told:
			return path
		case <-time.After(20 * time.Second):
			t.Fatal("no word within 20 s")
			return ""
		}
	}
	var groups []*Group
	var pids []int
	for gen := uint64(1); gen <= 20; gen++ {
		group, err := root.New("svc", gen, graphCgroupNone)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, group)
		pids = append(pids, mustStart(t, &Spec{Plan: Plan{Path: "/bin/sleep", Argv: []string{"sleep", "600"}}, Cgroup: group}))
		if err := watch.Add(group); err != nil {
			t.Fatal(err)
		}
	}
	for i := len(groups) - 1; i >= 0; i-- {
		_ = unix.Kill(pids[i], unix.SIGKILL)
		if got := next(); got != groups[i].Main() {
			t.Errorf("told %s, want %s", got, groups[i].Main())
		}
	}
	if err := watch.Add(groups[0]); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != groups[0].Main() {
		t.Errorf("an empty one: %s", got)
	}
	for i := range groups {
		waitPID(pids[i])
		if err := groups[i].Remove(); err != nil {
			t.Error(err)
		}
	}
	if watch.Add(groups[0]) == nil {
		t.Error("a group that is gone was taken")
	}
	if len(told) > 0 {
		t.Errorf("told too much: %s", <-told)
	}
}

// TestDiskWeight: the share of the disks is written for the kernel's cost model and, on its own scale, for BFQ, where they
// are; without both it is an error.
func TestDiskWeight(t *testing.T) {
	for _, row := range []struct{ weight, cost, bfq string }{{"1", "1", "1"}, {"100", "100", "100"}, {"10000", "10000", "1000"}, {"1200", "1200", "200"}} {
		for _, files := range []string{"io.weight io.bfq.weight", "io.weight", "io.bfq.weight", ""} {
			g := &Group{path: t.TempDir()}
			for _, name := range strings.Fields(files) {
				if err := os.WriteFile(g.path+"/"+name, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.setWeight(row.weight); (err == nil) != (files != "") {
				t.Errorf("%s with %q: %v", row.weight, files, err)
			}
			for name, want := range map[string]string{"io.weight": row.cost, "io.bfq.weight": row.bfq} {
				data, err := os.ReadFile(g.path + "/" + name)
				if slices.Contains(strings.Fields(files), name) && (err != nil || string(data) != want) {
					t.Errorf("%s with %q: %s is %q %v, want %s", row.weight, files, name, data, err, want)
				}
			}
		}
	}
}

// TestHelperBesideAGroupWithControllers: a service that enables controllers in its group makes that one an inner node, in
// which nothing can be started any more. Its helpers have groups of their own.
func TestHelperBesideAGroupWithControllers(t *testing.T) {
	group, pid := inGroup(t, "mkdir $G/in && echo $$ >$G/in/cgroup.procs && for c in $(cat $G/cgroup.controllers); do echo +$c >$G/cgroup.subtree_control; done; echo ready; exec sleep 600")
	helper, err := group.Helper(5)
	if err != nil {
		t.Fatal(err)
	}
	got := runLine(t, "grep ^0:: /proc/self/cgroup; sleep 600 >/dev/null 2>&1 & true", func(s *Spec) { s.Cgroup = helper })
	if !strings.HasSuffix(strings.TrimSpace(got), "/svc.1/h-5") {
		t.Errorf("the helper is in %q", got)
	}
	if !helper.Populated(0) || len(group.Processes()) != 1 || len(helper.Processes()) != 1 {
		t.Errorf("the service has %v, its helper left %v", group.Processes(), helper.Processes())
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	waitPID(pid)
	await(t, "the group is empty", func() bool { return !group.Populated(0) })
	if !helper.Populated(0) {
		t.Error("the end of the service was that of its helper")
	}
	for _, h := range group.Helpers() {
		if err := h.Kill(); err != nil {
			t.Error(err)
		}
	}
	await(t, "the helper is gone", func() bool { return !helper.Populated(0) })
	for e, ok := Peek(); ok; e, ok = Peek() {
		Reap(e.PID)
	}
	if err := group.Remove(); err != nil || exists(group.Path()) {
		t.Error(err)
	}
}

// TestGroupsOfTheOldLayout: up to version 0.4 a service was in the folder with the limits itself.
func TestGroupsOfTheOldLayout(t *testing.T) {
	root := testRoot(t)
	path := filepath.Join(root.Path(), ID("svc", 3))
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	old := &Group{path: path, main: path, into: root.into}
	s := &Spec{Plan: shellPlan("exec sleep 600"), Cgroup: old}
	pid := mustStart(t, s)
	group := root.Find("svc", 3)
	if group == nil || group.Main() != path || root.Open(path).Main() != path {
		t.Fatalf("got %+v", group)
	}
	if gen := GroupGen(pid); gen != 3 {
		t.Errorf("incarnation %d", gen)
	}
	helper, err := group.Helper(1)
	if err != nil {
		t.Fatal(err)
	}
	other := mustStart(t, &Spec{Plan: shellPlan("exec sleep 600"), Cgroup: helper})
	if gen := GroupGen(other); gen != Aside|1 {
		t.Errorf("helper %x", gen)
	}
	if pids := group.Processes(); !slices.Equal(pids, []int{pid}) {
		t.Errorf("the service has %v, want %d", pids, pid)
	}
	if err := helper.Kill(); err != nil {
		t.Error(err)
	}
	if err := group.Kill(); err != nil {
		t.Error(err)
	}
	waitPID(pid)
	waitPID(other)
	await(t, "the group is empty", func() bool { return !group.Populated(0) })
	if err := group.Remove(); err != nil || exists(path) {
		t.Error(err)
	}
}

// TestMemberOfAnotherNamespace: cgroup.procs calls a process that a reader's pid namespace does not have 0. It is a member.
func TestMemberOfAnotherNamespace(t *testing.T) {
	need.Root(t)
	group, pid := inGroup(t, "echo ready; exec sleep 600")
	inside := exec.Command("/proc/self/exe")
	inside.Env = []string{helperVariable + "=populated", "G=" + group.Main()}
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := inside.Output(); string(out) != "true" {
		t.Errorf("got %q %v", out, err)
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	waitPID(pid)
}

func init() {
	helpers["populated"] = func([]string) {
		g := &Group{path: filepath.Dir(os.Getenv("G")), main: os.Getenv("G")}
		fmt.Print(g.Populated(0))
	}
}

// TestGenOfANestedGroup: a process in a group that the service has made is of the service's incarnation.
func TestGenOfANestedGroup(t *testing.T) {
	group, pid := inGroup(t, "mkdir -p $G/a/b && echo $$ >$G/a/b/cgroup.procs; echo ready; exec sleep 600")
	if gen := GroupGen(pid); gen != 1 {
		t.Errorf("incarnation %d", gen)
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	waitPID(pid)
}

// TestRemoveEmpty removes a group in which nothing is left at once, and leaves one that has something to who waits for it.
func TestRemoveEmpty(t *testing.T) {
	root := testRoot(t)
	g, err := root.New("empty", 1, graph.Cgroup{})
	if err != nil {
		t.Fatal(err.Detail)
	}
	if !g.RemoveEmpty() || exists(g.Path()) {
		t.Errorf("an empty group is left: %v", exists(g.Path()))
	}
	if !g.RemoveEmpty() {
		t.Error("one that is gone counts as left")
	}
	if g, err = root.New("helped", 2, graph.Cgroup{}); err != nil {
		t.Fatal(err.Detail)
	}
	if _, err := g.Helper(1); err != nil {
		t.Fatal(err.Detail)
	}
	if g.RemoveEmpty() || !exists(g.Path()) {
		t.Error("the group of a helper was taken away")
	}
	if err := g.Remove(); err != nil || exists(g.Path()) {
		t.Errorf("it is left: %v", err)
	}
}
