package machine

import (
	"slices"

	"github.com/zinit/zinit/graph"
)

// unwant notes that the operator (or the file) wants a service down.
func (m *Machine) unwant(i int32) {
	s := &m.services[i]
	s.set(flagHeld)
	s.clear(flagWanted | flagDue | flagClaim)
	if s.idle() {
		s.killed = 0 // that was an earlier stop
	}
	m.cancelRestart(i)
	m.touch(i)
}

// onStopInactive: wanted down, nothing more to do.
func (m *Machine) onStopInactive(i int32, _ any) { m.unwant(i) }

// onStopBlocked: blocked, wanted down -> inactive, after what goes on without it.
func (m *Machine) onStopBlocked(i int32, ev any) {
	m.unwant(i)
	m.cascade(i)
	m.rest(i, ev.(command).cause)
}

// rest takes a service without processes to Inactive. last_exit is kept.
func (m *Machine) rest(i int32, cause Cause) {
	s := &m.services[i]
	if s.is(flagPortHeld) {
		m.releasePort(i)
	}
	s.clear(flagDue | flagClaim | flagChecked | flagDone | flagHadProcess)
	s.reason = Reason{}
	m.setState(i, Inactive, cause, "")
}

// onStopFailed: failed, wanted turns down -> inactive, restart cancelled; a second stop changes nothing.
func (m *Machine) onStopFailed(i int32, ev any) {
	s := &m.services[i]
	if m.bug(BugStopInBackoff) && s.nextRestart != 0 {
		return
	}
	turns, pending := s.is(flagWanted), s.nextRestart != 0
	m.unwant(i)
	if !turns || s.is(flagBroken) {
		return
	}
	m.cascade(i)
	m.rest(i, ev.(command).cause)
	if pending {
		m.endOnExit(i)
	}
}

// onStopExited: as onStopFailed; a finished oneshot goes down like a running service: after its dependents, and with a stop
// sequence when something is left of it.
func (m *Machine) onStopExited(i int32, ev any) {
	s := &m.services[i]
	if !s.finished() && !s.is(flagLeft) || !s.is(flagWanted) {
		m.onStopFailed(i, ev)
		return
	}
	m.onStopUp(i, ev)
}

// onStopUp: starting, running, wanted down -> stopping (a target waits in Running).
func (m *Machine) onStopUp(i int32, ev any) {
	c := ev.(command)
	m.unwant(i)
	m.cascade(i)
	m.beginStop(i, c.cause, c.by)
}

// onStopStopping: no start follows; a reason that is carried is kept.
func (m *Machine) onStopStopping(i int32, _ any) {
	m.services[i].clear(flagForDep)
	m.unwant(i)
	m.cascade(i)
}

// onRestartIdle: as start.
func (m *Machine) onRestartIdle(i int32, ev any) { m.onStartIdle(i, ev) }

func (m *Machine) onRestartExited(i int32, ev any) {
	if s := &m.services[i]; s.finished() || s.is(flagLeft) {
		m.onRestartFinished(i, ev)
	} else {
		m.onStartIdle(i, ev)
	}
}

// onRestartFinished: a finished oneshot goes down after its dependents and runs again.
func (m *Machine) onRestartFinished(i int32, ev any) {
	c := ev.(command)
	m.again(i, c)
	if m.services[i].phase != PhaseDependents {
		m.cascade(i)
		m.beginStop(i, c.cause, c.by)
	}
}

// onRestartUp: starting, running -> stopping, then due.
func (m *Machine) onRestartUp(i int32, ev any) { m.onRestartFinished(i, ev) }

// onRestartStopping: due once gone; the last command wins.
func (m *Machine) onRestartStopping(i int32, ev any) {
	if m.bug(BugRestartLost) {
		return
	}
	m.again(i, ev.(command))
	m.cascade(i)
}

// again makes a start due after the stop that is or goes under way.
func (m *Machine) again(i int32, c command) {
	s := &m.services[i]
	s.clear(flagHeld)
	s.set(flagWanted | flagClaim | flagKillOthers)
	s.forgetCounts()
	s.owe(c.cause, c.by)
	m.touch(i)
}

// onCycle: a reload restarts what has processes; what only waits takes the new definition as it is.
func (m *Machine) onCycle(i int32, ev any) {
	m.services[i].set(flagOutdated)
	m.onRestartFinished(i, ev)
}

func (m *Machine) onCycleRunning(i int32, ev any) {
	if !m.services[i].target() {
		m.onCycle(i, ev)
	}
}

