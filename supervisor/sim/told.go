package sim

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// told enters into the book what the machine was told in a Step that is recorded.
func (c *checker) told(ev machine.Event) {
	if c.stale {
		return
	}
	w := c.w
	switch ev := ev.(type) {
	case machine.Asked:
		c.toldAsked(ev)
	case machine.Cancelled:
		delete(c.requests, ev.Req)
	case machine.Prechecked:
		if p := w.proc(ev.Gen); ev.Conflict == nil {
			p.svc.book.checked = ev.Gen
		}
	case machine.Spawned:
		c.toldAlive(w.proc(ev.Gen))
	case machine.Adopted:
		c.toldAlive(w.proc(ev.Gen))
	case machine.SpawnFailed:
		c.toldNever(w.proc(ev.Gen), false)
	case machine.Readied:
		w.proc(ev.Gen).heard |= heardReady
	case machine.MainChanged:
		w.proc(ev.Gen).heard |= heardMain
	case machine.Probed:
		c.toldProbed(w.proc(ev.Gen), ev.OK)
	case machine.Extended:
		c.toldExtended(w.proc(ev.Gen), ev)
	case machine.ProcessExited:
		c.toldExit(w.proc(ev.Gen), ev.Status, ev.Alive)
	case machine.StoppingSelf:
		if p := w.proc(ev.Gen); p.endsBy == 0 {
			p.endsBy = w.now + Time(min(p.config.Lifecycle.StopTimeout, p.svc.config.Lifecycle.StopTimeout)) // a reload changes it
		}
	case machine.TreeEmpty:
		w.proc(ev.Gen).heard |= heardEmpty
	case machine.Vanished:
		c.toldVanished(w.proc(ev.Gen), ev)
	case machine.Resumed:
		c.resuming = false
	case machine.Reloaded:
		c.toldReload(ev)
	case machine.ShutdownAsked:
		c.toldShutdown()
		c.forced = c.forced || ev.Now
	}
}

// toldExtended enters a notify message that puts off a deadline, feeds the watchdog, or asks to be failed.
func (c *checker) toldExtended(p *process, ev machine.Extended) {
	b := &p.svc.book
	if ev.Watchdog || ev.SetWatchdog > 0 {
		b.pinged = c.w.now
	}
	if ev.SetWatchdog > 0 {
		p.heard |= heardDog
	}
	if ev.Trigger && b.state == machine.Running && p.endsBy == 0 {
		p.triggered = true
	}
	if ev.By > 0 && (b.state == machine.Starting || b.state == machine.Stopping && b.stopGen == p.gen) {
		p.extendedTo = max(p.extendedTo, c.w.now+Time(ev.By))
	}
}

func (c *checker) toldShutdown() {
	if !c.shutting {
		c.shutAt = c.w.now
	}
	c.shutting = true
	for _, s := range c.w.services {
		s.book.warrant = 0
		s.book.asked = true
	}
	for _, r := range c.requests {
		r.shutting = true
	}
}

func (c *checker) toldAlive(p *process) {
	p.heard |= heardSpawn
	p.svc.book.pinged = c.w.now
}

func (c *checker) toldNever(p *process, crash bool) {
	p.heard |= heardFail
	if crash && p.svc.book.state == machine.Starting && p.svc.book.wish != wishDown && !c.shutting {
		p.svc.book.warrant |= byCrash
	}
}

func (c *checker) toldVanished(p *process, ev machine.Vanished) {
	if ev.NeverWas {
		c.toldNever(p, true)
		return
	}
	c.toldExit(p, machine.Status{Unknown: true}, ev.Alive)
}

// toldExit notes the end of a main process. A daemon that takes its place is noted when the machine says so.
func (c *checker) toldExit(p *process, status machine.Status, alive int) {
	p.toldExits++
	p.implied = p.heard&heardSpawn == 0
	p.heard |= heardSpawn | heardExit
	if alive == 0 {
		p.heard |= heardEmpty
	}
	b := &p.svc.book
	rules := p.config
	if p.svc.present {
		rules = p.svc.config // success_codes act without touching the process
	}
	b.done = success(rules, status) && p.config.Oneshot && b.state == machine.Starting
	p.toldStatus, p.toldAt = status, c.w.now
}

// success is docs/design/states.md: exit 0 or one of success_codes.
func success(config *graph.Config, st machine.Status) bool {
	return !st.Unknown && st.Signal == 0 && config.Lifecycle.Success(int(st.Code))
}

// toldProbed counts failures in a row that count: after ready and after the start period.
func (c *checker) toldProbed(p *process, ok bool) {
	b := &p.svc.book
	p.probeOut = false
	switch {
	case ok:
		p.heard |= heardPass
		b.sick = 0
	case b.state == machine.Running:
		b.sick++
	}
}

