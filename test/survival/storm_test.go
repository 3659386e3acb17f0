package survival

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

var (
	kills = flag.Int("kills", 300, "how often the server is killed in the storm")
	seed  = flag.Uint64("storm-seed", 1, "seed of the times between two kills")
)

var ctx = context.Background()

// storm is the test's own book.
type storm struct {
	t       *testing.T
	s       *testkit.Server
	work    string
	refused atomic.Int64 // connects that were refused
	pings   atomic.Int64
	stop    chan struct{}
	wg      sync.WaitGroup

	mu  sync.Mutex
	bad []string
}

func (st *storm) complain(format string, args ...any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.bad) < 20 {
		st.bad = append(st.bad, fmt.Sprintf(format, args...))
	}
}

const liners, crashers = 8, 4

// config makes the twenty services of issue 8.
func (st *storm) config(self string) map[string]string {
	files := map[string]string{}
	service := func(name, text string) { files[name+".toml"] = "[service]\nname = \"" + name + "\"\n" + text }
	for i := range liners {
		service(fmt.Sprintf("line%d", i), fmt.Sprintf("exec = [%q]\nenv = {ZT_ROLE = \"lines\", ZT_PER_TICK = \"%d\"}\n[logging]\nbuffer_lines = 2000000\nbuffer_bytes = 16000000\n",
			self, 1+i%3))
	}
	for i := range crashers {
		service(fmt.Sprintf("crash%d", i), fmt.Sprintf("exec = [%q]\nenv = {ZT_ROLE = \"crash\", ZT_FILE = %q}\n[lifecycle]\nrestart_delay_ms = 20\nrestart_delay_max_ms = 40\nmax_restarts = 0\n",
			self, filepath.Join(st.work, fmt.Sprintf("crash%d", i))))
	}
	for i := range 2 {
		service(fmt.Sprintf("once%d", i), fmt.Sprintf("exec = 'echo ran >>%s'\noneshot = true\n", filepath.Join(st.work, fmt.Sprintf("once%d", i))))
	}
	service("backoff", "exec = 'exit 7'\n[lifecycle]\nrestart_delay_ms = 600000\nrestart_delay_max_ms = 600000\n")
	service("slow", "exec = \"trap '' TERM; while :; do sleep 1; done\"\n[lifecycle]\nstop_timeout_ms = 600000\n")
	service("down", "exec = 'sleep 100000'\n")
	service("base", "exec = 'sleep 100000'\n")
	service("user", "exec = 'sleep 100000'\n[dependencies]\nrequires = [\"base\"]\n")
	return files
}

// TestStorm is the kill storm of issue 8.
func TestStorm(t *testing.T) { stormOver(t, testkit.Options{Applet: "pid1"}, *kills) }

// TestStormInContainer: the keeper is process 1 of a pid namespace.
func TestStormInContainer(t *testing.T) {
	testkit.NeedRoot(t)
	unshare := testkit.NeedProgram(t, "unshare")
	stormOver(t, testkit.Options{Applet: "pid1", Args: []string{"--container"},
		Under: []string{unshare, "--pid", "--fork", "--mount-proc", "--"}}, min(*kills, max(100, *kills/3)))
}

func stormOver(t *testing.T, o testkit.Options, kills int) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	st := &storm{t: t, work: t.TempDir(), stop: make(chan struct{})}
	st.s = testkit.Start(t, st.config(self), o)
	c := st.s.Client()
	before := st.prepare(c)

	st.background(st.connect)
	st.background(st.follow)
	st.background(st.watchCodes)
	survived := st.kill(kills)
	close(st.stop)
	st.wg.Wait()

	c = st.s.Client()
	st.compare(c, before)
	st.checkLines(c)
	st.checkCrashes(c)
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, b := range st.bad {
		t.Error(b)
	}
	if n := st.refused.Load(); n > 0 {
		t.Errorf("connect was refused %d times", n)
	}
	t.Logf("%d kills, %d pings answered", survived, st.pings.Load())
	// the slow one would hold up the end of the test for ten minutes
	if _, err := c.Kill(ctx, "slow", "SIGKILL"); err != nil {
		t.Error(err)
	}
}

