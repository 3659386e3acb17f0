package loop

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// The simulator runs this very loop, with its machine and its journal, in a world that follows from a seed (simworld_test.go):
// services of all kinds start, end, leave processes, go into the background, are asked for and stopped; answers come late or
// hang, forks fail, pid files lie, numbers are used again, signals are not permitted, hooks hang; and at any question of the
// loop the server may die, or execute another image in its place. Then everything heals, the world must come to rest, and a
// stop of everything must end it.
//
// Checked are: no signal goes to a number that may be another's; a service never has two main processes; what is shown is
// what is; every status is told; nothing is lost, left behind or kept; all that is asked for is answered; a stop ends.

var (
	simSeeds = flag.Int("worlds", 300, "how many worlds TestSim plays")
	simSeed  = flag.Uint64("world", 0, "the only world that TestSim plays, with its trace")
)

// TestSim plays many worlds.
func TestSim(t *testing.T) {
	first, last := uint64(1), uint64(*simSeeds)
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		w := playSim(t, seed)
		if *simSeed != 0 && testing.Verbose() {
			t.Log(strings.Join(w.trace, "\n"))
		}
		if w.failure != "" {
			trace := w.trace[max(0, len(w.trace)-60):]
			t.Fatalf("world %d (go test ./supervisor/loop -run TestSim$ -world %d): %s\n%s", seed, seed, w.failure, strings.Join(trace, "\n"))
		}
	}
}

// TestSimIsDeterministic: the same seed is the same world.
func TestSimIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		a, b := playSim(t, 1000+seed), playSim(t, 1000+seed)
		if !slices.Equal(a.trace, b.trace) {
			for i := range a.trace {
				if i >= len(b.trace) || a.trace[i] != b.trace[i] {
					t.Fatalf("world %d: %s\n%s", 1000+seed, a.trace[i], b.trace[min(i, len(b.trace)-1)])
				}
			}
			t.Fatal("one goes on")
		}
	}
}

// simPlay is one world with the server in it.
type simPlay struct {
	*simWorld
	t       *testing.T
	journal *journal.Journal
	defs    *view.Definitions
	version map[string]int
	waiting map[chan Settled]string // for whom
	steps   int
}

func playSim(t *testing.T, seed uint64) (w *simWorld) {
	rng := rand.New(rand.NewPCG(seed, 7))
	w = &simWorld{rng: rng, procs: map[int]*simProcess{}, lastPID: 10, reaped: map[int]bool{}, services: map[string]*simService{},
		says: map[uint64]*simReporter{}}
	p := &simPlay{simWorld: w, t: t, version: map[string]int{}, waiting: map[chan Settled]string{}}
	w.drawFaults()
	if rng.IntN(4) > 0 {
		w.keeper = &simKeeper{w: w, tracked: map[int]uint64{}}
	}
	defer func() {
		if p.journal != nil {
			_ = p.journal.Close()
		}
		if r := recover(); r != nil {
			w.fail("panic: %v\n%s", r, debug.Stack())
		}
	}()
	w.play = p
	p.defs = p.draw()
	p.boot(nil)
	p.script()
	p.until(w.between(9*time.Second, 20*time.Second))
	p.heal()
	p.rest()
	p.end()
	return w
}

// drawFaults makes most worlds good in most respects, so that what is rare meets what is rare.
func (w *simWorld) drawFaults() {
	for _, f := range []*int{&w.faults.late, &w.faults.hang, &w.faults.forkFails, &w.faults.exits, &w.faults.stubborn, &w.faults.undead,
		&w.faults.kids, &w.faults.liar, &w.faults.refused, &w.faults.silent, &w.faults.slow} {
		if w.rng.IntN(3) == 0 {
			*f = []int{5, 20, 50}[w.rng.IntN(3)]
		}
	}
	w.faults.undead /= 4
	w.faults.slow /= 10
}

// draw makes the definitions.
func (p *simPlay) draw() *view.Definitions {
	ds := &view.Definitions{Configs: map[string]*graph.Config{}}
	for i := range 1 + p.rng.IntN(6) {
		name := fmt.Sprintf("s%d", i)
		p.services[name] = &simService{name: name, why: "its pid_file does not exist", refuses: p.rng.IntN(100) < p.faults.refused/4}
		ds.Configs[name] = p.define(name, i)
	}
	return ds
}

