package pid1

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/keeper"
)

func alive(pid int) bool {
	st, ok := readStat(pid)
	return ok && st.state != 'Z'
}

// end stops a theatre whose puppet is a.
func (th *theatre) end(a *actor) {
	th.t.Helper()
	th.signal(unix.SIGTERM)
	if ev := a.do(puppetOrder{Do: "event"}); ev.Event.Order != keeper.OrderStop {
		th.t.Fatalf("TERM made %+v", ev.Event)
	}
	a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop})
	if status := th.wait(); status != 0 {
		th.t.Errorf("exit status %d after a clean stop", status)
	}
}

// TestSurvival: a server that is killed is replaced at once; pipes, processes and exits are handed over, however often.
func TestSurvival(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	if a.h.Mode != keeper.Plain || a.h.Starts != 1 || a.h.PID != th.cmd.Process.Pid {
		t.Errorf("first handover %+v", a.h)
	}
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "pipes", N: 250})
	stays := a.do(puppetOrder{Do: "child", Text: "exec sleep 1000", N: 7}).PID
	dies := a.do(puppetOrder{Do: "child", Text: "read x < " + th.fifo() + "; exit 33", N: 8}).PID
	a.kill()
	b := th.next()
	if b.h.Starts != 2 || b.h.LastCrash != "signal SIGKILL" || len(b.h.Pipes) != 250 || b.h.Tracked[stays] != 7 {
		t.Errorf("second handover: starts %d, crash %q, %d pipes, tracked %v", b.h.Starts, b.h.LastCrash, len(b.h.Pipes), b.h.Tracked)
	}
	if got := b.do(puppetOrder{Do: "read", N: 77}).Err; got != "line 77" {
		t.Errorf("pipe 77 has %q", got)
	}
	th.release()
	if ev := b.do(puppetOrder{Do: "event"}).Event; len(ev.Exits) != 1 || ev.Exits[0].PID != dies || ev.Exits[0].Gen != 8 || ev.Exits[0].Code != 33 || ev.Exits[0].Start == 0 {
		t.Errorf("exit of the adopted process: %+v", ev)
	}
	b.kill()
	for i := range 20 {
		b = th.next()
		if len(b.h.Pipes) != 250 || len(b.h.Exits) != 1 || b.h.Tracked[stays] != 7 {
			t.Fatalf("handover %d: %d pipes, exits %v, tracked %v", i, len(b.h.Pipes), b.h.Exits, b.h.Tracked)
		}
		b.kill()
	}
	b = th.next()
	if !alive(stays) {
		t.Error("the process of the first server is gone")
	}
	th.end(b)
}

func (th *theatre) fifo() string {
	path := th.dir + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		th.t.Fatal(err)
	}
	return path
}

func (th *theatre) release() {
	if err := os.WriteFile(th.dir+"/fifo", []byte("x\n"), 0); err != nil {
		th.t.Fatal(err)
	}
}

