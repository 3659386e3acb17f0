package machine

import "github.com/zinit/zinit/graph"

// Graph returns the present graph.
func (m *Machine) Graph() *graph.Graph { return m.graph }

// Len returns how many IDs there are: those of the graph and, behind them, services removed by a reload whose
// processes are still there, or of which Forgotten tells.
func (m *Machine) Len() int { return len(m.services) }

// Config returns the definition by which a service runs; that of a forgotten one stays, because actions of the Step that
// forgot it still name its ID.
func (m *Machine) Config(id graph.ID) *graph.Config { return m.services[id].config }

// Forgotten reports whether Forget was emitted for an ID: nothing is behind it any more. The next reload takes it away.
func (m *Machine) Forgotten(id graph.ID) bool { return m.services[id].is(flagForgotten) }

// Gone reports whether a service was removed by a reload (and waits for its processes to end, or is forgotten).
func (m *Machine) Gone(id graph.ID) bool { return m.services[id].is(flagGone) }

// ByGen returns the service whose present incarnation gen is.
func (m *Machine) ByGen(gen Gen) (graph.ID, bool) {
	i, ok := m.gens[gen]
	if !ok || m.services[i].gen != gen {
		return graph.None, false
	}
	return graph.ID(i), true
}

// Dirty returns the services whose Record or Info changed since ClearDirty, in no particular order. Valid until the
// next Step.
func (m *Machine) Dirty() []graph.ID { return m.dirty }

// ClearDirty forgets what changed: the journal has it.
func (m *Machine) ClearDirty() {
	for _, id := range m.dirty {
		m.services[id].clear(flagDirty)
	}
	m.dirty = m.dirty[:0]
}

// Standing returns what others may know of a service.
func (m *Machine) Standing(id graph.ID) graph.Standing {
	return m.standingOf(&m.services[id]) &^ onItsWay
}

// Unmet returns what keeps a service from starting now, nil = nothing. Ports are not among it: Info.Conflict.
func (m *Machine) Unmet(id graph.ID) []graph.Unmet {
	if int(id) >= m.graph.Len() {
		return nil
	}
	return graph.CanStart(m.graph, id, m.Standing)
}

// Halted reports whether Halt has been emitted.
func (m *Machine) Halted() bool { return m.halted }

// ShuttingDown reports whether a shutdown has begun.
func (m *Machine) ShuttingDown() bool { return m.shutting }

// Info returns what the outside may see of one service.
func (m *Machine) Info(id graph.ID) Info {
	s := &m.services[id]
	info := Info{
		State: s.state, Phase: s.phase, Gen: s.gen, PID: s.pid,
		WantedUp: s.is(flagWanted), Due: s.is(flagDue), HeldDown: s.is(flagHeld),
		Since: s.since, ReadyAt: s.readyAt, SpawnedAt: s.spawnedAt,
		Restarts: int(s.restarts), Backoff: s.delay(), NextRestart: s.nextRestart,
		LastExit: s.lastExit, Reason: s.reason, Conflict: s.conflict,
		Killed: s.killed, Unkillable: s.is(flagStuck), Leftovers: s.is(flagLeft), SelfStop: s.is(flagSelfStopping),
		Forgotten: s.is(flagForgotten), Checking: s.phase == PhaseChecking,
		OnItsWay: s.standing&onItsWay != 0,
		ForGood:  (s.state == Failed || s.state == Exited) && !s.is(flagDue) && s.nextRestart == 0,
		Probes:   int(s.probe.count), FailuresRow: int(s.probe.row), LastProbeOK: s.is(flagProbeOK),
		LastProbe: s.probe.detail, LastProbeAt: s.probe.lastAt,
	}
	if j := s.job; j != nil {
		info.Job, info.RunBegan, info.RunEnded, info.Queued = true, j.began, j.ended, int(j.queued)
		if info.InLine = j.waiting; j.waiting {
			info.Queued++
		}
		for k, at := range j.at {
			if at != 0 && !m.shutting && (info.NextRun == 0 || at < info.NextRun) {
				info.NextRun, info.NextJitter = at, m.jitter(s, &s.config.Schedules[k])
			}
		}
	}
	if s.state == Stopping {
		info.StopBy = m.timers.at(int32(id), timerLife)
		if s.is(flagResult) {
			info.Reason = s.result
		}
	}
	return info
}
