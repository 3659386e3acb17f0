package graph

import (
	"slices"
	"strconv"
	"time"
)

// NodeView is what the explanations may know of one service. Whoever asks fills in what it knows; the zero value is an
// inactive service of which nothing more is known.
type NodeView struct {
	State    string   // inactive blocked starting running stopping exited failed, "" = inactive
	Standing Standing // what others may know of it
	WantedUp bool
	HeldDown bool // an operator stopped it
	ForGood  bool // failed or exited, and no restart is due

	PID    int           // 0 = none
	Uptime time.Duration // of the process, < 0 = none
	Since  time.Duration // in this state for so long, <= 0 = not known

	Failure   string        // failed, or stopping with a reason: "exited with code 1"; exited: "exited with code 0"
	Other     string        // failed because of this service: dependency_failed, missing_dependency
	Restarts  int           // attempts since the last stable run, a scheduled one included
	RestartIn time.Duration // until the next attempt, valid when RestartDue
	// RestartDue says that a restart is scheduled.
	RestartDue bool
	CheckError string        // starting, running: what its last health check got, when that did not pass
	CheckRow   int           // running: failures of the check in a row
	Conflict   string        // blocked by a port or a process: "port 80 is held by nginx (pid 12)"
	Phase      string        // starting, stopping: what it is doing, "pre_start runs", "SIGTERM was sent, SIGKILL in 4 s"
	Unkillable bool          // stopping: SIGKILL was sent and a process is still there
	Obstacle   string        // stopping: why it is, "" = not known
	Job        bool          // it has a schedule; the next four count then
	NextRun    time.Duration // until it is due, < 0 = it is not due again
	Jitter     time.Duration // the part of NextRun by which jitter puts it off
	InLine     bool          // it is due, and waits for one of [jobs] concurrency
	LeftOut    string        // the rule that left its last due run out, "" = none did
	Children   []string      // one line a process below the main one: "sleep (pid=12, state=S)"
}

// View tells the explanations about one service. It is called often and must be cheap.
type View func(ID) NodeView

var symbols = map[string]string{"inactive": "[-]", "blocked": "[?]", "starting": "[>]", "running": "[+]", "stopping": "[!]",
	"exited": "[.]", "failed": "[X]"}

// Symbol returns the three characters of docs/design/states.md 2 for a state's name, "[ ]" for an unknown one.
func Symbol(state string) string {
	if state == "" {
		state = "inactive"
	}
	if s, ok := symbols[state]; ok {
		return s
	}
	return "[ ]"
}

func (v *NodeView) state() string {
	if v.State == "" {
		return "inactive"
	}
	return v.State
}

// hasProcess reports whether a service in this state has one, or is about to have one.
func (v *NodeView) hasProcess() bool {
	return v.State == "starting" || v.State == "running" || v.State == "stopping"
}

// meets reports whether an edge of kind k to a service of this standing is satisfied.
func meets(k Kind, s Standing) bool {
	switch k {
	case KindRequires, KindBinds:
		return s&Satisfied != 0
	case KindAfter:
		return s&Pending == 0
	case KindConflicts:
		return s&Holds == 0
	}
	return true
}

// eachEdge calls visit for everything that id names, in the order requires, binds, after, wants, conflicts; first the names
// that exist, with their ID, then the others with None.
func (g *Graph) eachEdge(id ID, visit func(k Kind, to ID, name string)) {
	for k := range nKinds {
		for _, to := range g.out[k].row(id) {
			visit(k, to, g.Name(to))
		}
	}
	for _, m := range g.missing[id] {
		visit(m.kind, None, m.name)
	}
}

// Closure returns the IDs that can be reached from roots over requires, binds, after and wants, the roots included, by
// rank; with reverse those from which the roots can be reached.
func (g *Graph) Closure(roots []ID, reverse bool) []ID {
	edges := &g.out
	if reverse {
		edges = &g.in
	}
	seen := make([]bool, len(g.configs))
	var list []ID
	reach := func(id ID) {
		if !seen[id] {
			seen[id] = true
			list = append(list, id)
		}
	}
	for _, id := range roots {
		reach(id)
	}
	for at := 0; at < len(list); at++ {
		for k := range KindConflicts {
			for _, to := range edges[k].row(list[at]) {
				reach(to)
			}
		}
	}
	slices.SortFunc(list, func(a, b ID) int { return int(g.rank[a] - g.rank[b]) })
	return list
}

// Duration writes a duration for people: "350 ms", "4 s", "2 min 5 s", "3 h 20 min", "5 d 2 h". Parts of a second are
// left out from one second on.
func Duration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d <= 999*time.Millisecond {
		return strconv.Itoa(int((d+time.Millisecond-1)/time.Millisecond)) + " ms"
	}
	seconds := max(1, int64(d/time.Second))
	units := [...]struct {
		length int64
		name   string
	}{{86400, " d"}, {3600, " h"}, {60, " min"}, {1, " s"}}
	for i, u := range units {
		if seconds < u.length {
			continue
		}
		text := strconv.FormatInt(seconds/u.length, 10) + u.name
		if i+1 < len(units) {
			if rest := seconds % u.length / units[i+1].length; rest > 0 {
				text += " " + strconv.FormatInt(rest, 10) + units[i+1].name
			}
		}
		return text
	}
	return "0 s"
}
