package machine

import (
	"time"

	"github.com/zinit/zinit/graph"
)

// Globals returns what must be recorded beside the services.
func (m *Machine) Globals() Globals { return Globals{m.nextGen + 1, m.shutting, m.haltCode} }

// The places in Record.Extra.
const (
	extraLife = iota
	extraProbe
	extraWatchdog
	extraStartBy
	extraProbeDelay
	extraProbeSent
	extraProbeLast
	extraProbeCount
	extraProbeRow
	extraPings
	extraSignals
	extraReload
	extraPortDelay
	extraDueCause
	nExtras
)

// Record returns what must outlive the server process. Its slices and pointers are not changed later.
func (m *Machine) Record(id graph.ID) Record {
	i, s := int32(id), &m.services[id]
	extra := make([]int64, nExtras)
	extra[extraLife] = int64(m.timers.at(i, timerLife))
	extra[extraProbe] = int64(m.timers.at(i, timerProbe))
	extra[extraWatchdog] = int64(m.timers.at(i, timerWatchdog))
	extra[extraStartBy] = int64(s.startBy)
	extra[extraProbeDelay] = s.probe.delay
	extra[extraProbeSent] = int64(s.probe.sentAt)
	extra[extraProbeLast] = int64(s.probe.lastAt)
	extra[extraProbeCount] = int64(s.probe.count)
	extra[extraProbeRow] = int64(s.probe.row)
	extra[extraPings] = s.watchdog
	extra[extraSignals] = int64(s.signals)
	if s.reload {
		extra[extraReload] = 1
	}
	extra[extraPortDelay] = s.portDelay
	extra[extraDueCause] = int64(s.dueCause)
	var places []int64
	if m.isJob(i) {
		places = s.job.record()
	}
	return Record{
		Name: s.name, Gone: s.is(flagGone), State: s.state, Phase: uint8(s.phase),
		WantedUp: s.is(flagWanted), HeldDown: s.is(flagHeld), Due: s.is(flagDue),
		Gen: s.gen, PID: s.pid, Result: s.result, ResultOK: s.is(flagResultOK), Reason: s.reason,
		Since: s.since, ReadyAt: s.readyAt, SpawnedAt: s.spawnedAt, StopAt: s.stopAt,
		Restarts: int(s.restarts), Backoff: s.backoff, NextRestart: s.nextRestart, LastExit: s.lastExit,
		Flags: uint32(s.flags&flagsRecorded) | stuckBit(s), Extra: extra,
		LastProbe: s.probe.detail, Conflict: s.conflict, Job: places,
	}
}

// HadProcess reports whether the incarnation's Spawn was answered by a process.
func (r *Record) HadProcess() bool { return flag(r.Flags)&flagHadProcess != 0 }

// MainGone reports whether the main process has ended and others of the incarnation were alive.
func (r *Record) MainGone() bool { return flag(r.Flags)&flagMainGone != 0 }

// Leftovers reports whether a finished oneshot had left processes.
func (r *Record) Leftovers() bool { return flag(r.Flags)&flagLeft != 0 }

func stuckBit(s *service) uint32 {
	if s.is(flagStuck) {
		return uint32(flagStuck)
	}
	return 0
}

// goneDefaults is the definition of a removed service after a crash: its own is no longer known.
var goneDefaults = graph.Lifecycle{Restart: graph.RestartNever, StopTimeout: 10 * time.Second, StopSignal: 15}

// Restore makes the machine that recs describe. It waits for the driver's words about what it found, and for Resumed.
// Records of services that g does not have count as Gone. stopSent has the incarnations that are known to have been sent
// their stop signal: the stop timeout of those goes on.
func Restore(g *graph.Graph, options Options, recs []Record, globals Globals, stopSent map[Gen]bool, now Time) *Machine {
	m := New(g, options)
	m.now, m.nextGen, m.restoring, m.loaded = now, max(globals.NextGen, options.Seq+1)-1, true, true
	m.shutting, m.haltCode = globals.ShuttingDown, globals.HaltCode
	if m.shutting && options.ShutdownTimeout > 0 {
		m.forceAt = now + Time(options.ShutdownTimeout)
	}
	for r := range recs {
		m.take(&recs[r], stopSent[recs[r].Gen])
	}
	m.rebuild()
	m.listJobs()
	return m
}

