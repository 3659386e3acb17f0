package machine

import (
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
)

// RefuseReload returns why g must not replace the present graph now, nil = it may: two services that have processes
// would conflict.
func (m *Machine) RefuseReload(g *graph.Graph) []string {
	var reasons []string
	for id := range graph.ID(g.Len()) {
		if !m.up(g.Name(id)) {
			continue
		}
		for _, other := range g.Conflicts(id) {
			if other > id && m.up(g.Name(other)) {
				reasons = append(reasons, g.Name(id)+" and "+g.Name(other)+" are both running and would conflict")
			}
		}
	}
	return reasons
}

func (m *Machine) up(name string) bool {
	id, ok := m.graph.Lookup(name)
	return ok && (!m.services[id].idle() || m.services[id].state == Running)
}

// swap is what a reload knows of the services across the two graphs.
type swap struct {
	old, new   *graph.Graph
	before     []int32         // of each new service: its old index, -1 = added
	status     []graph.Status  // of each new service: its status key before
	wasBroken  []bool          // of each new service
	revived    []int32         // new indices of names whose removed predecessor is still stopping
	removed    []int32         // new indices (behind the graph) of what was removed now and has processes
	flipped    []int32         // new indices of services that became targets or the other way round
	orphans    []int32         // new indices of services with processes that need a removed name
	changed    []*graph.Change // by new index, nil = unchanged
	quiet      []string        // added names that are not to be started now
	indexOfOld []int32         // new index of each old one, -1 = forgotten
}

// reloadGraph swaps the graph. First everything gets its new place, then what must go down goes, then what is new starts.
func (m *Machine) reloadGraph(ev Reloaded) {
	if m.shutting {
		return // nothing starts any more, the old definitions stop what is left
	}
	w := m.place(ev.Graph)
	w.matchPlan(ev.Plan)
	m.install(w)
	m.moveJobs(w)
	m.rebuild()
	m.takeDown(w)
	m.takeUp(w)
	m.look()
	m.answerDue = true
}

// look goes over all in start order, so that each sees what those before it have become: a target that comes with the new
// definitions must not seem lost to those who bind it, and one whose requirement goes down must not be reached.
func (m *Machine) look() {
	for _, i := range m.byRank {
		s := &m.services[i]
		switch {
		case s.is(flagGone):
		case s.state == Running || s.state == Starting:
			m.dispatch(i, inDrain, nil)
		case s.is(flagDue) && s.idle() && s.target():
			m.dispatch(i, inWake, nil)
		}
	}
}

// place finds every new service's predecessor.
func (m *Machine) place(g *graph.Graph) *swap {
	n := g.Len()
	w := &swap{old: m.graph, new: g, before: make([]int32, n), status: make([]graph.Status, n), wasBroken: make([]bool, n),
		indexOfOld: make([]int32, len(m.services))}
	gone := map[string]int32{}
	for i := m.graph.Len(); i < len(m.services); i++ {
		if s := &m.services[i]; !s.is(flagForgotten) {
			gone[s.name] = int32(i)
		}
	}
	for i := range w.indexOfOld {
		w.indexOfOld[i] = -1
	}
	for id := range graph.ID(n) {
		var old int32
		var ok bool
		if prior, found := m.graph.Lookup(g.Name(id)); found {
			old, ok = int32(prior), true
			w.status[id] = m.graph.Config(prior).Status
		} else if old, ok = gone[g.Name(id)]; ok {
			w.revived = append(w.revived, int32(id))
			w.status[id] = m.services[old].config.Status
		}
		if !ok {
			w.before[id] = -1
			continue
		}
		w.before[id], w.indexOfOld[old] = old, int32(id)
		w.wasBroken[id] = m.services[old].is(flagBroken)
	}
	return w
}

func (w *swap) matchPlan(plan *graph.Plan) {
	w.changed = make([]*graph.Change, w.new.Len())
	if plan == nil {
		return
	}
	w.quiet = plan.Quiet
	for i := range plan.Changed {
		if id, ok := w.new.Lookup(plan.Changed[i].Name); ok {
			w.changed[id] = &plan.Changed[i]
		}
	}
}