// toldAsked enters the wishes of a request, for all its services before any stop spreads.
func (c *checker) toldAsked(ev machine.Asked) {
	c.enterRequest(ev)
	if c.shutting {
		return
	}
	c.unsettled = len(ev.IDs) > 1
	defer func() { c.unsettled = false }()
	for _, id := range ev.IDs {
		s := c.w.byID[id]
		switch ev.Verb {
		case machine.VerbStart, machine.VerbRestart:
			c.toldStart(s, ev)
		case machine.VerbRun:
			c.toldRunAsked(s, ev)
		case machine.VerbStop:
			if ev.RunOnly && c.isJob(s) && s.book.wish != wishDown {
				s.book.turned = s.book.state != machine.Inactive
				if s.book.state != machine.Stopping || !s.book.alone { // what is failing already is tried again
					s.book.warrant, s.book.asked = 0, true
				}
				break // the job stays wanted
			}
			s.book.turned = s.book.wish != wishDown || s.active() || s.tree()
			s.book.wish, s.book.held, s.book.warrant, s.book.asked = wishDown, true, 0, true
		}
	}
	for _, id := range ev.IDs {
		switch s := c.w.byID[id]; ev.Verb {
		case machine.VerbStop:
			if s.book.turned { // a second stop is a no-op
				c.spread(s)
			}
		case machine.VerbRestart:
			if !c.isJob(s) || len(ev.IDs) == 1 {
				c.toldRestart(s)
			}
		}
	}
}

// toldRunAsked enters a run that an operator asks for. What runs already is replaced, or nothing comes of it.
func (c *checker) toldRunAsked(s *service, ev machine.Asked) {
	if c.runRefused {
		return
	}
	c.toldStart(s, ev)
	if s.active() || s.tree() || s.job != nil && s.job.busy {
		c.toldRestart(s)
	}
}

// refuses reports whether an action says that a run will not begin.
func refuses(ev machine.Event, a machine.Action) bool {
	asked, ok := ev.(machine.Asked)
	reply, isReply := a.(machine.Reply)
	return ok && isReply && asked.Verb == machine.VerbRun && reply.Req == asked.Req && slices.Contains([]machine.Outcome{machine.OutcomeBusy,
		machine.OutcomeNotRunning, machine.OutcomeMissing, machine.OutcomeRemoved, machine.OutcomeShutdown}, reply.Outcome)
}

// toldRestart is a restart, behind what it has in common with a start.
func (c *checker) toldRestart(s *service) {
	if s.book.wish == wishUp && !c.w.missing(s) && !c.w.broken(s) && (s.active() || s.book.done && s.book.state == machine.Exited) {
		s.book.unsureRuns = s.book.unsureRuns || s.active()
		s.book.asked = true
		s.book.warrant |= byWish
		c.spread(s)
	}
}

// toldStart is a start or restart. A missing requirement refuses it (-32012), unless it runs and is only started; a broken
// file too.
func (c *checker) toldStart(s *service, ev machine.Asked) {
	if c.isJob(s) && len(ev.IDs) > 1 { // all were meant, not this one
		if !c.w.missing(s) && !c.w.broken(s) {
			c.wantJob(s)
		}
		return
	}
	up := !s.config.Target && (s.book.state == machine.Starting || s.book.state == machine.Running)
	if c.w.missing(s) && !(up && ev.Verb == machine.VerbStart) || c.w.broken(s) {
		return
	}
	c.beginPull()
	c.wantUp(s, true, !ev.NoDeps)
	if len(ev.IDs) > 1 && s.active() {
		s.book.unsureRuns = true // one before it may have stopped it by now
	}
	c.goesDownFirst(s)
}

// remains reports whether a finished oneshot needs a stop sequence: it left processes, or post_stop is owed.
func (c *checker) remains(s *service) bool {
	return s.tree() || !s.config.PostStop.Command.IsZero()
}

// enterRequest opens a request and tells those it opposes.
func (c *checker) enterRequest(ev machine.Asked) {
	for _, r := range c.requests {
		for _, id := range ev.IDs {
			command := ev.Verb <= machine.VerbRestart || ev.Verb == machine.VerbRun
			if r.service == c.w.byID[id] && command && (r.ev.Verb != ev.Verb || ev.Verb == machine.VerbRun) {
				r.opposed = true
			}
		}
	}
	if ev.Req == 0 {
		return
	}
	r := &request{ev: ev, shutting: c.shutting}
	if len(ev.IDs) == 1 {
		r.service = c.w.byID[ev.IDs[0]]
		r.after, r.busy = r.service.book.spawned, r.service.active() || r.service.tree() || r.service.job != nil && r.service.job.busy
	}
	c.requests[ev.Req] = r
}

