package machine

import (
	"slices"

	"github.com/zinit/zinit/graph"
)

// owed makes a start due that somebody asked for: counts and delays begin anew and ports may be freed once.
func (m *Machine) owed(i int32, cause Cause, by string) {
	s := &m.services[i]
	s.set(flagWanted | flagKillOthers)
	s.forgetCounts()
	m.cancelRestart(i)
	s.owe(cause, by)
	if s.is(flagPortHeld) {
		m.releasePort(i)
	}
	m.touch(i)
	m.wake(i)
}

// cancelRestart takes back a restart that waits for its deadline.
func (m *Machine) cancelRestart(i int32) {
	if s := &m.services[i]; s.nextRestart != 0 {
		s.nextRestart = 0
		m.disarm(i, timerLife)
		m.touch(i)
	}
}

// command is how a start reaches a service: asked for itself, or pulled in by another.
type command struct {
	cause Cause
	by    string
}

func (m *Machine) onLoad(i int32, ev any) {
	if m.services[i].is(flagBroken) {
		m.failBroken(i, CauseLoad)
		return
	}
	if m.services[i].job != nil {
		m.wantJob(i)
		return
	}
	m.owed(i, CauseLoad, "")
}

// failBroken puts a service with a broken definition where it belongs; no start leaves there.
func (m *Machine) failBroken(i int32, cause Cause) {
	s := &m.services[i]
	kind, problem := m.graph.Broken(graph.ID(i))
	reason := Reason{Type: ReasonSpawnError, Kind: kind, Detail: problem}
	if s.state == Failed && s.reason == reason {
		return
	}
	s.clear(flagDue | flagClaim | flagDone)
	m.cancelRestart(i)
	if s.state == Failed {
		s.reason = reason
		m.touch(i)
		return
	}
	if s.state != Inactive && s.state != Blocked {
		m.setState(i, Blocked, cause, "")
	}
	m.fail(i, reason, cause, "")
}

// onStartIdle: inactive, exited, failed, blocked: start asked or pulled in -> due.
func (m *Machine) onStartIdle(i int32, ev any) {
	c := ev.(command)
	m.services[i].clear(flagHeld)
	if m.services[i].is(flagBroken) {
		m.services[i].set(flagWanted)
		m.touch(i)
		return
	}
	m.owed(i, c.cause, c.by)
}

func (m *Machine) onPullBlocked(i int32, ev any) {
	if m.services[i].is(flagPortHeld) || m.services[i].phase == PhaseChecking {
		m.services[i].clear(flagHeld)
		return
	}
	m.onStartIdle(i, ev)
}

// onStartExited: a finished oneshot runs again, after what is left of it and with its dependents, as by restart.
func (m *Machine) onStartExited(i int32, ev any) {
	s := &m.services[i]
	switch {
	case s.phase == PhaseDependents:
		m.cancelOrOwe(i, ev.(command))
	case s.is(flagLeft) || s.finished() && s.remains():
		m.onRestartFinished(i, ev)
	default:
		m.onStartIdle(i, ev)
	}
}

// onPullExited: a finished oneshot satisfies, there is nothing to do.
func (m *Machine) onPullExited(i int32, ev any) {
	switch s := &m.services[i]; {
	case s.phase == PhaseDependents:
		m.cancelOrOwe(i, ev.(command))
	case !s.finished():
		m.onStartIdle(i, ev)
	}
}

// onStartUp: starting, running: no change; a target that was to go down stays.
func (m *Machine) onStartUp(i int32, ev any) {
	s := &m.services[i]
	s.clear(flagHeld)
	m.touch(i)
	if s.phase == PhaseDependents {
		m.cancelOrOwe(i, ev.(command))
	}
}

// onStartStopping: the stop is cancelled, or it is due once gone.
func (m *Machine) onStartStopping(i int32, ev any) {
	m.services[i].clear(flagHeld)
	m.cancelOrOwe(i, ev.(command))
}

// cancelOrOwe takes back a stop of which nothing was done yet, else a start follows it. A stop is not taken back when
// it was not the service's own (it is due already), when its main process has ended meanwhile or runs by a definition
// that was replaced, while something it requires waits for it to be gone, or when what it binds is lost, which would
// only stop it again. A finished oneshot without processes keeps nobody waiting.
func (m *Machine) cancelOrOwe(i int32, c command) {
	s := &m.services[i]
	s.clear(flagHeld)
	m.touch(i)
	if s.phase == PhaseDependents && !s.is(flagDue|flagGone|flagMainGone|flagOutdated) && (s.finished() || !m.needGoesDown(i) && !m.bindLost(i)) {
		s.set(flagWanted)
		m.cancelStop(i, c)
		return
	}
	if m.bug(BugRestartLost) {
		return
	}
	s.set(flagWanted | flagKillOthers)
	s.forgetCounts()
	if !s.is(flagDue) {
		s.owe(c.cause, c.by)
	}
}

