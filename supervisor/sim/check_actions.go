package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// bitsOf makes a set of states.
func bitsOf(states ...machine.State) (set uint8) {
	for _, s := range states {
		set |= 1 << s
	}
	return set
}

// allowed is the table of docs/design/states.md 3: to which states a state may lead.
var allowed = [...]uint8{
	machine.Inactive: bitsOf(machine.Starting, machine.Blocked, machine.Running, machine.Failed),
	machine.Blocked:  bitsOf(machine.Starting, machine.Running, machine.Inactive, machine.Failed),
	machine.Starting: bitsOf(machine.Running, machine.Failed, machine.Exited, machine.Stopping, machine.Blocked),
	machine.Running:  bitsOf(machine.Exited, machine.Failed, machine.Stopping, machine.Blocked, machine.Inactive),
	machine.Stopping: bitsOf(machine.Exited, machine.Blocked, machine.Failed, machine.Inactive, machine.Starting, machine.Running),
	machine.Exited:   bitsOf(machine.Starting, machine.Blocked, machine.Inactive, machine.Failed, machine.Stopping),
	machine.Failed:   bitsOf(machine.Starting, machine.Blocked, machine.Inactive, machine.Running),
}

// note judges one transition: I6, and what each state asks for.
func (c *checker) note(s *service, a machine.Note) {
	b := &s.book
	switch {
	case a.From != b.state:
		c.failf("I6", s, "a note from "+a.From.String()+" although it is "+b.state.String())
	case allowed[a.From]&(1<<a.To) == 0:
		c.failf("I6", s, "from "+a.From.String()+" to "+a.To.String())
	}
	if c.w.failure != nil {
		return
	}
	b.state = a.To
	if a.To == machine.Failed {
		c.failed[s] = true
	}
	if a.From == machine.Running {
		c.w.proc(b.gen).leftAt = c.w.now
	}
	target := s.config != nil && s.config.Target || a.From == machine.Running && b.reached
	switch a.To {
	case machine.Starting:
		if a.From == machine.Stopping { // the stop was taken back
			b.asked, b.warrant = false, 0
		}
	case machine.Running:
		c.becomesRunning(s, a, target)
	case machine.Stopping:
		c.becomesStopping(s, a)
	case machine.Blocked, machine.Inactive, machine.Exited, machine.Failed:
		if !target {
			c.leavesProcess(s, a)
		} else if a.From == machine.Running && b.wish == wishUp && !c.shutting {
			b.warrant |= byReturn // that it lost a requirement is seen when it is blocked
		}
	}
}

// becomesRunning: a target has what it requires, a service has said that it is ready (docs/design/process.md, Ready).
func (c *checker) becomesRunning(s *service, a machine.Note, target bool) {
	b := &s.book
	p := c.w.proc(b.gen)
	switch {
	case target:
		c.spawned = append(c.spawned, s)
		b.warrant, b.asked, b.reached = 0, false, true
		if b.wish == wishDown {
			c.failf("I10", s, "a target is reached that is wanted down")
		}
	case a.From == machine.Stopping && b.stopGen == p.gen && b.stopLife == c.w.life:
		c.failf("I11", s, "a stop is taken back after its signal")
	case a.From == machine.Stopping && p.outdated:
		c.failf("I15", s, "a stop is taken back although a reload asked for it")
	case a.From == machine.Stopping:
		b.asked, b.warrant = false, 0
	case p.implied && p.toldAt == c.w.now: // for an instant, between two notes
	case p.heard&heardSpawn == 0 || p.heard&heardExit != 0 && p.config.PIDFile == "": // else it names another one
		c.failf("I6", s, "runs without a process that was told of")
	case p.config != s.config || !s.present:
	case p.config.Oneshot:
		c.failf("I6", s, "a oneshot never is running")
	case p.config.Ready.Kind != graph.ReadyNone && p.heard&heardReady == 0:
		c.failf("I6", s, "runs and has not said that it is ready")
	case p.config.Ready.Kind == graph.ReadyNone && p.config.Health != nil && p.heard&heardPass == 0:
		c.failf("I6", s, "runs without a health check that passed")
	}
	p.readyAt = c.w.now
	if a.From != machine.Stopping {
		b.sick = 0
	}
}