// prepare brings every service into the state that must survive.
func (st *storm) prepare(c *rpc.Client) map[string]wire.StatusFull {
	t := st.t
	for i := range liners {
		st.s.AwaitState(c, fmt.Sprintf("line%d", i), "running")
	}
	for i := range 2 {
		st.s.AwaitState(c, fmt.Sprintf("once%d", i), "exited")
	}
	st.s.AwaitState(c, "backoff", "failed")
	st.s.AwaitState(c, "user", "running")
	slow := st.s.AwaitState(c, "slow", "running")
	st.s.Await("slow to ignore SIGTERM", func() bool { return st.ignores(slow.PID, syscall.SIGTERM) })
	if _, err := c.Stop(ctx, "slow", rpc.Change{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stop(ctx, "down", rpc.Change{Wait: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add(ctx, json.RawMessage(`{"service":{"name":"guest","exec":"sleep 100000"}}`), false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, "guest", rpc.Change{Wait: true}); err != nil {
		t.Fatal(err)
	}
	st.s.AwaitState(c, "slow", "stopping")
	before := map[string]wire.StatusFull{}
	for _, name := range st.steady() {
		full, err := c.StatusFull(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = full
	}
	return before
}

// steady are the services that nothing but the storm touches.
func (st *storm) steady() []string {
	names := []string{"once0", "once1", "backoff", "slow", "down", "guest", "base", "user"}
	for i := range liners {
		names = append(names, fmt.Sprintf("line%d", i))
	}
	return names
}

// ignores looks into the /proc of the keeper: the numbers may be those of a namespace.
func (st *storm) ignores(pid int, sig syscall.Signal) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/%d/status", st.s.PID(), pid))
	for _, line := range strings.Split(string(b), "\n") {
		if hex, ok := strings.CutPrefix(line, "SigIgn:\t"); ok {
			mask, _ := strconv.ParseUint(hex, 16, 64)
			return mask>>(sig-1)&1 == 1
		}
	}
	return false
}

func (st *storm) background(f func()) {
	st.wg.Add(1)
	go func() { defer st.wg.Done(); f() }()
}

func (st *storm) over() bool {
	select {
	case <-st.stop:
		return true
	default:
		return false
	}
}

// connect connects and asks all the time: while no server is there the connection waits in the backlog.
func (st *storm) connect() {
	for !st.over() {
		within, cancel := context.WithTimeout(ctx, testkit.Patience)
		c, err := rpc.Dial(within, st.s.Socket)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
			st.refused.Add(1)
		}
		if err == nil {
			if _, err := c.Ping(within); err == nil {
				st.pings.Add(1)
			}
			c.Close()
		}
		cancel()
	}
}

// follow reads every line as a client does that reconnects and goes on from its numbers.
func (st *storm) follow() {
	within, cancel := context.WithCancel(ctx)
	go func() { <-st.stop; cancel() }()
	var wg sync.WaitGroup
	for i := range liners {
		name := fmt.Sprintf("line%d", i)
		wg.Add(1)
		go func() {
			defer wg.Done()
			st.followOne(within, name)
		}()
	}
	wg.Wait()
}

func (st *storm) followOne(within context.Context, name string) {
	var next uint64 = 1
	counts := map[string]int{}
	for within.Err() == nil {
		c, err := rpc.Dial(within, st.s.Socket)
		if err != nil {
			continue
		}
		_ = c.FollowLogs(within, rpc.LogQuery{Names: []string{name}, Since: next}, func(f wire.Follow) error {
			if f.Missed > 0 {
				st.complain("%s: the follower missed %d lines", name, f.Missed)
			}
			for _, l := range f.Lines {
				if l.Seq != next {
					st.complain("%s: sequence %d, want %d (%q)", name, l.Seq, next, l.Content)
				}
				next = l.Seq + 1
				st.line(counts, name, l.Content)
			}
			return nil
		})
		c.Close()
	}
}

// line checks one line against the generator's list.
func (st *storm) line(counts map[string]int, name, text string) {
	var kind string
	var n int
	if _, err := fmt.Sscanf(text, "%s %d end", &kind, &n); err != nil || text != fmt.Sprintf("%s %d end", kind, n) {
		st.complain("%s: mangled line %q", name, text)
		return
	}
	if n != counts[kind] {
		st.complain("%s: %s %d, want %d", name, kind, n, counts[kind])
	}
	counts[kind] = n + 1
}

// watchCodes looks at the crashing services: the last exit code must always be one of the generator's list, in order.
func (st *storm) watchCodes() {
	last := map[string]uint64{}
	for !st.over() {
		within, cancel := context.WithTimeout(ctx, testkit.Patience)
		c, err := rpc.Dial(within, st.s.Socket)
		for i := 0; err == nil && !st.over(); i = (i + 1) % crashers {
			name := fmt.Sprintf("crash%d", i)
			var full wire.StatusFull
			if full, err = c.StatusFull(within, name); err != nil {
				break
			}
			if full.Incarnation < last[name] {
				st.complain("%s: incarnation %d after %d", name, full.Incarnation, last[name])
			}
			last[name] = full.Incarnation
			st.checkCode(name, full)
		}
		if c != nil {
			c.Close()
		}
		cancel()
	}
}

// checkCode compares what is shown with what the run itself has noted.
func (st *storm) checkCode(name string, full wire.StatusFull) {
	if full.LastExit == nil {
		return
	}
	if full.LastExit.Code == nil {
		st.complain("%s: an exit status was lost: %+v", name, *full.LastExit)
		return
	}
	b, _ := os.ReadFile(filepath.Join(st.work, name))
	runs := strings.Count(string(b), "\n")
	code := *full.LastExit.Code
	// The file grows while we look: the last exit is that of one of the last two runs that may have ended.
	for n := runs - 1; n >= max(0, runs-3); n-- {
		if code == exitCodeOf(n) {
			return
		}
	}
	st.complain("%s: last exit %d after %d runs", name, code, runs)
}

// kill is the storm: SIGKILL, 1 to 50 ms apart.
func (st *storm) kill(n int) int {
	random := rand.New(rand.NewPCG(*seed, 0))
	killed, end := 0, time.Now().Add(24*time.Hour)
	if d, ok := st.t.Deadline(); ok { // fewer on a machine too busy for all, rather than a test that times out
		end = time.Now().Add(time.Until(d) / 3)
	}
	for killed < n && time.Now().Before(end) {
		pause := time.NewTimer(time.Duration(1+random.IntN(50)) * time.Millisecond)
		<-pause.C
		if pid := st.serverPID(); pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
			st.s.Await("the server to be gone", func() bool { return st.serverPID() != pid })
		}
	}
	return killed
}

// serverPID is the keeper's child called zinit-server, 0 while there is none.
func (st *storm) serverPID() int { return serverOf(st.s.PID()) }

func serverOf(keeper int) int {
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", keeper))
	for _, file := range children {
		b, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(word)
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			if len(tasks) < 2 {
				continue // a child that a dead server was forking, before its exec
			}
			if strings.TrimSpace(string(comm)) == "zinit-server" && !strings.Contains(string(stat), ") Z ") {
				return pid
			}
		}
	}
	return 0
}

// compare checks that nothing but the storm has happened to the steady services.
func (st *storm) compare(c *rpc.Client, before map[string]wire.StatusFull) {
	for name, b := range before {
		a, err := c.StatusFull(ctx, name)
		if err != nil {
			st.t.Error(err)
			continue
		}
		if a.State.State != b.State.State || a.PID != b.PID || a.Incarnation != b.Incarnation || a.Restarts != b.Restarts || a.Wanted != b.Wanted {
			st.t.Errorf("%s: %s pid %d incarnation %d restarts %d wanted %s, before the storm %s %d %d %d %s", name,
				a.State.State, a.PID, a.Incarnation, a.Restarts, a.Wanted, b.State.State, b.PID, b.Incarnation, b.Restarts, b.Wanted)
		}
		if name == "backoff" {
			x, _ := time.Parse(time.RFC3339, a.NextRestartAt)
			y, _ := time.Parse(time.RFC3339, b.NextRestartAt)
			if d := x.Sub(y).Abs(); d > time.Second || x.IsZero() {
				st.t.Errorf("backoff: next attempt at %s, before the storm at %s", a.NextRestartAt, b.NextRestartAt)
			}
		}
	}
	for i := range 2 {
		b, _ := os.ReadFile(filepath.Join(st.work, fmt.Sprintf("once%d", i)))
		if string(b) != "ran\n" {
			st.t.Errorf("oneshot once%d ran %d times", i, strings.Count(string(b), "\n"))
		}
	}
}

// checkLines reads every ring from its first line: each line once and in order, and no copy of a service wrote as well.
func (st *storm) checkLines(c *rpc.Client) {
	total := 0
	for i := range liners {
		name := fmt.Sprintf("line%d", i)
		lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 2000000})
		if err != nil {
			st.t.Error(err)
			continue
		}
		counts := map[string]int{}
		for _, l := range lines {
			st.line(counts, name, l.Content)
		}
		total += len(lines)
	}
	st.t.Logf("%d lines, each once and in order", total)
}