// bindLost reports whether something that i binds, or requires and does not exist, is not there.
func (m *Machine) bindLost(i int32) bool {
	if int(i) >= m.graph.Len() || m.services[i].is(flagMissing) {
		return true
	}
	for _, d := range m.graph.Binds(graph.ID(i)) {
		if m.services[d].standing&graph.Satisfied == 0 {
			return true
		}
	}
	return false
}

// needGoesDown reports whether something that i needs, directly or through others, waits for i to be gone.
func (m *Machine) needGoesDown(i int32) bool {
	found := false
	m.stamp++
	walk := append(m.walk[:0], i)
	for len(walk) > 0 && !found {
		at := walk[len(walk)-1]
		walk = walk[:len(walk)-1]
		m.eachNeed(at, func(d int32) {
			need := &m.services[d]
			if need.mark == m.stamp {
				return
			}
			need.mark = m.stamp
			found = found || need.phase == PhaseDependents
			walk = append(walk, d)
		})
	}
	m.walk = walk
	return found
}

// onWakeIdle decides for a service without processes, after all counts have settled.
func (m *Machine) onWakeIdle(i int32, _ any) {
	s := &m.services[i]
	switch {
	case m.shutting || s.is(flagGone):
		return
	case s.is(flagBroken):
		if m.loaded {
			m.failBroken(i, CauseReload)
		}
		return
	}
	if s.state == Failed && s.is(flagWanted) && !s.is(flagDue) && s.job == nil { // the run of a job has failed with it
		m.reconsider(i)
	}
	if s.is(flagDue) && s.is(flagWanted) && s.phase != PhaseDependents {
		m.start(i)
	}
}

// onWakeDown: what it waits for changed while it is going down; only what others may expect of it (dispatch tells).
func (m *Machine) onWakeDown(int32, any) {}

// reconsider brings a service back that failed only because of a dependency, or lets it fail for the next one.
func (m *Machine) reconsider(i int32) {
	s := &m.services[i]
	switch s.reason.Type {
	case ReasonDependencyFailed:
		if !m.failedFor(i, s.reason.Service) {
			s.owe(CauseDependency, m.wokenBy(s))
		}
	case ReasonMissingDependency:
		if !s.is(flagMissing) {
			s.owe(CauseReload, s.reason.Service)
		}
	}
}

// failedFor reports whether i requires or binds the named service and that has failed for good.
func (m *Machine) failedFor(i int32, name string) bool {
	id, ok := m.graph.Lookup(name)
	if !ok || m.services[id].standing&graph.FailedForGood == 0 {
		return false
	}
	return slices.Contains(m.graph.Requires(graph.ID(i)), id) || slices.Contains(m.graph.Binds(graph.ID(i)), id)
}

// wokenBy is who changed last among those that a service waits for, "" = nobody else.
func (m *Machine) wokenBy(s *service) string {
	if int(s.wokenBy) < len(m.services) && &m.services[s.wokenBy] != s {
		return m.services[s.wokenBy].name
	}
	return ""
}

// start starts a due service without processes, or says why it cannot.
func (m *Machine) start(i int32) {
	s := &m.services[i]
	rivals := s.rivals
	if m.bug(BugConflictsIgnored) {
		rivals = 0
	}
	switch {
	case s.is(flagMissing):
		m.failMissing(i)
	case s.failed > 0 && !m.bug(BugFailureNotSpread):
		m.failDependency(i)
	case s.unsat > 0 || s.waits > 0 || rivals > 0:
		m.block(i)
	case s.target():
		m.reach(i)
	case s.is(flagPortHeld) || s.phase == PhaseChecking:
		return // a timer or the answer goes on
	case !s.is(flagChecked) && s.has(traitPorts):
		m.check(i)
	default:
		m.spawn(i)
	}
}

// block puts a due service into Blocked; what it waits for is Unmet.
func (m *Machine) block(i int32) {
	s := &m.services[i]
	s.clear(flagChecked | flagDone)
	if s.is(flagPortHeld) && (s.unsat > 0 || s.waits > 0) {
		m.releasePort(i) // but not for a rival: two of them would look at the port in turn without a pause
	}
	if s.state == Blocked {
		if s.phase == PhaseChecking {
			s.phase = PhaseNone // its answer finds nobody who waits
			m.touch(i)
		}
		return
	}
	unmet, _ := graph.FirstUnmet(m.graph, graph.ID(i), m.standingFor)
	cause := CauseDependency
	if unmet.Kind == graph.KindConflicts {
		cause = CauseConflict
	}
	s.reason = Reason{}
	m.setState(i, Blocked, cause, unmet.Name)
}

