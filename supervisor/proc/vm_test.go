package proc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

// vmVariable says to the test binary that it is process 1 of a virtual machine of the test's own.
const vmVariable = "ZINIT_PROC_TEST_VM"

// TestInVirtualMachine boots a kernel that has all cgroup2 controllers, with an initramfs of busybox and this test binary,
// and runs the tests of control groups there, this one too, which then runs those that make sense nowhere else. It takes
// half a minute or more without KVM.
func TestInVirtualMachine(t *testing.T) {
	if os.Getenv(vmVariable) == "inside" {
		for _, row := range insideVM {
			t.Run(row.name, row.test)
		}
		return
	}
	if testing.Short() {
		t.Skip("boots a kernel") // half a minute or more; -short is for the race detector, which would see nothing of it
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	need.That(t, err == nil, "qemu-system-x86_64")
	busybox, err := exec.LookPath("busybox")
	need.That(t, err == nil, "busybox")
	kernels, _ := filepath.Glob("/boot/vmlinuz-*")
	need.That(t, len(kernels) > 0, "a kernel in /boot")
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", dir+"/test", ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(dir+"/initrd", initramfs(t, dir+"/test", busybox), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, "-accel", "tcg", "-m", "512", "-smp", "1", "-nographic", "-no-reboot", "-kernel", kernels[0],
		"-initrd", dir+"/initrd", "-append", "console=ttyS0 quiet panic=-1 "+vmVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nPASS")) || bytes.Contains(out, []byte("FAIL")) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// vmTests are run in the machine.
const vmTests = "^TestInVirtualMachine|Cgroup|Group|TestLimitsWithout|TestRoot|TestControllers"

// insideVM are tests for a kernel with all controllers and nobody else on it.
var insideVM = []struct {
	name string
	test func(*testing.T)
}{
	{"root", vmRoot},
	{"memory limit kills", vmMemoryLimitKills},
	{"fork bomb under pids_max", vmForkBombUnderPidsMax},
	{"delegated subtree", vmDelegatedSubtree},
}

// vmInit is process 1 there.
func vmInit() {
	for _, m := range []struct{ source, dir, kind string }{{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2"}, {"tmp", "/tmp", "tmpfs"}} {
		_ = os.MkdirAll(m.dir, 0o755)
		if err := unix.Mount(m.source, m.dir, m.kind, 0, ""); err != nil {
			fmt.Println("mount", m.dir, err)
		}
	}
	cmd := exec.Command("/init", "-test.v", "-test.run", vmTests, "-test.timeout", "8m")
	cmd.Env = []string{"PATH=/bin", "ZINIT_TEST_STRICT=1", vmVariable + "=inside", "HOME=/"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("FAIL in the machine:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// initramfs is a cpio archive (newc) with /init, busybox and its links.
func initramfs(t *testing.T, init, busybox string) []byte {
	t.Helper()
	var b bytes.Buffer
	inode := uint32(0)
	add := func(name string, mode uint32, data []byte) {
		inode++
		b.WriteString("070701")
		for _, h := range []uint32{inode, mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, 0, 0, uint32(len(name) + 1), 0} {
			fmt.Fprintf(&b, "%08X", h)
		}
		b.WriteString(name + "\x00")
		pad(&b)
		b.Write(data)
		pad(&b)
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	add("bin", 0o40755, nil)
	add("dev", 0o40755, nil)
	add("etc", 0o40755, nil)
	add("etc/passwd", 0o100644, []byte("root:x:0:0::/:/bin/sh\n"))
	add("init", 0o100755, read(init))
	add("bin/busybox", 0o100755, read(busybox))
	for _, name := range strings.Fields("sh sleep setsid env grep cat true mkdir head tail awk ls kill dd") {
		add("bin/"+name, 0o120777, []byte("/bin/busybox"))
	}
	add("TRAILER!!!", 0, nil)
	return b.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

// vmRoot: at the root of the hierarchy controllers can be enabled beside processes.
func vmRoot(t *testing.T) {
	root, reason := DetectCgroups()
	if root == nil {
		t.Fatal(reason)
	}
	t.Cleanup(root.Close)
	if filepath.Dir(root.Path()) != "/sys/fs/cgroup" {
		t.Errorf("our folder is %s", root.Path())
	}
	for _, c := range []string{"memory", "pids", "cpu", "io"} {
		if !slices.Contains(root.Controllers(), c) {
			t.Errorf("no %s controller: %v, %s", c, root.Controllers(), root.lacking)
		}
	}
	group, err := root.New("svc", 1, graph.Cgroup{MemoryMax: "64M", MemoryHigh: "32M", CPUMax: "50000 100000", PidsMax: "20", IOWeight: "250"})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "memory.high": "33554432", "cpu.max": "50000 100000", "pids.max": "20", "io.weight": "default 250"} {
		if data, err := os.ReadFile(group.Path() + "/" + file); err != nil || strings.TrimSpace(string(data)) != want {
			t.Errorf("%s: %q %v", file, data, err)
		}
	}
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := root.New("svc", 2, graph.Cgroup{IOWeight: "20000"}); err == nil || !strings.Contains(err.Detail, `cannot set io_weight to "20000"`) {
		t.Errorf("a weight that the kernel refuses: %v", err)
	}
	if _, err := root.New("svc", 2, graph.Cgroup{MemoryMax: "much"}); err == nil || err.Detail != `cannot set memory_max to "much": invalid argument` {
		t.Errorf("nonsense as a limit: %v", err)
	}
}

func vmMemoryLimitKills(t *testing.T) {
	root := testRoot(t)
	group, err := root.New("svc", 1, graph.Cgroup{MemoryMax: "16M"})
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := shellSpec(t, o, "exec tail /dev/zero") // keeps all it has read
	s.Cgroup = group
	if status := waitPID(mustStart(t, s)); status.Signal != 9 {
		t.Errorf("it ended with %+v: %s", status, o.all(t))
	}
	if !group.OOMKilled() {
		t.Error("the kill was not told as one for memory")
	}
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
}

func vmForkBombUnderPidsMax(t *testing.T) {
	root := testRoot(t)
	f := newFakeSupervisor(t)
	group, err := root.New("svc", 1, graph.Cgroup{PidsMax: "30"})
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(t)
	s := shellSpec(t, o, "b() { b | b & }; while :; do b; sleep 0.01; done 2>/dev/null")
	s.Cgroup = group
	if _, err := f.start(s); err != nil {
		t.Fatal(err)
	}
	most := 0
	await(t, "the bomb hits the limit", func() bool {
		most = max(most, len(group.Processes()))
		n, ok := keyed(group.Main()+"/pids.events", "max")
		return ok && n > 0
	})
	if most > 30 {
		t.Errorf("%d processes under a limit of 30", most)
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the group is empty", func() bool { return !group.Populated(0) })
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
}

func vmDelegatedSubtree(t *testing.T) {
	const folder = "/sys/fs/cgroup/delegated"
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	_ = writeFile("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpu")
	if err := writeFile(folder+"/cgroup.procs", fmt.Sprint(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = writeFile("/sys/fs/cgroup/cgroup.procs", fmt.Sprint(os.Getpid()))
		_ = removeFolders(folder, 0)
	})
	// Somebody else is in our group: no controllers, but groups all the same.
	other := sleeper(t)
	root, reason := DetectCgroups()
	if root == nil || len(root.Controllers()) != 0 {
		t.Fatalf("beside another process: %+v %s", root, reason)
	}
	if _, err := root.New("svc", 1, graph.Cgroup{PidsMax: "5"}); err == nil || !strings.Contains(err.Detail, "no pids controller") {
		t.Errorf("a limit without controllers: %v", err)
	}
	_ = unix.Kill(other, unix.SIGKILL)
	waitPID(other)
	// Alone we move into a leaf of our subtree.
	root, reason = DetectCgroups()
	if root == nil || !slices.Contains(root.Controllers(), "pids") || !slices.Contains(root.Controllers(), "memory") {
		t.Fatalf("alone: %+v %s", root, reason)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(own)), filepath.Base(root.Path())+"/"+leafName) {
		t.Errorf("we are in %s", own)
	}
	unix.Close(root.claims.lock) // as the execution of the new image does
	again, reason := DetectCgroups()
	if again == nil || again.Path() != root.Path() || len(again.Controllers()) != len(root.Controllers()) {
		t.Fatalf("after an upgrade in place: %+v %s, before %+v", again, reason, root)
	}
	root = again
	group, serr := root.New("svc", 2, graph.Cgroup{PidsMax: "5"})
	if serr != nil {
		t.Fatal(serr)
	}
	got := runLine(t, "cat /proc/self/cgroup", func(s *Spec) { s.Cgroup = group })
	if !strings.HasSuffix(strings.TrimSpace(got), "/svc.2/main") {
		t.Errorf("the child is in %s", got)
	}
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
}
