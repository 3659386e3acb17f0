package sim

import (
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// target is I8: a signal names the incarnation whose tree lives, as far as the machine was told.
func (c *checker) target(s *service, gen Gen, what string) *process {
	p := c.w.proc(gen)
	switch {
	case p.svc != s || s.book.gen != gen:
		c.failf("I8", s, what+" names an incarnation that is not the present one")
	case p.heard&(heardEmpty|heardFail) != 0:
		c.failf("I8", s, what+" to a tree that is gone")
	case p.heard&heardSpawn == 0:
		c.failf("I8", s, what+" to a process that was not told of")
	}
	return p
}

// stop judges a stop signal: I5, I8, I11.
func (c *checker) stop(s *service, gen Gen) {
	b := &s.book
	c.target(s, gen, "stop")
	switch {
	case b.state != machine.Stopping:
		c.failf("I11", s, "stop signal while "+b.state.String())
	case b.stopGen == gen && b.stopLife == c.w.life:
		c.failf("I11", s, "a second stop signal")
	}
	again := b.stopGen == gen || b.abortGen == gen // or after a crash; what stands on s now came later
	b.stopAt, b.stopLimit = c.w.now, Time(min(s.config.Lifecycle.StopTimeout, c.w.proc(gen).config.Lifecycle.StopTimeout))
	b.stopGen, b.stopLife, b.begun = gen, c.w.life, true
	if !again {
		c.beginsStop(s)
	}
}

// beginsStop is I5 at the first thing that is done to a service that is to stop.
func (c *checker) beginsStop(s *service) {
	if b := &s.book; b.asked && !b.alone && s.present && !c.forced && c.w.failure == nil {
		c.checkStopOrder(s, s, map[*service]bool{})
	}
}

// checkStopOrder is I5: no process of anything that requires s through active ones lives, unless it cannot be killed.
func (c *checker) checkStopOrder(root, s *service, seen map[*service]bool) {
	for _, id := range c.w.g.Requirers(s.id) {
		d := c.w.byID[id]
		if seen[d] || !d.active() {
			continue
		}
		seen[d] = true
		if p := d.cur; p.alive() && p.heard&heardEmpty == 0 && !d.unkillable(c.w.now) {
			c.failf("I5", root, "is sent its stop signal while "+d.name+", which requires it, lives")
			return
		}
		c.checkStopOrder(root, d, seen)
	}
}

// kill judges SIGKILL to the tree: I8, I11.
func (c *checker) kill(s *service, gen Gen) {
	b := &s.book
	c.target(s, gen, "kill")
	switch {
	case b.state != machine.Stopping:
		c.failf("I11", s, "kill while "+b.state.String())
	case c.forced:
	case b.stopGen != gen:
		c.failf("I11", s, "kill without a stop signal before")
	case b.killGen == gen && b.killLife == c.w.life:
		c.failf("I11", s, "a second kill")
	case c.w.proc(gen).endsBy > 0 && c.w.now >= c.w.proc(gen).endsBy:
	case c.w.now < max(b.stopAt+b.stopLimit, c.w.proc(gen).extendedTo):
		c.failf("I11", s, "kill before the stop timeout")
	}
	if b.killGen != gen {
		b.killAt = c.w.now
	}
	b.killGen, b.killLife = gen, c.w.life
}

// abort judges the end of a spawn that is not answered: I8.
func (c *checker) abort(p *process) {
	b := &p.svc.book
	if p.heard&(heardSpawn|heardFail|heardExit) != 0 || b.spawned != p.gen {
		c.failf("I8", p.svc, "abort of a spawn that is answered or was never asked for")
	}
	if b.abortGen != p.gen {
		b.abortGen, b.abortAt = p.gen, c.w.now
		c.beginsStop(p.svc)
	}
}

// probe judges a health check: one at a time, only of a process that lives.
func (c *checker) probe(s *service, gen Gen) {
	p := c.w.proc(gen)
	switch {
	case s.book.state != machine.Starting && s.book.state != machine.Running:
		c.failf("I11", s, "health check while "+s.book.state.String())
	case s.present && s.config.Health == nil:
		c.failf("I11", s, "health check without a definition of one")
	case p.svc != s || p.heard&heardSpawn == 0 || p.heard&heardExit != 0:
		c.failf("I8", s, "health check of a process that is gone or not told of")
	case p.probeOut:
		c.failf("I11", s, "two health checks at a time")
	}
	p.probeOut = true
}

// hook judges post_stop: after the tree is gone.
func (c *checker) hook(s *service, gen Gen) {
	if p := c.w.proc(gen); p.svc != s || p.heard&heardEmpty == 0 {
		c.failf("I11", s, "post_stop while processes are left")
	}
	s.book.begun = true
}

// reply judges an answer: I13.
func (c *checker) reply(a machine.Reply) {
	r := c.requests[a.Req]
	if r == nil {
		c.w.fail("I13", "a reply that nobody waits for: "+strconv.FormatUint(uint64(a.Req), 10))
		return
	}
	delete(c.requests, a.Req)
	if s := r.service; s != nil && (!r.rightly(c, s, a.Outcome) || r.ev.Verb == machine.VerbRun && !r.ranSo(c, a)) {
		c.failf("I13", s, "outcome "+outcomeName(a.Outcome)+" of "+opNames[opOf(r.ev.Verb)]+" while "+s.book.state.String())
	}
}

// rightly reports whether an outcome is true.
func (r *request) rightly(c *checker, s *service, o machine.Outcome) bool {
	b, up := &s.book, r.ev.Verb != machine.VerbStop
	switch o {
	case machine.OutcomeAccepted:
		return !r.ev.Wait
	case machine.OutcomeDone:
		if r.ev.Verb == machine.VerbKill || r.ev.Verb == machine.VerbReloadSignal {
			return true
		}
		if r.ev.Verb == machine.VerbRun {
			return true // ranSo judges
		}
		if up {
			return s.satisfied() || b.state == machine.Exited && s.cur.implied // it ran for an instant
		}
		return !s.active() && !(s.cur.alive() && s.cur.main && s.cur.heard&heardExit == 0 && !s.cur.abandoned)
	case machine.OutcomeTimedOut:
		return r.ev.Deadline > 0 && c.w.now >= r.ev.Deadline
	case machine.OutcomeSuperseded:
		return r.opposed || b.wish == wishEither
	case machine.OutcomeShutdown:
		return c.shutting || c.exiting
	case machine.OutcomeBlocked:
		return up && b.state == machine.Blocked
	case machine.OutcomeMissing:
		return up && s.present && c.w.missing(s)
	case machine.OutcomeRemoved:
		return !s.present
	case machine.OutcomeNotRunning:
		return r.ev.Verb >= machine.VerbKill
	case machine.OutcomeBusy:
		return r.ev.Verb == machine.VerbRun && r.busy
	}
	return true
}

// ranSo reports whether the answer to a run is the end of a run that began since it was asked for.
func (r *request) ranSo(c *checker, a machine.Reply) bool {
	if a.Outcome != machine.OutcomeDone && (a.Outcome != machine.OutcomeFailed || a.Gen == 0) {
		return true
	}
	p := c.w.proc(a.Gen)
	if !p.config.Oneshot {
		return true // a reload has made a service of it
	}
	if p.svc != r.service || a.Gen <= r.after {
		return false
	}
	if a.Outcome == machine.OutcomeFailed {
		return p.heard&heardSpawn == 0 || p.heard&heardExit != 0 || r.service.unkillable(c.w.now)
	}
	return p.heard&heardExit != 0 && success(p.config, p.toldStatus)
}

func outcomeName(o machine.Outcome) string {
	names := [...]string{"accepted", "done", "failed", "blocked", "timed_out", "superseded", "not_running", "shutdown", "removed",
		"missing", "busy"}
	if int(o) < len(names) {
		return names[o]
	}
	return "?"
}

func opOf(v machine.Verb) opKind {
	return [...]opKind{opStart, opStop, opRestart, opKill, opReloadSignal, opRun}[v]
}

// checkReplies: nothing is left unanswered past its time.
func (c *checker) checkReplies(ev machine.Event) {
	if asked, ok := ev.(machine.Asked); ok && !asked.Wait && asked.Req != 0 && c.open(asked.Req) {
		c.w.fail("I13", "a request that does not wait gets no answer")
	}
	if _, ok := ev.(machine.Ticked); !ok {
		return
	}
	for _, r := range c.requests {
		if r.ev.Deadline > 0 && r.ev.Deadline <= c.w.now {
			c.w.fail("I13", "a request is not answered at its deadline")
		}
	}
}

// forget: a removed service is forgotten when nothing of it is left.
func (c *checker) forget(s *service) {
	if s.present {
		c.failf("I15", s, "is forgotten although it is in the configuration")
	}
	if s.cur.busy() != nil && !s.unkillable(c.w.now) && s.cur.heard&(heardEmpty|heardFail) == 0 {
		c.failf("I15", s, "is forgotten while a process of it lives")
	}
	if s.cur != nil {
		s.cur.abandoned = true
	}
	s.book, s.job = book{}, nil
}

// halt is the end: L3.
func (c *checker) halt(code int) {
	c.halts++
	if !c.shutting || c.halts > 1 {
		c.w.fail("L3", "halt without a shutdown, or a second one")
	}
	if len(c.requests) > 0 {
		c.w.fail("I13", "halt while requests are unanswered")
	}
	_ = code
}

// ended judges the world after Halt: nothing lives but what could not be killed.
func (c *checker) ended() {
	for _, s := range c.w.services {
		if p := s.cur.busy(); p != nil && p.alive() && !s.unkillable(c.w.now) && !c.forced {
			c.failf("L3", s, "lives after the end")
		}
	}
	for id := range graph.ID(c.w.m.Len()) {
		if c.w.m.Forgotten(id) {
			continue
		}
		switch info := c.w.m.Info(id); info.State {
		case machine.Starting, machine.Running, machine.Blocked:
			c.w.fail("L3", c.w.nameOf(id)+" is "+info.State.String()+" after the end")
		}
	}
}