// TestReexec: SIGUSR2 replaces pid1 and keeps server, connection, store and children; garbage in its place changes nothing.
func TestReexec(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "pipes", N: 30})
	child := a.do(puppetOrder{Do: "child", Text: "read x < " + th.fifo() + "; exit 9", N: 4}).PID
	for range 3 {
		before := strings.Count(th.log(), "executing "+th.dir)
		th.signal(unix.SIGUSR2)
		th.await("the new image", func() bool { return strings.Count(th.log(), "executing "+th.dir) > before })
		th.await("the new image to answer", func() bool {
			th.signal(unix.SIGUSR1)
			return a.do(puppetOrder{Do: "event?"}).Event.Order == keeper.OrderUpgrade
		})
	}
	bad := 0
	for what, content := range map[string]string{"a script": "#!/bin/sh\nexit 0\n", "garbage": "\x7fELFgarbage", "nothing": ""} {
		if err := os.Remove(th.dir + "/pid1"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(th.dir+"/pid1", []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		th.signal(unix.SIGUSR2)
		bad++
		th.await(what+" to be refused", func() bool { return strings.Count(th.log(), "going on as before") == bad })
	}
	// Another program that answers with success, but not what a zinit-pid1 answers.
	_ = os.Remove(th.dir + "/pid1")
	copyFile(t, "/bin/true", th.dir+"/pid1")
	th.signal(unix.SIGUSR2)
	th.await("another program to be refused", func() bool { return strings.Count(th.log(), "going on as before") == bad+1 })
	_ = os.Remove(th.dir + "/pid1")
	th.signal(unix.SIGUSR2)
	th.await("a missing file to be refused", func() bool { return strings.Count(th.log(), "going on as before") == bad+2 })

	a.kill() // the replacement comes from the executable that pid1 keeps open
	b := th.next()
	if len(b.h.Pipes) != 30 || b.h.Tracked[child] != 4 || b.h.Starts != 2 {
		t.Errorf("after the re-executions: %d pipes, tracked %v, start %d", len(b.h.Pipes), b.h.Tracked, b.h.Starts)
	}
	th.release()
	if ev := b.do(puppetOrder{Do: "event"}).Event; len(ev.Exits) != 1 || ev.Exits[0].Code != 9 {
		t.Errorf("exit: %+v", ev)
	}
	th.end(b)
}

// TestReexecStorm: signals that arrive while pid1 executes itself neither kill it nor get lost.
func TestReexecStorm(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	// A flood of real-time signals would use up what the user may have queued, for all processes.
	few := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Prlimit(th.cmd.Process.Pid, unix.RLIMIT_SIGPENDING, &few, nil); err != nil {
		t.Fatal(err)
	}
	stop := make(chan bool)
	go func() {
		flood := []syscall.Signal{unix.SIGHUP, unix.SIGALRM, unix.SIGUSR2, unix.SIGPIPE, unix.SIGWINCH, unix.SIGUSR1,
			unix.SIGURG, unix.SIGIO, unix.SIGABRT, 32, 34, 40}
		for n := range early.NSignals {
			if early.Own(n) {
				flood = append(flood, syscall.Signal(n))
			}
		}
		for {
			for _, sig := range flood {
				select {
				case <-stop:
					close(stop)
					return
				default:
					_ = th.cmd.Process.Signal(sig)
				}
			}
		}
	}()
	th.await("many re-executions", func() bool { return strings.Count(th.log(), "executing ") >= 8 })
	stop <- true
	<-stop
	th.signal(unix.SIGTERM)
	for a.do(puppetOrder{Do: "event"}).Event.Order != keeper.OrderStop {
	}
	a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop, Code: 3})
	if status := th.wait(); status != 3 {
		t.Errorf("exit status %d, want 3", status)
	}
}

// TestTermInExec: a TERM or INT that comes at any instant of an execution is carried out by the new image.
func TestTermInExec(t *testing.T) {
	t.Parallel()
	for round := range 30 {
		th := open(t)
		a := th.next()
		a.do(puppetOrder{Do: "settled"})
		th.signal(unix.SIGUSR2)
		th.await("the execution", func() bool { return strings.Contains(th.log(), "executing ") })
		for began := time.Now(); time.Since(began) < time.Duration(round)*250*time.Microsecond; {
		}
		th.signal([]syscall.Signal{unix.SIGTERM, unix.SIGINT}[round%2])
		for a.do(puppetOrder{Do: "event"}).Event.Order != keeper.OrderStop {
		}
		a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop, Code: 3})
		if status := th.wait(); status != 3 {
			t.Fatalf("round %d: exit status %d, want 3", round, status)
		}
	}
}