// checkCrashes: every run was counted, none ran beside another.
func (st *storm) checkCrashes(c *rpc.Client) {
	for i := range crashers {
		name := fmt.Sprintf("crash%d", i)
		full, err := c.StatusFull(ctx, name)
		if err != nil {
			st.t.Error(err)
			continue
		}
		b, _ := os.ReadFile(filepath.Join(st.work, name))
		runs := strings.Split(strings.TrimSpace(string(b)), "\n")
		ids := map[string]bool{}
		for n, run := range runs {
			var id string
			var code int
			if _, err := fmt.Sscanf(run, "%s %d", &id, &code); err != nil || code != exitCodeOf(n) || ids[id] {
				st.t.Errorf("%s: run %d is %q: two copies at once?", name, n, run)
			}
			ids[id] = true
		}
		if d := len(runs) - 1 - full.Restarts; d < -1 || d > 1 {
			st.t.Errorf("%s: %d runs, but %d restarts counted", name, len(runs), full.Restarts)
		}
	}
}

// autopsy tells what a keeper and its server are waiting for and hold open.
func autopsy(keeper int) string {
	text := ""
	for _, pid := range []int{keeper, serverOf(keeper)} {
		text += fmt.Sprintf("--- process %d\n", pid)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, task := range tasks {
			comm, _ := os.ReadFile(task + "/comm")
			where, _ := os.ReadFile(task + "/wchan")
			text += strings.TrimSpace(string(comm)) + " in " + string(where) + "\n"
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			text += filepath.Base(fd) + " " + to + "\n"
		}
	}
	return text
}