// standingFor is what the counters were told last, which is what a decision inside a Step goes by.
func (m *Machine) standingFor(id graph.ID) graph.Standing { return m.services[id].standing &^ onItsWay }

func (m *Machine) failMissing(i int32) {
	s := &m.services[i]
	name := m.graph.Missing(graph.ID(i))[0]
	if s.state == Exited || s.state == Failed {
		m.setState(i, Blocked, CauseMissing, name)
	}
	m.fail(i, Reason{Type: ReasonMissingDependency, Service: name}, CauseMissing, name)
}

func (m *Machine) failDependency(i int32) {
	name := ""
	for _, unmet := range graph.CanStart(m.graph, graph.ID(i), m.standingFor) {
		if unmet.Failed {
			name = unmet.Name
			break
		}
	}
	if m.services[i].state != Blocked {
		m.setState(i, Blocked, CauseDependency, name)
	}
	m.fail(i, Reason{Type: ReasonDependencyFailed, Service: name}, CauseDependency, name)
}

// fail puts a service that has no process into Failed without a restart: only a change of what it depends on, a start
// or a reload brings it back.
func (m *Machine) fail(i int32, reason Reason, cause Cause, by string) {
	s := &m.services[i]
	if s.is(flagPortHeld) {
		m.releasePort(i)
	}
	s.clear(flagDue | flagClaim | flagChecked | flagDone)
	s.reason = reason
	m.setState(i, Failed, cause, by)
	m.endForGood(i)
}

// reach makes a target Running.
func (m *Machine) reach(i int32) {
	s := &m.services[i]
	m.agree(i)
	if s.state == Failed || s.state == Exited {
		m.setState(i, Blocked, CauseTarget, "")
	}
	m.dropExtra(i)
	s.clear(flagDue | flagClaim)
	s.reason = Reason{}
	s.readyAt = m.now
	m.setState(i, Running, CauseTarget, "")
}

// agree asks the definition of "can start"; the counters are only its fast form.
func (m *Machine) agree(i int32) {
	if unmet, ok := graph.FirstUnmet(m.graph, graph.ID(i), m.standingFor); ok && m.options.Bugs == 0 {
		panic("machine: " + m.services[i].name + " would start although " + unmet.Kind.String() + " " + unmet.Name + " is unmet")
	}
}

// check asks whether ports and process filters are free.
func (m *Machine) check(i int32) {
	s := &m.services[i]
	m.agree(i)
	s.clear(flagDone)
	if s.state != Blocked {
		s.reason = Reason{}
		m.setState(i, Blocked, CausePort, "")
	}
	m.takeGen(i)
	s.phase = PhaseChecking
	kill := s.config.KillOthers && s.is(flagKillOthers)
	s.clear(flagKillOthers)
	m.touch(i)
	m.do(Precheck{ID: m.id(i), Gen: s.gen, Kill: kill})
}

func (m *Machine) onPrechecked(i int32, ev any) {
	s, answer := &m.services[i], ev.(Prechecked)
	if s.phase != PhaseChecking {
		return // it has got something else to wait for
	}
	s.phase = PhaseNone
	m.touch(i)
	m.answerDue = m.answerDue || s.waiters > 0
	if answer.Conflict == nil {
		s.set(flagChecked)
		m.wake(i)
		return
	}
	s.conflict = answer.Conflict
	s.set(flagPortHeld)
	m.held = append(m.held, i)
	s.portDelay = min(max(2*s.portDelay, 250*millisecond), 10*second)
	m.arm(i, timerLife, m.now+Time(s.portDelay))
}

// releasePort takes a service out of the wait for a port; what it does next is the caller's.
func (m *Machine) releasePort(i int32) {
	s := &m.services[i]
	s.clear(flagPortHeld)
	s.conflict = nil
	m.disarm(i, timerLife)
	for at, h := range m.held {
		if h == i {
			m.held = append(m.held[:at], m.held[at+1:]...)
			break
		}
	}
	m.touch(i)
}

// onTimerBlocked: look at the ports again.
func (m *Machine) onTimerBlocked(i int32, _ any) {
	if s := &m.services[i]; s.is(flagPortHeld) {
		m.releasePort(i)
		m.wake(i)
	}
}

