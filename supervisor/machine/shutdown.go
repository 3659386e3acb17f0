package machine

import "github.com/zinit/zinit/graph"

// load makes everything due that is to start at load, or one name and what it pulls in.
func (m *Machine) load(ev Loaded) {
	if m.loaded {
		return
	}
	m.loaded = true
	m.findJob()
	for i := range m.services {
		if m.services[i].is(flagBroken) {
			m.services[i].set(flagWanted)
			m.dispatch(int32(i), inLoad, nil)
		}
	}
	if id, ok := m.graph.Lookup(ev.Only); ok {
		m.pullIn(int32(id), true)
		m.dispatch(int32(id), inLoad, nil)
	}
	for i := range m.services {
		if s := &m.services[i]; ev.Only == "" && s.config.Status == graph.StatusStart && !s.is(flagBroken) {
			m.dispatch(int32(i), inLoad, nil)
		}
	}
	for _, i := range m.jobs {
		if s := &m.services[i]; s.is(flagWanted) {
			m.catchUp(i, ev.LastRuns[s.name])
			m.tellMissed(i, ev.LastRuns[s.name])
		}
	}
}

func (m *Machine) shutdownAsked(ev ShutdownAsked) {
	if !m.shutting {
		m.shutdown(ev.Code)
	}
	if ev.Now {
		m.force()
	}
}

// KillAt is when the shutdown under way kills what is left, or gives up what it has killed; 0 = never by itself.
func (m *Machine) KillAt() Time { return m.forceAt }

// EndedBy is the service whose end for good began the shutdown under way (on_exit), "" when it was asked for.
func (m *Machine) EndedBy() string { return m.endedBy }

// shutdown takes everything down: what has no process rests at once, the others stop in order.
func (m *Machine) shutdown(code int) {
	m.shutting, m.shutdownDue, m.haltCode, m.answerDue, m.jobAt = true, false, code, true, 0
	if m.options.ShutdownTimeout > 0 {
		m.forceAt = m.now + Time(m.options.ShutdownTimeout)
	}
	for _, i := range m.jobs {
		m.dropQueue(i, "everything is stopped")
	}
	m.rebuild() // `after` orders stops from here on
	for rank := len(m.byRank) - 1; rank >= 0; rank-- {
		m.dispatch(m.byRank[rank], inShutdown, nil)
	}
}

func (m *Machine) onShutdownInactive(i int32, _ any) {
	m.services[i].clear(flagDue | flagClaim)
	m.touch(i)
}

func (m *Machine) onShutdownIdle(i int32, _ any) {
	m.cancelRestart(i)
	m.rest(i, CauseShutdown)
}

func (m *Machine) onShutdownExited(i int32, _ any) {
	if s := &m.services[i]; s.is(flagLeft) || s.finished() && s.remains() {
		m.beginStop(i, CauseShutdown, "")
		return
	}
	m.onShutdownIdle(i, nil)
}

func (m *Machine) onShutdownUp(i int32, _ any) {
	m.services[i].clear(flagDue | flagClaim)
	m.beginStop(i, CauseShutdown, "")
}

func (m *Machine) onShutdownStopping(i int32, _ any) { m.onShutdownInactive(i, nil) }

// force kills what is left; the second time Halt waits no longer.
func (m *Machine) force() {
	if m.forced {
		m.giveUp()
		return
	}
	m.forced = true
	m.forceAt = m.now + Time(forcePatience)
	for rank := len(m.byRank) - 1; rank >= 0; rank-- {
		m.dispatch(m.byRank[rank], inForce, nil)
	}
}

// giveUp marks what outlived the forced kill, so that Halt can come.
func (m *Machine) giveUp() {
	m.forceAt = 0
	for i := range m.services {
		if s := &m.services[i]; s.active() {
			s.set(flagStuck)
			s.phase = PhaseStuck
			m.quiet(int32(i))
			m.touch(int32(i))
			m.refresh(int32(i))
		}
	}
}

func (m *Machine) onForceRunning(i int32, _ any) {
	if m.services[i].target() {
		m.setState(i, Inactive, CauseShutdown, "")
	}
}

func (m *Machine) onForceStopping(i int32, _ any) {
	s := &m.services[i]
	switch s.phase {
	case PhaseDependents:
		m.proceed(i)
	case PhaseTerm:
		m.kill(i)
	case PhaseHook:
		m.finish(i, CauseTimeout)
	}
}

// finishShutdown emits Halt when nothing is left that can be waited for.
func (m *Machine) finishShutdown() {
	left := m.active
	if m.bug(BugShutdownEarly) && left == 1 {
		left = 0
	}
	if !m.shutting || left > 0 || m.restoring {
		return
	}
	m.halted = true
	m.answer()
	for _, r := range m.requests {
		m.conclude(r, OutcomeShutdown)
	}
	m.requests, m.requestAt = nil, 0
	m.say(Halt{Code: m.haltCode})
}