// TestUpgradeRollback: a new executable that dies three times is replaced by the one before, and the next handover says so.
func TestUpgradeRollback(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "pipes", N: 3})
	a.tell(puppetOrder{Do: "exec", Text: "/bin/false"})
	b := th.next()
	if b.h.RolledBack == "" || !strings.Contains(b.h.RolledBack, "/bin/false died 3 times") || len(b.h.Pipes) != 3 || b.h.Starts != 4 {
		t.Errorf("rolled back %q, %d pipes, start %d", b.h.RolledBack, len(b.h.Pipes), b.h.Starts)
	}
	th.says("upgrade taken back: /bin/false")
	// One that cannot be executed at all is taken back by the server itself.
	if err := os.WriteFile(th.dir+"/garbage", []byte("garbage"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.tell(puppetOrder{Do: "exec", Text: th.dir + "/garbage"})
	if got := b.answer().Err; !strings.Contains(got, "exec format error") {
		t.Errorf("exec of garbage: %q", got)
	}
	b.kill()
	c := th.next()
	th.end(c)
}

// TestUpgradeInPlace: an image that took the place of another says hello on the same socket and is handed everything.
func TestUpgradeInPlace(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "pipes", N: 5})
	copyFile(t, th.dir+"/pid1", th.dir+"/new")
	a.tell(puppetOrder{Do: "exec", Text: th.dir + "/new"})
	b := th.next()
	if b.pid != a.pid || len(b.h.Pipes) != 5 || b.h.Starts != 1 || !b.h.UpgradeDone || b.h.Executable != th.dir+"/new" {
		t.Errorf("pid %d after %d, %d pipes, %+v", b.pid, a.pid, len(b.h.Pipes), b.h)
	}
	b.do(puppetOrder{Do: "settled"})
	b.kill()
	c := th.next()
	if c.h.UpgradeDone || c.h.Executable != th.dir+"/new" || c.h.RolledBack != "" {
		t.Errorf("after a crash of the new one: %+v", c.h)
	}
	// An upgrade that ends instead of executing is no crash.
	c.tell(puppetOrder{Do: "bye", Reason: keeper.ByeUpgrade})
	d := th.next()
	if d.h.LastCrash != c.h.LastCrash {
		t.Errorf("crash %q", d.h.LastCrash)
	}
	th.end(d)
}

// TestGoodbyes: every way in which a server ends.
func TestGoodbyes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason keeper.Reason
		code   int
	}{{keeper.ByeStop, 0}, {keeper.ByeStop, 7}, {keeper.PowerOff, 0}, {keeper.ByeRefused, 4}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			th := open(t)
			a := th.next()
			a.tell(puppetOrder{Do: "bye", Reason: test.reason, Code: test.code})
			if status := th.wait(); status != test.code {
				t.Errorf("exit status %d, want %d", status, test.code)
			}
		})
	}
}

// TestNeverUp: a server that cannot come up ends a keeper with its status, but not a moment's failure.
func TestNeverUp(t *testing.T) {
	t.Parallel()
	th := openWith(t, "exit 6")
	if status := th.wait(); status != 6 {
		t.Errorf("exit status %d, want 6", status)
	}
	if n := strings.Count(th.log(), "exit status 6"); n != shellAfter {
		t.Errorf("%d tries", n)
	}
}

// TestLeftovers: what the server left is stopped, TERM first, and what ignores that is killed.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "child", Text: "trap 'echo got TERM; exit' TERM; echo one up; while :; do sleep 0.1; done", N: 1})
	a.do(puppetOrder{Do: "child", Text: "trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & echo two up; while :; do sleep 0.1; done", N: 2})
	th.says("one up")
	th.says("two up")
	th.end(a)
	th.says("got TERM")
}

// TestStoppedServer: the deadline holds although the server hangs, a second request does not wait for it.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	th := open(t, "--shutdown-ms", "1000")
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	child := a.do(puppetOrder{Do: "child", Text: "trap '' TERM; while :; do sleep 0.1; done", N: 1}).PID
	_ = unix.Kill(a.pid, unix.SIGSTOP)
	began := time.Now()
	th.signal(unix.SIGTERM)
	if status := th.wait(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if took := time.Since(began); took < 800*time.Millisecond || took > 5*time.Second || alive(child) {
		t.Errorf("took %v, child alive: %v", took, alive(child))
	}
}

// TestSecondRequest: the second TERM asks the server to kill what is left.
func TestSecondRequest(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	th.signal(unix.SIGTERM)
	if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderStop {
		t.Errorf("order %v", ev.Order)
	}
	// At once it is the same request: timeout(1) signals a process and its group. A moment later it is another.
	began := time.Now()
	th.await("the second request to count", func() bool {
		th.signal(unix.SIGTERM)
		return a.do(puppetOrder{Do: "event?"}).Event.Order == keeper.OrderKill
	})
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the second request counted after %v", took)
	}
	th.signal(unix.SIGQUIT) // never the first one again
	if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderKill {
		t.Errorf("QUIT made %v", ev.Order)
	}
	// A crash in the middle: the next one is told to go on stopping.
	a.kill()
	b := th.next()
	if b.h.Order != keeper.OrderStop {
		t.Errorf("the next server is told %v", b.h.Order)
	}
	b.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop, Code: 2})
	if status := th.wait(); status != 2 {
		t.Errorf("exit status %d", status)
	}
}

