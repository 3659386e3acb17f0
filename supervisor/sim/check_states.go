package sim

import (
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// manyServices is from where on only the services that a Step touched are looked at, and all of them now and then.
const manyServices = 24

// states compares what the machine says of each service with the book at the end of a Step.
func (c *checker) states() {
	w := c.w
	for _, s := range w.byID {
		c.decideWish(s)
	}
	if len(w.byID) <= manyServices || w.steps%128 == 0 {
		for _, s := range w.byID {
			c.checkState(s)
		}
	} else {
		for _, id := range w.m.Dirty() {
			if int(id) < len(w.byID) {
				c.checkState(w.byID[id])
			}
		}
	}
	for _, s := range w.services {
		s.book.ended, s.book.spawning = false, false
	}
}

// decideWish: where the specification leaves open what is wanted, the machine has decided, and is held to it.
func (c *checker) decideWish(s *service) {
	b := &s.book
	if b.wish != wishEither {
		return
	}
	info := c.w.m.Info(s.id)
	b.held = info.HeldDown
	if b.wish = wishDown; info.WantedUp {
		b.wish = wishUp
	} else {
		b.warrant = 0
	}
}

func (c *checker) checkState(s *service) {
	w, b := c.w, &s.book
	if w.failure != nil {
		return
	}
	info := w.m.Info(s.id)
	switch {
	case info.State != b.state:
		c.failf("I6", s, "is "+info.State.String()+" and was noted as "+b.state.String())
	case b.gen != 0 && info.Gen != b.gen && info.Gen != 0: // 0: a reload made it a target, and back
		c.failf("I1", s, "has incarnation "+gen(info.Gen)+", the last attempt is "+gen(b.gen))
	}
	c.checkWish(s, &info)
	if !c.resuming {
		c.checkDue(s, &info)
	}
	c.checkProcess(s, &info)
	c.checkRestart(s, &info)
	c.checkReason(s, &info)
	b.info = info
}

func gen(g Gen) string { return strconv.FormatUint(uint64(g), 10) }

// checkWish compares what is wanted, and what follows from it at once.
func (c *checker) checkWish(s *service, info *machine.Info) {
	b := &s.book
	if c.w.broken(s) { // nothing can be wanted of it
		b.held = info.HeldDown
		return
	}
	switch {
	case info.WantedUp != (b.wish == wishUp):
		c.failf("I10", s, "what is wanted of it is not what was asked for: wanted up is "+strconv.FormatBool(info.WantedUp))
	case info.HeldDown != b.held:
		c.failf("I10", s, "held down is "+strconv.FormatBool(info.HeldDown))
	case info.Phase == machine.PhaseDependents && b.wish == wishUp && !b.asked && !c.shutting:
		c.failf("I11", s, "waits to go down although nobody asked")
	case s.config.Target, b.wish == wishUp:
	case b.state == machine.Starting || b.state == machine.Running:
		c.failf("I11", s, "is wanted down and "+b.state.String())
	case b.state == machine.Blocked:
		c.failf("I12", s, "is wanted down and blocked")
	}
}

// checkDue is I12: whoever is due and can start, starts; whoever is due and cannot is blocked and says why.
func (c *checker) checkDue(s *service, info *machine.Info) {
	b := &s.book
	idle := b.state == machine.Inactive || b.state == machine.Exited || b.state == machine.Failed
	switch {
	case info.Due && idle && !c.awaitsDependents(s):
		c.failf("I12", s, "a start is owed and it is "+b.state.String())
	case info.Due && b.warrant == 0 && (idle || b.state == machine.Blocked):
		c.failf("I10", s, "a start is owed for no reason")
	case c.shutting && b.state == machine.Blocked:
		c.failf("L3", s, "is blocked during a shutdown")
	case b.state == machine.Blocked:
		c.checkBlocked(s, info)
	}
}

// awaitsDependents: a finished oneshot that is to run again waits until what depends on it, perhaps by edges of an earlier
// configuration, is gone. That it does not wait for ever is L1.
func (c *checker) awaitsDependents(s *service) bool {
	if s.book.state != machine.Exited || c.w.m.Info(s.id).Phase != machine.PhaseDependents {
		return false
	}
	for _, d := range c.w.services {
		if d != s && d.active() {
			return true
		}
	}
	return false
}

// checkBlocked is I12: it is due, has no process, and Unmet names exactly what is unmet.
func (c *checker) checkBlocked(s *service, info *machine.Info) {
	w := c.w
	if !info.Due {
		c.failf("I12", s, "is blocked and no start is owed")
		return
	}
	if p := s.cur.busy(); p != nil && p.heard&(heardEmpty|heardFail) == 0 {
		c.failf("I12", s, "is blocked and has a process")
		return
	}
	unmet := w.m.Unmet(s.id)
	if len(unmet) == 0 && info.Conflict == nil && !info.Checking {
		c.failf("I12", s, "is blocked for no reason")
	}
	named := 0
	for i := range unmet {
		c.checkUnmet(s, &unmet[i])
		if unmet[i].Kind <= graph.KindBinds && unmet[i].On != graph.None {
			named++
		}
	}
	c.countUnmet(s, named)
}

// checkUnmet: what is named is unmet.
func (c *checker) checkUnmet(s *service, u *graph.Unmet) {
	if u.On == graph.None {
		if _, ok := c.w.g.Lookup(u.Name); ok {
			c.failf("I12", s, "says that "+u.Name+" is missing")
		} else if !c.resuming {
			c.failf("I12", s, "is blocked for "+u.Name+", which does not exist, and not failed")
		}
		return
	}
	d := c.w.byID[u.On]
	switch u.Kind {
	case graph.KindRequires, graph.KindBinds:
		if d.satisfied() && !c.goingDown(d) {
			c.failf("I12", s, "waits for "+d.name+", which is satisfied")
		}
		if u.Failed {
			c.failf("I12", s, "waits for "+d.name+", which failed for good")
		}
	case graph.KindAfter:
		if !c.mayCome(d) {
			c.failf("I12", s, "waits for its turn after "+d.name+", which is not on its way")
		}
	case graph.KindConflicts:
		if !c.mayHold(d) {
			c.failf("I12", s, "waits for "+d.name+", which holds no conflict")
		}
	}
}

// countUnmet: everything that is required and not satisfied is named.
func (c *checker) countUnmet(s *service, named int) {
	count := 0
	seen := map[*service]bool{}
	c.w.hard(s, func(d *service) bool {
		if !seen[d] && (!d.satisfied() || c.goingDown(d)) {
			count++
		}
		seen[d] = true
		return true
	})
	if count != named {
		c.failf("I12", s, "names "+strconv.Itoa(named)+" unmet requirements of "+strconv.Itoa(count))
	}
}

// goingDown: a target or a finished oneshot that waits for its dependents before it goes down is satisfied no more. Which
// ones do is the machine's word: a start may have taken it back.
func (c *checker) goingDown(d *service) bool {
	return c.w.m.Info(d.id).Phase == machine.PhaseDependents
}

// mayCome reports whether d may be on its way: wanted up, and a start is owed or a oneshot not over.
func (c *checker) mayCome(d *service) bool {
	b := &d.book
	if c.w.broken(d) && b.state == machine.Stopping {
		return true // what it can be is seen when its old process is gone
	}
	if b.wish != wishUp || d.config.Status == graph.StatusIgnore {
		return false
	}
	switch b.state {
	case machine.Starting, machine.Stopping:
		return d.config.Oneshot || b.state == machine.Stopping
	case machine.Running:
		return d.config.Target && b.asked
	}
	return c.w.m.Info(d.id).Due
}

// mayHold reports whether d may hold a conflict.
func (c *checker) mayHold(d *service) bool {
	if d.active() || d.cur != nil && d.cur.heard&heardExit != 0 && d.cur.heard&heardEmpty == 0 {
		return true
	}
	info := c.w.m.Info(d.id)
	return info.NextRestart != 0 || info.Due || info.Checking
}

// checkProcess compares process and state.
func (c *checker) checkProcess(s *service, info *machine.Info) {
	b := &s.book
	if s.config.Target || b.spawned == 0 || b.gen != b.spawned || c.resuming {
		return
	}
	p := c.w.proc(b.gen)
	switch b.state {
	case machine.Running, machine.Starting:
		if !c.shutting && c.w.bindLost(s) {
			c.failf("I2", s, "is "+b.state.String()+" although something that it binds is not satisfied")
		}
		if p.heard&(heardEmpty|heardFail|heardExit) != 0 && !c.daemonTook(s, p) {
			c.failf("I7", s, "is "+b.state.String()+" although its process was told to be gone")
		}
	case machine.Stopping:
		if p.heard&(heardEmpty|heardFail) != 0 && len(s.config.PostStop.Command.Line) == 0 && p.config.PostStop.Command.Line == "" {
			c.failf("I7", s, "is stopping although its tree was told to be gone")
		}
	}
	if info.Unkillable && !s.unkillable(c.w.now) && !c.forced {
		c.failf("I11", s, "is called unkillable")
	}
}

// daemonTook: the main process exited 0 soon after its start, or named another, and one of its tree goes on.
func (c *checker) daemonTook(s *service, p *process) bool {
	return p.heard&heardExit != 0 && p.heard&heardEmpty == 0 && c.w.m.Info(s.id).PID == p.kidPID && p.kidPID != 0
}

// checkReason: a failure for a dependency is true, and ends by itself.
func (c *checker) checkReason(s *service, info *machine.Info) {
	b := &s.book
	if b.state != machine.Failed {
		return
	}
	switch info.Reason.Type {
	case machine.ReasonNone:
		c.failf("I12", s, "is failed for no reason")
		return
	case machine.ReasonDependencyFailed, machine.ReasonMissingDependency:
		if c.isJob(s) {
			return // its run has failed with it, whatever became of it since
		}
	}
	switch info.Reason.Type {
	case machine.ReasonDependencyFailed:
		if b.wish == wishUp {
			b.warrant |= byReturn
		}
		c.checkDependencyFailed(s, info.Reason.Service)
	case machine.ReasonMissingDependency:
		if b.wish == wishUp {
			b.warrant |= byReturn
		}
		if !c.w.missing(s) && !c.resuming {
			c.failf("I12", s, "is failed for a missing name although all exist")
		}
	}
}

func (c *checker) checkDependencyFailed(s *service, on string) {
	d := c.w.byName[on]
	if d == nil || c.resuming {
		return
	}
	switch {
	case !d.present:
		c.failf("I12", s, "is failed for "+on+", which does not exist")
	case d.satisfied() || d.active():
		c.failf("I12", s, "is failed for "+on+", which is "+d.book.state.String())
	case d.book.wish == wishDown && !c.w.broken(d):
		c.failf("I12", s, "is failed for "+on+", which is wanted down")
	}
}
