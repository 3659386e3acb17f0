package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// loadedAt is when every world begins.
const loadedAt = 1 * second

// Options choose one run.
type Options struct {
	Seed  uint64
	Mask  Mask
	Bugs  machine.Bugs // planted in the machine
	Slips Slip         // planted in the driver's stand-in
	Trace bool         // keep what happened as text
	Raw   bool         // let panics pass
}

// Slip is a bug planted in the driver's stand-in, to test the checks.
type Slip uint8

// The slips.
const (
	SlipJournalLate Slip = 1 << iota // records are written after the actions were carried out
	SlipAdoptByPID                   // after a crash whatever has the pid is taken for the service
	SlipLoseExit                     // the exit of a process is not told if it comes while the server is dead
	SlipForgetDirty                  // the last touched service of a Step is not recorded
	SlipLoseKept                     // what is asked for during an upgrade is lost
	SlipAskTwice                     // what is asked for during an upgrade is done by the old image and by the new one
)

// Result is how a run went.
type Result struct {
	Failure *Failure // nil when every check held
	Steps   int      // of the machine
	Hash    uint64   // over all events and actions
	Trace   []byte   // with Options.Trace
	Script  []byte   // with Options.Trace: the same for supervisor/machine's script tests
	Ops     int      // in the script
	Total   int      // services that might exist
	EndedAt Time
	Records []machine.Record // with Options.Trace: of all services at the end, or when a check failed; nil while the server is dead
}

// Failure is the first check that did not hold.
type Failure struct {
	Check  string // I1 … I18, L1 … L3, panic, …
	Detail string
	At     Time
	Step   int
}

// service is one name: what the world and the book know of it.
type service struct {
	index     int
	name      string
	present   bool     // in the present graph
	id        graph.ID // there
	config    *graph.Config
	version   int
	wasBroken bool // before the last reload
	spawns    int
	doom      doom
	cur       *process // the latest incarnation
	book      book
	job       *jobBook // nil: it has no schedule
	moved     int      // the Step in which its state changed before something that is due was looked at
}

// World is one seeded fake world around one machine.
type World struct {
	Options
	seed     uint64
	b        *blueprint
	now      Time
	heap     eventHeap
	m        *machine.Machine
	g        *graph.Graph
	services []*service // by index in the blueprint
	byID     []*service // by ID in the present graph
	byName   map[string]*service
	procs    []*process // by incarnation
	journal  journal
	checker  checker

	life      uint32 // of the server, from 1
	down      bool   // the server is dead
	back      Time   // when the next one starts
	doomsday  *op    // a crash that will come at the next chance
	queue     []machine.Action
	healed    bool
	halted    bool
	nextReq   machine.ReqID
	nextPID   int
	freePIDs  []int
	foreign   map[int]Time // ports held by strangers, until when
	serious   int          // items in the heap that are no mere checks of health
	steps     int
	failure   *Failure
	tracer    tracer
	hash      uint64
	reloading *reload
	upgrading *upgrade    // nil: none is under way
	asked     map[int]int // how often each line of the script was carried out
	applying  []int       // versions of the graph that is being applied
	wall      wallClock
	holding   bool // what the machine was told is recorded with its next Step
}

// Run plays one world to its end.
func Run(o Options) (res Result) {
	w := newWorld(o)
	defer func() {
		if !o.Raw {
			if r := recover(); r != nil {
				w.fail("panic", panicText(r))
			}
			res = w.result()
		}
	}()
	w.load()
	w.play()
	return w.result()
}

func panicText(r any) string {
	switch v := r.(type) {
	case error:
		return v.Error()
	case string:
		return v
	}
	return "a panic"
}

