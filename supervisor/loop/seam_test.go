package loop

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// script is a world that notes what it is asked, and answers what a test says. What it does not have is not asked here.
type script struct {
	World
	now     time.Time
	said    []string
	timers  []*scriptTimer
	looks   []func(map[machine.Gen]Life)
	asked   [][]Tree
	watches bool // WatchGroup
	clean   bool // Clean
	fork    *scriptFork
	forked  func(Forked)
	sweeps  []func(proc.Process)
	stands  map[int]bool // pid -> asleep
	tells   func(string) // of Obstacles
	alarm   time.Duration
}

func (w *script) note(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// take returns what was noted since the last time.
func (w *script) take() string {
	said := strings.Join(w.said, ", ")
	w.said = nil
	return said
}

func (w *script) Clock() view.Clock { return view.ToldClock(0, func() time.Time { return w.now }) }

type scriptTimer struct {
	w    *script
	at   time.Time
	word func()
	off  bool
}

func (t *scriptTimer) Stop() bool { was := !t.off; t.off = true; return was }

func (w *script) After(wait time.Duration, word func()) Timer {
	t := &scriptTimer{w: w, at: w.now.Add(wait), word: word}
	w.timers = append(w.timers, t)
	return t
}

// pending lists the waits of the timers that are set.
func (w *script) pending() []time.Duration {
	var list []time.Duration
	for _, t := range w.timers {
		if !t.off {
			list = append(list, t.at.Sub(w.now))
		}
	}
	return list
}

// pass lets time go by, with the words that are due in it.
func (w *script) pass(d time.Duration) {
	for end := w.now.Add(d); ; {
		var next *scriptTimer
		for _, t := range w.timers {
			if !t.off && !t.at.After(end) && (next == nil || t.at.Before(next.at)) {
				next = t
			}
		}
		if next == nil {
			w.now = end
			return
		}
		w.now, next.off = next.at, true
		next.word()
	}
}

func (w *script) Alarm(wait time.Duration)            { w.alarm = wait; w.note("alarm") }
func (w *script) WatchGroup(Group) bool               { return w.watches }
func (w *script) Drain(gens []uint64)                 { w.note("drain %d", gens) }
func (w *script) Release(gen uint64, _ time.Duration) { w.note("release %d", gen) }
func (w *script) Reap(pid int)                        { w.note("reap %d", pid) }
func (w *script) KillGroup(pid int)                   { w.note("kill group %d", pid) }
func (w *script) Leave(f *Forked, alone bool)         { w.note("leave %v %v", f.Group != nil, f.Parent != nil) }
func (w *script) Clean(Tree, Known) bool              { return w.clean }
func (w *script) Beside(work func())                  { w.note("beside"); work() }
func (w *script) KillTree(t Tree, _ bool, _ int, _ func()) {
	w.note("kill tree %d of %d", t.Owner.Gen&0xff, t.Owner.Main)
}
func (w *script) Stands(p proc.Process) (bool, bool) {
	asleep, ok := w.stands[p.PID]
	return ok, asleep
}
func (w *script) Obstacles(_ Tree, _ Known, then func(string))   { w.tells = then; w.note("obstacles") }
func (w *script) Sweep(_ Tree, _ Known, then func(proc.Process)) { w.sweeps = append(w.sweeps, then) }

func (w *script) Look(trees []Tree, _ Known, then func(map[machine.Gen]Life)) {
	w.asked, w.looks = append(w.asked, trees), append(w.looks, then)
}

// answer ends the oldest look.
func (w *script) answer(alive map[machine.Gen]Life) {
	then := w.looks[0]
	w.looks, w.asked = w.looks[1:], w.asked[1:]
	then(alive)
}

func (w *script) StartHelper(_ *Helper, then func(Forked)) Fork {
	w.forked, w.fork = then, &scriptFork{}
	return w.fork
}

type scriptFork struct{ begun, off bool }

func (f *scriptFork) Begun() bool { return f.begun }
func (f *scriptFork) CallOff() bool {
	if f.begun || f.off {
		return false
	}
	f.off = true
	return true
}

type scriptGroup struct{}

func (scriptGroup) Path() string    { return "/g" }
func (scriptGroup) Main() string    { return "/g/main" }
func (scriptGroup) OOMKilled() bool { return false }

// scripted is a driver in such a world, with a machine that knows one service.
func scripted() (*driver, *script) {
	w := &script{now: time.Unix(1000, 0), stands: map[int]bool{}}
	d := &driver{opt: &Options{done: make(chan struct{})}, world: w, log: slog.New(slog.NewTextHandler(io.Discard, nil)), clock: w.Clock(),
		inbox: make(chan func(), inboxLen), children: newChildren(), events: view.NewEventLog(1), tally: view.NewTally()}
	d.m = machine.New(graph.New([]*graph.Config{{Name: "s"}}, nil), machine.Options{})
	d.trees = newTreeWatch(d)
	return d, w
}

func aChild(d *driver, gen machine.Gen, pid int) *child {
	c := &child{gen: gen, config: &graph.Config{Name: "s"}, pid: pid, reaped: true}
	d.children.enter(c)
	return c
}

// TestTreeWatch: one look at a time, ever more seldom, until a tree is empty; what comes meanwhile is looked at right after.
func TestTreeWatch(t *testing.T) {
	d, w := scripted()
	a, b := aChild(d, 1, 10), aChild(d, 2, 20)
	d.trees.kick()
	if len(w.looks) != 0 {
		t.Fatal("a look at nothing")
	}
	d.trees.add(a)
	d.trees.add(b)
	d.trees.kick()
	if len(w.looks) != 1 || len(w.asked[0]) != 1 {
		t.Fatalf("%d looks under way", len(w.looks))
	}
	w.answer(map[machine.Gen]Life{1: Outside})
	if len(w.looks) != 1 || len(w.asked[0]) != 2 || w.asked[0][0].Owner.Gen != 1 || w.asked[0][1].Owner.Gen != 2 {
		t.Fatalf("after it %d looks, at %v", len(w.looks), w.asked)
	}
	w.answer(map[machine.Gen]Life{1: Outside, 2: Outside})
	var waits []time.Duration
	for range 16 {
		pending := w.pending()
		if len(pending) != 1 {
			t.Fatalf("%v until the next look", pending)
		}
		waits = append(waits, pending[0])
		w.pass(pending[0])
		w.answer(map[machine.Gen]Life{1: Outside, 2: Outside})
	}
	if waits[0] != treePollFirst || waits[1] != 2*treePollFirst || waits[15] != treePollIdle {
		t.Errorf("waits %v", waits)
	}
	a.ending = true
	if d.trees.hurry(); !slices.Equal(w.pending(), []time.Duration{treePollFirst}) {
		t.Errorf("in a hurry %v", w.pending())
	}
	for range 9 {
		w.pass(treePollMax)
		w.answer(map[machine.Gen]Life{1: Outside, 2: Outside})
		if p := w.pending(); len(p) != 1 || p[0] > treePollMax {
			t.Fatalf("%v until the next look at a tree that is being ended", p)
		}
	}
	w.take()
	w.pass(treePollMax)
	w.answer(map[machine.Gen]Life{2: Outside})
	if got := w.take(); got != "drain [1], release 1" || d.children.of(1) != nil || len(d.trees.lingering) != 1 {
		t.Errorf("said %q, %d linger", got, len(d.trees.lingering))
	}
	w.pass(treePollIdle)
	w.answer(nil)
	if len(w.pending())+len(w.looks) != 0 || d.children.of(2) != nil {
		t.Errorf("at the end %v are waited for", w.pending())
	}
}

// TestTreeWatchTrustsTheKernel: trees in a control group that tells are not looked at again, unless they are killed or leave it.
func TestTreeWatchTrustsTheKernel(t *testing.T) {
	d, w := scripted()
	w.watches = true
	c := aChild(d, 1, 10)
	c.group = scriptGroup{}
	d.trees.add(c)
	w.answer(map[machine.Gen]Life{1: InGroup})
	if len(w.pending()) != 0 || !c.told {
		t.Errorf("waits %v", w.pending())
	}
	d.trees.kick() // the kernel tells
	w.answer(map[machine.Gen]Life{1: Outside})
	if len(w.pending()) != 1 || c.told {
		t.Errorf("one that has left: waits %v", w.pending())
	}
	d, w = scripted()
	w.watches = true
	c = aChild(d, 1, 10)
	c.group, c.killed = scriptGroup{}, true
	d.trees.add(c)
	if tree := w.asked[0][0]; !tree.Kill || tree.Ends || tree.Held || tree.Owner.Cgroup != "/g/main" {
		t.Errorf("%+v", tree)
	}
	if w.answer(map[machine.Gen]Life{1: InGroup}); len(w.pending()) != 1 {
		t.Errorf("one that is killed: waits %v", w.pending())
	}
	// Of an incarnation that is another's by now nothing is believed.
	other := &child{gen: 1, config: c.config}
	d.trees.kick()
	d.trees.lingering[1] = other
	if w.answer(nil); d.trees.lingering[1] != other {
		t.Error("the end of another was taken for its own")
	}
	for what, c := range map[string]child{"adopted": {pid: 5, adopted: true}, "reaped": {pid: 5, reaped: true}, "in the background": {pid: 5, daemonized: true}, "not started": {}} {
		c.config = &graph.Config{}
		if c.tree().Held {
			t.Errorf("%s: its number is certain", what)
		}
	}
	if held := (&child{pid: 5, config: &graph.Config{}}); !held.tree().Held {
		t.Error("a child's number is not certain")
	}
}

// startOne starts a helper of c and returns how it ended: "", or what was said.
func startOne(d *driver, c *child, ask Helper) (h *helper, ended *string) {
	ended = new(string)
	h = d.newHelper(c)
	h.done = func(st machine.Status) { *ended += fmt.Sprintf("done %d/%d ", st.Code, st.Signal) }
	d.startHelper(h, ask, func(err *proc.Error) { *ended += "failed " + err.Step + " " })
	return h, ended
}

// TestHelper: it ends once, with its group killed and its zombie away, after what it left.
func TestHelper(t *testing.T) {
	d, w := scripted()
	c := aChild(d, 7, 10)
	c.group = scriptGroup{}
	h, ended := startOne(d, c, Helper{Limit: time.Second})
	if h.gen&proc.Aside == 0 || h.asked.Of != 7 || h.asked.Within == nil || h.asked.Gen != h.gen || d.newHelper(nil).gen == h.gen {
		t.Errorf("asked %+v", h.asked)
	}
	w.forked(Forked{PID: 50, Start: 3, Group: scriptGroup{}, Parent: scriptGroup{}})
	if d.children.helpers[50] != h || !d.children.knows(50) {
		t.Error("it is not known")
	}
	if tree := h.tree(); tree.Owner.Main != 50 || tree.Owner.Start != 3 || tree.Owner.Cgroup != "/g/main" || !tree.Held {
		t.Errorf("%+v", tree)
	}
	w.clean = true
	d.helperExited(h, machine.Status{Code: 4})
	if got := w.take(); got != "kill group 50, reap 50, leave true false" || *ended != "done 4/0 " || d.children.knows(50) {
		t.Errorf("said %q, %q", got, *ended)
	}
	d.helperExited(h, machine.Status{})
	d.killHelper(h)
	if got := w.take(); got != "" || *ended != "done 4/0 " {
		t.Errorf("again: %q, %q", got, *ended)
	}

	// What it has left is swept before its zombie goes; its incarnation is over, so is the group of that.
	h, ended = startOne(d, c, Helper{})
	w.forked(Forked{PID: 51, Group: scriptGroup{}, Parent: scriptGroup{}})
	if h.tree().Owner.Main != 0 {
		t.Error("a process is known by its number alone")
	}
	w.clean = false
	d.children.leave(c)
	d.helperExited(h, machine.Status{Signal: 9})
	if got := w.take(); got != "kill group 51" || *ended != "" || !d.children.knows(51) {
		t.Errorf("before the sweep: %q, %q", got, *ended)
	}
	w.stands[60] = true
	w.sweeps[0](proc.Process{PID: 60})
	if got := w.take(); got != "reap 51, leave true true" || *ended != "done 0/9 " {
		t.Errorf("after it: %q, %q", got, *ended)
	}
	if got := h.stuckText(d); got != ", and its process 60 is there after SIGKILL still, in an uninterruptible sleep" {
		t.Errorf("%q", got)
	}
}

// TestHelperThatIsKilled: with its tree, when its start is answered too late as well; one that stays is given up.
func TestHelperThatIsKilled(t *testing.T) {
	d, w := scripted()
	h, ended := startOne(d, nil, Helper{})
	w.fork.begun = true
	d.endHelper(h)
	if got := w.take(); got != "" || !h.expired {
		t.Errorf("before it has a number: %q", got)
	}
	w.forked(Forked{PID: 52, Start: 1})
	if got := w.take(); !strings.HasPrefix(got, "kill group 52, kill tree ") || !strings.HasSuffix(got, " of 52") {
		t.Errorf("once it has one: %q", got)
	}
	if w.pass(killPatience - 1); *ended != "" || h.stuckText(d) != "" {
		t.Errorf("given up early: %q", *ended)
	}
	w.stands[52] = false
	w.pass(1)
	if *ended != "done 0/9 " || h.stuckText(d) != ", and its process 52 is there after SIGKILL still" {
		t.Errorf("%q, %q", *ended, h.stuckText(d))
	}
	w.clean = true
	if d.helperExited(h, machine.Status{Signal: 9}); *ended != "done 0/9 " || h.stuckText(d) != "" {
		t.Errorf("its late end is told again: %q, %q", *ended, h.stuckText(d))
	}
	h, ended = startOne(d, nil, Helper{})
	w.fork.begun = true
	d.killHelper(h)
	if w.pass(killPatience); *ended != "done 0/9 " || !strings.Contains(h.stuckText(d), "has not even been executed") {
		t.Errorf("one without a process: %q, %q", *ended, h.stuckText(d))
	}
	if w.forked(Forked{Err: &proc.Error{Step: "exec"}}); *ended != "done 0/9 " {
		t.Errorf("its failure is told after all: %q", *ended)
	}
}

// TestHelperThatCannotStart is told once; one that waits for its files is called off when its time is over.
func TestHelperThatCannotStart(t *testing.T) {
	d, w := scripted()
	h, ended := startOne(d, nil, Helper{})
	limit := w.After(time.Hour, func() {}).(*scriptTimer)
	w.forked(Forked{Err: &proc.Error{Step: "chdir"}, Limit: limit})
	if *ended != "failed chdir " || !h.dead || !limit.off {
		t.Errorf("%q", *ended)
	}
	_, ended = startOne(d, nil, Helper{Limit: time.Second})
	if w.pass(time.Second); *ended != "failed exec " || !w.fork.off {
		t.Errorf("%q", *ended)
	}
	h, ended = startOne(d, nil, Helper{Limit: time.Second})
	w.fork.begun = true
	if w.pass(time.Second); *ended != "" || h.dead {
		t.Errorf("one that has begun was called off: %q", *ended)
	}
	if d.callOffHelper(&helper{}) {
		t.Error("what was never asked for is called off")
	}
}

// TestRest begins when nothing has happened for long enough after enough work, once.
func TestRest(t *testing.T) {
	_, w := scripted()
	acted := 0
	r := rest{world: w, act: func() { acted++ }}
	r.busy(1)
	w.pass(restAfter / 2)
	r.busy(1) // begins the wait anew
	if w.pass(restAfter - 1); acted != 0 {
		t.Error("too early")
	}
	if w.pass(1); acted != 1 || len(w.pending()) != 0 {
		t.Errorf("%d times", acted)
	}
	r.busy(restWork)
	if w.pass(time.Hour); acted != 1 {
		t.Error("for little work")
	}
	r.busy(1)
	if w.pass(restAfter); acted != 2 {
		t.Error("not for much")
	}
	nobody := rest{world: w}
	if nobody.busy(1000); len(w.pending()) != 0 {
		t.Error("a timer for nobody")
	}
}

// TestObstacles are asked for ever more seldom, until the incarnation is over.
func TestObstacles(t *testing.T) {
	d, w := scripted()
	c := aChild(d, 7, 10)
	d.watchObstacles(c, obstacleFirst)
	var waits []time.Duration
	for range 8 {
		waits = append(waits, w.pending()[0])
		w.pass(w.pending()[0])
		if got := w.take(); got != "obstacles" {
			t.Fatalf("said %q", got)
		}
	}
	if waits[0] != obstacleFirst || waits[1] != 2*obstacleFirst || waits[7] != obstacleSlow {
		t.Errorf("waits %v", waits)
	}
	if w.tells("pid 5 is traced"); c.stuck != "pid 5 is traced" {
		t.Errorf("stuck is %q", c.stuck)
	}
	d.children.leave(c)
	if w.tells("another"); c.stuck != "pid 5 is traced" {
		t.Error("told of one that is over")
	}
	if w.pass(time.Hour); w.take() != "" || len(w.pending()) != 0 {
		t.Error("asked of one that is over")
	}
}

// TestDrainIsBounded by words and by time, so that a flood does not keep actions waiting.
func TestDrainIsBounded(t *testing.T) {
	d, w := scripted()
	took := 0
	fill := func(word func()) {
		for len(d.inbox) < cap(d.inbox) {
			d.inbox <- word
		}
	}
	var flood func()
	flood = func() { took++; d.inbox <- flood }
	fill(flood)
	if d.drain(w.now); took != inboxLen {
		t.Errorf("%d words in one turn, the bound is %d", took, inboxLen)
	}
	d.inbox = make(chan func(), inboxLen)
	took = 0
	fill(func() { took++; w.now = w.now.Add(turnLimit / 4) })
	if d.drain(w.now); took != lookEvery {
		t.Errorf("%d slow words in one turn", took)
	}
	d.inbox = make(chan func(), inboxLen)
	took = 0
	d.inbox <- func() { took++ }
	if d.drain(w.now.Add(-time.Hour)); took != 0 {
		t.Errorf("%d words although the time was over", took)
	}
	if d.drain(w.now); took != 1 {
		t.Errorf("%d words of one", took)
	}
}

// TestPostAfterTheEnd is dropped instead of waiting for ever.
func TestPostAfterTheEnd(t *testing.T) {
	d, _ := scripted()
	for range inboxLen {
		d.post(func() {})
	}
	close(d.opt.done)
	d.post(func() { t.Error("taken") })
	if len(d.inbox) != inboxLen {
		t.Errorf("%d words", len(d.inbox))
	}
}

// TestArm touches the timer only when the deadline is another.
func TestArm(t *testing.T) {
	d, w := scripted()
	d.arm()
	if got := w.take(); got != "" {
		t.Errorf("without a deadline: %q", got)
	}
	d.armed = 5
	if d.arm(); w.take() != "alarm" || w.alarm != -1 || d.armed != 0 {
		t.Errorf("the deadline is gone: %v", w.alarm)
	}
}