// install moves services, deadlines, requests and everything else that knows an index to their new places.
func (m *Machine) install(w *swap) {
	old := m.services
	m.services = make([]service, w.new.Len(), w.new.Len()+8)
	for id := range graph.ID(w.new.Len()) {
		s := &m.services[id]
		config, b := w.new.Config(id), w.before[id]
		if b < 0 {
			s.seldom = &seldom{}
			s.define(config)
			continue
		}
		*s = old[b]
		kind, _ := w.new.Broken(id)
		switch flips := s.target() != config.Target; {
		case (flips || kind != "") && !s.idle():
			continue // its processes end by the old definition
		case flips:
			w.flipped = append(w.flipped, int32(id))
		}
		s.define(config)
	}
	for i := range old {
		if w.indexOfOld[i] >= 0 || old[i].is(flagForgotten) {
			continue
		}
		if i < w.old.Len() && (old[i].idle() && !(old[i].finished() && old[i].remains()) || old[i].target()) {
			m.say(Forget{Name: old[i].name})
			continue
		}
		w.indexOfOld[i] = int32(len(m.services))
		if i < w.old.Len() {
			w.removed = append(w.removed, w.indexOfOld[i])
		}
		m.services = append(m.services, old[i])
	}
	m.moveEdges(w, old)
	m.graph = w.new
	m.moveTimers(w)
	m.moveIndices(w)
}

// moveEdges keeps edges that the new graph no longer has but that still order stops: those of a removed service to what it
// needed, and those of a survivor that still names a removed one.
func (m *Machine) moveEdges(w *swap, old []service) {
	for i := range old {
		to := w.indexOfOld[i]
		if to < 0 {
			continue
		}
		var extra []int32
		keep := func(d int32) {
			if d = w.indexOfOld[d]; d >= 0 && d != to {
				extra = append(extra, d)
			}
		}
		for _, d := range old[i].extra {
			keep(d)
		}
		if int(to) >= w.new.Len() && i < w.old.Len() {
			for _, d := range w.old.Requires(graph.ID(i)) {
				keep(int32(d))
			}
			for _, d := range w.old.Binds(graph.ID(i)) {
				keep(int32(d))
			}
		}
		m.services[to].extra = extra
	}
	for id := range graph.ID(w.new.Len()) {
		s := &m.services[id]
		for _, name := range w.new.Missing(id) {
			prior, existed := w.old.Lookup(name)
			if !existed || w.before[id] < 0 || s.idle() {
				continue
			}
			w.orphans = append(w.orphans, int32(id))
			if to := w.indexOfOld[prior]; to >= 0 {
				s.extra = append(s.extra, to)
			}
		}
	}
	w.orphans = slices.Compact(w.orphans)
}

func (m *Machine) moveTimers(w *swap) {
	armed := m.timers.heap
	m.timers = newTimers(len(m.services))
	for _, t := range armed {
		if i := w.indexOfOld[t.key/int32(nTimers)]; i >= 0 {
			m.timers.arm(i, timerKind(t.key%int32(nTimers)), t.at)
		}
	}
}

func (m *Machine) moveIndices(w *swap) {
	m.gens = make(map[Gen]int32, len(m.services))
	m.dirty = m.dirty[:0]
	m.held = m.held[:0]
	for i := range m.services {
		s := &m.services[i]
		s.mark, s.wokenBy, s.wokenFor = 0, int32(i), CauseReload
		if s.gen != 0 {
			m.gens[s.gen] = int32(i)
		}
		if s.is(flagDirty) {
			m.dirty = append(m.dirty, graph.ID(i))
		}
		if s.is(flagPortHeld) {
			m.held = append(m.held, int32(i))
		}
	}
	m.stamp = 0
	for at := range m.requests {
		if r := &m.requests[at]; r.service >= 0 {
			r.service = w.indexOfOld[r.service]
		}
	}
}

// takeDown restarts and removes what the plan says, with what depends on it.
func (m *Machine) takeDown(w *swap) {
	for _, i := range w.flipped {
		m.flip(i)
		m.refresh(i)
	}
	for _, i := range w.removed {
		m.cascadeFor(i, CauseReload)
		m.dispatch(i, inRemoved, nil)
	}
	for _, i := range w.orphans {
		m.cascadeFor(i, CauseReload)
		m.dispatch(i, inDown, downBy{CauseReload, m.graph.Missing(graph.ID(i))[0]})
	}
	for i, change := range w.changed {
		if change != nil && change.Restart && w.before[i] >= 0 {
			m.dispatch(int32(i), inCycle, command{CauseReload, rootOf(change.Because)})
		}
	}
}

// rootOf returns the name in a plan's reason: "requires db, exec changed" -> "db".
func rootOf(because string) string {
	_, rest, _ := strings.Cut(because, " ")
	name, _, _ := strings.Cut(rest, ",")
	name, _, _ = strings.Cut(name, " ")
	return name
}