func (m *Machine) onCycleExited(i int32, ev any) {
	if m.services[i].is(flagLeft) {
		m.onCycle(i, ev)
	}
}

func (m *Machine) onCycleStopping(i int32, ev any) {
	m.services[i].set(flagOutdated)
	m.touch(i)
	s := &m.services[i]
	if s.is(flagWanted) && (s.job == nil || s.is(flagDue)) { // also with a failure carried: the new definition has not been tried yet
		m.again(i, ev.(command))
	}
}

// downBy is the argument of inDown: whose stop it is.
type downBy struct {
	cause Cause
	name  string
}

// cascade stops everything active that needs i, directly or through others, deepest first. Those are due again.
func (m *Machine) cascade(i int32) { m.cascadeFor(i, CauseDependency) }

func (m *Machine) cascadeFor(i int32, cause Cause) {
	m.stamp++
	m.found = m.found[:0]
	m.walk = append(m.walk[:0], i)
	m.services[i].mark = m.stamp
	for len(m.walk) > 0 {
		at := m.walk[len(m.walk)-1]
		m.walk = m.walk[:len(m.walk)-1]
		m.eachDependent(at, func(r int32) {
			s := &m.services[r]
			if s.mark == m.stamp || s.finished() && !s.is(flagLeft) {
				return
			}
			s.mark = m.stamp
			m.walk = append(m.walk, r)
			if s.active() && s.state != Stopping {
				m.found = append(m.found, r)
			}
		})
	}
	if len(m.found) == 0 {
		return
	}
	found := slices.Clone(m.found)
	slices.SortFunc(found, func(a, b int32) int { return int(m.services[b].rank) - int(m.services[a].rank) })
	for _, r := range found {
		m.dispatch(r, inDown, downBy{cause, m.services[i].name})
	}
}

// eachDependent calls visit for everyone who requires or binds i.
func (m *Machine) eachDependent(i int32, visit func(int32)) {
	if int(i) < m.graph.Len() {
		for _, r := range m.graph.Requirers(graph.ID(i)) {
			visit(int32(r))
		}
	}
	if m.extras == 0 {
		return
	}
	for r := range m.services {
		if slices.Contains(m.services[r].extra, i) {
			visit(int32(r))
		}
	}
}

// onDown: a stop below reaches it: stopping, then blocked, then back with what it depends on.
func (m *Machine) onDown(i int32, ev any) {
	s, by := &m.services[i], ev.(downBy)
	s.set(flagClaim | flagForDep)
	s.owe(CauseDependency, by.name)
	m.beginStop(i, by.cause, by.name)
}

// onDownExited: only what a finished oneshot left goes down.
func (m *Machine) onDownExited(i int32, ev any) {
	if m.services[i].is(flagLeft) {
		m.onDown(i, ev)
	}
}

// onDownRunning: a target needs no stop; the loss of its requirement takes it to Blocked.
func (m *Machine) onDownRunning(i int32, ev any) {
	if !m.services[i].target() {
		m.onDown(i, ev)
	}
}

// beginStop takes a service on its way down: from now on nothing starts against it, and when its last dependent is gone
// onDrain sends the signal.
func (m *Machine) beginStop(i int32, cause Cause, by string) {
	s := &m.services[i]
	if s.target() && s.state == Running || s.finished() && !s.remains() {
		s.phase = PhaseDependents
		m.touch(i)
		m.drain(i)
		return
	}
	s.put(flagBackRunning, s.state == Running)
	m.setState(i, Stopping, cause, by)
	m.quiet(i)
	s.phase = PhaseDependents
	m.drain(i)
}

// quiet ends probes and deadlines of a run.
func (m *Machine) quiet(i int32) {
	s := &m.services[i]
	m.disarm(i, timerLife)
	m.disarm(i, timerProbe)
	m.disarm(i, timerWatchdog)
	if s.is(flagProbing) {
		s.clear(flagProbing)
		m.do(CancelProbe{Gen: s.gen})
	}
}

// cancelStop takes a service back to what it was before beginStop.
func (m *Machine) cancelStop(i int32, c command) {
	s := &m.services[i]
	m.dropExtra(i) // it goes on by the present graph
	if s.state != Stopping {
		s.phase = PhaseNone
		m.touch(i)
		return
	}
	switch {
	case s.is(flagDone):
		m.setState(i, Exited, c.cause, c.by)
	case s.is(flagBackRunning):
		m.setState(i, Running, c.cause, c.by)
		s.phase = PhaseUp
		m.probeNext(i)
		m.armWatchdog(i)
		if s.startBy != 0 {
			m.arm(i, timerLife, s.startBy)
		}
	default:
		m.setState(i, Starting, c.cause, c.by)
		m.resumeStart(i)
	}
	s.clear(flagBackRunning)
}