func newWorld(o Options) *World {
	b := draw(o.Seed, o.Mask)
	w := &World{Options: o, seed: o.Seed, b: b, now: loadedAt, life: 1, nextPID: 100, foreign: map[int]Time{}, asked: map[int]int{},
		byName: map[string]*service{}}
	w.procs = make([]*process, 1, 64)
	w.tracer.on = o.Trace
	r := newRng(o.Seed, 10)
	for i, name := range b.names {
		s := &service{index: i, name: name, version: absent}
		if d := choose(&r, doomSpawn, doomExit, doomDone); r.chance(b.swarm.doomed) && b.swarm.jobs == 0 { // a job would bring it back for ever
			s.doom = d
		}
		w.services = append(w.services, s)
		w.byName[name] = s
	}
	w.wall = drawWall(b)
	w.checker.init(w)
	return w
}

func (w *World) result() Result {
	r := Result{Failure: w.failure, Steps: w.steps, Hash: w.hash, Trace: w.tracer.text, Script: w.tracer.script.text(w.failure),
		Ops: len(w.b.script), Total: w.b.total(), EndedAt: w.now}
	if w.tracer.on && w.m != nil {
		for id := range graph.ID(w.m.Len()) {
			if !w.m.Forgotten(id) {
				r.Records = append(r.Records, w.m.Record(id))
			}
		}
	}
	return r
}

// fail notes the first check that does not hold; the run ends.
func (w *World) fail(check, detail string) {
	if w.failure == nil {
		w.failure = &Failure{Check: check, Detail: detail, At: w.now, Step: w.steps}
		w.tracer.line("!! " + check + ": " + detail)
	}
}

// load is the boot.
func (w *World) load() {
	versions := make([]int, w.b.total())
	for i := range versions {
		versions[i] = absent
		if i < w.b.swarm.services && !w.b.mask.lacksService(i) {
			versions[i] = 0
		}
	}
	g := w.graphOf(versions)
	w.adoptGraph(g, versions)
	w.m = machine.New(g, w.machineOptions())
	w.tracer.config(w)
	w.boot()
	w.commit()
}

// boot gives a new machine its first events, which are recorded together.
func (w *World) boot() {
	w.checker.jobsAnew()
	w.holding = true
	w.tellClock()
	w.holding = false
	w.checker.loaded()
	w.step(machine.Loaded{Only: w.onlyName(), LastRuns: w.lastRuns()})
}

func (w *World) machineOptions() machine.Options {
	return machine.Options{PID1: true, Bugs: w.Bugs, ShutdownTimeout: int64(w.b.swarm.shutdownTimeout), HostSeed: w.seed,
		JobsAtOnce: w.b.swarm.jobsAtOnce}
}

// onlyName is the one name that is loaded, "" = all.
func (w *World) onlyName() string {
	if w.b.swarm.only && len(w.byID) > 0 {
		return w.byID[len(w.byID)-1].name
	}
	return ""
}

// play goes through the script, heals the world, and ends it.
func (w *World) play() {
	horizon := loadedAt
	for i := range w.b.script {
		horizon = max(horizon, w.b.script[i].at)
		w.push(item{at: w.b.script[i].at, what: hOp, arg: int32(i)})
	}
	w.runUntil(horizon + second/2)
	w.heal()
	w.settle()
	if w.failure == nil && !w.halted {
		w.checker.goals()
		w.askedOnce()
		w.shutdown()
	}
}

// runUntil lets the world go on up to a time.
func (w *World) runUntil(end Time) {
	for w.failure == nil && !w.halted {
		at, ok := w.nextTime()
		if !ok || at > end {
			break
		}
		w.turn()
	}
	if !w.halted {
		w.now = max(w.now, end)
	}
}

// nextTime is when the next thing happens.
func (w *World) nextTime() (Time, bool) {
	deadline, armed := w.deadline()
	if len(w.heap.items) == 0 {
		return deadline, armed
	}
	if at := w.heap.items[0].at; !armed || at < deadline {
		return at, true
	}
	return deadline, true
}

// deadline is when the driver's timer fires.
func (w *World) deadline() (Time, bool) {
	if w.down {
		return 0, false
	}
	at, ok := w.m.Deadline()
	if rate := w.b.swarm.rate[FaultLaggard]; rate > 0 {
		at += Time(rate) * 50 * microsecond
	}
	return at, ok
}