// freePorts wakes services that a port of i held up.
func (m *Machine) freePorts(i int32) {
	for at := len(m.held) - 1; at >= 0; at-- {
		h := m.held[at]
		if c := m.services[h].conflict; c == nil || c.Service == m.services[i].name {
			m.releasePort(h)
			m.services[h].portDelay = 0
			m.wake(h)
		}
	}
}

// spawn starts the process. Everything about the run before is forgotten here and nowhere else.
func (m *Machine) spawn(i int32) {
	s := &m.services[i]
	m.agree(i)
	if !s.idle() && m.options.Bugs == 0 {
		panic("machine: " + s.name + " would be spawned twice")
	}
	m.dropExtra(i)
	first := s.gen == 0 && s.state != Failed // then there is nothing to forget, and most starts are the first
	checked := s.is(flagChecked)
	cause, by := s.dueCause, s.dueBy
	if s.state == Blocked && !checked {
		cause, by = s.wokenFor, m.wokenBy(s)
	}
	if !checked || s.state != Blocked {
		m.takeGen(i)
	}
	s.clear(flagDue | flagClaim | flagChecked | flagDone | flagLeft | flagReadyEarly | flagEmptied | flagMainGone | flagForDep |
		flagResult | flagResultOK | flagSelfStopping | flagProbeOK | flagHadProcess | flagBackRunning | flagStuck | flagPings |
		flagOutdated)
	s.pid, s.spawnedAt, s.readyAt, s.signals, s.reload = 0, 0, 0, 0, false
	if !first {
		s.reason, s.result, s.conflict, s.probe = Reason{}, Reason{}, nil, probeState{}
		s.stopAt, s.portDelay, s.watchdog = 0, 0, 0
	}
	m.setState(i, Starting, cause, by)
	m.jobBegan(i)
	s.phase = PhaseSpawning
	m.armStart(i)
	m.do(Spawn{ID: m.id(i), Gen: s.gen})
}

// armStart begins the start deadline, which counts from the request.
func (m *Machine) armStart(i int32) {
	s := &m.services[i]
	s.startBy = 0
	if s.startLimit > 0 {
		s.startBy = m.now + Time(s.startLimit)
		m.arm(i, timerLife, s.startBy)
	}
}

func (m *Machine) onSpawned(i int32, ev any) {
	if s := &m.services[i]; s.unanswered() {
		m.spawned(i, ev.(Spawned).PID)
	}
}

// spawned notes the process of a Starting service; without any declared readiness it is ready.
func (m *Machine) spawned(i int32, pid int) {
	s := &m.services[i]
	m.known(i, pid)
	s.phase = PhaseUp
	if s.readyAtOnce() || s.is(flagReadyEarly) {
		m.ready(i, CauseSpawned)
		return
	}
	if s.probedReady() {
		m.probeSoon(i)
	}
}

// known notes the process and delivers the signals that waited for it.
func (m *Machine) known(i int32, pid int) {
	s := &m.services[i]
	s.pid, s.spawnedAt = pid, m.now
	s.set(flagHadProcess)
	m.touch(i)
	if !m.restoring {
		m.deliver(i)
	}
}

// deliver sends the operators' signals that waited for the process.
func (m *Machine) deliver(i int32) {
	s := &m.services[i]
	if s.signals == 0 && !s.reload {
		return
	}
	m.touch(i)
	for n := range 64 {
		if s.signals&(1<<n) != 0 {
			m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: graph.Signal(n + 1)})
		}
	}
	if s.reload {
		m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: s.config.Reload.Signal, Reload: true})
	}
	s.signals, s.reload = 0, false
}

func (m *Machine) onSpawnFailed(i int32, ev any) {
	s, word := &m.services[i], ev.(SpawnFailed)
	if !s.unanswered() {
		return
	}
	s.result = Reason{Type: ReasonSpawnError, Kind: word.Kind, Detail: word.Detail}
	s.set(flagResult)
	s.clear(flagResultOK)
	m.finish(i, CauseSpawnError)
}

func (m *Machine) onReadied(i int32, _ any) {
	s := &m.services[i]
	if !s.has(traitNotify | traitFiled) {
		return
	}
	if s.unanswered() {
		s.set(flagReadyEarly)
		m.touch(i)
		return
	}
	m.ready(i, CauseReady)
}

// ready makes a Starting service Running.
func (m *Machine) ready(i int32, cause Cause) {
	s := &m.services[i]
	s.readyAt = m.now
	m.setState(i, Running, cause, "")
	if !s.is(flagSelfStopping) {
		s.startBy = 0
		m.disarm(i, timerLife)
	}
	s.phase = PhaseUp
	m.probeNext(i)
	m.armWatchdog(i)
}
