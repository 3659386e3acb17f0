package loop

import (
	"log/slog"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// driver owns the machine. One goroutine runs it: it feeds the machine events and carries out its actions. Everything
// that can block (forking, scanning /proc, checks, hooks' commands) happens elsewhere and comes back as a word.
type driver struct {
	opt   *Options
	world World
	log   *slog.Logger
	clock view.Clock
	m     *machine.Machine

	inbox   chan func()       // words from other goroutines; nothing here may send to it
	sigchld <-chan proc.Death // wakes reap
	armed   machine.Time      // what the world's alarm is set to

	queue    []order      // actions not carried out yet
	more     []func()     // what the loop goes on with in its next turns
	notes    []wire.Event // transitions of this batch
	touched  []graph.ID   // services whose Entry is stale
	allDirty bool

	children children
	rest     rest
	trees    *treeWatch

	firstHelper uint64 // where the numbers begin: not where those of a server before may still be in use
	lastHelper  uint64 // the number of the last one

	clockWatch ClockWatch // of the wall clock; nil = there are no jobs

	first     machine.Event    // what begins a fresh life
	resume    []machine.Event  // what tells the machine about the time it was not there
	lost      []*child         // incarnations whose main process ended in that time
	awaited   []*child         // of whose end the keeper is about to tell
	late      []*ending        // ends of the time in between that are looked at as ends of now
	legacy    map[string]Found // what was left running without a state, by service, until it is adopted
	inherited []keeper.Pipe    // readiness descriptors and notify sockets that the keeper held

	diary  diary
	keeper Keeper // nil: no keeper above

	views    view.Publisher
	events   *view.EventLog
	tally    *view.Tally
	boot     *view.BootLine
	requests requests

	// leftRunning is what stopped services have left running, by name (kill_mode = "process")
	leftRunning map[string][]proc.Process

	waiting  waiting
	booting  booting
	halting  bool
	ending   bool // and Options.Ending was called
	halted   bool
	exitCode int
}

// order is an action together with the definition it was decided for: a later Step may renumber the services.
type order struct {
	act    machine.Action
	config *graph.Config
	info   machine.Info // of a transition, with the time when it happened
	at     time.Time
}

// run is the loop. It returns the exit code once the machine has halted.
func (d *driver) run() int {
	for !d.halted {
		d.turn()
	}
	d.commit()
	return d.exitCode
}

// turn waits for words, takes some, and carries out what they led to, or as much of it as turnLimit allows: a batch of a
// thousand services must not keep somebody waiting who asks for one.
func (d *driver) turn() {
	began := d.clock.Time()
	if len(d.queue) == 0 && len(d.more) == 0 {
		began = d.await()
	} else if len(d.more) > 0 {
		word := d.more[0]
		d.more = d.more[1:]
		word()
	}
	d.drain(began)
	d.world.Turned()
	if len(d.children.early) > 0 {
		d.settleEarly()
	}
	d.carryOut(began.Add(turnLimit))
	d.show()
}

// await takes the next word, and returns when it came.
func (d *driver) await() (came time.Time) {
	select {
	case word := <-d.inbox:
		came = d.clock.Time()
		word()
	case <-d.sigchld:
		came = d.clock.Time()
		d.reap()
	}
	return came
}

// drain takes what else is ready, so that a burst costs one View. It is bounded: a flood of words must not keep actions
// waiting.
func (d *driver) drain(began time.Time) {
	for n := 0; n < inboxLen && (n%lookEvery != 0 || d.clock.Time().Sub(began) < turnLimit); n++ {
		select {
		case word := <-d.inbox:
			word()
		case <-d.sigchld:
			d.reap()
		default:
			return
		}
	}
}

// step feeds one event, puts what changed into the journal, and queues the actions.
func (d *driver) step(ev machine.Event) {
	for _, a := range d.m.Step(d.clock.Now(), ev) {
		d.queue = append(d.queue, d.resolve(a))
	}
	d.record()
}

// record writes the touched services to the journal before any action of theirs is carried out.
func (d *driver) record() {
	dirty := d.m.Dirty()
	d.touched = append(d.touched, dirty...)
	d.diary.services(d.m, dirty)
	d.m.ClearDirty()
}

// commit carries out all queued actions, and shows what has changed.
func (d *driver) commit() {
	d.carryOut(time.Time{})
	d.show()
}

// carryOut carries out the queued actions in their order, until some time; the zero time is no limit. What is left is
// carried out before anything that later words lead to.
func (d *driver) carryOut(until time.Time) {
	for n := 1; len(d.queue) > 0; n++ {
		if n%lookEvery == 0 && !until.IsZero() && d.clock.Time().After(until) {
			return
		}
		o := d.queue[0]
		d.queue[0] = order{}
		d.queue = d.queue[1:]
		fault.Here("action")
		d.do(o)
	}
	d.queue = nil
}

// show publishes one View of what has changed, answers those who waited for it, and re-arms the one timer.
func (d *driver) show() {
	d.noteEnding()
	if len(d.touched) > 0 || d.allDirty {
		d.publish()
	}
	if len(d.notes) > 0 {
		d.countEvents(len(d.notes))
		d.events.Append(d.notes)
		d.notes = d.notes[:0]
	}
	d.requests.send()
	d.arm()
	if d.ending {
		d.tellWaiting()
	}
	if d.keeper != nil && !d.booting.told {
		d.tellBooted()
	}
}

// noteEnding tells the outside, once, that everything is being stopped, whoever asked for it.
func (d *driver) noteEnding() {
	if d.ending || !d.m.Globals().ShuttingDown {
		return
	}
	d.ending, d.halting, d.allDirty = true, true, true
	if by := d.m.EndedBy(); by != "" {
		d.log.Info("stopping all services: "+by+" has ended for good, on_exit = \"shutdown\"", "code", d.m.Globals().HaltCode)
	}
	if d.opt.Ending != nil {
		d.opt.Ending()
	}
}

// arm sets the timer to the machine's deadline; it is touched only when that has changed.
func (d *driver) arm() {
	at, ok := d.m.Deadline()
	if !ok {
		at = 0
	}
	if at == d.armed {
		return
	}
	d.armed = at
	if !ok {
		d.world.Alarm(-1)
		return
	}
	d.world.Alarm(max(0, time.Duration(at-d.clock.Now())))
}

// ticked tells the machine that its deadline has come.
func (d *driver) ticked() {
	d.armed = 0
	d.step(machine.Ticked{})
}

// post hands a word to the driver from another goroutine. After the end of the loop it is dropped.
func (d *driver) post(word func()) {
	select {
	case d.inbox <- word:
	case <-d.opt.done:
	}
}