// turn lets one thing happen, or several when the driver takes a batch, and then carries out the actions.
func (w *World) turn() {
	w.one()
	if rate := w.b.swarm.rate[FaultBatch]; rate > 0 {
		for n := 0; n < 5 && w.failure == nil && !w.down && !w.halted && len(w.heap.items) > 0; n++ {
			if w.heap.items[0].at > w.now+Time(rate)*2*microsecond {
				break
			}
			w.one()
		}
	}
	w.commit()
}

// one lets the next thing happen.
func (w *World) one() {
	deadline, armed := w.deadline()
	if armed && (len(w.heap.items) == 0 || deadline <= w.heap.items[0].at) {
		w.now = max(w.now, deadline)
		w.step(machine.Ticked{})
		w.checker.ticked()
		return
	}
	it := w.heap.pop()
	w.now = max(w.now, it.at)
	w.count(&it, -1)
	w.happen(&it)
}

// push adds what will happen; words are bound to the life of the server that they are for.
func (w *World) push(it item) {
	if it.what == hWord || it.what == hClock {
		it.life = w.life
	}
	w.count(&it, 1)
	w.heap.push(it)
}

// count keeps the number of items that are more than a check of health or a watchdog's ping.
func (w *World) count(it *item, n int) {
	if it.what == hPing || it.what == hWord && (it.word == wordProbed || it.word == wordPing) {
		return
	}
	w.serious += n
}

func (w *World) happen(it *item) {
	switch it.what {
	case hOp:
		w.do(&w.b.script[it.arg], int(it.arg))
	case hFork:
		w.fork(it.p, it.arg)
	case hMainExit:
		w.mainExits(it.p, it.arg)
	case hKidsExit:
		w.kidsExit(it.p, it.arg)
	case hReady:
		w.becomesReady(it.p)
	case hWord:
		if it.life == w.life && !w.down {
			w.deliver(it)
		}
	case hRestart:
		w.restore()
	case hPortFree:
		if w.foreign[int(it.arg)] <= w.now {
			delete(w.foreign, int(it.arg))
		}
	case hStepAside:
		w.stepAside(it.p)
	case hPing:
		w.ping(it.p)
	case hHangup:
		if !w.down {
			w.hangup(machine.ReqID(it.gen))
		}
	case hReloaded:
		w.reloaded()
	case hExec:
		w.exec()
	case hClock:
		if !w.down && it.life == w.life {
			w.tellClock()
		}
	}
}

// step feeds the machine one event, records what it touched, and queues its actions.
func (w *World) step(ev machine.Event) {
	if w.failure != nil {
		return
	}
	w.steps++
	w.tracer.event(w, ev)
	w.checker.before(ev)
	actions := w.m.Step(w.now, ev)
	w.tracer.actions(w, actions)
	w.note(ev, actions)
	if r, ok := ev.(machine.Reloaded); ok {
		w.adoptGraph(r.Graph, w.applying)
	}
	if w.doomsday != nil && w.doomsday.arg == beforeJournal && !w.holding {
		w.tracer.script.takeBack()
		w.crash()
		return
	}
	if w.Slips&SlipJournalLate == 0 && !w.holding {
		w.record()
	}
	w.queue = append(w.queue, actions...)
	w.checker.after(ev, actions)
	if !w.holding {
		w.m.ClearDirty()
	}
}

// commit carries out the queued actions, or as many as a crash allows.
func (w *World) commit() {
	if w.failure == nil && len(w.queue) > 0 && !w.down {
		batch := w.queue
		w.queue = nil
		for i, a := range batch {
			if w.doomsday != nil && i >= w.doomsday.arg {
				w.crash()
				return
			}
			if w.act(a); w.halted {
				return
			}
		}
		if w.doomsday != nil && w.doomsday.arg != beforeJournal {
			w.crash()
			return
		}
		if w.Slips&SlipJournalLate != 0 {
			w.recordAll()
		}
		w.queue = batch[:0]
	}
}
