package machine

import (
	"slices"

	"github.com/zinit/zinit/graph"
)

// onItsWay is the machine's own bit beside graph's: it will be Running, or finished, unless something goes wrong.
const onItsWay graph.Standing = 1 << 7

// standingOf derives what others may know of a service (doc.go).
func (m *Machine) standingOf(s *service) graph.Standing {
	switch {
	case s.is(flagGone | flagForgotten):
		return 0
	case s.is(flagBroken) && s.idle():
		return graph.FailedForGood
	}
	var standing graph.Standing
	if s.state == Running && s.phase != PhaseDependents || s.finished() && s.phase == PhaseNone && !s.is(flagDue) {
		standing |= graph.Satisfied
	}
	if m.holds(s) {
		standing |= graph.Holds
	}
	if !s.is(flagWanted) {
		return standing
	}
	ahead := s.is(flagDue) && s.freeAhead()
	if ahead || s.state == Starting {
		standing |= onItsWay
	}
	if !s.has(traitIgnored) && (ahead || s.oneshot() && s.stillRuns()) {
		standing |= graph.Pending
	}
	if (s.state == Failed || s.state == Exited && !s.finished()) && !s.is(flagDue) && s.nextRestart == 0 {
		standing |= graph.FailedForGood
	}
	return standing
}

// freeAhead reports whether a due service waits for nothing but services that are on their way.
func (s *service) freeAhead() bool {
	return s.stuck == 0 && s.rivals == 0 && !s.is(flagMissing|flagPortHeld|flagStuck)
}

// stillRuns reports whether a oneshot's process has not ended yet.
func (s *service) stillRuns() bool {
	return s.state == Starting || s.state == Stopping && !s.is(flagMainGone|flagStuck)
}

func (m *Machine) holds(s *service) bool {
	switch s.state {
	case Starting, Running, Stopping:
		return true
	}
	return s.is(flagLeft) || s.phase == PhaseChecking || s.nextRestart != 0 || s.is(flagDue) && s.is(flagClaim)
}

// refresh compares what others know of a service with what it is now, and tells them.
func (m *Machine) refresh(i int32) {
	s := &m.services[i]
	if s.state == Blocked && s.rivals > 0 {
		s.clear(flagClaim) // it waits for its conflict like anyone else
	}
	if next := m.standingOf(s); next != s.standing {
		before := s.standing
		s.standing = next
		if int(i) < m.graph.Len() {
			m.tell(i, before, next)
		}
	}
	if now := s.active(); now != s.is(flagActive) {
		s.put(flagActive, now)
		m.active += delta(!now, now)
	}
	m.recount(i)
}

// tell adjusts the counters of the neighbours for a changed standing and wakes them.
func (m *Machine) tell(i int32, before, next graph.Standing) {
	id, changed := graph.ID(i), before^next
	if changed&(graph.Satisfied|onItsWay|graph.FailedForGood) != 0 {
		unsat := delta(before&graph.Satisfied == 0, next&graph.Satisfied == 0)
		stuck := delta(before&(graph.Satisfied|onItsWay) == 0, next&(graph.Satisfied|onItsWay) == 0)
		failed := delta(before&graph.FailedForGood != 0, next&graph.FailedForGood != 0)
		for _, r := range m.graph.Requirers(id) {
			s := &m.services[r]
			s.unsat, s.stuck, s.failed = s.unsat+unsat, s.stuck+stuck, s.failed+failed
			m.stir(int32(r), i, CauseDependency)
			if unsat > 0 && (s.state == Running || s.state == Starting) {
				s.set(flagLost)
				m.drain(int32(r))
			}
		}
	}
	if changed&graph.Pending != 0 {
		waits := delta(before&graph.Pending != 0, next&graph.Pending != 0)
		for _, f := range m.graph.Followers(id) {
			m.services[f].waits += waits
			m.stir(int32(f), i, CauseDependency)
		}
	}
	if changed&graph.Holds != 0 {
		rivals := delta(before&graph.Holds != 0, next&graph.Holds != 0)
		for _, c := range m.graph.Conflicts(id) {
			m.services[c].rivals += rivals
			m.stir(int32(c), i, CauseConflict)
		}
	}
}

func delta(before, next bool) int32 {
	switch {
	case before == next:
		return 0
	case next:
		return 1
	}
	return -1
}

// stir wakes a service whose counts changed, if they can matter in its state.
func (m *Machine) stir(i, by int32, cause Cause) {
	s := &m.services[i]
	switch s.state {
	case Blocked:
		m.touch(i) // what it waits for is to be seen
		m.answerDue = m.answerDue || s.waiters > 0
	case Starting, Running:
		if s.phase != PhaseDependents {
			return
		}
	}
	s.wokenBy, s.wokenFor = by, cause
	m.wake(i)
}

