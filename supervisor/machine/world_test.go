package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

// player plays scripts: it turns lines into events, feeds them in, checks the machine after each, and writes down what
// came out.
type player struct {
	m      *Machine
	g      *graph.Graph
	opt    Options
	now    Time
	out    strings.Builder
	states map[string]State // as the Notes tell, to check that they chain
	last   map[string]Record
	trace  bool // write every event as it is
	blind  bool // a bug is planted: do not look at the books
}

func newPlayer(g *graph.Graph, opt Options) *player {
	return &player{m: New(g, opt), g: g, opt: opt, states: map[string]State{}, last: map[string]Record{}}
}

// line plays one line: "[+DURATION] EVENT …".
func (p *player) line(line string) error {
	words := strings.Fields(line)
	if len(words) > 0 && strings.HasPrefix(words[0], "+") {
		d, err := time.ParseDuration(words[0][1:])
		if err != nil {
			return err
		}
		p.now += Time(d)
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	if words[0] == "tick" {
		at, ok := p.m.Deadline()
		if !ok {
			return fmt.Errorf("tick: there is no deadline")
		}
		p.now = max(p.now, at)
		fmt.Fprintf(&p.out, "> tick at %s\n", seconds(p.now))
		return p.step(Ticked{})
	}
	fmt.Fprintf(&p.out, "> %s\n", strings.Join(words, " "))
	if words[0] == "asked" {
		words = words[1:]
	}
	ev, err := p.event(words[0], words[1:])
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return p.step(ev)
}

// step feeds one event in and checks what can be checked always.
func (p *player) step(ev Event) error {
	names := p.names()
	if p.trace {
		fmt.Fprintf(&p.out, "%s > %T %+v\n", seconds(p.now), ev, ev)
	}
	for _, a := range p.m.Step(p.now, ev) {
		fmt.Fprintf(&p.out, "  %s\n", actionText(p.m, p.newNames(names, ev), a))
		if n, ok := a.(Note); ok {
			name := p.newNames(names, ev)[n.ID]
			if p.states[name] != n.From {
				return fmt.Errorf("%s: a Note from %s, but it was %s", name, n.From, p.states[name])
			}
			p.states[name] = n.To
		}
		if f, ok := a.(Forget); ok {
			delete(p.states, f.Name)
			delete(p.last, f.Name)
		}
	}
	return p.verify()
}

func (p *player) names() []string {
	var names []string
	for i := range p.m.services {
		names = append(names, p.m.services[i].name)
	}
	return names
}

// newNames: after a reload IDs are those of the new graph.
func (p *player) newNames(before []string, ev Event) []string {
	if _, ok := ev.(Reloaded); ok {
		return p.names()
	}
	return before
}

func (p *player) verify() error {
	if p.blind {
		p.m.ClearDirty()
		return nil
	}
	if err := verify(p.m); err != nil {
		return err
	}
	if err := verifyDirty(p.m, p.last); err != nil {
		return err
	}
	p.m.ClearDirty()
	return nil
}

// summary writes all states and the deadline.
func (p *player) summary() {
	for id := range graph.ID(p.m.Len()) {
		if !p.m.Forgotten(id) {
			fmt.Fprintf(&p.out, "%s\n", stateText(p.m, id))
		}
	}
	if at, ok := p.m.Deadline(); ok {
		fmt.Fprintf(&p.out, "deadline %s\n", seconds(at))
	}
}

// wallLayout is how scripts write the wall clock, in UTC.
const wallLayout = "2006-01-02T15:04:05"

// args are the words of a line: names first, then key=value.
type args struct {
	names []string
	named map[string]string
}

func parseArgs(words []string) args {
	a := args{named: map[string]string{}}
	for _, w := range words {
		if key, value, ok := strings.Cut(w, "="); ok {
			a.named[key] = value
		} else if slices.Contains([]string{"wait", "no_deps", "run_only", "again", "unknown", "oom", "watchdog", "trigger", "now", "aborted", "never_was"}, w) {
			a.named[w] = "true"
		} else {
			a.names = append(a.names, w)
		}
	}
	return a
}

func (a args) is(key string) bool { return a.named[key] == "true" }

func (a args) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(a.named[key]); err == nil {
		return n
	}
	return otherwise
}

func (a args) duration(key string) int64 {
	d, _ := time.ParseDuration(a.named[key])
	return int64(d)
}

// find returns a service by name, also one that was removed.
func (p *player) find(name string) (graph.ID, error) {
	for i := range p.m.services {
		if s := &p.m.services[i]; s.name == name && !s.is(flagForgotten) {
			return graph.ID(i), nil
		}
	}
	return graph.None, fmt.Errorf("no service %q", name)
}

var verbs = map[string]Verb{"start": VerbStart, "stop": VerbStop, "restart": VerbRestart, "run": VerbRun, "kill": VerbKill, "reload_signal": VerbReloadSignal}

