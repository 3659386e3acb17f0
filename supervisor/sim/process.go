package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// stage is how far an incarnation has come in the world.
type stage uint8

const (
	stageCheck     stage = iota // only its ports were asked for
	stageRequested              // the spawn was asked for, nothing forked yet
	stageForked                 // there was a process
	stageNever                  // the spawn failed, was aborted, or the server died before the fork
)

// process is the truth about one incarnation: its main process and what that has left behind.
type process struct {
	svc     *service
	gen     Gen
	config  *graph.Config // what it was started as
	stage   stage
	conduct conduct

	pid, kidPID int
	main        bool // the main process lives
	kids        int  // others of the tree that live
	asked       Time // when the spawn was asked for
	born        Time
	exits       []exit // of main processes, in order: a daemon may take over
	failKind    string

	token     int32 // the scheduled end of the main process counts only with this token
	kidsToken int32
	forkToken int32
	lastWord  Time // reports about one process keep their order
	termed    bool
	stopSent  bool // the driver has carried out its Stop
	killed    bool
	aborted   bool
	ready     bool // it has said so

	probing    bool // the driver has a check under way
	probeOut   bool // … as the checker counts, from emission to answer
	probes     int
	hooking    bool
	checking   bool
	heard      heard // told to the machine in Steps that were recorded
	implied    bool  // its exit was told before its spawn
	aside      bool  // another of its tree has become the main process
	dog        Time  // WATCHDOG_USEC that it has set, 0 = as configured
	pinging    bool  // its next ping is scheduled
	outdated   bool  // a reload has replaced what it runs by
	toldExits  int   // how many of exits the machine was told
	triggered  bool  // WATCHDOG=trigger was told
	endsBy     Time  // STOPPING=1 was told: by then it is to have ended, 0 = not told
	extendedTo Time  // EXTEND_TIMEOUT_USEC was told: no deadline before
	abandoned  bool  // its service was removed, and it could not be killed
	prev       *process

	toldStatus machine.Status // of the main process, as the machine heard it
	toldAt     Time
	readyAt    Time // when it became Running …
	leftAt     Time // … and when it was no more
}

// exit is the end of one main process.
type exit struct {
	pid    int
	status machine.Status
}

// heard is what the machine knows of an incarnation for sure.
type heard uint8

const (
	heardSpawn heard = 1 << iota
	heardFail
	heardReady
	heardExit
	heardEmpty
	heardMain
	heardPass // a health check that passed
	heardDog  // WATCHDOG_USEC
)

// alive reports whether any process of the tree lives.
func (p *process) alive() bool { return p != nil && (p.main || p.kids > 0) }

// busy finds, from this incarnation back, one that lives or may still be forked.
func (p *process) busy() *process {
	for ; p != nil; p = p.prev {
		if (p.alive() || p.stage == stageRequested) && !p.abandoned {
			return p
		}
	}
	return nil
}

// doom is the fate of a service that can only fail, for good.
type doom uint8

const (
	doomNone doom = iota
	doomSpawn
	doomExit
	doomDone // exits 0 although it is no oneshot
)

// conduct is how one incarnation will behave; drawn when it is asked for.
type conduct struct {
	execDelay  Time
	fails      bool
	readyAfter Time // < 0 never
	exitAfter  Time // < 0 never
	status     machine.Status
	obeys      bool
	obeyDelay  Time
	kids       int
	kidsObey   bool
	kidsLife   Time // < 0 until they are killed
	killDelay  Time
	swapped    bool // the exit is reported before the spawn
	healthy    int  // permille of checks that pass
	pings      bool
}

// drawConduct draws the behaviour of one incarnation from the service's own generator.
func (w *World) drawConduct(p *process) {
	r := newRng(w.seed, 9, uint64(p.svc.index), uint64(p.svc.spawns))
	rate := &w.b.swarm.rate
	c := &p.conduct
	*c = conduct{execDelay: r.between(50*microsecond, 3*millisecond), readyAfter: r.between(0, 20*millisecond), exitAfter: -1,
		obeys: true, obeyDelay: r.between(0, 5*millisecond), kidsObey: true, kidsLife: -1,
		killDelay: r.between(10*microsecond, millisecond), healthy: 1000, pings: true}
	c.fails = r.chance(rate[FaultSpawn])
	if r.chance(rate[FaultSlowExec]) {
		c.execDelay = r.between(0, choose(&r, 100*millisecond, 4*second, 30*second))
	}
	if r.chance(rate[FaultStubborn]) {
		c.obeys = false
	}
	if r.chance(rate[FaultLinger]) {
		c.obeyDelay = r.between(0, 4*second)
	}
	if r.chance(rate[FaultUnready]) {
		c.readyAfter = choose(&r, -1, r.between(0, 5*second))
	}
	if r.chance(rate[FaultUndead]) {
		c.killDelay = r.between(4*second, 30*second)
	}
	c.swapped = r.chance(rate[FaultSwapped])
	w.drawEnd(p, &r)
	w.drawTree(p, &r)
	w.drawHealth(p, &r)
}