// resumeStart goes on with a start whose stop was cancelled.
func (m *Machine) resumeStart(i int32) {
	s := &m.services[i]
	if s.startBy != 0 {
		m.arm(i, timerLife, s.startBy)
	}
	if s.unanswered() {
		s.phase = PhaseSpawning
		return
	}
	s.phase = PhaseUp
	switch {
	case s.readyAtOnce() || s.is(flagReadyEarly):
		m.ready(i, CauseReady)
	case s.probedReady():
		m.probeSoon(i)
	}
}

// leave takes a service down for a reason of its own: at once, whoever depends on it.
func (m *Machine) leave(i int32, cause Cause, result Reason, ok bool) {
	s := &m.services[i]
	s.result = result
	s.set(flagResult)
	s.put(flagResultOK, ok)
	m.setState(i, Stopping, cause, "")
	m.quiet(i)
	m.proceed(i)
}

// onDrainStopping: go on when the last dependent is gone.
func (m *Machine) onDrainStopping(i int32, _ any) {
	if m.dependentsGone(i) {
		m.proceed(i)
	}
}

// dependentsGone tells whether a service waited for its dependents and the last one is gone. It sees to those that are not.
func (m *Machine) dependentsGone(i int32) bool {
	s := &m.services[i]
	if s.phase == PhaseDependents && s.occupied > 0 && !m.bug(BugStopOrderIgnored) {
		m.waitForDependents(i)
		return false
	}
	s.clear(flagLost)
	return s.phase == PhaseDependents
}

// waitForDependents sees to it that whoever stands on i is on its way down, also who came to it meanwhile.
func (m *Machine) waitForDependents(i int32) {
	if s := &m.services[i]; s.is(flagLost) {
		s.clear(flagLost)
		if !m.shutting {
			m.cascade(i)
		}
	}
}

// onDrainRunning: a service that lost what it binds stops, a target that lost a requirement is blocked, one that is
// to go down goes when its dependents are gone.
func (m *Machine) onDrainRunning(i int32, ev any) {
	s := &m.services[i]
	if !s.target() {
		m.onDrainStarting(i, ev)
		return
	}
	if s.phase == PhaseDependents && s.occupied > 0 && s.unsat == 0 && !m.bug(BugStopOrderIgnored) {
		m.waitForDependents(i)
		return
	}
	s.clear(flagLost)
	switch {
	case s.phase == PhaseDependents && s.is(flagDue):
		m.setState(i, Inactive, s.dueCause, s.dueBy)
		m.wake(i)
	case s.phase == PhaseDependents:
		m.setState(i, Inactive, m.stopCause(), "")
	case s.unsat > 0 || s.is(flagMissing):
		s.set(flagClaim)
		s.owe(CauseDependency, m.firstUnsat(i))
		m.setState(i, Blocked, CauseDependency, s.dueBy)
		m.wake(i)
	}
}

func (m *Machine) firstUnsat(i int32) string {
	unmet, _ := graph.FirstUnmet(m.graph, graph.ID(i), m.standingFor)
	return unmet.Name
}

func (m *Machine) onDrainStarting(i int32, _ any) {
	s := &m.services[i]
	lost := s.is(flagLost)
	s.clear(flagLost)
	if !lost || s.unsat == 0 && !s.is(flagMissing) || m.shutting || int(i) >= m.graph.Len() || m.bug(BugBindsIgnored) {
		return
	}
	if name, cause := m.lostBind(i); name != "" {
		m.cascade(i)
		m.onDown(i, downBy{cause, name})
	}
}

// lostBind returns the first bound service that is not satisfied or does not exist, "" = none.
func (m *Machine) lostBind(i int32) (string, Cause) {
	for _, name := range m.services[i].config.Deps.Binds {
		id, ok := m.graph.Lookup(name)
		switch {
		case !ok:
			return name, CauseMissing
		case int32(id) != i && m.services[id].standing&graph.Satisfied == 0:
			return name, CauseDependency
		}
	}
	return "", CauseDependency
}