func (p *player) event(what string, words []string) (Event, error) {
	a := parseArgs(words)
	if verb, ok := verbs[what]; ok {
		ev := Asked{Req: ReqID(a.number("req", 0)), Verb: verb, Sig: graph.Signal(a.number("sig", 15)), NoDeps: a.is("no_deps"), Wait: a.is("wait"),
			RunOnly: a.is("run_only"), Again: a.is("again"), After: Gen(a.number("after", 0))}
		if d := a.duration("deadline"); d != 0 {
			ev.Deadline = p.now + Time(d)
		}
		for _, name := range a.names {
			id, err := p.find(name)
			if err != nil {
				return nil, err
			}
			ev.IDs = append(ev.IDs, id)
		}
		return ev, nil
	}
	switch what {
	case "loaded":
		ev := Loaded{Only: a.named["only"], LastRuns: map[string]int64{}}
		for name, at := range a.named {
			if ran, err := time.Parse(wallLayout, at); err == nil {
				ev.LastRuns[name] = ran.UnixNano()
			}
		}
		return ev, nil
	case "clock":
		wall, err := time.Parse(wallLayout, a.named["wall"])
		if err != nil {
			return nil, err
		}
		local, err := time.LoadLocation(a.named["zone"])
		return ClockSet{Wall: wall.UnixNano(), Local: local}, err
	case "cancelled":
		return Cancelled{ReqID(a.number("req", 0))}, nil
	case "resumed":
		return Resumed{}, nil
	case "ticked":
		return Ticked{}, nil
	case "shutdown_asked":
		return ShutdownAsked{Code: a.number("code", 0), Now: a.is("now")}, nil
	}
	if len(a.names) == 0 {
		return nil, fmt.Errorf("unknown event or no service")
	}
	id, err := p.find(a.names[0])
	if err != nil {
		return nil, err
	}
	return p.word(what, a, id)
}

// word makes an event about a process; its Gen is the present one unless gen= says otherwise.
func (p *player) word(what string, a args, id graph.ID) (Event, error) {
	gen := Gen(a.number("gen", int(p.m.Info(id).Gen)))
	switch what {
	case "prechecked":
		ev := Prechecked{Gen: gen}
		if a.named["held"] != "" || a.named["service"] != "" {
			ev.Conflict = &Conflict{Port: a.number("port", 80), PID: a.number("pid", 1), Process: a.named["held"], Service: a.named["service"]}
		}
		return ev, nil
	case "spawned":
		return Spawned{gen, a.number("pid", 100+int(gen))}, nil
	case "spawn_failed":
		return SpawnFailed{Gen: gen, Kind: a.named["kind"], Detail: a.named["detail"], Aborted: a.is("aborted")}, nil
	case "readied":
		return Readied{gen}, nil
	case "probed":
		return Probed{gen, a.is("ok"), a.named["detail"]}, nil
	case "ping":
		return Extended{Gen: gen, Watchdog: true}, nil
	case "extended":
		return Extended{Gen: gen, By: a.duration("by"), Watchdog: a.is("watchdog"), SetWatchdog: a.duration("set"), Trigger: a.is("trigger")}, nil
	case "stopping_self":
		return StoppingSelf{gen}, nil
	case "main_changed":
		return MainChanged{gen, a.number("pid", 1000)}, nil
	case "process_exited":
		status := Status{Code: int32(a.number("code", 0)), Signal: int32(a.number("signal", 0)), OOM: a.is("oom"), Unknown: a.is("unknown")}
		return ProcessExited{Gen: gen, PID: a.number("pid", 0), Status: status, Alive: a.number("alive", 0), Daemon: a.number("daemon", 0),
			PIDFileMain: a.number("pid_file", 0), PIDFile: strings.ReplaceAll(a.named["why"], "_", " ")}, nil
	case "tree_empty":
		return TreeEmpty{gen}, nil
	case "hook_done":
		return HookDone{Gen: gen, OK: true}, nil
	case "vanished":
		return Vanished{Gen: gen, NeverWas: a.is("never_was"), Alive: a.number("alive", 0)}, nil
	case "adopted":
		return Adopted{gen, a.number("pid", 100+int(gen))}, nil
	}
	return nil, fmt.Errorf("unknown event %q", what)
}

// reload swaps the graph as the driver does.
func (p *player) reload(g *graph.Graph) error {
	if reasons := p.m.RefuseReload(g); reasons != nil {
		fmt.Fprintf(&p.out, "refused: %s\n", strings.Join(reasons, "; "))
		return nil
	}
	plan := graph.Diff(p.g, g, func(name string) bool { return p.m.up(name) }, nil)
	for _, c := range plan.Changed {
		fmt.Fprintf(&p.out, "plan: %s restart=%t %s %s\n", c.Name, c.Restart, strings.Join(c.Fields, ","), c.Because)
	}
	clear(p.last)
	err := p.step(Reloaded{g, plan})
	p.g = p.m.Graph() // the old one when it was refused
	return err
}

// crash drops the machine and restores it from its records. sent are the services whose stop signal is known to have been sent.
func (p *player) crash(sent []string) error {
	var recs []Record
	stopSent := map[Gen]bool{}
	for id := range graph.ID(p.m.Len()) {
		if !p.m.Forgotten(id) {
			r := p.m.Record(id)
			stopSent[r.Gen] = slices.Contains(sent, r.Name)
			recs = append(recs, r)
		}
	}
	p.m = Restore(p.g, p.opt, recs, p.m.Globals(), stopSent, p.now)
	clear(p.last)
	return p.verify()
}

// playLines plays the lines of one block.
func playLines(p *player, text string) error {
	for line := range strings.Lines(text) {
		if err := p.line(strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}