// takeUp applies changed definitions to what lives, status keys where they changed, and starts what is new.
func (m *Machine) takeUp(w *swap) {
	for i, change := range w.changed {
		if change != nil && len(change.Fields) > 0 && w.before[i] >= 0 {
			m.dispatch(int32(i), inChanged, changedKeys(change.Fields))
			if s := &m.services[i]; s.state == Inactive && s.job == nil && s.is(flagWanted) && !s.is(flagDue|flagBroken) && !s.has(traitIgnored) {
				m.owed(int32(i), CauseReload, "") // it was a job
			}
		}
	}
	for _, i := range w.revived {
		m.revive(i, slices.Contains(w.quiet, m.services[i].name))
	}
	for id := range w.before {
		i, s := int32(id), &m.services[id]
		switch {
		case !m.loaded:
		case w.before[id] < 0, w.wasBroken[id] && !s.is(flagBroken):
			m.appear(i, slices.Contains(w.quiet, s.name))
		case w.status[id] != m.status(i) && !s.is(flagBroken) && !w.wasBroken[id]:
			m.turn(i)
		}
	}
}

// appear gives a new service (or one whose definition was broken so far) what its status says; a quiet one waits for an
// explicit start.
func (m *Machine) appear(i int32, quiet bool) {
	s := &m.services[i]
	switch {
	case s.is(flagBroken):
		s.set(flagWanted)
		m.dispatch(i, inLoad, nil)
	case m.status(i) == graph.StatusStart && !quiet:
		m.startFor(i)
	default:
		held := s.is(flagHeld)
		m.dispatch(i, inStop, command{CauseReload, ""})
		m.dropQueue(i, "it is stopped")
		s.put(flagHeld, held)
	}
}

// startFor starts what a reload wants up; a job runs when it is due.
func (m *Machine) startFor(i int32) {
	m.pullIn(i, false)
	if m.services[i].job != nil {
		m.wantJob(i)
		return
	}
	m.dispatch(i, inStart, command{CauseReload, ""})
}

// status is the key as the present graph has it: the definition itself may have to wait for the processes of the old one.
func (m *Machine) status(i int32) graph.Status { return m.graph.Config(graph.ID(i)).Status }

// turn applies a status key that changed. status = ignore leaves a process alone.
func (m *Machine) turn(i int32) {
	s := &m.services[i]
	switch m.status(i) {
	case graph.StatusStart:
		if !s.is(flagWanted) {
			m.startFor(i)
		}
	case graph.StatusIgnore:
		if !s.idle() {
			return
		}
		fallthrough
	default:
		held := s.is(flagHeld)
		m.dispatch(i, inStop, command{CauseReload, ""})
		m.dropQueue(i, "it is stopped")
		s.put(flagHeld, held)
	}
}

// revive: a name comes back while the removed service is still stopping: it goes on as that one and starts, by its new
// definition, once gone.
func (m *Machine) revive(i int32, quiet bool) {
	s := &m.services[i]
	s.clear(flagGone | flagHeld)
	s.forgetCounts()
	m.touch(i)
	if m.status(i) == graph.StatusStart && !quiet && !s.is(flagBroken) {
		m.pullIn(i, false)
		s.set(flagWanted | flagKillOthers)
		if len(m.graph.Config(graph.ID(i)).Schedules) == 0 {
			s.owe(CauseReload, "")
		}
	}
	m.refresh(i)
}

// flip makes a service without processes a target, or a target a service: it starts anew as what it is now.
func (m *Machine) flip(i int32) {
	s := &m.services[i]
	m.cancelRestart(i)
	if s.is(flagPortHeld) {
		m.releasePort(i)
	}
	s.clear(flagDone | flagHadProcess | flagChecked | flagClaim)
	s.readyAt = 0
	m.dropGen(i)
	switch {
	case s.state == Running:
		m.setState(i, Inactive, CauseReload, "")
	case s.phase == PhaseChecking, s.phase == PhaseDependents:
		s.phase = PhaseNone
	}
	if s.is(flagWanted) && !s.is(flagBroken) && s.job == nil {
		m.owed(i, CauseReload, "")
	}
	m.touch(i)
}

// dropGen ends an incarnation without beginning the next: a target has none.
func (m *Machine) dropGen(i int32) {
	s := &m.services[i]
	delete(m.gens, s.gen)
	s.gen = 0
	s.probe, s.watchdog, s.stopAt, s.result, s.conflict, s.portDelay = probeState{}, 0, 0, Reason{}, nil, 0
}

