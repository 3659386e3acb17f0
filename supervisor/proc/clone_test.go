//go:build amd64 || arm64

package proc

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/supervisor/machine"
)

var forks = flag.Int("forks", 3000, "how many children TestForksUnderSignals makes")

// portrait is a shell line that prints everything about a process that its parent decides.
const portrait = `cd -P .; pwd; umask; cat /proc/$$/oom_score_adj
grep -E '^(Uid|Gid|Groups|SigQ|SigBlk|SigIgn|SigCgt|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/$$/status |
	grep -v SigQ
cat /proc/$$/limits; cut -d' ' -f19 /proc/$$/stat
[ "$(cut -d' ' -f5,6 /proc/$$/stat)" = "$$ $$" ] && echo leader
ls /proc/$$/fd; env | grep -v -e WATCHDOG_PID -e PWD | sort; [ -z "$WATCHDOG_PID" ] || [ $WATCHDOG_PID = $$ ] && echo pid`

// randomSpec changes a spec at random, by a seed.
func randomSpec(seed int64, s *Spec) {
	r := rand.New(rand.NewSource(seed))
	maybe := func() bool { return r.Intn(3) == 0 }
	if maybe() {
		s.Dir = "/usr"
	}
	if maybe() {
		s.Identity.Umask = intp(r.Intn(0o1000))
	}
	if maybe() {
		s.Identity.Nice = intp(r.Intn(20))
	}
	if maybe() {
		s.Identity.OOMScoreAdj = intp(r.Intn(1001))
	}
	for _, name := range []string{"nofile", "core", "nproc", "memlock", "rttime"} {
		if soft := uint64(100 + r.Intn(400)); maybe() {
			s.Identity.Limits = append(s.Identity.Limits, graph.Limit{Name: name, Soft: soft, Hard: soft + 100})
		}
	}
	s.Identity.NoNewPrivileges = maybe()
	if os.Geteuid() == 0 {
		randomIdentity(r, s, maybe)
	}
	s.WatchdogPID = maybe()
	s.Pdeathsig = false // it ends with the thread; TestDeathSignal has it
	if maybe() {
		s.Tag = Tag("portrait", uint64(r.Intn(1000)+1))
	}
	for range r.Intn(5) {
		s.Files = append(s.Files, []int{-1, s.Files[0], s.Files[1]}[r.Intn(3)])
	}
	for i := range r.Intn(20) {
		s.Env = append(s.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", r.Intn(300))))
	}
}

func randomIdentity(r *rand.Rand, s *Spec, maybe func() bool) {
	if maybe() {
		s.Identity.User = []string{"nobody", "daemon", "54321"}[r.Intn(3)]
		s.Identity.Group = "daemon"
	}
	if maybe() {
		s.Identity.Groups = []string{"bin", "sys"}[:r.Intn(3)]
	}
	if maybe() {
		s.Identity.Capabilities = &graph.Capabilities{}
		if maybe() {
			s.Identity.Capabilities.Bounding = []string{"CHOWN", "KILL", "NET_BIND_SERVICE"}
		}
		if maybe() {
			s.Identity.Capabilities.Ambient = []string{"NET_BIND_SERVICE"}
		}
	}
}

// TestWaysAgree starts the same random definitions in each way: their children must be alike in everything.
func TestWaysAgree(t *testing.T) {
	defer cloneRefused.Store(false)
	for seed := range int64(60) {
		var want string
		for _, way := range ways {
			cloneRefused.Store(way.refused)
			o := newOutput(t)
			s := shellSpec(t, o, portrait)
			randomSpec(seed, s)
			if way.name == "trampoline" && s.Identity.Umask == nil {
				s.Identity.Umask = intp(currentUmask())
			}
			pid := mustStart(t, s)
			got := o.all(t)
			if status := waitPID(pid); status != (machine.Status{}) {
				t.Fatalf("seed %d, %s: %+v\n%s", seed, way.name, status, got)
			}
			if s.Tag != 0 { // the hard value of the library's children is set from outside, a moment later
				got = markLine.ReplaceAllString(got, "")
			}
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("seed %d: %s differs from %s\n%s", seed, way.name, ways[0].name, difference(want, got))
			}
			o.r.Close()
		}
	}
}

