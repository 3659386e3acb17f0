package machine

import (
	"fmt"
	"reflect"

	"github.com/zinit/zinit/graph"
)

// verify compares everything that the machine keeps up to date bit by bit with what follows from the states alone.
func verify(m *Machine) error {
	active := int32(0)
	for i := range m.services {
		s := &m.services[i]
		if s.active() {
			active++
		}
		if err := verifyService(m, int32(i)); err != nil {
			return fmt.Errorf("%s (%s %s): %w", s.name, s.state, s.phase, err)
		}
	}
	if active != m.active {
		return fmt.Errorf("%d active services, counted %d", active, m.active)
	}
	if !m.restoring && m.starts.count+m.stops.count != 0 {
		return fmt.Errorf("work is left after a Step")
	}
	return verifyOccupied(m)
}

func verifyService(m *Machine, i int32) error {
	s := &m.services[i]
	if got := m.standingOf(s); got != s.standing && !m.restoring {
		return fmt.Errorf("standing %b, but the neighbours were told %b", got, s.standing)
	}
	if int(i) < m.graph.Len() {
		if err := verifyCounters(m, i); err != nil {
			return err
		}
	}
	life, restart := m.timers.at(i, timerLife), s.nextRestart
	probing := m.timers.at(i, timerProbe) != 0 || s.is(flagProbing) || m.timers.at(i, timerWatchdog) != 0
	switch s.state {
	case Inactive:
		if life != 0 || probing || s.is(flagDue) && !m.restoring && m.loaded {
			return fmt.Errorf("a deadline or a start is owed")
		}
	case Blocked:
		if !s.is(flagDue) || !s.is(flagWanted) || probing || (life != 0) != s.is(flagPortHeld) {
			return fmt.Errorf("blocked and not due, or a deadline without a port")
		}
		if m.Unmet(graph.ID(i)) == nil && !s.is(flagPortHeld|flagChecked) && s.phase != PhaseChecking && !m.restoring {
			return fmt.Errorf("blocked by nothing")
		}
	case Exited, Failed:
		if (life != 0) != (restart != 0) || life != restart || probing {
			return fmt.Errorf("life deadline %d, restart at %d, probing %t", life, restart, probing)
		}
		if s.is(flagDue) && !m.restoring && !(s.phase == PhaseDependents) {
			return fmt.Errorf("due and at rest")
		}
	case Starting:
		if s.pid == 0 && s.phase == PhaseUp && s.is(flagHadProcess) && s.spawnedAt == 0 {
			return fmt.Errorf("up without a process")
		}
	case Running:
		if life != 0 && !s.is(flagSelfStopping) || s.config.Target && probing {
			return fmt.Errorf("a deadline in running")
		}
	case Stopping:
		if probing {
			return fmt.Errorf("probes in stopping")
		}
		if (s.phase == PhaseDependents || s.phase == PhaseStuck || s.phase == PhaseAwaitSpawn && s.is(flagStuck)) != (life == 0) {
			return fmt.Errorf("deadline %d", life)
		}
	}
	if s.state != Exited && s.state != Failed && restart != 0 {
		return fmt.Errorf("a restart is pending")
	}
	return nil
}

func verifyCounters(m *Machine, i int32) error {
	s := &m.services[i]
	told := func(id graph.ID) graph.Standing { return m.services[id].standing &^ onItsWay }
	var unsat, stuck, failed, waits, rivals int32
	for r, list := range map[bool][]graph.ID{true: m.graph.Requires(graph.ID(i)), false: m.graph.Binds(graph.ID(i))} {
		for _, d := range list {
			if !r && contains(m.graph.Requires(graph.ID(i)), d) {
				continue
			}
			standing := m.services[d].standing
			unsat += one(standing&graph.Satisfied == 0)
			stuck += one(standing&(graph.Satisfied|onItsWay) == 0)
			failed += one(standing&graph.FailedForGood != 0)
		}
	}
	for _, d := range m.graph.After(graph.ID(i)) {
		waits += one(told(d)&graph.Pending != 0)
	}
	for _, d := range m.graph.Conflicts(graph.ID(i)) {
		rivals += one(told(d)&graph.Holds != 0)
	}
	if unsat != s.unsat || stuck != s.stuck || failed != s.failed || waits != s.waits || rivals != s.rivals {
		return fmt.Errorf("counters unsat %d stuck %d failed %d waits %d rivals %d, should be %d %d %d %d %d", s.unsat, s.stuck, s.failed,
			s.waits, s.rivals, unsat, stuck, failed, waits, rivals)
	}
	free := unsat+waits+rivals == 0 && !s.is(flagMissing)
	if can := len(graph.CanStart(m.graph, graph.ID(i), told)) == 0; can != free {
		return fmt.Errorf("counters say %t, graph.CanStart %t", free, can)
	}
	return nil
}

func one(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func contains(list []graph.ID, id graph.ID) bool {
	for _, d := range list {
		if d == id {
			return true
		}
	}
	return false
}

func verifyOccupied(m *Machine) error {
	count := make([]int32, len(m.services))
	for i := range m.services {
		s := &m.services[i]
		if there := s.active() || s.occupied > 0 && (m.shutting || !s.finished()); there != s.is(flagOccupied) {
			return fmt.Errorf("%s: counted with what it needs: %t, should be %t", s.name, s.is(flagOccupied), there)
		}
		if s.is(flagOccupied) {
			m.eachNeed(int32(i), func(d int32) { count[d]++ })
		}
	}
	for i := range m.services {
		if s := &m.services[i]; s.occupied != count[i] {
			return fmt.Errorf("%s: %d dependents, counted %d", s.name, count[i], s.occupied)
		}
	}
	return nil
}

// verifyDirty checks that whatever changed since the last call is among the dirty ones.
func verifyDirty(m *Machine, last map[string]Record) error {
	dirty := map[graph.ID]bool{}
	for _, id := range m.Dirty() {
		dirty[id] = true
	}
	for id := range graph.ID(m.Len()) {
		if m.Forgotten(id) {
			continue
		}
		r := m.Record(id)
		if before, ok := last[r.Name]; ok && !dirty[id] && !reflect.DeepEqual(before, r) {
			return fmt.Errorf("%s changed and is not dirty:\n%+v\n%+v", r.Name, before, r)
		}
		last[r.Name] = r
	}
	return nil
}