// drawEnd draws when and how the main process ends by itself.
func (w *World) drawEnd(p *process, r *rng) {
	c, rate := &p.conduct, &w.b.swarm.rate
	soon := r.between(0, 10*millisecond)
	if p.config.Oneshot {
		c.exitAfter = choose(r, soon, r.between(0, 200*millisecond), r.between(0, 3*second))
		if w.healed && w.b.swarm.jobs > 0 { // or those that wait would never come to an end
			c.exitAfter = soon
		}
	}
	if r.chance(rate[FaultExit]) {
		c.exitAfter = choose(r, 0, soon, r.between(0, 300*millisecond), r.between(0, 12*second))
		c.status = drawStatus(r)
	}
	switch w.doomOf(p) {
	case doomSpawn:
		c.fails = true
	case doomExit:
		c.exitAfter, c.status = soon, machine.Status{Code: 1}
	case doomDone:
		c.exitAfter, c.status = soon, machine.Status{}
	}
}

func drawStatus(r *rng) machine.Status {
	switch r.n(6) {
	case 0, 1:
		return machine.Status{}
	case 2:
		return machine.Status{Signal: 11, Core: true}
	case 3:
		return machine.Status{Code: 3}
	case 4:
		return machine.Status{Signal: 9, OOM: true}
	}
	return machine.Status{Code: 1}
}

// drawTree draws what the main process leaves behind.
func (w *World) drawTree(p *process, r *rng) {
	c, rate := &p.conduct, &w.b.swarm.rate
	doomed := w.doomOf(p) != doomNone
	if r.chance(rate[FaultKids]) && !doomed {
		c.kids = 1 + r.n(3)
		c.kidsObey = r.chance(600)
		c.kidsLife = choose(r, -1, -1, r.between(0, 50*millisecond), r.between(0, 10*second))
	}
	if r.chance(rate[FaultDaemon]) && !doomed && !p.config.Oneshot {
		c.kids, c.kidsLife = 1+r.n(8)/7, choose(r, -1, -1, r.between(0, 12*second))
		c.exitAfter, c.status = r.between(0, 7*second), machine.Status{}
	}
}

// drawHealth draws how its health checks will go.
func (w *World) drawHealth(p *process, r *rng) {
	if r.chance(w.b.swarm.rate[FaultSick]) {
		p.conduct.healthy = choose(r, 0, 300, 700, 950)
		p.conduct.pings = r.chance(500)
	}
}

// doomOf is the fate of an incarnation under the definition it runs with. A service whose restarts never end is not
// doomed: a world with it would never come to rest.
func (w *World) doomOf(p *process) doom {
	l := &p.config.Lifecycle
	forever := l.MaxRestarts == 0 || l.StabilityPeriod == 0
	policy := effectivePolicy(p.config)
	switch {
	case p.svc.doom == doomDone && (p.config.Oneshot || forever && (policy == graph.RestartAlways || saysReady(p.config))):
		return doomNone // to end before it is ready is a failure
	case p.svc.doom == doomDone:
		return doomDone
	case policy != graph.RestartNever && forever:
		return doomNone
	}
	return p.svc.doom
}

// saysReady reports whether a service is ready later than at its exec.
func saysReady(c *graph.Config) bool {
	return c.Ready.Kind != graph.ReadyNone || c.Health != nil || machine.ReadyByFile(c)
}

// effectivePolicy is the restart policy that counts: for a oneshot only one that the file names.
func effectivePolicy(c *graph.Config) graph.Restart {
	if c.Oneshot && !c.Lifecycle.RestartSet {
		return graph.RestartNever
	}
	return c.Lifecycle.Restart
}

// fork is the moment at which a spawn succeeds or fails.
func (w *World) fork(p *process, token int32) {
	if p.stage != stageRequested || token != p.forkToken {
		return
	}
	c := &p.conduct
	if c.fails || p.aborted {
		w.never(p)
		w.report(p, wordSpawnFailed)
		return
	}
	p.stage, p.main, p.kids, p.born = stageForked, true, c.kids, w.now
	p.pid = w.newPID()
	if p.kids > 0 {
		p.kidPID = w.newPID()
	}
	w.tracef("  ~ forked", p)
	if !c.swapped {
		w.report(p, wordSpawned)
	}
	if c.exitAfter >= 0 {
		w.endMain(p, c.exitAfter, c.status)
	}
	if c.readyAfter >= 0 && (p.config.Ready.Kind != graph.ReadyNone || machine.ReadyByFile(p.config)) {
		w.push(item{at: w.now + c.readyAfter, what: hReady, p: p})
	}
	if c.kidsLife >= 0 && p.kids > 0 {
		w.endKids(p, c.kidsLife)
	}
	w.startPings(p)
	if c.swapped {
		w.swapSpawn(p)
	}
}

