package sim

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// opKind is what somebody does to the system from outside.
type opKind uint8

const (
	opStart opKind = iota
	opStop
	opRestart
	opKill
	opReloadSignal
	opStartAll
	opStopAll
	opReload   // the configuration changes
	opCrash    // the server dies
	opShutdown // everything stops
	opJump     // the clock jumps
	opPort     // a foreign process takes a port
	opOutside  // somebody kills a main process
	opSay      // a process sends a notify message
	opUpgrade  // the server executes another image in place
	opClock    // the wall clock is set, or the time zone changes
	opRun      // a oneshot is to run now
	opStopRun  // a stop that leaves a job wanted
)

var opNames = [...]string{"start", "stop", "restart", "kill", "reload_signal", "start_all", "stop_all", "reload", "crash", "shutdown",
	"jump", "port", "outside", "say", "upgrade", "clock", "run", "stop_run"}

// op is one line of the script.
type op struct {
	at       Time
	what     opKind
	service  int  // of the blueprint
	wait     bool // the client waits for the outcome …
	patience Time // … so long, 0 = for ever
	hangup   Time // > 0: the client goes away after so long
	noDeps   bool
	sig      graph.Signal
	arg      int  // crash: how many actions are still carried out, or beforeJournal; port: which
	length   Time // jump, port, crash: how long; clock: how far
	number   int  // reload: which, from 1
}

// beforeJournal as op.arg means that the server dies after a Step and before it is recorded.
const (
	beforeJournal = -1
	atOnce        = -2 // the server dies between two turns
)

// fault says which fault an op belongs to; requests of operators belong to none.
func (o *op) fault() (Fault, bool) {
	switch o.what {
	case opReload:
		return FaultReload, true
	case opCrash:
		return FaultCrash, true
	case opShutdown:
		return FaultShutdown, true
	case opJump:
		return FaultJump, true
	case opPort:
		return FaultPort, true
	case opOutside:
		return FaultOutside, true
	case opSay:
		return FaultTalk, true
	case opUpgrade:
		return FaultUpgrade, true
	case opClock:
		return FaultClock, true
	}
	return 0, false
}

// drawScript draws what happens to the world from outside, in order of time.
func drawScript(b *blueprint) []op {
	r := newRng(b.seed, 7)
	var list []op
	at := loadedAt + r.between(0, 20*millisecond)
	for range b.swarm.ops {
		if r.chance(b.swarm.burst) {
			at += r.between(0, 3*millisecond)
		} else {
			at += r.between(0, b.swarm.tempo)
		}
		list = append(list, b.drawRequest(&r, at))
	}
	list = b.drawRuns(list)
	horizon := at + r.between(10*millisecond, 4*second)
	list = b.drawTroubles(list, horizon)
	slices.SortStableFunc(list, func(a, b op) int { return int(sign(a.at - b.at)) })
	if len(list) > 256 {
		list = list[:256] // as many as a Mask can name
	}
	return list
}

func sign(t Time) Time {
	switch {
	case t < 0:
		return -1
	case t > 0:
		return 1
	}
	return 0
}

// drawRequest draws what one operator asks for.
func (b *blueprint) drawRequest(r *rng, at Time) op {
	o := op{at: at, service: r.n(b.total()), what: choose(r, opStart, opStart, opStart, opStop, opStop, opStop, opRestart, opRestart)}
	if r.chance(150) {
		o.what = choose(r, opKill, opKill, opReloadSignal, opStartAll, opStopAll)
	}
	o.sig = choose(r, graph.Signal(1), 9, 15, 10)
	o.noDeps = r.chance(100)
	if o.wait = r.chance(b.swarm.hurry); o.wait && r.chance(500) {
		o.patience = r.between(1*millisecond, 6*second)
	}
	if o.wait && r.chance(150) {
		o.hangup = r.between(0, 2*second)
	}
	return o
}

// drawRuns adds what operators ask of jobs.
func (b *blueprint) drawRuns(list []op) []op {
	if b.swarm.jobs == 0 {
		return list
	}
	r := newRng(b.seed, 28)
	for _, o := range slices.Clone(list) {
		if r.chance(300) {
			run := b.drawRequest(&r, o.at+r.between(0, choose(&r, 5*millisecond, second)))
			run.what = choose(&r, opRun, opRun, opStopRun)
			list = append(list, run)
		}
	}
	return list
}

// drawTroubles adds the faults that happen at a time of their own.
func (b *blueprint) drawTroubles(list []op, horizon Time) []op {
	requests := list
	add := func(f Fault, most int, draw func(r *rng, o *op)) {
		if b.swarm.rate[f] == 0 {
			return
		}
		r := newRng(b.seed, 8, uint64(f))
		last := Time(0)
		for i := range 1 + r.n(most) {
			o := op{at: r.between(loadedAt, horizon), service: r.n(b.total()), number: i + 1}
			if soon := r.between(0, choose(&r, 5*millisecond, second)); i > 0 && r.chance(350) { // one soon after the other
				o.at = last + soon
			} else if len(requests) > 0 && r.chance(500) { // right at some request, where it hurts
				o.at = requests[r.n(len(requests))].at + r.between(0, 2*millisecond)
			}
			last = o.at
			draw(&r, &o)
			list = append(list, o)
		}
	}
	add(FaultReload, 6, func(r *rng, o *op) { o.what = opReload })
	add(FaultCrash, 5, func(r *rng, o *op) {
		o.what, o.arg, o.length = opCrash, choose(r, atOnce, beforeJournal, beforeJournal, 0, 0, 1, 1, 2, 3, 5), r.between(1*millisecond, 3*second)
	})
	add(FaultJump, 2, func(r *rng, o *op) { o.what, o.length = opJump, r.between(500*millisecond, 2*minute) })
	add(FaultPort, 3, func(r *rng, o *op) { o.what, o.arg, o.length = opPort, 79+r.n(4), r.between(10*millisecond, 9*second) })
	add(FaultOutside, 5, func(r *rng, o *op) { o.what, o.sig = opOutside, choose(r, graph.Signal(9), 15, 11) })
	add(FaultShutdown, 2, func(r *rng, o *op) { o.what = opShutdown })
	add(FaultTalk, 8, func(r *rng, o *op) { o.what, o.arg = opSay, r.n(8) })
	add(FaultUpgrade, 6, func(r *rng, o *op) { o.what, o.length = opUpgrade, r.between(0, second) })
	add(FaultClock, 5, func(r *rng, o *op) { o.what, o.arg, o.length = opClock, r.n(4), drawStepOfClock(r) })
	return list
}

// verbs maps the requests to the machine's verbs.
var verbs = map[opKind]machine.Verb{
	opStart: machine.VerbStart, opStop: machine.VerbStop, opRestart: machine.VerbRestart, opKill: machine.VerbKill,
	opReloadSignal: machine.VerbReloadSignal, opStartAll: machine.VerbStart, opStopAll: machine.VerbStop,
	opRun: machine.VerbRun, opStopRun: machine.VerbStop,
}