// define draws one definition. Dependencies are on earlier ones only.
func (p *simPlay) define(name string, i int) *graph.Config {
	r := rand.New(rand.NewPCG(p.rng.Uint64(), 1))
	p.version[name]++
	text := fmt.Sprintf("[service]\nname = %q\nexec = \"run %d\"\n", name, p.version[name])
	kind := r.IntN(6)
	switch kind {
	case 0:
		text += "oneshot = true\n"
	case 1, 2:
		text += "pid_file = \"/run/" + name + ".pid\"\n"
	case 3:
		text += "ready = \"notify\"\n"
	}
	hook := func(key string) {
		if r.IntN(5) == 0 {
			text += key + " = \"hook\"\n"
		}
	}
	hook("pre_start")
	hook("post_stop")
	hook("stop_command")
	if i > 0 && r.IntN(2) == 0 {
		text += "[dependencies]\n" + []string{"requires", "after", "binds", "wants"}[r.IntN(4)] + fmt.Sprintf(" = [\"s%d\"]\n", r.IntN(i))
	}
	text += "[lifecycle]\nstop_timeout_ms = " + fmt.Sprint(20+r.IntN(2000)) + "\nstart_timeout_ms = " + fmt.Sprint(500+r.IntN(5000)) + "\n"
	if kind != 0 {
		text += "restart = \"always\"\n"
	}
	text += "restart_delay_ms = " + fmt.Sprint(r.IntN(300)) + "\n"
	if r.IntN(6) == 0 {
		text += "kill_mode = \"mixed\"\n"
	}
	if kind >= 3 && r.IntN(4) == 0 {
		text += "[health]\ntype = \"exec\"\ntarget = \"check\"\ninterval_ms = 1000\ntimeout_ms = 300\nretries = 2\n"
	}
	c, problems := confdir.Parse(name+".toml", []byte(text), confdir.Options{})
	if c == nil {
		panic(fmt.Sprint(text, problems))
	}
	return c
}

// boot starts a server: the first, or one that goes on where another died.
func (p *simPlay) boot(state *journal.State) {
	w := p.simWorld
	w.life++
	w.up, w.forks, w.held, w.alarm, w.crashIn = true, nil, nil, nil, 0
	clear(w.reaped)
	clear(p.waiting)
	log := slog.New(slog.DiscardHandler)
	o := Options{Log: log, Jobs: jobs.Open("", "", log), World: w, Restored: state}
	if state == nil {
		var err error
		if p.journal, err = journal.Create(); err != nil {
			p.t.Fatal(err)
		}
	}
	o.Journal = p.journal
	if w.keeper != nil {
		o.Handover = &keeper.Handover{PID: 1, Exits: slices.Clone(w.keeper.exits), Tracked: maps.Clone(w.keeper.tracked)}
		for _, gen := range slices.Sorted(maps.Keys(w.says)) {
			o.Handover.Pipes = append(o.Handover.Pipes, keeper.Pipe{Gen: gen, Stream: StreamNotify})
		}
	}
	w.say("a server begins, life %d", w.life)
	p.careful(func() {
		w.l = New(o)
		if state != nil {
			p.defs = w.l.Restore()
		} else {
			w.l.Load(p.defs, p.defs.Graph(), nil, "")
		}
		w.l.Begin()
	})
	p.goOn()
}

// careful runs a part of the server, which may die in it.
func (p *simPlay) careful(part func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, crash := r.(simCrash); !crash {
				panic(r)
			}
			p.die()
		}
	}()
	part()
}

// turn is one turn of the loop that begins with a word.
func (w *simWorld) turn(word func()) {
	if !w.up || w.failure != "" {
		return
	}
	w.play.steps++
	w.play.careful(func() {
		w.l.d.inbox <- word
		w.l.d.turn()
	})
	w.play.goOn()
}

// goOn lets the loop go on with what it has not come to, when others have had their turn.
func (p *simPlay) goOn() {
	w := p.simWorld
	if !w.up || w.failure != "" {
		return
	}
	d := w.l.d
	p.check()
	if d.halted {
		w.say("the loop has ended with %d", d.exitCode)
		w.up = false
		return
	}
	if len(d.queue)+len(d.more)+len(d.inbox) > 0 {
		w.at(w.between(0, 50*time.Microsecond), w.life, func() {
			if len(d.queue)+len(d.more)+len(d.inbox) > 0 && w.up {
				p.careful(func() { d.turn() })
				p.goOn()
			}
		})
	}
}