// leavesProcess: a state without a process is entered only when nothing of the tree is left; a oneshot that is done may
// leave processes.
func (c *checker) leavesProcess(s *service, a machine.Note) {
	b := &s.book
	p := c.w.proc(b.gen)
	if a.From != machine.Starting && a.From != machine.Running && a.From != machine.Stopping {
		return
	}
	b.ended = true
	if a.From == machine.Stopping && b.done && (b.begun || !c.asking) {
		b.done = false // it was finished, and has gone down
	}
	c.judgeRun(s)
	c.restartAtOnce(s, a.To)
	if p.stage == stageNever && p.heard&heardFail != 0 || a.From == machine.Stopping && s.unkillable(c.w.now) {
		return
	}
	oneshotDone := a.To == machine.Exited && p.config.Oneshot && p.heard&heardExit != 0 && (a.From == machine.Starting || b.done)
	if p.heard&heardEmpty == 0 && !oneshotDone && p.stage != stageNever {
		c.failf("I11", s, "becomes "+a.To.String()+" while processes are left")
	}
}

// becomesStopping: nothing is stopped without a reason. What is bound may be lost only later in the Step.
func (c *checker) becomesStopping(s *service, a machine.Note) {
	b := &s.book
	b.begun = false
	c.w.proc(b.gen).extendedTo = 0
	p := c.w.proc(b.gen)
	// by itself: others of its tree are left, it was not ready in time, its checks failed, it has not ended as announced
	b.alone = p.heard&heardExit != 0 && a.From != machine.Exited || a.From == machine.Starting && c.startDeadline(s, p) || c.unhealthy(s) ||
		p.endsBy > 0 && c.w.now >= p.endsBy
	explained := b.asked || b.wish != wishUp || c.shutting || !s.present || b.alone
	c.stopped = append(c.stopped, stopping{s, explained})
}

// startDeadline reports whether the start deadline has passed: docs/design/process.md, Health. A reload may have changed it meanwhile.
func (c *checker) startDeadline(s *service, p *process) bool {
	if p.heard&heardExit != 0 || c.w.now < p.extendedTo {
		return false
	}
	for _, config := range [...]*graph.Config{s.config, p.config} {
		if limit := startLimit(config); limit > 0 && c.w.now >= p.asked+limit {
			return true
		}
	}
	return false
}

// startLimit is how long a start may take, 0 = for ever.
func startLimit(config *graph.Config) Time {
	limit := Time(config.Lifecycle.StartTimeout)
	if limit == 0 {
		return 0
	}
	if h := config.Health; h != nil {
		limit = max(limit, Time(h.StartPeriod+h.Timeout)+5*second)
	}
	return limit + Time(config.PreStart.Timeout)
}

// unhealthy reports whether enough checks in a row failed, or the watchdog was not fed.
func (c *checker) unhealthy(s *service) bool {
	if c.w.proc(s.book.gen).endsBy > 0 {
		return false // neither counts any more
	}
	if h := s.config.Health; h != nil && s.book.sick >= h.Retries {
		return true
	}
	p := c.w.proc(s.book.gen)
	dog := p.pingEvery()
	return p.triggered || dog > 0 && c.w.now >= s.book.pinged+dog
}

// bindsBroken reports whether s, or something that it requires or binds directly or through others, lost what it binds.
func (c *checker) bindsBroken(s *service, seen map[*service]bool) bool {
	if seen[s] || !s.present {
		return false
	}
	seen[s] = true
	if c.w.bindLost(s) {
		return true
	}
	found := false
	c.w.hard(s, func(d *service) bool {
		if !d.satisfied() || !d.config.Oneshot || d.tree() { // a finished oneshot passes nothing on
			found = c.bindsBroken(d, seen)
		}
		return !found
	})
	return found
}

// newGen judges the incarnation number of a Precheck or Spawn: I1.
func (c *checker) newGen(s *service, gen Gen) {
	if gen <= c.lastGen {
		c.failf("I1", s, "an incarnation number is used again")
	}
	c.lastGen = gen
	s.book.gen = gen
}

// mayStart judges what a Precheck and a Spawn have in common: I1, I10.
func (c *checker) mayStart(s *service) {
	b := &s.book
	switch {
	case !s.present:
		c.failf("I10", s, "is started although it was removed")
	case b.wish == wishDown:
		c.failf("I10", s, "is started although it is wanted down")
	case c.shutting:
		c.failf("I10", s, "is started during a shutdown")
	case s.config.Target || c.w.broken(s):
		c.failf("I10", s, "is started although it is a target or broken")
	case b.warrant == 0:
		c.failf("I10", s, "is started although no start is owed")
	case b.warrant == byRestart && c.w.now < b.notBefore:
		c.failf("I9", s, "is restarted before its delay has passed")
	}
}