// take puts one record in its place.
func (m *Machine) take(r *Record, stopSent bool) {
	id, ok := m.graph.Lookup(r.Name)
	if !ok || r.Gone {
		id = graph.ID(len(m.services))
		m.services = append(m.services, service{seldom: &seldom{}})
		m.services[id].define(&graph.Config{Name: r.Name, Lifecycle: goneDefaults})
		m.timers.grow(len(m.services))
	}
	i, s := int32(id), &m.services[id]
	s.state, s.phase, s.flags = r.State, Phase(r.Phase), flag(r.Flags)&(flagsRecorded|flagStuck)
	s.put(flagStopSent, stopSent && s.state == Stopping && s.phase == PhaseTerm)
	s.put(flagGone, !ok || r.Gone)
	s.put(flagWanted, r.WantedUp && ok)
	s.put(flagHeld, r.HeldDown)
	s.put(flagDue, r.Due && ok)
	s.gen, s.pid, s.result, s.reason = r.Gen, r.PID, r.Result, r.Reason
	s.since, s.readyAt, s.spawnedAt, s.stopAt = r.Since, r.ReadyAt, r.SpawnedAt, r.StopAt
	s.restarts, s.backoff, s.nextRestart, s.lastExit = int32(r.Restarts), r.Backoff, r.NextRestart, r.LastExit
	s.conflict, s.probe.detail, s.wokenBy, s.wokenFor = r.Conflict, r.LastProbe, i, CauseRestore
	m.takeExtra(i, r.Extra)
	if s.job != nil {
		s.job.restore(r.Job)
		s.job.busy = s.job.running || jobBusy(s)
	}
	if s.target() && (s.state == Starting || s.state == Stopping || s.is(flagLeft)) {
		s.define(&graph.Config{Name: r.Name, Lifecycle: goneDefaults}) // it became a target meanwhile (adoptConfig)
	}
	if s.gen != 0 {
		m.gens[s.gen] = i
		m.nextGen = max(m.nextGen, s.gen)
	}
	if s.is(flagPortHeld) {
		m.held = append(m.held, i)
	}
	if s.is(flagGone) && s.gen == 0 {
		s.state, s.phase = Inactive, PhaseNone // it never had a process: a target, perhaps reached
	}
	if s.is(flagGone) && s.idle() {
		m.forget(i)
	}
}

func (m *Machine) takeExtra(i int32, extra []int64) {
	if len(extra) < nExtras {
		grown := make([]int64, nExtras)
		copy(grown, extra)
		extra = grown
	}
	s := &m.services[i]
	for kind := range nTimers {
		if at := extra[kind]; at != 0 {
			m.timers.arm(i, kind, Time(at))
		}
	}
	s.startBy = Time(extra[extraStartBy])
	s.probe.delay, s.probe.sentAt, s.probe.lastAt = extra[extraProbeDelay], Time(extra[extraProbeSent]), Time(extra[extraProbeLast])
	s.probe.count, s.probe.row = int32(extra[extraProbeCount]), int32(extra[extraProbeRow])
	s.watchdog, s.signals, s.reload = extra[extraPings], uint64(extra[extraSignals]), extra[extraReload] != 0
	s.portDelay, s.dueCause = extra[extraPortDelay], Cause(extra[extraDueCause])
}

// resume ends a restore: what may not have been done is emitted again, highest rank first as stops go.
func (m *Machine) resume() {
	if !m.restoring {
		return
	}
	m.restoring = false
	m.findJob()
	for i := m.graph.Len(); i < len(m.services); i++ {
		if s := &m.services[i]; s.is(flagForgotten) {
			m.say(Forget{Name: s.name}) // the last word about it may not have been carried out
		}
	}
	for rank := len(m.byRank) - 1; rank >= 0; rank-- {
		m.dispatch(m.byRank[rank], inResumed, nil)
		m.services[m.byRank[rank]].clear(flagStopSent)
	}
}

func (m *Machine) onResumedBlocked(i int32, _ any) {
	s := &m.services[i]
	if s.phase == PhaseChecking {
		s.phase = PhaseNone // the answer went to the dead
		m.touch(i)
	}
	m.wake(i)
}

// onResumedUp: starting, running.
func (m *Machine) onResumedUp(i int32, _ any) {
	s := &m.services[i]
	switch {
	case s.target():
	case s.unanswered():
		m.neverForked(i)
	default:
		m.deliver(i)
		m.hearFirst(i)
		if s.is(flagProbing) {
			s.clear(flagProbing)
			s.probe.count--
			m.arm(i, timerProbe, m.now)
		}
	}
}

// hearFirst puts off the deadlines of a process that lives: what it said while no server was there, READY=1 or a watchdog
// ping, waits in its socket and must be read before they may strike.
func (m *Machine) hearFirst(i int32) {
	s := &m.services[i]
	if s.state == Running {
		m.armWatchdog(i)
	}
	if s.startBy != 0 && s.startBy < m.now+Time(gapPatience) {
		s.startBy = m.now + Time(gapPatience)
		m.arm(i, timerLife, s.startBy)
	}
}

func (m *Machine) onResumedStopping(i int32, _ any) {
	s := &m.services[i]
	switch s.phase {
	case PhaseDependents:
		if s.unanswered() {
			m.finish(i, CauseRestore)
			return
		}
		m.drain(i)
	case PhaseAwaitSpawn:
		m.finish(i, CauseRestore) // a process would have been adopted
	case PhaseTerm:
		if !s.is(flagStopSent) {
			m.terminate(i) // it may never have got the signal, so the stop timeout begins anew
		}
	case PhaseKill:
		m.kill(i)
	case PhaseStuck:
		m.do(Kill{ID: m.id(i), Gen: s.gen})
	case PhaseHook:
		m.runHook(i)
	}
}