var markLine = regexp.MustCompile(`(?m)^Max (realtime timeout|file locks) .*$`)

func currentUmask() int {
	mask := unix.Umask(0)
	unix.Umask(mask)
	return mask
}

func difference(a, b string) string {
	var out []string
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		var x, y string
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if x != y {
			out = append(out, x+"  |  "+y)
		}
	}
	return strings.Join(out, "\n")
}

// TestAChangeOfUserLeavesTheSupervisorDumpable: in memory that parent and child share it would not, and then /proc/self
// of the supervisor would belong to root and hide its descriptors from itself.
func TestAChangeOfUserLeavesTheSupervisorDumpable(t *testing.T) {
	need.Root(t)
	s := &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Identity: graph.Identity{User: "nobody"}}
	waitPID(mustStart(t, s))
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || v != 1 {
		t.Errorf("dumpable is %d, %v", v, err)
	}
}

// TestEachFlagRefused plays kernels that lack a flag of clone3: the start succeeds as it did before.
func TestEachFlagRefused(t *testing.T) {
	for _, flag := range []uint64{unix.CLONE_VFORK, unix.CLONE_VM, unix.CLONE_CLEAR_SIGHAND} {
		refusedFlags.Store(flag)
		waitPID(mustStart(t, &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}}))
		if !cloneRefused.Load() {
			t.Errorf("flag %#x: the kernel is asked again at each start", flag)
		}
		refusedFlags.Store(0)
		cloneRefused.Store(false)
	}
}

// TestSeccompRefuses starts under filters that answer clone3 as container engines do.
func TestSeccompRefuses(t *testing.T) {
	refusals := []syscall.Errno{syscall.ENOSYS}
	if !underCgo { // glibc ends a program that may not make a thread; the product is built without it
		refusals = append(refusals, syscall.EPERM)
	}
	for _, errno := range refusals {
		o := newOutput(t)
		pid := mustStart(t, &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper", strconv.Itoa(int(errno))}},
			Files: o.files(t), Env: []string{helperVariable + "=seccomp"}})
		if got := o.all(t); got != "hello\nrefused true\n" {
			t.Errorf("%v: got %q", errno, got)
		}
		waitPID(pid)
	}
}

func init() {
	helpers["seccomp"] = func(args []string) {
		errno, _ := strconv.Atoi(args[0])
		if err := filterSyscall(435, uint32(errno)); err != nil {
			fmt.Println(err)
			return
		}
		pid, err := Start(&Spec{Plan: Plan{Path: "/bin/echo", Argv: []string{"echo", "hello"}}, Files: []int{0, 1, 2}})
		if err != nil {
			fmt.Println(err.Detail)
			return
		}
		waitPID(pid)
		fmt.Println("refused", cloneRefused.Load())
	}
}

// filterSyscall makes one system call fail in all threads of this process.
func filterSyscall(nr, errno uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		return fmt.Errorf("cannot install a filter: %w", e)
	}
	return nil
}

// TestForksUnderSignals forks from several threads while signals arrive without end and the garbage collector always
// runs: no child may be lost, none may run a handler of ours, and no memory of a table may be reused too early.
func TestForksUnderSignals(t *testing.T) {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGURG)
	defer signal.Stop(signals)
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for sink := [][]byte(nil); ; sink = append(sink[:0:0], make([]byte, 1<<16)) {
			select {
			case <-stop:
				return
			case <-signals:
			default:
				_ = unix.Kill(os.Getpid(), unix.SIGUSR1)
			}
			runtime.GC()
			_ = sink
		}
	})
	var left, failed atomic.Int64
	left.Store(int64(*forks))
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				text := strconv.Itoa(worker)
				pid, err := Start(&Spec{Plan: Plan{Path: "/bin/sh", Argv: []string{"sh", "-c", "exit $N"}}, Env: []string{"N=" + text}})
				if err != nil {
					t.Error(err)
					return
				}
				if got := waitPID(pid); int(got.Code) != worker || got.Signal != 0 {
					failed.Add(1)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	others.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d children of %d ended otherwise than they should", n, *forks)
	}
}

