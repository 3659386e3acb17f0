package machine

import "github.com/zinit/zinit/graph"

// request is an Asked that has no Reply yet.
type request struct {
	req      ReqID
	service  int32 // -1 = it was forgotten
	verb     Verb
	wait     bool
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
	if outcome := m.askOne(ev, id); outcome != undecided {
		m.reply(ev.Req, id, outcome)
		return
	}
	if ev.Req == 0 {
		return
	}
	m.requests = append(m.requests, request{ev.Req, int32(id), ev.Verb, ev.Wait, ev.Deadline})
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
		if !m.shutting && !s.is(flagGone) {
			m.dispatch(i, inStop, command{CauseAsked, ""})
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
	in := inStart
	if ev.Verb == VerbRestart {
		in = inRestart
	}
	if s.job != nil && len(ev.IDs) > 1 { // all were meant, not this one: it runs when it is due
		s.set(flagWanted)
		s.clear(flagHeld)
		m.touch(i)
		return undecided
	}
	if !ev.NoDeps {
		m.pullIn(i, true)
	}
	m.dispatch(i, in, command{CauseAsked, ""})
	return undecided
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
		m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: s.config.Reload.Signal, Reload: true})
		return
	}
	m.do(Signal{ID: m.id(i), Gen: s.gen, Sig: ask.Sig})
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
	id := graph.None
	if r.service >= 0 {
		m.services[r.service].waiters--
		id = graph.ID(r.service)
	}
	m.replies++
	if m.bug(BugReplyDropped) && r.wait && m.replies%4 == 0 {
		return
	}
	m.reply(r.req, id, outcome)
}

// outcome judges a request by the state that its service has now, undecided = it must wait.
func (m *Machine) outcome(r request) Outcome {
	if r.service < 0 {
		return OutcomeRemoved
	}
	s := &m.services[r.service]
	if r.verb == VerbStop {
		return m.stopOutcome(s)
	}
	switch {
	case s.is(flagGone | flagForgotten):
		return OutcomeRemoved
	case m.shutting:
		return OutcomeShutdown
	case !s.is(flagWanted):
		return OutcomeSuperseded
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

func (m *Machine) stopOutcome(s *service) Outcome {
	switch {
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
