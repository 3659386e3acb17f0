package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestWhyOfEveryState: what is said of a service for each thing that can be known of it.
func TestWhyOfEveryState(t *testing.T) {
	configs := services("api requires:db", "db", "plain", "one oneshot:", "notify notify:", "fd", "tcp", "all target: requires:db",
		"binder binds:db", "both requires:db binds:db", "held stop:", "never", "unlimited")
	by := map[string]*Config{}
	for _, c := range configs {
		by[c.Name] = c
	}
	by["fd"].Ready = Ready{Kind: ReadyFD, FD: 5}
	by["tcp"].Health = &Health{Type: HealthTCP, Retries: 3}
	by["never"].Lifecycle.Restart = RestartNever
	by["unlimited"].Lifecycle.MaxRestarts = 0
	g := New(configs, []Broken{{Name: "bad", Problem: "line 3 is wrong"}, {Name: "worse"}})
	const s = time.Second
	for _, c := range []struct {
		of   string
		v    NodeView
		want string
	}{
		{"plain", NodeView{State: "running"}, "is running"},
		{"plain", NodeView{State: "running", PID: 7}, "is running (pid 7)"},
		{"plain", NodeView{State: "running", PID: 7, Since: 2 * s}, "is running (pid 7) for 2 s"},
		{"plain", NodeView{State: "running", PID: 7, Phase: "reloads"}, "is running (pid 7): reloads"},
		{"plain", NodeView{State: "running", CheckError: "refused"}, "is running"},
		{"tcp", NodeView{State: "running", Phase: "reloads", CheckError: "refused"}, "is running: reloads"},
		{"tcp", NodeView{State: "running"}, "is running"},
		{"tcp", NodeView{State: "running", CheckRow: 1}, "is running"},
		{"all", NodeView{State: "running", PID: 7, Since: s}, "is reached: everything it requires is there for 1 s"},

		{"plain", NodeView{State: "starting"}, "is starting: it is being executed"},
		{"plain", NodeView{State: "starting", PID: 1, Since: s}, "is starting: it is being executed, for 1 s"},
		{"plain", NodeView{State: "starting", PID: 1, CheckError: "refused"}, "is starting: it is being executed"},
		{"plain", NodeView{State: "starting", Phase: "pre_start runs"}, "is starting: pre_start runs"},
		{"tcp", NodeView{State: "starting", Phase: "pre_start runs", CheckError: "refused"}, "is starting: pre_start runs"},
		{"one", NodeView{State: "starting", PID: 3}, "is starting: it is a oneshot and counts once it exits 0"},
		{"notify", NodeView{State: "starting"}, "is starting: it is being executed"},
		{"notify", NodeView{State: "starting", PID: 3}, "is starting: its READY=1 has not come"},
		{"fd", NodeView{State: "starting", PID: 3}, "is starting: its newline on descriptor 5 has not come"},
		{"tcp", NodeView{State: "starting", PID: 3}, "is starting: its tcp check has not passed"},

		{"plain", NodeView{State: "stopping"}, "is stopping: its processes have not ended"},
		{"plain", NodeView{State: "stopping", Since: 2 * s}, "is stopping: its processes have not ended, for 2 s"},
		{"plain", NodeView{State: "stopping", Failure: "no watchdog", Since: s}, "is stopping after it failed: no watchdog, for 1 s"},
		{"plain", NodeView{State: "stopping", Unkillable: true}, "is stopping: a process is still there after SIGKILL"},
		{"plain", NodeView{State: "stopping", Unkillable: true, Obstacle: "pid 4 is traced", Phase: "x"},
			"is stopping: still there after SIGKILL: pid 4 is traced"},
		{"plain", NodeView{State: "stopping", Obstacle: "pid 4 is traced", Phase: "x"}, "is stopping: SIGKILL was sent: pid 4 is traced"},
		{"plain", NodeView{State: "stopping", Phase: "SIGTERM was sent"}, "is stopping: SIGTERM was sent"},

		{"plain", NodeView{State: "blocked"}, "is blocked: nothing is in its way any more, it starts next"},
		{"plain", NodeView{State: "blocked", Conflict: "port 80"}, "is blocked: port 80"},

		{"plain", NodeView{State: "exited", WantedUp: true}, "exited, and restart = on-failure does not start it again"},
		{"never", NodeView{State: "exited", WantedUp: true, Failure: "exited with code 0", Since: s},
			"exited with code 0, 1 s ago, and restart = never does not start it again"},
		{"plain", NodeView{State: "exited", WantedUp: true, Failure: "killed by SIGTERM"},
			"was killed by SIGTERM, and restart = on-failure does not start it again"},
		{"plain", NodeView{State: "exited", Failure: "exited with code 0", RestartDue: true, RestartIn: s},
			"exited with code 0, restart 1 of 10 in 1 s"},
		{"unlimited", NodeView{State: "exited", RestartDue: true, Restarts: 4}, "exited, restart 4 in 0 ms"},
		{"plain", NodeView{State: "exited", Failure: "killed by SIGTERM", Since: s}, "was stopped 1 s ago: was killed by SIGTERM"},
		{"plain", NodeView{State: "exited", WantedUp: true, HeldDown: true}, "was stopped: exited"},
		{"one", NodeView{State: "exited", WantedUp: true}, "is done: exited"},
		{"one", NodeView{State: "exited"}, "was stopped: exited"},

		{"plain", NodeView{State: "failed"}, "failed"},
		{"plain", NodeView{State: "failed", Failure: "exited with code 1", Since: s}, "failed: exited with code 1, 1 s ago"},
		{"plain", NodeView{State: "failed", Restarts: 10}, "failed, gave up after 10 restarts"},
		{"plain", NodeView{State: "failed", Restarts: 11, Since: s}, "failed, gave up after 11 restarts, 1 s ago"},
		{"plain", NodeView{State: "failed", Restarts: 9}, "failed"},
		{"unlimited", NodeView{State: "failed", Restarts: 9}, "failed"},
		{"plain", NodeView{State: "failed", Restarts: 10, RestartDue: true, RestartIn: s}, "failed, restart 10 of 10 in 1 s"},
		{"api", NodeView{State: "failed", Other: "db"}, "failed: requires db, which is inactive: nobody has started it"},
		{"binder", NodeView{State: "failed", Other: "db"}, "failed: binds db, which is inactive: nobody has started it"},
		{"both", NodeView{State: "failed", Other: "db"}, "failed: requires db, which is inactive: nobody has started it"},
		{"api", NodeView{State: "failed", Other: "zz"}, "failed: requires zz, which does not exist"},
		{"bad", NodeView{State: "failed", Other: "db"}, "failed: line 3 is wrong"},
		{"worse", NodeView{State: "failed"}, "failed: the file cannot be used"},

		{"bad", NodeView{}, "is inactive: line 3 is wrong"},
		{"plain", NodeView{Phase: "post_stop runs", HeldDown: true}, "is inactive: post_stop runs"},
		{"plain", NodeView{HeldDown: true, WantedUp: true}, "is inactive: an operator stopped it"},
		{"plain", NodeView{WantedUp: true}, "is inactive: it is about to start"},
		{"plain", NodeView{WantedUp: true, Job: true, NextRun: 3 * s}, "is inactive: its next run is due in 3 s"},
		{"plain", NodeView{WantedUp: true, Job: true}, "is inactive: its next run is due in 0 ms"},
		{"plain", NodeView{WantedUp: true, Job: true, NextRun: -1}, "is inactive: its schedule has no further run"},
		{"plain", NodeView{WantedUp: true, Job: true, NextRun: -1, LeftOut: "overlap = skip"},
			"is inactive: its schedule has no further run; the last one that was due was left out: overlap = skip"},
		{"plain", NodeView{Job: true, NextRun: 3 * s}, "is inactive: nobody has started it"},
		{"plain", NodeView{WantedUp: true, Job: true, NextRun: 3 * s, Jitter: s}, "is inactive: its next run is due in 3 s, 1 s of it jitter"},
		{"plain", NodeView{WantedUp: true, Job: true, InLine: true, NextRun: 3 * s},
			"is inactive: it is due and waits for its turn, [jobs] concurrency jobs run"},
		{"plain", NodeView{HeldDown: true, Job: true, NextRun: 3 * s},
			"is inactive: an operator stopped it; runs that are due are left out until it is started or run"},
		{"one", NodeView{State: "exited", WantedUp: true, Job: true, NextRun: s, Failure: "exited with code 0"},
			"is done: exited with code 0; its next run is due in 1 s"},
		{"plain", NodeView{State: "failed", WantedUp: true, Job: true, NextRun: s, Failure: "exited with code 1"},
			"failed: exited with code 1; its next run is due in 1 s"},
		{"plain", NodeView{State: "stopping", WantedUp: true, Job: true, NextRun: -1, Phase: "SIGTERM was sent", LeftOut: "too late"},
			"is stopping: SIGTERM was sent; the last one that was due was left out: too late"},
		{"one", NodeView{State: "starting", WantedUp: true, Job: true, NextRun: 3 * s, Since: s},
			"is starting: its run goes on, for 1 s; its next run is due in 3 s"},
		{"api", NodeView{State: "failed", WantedUp: true, Job: true, NextRun: s, Other: "db"},
			"failed: requires db, which is inactive: nobody has started it"},
		{"api", NodeView{WantedUp: true}, "is inactive: requires db, which is inactive: nobody has started it"},
		{"held", NodeView{}, "has status = stop: only an explicit start starts it"},
		{"plain", NodeView{State: "new"}, "is new"},
	} {
		view := func(id ID) NodeView {
			if g.Name(id) == c.of {
				return c.v
			}
			return NodeView{}
		}
		if got, want := WhyLine(Why(g, mustID(t, g, c.of), view)), c.of+" "+c.want; got != want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.v, got, want)
		}
	}
	// A missing requirement of one that is about to start is no cause to follow: it fails at once.
	lost := New(services("a requires:gone"), nil)
	if got := WhyLine(Why(lost, 0, func(ID) NodeView { return NodeView{WantedUp: true} })); got != "a is inactive: it is about to start" {
		t.Error(got)
	}
	// A target that needs the service holds up nothing.
	targets := New(services("db", "t target: requires:db"), nil)
	if got := WhyLine(Why(targets, 0, func(ID) NodeView { return NodeView{State: "stopping"} })); got != "db is stopping: its processes have not ended" {
		t.Error(got)
	}
}