// TestMisbehaving: nonsense from the server costs a line and nothing else.
func TestMisbehaving(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "garbage", N: 5000})
	th.says("malformed messages from the server: 1")
	a.do(puppetOrder{Do: "pipes", N: 2})
	a.do(puppetOrder{Do: "emergency", Text: "no machine, no shell"})
	a.kill()
	b := th.next()
	if len(b.h.Pipes) != 2 {
		t.Errorf("%d pipes", len(b.h.Pipes))
	}
	th.end(b)
}

// TestOrphans: 3,000 orphans are reaped within a second, and every exit status of a tracked process arrives.
func TestOrphans(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	child := a.do(puppetOrder{Do: "child", N: 1, Text: `for i in 1 2 3 4 5 6 7 8 9 10; do (for j in 1 2 3 4 5 6 7 8 9 10; do
		(true & true & true & true & true & true & true & true & true & true & true & true & true & true & true & exec true) & done) & done; echo flood; exit 5`}).PID
	a.kill()
	th.says("flood")
	b := th.next()
	found := false
	for _, e := range b.h.Exits {
		found = found || e.PID == child && e.Code == 5
	}
	for !found {
		for _, e := range b.do(puppetOrder{Do: "event"}).Event.Exits {
			found = found || e.PID == child && e.Code == 5
		}
	}
	th.await("every zombie to be reaped", func() bool {
		pids, _ := processes()
		for _, pid := range pids {
			if st, ok := readStat(pid); ok && st.ppid == th.cmd.Process.Pid && pid != b.pid {
				return false
			}
		}
		return true
	})
	th.signal(unix.SIGTERM)
	for b.do(puppetOrder{Do: "event"}).Event.Order != keeper.OrderStop {
	}
	b.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop})
	th.wait()
}

// TestManyExits: 3,000 processes that come to pid1 at once are reaped within a second, and every status arrives.
func TestManyExits(t *testing.T) {
	t.Parallel()
	const many = 3000
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	if got := a.do(puppetOrder{Do: "zombies", N: many}).PID; got != many {
		t.Fatalf("%d of %d have ended", got, many)
	}
	pid1 := th.cmd.Process.Pid
	began, busy, stood := time.Now(), th.busy(), inLine(pid1)
	a.kill()
	b := th.next()
	took, used, waited := time.Since(began), th.busy()-busy, inLine(pid1)-stood+inLine(b.pid)
	exits := b.h.Exits
	for len(exits) < many {
		exits = append(exits, b.do(puppetOrder{Do: "event"}).Event.Exits...)
	}
	seen := map[uint64]bool{}
	for _, e := range exits {
		if seen[e.Gen] || e.Code != zombieCode(e.Gen) || e.Signal != 0 {
			t.Errorf("%+v, seen before: %v", e, seen[e.Gen])
		}
		seen[e.Gen] = true
	}
	t.Logf("everything was reaped and the next server up after %v; of it %v in line for a processor, pid1 worked %v", took, waited, used)
	if took-waited > time.Second || used > time.Second { // the host may be busy with other things
		t.Errorf("pid1 needed %v until everything was reaped and another server was up", took-waited)
	}
	th.end(b)
}

// inLine is how long the thread of a process that has waited longest has done so for a processor that others had.
func inLine(pid int) (longest time.Duration) {
	for _, task := range dirNames(fmt.Sprintf("/proc/%d/task", pid)) {
		fields := strings.Fields(readFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task), 256))
		if len(fields) > 1 {
			longest = max(longest, time.Duration(decimal(fields[1])))
		}
	}
	return longest
}

// busy is the time that pid1 has used of a processor.
func (th *theatre) busy() time.Duration {
	th.t.Helper()
	text := readFile(fmt.Sprintf("/proc/%d/stat", th.cmd.Process.Pid), 1024)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // fields are counted from 1, and two stand before
	return time.Duration(decimal(fields[utime])+decimal(fields[stime])) * time.Second / 100
}