// die is a SIGKILL of the server.
func (p *simPlay) die() {
	w := p.simWorld
	w.say("the server dies")
	w.up = false
	for _, f := range w.forks { // a fork under way may have happened
		if f.begun && f.do != nil && w.rng.IntN(2) == 0 {
			f.do()
		}
	}
	w.life++
	for _, pid := range w.pids() {
		if q := w.procs[pid]; q.parent == byServer {
			if q.parent = byKeeper; q.dead {
				w.waitFor(q)
			}
		}
	}
	p.reopen(w.between(time.Millisecond, 2*time.Second))
}

// exec replaces the image of the server, as a word of it: its children stay its own.
func (p *simPlay) exec() {
	w := p.simWorld
	if w.l.Halting() {
		w.say("the upgrade is called off")
		w.l.Resume()
		return
	}
	w.say("another image is executed")
	w.up = false
	w.life++
	p.reopen(w.between(time.Millisecond, 20*time.Millisecond))
}

// reopen lets the next server read the journal.
func (p *simPlay) reopen(wait time.Duration) {
	p.at(wait, 0, func() {
		fd, err := unix.FcntlInt(uintptr(p.journal.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		_ = p.journal.Close()
		j, state, err := journal.Open(fd)
		if err != nil {
			p.t.Fatal(err)
		}
		p.journal = j
		if !Began(state) {
			_ = j.Close()
			state = nil
		}
		p.boot(state)
	})
}

// script draws what is done to the world.
func (p *simPlay) script() {
	for range p.rng.IntN(25) {
		at := p.between(0, 8*time.Second)
		if p.rng.IntN(3) == 0 {
			at = p.between(0, 100*time.Millisecond)
		}
		name := fmt.Sprintf("s%d", p.rng.IntN(len(p.services)))
		switch n := p.rng.IntN(20); {
		case n < 5:
			p.do(at, func() { p.ask(name, machine.VerbStart) })
		case n < 9:
			p.do(at, func() { p.ask(name, machine.VerbStop) })
		case n < 12:
			p.do(at, func() { p.ask(name, machine.VerbRestart) })
		case n < 14:
			p.do(at, p.reload)
		case n < 15:
			p.at(at, 0, func() { p.outside(name) })
		case n < 16 && p.rng.IntN(4) == 0:
			p.do(at, func() { p.l.d.step(machine.ShutdownAsked{}) })
		case n < 18 && p.keeper != nil:
			at, questions := at, p.rng.IntN(12)
			p.at(at, 0, func() {
				switch {
				case !p.up:
				case questions == 0:
					p.die()
				default:
					p.crashIn = questions
				}
			})
		case n < 20:
			p.do(at, func() {
				if p.held == nil {
					p.l.d.world.Hold(func() {
						p.l.d.commit()
						p.exec()
					})
					p.l.d.world.After(forkPatience, p.l.d.world.HoldNoLonger)
				}
			})
		}
	}
}

// do is what somebody asks of the server; while there is none, or one that is about to be another, it waits.
func (p *simPlay) do(wait time.Duration, word func()) {
	p.at(wait, 0, func() {
		if !p.up || p.held != nil {
			if p.l.d.halted {
				return
			}
			p.do(3*time.Millisecond, word)
			return
		}
		p.turn(word)
	})
}

// ask is a request for which somebody waits.
func (p *simPlay) ask(name string, verb machine.Verb) {
	d := p.l.d
	id, ok := d.m.Graph().Lookup(name)
	if !ok {
		return
	}
	p.say("%v of %s is asked for", verb, name)
	got := make(chan Settled, 1)
	p.waiting[got] = name
	d.step(machine.Asked{Verb: verb, IDs: []graph.ID{id}, Req: d.requests.open(got)})
}

// reload changes, adds or removes one service.
func (p *simPlay) reload() {
	next := p.defs.Clone()
	i := p.rng.IntN(len(p.services))
	name := fmt.Sprintf("s%d", i)
	if next.Configs[name] != nil && p.rng.IntN(4) == 0 {
		delete(next.Configs, name)
	} else {
		next.Configs[name] = p.define(name, i)
	}
	g := next.Graph()
	plan := graph.Diff(p.defs.Graph(), g, func(string) bool { return true }, func(string) []string { return nil })
	p.say("a reload of %s", name)
	if refused := p.l.d.reload(next, g, plan, documents(touched(next, plan))); len(refused) == 0 {
		p.defs = next
	}
}

// outside is somebody else who kills a main process.
func (p *simPlay) outside(name string) {
	for _, pid := range p.pids() {
		if q := p.procs[pid]; q.main && !q.dead && q.service.name == name {
			p.simWorld.die(q, machine.Status{Signal: 9})
		}
	}
}

// next lets one thing happen; false when nothing will, or not by then.
func (p *simPlay) next(end time.Duration) bool {
	w := p.simWorld
	if w.failure != "" || len(w.events) == 0 || w.events[0].at > end {
		return false
	}
	e := w.events[0]
	w.events = w.events[1:]
	w.now = max(w.now, e.at)
	if e.life == 0 || e.life == w.life {
		e.run()
	}
	return true
}

func (p *simPlay) until(end time.Duration) {
	for p.next(end) {
	}
	p.now = max(p.now, end)
}

// heal ends all trouble; what is stubborn obeys.
func (p *simPlay) heal() {
	w := p.simWorld
	w.say("everything heals")
	w.healed, w.crashIn = true, 0
	for _, pid := range w.pids() {
		if q := w.procs[pid]; (q.gen&proc.Aside != 0 || q.refused) && !q.dead { // hooks that hung, and what nobody ends again
			w.at(time.Millisecond, 0, func() { w.die(q, machine.Status{}) })
		}
	}
}

// rest waits until nothing goes on any more but checks, and looks at everything.
func (p *simPlay) rest() {
	end := p.now + 5*time.Minute
	for p.failure == "" && (p.up || !p.l.d.halted) {
		if p.up && p.restless() == "" {
			if p.until(p.now + 100*time.Millisecond); p.up && p.restless() == "" {
				p.judge()
				return
			}
		}
		if !p.next(end) {
			p.fail("no rest: %s", p.restless())
		}
	}
}

// restless says what goes on, "" = nothing.
func (p *simPlay) restless() string {
	w := p.simWorld
	if !w.up {
		return "no server"
	}
	d := w.l.d
	v := d.views.Load()
	for _, e := range v.Entries {
		if s := e.Info.State; s == machine.Starting || s == machine.Stopping || e.Info.NextRestart != 0 || e.Info.Due && s != machine.Blocked {
			return e.Config.Name + " is " + s.String() + p.about(e.Config.Name)
		}
	}
	if len(w.forks) > 0 || w.held != nil {
		return "forks"
	}
	for gen := range d.trees.lingering {
		return fmt.Sprintf("what is left of %d is watched", gen)
	}
	for _, pid := range w.pids() {
		if q := w.procs[pid]; q.dead && q.parent < 0 {
			return fmt.Sprintf("pid %d of %s gen %d has ended and is not reaped (parent %d, told %v)", pid, q.service.name, q.gen&^proc.Aside,
				q.parent, w.reaped[pid])
		}
	}
	return ""
}

// about is what the loop and the world know of a service.
func (p *simPlay) about(name string) (text string) {
	for _, c := range p.l.d.children.all() {
		if c.config.Name == name {
			text += fmt.Sprintf("\n child %d: pid %d start %d adopted %v gone %v reaped %v ending %v killed %v daemonized %v lingering %v", c.gen, c.pid, c.start,
				c.adopted, c.gone, c.reaped, c.ending, c.killed, c.daemonized, p.l.d.trees.lingering[c.gen] != nil)
		}
	}
	for _, pid := range p.pids() {
		if q := p.procs[pid]; q.service.name == name {
			text += fmt.Sprintf("\n pid %d: start %d parent %d gen %d dead %v undead %v refused %v hook %q", pid, q.start, q.parent, q.gen&^proc.Aside, q.dead,
				q.undead, q.refused, q.hook)
		}
	}
	return text
}

// end stops everything.
func (p *simPlay) end() {
	if p.failure != "" || p.l.d.halted {
		p.ended()
		return
	}
	p.turn(func() { p.l.d.step(machine.ShutdownAsked{}) })
	limit := p.now + 3*time.Minute
	for !p.l.d.halted && p.failure == "" {
		if !p.next(limit) {
			p.fail("the stop of everything does not end: %s", p.restless())
			return
		}
	}
	p.ended()
}

// ended looks at what a server that has stopped everything leaves.
func (p *simPlay) ended() {
	p.until(p.now + 10*time.Second) // what was killed and could not be ends by itself
	if p.failure != "" || !p.healed {
		return
	}
	for _, pid := range p.pids() {
		if q := p.procs[pid]; !q.dead && q.gen&proc.Aside == 0 {
			p.fail("pid %d of %s is left behind by the stop", pid, q.service.name)
			return
		}
	}
}

// oneAtATime checks the moment of a fork: no process of an earlier incarnation lives.
func (w *simWorld) oneAtATime(s *simService, gen uint64) {
	for _, pid := range w.pids() {
		q := w.procs[pid]
		if q.service == s && !q.dead && q.gen&proc.Aside == 0 && q.gen != gen && !q.undead && !s.refuses {
			w.fail("%s is started as %d while pid %d of %d lives", s.name, gen, pid, q.gen)
		}
		if q.service == s && q.gen == gen && q.main {
			w.fail("%s is started twice as %d", s.name, gen)
		}
	}
}

// check looks at the loop after each turn.
func (p *simPlay) check() {
	w, d := p.simWorld, p.l.d
	for pid, c := range d.children.byPID {
		if c.pid != pid || c.gone || !d.children.current(c) {
			w.fail("pid %d is known as that of %s, which has %d (gone %v)", pid, c.config.Name, c.pid, c.gone)
		}
	}
	for _, c := range d.children.all() {
		if c.pid > 0 && !c.gone && !c.reaped && d.children.mainOf(c.pid) != c {
			w.fail("pid %d of %s is not known", c.pid, c.config.Name)
		}
	}
	if len(d.queue) > 0 {
		return
	}
	for _, e := range d.views.Load().All {
		pid := e.Info.PID
		if info, ok := d.m.ByGen(e.Info.Gen); ok && d.m.Info(info).State != e.Info.State {
			w.fail("%s is %v and shown as %v", e.Config.Name, d.m.Info(info).State, e.Info.State)
		}
		if e.Info.State == machine.Running && !e.Config.Target && pid > 0 && e.Run != nil && e.Run.PID != pid {
			w.fail("%s is shown with pid %d and %d", e.Config.Name, pid, e.Run.PID)
		}
	}
	for ch := range p.waiting {
		if len(ch) > 0 {
			delete(p.waiting, ch)
		}
	}
}

// judge looks at a world at rest.
func (p *simPlay) judge() {
	w, d := p.simWorld, p.l.d
	owned := map[uint64]bool{}
	for _, e := range d.views.Load().All {
		q := w.procs[e.Info.PID]
		alive := q != nil && !q.dead && q.gen == uint64(e.Info.Gen)
		switch s := e.Info.State; {
		case s == machine.Running && !e.Config.Target && !alive:
			w.fail("%s is shown as running with pid %d, which is not there", e.Config.Name, e.Info.PID)
		case s == machine.Running || e.Info.Leftovers || s == machine.Stopping:
			owned[uint64(e.Info.Gen)] = true
		}
	}
	for _, h := range d.children.helpers {
		owned[h.gen] = true // a check goes on
	}
	for _, pid := range w.pids() {
		q := w.procs[pid]
		if !q.dead && !owned[q.gen] && !q.undead && !q.refused { // those may have been given up
			w.fail("pid %d of %s gen %d lives, and its service has no process (%v)", pid, q.service.name, q.gen&^proc.Aside, q.hook)
		}
	}
	for _, name := range slices.Sorted(maps.Values(p.waiting)) {
		if id, ok := d.m.Graph().Lookup(name); ok && !slices.Contains([]machine.State{machine.Blocked}, d.m.Info(id).State) {
			w.fail("who asked for %s waits still", name)
		}
	}
	if n := len(d.children.early); n > 0 {
		w.fail("%d exits are kept of which nobody knows whose they are", n)
	}
	for pid := range w.reaped {
		if c := d.children.mainOf(pid); c == nil && !d.children.knows(pid) {
			held := false
			for _, c := range d.children.all() {
				held = held || c.pid == pid
			}
			if !held {
				w.fail("pid %d has ended and is kept for nobody", pid)
			}
		}
	}
	if w.keeper != nil && len(w.keeper.exits) > 0 {
		w.fail("exits are not acknowledged: %+v", w.keeper.exits[0])
	}
}