// TestWhyOfStoppingAlone: a dependent without a process holds up nothing.
func TestWhyOfStoppingAlone(t *testing.T) {
	g := New(services("db", "api requires:db"), nil)
	for state, want := range map[string]string{
		"exited": "db is stopping: its processes have not ended", "starting": "db is stopping: waits for api to end first, which is starting: x",
	} {
		got := WhyLine(Why(g, mustID(t, g, "db"), func(id ID) NodeView {
			if g.Name(id) == "db" {
				return NodeView{State: "stopping"}
			}
			return NodeView{State: state, Phase: "x"}
		}))
		if got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

// TestWhyFollowsTheWorst: a missing name before one that failed for good, that before the first.
func TestWhyFollowsTheWorst(t *testing.T) {
	g := New(services("x requires:a,b,zz", "y requires:a,b", "a", "b"), nil)
	view := func(id ID) NodeView {
		switch g.Name(id) {
		case "a":
			return NodeView{State: "starting", Standing: Pending}
		case "b":
			return NodeView{State: "failed", Standing: FailedForGood}
		}
		return NodeView{State: "blocked"}
	}
	for name, want := range map[string]string{
		"x": "x is blocked: requires zz (and 2 more), which does not exist", "y": "y is blocked: requires b (and 1 more), which failed",
	} {
		if got := WhyLine(Why(g, mustID(t, g, name), view)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestWhyIsBounded in the middle of a long chain.
func TestWhyIsBounded(t *testing.T) {
	lines := []string{"s100"}
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("s%d requires:s%d", 101+i, 100+i))
	}
	g := New(services(lines...), nil)
	chain := Why(g, mustID(t, g, "s200"), func(ID) NodeView { return NodeView{State: "blocked"} })
	if len(chain) != maxLinks || chain[0].Name != "s200" || chain[maxLinks-1].Name != "s137" {
		t.Errorf("%d links to %s", len(chain), chain[len(chain)-1].Name)
	}
}

// TestWhyASCIIText line by line.
func TestWhyASCIIText(t *testing.T) {
	g := New(services("a requires:b,gone conflicts:c", "b", "c", "free"), []Broken{{Name: "bad", Problem: "no"}})
	views := map[string]NodeView{"a": {State: "blocked"}, "b": {State: "starting", Standing: Pending}, "c": {State: "running", Standing: Holds | Satisfied}}
	for _, c := range []struct {
		of   string
		v    NodeView
		want string
	}{
		{"a", NodeView{State: "blocked"}, "[?] a (blocked)\n  a is blocked: requires gone (and 2 more), which does not exist\n  Cannot start:\n" +
			"    requires gone (does not exist)\n    requires b (starting)\n    conflicts c (running)"},
		{"a", NodeView{State: "running"}, "[+] a (running)\n  a is running\n  Cannot start:\n" +
			"    requires gone (does not exist)\n    requires b (starting)\n    conflicts c (running)"},
		{"free", NodeView{State: "running"}, "[+] free (running)\n  Can start: all dependencies satisfied"},
		{"free", NodeView{State: "running", CheckError: "x"}, "[+] free (running)\n  free is running\n  Can start: all dependencies satisfied"},
		{"free", NodeView{State: "blocked", Conflict: "port 1"}, "[?] free (blocked)\n  free is blocked: port 1\n  Conflict: port 1"},
		{"free", NodeView{State: "exited"}, "[.] free (exited)\n  free was stopped: exited\n  Can start: all dependencies satisfied"},
		{"bad", NodeView{State: "failed"}, "[X] bad (failed)\n  bad failed: no"},
		{"bad", NodeView{}, "[-] bad (inactive)\n  bad is inactive: no"},
		{"free", NodeView{State: "odd"}, "[ ] free (odd)\n  free is odd\n  Can start: all dependencies satisfied"},
	} {
		got := WhyASCII(g, mustID(t, g, c.of), func(id ID) NodeView {
			if g.Name(id) == c.of {
				return c.v
			}
			return views[g.Name(id)]
		})
		if got != c.want {
			t.Errorf("%+v: got\n%s\nwant\n%s", c.v, got, c.want)
		}
	}
}

// TestDebugStateText line by line, for every kind of edge, met and not.
func TestDebugStateText(t *testing.T) {
	g := New(services("a requires:b,gone after:c wants:d,nobody conflicts:e binds:f", "b", "c", "d", "e", "f"), nil)
	views := map[string]NodeView{"b": {State: "running", Standing: Satisfied, PID: 4, Uptime: 61 * time.Second}, "c": {Standing: Pending},
		"e": {State: "starting", Standing: Holds, Uptime: 1}, "f": {State: "failed", Failure: "bad"}, "a": {State: "blocked", Conflict: "port 1"}}
	view := func(id ID) NodeView { return views[g.Name(id)] }
	const want = `=== Service Graph State ===

[+] b - Running (pid=4, uptime=61s)
    → required by: a

[-] c - Inactive
    → required by: a

[-] d - Inactive
    → required by: a

[>] e - Starting (pid=0, uptime=?)
    ← depends on:
      ✓ conflicts a (blocked)

[X] f - Failed (bad)
    → required by: a

[?] a - Blocked (port 1)
    ← depends on:
      ✓ requires b (running)
      ✗ binds f (failed)
      ✗ after c (inactive)
      ✓ wants d (inactive)
      ✗ conflicts e (starting)
      ✗ requires gone (missing)
`
	if got := DebugState(g, view); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	views["c"], views["e"], views["b"] = NodeView{}, NodeView{}, NodeView{State: "running"}
	for _, line := range []string{"✓ after c", "✓ conflicts e", "✗ requires b"} {
		if got := DebugState(g, view); !strings.Contains(got, line) {
			t.Errorf("%s is missing in\n%s", line, got)
		}
	}
}

// TestNearestAgainstModel: the distance is that of the textbook, and the bound is kept.
func TestNearestAgainstModel(t *testing.T) {
	naive := func(a, b string) int {
		d := make([][]int, len(a)+1)
		for i := range d {
			d[i] = make([]int, len(b)+1)
			d[i][0] = i
			for j := range d[i] {
				switch {
				case i == 0:
					d[0][j] = j
				case j > 0:
					same := 1
					if a[i-1] == b[j-1] {
						same = 0
					}
					d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+same)
					if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
						d[i][j] = min(d[i][j], d[i-2][j-2]+1)
					}
				}
			}
		}
		return d[len(a)][len(b)]
	}
	r := rand.New(rand.NewPCG(2, 2))
	text := func() string {
		b := make([]byte, r.IntN(9))
		for i := range b {
			b[i] = byte('a' + r.IntN(3))
		}
		return string(b)
	}
	for range 20000 {
		a, b, limit := text(), text(), r.IntN(6)-1
		if got, want := distance(a, b, limit), min(naive(a, b), limit+1); got != want {
			t.Fatalf("%q to %q within %d: %d, want %d", a, b, limit, got, want)
		}
	}
	long := strings.Repeat("x", 128)
	for _, c := range []struct {
		a, b string
		want int
	}{{long, long, 0}, {long + "x", long + "x", 4}, {long, long + "x", 4}, {long + "x", long, 4}, {long, long[1:], 1}} {
		if got := distance(c.a, c.b, 3); got != c.want {
			t.Errorf("%d and %d bytes: %d, want %d", len(c.a), len(c.b), got, c.want)
		}
	}
	if got := Nearest("abcdefghijkl", slices.Values([]string{"abcdefghixyw", "abcdefghijxy", "abcdefghijyx", "abcdefghijkxyz"})); got != "abcdefghijxy" {
		t.Errorf("the nearest is %q", got)
	}
}

// TestHeap gives the smallest first.
func TestHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for range 500 {
		var h minHeap
		var model []ID
		for range 60 {
			if len(model) > 0 && r.IntN(3) == 0 {
				slices.Sort(model)
				if got := h.pop(); got != model[0] {
					t.Fatalf("popped %d, want %d", got, model[0])
				}
				model = model[1:]
				continue
			}
			id := ID(r.IntN(50))
			h.push(id)
			model = append(model, id)
		}
	}
}

