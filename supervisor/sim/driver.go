package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// wordKind is what a report to the driver says.
type wordKind uint8

const (
	wordNone wordKind = iota
	wordPrechecked
	wordSpawned
	wordSpawnFailed
	wordReadied
	wordProbed
	wordMainChanged
	wordExited
	wordEmpty
	wordHookDone
	wordPing
	wordExtend
	wordSetDog
	wordStopping
	wordTrigger
)

// act carries out one action as the driver would.
func (w *World) act(a machine.Action) {
	switch a := a.(type) {
	case machine.Precheck:
		p := w.proc(a.Gen)
		p.checking = true
		w.report(p, wordPrechecked)
	case machine.Spawn:
		w.spawn(w.proc(a.Gen))
	case machine.Abort:
		w.abort(w.proc(a.Gen))
	case machine.Stop:
		p := w.proc(a.Gen)
		p.stopSent = true
		if p.alive() {
			w.term(p, int32(p.config.Lifecycle.StopSignal))
		}
	case machine.Kill:
		if p := w.proc(a.Gen); p.alive() {
			w.kill(p)
		}
	case machine.Signal:
		w.signal(w.proc(a.Gen), a)
	case machine.Probe:
		p := w.proc(a.Gen)
		p.probing = true
		p.probes++
		w.report(p, wordProbed)
	case machine.CancelProbe:
		w.proc(a.Gen).probing = false
	case machine.Hook:
		p := w.proc(a.Gen)
		p.hooking = true
		w.report(p, wordHookDone)
	case machine.Forget:
		w.forget(a.Name)
	case machine.Halt:
		w.halted = true
	}
}

// proc finds an incarnation; an unknown one is an empty stranger, which no rule lets anybody touch.
func (w *World) proc(gen Gen) *process {
	if gen < Gen(len(w.procs)) && w.procs[gen] != nil {
		return w.procs[gen]
	}
	return &process{gen: gen, svc: &service{name: "?"}, config: &graph.Config{}, stage: stageNever}
}

// attempt enters a new incarnation when its Precheck or Spawn is emitted: an ID holds only until the next Step, and the action
// may be carried out later.
func (w *World) attempt(s *service, gen Gen) {
	for Gen(len(w.procs)) <= gen {
		w.procs = append(w.procs, nil)
	}
	if w.procs[gen] == nil {
		p := &process{svc: s, gen: gen, config: s.config, prev: s.cur.busy()}
		w.procs[gen], s.cur = p, p
	}
}

// service finds the service of an ID and an incarnation that an action names. Those on their way out stand behind the
// graph's IDs and are known by their incarnation only.
func (w *World) service(id graph.ID, gen Gen) *service {
	if int(id) < len(w.byID) {
		return w.byID[id]
	}
	return w.proc(gen).svc
}

func (w *World) spawn(p *process) {
	if p.stage == stageForked || p.stage == stageRequested {
		return
	}
	p.stage = stageRequested
	w.drawConduct(p)
	p.svc.spawns++
	p.forkToken++
	w.push(item{at: w.now + p.conduct.execDelay, what: hFork, p: p, arg: p.forkToken})
}

// abort ends a spawn that has not been answered; now and then the fork is faster.
func (w *World) abort(p *process) {
	if p.stage != stageRequested || p.aborted {
		return
	}
	p.aborted = p.gen%4 != 0
	p.forkToken++
	w.push(item{at: w.now + millisecond, what: hFork, p: p, arg: p.forkToken})
}

// signal is one signal to the group.
func (w *World) signal(p *process, a machine.Signal) {
	if !p.main || a.Reload {
		return
	}
	switch a.Sig {
	case 9:
		w.endMain(p, 100*microsecond, machine.Status{Signal: 9})
	case 15:
		if p.conduct.obeys {
			w.endMain(p, p.conduct.obeyDelay, machine.Status{Signal: 15})
		}
	}
}

