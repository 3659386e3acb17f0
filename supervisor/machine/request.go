package machine

import "github.com/zinit/zinit/graph"

// request is an Asked that has no Reply yet.
type request struct {
	req      ReqID
	service  int32 // -1 = it was forgotten
	verb     Verb
	wait     bool
	runOnly  bool
	after    Gen  // VerbRun: the incarnation before the run
	deadline Time // 0 = none
}

const undecided = ^Outcome(0)

// ask carries out an operator's request; its Reply follows when all has settled.
func (m *Machine) ask(ev Asked) {
	m.answerDue = m.answerDue || len(m.requests) > 0 // it may be the opposite of what another waits for
	if len(ev.IDs) != 1 {
		for _, id := range ev.IDs {
			m.askOne(ev, id)
		}
		m.reply(ev.Req, firstOf(ev.IDs), OutcomeAccepted)
		return
	}
	id := ev.IDs[0]
	after := ev.After
	if !ev.Again && id >= 0 && int(id) < len(m.services) {
		if after = m.services[id].gen; m.services[id].phase == PhaseChecking {
			after-- // the run that is about to begin has its number already
		}
	}
	if outcome := m.askOne(ev, id); outcome != undecided {
		m.reply(ev.Req, id, outcome)
		return
	}
	if ev.Req == 0 {
		return
	}
	m.requests = append(m.requests, request{ev.Req, int32(id), ev.Verb, ev.Wait, ev.RunOnly, after, ev.Deadline})
	m.services[id].waiters++
	m.answerDue = true
}

func firstOf(ids []graph.ID) graph.ID {
	if len(ids) == 0 {
		return graph.None
	}
	return ids[0]
}

func (m *Machine) reply(req ReqID, id graph.ID, outcome Outcome) {
	if req != 0 {
		m.say(Reply{Req: req, ID: id, Outcome: outcome})
	}
}

// askOne takes one service's part of a request and returns its outcome if that needs no settling.
func (m *Machine) askOne(ev Asked, id graph.ID) Outcome {
	if int(id) >= len(m.services) || id < 0 || m.services[id].is(flagForgotten) {
		return OutcomeRemoved
	}
	i, s := int32(id), &m.services[id]
	switch ev.Verb {
	case VerbKill, VerbReloadSignal:
		return m.signal(i, ev)
	case VerbStop:
		stays := ev.RunOnly && s.job != nil && s.is(flagWanted)
		if !m.shutting && !s.is(flagGone) {
			m.dispatch(i, inStop, command{CauseAsked, ""})
		}
		if stays && !m.shutting && !s.is(flagGone) {
			m.wantJob(i)
			m.supersede(i)
		} else {
			m.dropQueue(i, "it is stopped")
		}
		return undecided
	}
	switch {
	case s.is(flagGone):
		return OutcomeRemoved
	case m.shutting:
		return OutcomeShutdown
	case s.is(flagMissing) && (!s.goesOn() || ev.Verb == VerbRestart):
		return OutcomeMissing
	case s.is(flagBroken) && (!s.goesOn() || ev.Verb == VerbRestart):
		return OutcomeFailed
	}
	if ev.Verb == VerbRun {
		if o := m.mayRun(i, ev); o != undecided || s.busy() || ev.Again && s.gen > ev.After {
			return o // also where that run is about to be tried again
		}
	}
	in := inStart
	switch ev.Verb {
	case VerbRestart:
		in = inRestart
	case VerbRun:
		in = s.runInput()
	}
	if s.job != nil && len(ev.IDs) > 1 { // all were meant, not this one: it runs when it is due
		m.wantJob(i)
		return undecided
	}
	if !ev.NoDeps {
		m.pullIn(i, true)
	}
	m.dispatch(i, in, command{CauseAsked, ""})
	return undecided
}

// runInput is how a run begins: to take back the stop of a finished oneshot that waits for its dependents would be none.
func (s *service) runInput() input {
	if s.phase == PhaseDependents {
		return inRestart
	}
	return inStart
}

// busy reports whether a oneshot runs, or is between two attempts of a run.
func (s *service) busy() bool { return !s.idle() || s.job != nil && s.job.running }

// mayRun tells whether a oneshot may run now: undecided = it may, or the run that was asked for goes on.
func (m *Machine) mayRun(i int32, ev Asked) Outcome {
	s := &m.services[i]
	switch {
	case !s.oneshot():
		return OutcomeNotRunning
	case ev.Again && s.gen > ev.After && (s.busy() || s.is(flagDue) || s.nextRestart != 0):
		return undecided
	case ev.Again && s.gen > ev.After:
		return OutcomeDone
	case !s.busy():
		return undecided
	case s.job == nil || s.config.Schedules[0].Overlap != graph.OverlapReplace || !s.is(flagWanted):
		return OutcomeBusy
	}
	if !ev.NoDeps {
		m.pullIn(i, true)
	}
	m.replaceRun(i, CauseAsked)
	return undecided
}

// replaceRun ends the run of a job, and lets another one follow.
func (m *Machine) replaceRun(i int32, cause Cause) {
	m.endRun(i, OutcomeSuperseded)
	m.dispatch(i, inRestart, command{cause, ""})
}

// supersede answers those who wait for a start or a run of a job that was stopped and stays wanted.
func (m *Machine) supersede(i int32) {
	kept := m.requests[:0]
	for _, r := range m.requests {
		if r.service == i && r.verb != VerbStop {
			m.conclude(r, OutcomeSuperseded)
		} else {
			kept = append(kept, r)
		}
	}
	m.requests = kept
	m.answerDue = true // the next deadline may be another
}

