package machine

// allowed is every pair that a Note may carry (invariant I6), by from and to.
var allowed = [nStates][nStates]bool{
	Inactive: {
		Blocked:  true, // due, something unmet
		Starting: true, // due
		Running:  true, // a target
		Failed:   true, // a required name is missing, a broken definition
	},
	Blocked: {
		Inactive: true, // wanted down
		Starting: true, // nothing is unmet any more
		Running:  true, // a target
		Failed:   true, // a requirement failed for good or does not exist any more
	},
	Starting: {
		Running:  true, // ready
		Exited:   true, // a oneshot
		Failed:   true, // the spawn failed, or the process ended too early
		Stopping: true, // asked, start deadline, leftovers, post_stop
		Blocked:  true, // only after a crash of the server: the fork never happened and something is unmet
	},
	Running: {
		Stopping: true, // asked, health, leftovers, post_stop
		Exited:   true,
		Failed:   true,
		Blocked:  true, // a target that lost a requirement
		Inactive: true, // a target that was stopped
	},
	Stopping: {
		Exited:   true, // gone
		Failed:   true, // gone, a failure is carried
		Blocked:  true, // gone, was stopped for a dependency
		Starting: true, // the stop was cancelled before anything was sent
		Running:  true, // likewise
	},
	Exited: {
		Inactive: true, // wanted down
		Blocked:  true, // due, something unmet
		Starting: true, // due
		Stopping: true, // a finished oneshot with processes left or post_stop
	},
	Failed: {
		Inactive: true, // wanted down
		Blocked:  true, // due, something unmet
		Starting: true, // due
	},
}

// setState is the only place that changes a state. The phase starts anew; callers set it afterwards.
func (m *Machine) setState(i int32, to State, cause Cause, by string) {
	s := &m.services[i]
	from := s.state
	if !allowed[from][to] {
		panic("machine: " + s.name + " cannot go from " + from.String() + " to " + to.String())
	}
	if from == Running || from == Starting && s.oneshot() {
		m.judgeRun(s)
	}
	if s.waiters > 0 {
		m.answerDue = true
	}
	s.state, s.phase, s.since = to, PhaseNone, m.now
	m.touch(i)
	note := Note{ID: m.id(i), Gen: s.gen, From: from, To: to, Cause: cause, By: by}
	if to == Failed {
		note.Reason = s.reason
	}
	if cause == CauseShutdown {
		note.By = m.endedBy
	}
	m.say(note)
}

// judgeRun resets count and delay after a run that was long enough. A run counts from ready on, so that a service that
// never gets ready uses up its attempts; that of a oneshot counts from its spawn.
func (m *Machine) judgeRun(s *service) {
	from := s.readyAt
	if s.oneshot() {
		from = s.spawnedAt
	}
	if from == 0 || s.target() {
		return
	}
	until := m.now
	if s.lastExit.Valid && s.lastExit.At > from {
		until = s.lastExit.At // of this run, perhaps learned late
	}
	if int64(until-from) >= int64(s.config.Lifecycle.StabilityPeriod) || m.bug(BugStabilityIgnored) {
		s.restarts, s.backoff = 0, 0
	}
}