// recount keeps the number of dependents that are still there at what a service stops for. A service counts with what it
// needs while it is active or a dependent of its own counts with it; a finished oneshot passes nothing on, except in a
// shutdown.
func (m *Machine) recount(i int32) {
	m.walk = append(m.walk[:0], i)
	for len(m.walk) > 0 {
		i := m.walk[len(m.walk)-1]
		m.walk = m.walk[:len(m.walk)-1]
		s := &m.services[i]
		there := s.active() || s.occupied > 0 && (m.shutting || !s.finished())
		if there == s.is(flagOccupied) {
			if there && !s.active() {
				m.remind(i)
			}
			continue
		}
		s.put(flagOccupied, there)
		m.eachNeed(i, func(d int32) {
			if there {
				m.stand(d)
			} else {
				m.standDown(d)
			}
			m.walk = append(m.walk, d)
		})
	}
}

// remind: i has no process itself and passes on dependents, some of which may have come while it still had one. What it
// needs and is going down must reach them.
func (m *Machine) remind(i int32) {
	m.eachNeed(i, func(d int32) {
		if need := &m.services[d]; need.phase == PhaseDependents {
			need.set(flagLost)
			m.drain(d)
		}
	})
}

// stand: one more dependent of d is there.
func (m *Machine) stand(d int32) {
	need := &m.services[d]
	need.occupied++
	if need.phase == PhaseDependents {
		need.set(flagLost) // somebody new stands on what is going down
		m.drain(d)
	}
}

// standDown: one less.
func (m *Machine) standDown(d int32) {
	need := &m.services[d]
	need.occupied--
	if need.occupied == 0 && need.phase == PhaseDependents {
		m.drain(d)
	}
}

// dropExtra forgets edges of an earlier graph: the process that they were for is gone.
func (m *Machine) dropExtra(i int32) {
	s := &m.services[i]
	if m.extras == 0 || len(s.extra) == 0 {
		return
	}
	extra := s.extra
	s.extra = nil
	m.extras--
	if s.is(flagOccupied) {
		for _, d := range extra {
			m.standDown(d)
			m.recount(d)
		}
	}
}

// eachNeed calls visit for everything that must outlive i when it stops: what it requires and binds, during a shutdown
// also what it comes after.
func (m *Machine) eachNeed(i int32, visit func(int32)) {
	if int(i) < m.graph.Len() {
		id := graph.ID(i)
		requires := m.graph.Requires(id)
		for _, d := range requires {
			visit(int32(d))
		}
		for _, d := range m.graph.Binds(id) {
			if _, twice := slices.BinarySearch(requires, d); !twice {
				visit(int32(d))
			}
		}
		if m.shutting {
			for _, d := range m.graph.After(id) {
				visit(int32(d))
			}
		}
	}
	if m.extras > 0 {
		for _, d := range m.services[i].extra {
			visit(d)
		}
	}
}

// rebuild derives ranks, counters, standings and work sets from the services alone: after New, a reload, a restore,
// and when a shutdown makes more edges count.
func (m *Machine) rebuild() {
	n := len(m.services)
	m.starts, m.stops = newRankSet(n), newRankSet(n)
	m.byRank = make([]int32, n)
	m.extras, m.active = 0, 0
	for i := range m.services {
		s := &m.services[i]
		s.unsat, s.stuck, s.failed, s.waits, s.rivals, s.occupied, s.standing = 0, 0, 0, 0, 0, 0, 0
		s.clear(flagOccupied | flagActive)
		s.rank = int32(i)
		if i < m.graph.Len() {
			id := graph.ID(i)
			kind, _ := m.graph.Broken(id)
			s.rank = m.graph.Rank(id)
			s.put(flagBroken, kind != "")
			s.put(flagMissing, len(m.graph.Missing(id)) > 0)
			s.unsat = int32(len(m.graph.Requires(id)))
			for _, d := range m.graph.Binds(id) {
				if _, twice := slices.BinarySearch(m.graph.Requires(id), d); !twice {
					s.unsat++
				}
			}
			s.stuck = s.unsat
		}
		if len(s.extra) > 0 {
			m.extras++
		}
		m.byRank[s.rank] = int32(i)
	}
	for _, i := range m.byRank {
		m.refresh(i)
	}
	for _, i := range m.byRank {
		m.services[i].set(flagLost)
		m.wake(i)
		m.drain(i)
	}
}