// oppose: what is wanted of s may have turned, so that who waits for the opposite may be told.
func (c *checker) oppose(s *service) {
	for _, r := range c.requests {
		r.opposed = r.opposed || r.service == s
	}
}

// toldReload enters a new configuration: docs/config.md, Reload.
func (c *checker) toldReload(ev machine.Reloaded) {
	c.unsettled = true
	defer func() { c.unsettled = false }()
	for _, change := range ev.Plan.Changed {
		c.toldChange(c.w.byName[change.Name], change)
	}
	for _, name := range ev.Plan.Removed {
		s := c.w.byName[name]
		s.book.wish, s.book.warrant, s.book.asked = wishDown, 0, true
		c.oppose(s)
		c.orphans(name)
	}
	c.beginPull()
	for _, name := range ev.Plan.Added {
		s := c.w.byName[name]
		if s.book.held = false; s.config.Status == graph.StatusStart && !c.w.broken(s) {
			c.startFor(s)
		} else {
			s.book.wish = wishDown
		}
	}
	for _, s := range c.w.byID {
		if s.book.asked && (s.book.state == machine.Stopping || c.goingDown(s)) {
			c.beginPull()
			c.spreadFrom(s, byEdge) // who came to stand on what is going down
		}
		if s.book.wish == wishUp {
			s.book.warrant |= byEdge // an edge may have come or gone: what was failed for it comes back
		}
	}
}

// orphans: what has a process and requires or binds a removed name is stopped, with what depends on it.
func (c *checker) orphans(name string) {
	for _, s := range c.w.byID {
		d := &s.config.Deps
		if !s.active() && !s.tree() || !slices.Contains(d.Requires, name) && !slices.Contains(d.Binds, name) {
			continue
		}
		s.book.asked = true
		c.beginPull()
		if s.book.reached {
			c.spreadFrom(s, byEdge) // a target stops nobody
		} else {
			c.spreadFrom(s, byReturn)
		}
	}
}

// toldChange enters one changed or touched service.
func (c *checker) toldChange(s *service, change graph.Change) {
	b := &s.book
	b.unsureRuns, b.unsureDelay = true, true
	if change.Restart && (s.active() || s.tree()) {
		c.w.proc(b.gen).outdated = true
		b.asked = true
		if b.wish != wishDown {
			b.warrant |= byReload
		}
		back := byReturn
		if b.state == machine.Running && b.reached || b.state == machine.Stopping {
			back = byEdge // a target that becomes a service stops nobody; one that is stopping has done so before
		}
		c.beginPull()
		c.spreadFrom(s, back)
	}
	if len(change.Fields) > 0 && c.triedAgain(s) {
		b.warrant |= byReload
	}
	status, definition := slices.Contains(change.Fields, "status"), slices.Contains(change.Fields, "definition")
	if definition && s.config.Target {
		b.done = false
	}
	switch {
	case definition && s.wasBroken, status && s.config.Status == graph.StatusStart:
		c.appears(s)
	case definition:
		b.wish = wishEither // left open
		b.warrant |= byWish
	case status:
		c.toldStatus(s)
	}
}

// toldStatus enters a changed status key: docs/design/states.md 6. What "ignore" means for what runs is left open.
func (c *checker) toldStatus(s *service) {
	b := &s.book
	c.oppose(s)
	switch s.config.Status {
	case graph.StatusStop:
		turned := b.wish != wishDown || s.active() || s.tree()
		b.wish, b.warrant, b.asked = wishDown, 0, true
		if turned {
			c.spread(s)
		}
	case graph.StatusIgnore:
		b.wish = wishEither
		if !s.active() && !s.tree() {
			b.asked = true
			c.spread(s)
		}
	}
}

// triedAgain: a reload that changes a service which has ended for good, or is about to, tries it again (docs/design/states.md 3).
func (c *checker) triedAgain(s *service) bool {
	b := &s.book
	if b.wish != wishUp || c.isJob(s) || s.config.Status == graph.StatusIgnore || s.config.Target || c.w.broken(s) {
		return false
	}
	switch b.state {
	case machine.Failed, machine.Inactive: // which was a job
		return true
	case machine.Exited:
		return !s.satisfied()
	case machine.Stopping:
		return b.alone
	}
	return false
}

// appears: a definition has become usable, or is to be started from now on.
func (c *checker) appears(s *service) {
	b := &s.book
	c.oppose(s)
	switch {
	case c.w.broken(s) || s.config.Status != graph.StatusStart:
		b.wish = wishEither
		b.warrant |= byWish
	case s.wasBroken || b.wish != wishUp:
		c.beginPull()
		c.startFor(s)
	}
}

// startFor starts what a reload wants up; a job runs when it is due.
func (c *checker) startFor(s *service) {
	if !c.isJob(s) {
		c.wantUp(s, false, true)
		return
	}
	c.wantJob(s)
	c.pull(s, false, true)
}