// report sends a word about an incarnation to the driver, after a delay. Words about one incarnation keep their order.
func (w *World) report(p *process, word wordKind) {
	if w.down {
		return
	}
	at := max(p.lastWord, w.now+w.delay(p, word))
	p.lastWord = at
	w.push(item{at: at, what: hWord, p: p, word: word})
}

// delay draws how long a word takes.
func (w *World) delay(p *process, word wordKind) Time {
	r := newRng(w.seed, 11, uint64(p.gen), uint64(word), uint64(p.probes))
	late := w.b.swarm.rate[FaultLate]
	switch word {
	case wordProbed:
		if p.conduct.healthy < 1000 && r.chance(200) {
			return 200 * millisecond
		}
	case wordHookDone:
		if r.chance(late) {
			return Time(p.config.PostStop.Timeout)
		}
	case wordPrechecked:
		if r.chance(late) {
			return r.between(0, second)
		}
	}
	if r.chance(late) {
		return r.between(0, choose(&r, 10*millisecond, 300*millisecond, 2*second))
	}
	return r.between(10*microsecond, 200*microsecond)
}

// deliver tells the machine a word.
func (w *World) deliver(it *item) {
	p := it.p
	again := it.arg != 0 // an exit: the number of the main process
	switch it.word {
	case wordPrechecked:
		if p.checking {
			p.checking = false
			w.step(machine.Prechecked{Gen: p.gen, Conflict: w.portHolder(p)})
		}
	case wordSpawned:
		if p.stage == stageForked {
			w.step(machine.Spawned{Gen: p.gen, PID: p.pid})
			w.killStray(p)
		}
	case wordSpawnFailed:
		w.step(machine.SpawnFailed{Gen: p.gen, Kind: p.failKind, Detail: "cannot execute", Aborted: p.aborted})
	case wordReadied:
		w.step(machine.Readied{Gen: p.gen})
	case wordProbed:
		w.probed(p)
	case wordMainChanged:
		w.step(machine.MainChanged{Gen: p.gen, PID: p.pid})
	case wordExited:
		w.exited(p, int(it.arg))
	case wordEmpty:
		w.step(machine.TreeEmpty{Gen: p.gen})
	case wordHookDone:
		if p.hooking || again {
			p.hooking = false
			w.step(machine.HookDone{Gen: p.gen, OK: p.gen%5 != 0, Detail: "x"})
		}
	default:
		w.deliverNotify(p, it.word)
	}
	if !again {
		w.repeat(it)
	}
}

// killStray ends a process that comes when its service has been given up and forgotten: the machine knows it no more.
func (w *World) killStray(p *process) {
	if w.down || w.failure != nil {
		return
	}
	if _, known := w.m.ByGen(p.gen); !known && p.alive() {
		w.kill(p)
	}
}

// deliverNotify tells the machine a notify message other than READY and MAINPID.
func (w *World) deliverNotify(p *process, word wordKind) {
	switch word {
	case wordPing:
		w.step(machine.Extended{Gen: p.gen, Watchdog: true})
	case wordExtend:
		w.step(machine.Extended{Gen: p.gen, By: int64(500*millisecond) * int64(1+p.gen%8)})
	case wordSetDog:
		p.dog = 2 * second
		w.step(machine.Extended{Gen: p.gen, SetWatchdog: int64(p.dog)})
		w.startPings(p)
	case wordStopping:
		w.step(machine.StoppingSelf{Gen: p.gen})
	case wordTrigger:
		w.step(machine.Extended{Gen: p.gen, Trigger: true})
	}
}

// repeat lets some words come a second time, soon or late.
func (w *World) repeat(it *item) {
	rate := w.b.swarm.rate[FaultTwice]
	if rate == 0 || it.word == wordPrechecked || it.word == wordProbed || it.word >= wordPing || it.word == wordMainChanged {
		return
	}
	r := newRng(w.seed, 12, uint64(it.p.gen), uint64(it.word))
	if r.chance(rate) {
		w.push(item{at: w.now + r.between(0, choose(&r, millisecond, 100*millisecond, 8*second)), what: hWord, p: it.p,
			word: it.word, arg: int32(max(1, len(it.p.exits)))})
	}
}