// endRun answers those who wait for the end of the run of a service that has ended now.
func (m *Machine) endRun(i int32, outcome Outcome) {
	s := &m.services[i]
	if s.waiters == 0 {
		return
	}
	kept := m.requests[:0]
	for _, r := range m.requests {
		switch {
		case r.service != i || r.verb != VerbRun && !r.runOnly:
			kept = append(kept, r)
		case r.runOnly && !s.busy(): // it was to end, however it did; else another takes its place
			m.conclude(r, OutcomeDone)
		default:
			m.conclude(r, outcome)
		}
	}
	m.requests = kept
	m.answerDue = true // the next deadline may be another
}

// signal sends an operator's signal; one that comes between Spawn and Spawned waits for the process.
func (m *Machine) signal(i int32, ev Asked) Outcome {
	s := &m.services[i]
	if c := &table[s.state][inKill]; c.do == nil || s.target() {
		return OutcomeNotRunning
	}
	switch {
	case !s.is(flagLeft) && (s.state == Exited || s.is(flagDone)), s.phase == PhaseHook:
		return OutcomeNotRunning
	case s.state == Starting && s.unanswered():
		if ev.Verb == VerbReloadSignal {
			s.reload = true
		} else if ev.Sig >= 1 && ev.Sig <= 64 {
			s.signals |= 1 << (ev.Sig - 1)
		}
		m.touch(i)
		return OutcomeDone
	case s.unanswered():
		return OutcomeNotRunning
	}
	m.dispatch(i, inKill, ev)
	return OutcomeDone
}

func (m *Machine) onKill(i int32, ev any) {
	s, ask := &m.services[i], ev.(Asked)
	if ask.Verb == VerbReloadSignal {
		m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: s.config.Reload.Signal, Reload: true, Req: ask.Req})
		return
	}
	m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: ask.Sig, Req: ask.Req})
}

// answer replies to every request whose outcome is known and finds the next deadline.
func (m *Machine) answer() {
	m.answerDue, m.requestAt = false, 0
	kept := m.requests[:0]
	for _, r := range m.requests {
		outcome := m.outcome(r)
		switch {
		case outcome != undecided:
		case !r.wait:
			outcome = OutcomeAccepted
		case r.deadline != 0 && r.deadline <= m.now:
			outcome = OutcomeTimedOut
		}
		if outcome != undecided {
			m.conclude(r, outcome)
			continue
		}
		kept = append(kept, r)
		if r.deadline != 0 && (m.requestAt == 0 || r.deadline < m.requestAt) {
			m.requestAt = r.deadline
		}
	}
	m.requests = kept
}

func (m *Machine) conclude(r request, outcome Outcome) {
	id, gen := graph.None, Gen(0)
	if r.service >= 0 {
		s := &m.services[r.service]
		s.waiters--
		if id = graph.ID(r.service); r.verb == VerbRun && s.gen > r.after {
			gen = s.gen
		}
	}
	m.replies++
	if m.bug(BugReplyDropped) && r.wait && m.replies%4 == 0 {
		return
	}
	m.say(Reply{Req: r.req, ID: id, Outcome: outcome, Gen: gen})
}

// outcome judges a request by the state that its service has now, undecided = it must wait.
func (m *Machine) outcome(r request) Outcome {
	if r.service < 0 {
		return OutcomeRemoved
	}
	s := &m.services[r.service]
	if r.verb == VerbStop {
		return m.stopOutcome(s, r.runOnly)
	}
	switch {
	case s.is(flagGone | flagForgotten):
		return OutcomeRemoved
	case m.shutting:
		return OutcomeShutdown
	case !s.is(flagWanted):
		return OutcomeSuperseded
	}
	if r.verb == VerbRun && (s.job != nil && s.job.running || s.nextRestart != 0) {
		return undecided // endRun tells
	}
	return startOutcome(s)
}

func startOutcome(s *service) Outcome {
	switch s.state {
	case Running:
		if s.phase != PhaseDependents {
			return OutcomeDone
		}
	case Exited:
		if !s.is(flagDue) && s.phase == PhaseNone {
			return OutcomeDone
		}
	case Failed:
		if !s.is(flagDue) {
			return OutcomeFailed
		}
	case Blocked:
		if s.standing&onItsWay == 0 {
			return OutcomeBlocked
		}
	case Stopping:
		if s.is(flagStuck) {
			return OutcomeFailed
		}
	}
	return undecided
}

func (m *Machine) stopOutcome(s *service, runOnly bool) Outcome {
	switch {
	case runOnly && s.job != nil && !s.busy():
		return OutcomeDone
	case runOnly && s.job != nil && s.is(flagWanted) && !s.is(flagDue):
		if s.is(flagStuck) {
			return OutcomeFailed
		}
		return undecided
	case s.is(flagForgotten), s.idle() && !(s.state == Running && s.phase == PhaseDependents) && s.phase != PhaseDependents &&
		(!s.is(flagWanted) || m.shutting):
		return OutcomeDone
	case s.is(flagGone):
		return undecided
	case s.is(flagWanted) && !m.shutting:
		return OutcomeSuperseded
	case s.is(flagStuck):
		return OutcomeFailed
	}
	return undecided
}

// cancelRequest forgets who waited; what was asked goes on.
func (m *Machine) cancelRequest(req ReqID) {
	for at, r := range m.requests {
		if r.req == req {
			if r.service >= 0 {
				m.services[r.service].waiters--
			}
			m.requests = append(m.requests[:at], m.requests[at+1:]...)
			m.answerDue = true // the next deadline may be another
			return
		}
	}
}

// refuse answers what still comes after Halt.
func (m *Machine) refuse(event Event) {
	if ev, ok := event.(Asked); ok {
		m.reply(ev.Req, firstOf(ev.IDs), OutcomeShutdown)
	}
}
