package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

const (
	// restWithin is how long a healed world may take to come to rest: ten restarts with the longest delay, start and
	// stop deadlines and port retries in a row, and a margin.
	restWithin = 10 * minute
	// stepsToRest bounds the steps of a healed world for each service.
	stepsToRest = 4000
	// killGrace is how long after SIGKILL a process counts as alive before it is unkillable (docs/design/states.md 3).
	killGrace = 5 * second
)

// heal ends all trouble: what is stubborn obeys, what is slow is quick, what cannot die dies, strangers let go of ports.
// Only services that are doomed to fail go on failing.
func (w *World) heal() {
	if w.failure != nil || w.halted {
		return
	}
	w.tracer.line("  ~ everything heals")
	w.healed = true
	w.b.swarm.rate = [nFaults]int{}
	w.doomsday = nil
	clear(w.foreign)
	for _, p := range w.procs {
		if p != nil {
			w.healProcess(p)
		}
	}
}

func (w *World) healProcess(p *process) {
	c := &p.conduct
	doomed := w.doomOf(p) != doomNone
	c.obeys, c.obeyDelay, c.kidsObey, c.killDelay, c.healthy = true, millisecond, true, millisecond, 1000
	if p.stage == stageRequested {
		c.fails = w.doomOf(p) == doomSpawn
		c.kids = 0
		w.healEnd(p, doomed)
		p.forkToken++
		w.push(item{at: w.now + millisecond, what: hFork, p: p, arg: p.forkToken})
		return
	}
	if p.main {
		w.healMain(p, doomed)
	}
	if p.kids > 0 && (p.termed || p.killed) {
		w.endKids(p, 2*millisecond)
	}
}

// healEnd takes back an end that a service has not deserved.
func (w *World) healEnd(p *process, doomed bool) {
	c := &p.conduct
	switch {
	case doomed:
	case p.config.Oneshot:
		c.exitAfter, c.status = 5*millisecond, machine.Status{}
	default:
		c.exitAfter = -1
	}
	c.readyAfter = millisecond
}

func (w *World) healMain(p *process, doomed bool) {
	w.healEnd(p, doomed)
	switch {
	case p.killed:
		w.endMain(p, millisecond, machine.Status{Signal: 9})
	case p.termed:
		w.endMain(p, millisecond, machine.Status{Signal: 15})
	case p.conduct.exitAfter >= 0:
		w.endMain(p, millisecond, p.conduct.status)
	default:
		p.token++
	}
	if (p.config.Ready.Kind != graph.ReadyNone || machine.ReadyByFile(p.config)) && !p.ready {
		w.push(item{at: w.now + millisecond, what: hReady, p: p})
	}
	if !p.conduct.pings {
		p.conduct.pings = true
		w.startPings(p)
	}
}

// settle lets a healed world come to rest (L1).
func (w *World) settle() {
	end, steps := w.now+restWithin, w.steps+stepsToRest*(len(w.services)+4)
	for w.failure == nil && !w.halted {
		if w.serious == 0 && !w.down && w.checker.atRest() {
			w.checker.timers()
			return
		}
		at, ok := w.nextTime()
		if !ok || at > end || w.steps > steps {
			w.fail("L1", "no rest: "+w.checker.restless())
			return
		}
		w.turn()
	}
	if w.halted {
		w.checker.ended()
	}
}

// shutdown ends a healed world (L3).
func (w *World) shutdown() {
	end := w.now + w.checker.longestStop()
	w.step(machine.ShutdownAsked{Code: 3})
	w.commit()
	for w.failure == nil && !w.halted {
		at, ok := w.nextTime()
		if !ok || at > end {
			w.fail("L3", "the shutdown does not end: "+w.checker.restless())
			return
		}
		w.turn()
	}
	if w.halted {
		w.checker.ended()
	}
}