// TestSignalNames of all numbers, and of what is none.
func TestSignalNames(t *testing.T) {
	for s, want := range map[Signal]string{-1: "-1", 0: "0", 1: "SIGHUP", 31: "SIGSYS", 32: "32", 33: "33", 34: "SIGRTMIN", 35: "SIGRTMIN+1",
		63: "SIGRTMIN+29", 64: "SIGRTMAX", 65: "65"} {
		if s.Name() != want || s.String() != want {
			t.Errorf("%d is %s, want %s", s, s.Name(), want)
		}
	}
	for _, text := range []string{"RTMIN+64", "RTMIN+4294967296", "RTMAX-64", "RTMAX-4294967296", "999999999999999999999"} {
		if s, err := ParseSignal(text); err == nil || !strings.Contains(err.Error(), strconv.Quote(text)) || s != 0 {
			t.Errorf("%s is taken for %d: %v", text, s, err)
		}
	}
}

// TestEveryWord is written and read, and what is none is refused with the words that there are.
func TestEveryWord(t *testing.T) {
	check(t, EnvFormatWords(), ParseEnvFormat)
	check(t, FileFormatWords(), ParseFileFormat)
	check(t, OverlapWords(), ParseOverlap)
	for what, words := range map[string][]string{
		"user system": ClassWords(), "start stop ignore": StatusWords(), "on-failure always never": RestartWords(),
		"control-group mixed process": KillModeWords(), "continue shutdown": OnExitWords(), "GET HEAD": MethodWords(),
		"tcp http exec": HealthWords(), "dotenv sh systemd": EnvFormatWords(), "plain time json": FileFormatWords(),
		"skip queue replace": OverlapWords(),
	} {
		if strings.Join(words, " ") != what {
			t.Errorf("%v, want %s", words, what)
		}
	}
	if _, err := ParseStatus("no"); err == nil || err.Error() != `want "start", "stop" or "ignore", not "no"` {
		t.Error(err)
	}
	if _, err := ParseOverlap("no"); err == nil || err.Error() != `want "skip", "queue" or "replace", not "no"` {
		t.Error(err)
	}
	for kind, want := range map[fmt.Stringer]string{DirRuntime: "runtime_dir", DirLogs: "logs_dir", NDirs: "?", Class(2): "?", nKinds: "?",
		KindConflicts: "conflicts", KindRequires: "requires", ScheduleCron: "cron", ScheduleBoot: "boot", SeverityError: "error",
		SeverityWarning: "warning", SeverityNote: "note", Ready{}: ""} {
		if kind.String() != want {
			t.Errorf("%T is %s, want %s", kind, kind, want)
		}
	}
	if !(Command{}).IsZero() || (Command{Line: "x"}).IsZero() || (Command{Argv: []string{"x"}}).IsZero() || !(Cgroup{}).IsZero() || (Cgroup{PidsMax: "1"}).IsZero() {
		t.Error("what is nothing is wrong")
	}
	l := Lifecycle{SuccessCodes: []int{3, 4}}
	for code, want := range map[int]bool{0: true, 3: true, 4: true, 5: false, 1: false} {
		if l.Success(code) != want {
			t.Errorf("%d counts as a success: %v", code, !want)
		}
	}
	a, b := Schedule{Kind: ScheduleEvery, Interval: 5, Zone: time.UTC}, Schedule{Kind: ScheduleEvery, Interval: 5}
	if !a.Equal(b) {
		t.Error("what follows from the rest counts")
	}
	if b.Keep = 3; a.Equal(b) {
		t.Error("another schedule is the same")
	}
}