// TestStartAllocatesLittle: a start by the table allocates no more than this many times, whatever the environment holds.
func TestStartAllocatesLittle(t *testing.T) {
	s := &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Files: []int{0, 1, 2}}
	for i := range 100 {
		s.Env = append(s.Env, "VARIABLE"+strconv.Itoa(i)+"=value")
	}
	waitPID(mustStart(t, s)) // what is kept for the next
	allocs := testing.AllocsPerRun(20, func() {
		pid, err := Start(s)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = unix.Wait4(pid, nil, 0, nil)
	})
	if allocs > 8 {
		t.Errorf("%v allocations a start", allocs)
	}
}

// FuzzProgram gives the child random calls whose outcome is known beforehand, and compares where it stopped.
func FuzzProgram(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5})
	f.Add([]byte{6})
	f.Add([]byte{1, 1, 7, 2})
	f.Add(slices.Repeat([]byte{3, 4}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !canClone {
			return
		}
		p := newProgram()
		defer p.release()
		s := &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}}
		if err := p.write(&child{spec: s}, s.Path, s.Argv); err != nil {
			t.Fatal(err)
		}
		last := p.calls[len(p.calls)-2:]
		calls, wantErrno := []call(nil), syscall.Errno(0)
		for _, b := range data[:min(len(data), 200)] {
			c, errno := knownCall(b % 8)
			calls = append(calls, c)
			if errno != 0 {
				wantErrno = errno
				break
			}
		}
		at := len(calls) - 1
		p.calls = append(calls, last...)
		pid, errno := p.run()
		if errno != wantErrno {
			t.Fatalf("%v: got %v, want %v", data, errno, wantErrno)
		}
		if errno != 0 {
			if got := (p.failed.at - address(&p.calls[0])) / unsafe.Sizeof(call{}); int(got) != at {
				t.Fatalf("%v: stopped at %d, want %d", data, got, at)
			}
			return
		}
		if status := waitPID(pid); status != (machine.Status{}) {
			t.Fatalf("%v: ended with %+v", data, status)
		}
	})
}

// knownCall is a harmless call and the error that it ends the table with, 0 = none.
func knownCall(kind byte) (call, syscall.Errno) {
	const badFD = 1 << 20
	switch kind {
	case 0:
		return call{nr: syscall.SYS_GETPID}, 0
	case 1:
		return call{nr: syscall.SYS_GETPPID, args: [6]uintptr{0, uintptr(os.Getpid())}, mode: expectResult}, 0
	case 2:
		return call{nr: syscall.SYS_CLOSE, args: [6]uintptr{badFD}, pass: uintptr(syscall.EBADF)}, 0
	case 3:
		return call{nr: syscall.SYS_CLOSE, args: [6]uintptr{badFD}, pass: anyError}, 0
	case 4:
		return call{nr: syscall.SYS_UMASK, args: [6]uintptr{0o22}}, 0
	case 5:
		return call{nr: syscall.SYS_CLOSE, args: [6]uintptr{badFD}}, syscall.EBADF
	case 6:
		return call{nr: syscall.SYS_GETPPID, args: [6]uintptr{0, 1 << 30}, mode: expectResult}, syscall.ESRCH
	}
	return call{nr: 5000}, syscall.ENOSYS
}

// BenchmarkStart compares the ways beside the library's bare fork (BenchmarkSpawn has that floor).
func BenchmarkStart(b *testing.B) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			cloneRefused.Store(way.refused)
			defer cloneRefused.Store(false)
			s := &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Env: []string{"PATH=" + DefaultPath}}
			way.change(s)
			for b.Loop() {
				pid, err := Start(s)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = unix.Wait4(pid, nil, 0, nil)
			}
		})
	}
}

// TestMovedDescriptorsAreClosed: descriptors that are in the way of the child's own are moved for the time of a start. A script
// without #! is started a second time, under sh, and has them moved twice.
func TestMovedDescriptorsAreClosed(t *testing.T) {
	path := t.TempDir() + "/script"
	if err := os.WriteFile(path, []byte("exit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	files := slices.Repeat([]int{-1}, null+2)
	files[0], files[1], files[2] = null, null, null
	start := func() {
		t.Helper()
		waitPID(mustStart(t, &Spec{Plan: Plan{Path: path, Argv: []string{path}, Script: true}, Files: files}))
	}
	start() // what is opened once and kept
	before := openDescriptors(t)
	for range 10 {
		start()
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are open after ten starts, %d before", after, before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