// TestMainCommand: with a command the keeper ends with its status, and every signal goes to it.
func TestMainCommand(t *testing.T) {
	t.Parallel()
	th := open(t, "--", "/bin/sh", "-c", "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'exit 21' TERM; echo up; while :; do sleep 0.02; done")
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	a.do(puppetOrder{Do: "booted"})
	th.says("up")
	th.signal(unix.SIGUSR1)
	th.says("usr1")
	th.signal(unix.SIGHUP)
	th.says("hup")
	th.signal(unix.SIGTERM)
	if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderStop {
		t.Errorf("after the command's end the server hears %+v", ev)
	}
	a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop, Code: 1})
	if status := th.wait(); status != 21 {
		t.Errorf("exit status %d, want 21", status)
	}
}

// TestMainWaits: a command starts when the services are up, also over a re-execution and a crash; else when its time is
// over, or at once with --no-wait; a stop that comes first leaves nothing to start. It knows the socket.
func TestMainWaits(t *testing.T) {
	t.Parallel()
	script := []string{"--", "/bin/sh", "-c", "echo main up, socket $ZINIT_SOCKET; while [ ! -e $PUPPET_RUN/go ]; do sleep 0.02; done; exit 4"}
	goOn := func(th *theatre) {
		if err := os.WriteFile(th.dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	th := open(t, script...)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	th.signal(unix.SIGUSR2)
	th.says("goes on, executed again")
	a.kill()
	a = th.next()
	a.do(puppetOrder{Do: "listener", Text: "/run/the.sock"})
	if strings.Contains(th.log(), "main up") {
		t.Error("the command did not wait")
	}
	a.do(puppetOrder{Do: "booted"})
	th.says("main up, socket /run/the.sock")
	goOn(th)
	if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderStop {
		t.Errorf("after the command's end the server hears %+v", ev)
	}
	a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop})
	if status := th.wait(); status != 4 {
		t.Errorf("exit status %d, want 4", status)
	}

	for _, flag := range []string{"--no-wait", "--wait-timeout=100ms"} {
		th = open(t, append([]string{flag, "--socket", "/run/flag.sock"}, script...)...)
		a = th.next()
		th.says("main up, socket /run/flag.sock")
		if told := strings.Contains(th.log(), "the services are not all up after 100 ms; starting /bin/sh"); told != (flag != "--no-wait") {
			t.Errorf("%s: %s", flag, th.log())
		}
		goOn(th)
		if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderStop {
			t.Errorf("after the command's end the server hears %+v", ev)
		}
		a.tell(puppetOrder{Do: "bye", Reason: keeper.ByeStop})
		if status := th.wait(); status != 4 {
			t.Errorf("%s: exit status %d, want 4", flag, status)
		}
	}

	th = open(t, script...)
	a = th.next()
	a.do(puppetOrder{Do: "settled"})
	th.end(a)
	if strings.Contains(th.log(), "main up") {
		t.Error("the command was started during the stop")
	}
}

// TestUsage: as an ordinary program it refuses what it does not know.
func TestUsage(t *testing.T) {
	t.Parallel()
	th := open(t, "--frob")
	if status := th.wait(); status != 2 || !strings.Contains(th.log(), "unknown argument --frob") {
		t.Errorf("exit status %d: %s", status, th.log())
	}
	th = open(t, "--help")
	if status := th.wait(); status != 0 || !strings.Contains(th.log(), "usage: zinit pid1") {
		t.Errorf("exit status %d: %s", status, th.log())
	}
}

// TestCrashesWhileStopping: a server that dies again and again while it stops everything is given up.
func TestCrashesWhileStopping(t *testing.T) {
	t.Parallel()
	th := open(t)
	a := th.next()
	a.do(puppetOrder{Do: "settled"})
	th.signal(unix.SIGTERM)
	if ev := a.do(puppetOrder{Do: "event"}).Event; ev.Order != keeper.OrderStop {
		t.Fatalf("order %v", ev.Order)
	}
	for range stopCrashes {
		a.kill()
		a = th.next()
	}
	another := make(chan bool, 1)
	go func() {
		if conn, err := th.listener.Accept(); err == nil {
			another <- true
			_ = conn.Close()
		}
	}()
	a.kill()
	if status := th.wait(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	select {
	case <-another:
		t.Error("one server more was started")
	default:
	}
}