// TestProblemText says where as far as that is known.
func TestProblemText(t *testing.T) {
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{Problem{Message: "m"}, "error: m"}, {Problem{Message: "m", Line: 3, Severity: SeverityNote}, "note: m"},
		{Problem{File: "f", Message: "m", Severity: SeverityWarning}, "f: warning: m"},
		{Problem{File: "f", Line: 3, Column: 5, Message: "m"}, "f:3:5: error: m"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// TestProblems of configurations: the texts, the places and how bad they are.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  []string
	}{
		{[]string{"a requires:bb", "bc"}, []string{"a error dependencies.requires=bb: requires bb, which does not exist"}},
		{[]string{"a binds:server1", "server2"}, []string{"a error dependencies.binds=server1: binds server1, which does not exist; did you mean server2?"}},
		{[]string{"a after:zz wants:yy conflicts:xx"}, []string{"a warning dependencies.conflicts=xx: conflicts with xx, which does not exist",
			"a warning dependencies.wants=yy: wants yy, which does not exist", "a warning dependencies.after=zz: comes after zz, which does not exist"}},
		{[]string{"a requires:zz binds:zz"}, []string{"a error dependencies.requires=zz: requires zz, which does not exist"}},
		{[]string{"a requires:zz after:zz"}, []string{"a error dependencies.requires=zz: requires zz, which does not exist",
			"a warning dependencies.after=zz: comes after zz, which does not exist"}},
		{[]string{"a requires:zz,yy,zz"}, []string{"a error dependencies.requires=yy: requires yy, which does not exist",
			"a error dependencies.requires=zz: requires zz, which does not exist"}},
		{[]string{"a binds:a"}, []string{"a error dependencies.binds=a: binds names the service itself"}},
		{[]string{"a requires:b", "b binds:a"}, []string{"a error dependencies.requires=b: dependency cycle: a requires b, b binds a"}},
		{[]string{"a requires:b,c", "b after:a", "c wants:a"}, []string{"a error dependencies.requires=b: dependency cycle: a requires b, b after a",
			"c error dependencies.wants=a: dependency cycle: c wants a, a requires c"}},
		{[]string{"a requires:b conflicts:b", "b oneshot:"},
			[]string{"a error dependencies.conflicts=b: requires b and conflicts with it"}},
		{[]string{"a requires:b conflicts:c", "b oneshot: binds:c", "c oneshot:"},
			[]string{"a error dependencies.conflicts=c: requires c through others and conflicts with it"}},
		{[]string{"a system: requires:b", "b"}, []string{"a error dependencies.requires=b: a system service may not require b, which is of class user"}},
		{[]string{"a system: requires:t", "t target: binds:b", "b"},
			[]string{"t error dependencies.binds=b: a target that a system service needs may not bind b, which is of class user"}},
		{[]string{"a requires:b", "b"}, []string{"a note dependencies.requires=b: requires b, which declares neither ready nor health nor oneshot: " +
			"it counts as ready once executed"}},
		{[]string{"a requires:c binds:b,c", "b", "c"}, []string{"a note dependencies.requires=c: requires c and b, which declare neither ready nor " +
			"health nor oneshot: they count as ready once executed"}},
		{[]string{"a requires:b,c,d", "b", "c", "d"}, []string{"a note dependencies.requires=b: requires b, c and d, which declare neither ready nor " +
			"health nor oneshot: they count as ready once executed"}},
		{[]string{"a requires:b,c,d,e,f", "b", "c", "d", "e", "f"}, []string{"a note dependencies.requires=b: requires b, c, d and others, which " +
			"declare neither ready nor health nor oneshot: they count as ready once executed"}},
		{[]string{"a requires:b,c,t", "b notify:", "c oneshot:", "t target:"}, nil},
		{[]string{"t target: requires:b", "b"}, nil},
		{[]string{"a after:b wants:b", "b"}, nil},
		{[]string{"a requires:b", "b notify: stop:"}, []string{"a note dependencies.requires=b: requires b, which has status = stop: it stays " +
			"blocked until somebody starts b"}},
		{[]string{"a stop: binds:b", "b notify: stop:"}, nil},
		{[]string{"a requires:s,b", "s after:s", "b oneshot:"}, []string{"s error dependencies.after=s: after names the service itself"}},
	} {
		g := New(services(c.lines...), nil)
		var got []string
		for _, p := range g.Problems() {
			got = append(got, fmt.Sprintf("%s %s %s=%s: %s", p.Service, p.Severity, p.Key, p.Value, p.Message))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: got\n%s\nwant\n%s", c.lines, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	checked := services("a requires:b", "b")
	checked[1].Health = &Health{}
	if got := New(checked, nil).Problems(); len(got) != 0 {
		t.Errorf("a health check says when it is ready: %v", got)
	}
	broken := New(services("a system: requires:b", "c requires:b"), []Broken{{Name: "b", Problem: "x"}})
	if kind, _ := broken.Broken(mustID(t, broken, "a")); kind != "" || len(broken.Problems()) != 0 {
		t.Errorf("a broken file is called %s as well: %v", kind, broken.Problems())
	}
}

// TestManyNotesAreOne above three of a kind, each kind for itself.
func TestManyNotesAreOne(t *testing.T) {
	for n, want := range map[int]int{1: 1, 3: 3, 4: 1, 5: 1} {
		lines := []string{"x notify: stop:"}
		for i := range n {
			lines = append(lines, fmt.Sprintf("s%d requires:x", i))
		}
		problems := New(services(lines...), nil).Problems()
		if len(problems) != want {
			t.Errorf("%d services: %d notes", n, len(problems))
		}
		if n > 3 && problems[0].Message != strconv.Itoa(n)+" services require others, x, which do not start by themselves (status): they stay "+
			"blocked until somebody starts these" {
			t.Errorf("%d services: %s", n, problems[0].Message)
		}
	}
	var lines []string
	for i := range maxSuggestions + 2 {
		lines = append(lines, fmt.Sprintf("service%02d wants:servixe%02d", i, i))
	}
	near := 0
	for _, p := range New(services(lines...), nil).Problems() {
		if strings.Contains(p.Message, "did you mean") {
			near++
		}
	}
	if near != maxSuggestions {
		t.Errorf("%d suggestions, want %d", near, maxSuggestions)
	}
}

// TestCycleTexts: a long one is cut in the middle, and there are no more than 64.
func TestCycleTexts(t *testing.T) {
	ring := func(n int) *Graph {
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf("s%02d requires:s%02d", i, (i+1)%n))
		}
		return New(services(lines...), nil)
	}
	for _, n := range []int{maxCycleText, maxCycleText + 1, maxCycleText + 6} {
		_, text := ring(n).Broken(0)
		parts := strings.Split(strings.TrimPrefix(text, "dependency cycle: "), ", ")
		want := n
		if n > maxCycleText {
			want = maxCycleText + 1
			if got := fmt.Sprintf("… (%d more)", n-maxCycleText); parts[maxCycleText-1] != got {
				t.Errorf("%d: %q, want %q", n, parts[maxCycleText-1], got)
			}
		}
		if len(parts) != want || parts[0] != "s00 requires s01" || parts[len(parts)-1] != fmt.Sprintf("s%02d requires s00", n-1) ||
			parts[maxCycleText-2] != fmt.Sprintf("s%02d requires s%02d", maxCycleText-2, maxCycleText-1) {
			t.Errorf("%d: %d parts: %s", n, len(parts), text)
		}
	}
	// One knot of 70 cycles of two through x: the members of those beyond the bound have a text too.
	lines := []string{}
	hub := "x requires:"
	for i := range 70 {
		lines = append(lines, fmt.Sprintf("s%02d requires:x", i))
		hub += fmt.Sprintf("s%02d,", i)
	}
	g := New(services(append(lines, strings.TrimSuffix(hub, ","))...), nil)
	if len(g.Cycles()) != maxCycles {
		t.Errorf("%d cycles", len(g.Cycles()))
	}
	for id := range ID(g.Len()) {
		kind, text := g.Broken(id)
		if want := "dependency cycle: s00 requires x, x requires s00"; kind != BrokenCycle || g.Name(id) >= "s64" && g.Name(id) < "x" && text != want {
			t.Errorf("%s: %s, %s", g.Name(id), kind, text)
		}
	}
	// 65 knots: the last has no path of its own.
	lines = nil
	for i := range maxCycles + 1 {
		lines = append(lines, fmt.Sprintf("a%02d requires:b%02d", i, i), fmt.Sprintf("b%02d requires:a%02d", i, i))
	}
	g = New(services(lines...), nil)
	if _, text := g.Broken(mustID(t, g, "b64")); text != "dependency cycle (one of more than 64)" || len(g.Cycles()) != maxCycles {
		t.Errorf("%s, %d cycles", text, len(g.Cycles()))
	}
	if _, text := g.Broken(mustID(t, g, "a63")); text != "dependency cycle: a63 requires b63, b63 requires a63" {
		t.Error(text)
	}
}