// onDrainExited: a finished oneshot goes down when its dependents are gone.
func (m *Machine) onDrainExited(i int32, _ any) {
	if !m.dependentsGone(i) {
		return
	}
	if s := &m.services[i]; s.is(flagDue) {
		s.phase = PhaseNone
		m.touch(i)
		m.wake(i)
		return
	}
	m.rest(i, m.stopCause())
	m.endOnExit(i)
}

// stopCause is why something that waited for its dependents goes down.
func (m *Machine) stopCause() Cause {
	if m.shutting {
		return CauseShutdown
	}
	return CauseAsked
}

func (m *Machine) onDrainIdle(i int32, _ any) { m.services[i].clear(flagLost) }

// proceed does the first thing of a stop that cannot be taken back.
func (m *Machine) proceed(i int32) {
	s := &m.services[i]
	timeout := Time(s.config.Lifecycle.StopTimeout)
	s.clear(flagBackRunning)
	switch {
	case s.unanswered():
		s.phase = PhaseAwaitSpawn
		m.arm(i, timerLife, m.now+timeout+Time(killPatience))
		m.do(Abort{Gen: s.gen})
	case s.is(flagDone) && !s.is(flagLeft):
		m.treeGone(i, CauseAsked)
	default:
		if s.is(flagDone) {
			s.set(flagMainGone)
		}
		m.terminate(i)
	}
}

// terminate sends the stop signal.
func (m *Machine) terminate(i int32) {
	s := &m.services[i]
	s.phase, s.stopAt, s.killed = PhaseTerm, m.now, 0
	s.clear(flagStuck)
	m.arm(i, timerLife, m.now+Time(s.config.Lifecycle.StopTimeout))
	m.do(Stop{ID: m.id(i), Gen: s.gen})
	if m.forced {
		m.kill(i)
	}
}

func (m *Machine) kill(i int32) {
	s := &m.services[i]
	s.phase = PhaseKill
	s.killed = max(int64(m.now-s.stopAt), 1)
	m.arm(i, timerLife, m.now+Time(killPatience))
	m.do(Kill{ID: m.id(i), Gen: s.gen})
}

// onTimerStopping: the stop timeout, or patience after it, has run out.
func (m *Machine) onTimerStopping(i int32, _ any) {
	s := &m.services[i]
	switch s.phase {
	case PhaseTerm:
		m.kill(i)
		if m.bug(BugDoubleKill) {
			s.phase = PhaseTerm
		}
	case PhaseKill:
		m.unkillable(i)
		s.phase = PhaseStuck
	case PhaseAwaitSpawn:
		m.unkillable(i)
	case PhaseHook:
		m.finish(i, CauseTimeout)
	default:
		panic("machine: " + s.name + ": a deadline in stopping, phase " + s.phase.String())
	}
}

// unkillable gives up on a service: cascades and the shutdown go on without it. One that was removed is abandoned.
func (m *Machine) unkillable(i int32) {
	s := &m.services[i]
	s.set(flagStuck)
	m.touch(i)
	m.answerDue = m.answerDue || s.waiters > 0
	if s.is(flagGone) {
		s.result = Reason{Type: ReasonStopTimeout}
		s.set(flagResult)
		s.clear(flagResultOK)
		m.finish(i, CauseTimeout)
	}
}

// onSpawnedStopping: the process of a service that is to stop is known now.
func (m *Machine) onSpawnedStopping(i int32, ev any) {
	s := &m.services[i]
	if !s.unanswered() {
		return
	}
	m.known(i, ev.(Spawned).PID)
	if s.phase == PhaseAwaitSpawn {
		m.terminate(i)
	}
}

// onSpawnFailedStopping: there never was a process.
func (m *Machine) onSpawnFailedStopping(i int32, _ any) {
	if m.services[i].unanswered() {
		m.finish(i, CauseSpawnError)
	}
}

// onReadiedStopping: remembered while the stop can still be cancelled.
func (m *Machine) onReadiedStopping(i int32, _ any) {
	if s := &m.services[i]; s.phase == PhaseDependents && !s.is(flagBackRunning) && s.has(traitNotify|traitFiled) {
		s.set(flagReadyEarly)
		m.touch(i)
	}
}

// onTimerStarting: the start deadline.
func (m *Machine) onTimerStarting(i int32, _ any) {
	if m.services[i].is(flagSelfStopping) {
		m.overdue(i)
		return
	}
	m.leave(i, CauseTimeout, Reason{Type: ReasonStartTimeout}, false)
}
