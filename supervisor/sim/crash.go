package sim

import (
	"github.com/zinit/zinit/supervisor/machine"
)

// crash is a SIGKILL of the server: machine, timers, requests and words under way are gone; the world goes on.
func (w *World) crash() {
	o := w.doomsday
	w.doomsday, w.queue, w.reloading = nil, nil, nil
	w.tracer.line("  ~ the server dies")
	w.down = true
	w.life++
	length := 10 * millisecond
	if o != nil {
		length = o.length
	}
	w.back = w.now + length
	w.push(item{at: w.back, what: hRestart})
	for _, p := range w.procs {
		if p == nil {
			continue
		}
		p.checking, p.probing, p.probeOut, p.hooking, p.lastWord = false, false, false, false, 0
		p.extendedTo = 0
		switch p.stage {
		case stageRequested:
			w.crashFork(p)
		case stageCheck:
			p.stage = stageNever
		}
	}
	w.m = nil
	w.checker.crashed()
}

// crashFork decides whether a fork that was under way still happened.
func (w *World) crashFork(p *process) {
	p.forkToken++
	if r := newRng(w.seed, 16, uint64(p.gen)); r.chance(400) && !p.conduct.fails {
		p.aborted = false
		w.fork(p, p.forkToken)
		return
	}
	w.never(p)
}

// restore is the keeper's new server: it replays the journal, looks for what the records name, and goes on.
func (w *World) restore() {
	w.down = false
	j := &w.journal
	if j.graph == nil {
		w.down = true
		w.bootAgain()
		return
	}
	w.adoptGraph(j.graph, j.versions)
	records := j.sorted()
	sent := w.stopSent(records)
	w.tracer.restored(w, records, sent)
	w.m = machine.Restore(j.graph, w.machineOptions(), records, j.globals, sent, w.now)
	w.checker.restored()
	w.tellClock()
	for i := range records {
		w.gapWord(&records[i])
		if w.down || w.failure != nil {
			return
		}
	}
	w.step(machine.Resumed{})
	w.commit()
	if w.down || w.failure != nil {
		return
	}
	w.checker.resumed()
	for _, p := range w.procs {
		if p.alive() && !p.killed {
			w.killStray(p)
		}
		w.lateWords(p)
	}
}

// stopSent returns the incarnations whose stop signal was sent, as far as that was written down in time.
func (w *World) stopSent(records []machine.Record) map[machine.Gen]bool {
	sent := map[machine.Gen]bool{}
	for i := range records {
		p := w.proc(records[i].Gen)
		r := newRng(w.seed, 19, uint64(p.gen), uint64(w.life))
		if p.stopSent && !r.chance(100) {
			sent[p.gen] = true
		}
	}
	return sent
}

// bootAgain starts a server that died before it recorded anything.
func (w *World) bootAgain() {
	w.down = false
	w.m = machine.New(w.g, w.machineOptions())
	w.boot()
}

// gapWord says what has become of the incarnation that a record names.
func (w *World) gapWord(r *machine.Record) {
	p := w.proc(r.Gen)
	if w.Slips&SlipAdoptByPID != 0 && r.PID != 0 && !p.main && w.pidTaken(r.PID) {
		w.step(machine.Adopted{Gen: r.Gen, PID: r.PID})
		return
	}
	if p.aside && p.heard&heardMain == 0 && p.heard&heardExit == 0 { // it waits in the notify socket
		w.step(machine.MainChanged{Gen: r.Gen, PID: p.pid})
		if w.down || w.failure != nil {
			return
		}
	}
	switch {
	case p.stage == stageForked && p.main:
		w.step(machine.Adopted{Gen: r.Gen, PID: p.pid})
	case p.stage == stageForked && p.heard&heardExit == 0:
		w.gapExit(p)
	case p.stage == stageForked && p.heard&heardEmpty == 0 && p.kids == 0:
		w.step(machine.TreeEmpty{Gen: p.gen})
	case p.stage == stageNever && p.svc.name != "?" && p.heard&heardFail == 0 &&
		(r.State == machine.Starting || r.State == machine.Stopping):
		w.step(machine.Vanished{Gen: r.Gen, NeverWas: true})
	}
}

// gapExit tells of an end that no recorded Step has heard of: with its status when the keeper reaped it.
func (w *World) gapExit(p *process) {
	if w.Slips&SlipLoseExit != 0 {
		return
	}
	r := newRng(w.seed, 17, uint64(p.gen))
	if r.chance(w.b.swarm.rate[FaultVanish]) {
		w.step(machine.Vanished{Gen: p.gen, Alive: p.kids})
		return
	}
	w.exited(p, 0)
}

// lateWords repeats after a restore what the dead server may have looked at without recording it: readiness, the watchdog's
// length, and exits that the keeper tells a second time.
func (w *World) lateWords(p *process) {
	if p == nil || p.stage != stageForked {
		return
	}
	if p.main && p.ready && p.heard&heardReady == 0 {
		w.report(p, wordReadied)
	}
	if p.main && p.dog > 0 && p.heard&heardDog == 0 {
		w.report(p, wordSetDog)
	}
	r := newRng(w.seed, 18, uint64(p.gen), uint64(w.life))
	if !p.main && p.heard&heardExit != 0 && r.chance(w.b.swarm.rate[FaultTwice]) {
		w.push(item{at: w.now + r.between(0, 50*millisecond), what: hWord, p: p, word: wordExited, arg: int32(len(p.exits))})
	}
}

// pidTaken reports whether some process of the world, or a stranger, has the pid now.
func (w *World) pidTaken(pid int) bool {
	for _, p := range w.procs {
		if p != nil && p.alive() && (p.pid == pid || p.kidPID == pid) {
			return true
		}
	}
	return mix(w.seed, uint64(pid))%2 == 0
}