func (c *checker) precheck(s *service, a machine.Precheck) {
	c.newGen(s, a.Gen)
	c.mayStart(s)
	if p := s.cur.busy(); p != nil && (p.main || p.stage == stageRequested) {
		c.failf("I1", s, "is prechecked while a process of it lives")
	}
	if len(s.config.Ports)+len(s.config.ProcessFilters) == 0 {
		c.failf("I1", s, "is prechecked without a port or filter")
	}
	c.w.attempt(s, a.Gen)
}

// spawn judges a Spawn at its place: I1 to I4, I9, I10, I16.
func (c *checker) spawn(s *service, gen Gen) {
	b := &s.book
	if b.gen != gen || b.checked != gen {
		c.newGen(s, gen)
		if s.present && len(s.config.Ports) > 0 && b.wish == wishUp {
			c.failf("I12", s, "is spawned before its ports were found free")
		}
	}
	c.mayStart(s)
	if p := s.cur.busy(); p != nil {
		c.failf("I1", s, "is spawned while a process of it lives or may come")
	}
	if c.w.failure != nil {
		return
	}
	c.checkRequires(s, "at its place")
	c.checkAfter(s)
	c.checkConflicts(s)
	b.spawned, b.warrant, b.done, b.asked, b.sick, b.spawning, b.reached = gen, 0, false, false, 0, true, false
	c.spawned = append(c.spawned, s)
	c.w.attempt(s, gen)
	p := c.w.proc(gen)
	if s.job != nil {
		s.job.spawned = true
	}
	p.asked, p.config = c.w.now, s.config // a reload may have come since the Precheck
}

// checkRequires is I2, for a spawn and for a target that is reached.
func (c *checker) checkRequires(s *service, when string) {
	if !s.present || c.shutting || !s.active() {
		return
	}
	if c.w.missing(s) {
		c.failf("I2", s, "is started although a required name does not exist")
	}
	c.w.hard(s, func(d *service) bool {
		if !d.satisfied() {
			c.failf("I2", s, "is started although "+d.name+", which it requires, is "+d.book.state.String()+" "+when)
		}
		return c.w.failure == nil
	})
}

// checkAfter is I3: what s comes after and is on its way has been attempted, a oneshot has exited.
func (c *checker) checkAfter(s *service) {
	for _, id := range c.w.g.After(s.id) {
		d := c.w.byID[id]
		if c.onItsWay(d, 0) {
			c.failf("I3", s, "is started before "+d.name+", which is on its way")
		}
	}
}

// onItsWay reports whether the start of d is certain to be attempted without anybody's doing: what `after` waits for. It
// leaves out what the specification leaves open.
func (c *checker) onItsWay(d *service, depth int) bool {
	b := &d.book
	if d.job != nil && c.reruns {
		return false // it may have been put on its way later in this Step
	}
	if b.wish != wishUp || d.config.Status == graph.StatusIgnore || c.w.missing(d) || c.w.broken(d) || depth > len(c.w.byID) {
		return false
	}
	switch b.state {
	case machine.Starting:
		return d.config.Oneshot && depth == 0 && !b.asked
	case machine.Inactive, machine.Blocked:
	default:
		return false
	}
	if b.warrant&byWish == 0 || len(d.config.Ports)+len(d.config.ProcessFilters) > 0 || len(c.w.g.Conflicts(d.id)) > 0 {
		return false
	}
	certain := true
	c.w.hard(d, func(e *service) bool {
		starting := e.book.state == machine.Starting && e.book.wish == wishUp && !e.book.asked
		certain = e.satisfied() && !c.goingDown(e) || starting || c.onItsWay(e, depth+1)
		return certain
	})
	return certain
}

// checkConflicts is I4 at the spawn.
func (c *checker) checkConflicts(s *service) {
	for _, id := range c.w.g.Conflicts(s.id) {
		d := c.w.byID[id]
		if d.active() || d.cur.busy() != nil {
			c.failf("I4", s, "is started beside "+d.name+", with which it conflicts")
		}
	}
}
