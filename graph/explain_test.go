package graph

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// basic is the directory of the recorded exchange with zinit 0.3.9, and its states.
func basic() (*Graph, View) {
	g := New(services("web requires:db after:cache wants:ghostwant", "db", "cache", "multi target: requires:web"), nil)
	views := map[string]NodeView{
		"cache": {State: "running", Standing: Satisfied, PID: 8573, Uptime: 100 * time.Millisecond},
		"db":    {State: "running", Standing: Satisfied, PID: 8574, Children: []string{"sleep (pid=8578, state=S)"}},
		"web":   {State: "running", Standing: Satisfied, PID: 8575, Children: []string{"sleep (pid=8579, state=S)"}},
		"multi": {State: "running", Standing: Satisfied, Uptime: -1},
	}
	return g, func(id ID) NodeView { return views[g.Name(id)] }
}

// words is how drawings are compared with 0.3.9's: as sets.
func words(s string) string {
	list := strings.Fields(s)
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestDrawingsAreThoseOf039(t *testing.T) {
	g, view := basic()
	for what, pair := range map[string][2]string{
		"tree": {TreeASCII(g, nil, view), "├─ [+] cache (running)\n├─ [+] db (running)\n├─ [+] web (running)\n" +
			"│    ├─ requires db (running)\n│    └─ after cache (running)\n└─ [+] multi (running)\n     └─ requires web (running)"},
		"why": {WhyASCII(g, mustID(t, g, "web"), view), "[+] web (running)\n  Can start: all dependencies satisfied"},
		"debug": {DebugState(g, view), "=== Service Graph State ===\n\n[+] cache - Running (pid=8573, uptime=0s)\n" +
			"    → required by: web\n\n[+] db - Running (pid=8574, uptime=0s)\n    → required by: web\n    └─ child processes:\n" +
			"       └─ sleep (pid=8578, state=S)\n\n[+] web - Running (pid=8575, uptime=0s)\n    ← depends on:\n" +
			"      ✓ requires db (running)\n      ✓ after cache (running)\n    → required by: multi\n    └─ child processes:\n" +
			"       └─ sleep (pid=8579, state=S)\n\n[+] multi - Running (pid=0, uptime=?)\n    ← depends on:\n" +
			"      ✓ requires web (running)\n"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", what, pair[0], pair[1])
		}
		if words(pair[0]) != words(pair[1]) {
			t.Errorf("%s: other words", what)
		}
	}
	if got := TreeASCII(g, []ID{mustID(t, g, "db")}, view); got != "└─ [+] db (running)" {
		t.Errorf("tree of one: %s", got)
	}
}

func TestTree(t *testing.T) {
	g := New(services("web requires:db after:cache wants:ghost conflicts:old", "db requires:disk", "cache requires:disk", "disk oneshot:",
		"all target: requires:web,cache", "old"), nil)
	view := func(id ID) NodeView {
		if g.Name(id) == "disk" {
			return NodeView{State: "exited"}
		}
		return NodeView{State: "running"}
	}
	const want = `[+] all (target, running)
├─ requires [+] cache (running)
│  └─ requires [.] disk (exited)
└─ requires [+] web (running)
   ├─ requires [+] db (running)
   │  └─ requires [.] disk (exited)
   ├─ after [+] cache (running), see above
   ├─ conflicts [+] old (running)
   └─ wants ghost (does not exist)
[+] old (running)
└─ conflicts [+] web (running)
`
	if got := Tree(g, view, TreeOptions{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const reverse = `[.] disk (exited)
├─ required by [+] cache (running)
│  ├─ required by [+] all (target, running)
│  └─ before [+] web (running)
│     └─ required by [+] all (target, running)
└─ required by [+] db (running)
   └─ required by [+] web (running), see above
`
	if got := Tree(g, view, TreeOptions{Roots: []ID{mustID(t, g, "disk")}, Reverse: true}); got != reverse {
		t.Errorf("got\n%s\nwant\n%s", got, reverse)
	}
	painted := Tree(g, view, TreeOptions{Roots: []ID{mustID(t, g, "old")}, Legend: true,
		Paint: func(state, symbol string) string { return "<" + state + symbol + ">" }})
	if !strings.HasPrefix(painted, "<running[+]> old") || !strings.HasSuffix(painted, Legend()+"\n") {
		t.Errorf("got\n%s", painted)
	}
}

func TestTreeDrawsEveryServiceOnce(t *testing.T) {
	for name, build := range shapes {
		g := New(build(300), nil)
		for _, reverse := range []bool{false, true} {
			text := Tree(g, func(ID) NodeView { return NodeView{} }, TreeOptions{Reverse: reverse})
			for id := range ID(g.Len()) {
				if !strings.Contains(text, " "+g.Name(id)+" (") {
					t.Errorf("%s, reverse %v: %s is not drawn", name, reverse, g.Name(id))
				}
			}
		}
	}
}

func TestWhy(t *testing.T) {
	lines := []string{"db", "api requires:db", "mid binds:api", "lost requires:gone", "one oneshot:", "late after:db", "held stop:",
		"wheld requires:held", "old", "new conflicts:old", "two requires:db,one", "ready notify:", "cyc1 after:cyc2", "cyc2 after:cyc1"}
	for _, c := range []struct {
		name, of string
		views    map[string]NodeView
		want     string
	}{
		{"specification", "api", map[string]NodeView{"api": {State: "blocked"},
			"db": {State: "failed", Failure: "exited with code 1", Restarts: 3, RestartDue: true, RestartIn: 4 * time.Second}},
			"api is blocked: requires db, which failed: exited with code 1, restart 3 of 10 in 4 s"},
		{"chain", "mid", map[string]NodeView{"mid": {State: "blocked"}, "api": {State: "blocked"}, "db": {State: "starting", PID: 1}},
			"mid is blocked: binds api, which is blocked: requires db, which is starting: it is being executed"},
		{"missing", "lost", map[string]NodeView{"lost": {State: "failed", Other: "gone"}},
			"lost failed: requires gone, which does not exist; did you mean one?"},
		{"dependency failed", "api", map[string]NodeView{"api": {State: "failed", Other: "db"},
			"db": {State: "failed", Failure: "killed by SIGKILL", Restarts: 10, ForGood: true}},
			"api failed: requires db, which failed: killed by SIGKILL, gave up after 10 restarts"},
		{"status stop", "wheld", map[string]NodeView{"wheld": {State: "blocked"}},
			"wheld is blocked: requires held, which has status = stop: only an explicit start starts it"},
		{"operator", "api", map[string]NodeView{"api": {State: "blocked"}, "db": {HeldDown: true, Since: time.Minute}},
			"api is blocked: requires db, which is inactive: an operator stopped it 1 min ago"},
		{"conflict", "new", map[string]NodeView{"new": {State: "blocked"}, "old": {State: "running", Standing: Holds | Satisfied, PID: 5}},
			"new is blocked: conflicts with old, which is running (pid 5)"},
		{"after", "late", map[string]NodeView{"late": {State: "blocked"}, "db": {State: "blocked", Standing: Pending, Conflict: "port 80 is held by nginx (pid 3)"}},
			"late is blocked: comes after db, which is blocked: port 80 is held by nginx (pid 3)"},
		{"several", "two", map[string]NodeView{"two": {State: "blocked"}, "db": {State: "starting", PID: 1},
			"one": {State: "failed", Standing: FailedForGood, Failure: "exited with code 2"}},
			"two is blocked: requires one (and 1 more), which failed: exited with code 2"},
		{"running", "db", map[string]NodeView{"db": {State: "running", PID: 7, Since: 65 * time.Second}}, "db is running (pid 7) for 1 min 5 s"},
		{"oneshot done", "one", map[string]NodeView{"one": {State: "exited", Failure: "exited with code 0", WantedUp: true}},
			"one is done: exited with code 0"},
		{"not ready", "ready", map[string]NodeView{"ready": {State: "starting", PID: 7}}, "ready is starting: its READY=1 has not come"},
		{"stopping", "db", map[string]NodeView{"db": {State: "stopping"}, "api": {State: "stopping", Phase: "SIGTERM was sent, SIGKILL in 4 s"}},
			"db is stopping: waits for api to end first, which is stopping: SIGTERM was sent, SIGKILL in 4 s"},
		{"cycle", "cyc1", map[string]NodeView{"cyc1": {State: "failed", Failure: "x"}},
			"cyc1 failed: dependency cycle: cyc1 after cyc2, cyc2 after cyc1"},
		{"nothing known", "db", nil, "db is inactive: nobody has started it"},
	} {
		g := New(services(lines...), nil)
		view := func(id ID) NodeView { return c.views[g.Name(id)] }
		chain := Why(g, mustID(t, g, c.of), view)
		if got := WhyLine(chain); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
		if text := WhyASCII(g, mustID(t, g, c.of), view); !strings.Contains(text, c.want) && !strings.Contains(text, "Can start") {
			t.Errorf("%s: the drawing does not say it:\n%s", c.name, text)
		}
	}
}

// TestWhyIsNeverEmpty asks in every state, with everything else unknown and with views that contradict each other: the
// chain must end and say something.
func TestWhyIsNeverEmpty(t *testing.T) {
	g := New(services("a requires:b", "b binds:c after:d", "c requires:a2 conflicts:d", "a2", "d target:"), []Broken{{Name: "x", Problem: "bad"}})
	states := []string{"", "inactive", "blocked", "starting", "running", "stopping", "exited", "failed", "unheard-of"}
	for _, state := range states {
		for other := range states {
			for bits := range 16 {
				v := NodeView{State: states[other], Standing: Standing(bits), WantedUp: bits%2 == 0, Other: []string{"", "a", "zzz"}[bits%3]}
				for id := range ID(g.Len()) {
					chain := Why(g, id, func(to ID) NodeView {
						if to == id {
							return NodeView{State: state, Other: v.Other}
						}
						return v
					})
					if len(chain) == 0 || len(chain) > g.Len()+1 || slices.ContainsFunc(chain, func(l Link) bool { return l.Text == "" }) {
						t.Fatalf("%s in %q: %v", g.Name(id), state, chain)
					}
				}
			}
		}
	}
}

// TestCheckErrors: what the last check got is told wherever it is told that the check has not passed.
func TestCheckErrors(t *testing.T) {
	g := New(services("api requires:db", "db"), nil)
	g.Config(mustID(t, g, "db")).Health = &Health{Type: HealthTCP, Retries: 3}
	db := NodeView{State: "starting", PID: 7, Since: 2 * time.Second, CheckError: "connect 127.0.0.1:1: connection refused"}
	view := func(id ID) NodeView {
		if g.Name(id) == "db" {
			return db
		}
		return NodeView{State: "blocked"}
	}
	check := func(name, want string) {
		t.Helper()
		if got := WhyLine(Why(g, mustID(t, g, name), view)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const refused = "connect 127.0.0.1:1: connection refused"
	check("db", "db is starting: its tcp check has not passed, for 2 s: "+refused)
	check("api", "api is blocked: requires db, which is starting: its tcp check has not passed, for 2 s: "+refused)
	db.State = "running"
	check("db", "db is running (pid 7) for 2 s: its tcp check fails, which does not count so soon after its start: "+refused)
	db.CheckRow = 2
	check("db", "db is running (pid 7) for 2 s: its tcp check has failed 2 of 3 times in a row: "+refused)
	if ascii := WhyASCII(g, mustID(t, g, "db"), view); !strings.Contains(ascii, refused) {
		t.Error(ascii)
	}
}
