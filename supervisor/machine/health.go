package machine

import "github.com/zinit/zinit/graph"

const (
	probeFirst   = 10 * millisecond  // before ready: the first delay, doubling
	probeSlowest = 500 * millisecond // before ready: the longest delay
	probeExecMin = 100 * millisecond // before ready: the shortest delay of a check that runs a command
)

// probeSoon begins the quick checks before ready.
func (m *Machine) probeSoon(i int32) {
	s := &m.services[i]
	if s.probe.delay == 0 {
		s.probe.delay = probeFirst
	}
	m.arm(i, timerProbe, m.now+Time(quickDelay(s)))
}

func quickDelay(s *service) int64 {
	h := s.config.Health
	delay := min(s.probe.delay, probeSlowest, int64(h.Interval))
	if h.Type == graph.HealthExec {
		delay = max(delay, probeExecMin)
	}
	return delay
}

// probeNext schedules the next check of a Running service: one interval after the last began.
func (m *Machine) probeNext(i int32) {
	s := &m.services[i]
	if !s.has(traitHealth) || s.oneshot() {
		return
	}
	interval := Time(s.config.Health.Interval)
	at := m.now + interval
	if s.probe.sentAt != 0 && s.probe.sentAt+interval < at {
		at = max(m.now, s.probe.sentAt+interval)
	}
	m.arm(i, timerProbe, at)
}

func (m *Machine) onProbeTimer(i int32, _ any) {
	s := &m.services[i]
	if !s.has(traitHealth) || s.is(flagProbing) {
		return
	}
	s.set(flagProbing)
	s.probe.sentAt = m.now
	s.probe.count++
	m.do(Probe{ID: m.id(i), Gen: s.gen})
}

// noteProbe takes an answer; false when nobody waits for one.
func (m *Machine) noteProbe(i int32, word Probed) bool {
	s := &m.services[i]
	if !s.is(flagProbing) || !s.has(traitHealth) {
		return false
	}
	s.clear(flagProbing)
	s.put(flagProbeOK, word.OK)
	s.probe.lastAt, s.probe.detail = m.now, word.Detail
	m.touch(i)
	return true
}

// onProbedStarting: the first pass is readiness; failures never count.
func (m *Machine) onProbedStarting(i int32, ev any) {
	s, word := &m.services[i], ev.(Probed)
	if !m.noteProbe(i, word) {
		return
	}
	if word.OK {
		m.ready(i, CauseHealth)
		return
	}
	s.probe.delay = min(2*s.probe.delay, probeSlowest)
	m.probeSoon(i)
}

// onProbedRunning: retries failures in a row fail the service.
func (m *Machine) onProbedRunning(i int32, ev any) {
	s, word := &m.services[i], ev.(Probed)
	if !m.noteProbe(i, word) {
		return
	}
	h := s.config.Health
	switch {
	case word.OK:
		s.probe.row = 0
	case int64(m.now-s.spawnedAt) >= int64(h.StartPeriod):
		s.probe.row++
	}
	if int(s.probe.row) >= h.Retries {
		reason := Reason{Type: ReasonHealthCheckFailed, Attempts: s.probe.row, Detail: word.Detail}
		m.leave(i, CauseHealth, reason, false)
		return
	}
	m.probeNext(i)
}

// pings is the time between two watchdog pings, 0 = none are expected.
func (s *service) pings() int64 {
	switch {
	case s.is(flagPings):
		return s.watchdog
	case s.has(traitPings):
		return int64(s.config.Watchdog)
	}
	return 0
}

func (m *Machine) armWatchdog(i int32) {
	if every := m.services[i].pings(); every > 0 {
		m.arm(i, timerWatchdog, m.now+Time(every))
	}
}

func (m *Machine) onWatchdogTimer(i int32, _ any) {
	m.leave(i, CauseWatchdog, Reason{Type: ReasonHealthCheckFailed, Kind: "watchdog", Detail: "no watchdog ping in time"}, false)
}

// onExtendedUp: starting, running.
func (m *Machine) onExtendedUp(i int32, ev any) {
	s, word := &m.services[i], ev.(Extended)
	if word.Trigger && s.state == Running && !s.is(flagSelfStopping) {
		detail := "the service reported a failure (WATCHDOG=trigger)"
		m.leave(i, CauseWatchdog, Reason{Type: ReasonHealthCheckFailed, Kind: "watchdog", Detail: detail}, false)
		return
	}
	m.setWatchdog(i, word.SetWatchdog)
	if s.state == Running && (word.Watchdog || word.SetWatchdog > 0) {
		m.armWatchdog(i)
	}
	if s.state == Starting || s.is(flagSelfStopping) {
		m.extend(i, word.By)
		s.startBy = m.timers.at(i, timerLife)
	}
}

// setWatchdog notes the time between pings that the service has set itself.
func (m *Machine) setWatchdog(i int32, every int64) {
	if every > 0 {
		m.services[i].watchdog = every
		m.services[i].set(flagPings)
		m.touch(i)
	}
}

// onExtendedStopping: the stop timeout may be put off, not the patience after SIGKILL; a stop that has not begun may be
// taken back, so that the rest is remembered.
func (m *Machine) onExtendedStopping(i int32, ev any) {
	s, word := &m.services[i], ev.(Extended)
	switch s.phase {
	case PhaseTerm:
		m.extend(i, word.By)
	case PhaseDependents:
		m.setWatchdog(i, word.SetWatchdog)
		if s.startBy != 0 && word.By > 0 {
			s.startBy = max(s.startBy, m.now+Time(word.By))
			m.touch(i)
		}
	}
}

// extend puts a deadline off to at least by from now; it never brings it nearer.
func (m *Machine) extend(i int32, by int64) {
	if at := m.timers.at(i, timerLife); at != 0 && by > 0 && m.now+Time(by) > at {
		m.arm(i, timerLife, m.now+Time(by))
	}
}

// onStoppingSelf: the service has announced its end. From now on its checks and its watchdog do not count, or they would
// kill it while it saves what it has; the stop timeout does.
func (m *Machine) onStoppingSelf(i int32, _ any) {
	s := &m.services[i]
	if s.is(flagSelfStopping) {
		return
	}
	s.set(flagSelfStopping)
	m.touch(i)
	if s.state == Stopping && s.phase != PhaseDependents {
		return // the stop timeout counts already
	}
	s.startBy = m.now + Time(s.config.Lifecycle.StopTimeout)
	if s.state != Stopping {
		m.quiet(i)
		m.arm(i, timerLife, s.startBy)
	}
}

// overdue: it has announced its end and is there all the same when its stop timeout is over, so it is killed.
func (m *Machine) overdue(i int32) {
	m.leave(i, CauseTimeout, Reason{Type: ReasonStopTimeout, Detail: "it had announced its end by STOPPING=1"}, false)
	if s := &m.services[i]; s.phase == PhaseTerm {
		m.kill(i)
	}
}

// onTimerRunning: the only deadline of a running service is that of the end it has announced.
func (m *Machine) onTimerRunning(i int32, _ any) { m.overdue(i) }
