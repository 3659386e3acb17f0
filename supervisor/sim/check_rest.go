package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// atRest reports whether nothing is under way any more but what goes on for ever: checks of health, watchdogs, and looking
// for a port that another service holds.
func (c *checker) atRest() bool { return c.restless() == "" }

// restless says what is still under way, "" when nothing is.
func (c *checker) restless() string {
	w := c.w
	if w.down || w.m == nil {
		return "the server is dead"
	}
	for id := range graph.ID(w.m.Len()) {
		if w.m.Forgotten(id) {
			continue
		}
		info := w.m.Info(id)
		name := w.nameOf(id)
		switch {
		case c.shutting:
			if info.State == machine.Starting || info.State == machine.Running || info.State == machine.Stopping {
				return name + " is " + info.State.String() + " during the shutdown"
			}
		case info.State == machine.Starting || info.State == machine.Stopping:
			return name + " is " + info.State.String()
		case info.NextRestart != 0:
			return name + " is to be restarted"
		case info.State == machine.Blocked && info.Conflict != nil && info.Conflict.Service == "":
			return name + " is to look again for a port that a stranger held"
		case info.Checking:
			return name + " has its ports looked at"
		case info.Due && !c.portBound(id, &info):
			if info.State != machine.Blocked || len(w.m.Unmet(id)) == 0 {
				return name + " is due and " + info.State.String()
			}
		}
	}
	if c.shutting {
		return "the shutdown"
	}
	if len(c.requests) > 0 {
		return c.openRequest()
	}
	return ""
}

// openRequest describes the oldest request that waits.
func (c *checker) openRequest() string {
	oldest := machine.ReqID(0)
	for id := range c.requests {
		if oldest == 0 || id < oldest {
			oldest = id
		}
	}
	r := c.requests[oldest]
	text := "a request is not answered: " + opNames[opOf(r.ev.Verb)]
	if r.service != nil {
		text += " " + r.service.name + ", which is " + r.service.book.state.String()
	}
	return text
}

// portBound reports whether a blocked service looks in vain for a port that another one holds.
func (c *checker) portBound(id graph.ID, info *machine.Info) bool {
	return info.State == machine.Blocked && info.Conflict != nil && info.Conflict.Service != ""
}

// timers is I11 and L1: at rest no timer stays armed but those of what goes on for ever.
func (c *checker) timers() {
	w := c.w
	at, armed := w.m.Deadline()
	if !armed {
		return
	}
	for id := range graph.ID(w.m.Len()) {
		info := w.m.Info(id)
		config := w.m.Config(id)
		if c.portBound(id, &info) || info.State == machine.Running &&
			(config.Health != nil || w.proc(info.Gen).pingEvery() > 0 || info.SelfStop) || info.NextRun == at {
			return
		}
	}
	w.fail("L1", "a timer stays armed although everything is at rest: in "+duration(at-w.now))
}

// longestStop bounds a shutdown (L3): along the longest chain, a stop timeout, the time after SIGKILL and a hook each.
func (c *checker) longestStop() Time {
	w := c.w
	longest := Time(0)
	stop := make([]Time, len(w.byID))
	for _, id := range w.g.Order() {
		s := w.byID[id]
		before := Time(0)
		for k := graph.KindRequires; k <= graph.KindAfter; k++ {
			for _, to := range w.g.Edges(id, k) {
				before = max(before, stop[to])
			}
		}
		own := Time(s.config.Lifecycle.StopTimeout) + killGrace + Time(s.config.PostStop.Timeout) + 2*second
		stop[id] = before + own
		longest = max(longest, stop[id])
	}
	return longest + second
}

// goals judges a world at rest (L2) by the reference model.
func (c *checker) goals() {
	w := c.w
	for name := range w.journal.records {
		if !w.byName[name].present {
			w.fail("I15", name+" was removed long ago and is still recorded")
			return
		}
	}
	for _, p := range w.procs {
		if p.alive() && p.abandoned {
			c.failf("I16", p.svc, "a process that the machine has given up lives on")
			return
		}
	}
	for _, s := range w.byID {
		c.checkState(s) // a large world looks at touched ones only
	}
	ref := newReference(w.g)
	for _, s := range w.byID {
		ref.enter(s.id, c.situation(s))
	}
	ref.solve()
	if name := ref.falseTarget(); name != "" {
		w.fail("L2", name+": a target is reached at rest although what it requires is not satisfied")
	}
	for _, s := range w.byID {
		if got := s.book.state; !ref.allows(s.id, got) {
			c.failf("L2", s, "is "+got.String()+" at rest, should be "+ref.describe(s.id))
			return
		}
	}
}

// situation is what the reference model needs to know of one service: what is wanted, and how its own attempts went.
func (c *checker) situation(s *service) situation {
	b := &s.book
	info := c.w.m.Info(s.id)
	x := situation{job: info.Job, up: b.wish == wishUp, owed: info.Due || b.warrant&owing != 0,
		state: b.state}
	x.returning = b.state == machine.Blocked && (s.config.Target || b.spawned != 0) && c.w.m.Standing(s.id)&graph.Holds != 0
	p := s.cur
	x.runs = p != nil && p.main && p.stage == stageForked && !p.abandoned ||
		s.config.Target && b.state == machine.Running && len(c.w.g.Conflicts(s.id)) > 0
	x.done = b.done && b.state == machine.Exited
	x.left = p.alive()
	x.portless = info.Conflict != nil
	switch b.state {
	case machine.Exited:
		x.over = overExited
	case machine.Failed:
		if t := info.Reason.Type; t != machine.ReasonDependencyFailed && t != machine.ReasonMissingDependency {
			x.over = overFailed
		}
	}
	return x
}
