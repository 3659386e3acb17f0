package sim

import (
	"slices"
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// checker judges every Step by its own book. It reads the world's truth (which processes exist), what the machine was
// told and what it answered; what the machine says of itself (Info, Unmet, Record) is compared, not believed.
type checker struct {
	w          *World
	deep       bool // this world is also checked in the slow ways
	shutting   bool
	shutAt     Time // when it was asked for
	forced     bool // … and nothing is waited for
	halts      int
	asking     bool // the event is a request or a reload
	resuming   bool // between Restore and Resumed
	stale      bool // the event under way must change nothing
	hash       uint64
	lastGen    Gen
	requests   map[machine.ReqID]*request
	pulled     []uint8
	spawned    []*service        // in the Step under way
	criticals  []*service        // said to have failed for good in this Step
	stopped    []stopping        // in this Step
	failed     map[*service]bool // became Failed in this Step
	exiting    bool              // a shutdown began in this Step without being asked for
	unsettled  bool              // what is entered comes in several parts: services may be Stopping by the time that they are pulled in
	kept       []survivor
	reruns     bool // a job that waited begins in this Step
	runRefused bool // the run that is asked for does not begin
	unloaded   bool // the machine has not been told to load
	offset     Time // wall clock, as the machine was told
	local      *time.Location
}

// request is one that an operator waits for.
type request struct {
	ev       machine.Asked
	service  *service // the only one, or nil
	shutting bool
	opposed  bool // a later command asked for the opposite, or it was removed
	after    Gen  // a run: the incarnation before it
	busy     bool // … and one went on when it was asked for
}

// stopping is a service that became Stopping in a Step, and whether the book knew why at that moment.
type stopping struct {
	service   *service
	explained bool
}

// explainStops judges at the end of a Step who was stopped for what it binds or stands on: those come back.
func (c *checker) explainStops(plan *graph.Plan) {
	for _, x := range c.stopped {
		s := x.service
		if !s.present {
			continue
		}
		lost := c.bindsBroken(s, map[*service]bool{}) || c.standsOnStop(s, map[*service]bool{}) ||
			c.gainsBind(s, plan, map[*service]bool{})
		switch {
		case lost && s.book.wish != wishDown && !c.shutting:
			s.book.asked = true
			if s.book.alone {
				s.book.warrant |= byEdge // or it goes down for itself: the machine's choice
			} else {
				s.book.warrant |= byReturn
			}
		case !lost && !x.explained:
			c.failf("I11", s, "is stopped without a reason")
		}
	}
}

// standsOnStop reports whether something that s requires or binds, directly or through others, is to go down.
func (c *checker) standsOnStop(s *service, seen map[*service]bool) bool {
	found := false
	c.w.hard(s, func(d *service) bool {
		if !seen[d] {
			seen[d] = true
			going := d.book.state == machine.Stopping && !d.book.alone || c.goingDown(d) || c.w.missing(d) && c.removedStops()
			found = going || !(d.satisfied() && d.config.Oneshot) && c.standsOnStop(d, seen)
		}
		return !found
	})
	return found
}

// removedStops reports whether a service that a reload removed is still stopping: what required it still counts.
func (c *checker) removedStops() bool {
	for _, s := range c.w.services {
		if !s.present && s.book.state == machine.Stopping {
			return true
		}
	}
	return false
}

func (c *checker) init(w *World) {
	c.w = w
	c.deep = w.seed%8 == 0
	c.requests = map[machine.ReqID]*request{}
	c.failed = map[*service]bool{}
}

func (c *checker) open(req machine.ReqID) bool { return c.requests[req] != nil }

// failf notes a broken rule about one service.
func (c *checker) failf(check string, s *service, detail string) {
	c.w.fail(check, s.name+": "+detail)
}

// loaded writes the boot into the book: docs/design/states.md 4 and 6; one name alone is started with what it pulls in.
func (c *checker) loaded() {
	c.beginPull()
	if only := c.w.onlyName(); only != "" {
		if s := c.w.byName[only]; c.w.broken(s) || c.isJob(s) {
			c.beginPull()
			c.pull(s, true, true)
			if c.isJob(s) {
				c.wantJob(s)
			}
		} else {
			c.wantUp(s, true, true)
		}
		return
	}
	for _, s := range c.w.byID {
		if s.config.Status == graph.StatusStart && c.isJob(s) {
			c.wantJob(s)
		} else if s.config.Status == graph.StatusStart && !c.w.broken(s) {
			c.wantUp(s, false, true)
		}
	}
}

// before looks at an event that is about to be given to the machine.
func (c *checker) before(ev machine.Event) {
	c.stale = c.isStale(ev)
	if _, ok := ev.(machine.Reloaded); ok {
		c.noteSurvivors()
	}
	if c.stale && c.deep {
		c.hash = c.w.m.Hash()
	}
}

// isStale reports whether a word is about an older incarnation, or was said before: I7.
func (c *checker) isStale(ev machine.Event) bool {
	switch ev := ev.(type) {
	case machine.Spawned:
		return c.heard(ev.Gen, heardSpawn|heardExit|heardFail)
	case machine.SpawnFailed:
		return c.heard(ev.Gen, heardSpawn|heardExit|heardFail)
	case machine.Readied:
		return c.heard(ev.Gen, heardReady|heardExit)
	case machine.ProcessExited:
		p := c.w.proc(ev.Gen)
		return c.heard(ev.Gen, heardExit) || p.toldExits >= len(p.exits) || ev.PID != p.exits[p.toldExits].pid
	case machine.Vanished:
		return c.heard(ev.Gen, heardExit|heardFail)
	case machine.TreeEmpty:
		return c.heard(ev.Gen, heardEmpty)
	case machine.Probed:
		return c.heard(ev.Gen, heardExit)
	case machine.Prechecked:
		return c.heard(ev.Gen, 0)
	case machine.HookDone:
		return c.heard(ev.Gen, 0)
	}
	return false
}

// heard reports whether gen is not the current incarnation of its service, or the machine was told one of bits.
func (c *checker) heard(gen Gen, bits heard) bool {
	p := c.w.proc(gen)
	return p.heard&bits != 0 || p.svc.book.gen != gen
}

// after judges what a Step did. The order is that of the driver: the machine was told, it is recorded, it acts.
func (c *checker) after(ev machine.Event, actions []machine.Action) {
	w := c.w
	if c.halts > 0 {
		c.afterHalt(actions)
		return
	}
	c.spawned, c.stopped = c.spawned[:0], c.stopped[:0]
	c.criticals = c.criticals[:0]
	clear(c.failed)
	switch ev.(type) {
	case machine.Asked, machine.Reloaded:
		c.asking = true
	default:
		c.asking = false
	}
	c.runRefused = slices.ContainsFunc(actions, func(a machine.Action) bool { return refuses(ev, a) })
	c.told(ev)
	c.beginJobs(ev, actions)
	if limit := w.b.swarm.shutdownTimeout; c.shutting && limit > 0 && w.now >= c.shutAt+limit {
		c.forced = true
	}
	c.exiting = !c.shutting && w.m.ShuttingDown()
	if c.stale {
		c.checkStale(actions)
	}
	if len(actions) > 64+16*w.m.Len() {
		w.fail("I18", strconv.Itoa(len(actions))+" actions in one step")
	}
	for _, a := range actions {
		if w.failure != nil {
			return
		}
		c.beginExit(a)
		c.act(a)
	}
	if w.failure != nil {
		return
	}
	if c.exiting && !c.shutting {
		c.toldShutdown() // nothing was left to be stopped
	}
	for _, s := range c.spawned {
		if c.reruns {
			break // what was satisfied may be no more: a run that waited follows in the same Step
		}
		c.checkRequires(s, "at the end of the step")
	}
	var plan *graph.Plan
	if ev, ok := ev.(machine.Reloaded); ok {
		plan = ev.Plan
	}
	c.explainStops(plan)
	c.checkCritical()
	c.checkReplies(ev)
	if c.exiting && !c.onExit() {
		w.fail("I10", "a shutdown begins for no reason")
	}
	c.states()
	c.endJobs()
	if ev, ok := ev.(machine.Reloaded); ok {
		c.survivors(ev.Plan)
	}
	if c.deep && w.Slips == 0 {
		c.checkDirty()
	}
}

// afterHalt: nothing happens any more; requests that still come are turned down.
func (c *checker) afterHalt(actions []machine.Action) {
	for _, a := range actions {
		if r, ok := a.(machine.Reply); !ok || r.Outcome != machine.OutcomeShutdown {
			c.w.fail("L3", "an action after Halt")
		}
	}
}

// checkCritical: only a critical service that has failed for good is told on the console (docs/design/states.md 6).
func (c *checker) checkCritical() {
	for _, s := range c.criticals {
		info := c.w.m.Info(s.id)
		if !s.config.Critical || !info.ForGood && info.State == machine.Failed || info.NextRestart != 0 {
			c.failf("I10", s, "is called critically failed while "+info.State.String())
		}
	}
}

// onExit reports whether something with on_exit = "shutdown" has ended.
func (c *checker) onExit() bool {
	for _, s := range c.w.byID {
		ended := s.book.spawned != 0 && (!s.active() || s.cur.heard&heardExit != 0)
		if l := &s.config.Lifecycle; l.OnExit == graph.OnExitShutdown && (ended || c.failed[s]) {
			return true
		}
	}
	return false
}

func (c *checker) checkStale(actions []machine.Action) {
	if len(actions) > 0 {
		c.w.fail("I7", "a word that is old or was said before causes actions")
	} else if c.deep && c.w.m.Hash() != c.hash {
		c.w.fail("I7", "a word that is old or was said before changes the machine")
	}
}

// ticked: after a Ticked the next deadline lies ahead, or the loop would spin.
func (c *checker) ticked() {
	w := c.w
	if w.failure != nil || w.down {
		return
	}
	if at, ok := w.m.Deadline(); ok && at <= w.now {
		w.fail("I18", "after Ticked the deadline is not in the future")
	}
}

// act judges one action at its place.
func (c *checker) act(a machine.Action) {
	w := c.w
	if c.resuming {
		c.checkQuiet(a)
	}
	switch a := a.(type) {
	case machine.Note:
		c.note(w.service(a.ID, a.Gen), a)
	case machine.Precheck:
		c.precheck(w.service(a.ID, a.Gen), a)
	case machine.Spawn:
		c.spawn(w.service(a.ID, a.Gen), a.Gen)
	case machine.Abort:
		c.abort(w.proc(a.Gen))
	case machine.Stop:
		c.stop(w.service(a.ID, a.Gen), a.Gen)
	case machine.Kill:
		c.kill(w.service(a.ID, a.Gen), a.Gen)
	case machine.Signal:
		c.target(w.service(a.ID, a.Gen), a.Gen, "signal")
	case machine.Probe:
		c.probe(w.service(a.ID, a.Gen), a.Gen)
	case machine.CancelProbe:
		w.proc(a.Gen).probeOut = false
	case machine.Hook:
		c.hook(w.service(a.ID, a.Gen), a.Gen)
	case machine.Reply:
		c.reply(a)
	case machine.Critical:
		c.criticals = append(c.criticals, w.byID[a.ID])
	case machine.Forget:
		c.forget(w.byName[a.Name])
	case machine.Halt:
		c.halt(a.Code)
	}
}

// beginExit writes the beginning of a shutdown that nobody asked for into the book: what stands before its first word was
// decided before.
func (c *checker) beginExit(a machine.Action) {
	switch a := a.(type) {
	case machine.Note:
		if a.Cause != machine.CauseShutdown {
			return
		}
	case machine.Halt:
	default:
		return
	}
	if c.exiting && !c.shutting {
		c.toldShutdown()
	}
}

// checkQuiet: between Restore and Resumed only what needs no process is emitted.
func (c *checker) checkQuiet(a machine.Action) {
	switch a.(type) {
	case machine.Note, machine.Reply, machine.Forget, machine.Critical, machine.LeftOut:
	default:
		c.w.fail("I16", "an action before Resumed")
	}
}