// TestClosure against all paths.
func TestClosure(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		g := New(randomConfigs(r, 2+r.IntN(12), 16, true), nil)
		for _, reverse := range []bool{false, true} {
			roots := []ID{ID(r.IntN(g.Len())), ID(r.IntN(g.Len()))}
			want := map[ID]bool{roots[0]: true, roots[1]: true}
			for range g.Len() {
				for id := range ID(g.Len()) {
					for k := range KindConflicts {
						for _, to := range g.Edges(id, k) {
							want[to] = want[to] || !reverse && want[id]
							want[id] = want[id] || reverse && want[to]
						}
					}
				}
			}
			got := g.Closure(roots, reverse)
			n := 0
			for _, in := range want {
				if in {
					n++
				}
			}
			if len(got) != n || !sort.SliceIsSorted(got, func(a, b int) bool { return g.Rank(got[a]) < g.Rank(got[b]) }) ||
				slices.ContainsFunc(got, func(id ID) bool { return !want[id] }) {
				t.Fatalf("from %v, reverse %v: %v, want %v", roots, reverse, got, want)
			}
		}
	}
}

// TestTreeOfDeepChains is cut and goes on below.
func TestTreeOfDeepChains(t *testing.T) {
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("s%02d requires:s%02d", i, i+1))
	}
	g := New(services(append(lines, "s60", "t60 wants:s60")...), nil)
	got := Tree(g, func(ID) NodeView { return NodeView{State: "running"} }, TreeOptions{Legend: true})
	if n := strings.Count(got, ", see below"); n != 2 || strings.Count(got, "see above") != 0 {
		t.Errorf("cut %d times:\n%s", n, got)
	}
	for _, line := range strings.Split(got, "\n") {
		if len([]rune(line)) > 3*maxDepth+60 {
			if !strings.HasPrefix(line, "[+] running or reached") {
				t.Errorf("a line of %d: %s", len(line), line)
			}
		}
	}
	if !strings.Contains(got, "\n"+strings.Repeat(" ", 3*(maxDepth-1))+"└─ requires [+] s24 (running), see below\n") || !strings.HasSuffix(got, Legend()+"\n") {
		t.Errorf("cut elsewhere:\n%s", got)
	}
	if strings.Count(got, "\n[+] s24") != 1 || !strings.HasPrefix(Legend(), "[+] running") {
		t.Errorf("not gone on with:\n%s", got)
	}
	// Roots are those that nobody names by any kind.
	g = New(services("a", "b requires:a", "c binds:b", "d after:c", "e wants:d", "f conflicts:e"), nil)
	view := func(ID) NodeView { return NodeView{} }
	if got := Tree(g, view, TreeOptions{}); !strings.HasPrefix(got, "[-] e (inactive)\n") || strings.Count(got, "\n[-]") != 1 {
		t.Errorf("roots:\n%s", got)
	}
	if got := Tree(g, view, TreeOptions{Reverse: true}); !strings.HasPrefix(got, "[-] a (inactive)\n") || strings.Count(got, "\n[-]") != 1 {
		t.Errorf("roots of the reverse:\n%s", got)
	}
}