// exited tells the end of main process number n (from 1, 0 = the last) with what the driver sees of the tree right then,
// and follows the machine when that takes a process left behind for the main one.
func (w *World) exited(p *process, n int) {
	if n == 0 {
		n = len(p.exits)
	}
	e := p.exits[n-1]
	ev := machine.ProcessExited{Gen: p.gen, PID: e.pid, Status: e.status, Alive: p.kids}
	if p.kids == 1 {
		ev.Daemon = p.kidPID
	}
	if p.kids > 0 && p.config.PIDFile != "" {
		ev.PIDFileMain = p.kidPID
	}
	w.step(ev)
	if w.down || w.failure != nil || p.kids == 0 || p.kidPID == 0 || p.main {
		return
	}
	if id, ok := w.m.ByGen(p.gen); ok && w.m.Info(id).PID == p.kidPID {
		w.promote(p)
	}
}

// promote makes the process left behind the main one.
func (w *World) promote(p *process) {
	p.main, p.kids, p.pid = true, p.kids-1, p.kidPID
	p.kidPID = 0
	p.heard &^= heardExit
	p.conduct.obeys = p.conduct.kidsObey
	p.kidsToken++
	w.tracef("  ~ daemon is main now", p)
	if p.conduct.kidsLife >= 0 {
		w.endMain(p, p.conduct.kidsLife, machine.Status{})
	}
	if w.healed && (p.config.Ready.Kind != graph.ReadyNone || machine.ReadyByFile(p.config)) {
		w.push(item{at: w.now + millisecond, what: hReady, p: p})
	}
	if p.termed {
		w.term(p, 15)
	}
	if p.killed {
		p.killed = false
		w.kill(p)
	}
}

// probed answers a health check.
func (w *World) probed(p *process) {
	if !p.probing {
		return
	}
	p.probing = false
	ok := p.main
	if ok && p.conduct.healthy < 1000 {
		r := newRng(w.seed, 13, uint64(p.gen), uint64(p.probes))
		ok = r.chance(p.conduct.healthy)
	}
	w.step(machine.Probed{Gen: p.gen, OK: ok, Detail: "x"})
}

// portHolder is who holds one of the ports that p wants, if anybody does. A stranger that may be ended is.
func (w *World) portHolder(p *process) *machine.Conflict {
	if _, ok := w.foreign[filterPort]; ok && len(p.config.ProcessFilters) > 0 {
		return &machine.Conflict{Filter: p.config.ProcessFilters[0], PID: 9100, Process: "stranger"}
	}
	for _, port := range p.config.Ports {
		if until, ok := w.foreign[int(port)]; ok {
			if !p.config.KillOthers {
				return &machine.Conflict{Port: int(port), PID: 9000 + int(until%100), Process: "stranger"}
			}
			delete(w.foreign, int(port))
		}
		for _, s := range w.services {
			if q := s.cur; s != p.svc && q.alive() && q.stage == stageForked && holdsPort(q.config, port) {
				return &machine.Conflict{Port: int(port), PID: q.pid, Process: "run", Service: s.name}
			}
		}
	}
	return nil
}

// filterPort stands for a stranger that process filters match.
const filterPort = 79

func holdsPort(c *graph.Config, port uint16) bool {
	for _, p := range c.Ports {
		if p == port {
			return true
		}
	}
	return false
}

// forget drops the record of a service that is gone for good.
func (w *World) forget(name string) {
	s := w.byName[name]
	if !s.present {
		delete(w.journal.records, name)
	}
}

// nameOf names any ID that the machine has now; a forgotten one has no name.
func (w *World) nameOf(id graph.ID) string {
	if c := w.m.Config(id); c != nil {
		return c.Name
	}
	return "?"
}