// adoptConfig lets a definition count that had to wait for the processes of the old one.
func (m *Machine) adoptConfig(i int32) {
	if s := &m.services[i]; int(i) < m.graph.Len() && s.config != m.graph.Config(graph.ID(i)) {
		before := s.config.Schedules
		s.define(m.graph.Config(graph.ID(i)))
		m.adoptJob(i, before)
		m.listJobs()
		m.dropGen(i)
	}
}

// onRemovedIdle: nothing to wait for. (install has left it out already, unless it became idle since.)
func (m *Machine) onRemovedIdle(i int32, _ any) { m.forget(i) }

func (m *Machine) onRemovedUp(i int32, _ any) {
	m.goneFrom(i)
	m.beginStop(i, CauseReload, "")
}

func (m *Machine) onRemovedExited(i int32, _ any) { m.onRemovedUp(i, nil) }

func (m *Machine) onRemovedStopping(i int32, _ any) {
	m.goneFrom(i)
	if m.services[i].is(flagStuck) {
		m.unkillable(i)
	}
}

func (m *Machine) goneFrom(i int32) {
	s := &m.services[i]
	s.set(flagGone | flagOutdated)
	s.clear(flagWanted | flagDue | flagClaim | flagForDep)
	if s.job != nil {
		s.job.waiting, s.job.queued = false, 0
		clear(s.job.at)
	}
	m.touch(i)
}

// forget drops a removed service whose processes are gone.
func (m *Machine) forget(i int32) {
	s := &m.services[i]
	m.quiet(i)
	m.cancelRestart(i)
	if s.is(flagPortHeld) {
		m.releasePort(i)
	}
	delete(m.gens, s.gen)
	s.set(flagGone | flagForgotten)
	m.answerDue = m.answerDue || s.waiters > 0
	m.touch(i)
	m.say(Forget{Name: s.name})
}

// changedKeys are the keys of a definition that a reload changed.
type changedKeys []string

// onChangedEnded: failed or exited for good, or waiting for a restart: a changed definition is tried at once.
func (m *Machine) onChangedEnded(i int32, _ any) {
	s := &m.services[i]
	if s.phase == PhaseDependents && !s.finished() {
		m.noLongerFinished(i)
		return
	}
	if s.is(flagWanted) && !s.is(flagDue|flagBroken) && !s.finished() && !s.has(traitIgnored) && s.job == nil {
		m.owed(i, CauseReload, "")
	}
}

// onChangedStopping: the new definition counts at the next start; with an end of its own carried it is tried at once after
// that, as if the reload had come an instant later.
func (m *Machine) onChangedStopping(i int32, _ any) {
	s := &m.services[i]
	if s.is(flagWanted) && s.is(flagResult) && !s.is(flagDue|flagBroken) && m.status(i) != graph.StatusIgnore && s.job == nil {
		s.set(flagKillOthers)
		s.forgetCounts()
		s.owe(CauseReload, "")
		m.touch(i)
	}
}

// noLongerFinished: a finished oneshot that was to go down after its dependents is no oneshot any more: it has nothing to
// wait for.
func (m *Machine) noLongerFinished(i int32) {
	s := &m.services[i]
	s.phase = PhaseNone
	m.touch(i)
	if !s.is(flagWanted) {
		m.rest(i, CauseReload)
	}
	m.wake(i)
}

func (m *Machine) onChangedRunning(i int32, ev any) {
	s := &m.services[i]
	if s.target() || !slices.Contains(ev.(changedKeys), "health") {
		return
	}
	m.dropProbe(i)
	m.probeNext(i)
}

func (m *Machine) onChangedStarting(i int32, ev any) {
	s := &m.services[i]
	if s.unanswered() || s.oneshot() || !slices.Contains(ev.(changedKeys), "health") {
		return
	}
	m.dropProbe(i)
	if s.readyAtOnce() {
		m.ready(i, CauseReload)
	} else if s.probedReady() {
		m.probeSoon(i)
	}
}

// dropProbe forgets what the old check found.
func (m *Machine) dropProbe(i int32) {
	s := &m.services[i]
	m.disarm(i, timerProbe)
	if s.is(flagProbing) {
		s.clear(flagProbing)
		m.do(CancelProbe{Gen: s.gen})
	}
	s.probe.delay, s.probe.row, s.probe.sentAt = 0, 0, 0
	m.touch(i)
}