// TestUnmetOfEveryKind in its order, and the first alone.
func TestUnmetOfEveryKind(t *testing.T) {
	g := New(services("a requires:r,gone binds:b,r after:f,r,b wants:nobody conflicts:c", "r", "b", "f", "c"), nil)
	a := mustID(t, g, "a")
	for standing, want := range map[Standing]string{
		Satisfied: "requires gone", 0: "requires gone, requires r, binds b", Pending: "requires gone, requires r, binds b, after f",
		Holds: "requires gone, requires r, binds b, conflicts c", Satisfied | Pending: "requires gone, after f",
		FailedForGood: "requires gone, requires r failed, binds b failed",
	} {
		var got []string
		for _, u := range CanStart(g, a, func(ID) Standing { return standing }) {
			text := u.Kind.String() + " " + u.Name
			if u.Failed {
				text += " failed"
			}
			got = append(got, text)
			if (u.On == None) != (u.Name == "gone") {
				t.Errorf("%s is %d", u.Name, u.On)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%b: %v, want %s", standing, got, want)
		}
		calls := 0
		first, ok := FirstUnmet(g, a, func(ID) Standing { calls++; return standing })
		if !ok || first.Name != "gone" || calls != 0 {
			t.Errorf("%b: first is %+v, after %d questions", standing, first, calls)
		}
	}
	only := New(services("x conflicts:y,z after:v,w", "y", "z", "v", "w"), nil)
	x := mustID(t, only, "x")
	for standing, want := range map[Standing]string{Holds: "y", Pending: "v"} {
		if u, ok := FirstUnmet(only, x, func(ID) Standing { return standing }); !ok || u.Name != want {
			t.Errorf("%b: the first is %s", standing, u.Name)
		}
	}
}

// TestMissing names each once, of those that are needed.
func TestMissing(t *testing.T) {
	g := New(services("a requires:z,y,z binds:x,z after:w wants:v"), nil)
	if got := g.Missing(0); !slices.Equal(got, []string{"x", "y", "z"}) {
		t.Errorf("%v", got)
	}
	var kinds []string
	g.eachEdge(0, func(k Kind, to ID, name string) { kinds = append(kinds, k.String()+name) })
	if want := []string{"wantsv", "afterw", "bindsx", "requiresy", "requiresz"}; !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
	if got := New(services("a binds:z after:z"), nil).missing[0]; len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// TestSameOfNothing: what is not said at all differs from what is said to be empty, in both directions.
func TestSameOfNothing(t *testing.T) {
	a := []string{"A"}
	for _, c := range []struct {
		a, b *Capabilities
		same bool
	}{
		{nil, nil, true}, {&Capabilities{}, &Capabilities{}, true}, {&Capabilities{Bounding: a}, &Capabilities{Bounding: []string{"A"}}, true},
		{nil, &Capabilities{}, false}, {&Capabilities{Bounding: []string{}}, &Capabilities{}, false},
		{&Capabilities{Bounding: a}, &Capabilities{Bounding: []string{"B"}}, false}, {&Capabilities{Ambient: a}, &Capabilities{}, false},
	} {
		if sameCapabilities(c.a, c.b) != c.same || sameCapabilities(c.b, c.a) != c.same {
			t.Errorf("%+v and %+v are the same: %v", c.a, c.b, !c.same)
		}
	}
	if sameHealth(nil, &Health{}) || sameHealth(&Health{}, nil) || !sameHealth(nil, nil) || !sameHealth(&Health{Retries: 2}, &Health{Retries: 2}) {
		t.Error("health checks")
	}
	one, two, alsoOne := 1, 2, 1
	same := optional(func(c *Config) *int { return c.Identity.Nice })
	for _, c := range []struct {
		a, b *int
		want bool
	}{{nil, nil, true}, {&one, nil, false}, {nil, &one, false}, {&one, &two, false}, {&one, &alsoOne, true}} {
		if got := same(&Config{Identity: Identity{Nice: c.a}}, &Config{Identity: Identity{Nice: c.b}}); got != c.want {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}

// TestDiffOfDetails: what needs no restart, and what a restart does not reach.
func TestDiffOfDetails(t *testing.T) {
	was, is := New(nil, []Broken{{Name: "a", Problem: "x"}}), New(nil, []Broken{{Name: "a", Problem: "y"}})
	if plan := Diff(was, is, nil, nil); !plan.Empty() {
		t.Errorf("another error in a broken file: %s", planText(plan))
	}
	drift := func(string) []string { return []string{"env_file"} }
	if plan := Diff(was, is, nil, drift); !plan.Empty() {
		t.Errorf("a broken file drifts: %s", planText(plan))
	}
	a := services("a exec:x")
	both := services("a exec:y")
	if got := planText(Diff(New(a, nil), New(both, nil), nil, func(string) []string { return []string{"exec", "env_file"} })); got != "restart a: env_file exec" {
		t.Errorf("both: %s", got)
	}
	if plan := Diff(New(a, nil), New(services("a exec:x"), nil), nil, func(string) []string { return nil }); !plan.Empty() {
		t.Errorf("no drift: %s", planText(plan))
	}
	// Who only comes after, or wants, what is gone is not touched.
	if got := planText(Diff(New(services("db", "api after:db wants:db"), nil), New(services("api after:db wants:db"), nil), nil, nil)); got != "remove db" {
		t.Errorf("gone: %s", got)
	}
	if got := planText(Diff(New(services("db", "api binds:db"), nil), New(services("api binds:db"), nil), nil, nil)); got != "remove db\nrestart api: requires db, removed" {
		t.Errorf("gone and bound: %s", got)
	}
}

// TestContradictionsAgainstModel over more services with conflicts than a word has bits.
func TestContradictionsAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 20 {
		const n = 180
		var configs []*Config
		for i := range n {
			c := &Config{Name: fmt.Sprintf("s%03d", i)}
			for range 2 {
				to := fmt.Sprintf("s%03d", r.IntN(n))
				switch k := r.IntN(4); {
				case k == 0 && to != c.Name:
					c.Deps.Conflicts = append(c.Deps.Conflicts, to)
				case k == 1 && to > c.Name:
					c.Deps.Binds = append(c.Deps.Binds, to)
				case k > 1 && to > c.Name:
					c.Deps.Requires = append(c.Deps.Requires, to)
				}
			}
			configs = append(configs, c)
		}
		g := New(configs, nil)
		needs := make([]map[ID]bool, n)
		for id := n - 1; id >= 0; id-- {
			needs[id] = map[ID]bool{}
			for _, to := range append(slices.Clone(g.Requires(ID(id))), g.Binds(ID(id))...) {
				needs[id][to] = true
				for far := range needs[to] {
					needs[id][far] = true
				}
			}
		}
		for id := range ID(n) {
			want := slices.ContainsFunc(g.Conflicts(id), func(to ID) bool { return needs[id][to] })
			if kind, text := g.Broken(id); (kind == BrokenContradiction) != want {
				t.Fatalf("%s: %q (%s), contradiction %v", g.Name(id), kind, text, want)
			}
		}
	}
}

// TestOfBoundOnes: what binds a missing name is told as what requires one.
func TestOfBoundOnes(t *testing.T) {
	g := New(services("a binds:gone conflicts:b,c", "b", "c"), nil)
	a := mustID(t, g, "a")
	var got []string
	for _, u := range CanStart(g, a, func(ID) Standing { return Holds }) {
		got = append(got, u.Kind.String()+" "+u.Name)
	}
	if want := []string{"binds gone", "conflicts b", "conflicts c"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	view := func(ID) NodeView { return NodeView{State: "running", PID: 4, Uptime: -1} }
	if text := DebugState(g, view); !strings.Contains(text, "✗ binds gone (missing)") || !strings.Contains(text, "(pid=4, uptime=?)") {
		t.Error(text)
	}
	if got := WhyLine(Why(g, a, func(ID) NodeView { return NodeView{State: "failed", Other: "b"} })); !strings.HasPrefix(got, "a failed: requires b, ") {
		t.Error(got)
	}
	var lines []string
	for i := range 4 {
		lines = append(lines, fmt.Sprintf("s%d requires:x,y", i))
	}
	if problems := New(services(append(lines, "x", "y")...), nil).Problems(); len(problems) != 1 || !strings.HasPrefix(problems[0].Message, "4 services require others, x and y, ") {
		t.Errorf("%v", problems)
	}
	none := func(string) []string { return []string{} }
	if got := planText(Diff(New(services("a"), nil), New(services("a critical:"), nil), nil, none)); got != "update a: critical" {
		t.Errorf("files that say the same restart it: %s", got)
	}
}

// TestWhyOfAJob: what is to come of it, in every state.
func TestWhyOfAJob(t *testing.T) {
	g := New(services("j oneshot:"), nil)
	const s = time.Second
	for _, c := range []struct {
		v    NodeView
		want string
	}{
		{NodeView{WantedUp: true, Jitter: 2 * s}, "is inactive: its next run is due in 0 ms, 2 s of it jitter"},
		{NodeView{WantedUp: true, Jitter: 2 * s, NextRun: -1}, "is inactive: its schedule has no further run"},
		{NodeView{WantedUp: true, State: "starting", NextRun: -1}, "is starting: its run goes on"},
		{NodeView{WantedUp: true, State: "running", NextRun: -1}, "is running"},
		{NodeView{WantedUp: true, State: "exited", NextRun: -1}, "is done: exited; its schedule has no further run"},
		{NodeView{WantedUp: true, State: "running", NextRun: 3 * s}, "is running; its next run is due in 3 s"},
		{NodeView{HeldDown: true, WantedUp: true, NextRun: 3 * s}, "is inactive: an operator stopped it; runs that are due are left out until it is started or run"},
		{NodeView{HeldDown: true, NextRun: 3 * s}, "is inactive: an operator stopped it; runs that are due are left out until it is started or run"},
	} {
		c.v.Job = true
		if got := WhyLine(Why(g, 0, func(ID) NodeView { return c.v })); got != "j "+c.want {
			t.Errorf("%+v:\ngot  %s\nwant j %s", c.v, got, c.want)
		}
	}
	jobs := services("a tty:/dev/tty1 oneshot:", "b tty:/dev/tty1 after:a")
	jobs[0].Schedules = []Schedule{{Kind: ScheduleEvery, Interval: s}}
	warned := slices.ContainsFunc(New(jobs, nil).Problems(), func(p Problem) bool { return p.Key == "service.tty" })
	if !warned {
		t.Error("a job that comes again is done once and for all")
	}
}