// never says that no process of this incarnation will ever be.
func (w *World) never(p *process) {
	p.stage = stageNever
	p.failKind = "exec"
	w.tracef("  ~ not forked", p)
}

// swapSpawn reports the spawn late, so that the exit, if it comes soon, is reported before.
func (w *World) swapSpawn(p *process) {
	if !w.down {
		w.push(item{at: w.now + 15*millisecond, what: hWord, p: p, word: wordSpawned})
	}
}

// endMain schedules the end of the main process; a later call takes the place of an earlier one.
func (w *World) endMain(p *process, after Time, status machine.Status) {
	p.token++
	p.conduct.status = status
	w.push(item{at: w.now + after, what: hMainExit, p: p, arg: p.token})
}

// endKids schedules the end of what the main process left behind.
func (w *World) endKids(p *process, after Time) {
	p.kidsToken++
	w.push(item{at: w.now + after, what: hKidsExit, p: p, arg: p.kidsToken})
}

// mainExits happens in the world; the driver will hear of it.
func (w *World) mainExits(p *process, token int32) {
	if !p.main || token != p.token {
		return
	}
	p.main = false
	p.exits = append(p.exits, exit{p.pid, p.conduct.status})
	w.freePID(p.pid)
	w.tracef("  ~ main process ends", p)
	w.report(p, wordExited)
}

// kidsExit happens in the world.
func (w *World) kidsExit(p *process, token int32) {
	if p.kids == 0 || token != p.kidsToken {
		return
	}
	p.kids = 0
	w.tracef("  ~ tree is empty", p)
	if !p.main && p.heard&heardExit != 0 {
		w.report(p, wordEmpty)
	}
}

// term is the stop signal reaching the whole group.
func (w *World) term(p *process, sig int32) {
	p.termed = true
	c := &p.conduct
	if p.main && c.obeys {
		status := machine.Status{Signal: sig}
		if p.gen%3 == 0 {
			status = machine.Status{}
		}
		w.endMain(p, c.obeyDelay, status)
	}
	if p.kids > 0 && c.kidsObey {
		w.endKids(p, c.obeyDelay+c.obeyDelay/2)
	}
}

// kill is SIGKILL to everything that belongs to the incarnation.
func (w *World) kill(p *process) {
	if p.killed {
		return
	}
	p.killed = true
	if p.main {
		w.endMain(p, p.conduct.killDelay, machine.Status{Signal: 9})
	}
	if p.kids > 0 {
		w.endKids(p, p.conduct.killDelay)
	}
}

// becomesReady is READY=1 or the newline.
func (w *World) becomesReady(p *process) {
	if p.main && !p.ready {
		p.ready = true
		w.report(p, wordReadied)
	}
}

// stepAside is MAINPID: another process of the tree is the main process from now on.
func (w *World) stepAside(p *process) {
	if p.main && p.kids > 0 && p.kidPID > 0 {
		p.pid, p.kidPID, p.aside = p.kidPID, p.pid, true
		p.heard &^= heardMain
		w.report(p, wordMainChanged)
	}
}

// startPings lets a process with a watchdog ping it.
func (w *World) startPings(p *process) {
	if every := p.pingEvery(); every > 0 && p.conduct.pings && !p.pinging {
		p.pinging = true
		w.push(item{at: w.now + every/2, what: hPing, p: p})
	}
}

// pingEvery is the watchdog's period, 0 = it has none.
func (p *process) pingEvery() Time {
	if p.dog > 0 {
		return p.dog
	}
	return Time(p.config.Watchdog)
}

// ping is one watchdog ping; the next is scheduled.
func (w *World) ping(p *process) {
	p.pinging = false
	if p.main && p.conduct.pings {
		w.report(p, wordPing)
		w.startPings(p)
	}
}

// newPID gives out process ids; freed ones are used again, as the kernel does.
func (w *World) newPID() int {
	if n := len(w.freePIDs); n > 3 {
		pid := w.freePIDs[0]
		w.freePIDs = w.freePIDs[1:]
		return pid
	}
	w.nextPID++
	return w.nextPID
}

func (w *World) freePID(pid int) {
	if pid > 0 {
		w.freePIDs = append(w.freePIDs, pid)
	}
}
