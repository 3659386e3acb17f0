package sim

import (
	"slices"
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// jobBook is what the checker knows of a service with schedules: docs/jobs.md, worked out once more.
type jobBook struct {
	list  []graph.Schedule
	last  []int64 // what each next time counts from: wall clock (cron, calendar), else Time; once it has been, boot: spent
	due   []Time  // of each schedule, 0 = never
	queue int     // runs that wait
	began Time    // as Info has it
	run   bool    // a run has begun and has not ended
	busy  bool    // … or is owed, or tried again, at the end of the last Step

	// in the Step under way
	left    int  // runs that the rules leave out
	gone    int  // runs that the machine left out
	begin   bool // a run is to begin
	spawned bool
	ended   bool // it came to rest meanwhile
}

const (
	spent     = -1
	maxQueued = 1000
)

// jobsAnew: a new machine counts all schedules from here.
func (c *checker) jobsAnew() {
	c.unloaded = true
	for _, s := range c.w.services {
		s.job = nil
	}
}

// isJob reports whether the machine runs a service by schedules; those of a definition that has to wait do not count yet.
func (c *checker) isJob(s *service) bool { return c.w.m.Info(s.id).Job }

// beginJobs looks at the jobs before what the machine did is judged: who was due, and what the rules make of that.
func (c *checker) beginJobs(ev machine.Event, actions []machine.Action) {
	w := c.w
	if w.b.swarm.jobs == 0 {
		return
	}
	c.unsettled, c.reruns = true, false
	defer func() { c.unsettled = false }()
	for _, a := range actions {
		switch a := a.(type) {
		case machine.LeftOut:
			if s := w.byID[a.ID]; s.job != nil {
				s.job.gone += a.Runs
			}
		case machine.Note:
			s := w.service(a.ID, a.Gen)
			s.moved = w.steps
			if s.job != nil && (a.To == machine.Exited || a.To == machine.Failed || a.To == machine.Inactive) {
				s.job.ended = true
			}
		}
	}
	if ev, ok := ev.(machine.TreeEmpty); ok && w.proc(ev.Gen).svc.job != nil {
		w.proc(ev.Gen).svc.job.ended = true
	}
	switch ev := ev.(type) {
	case machine.ClockSet:
		c.offset, c.local = Time(ev.Wall)-w.now, ev.Local
		if c.unloaded {
			c.adoptJobs()
		}
		for _, s := range w.byID {
			c.lookAgain(s)
			c.armJob(s)
		}
	case machine.Loaded:
		c.unloaded = false
		for _, s := range w.byID {
			if s.job != nil && (s.book.wish == wishUp || c.w.broken(s)) {
				c.catchUp(s, ev.LastRuns[s.name])
			}
		}
	case machine.Ticked:
		for _, s := range w.byID {
			if overlap, due := c.takeDue(s); due {
				c.decide(s, overlap)
			}
		}
	case machine.Reloaded:
		for _, name := range ev.Plan.Removed {
			if s := w.byName[name]; s.job != nil {
				s.job.list, s.job.queue = nil, 0
			}
		}
		c.adoptJobs()
	}
	for _, s := range w.byID {
		if s.job != nil {
			c.queued(s, ev)
		}
	}
}

// queued judges what became of the runs that wait. Those that begin now were owed.
func (c *checker) queued(s *service, ev machine.Event) {
	j, info := s.job, c.w.m.Info(s.id)
	waits := info.Queued
	dropped := j.gone - j.left
	began := j.queue - dropped - waits
	asked, ok := ev.(machine.Asked)
	taken := ok && asked.RunOnly && len(asked.IDs) == 1 && asked.IDs[0] == s.id && !j.run // before it began
	stopped := taken || s.book.wish != wishUp || c.w.broken(s) || c.w.m.ShuttingDown() || cannotStart(&info)
	switch {
	case dropped < 0:
		c.failf("J1", s, "a run that the rules leave out is not")
	case dropped > 0 && !stopped:
		c.failf("J2", s, "runs are left out although they were due: "+strconv.Itoa(dropped))
	case began < 0:
		c.failf("J2", s, "more runs wait than were due")
	case began > 1 || began == 1 && j.busy && !j.ended:
		c.failf("J2", s, "runs that waited are lost: "+strconv.Itoa(began))
	case began == 1:
		if ok && asked.Verb != machine.VerbStop && len(asked.IDs) == 1 && asked.IDs[0] == s.id {
			break // a start by hand is its turn
		}
		j.begin, c.reruns = true, true
		c.beginPull()
		c.toldRun(s)
	}
	j.queue, j.left, j.gone = waits, 0, 0
}

// cannotStart reports whether a run has failed for what it requires.
func cannotStart(info *machine.Info) bool {
	return info.State == machine.Failed && (info.Reason.Type == machine.ReasonDependencyFailed || info.Reason.Type == machine.ReasonMissingDependency)
}

// adoptJobs enters the schedules of the definitions that are in force. Those that stay the same go on.
func (c *checker) adoptJobs() {
	for _, s := range c.w.byID {
		list := s.config.Schedules
		switch {
		case c.w.m.Config(s.id) != s.config:
			continue // its processes end by the old one
		case len(list) == 0:
			s.job = nil
			continue
		case s.job != nil && slices.EqualFunc(s.job.list, list, graph.Schedule.Equal):
			continue
		case s.job == nil:
			s.job = &jobBook{}
		}
		j := s.job
		j.list, j.last, j.due = list, make([]int64, len(list)), make([]Time, len(list))
		for k := range list {
			switch list[k].Kind {
			case graph.ScheduleEvery:
				j.last[k] = int64(c.w.now)
			case graph.ScheduleBoot:
				j.last[k] = int64(c.w.now) + int64(list[k].Interval)
				if !c.unloaded {
					j.last[k] = spent
				}
			default:
				j.last[k] = int64(c.w.now + c.offset - c.jitter(s, &list[k]))
			}
		}
		c.armJob(s)
	}
}

// jitter is a hash: there is nothing to be worked out a second time.
func (c *checker) jitter(s *service, x *graph.Schedule) Time {
	return Time(machine.Jitter(c.w.seed, s.name, x.Jitter))
}

func (c *checker) armJob(s *service) {
	if s.job != nil {
		for k := range s.job.list {
			s.job.due[k] = c.nextDue(s, k)
		}
	}
}

// lookAgain: after the clock was set back, times that have been are to come.
func (c *checker) lookAgain(s *service) {
	if s.job == nil {
		return
	}
	for k, x := range s.job.list {
		if x.Kind == graph.ScheduleCron || x.Kind == graph.ScheduleCalendar {
			s.job.last[k] = min(s.job.last[k], int64(c.w.now+c.offset-c.jitter(s, &x)))
		}
	}
}

// nextDue is when one schedule of a job is due next.
func (c *checker) nextDue(s *service, k int) Time {
	j, x := s.job, &s.job.list[k]
	jitter := c.jitter(s, x)
	switch x.Kind {
	case graph.ScheduleBoot:
		if j.last[k] == spent {
			return 0
		}
		return Time(j.last[k]) + jitter
	case graph.ScheduleEvery:
		at := Time(j.last[k]) + Time(x.Interval)
		switch {
		case x.FromEnd && j.run:
			return 0
		case j.began == 0:
			at += jitter
		}
		return at
	}
	from := min(j.last[k], int64(c.w.now+c.offset-jitter))
	next, ok := x.When.Next(time.Unix(0, from), c.local)
	if !ok {
		return 0
	}
	return max(Time(next.UnixNano())+jitter-c.offset, 1)
}

// takeDue looks after what is due, and returns how an overlap is treated.
func (c *checker) takeDue(s *service) (overlap graph.Overlap, found bool) {
	j := s.job
	if j == nil || c.shutting || c.w.m.Config(s.id) != s.config {
		return 0, false
	}
	for k := range j.list {
		x := &j.list[k]
		if j.due[k] == 0 || j.due[k] > c.w.now {
			continue
		}
		if !found {
			overlap, found = x.Overlap, true
		}
		switch x.Kind {
		case graph.ScheduleBoot:
			j.last[k] = spent
		case graph.ScheduleEvery:
			j.last[k] = int64(c.w.now)
		default:
			j.last[k] = int64(c.w.now + c.offset - c.jitter(s, x))
		}
		j.due[k] = c.nextDue(s, k)
	}
	return overlap, found
}

// catchUp makes up for what was missed before the load by one run, or says that nothing does.
func (c *checker) catchUp(s *service, ran int64) {
	wall := int64(c.w.now + c.offset)
	if ran == 0 {
		return
	}
	wished, missed, lost := false, false, false
	for k := range s.job.list {
		x := &s.job.list[k]
		due := x.Kind == graph.ScheduleEvery && ran+int64(x.Interval) <= wall
		if x.When != nil {
			next, ok := x.When.Next(time.Unix(0, ran), c.local)
			due = ok && next.UnixNano()+int64(c.jitter(s, x)) <= wall
		}
		wished = wished || x.CatchUp && x.Kind != graph.ScheduleBoot
		missed = missed || due && x.CatchUp
		lost = lost || due && !x.CatchUp
	}
	if missed {
		c.decide(s, graph.OverlapSkip)
	}
	if j := s.job; !j.begin && j.queue == 0 && (lost || wished && ran > wall) {
		j.left++
	}
}

// decide is what the rules make of one run that is due.
func (c *checker) decide(s *service, overlap graph.Overlap) {
	j := s.job
	info := c.w.m.Info(s.id)
	unsure := j.busy && j.ended // by its own timer, just before: whether it is tried again was not published
	switch {
	case s.book.wish == wishDown || c.w.broken(s) || unsure && j.gone > 0:
		j.left++
	case unsure && info.Queued > j.queue:
		j.queue++
	case (!j.busy || unsure) && j.queue == 0:
		switch {
		case c.jobsFull():
			j.queue++ // until its turn comes
		default:
			j.begin = true
			c.beginPull()
			c.toldRun(s)
		}
	case overlap == graph.OverlapQueue && j.queue < maxQueued:
		j.queue++
	case overlap == graph.OverlapReplace && j.run:
		c.oppose(s) // who waits for the end of the run before
		c.beginPull()
		c.toldRun(s)
		c.toldRestart(s)
	default:
		j.left++
	}
}

// jobsFull reports whether as many runs go on as may.
func (c *checker) jobsFull() bool {
	limit := c.w.b.swarm.jobsAtOnce
	return limit > 0 && c.jobsBusy() >= limit
}

func (c *checker) jobsBusy() (n int) {
	for _, s := range c.w.byID {
		if s.job != nil && (s.job.busy || s.job.begin) {
			n++
		}
	}
	return n
}

// toldRun enters that a run begins with what it needs.
func (c *checker) toldRun(s *service) {
	c.wantUp(s, true, true)
	c.goesDownFirst(s)
}

// goesDownFirst: a finished oneshot of which something is left has to go down before it can run again.
func (c *checker) goesDownFirst(s *service) {
	if b := &s.book; (b.done && b.state == machine.Exited || s.moved == c.w.steps) && c.remains(s) {
		b.asked = true
		c.spread(s)
	}
}

// endJobs judges at the end of a Step what became of the jobs.
func (c *checker) endJobs() {
	w := c.w
	if w.b.swarm.jobs == 0 || c.resuming {
		return
	}
	c.adoptJobs() // an earlier definition may have ended in this Step
	began := false
	for _, s := range w.byID {
		if j := s.job; j != nil {
			c.endJob(s, &began)
		}
	}
	limit := w.b.swarm.jobsAtOnce
	if began && limit > 0 && c.jobsBusy() > limit {
		w.fail("J2", "more runs begin because they are due than may go on at once")
	}
	next := Time(0)
	for _, s := range w.byID {
		if s.job != nil && w.failure == nil {
			next = earliest(next, c.endDue(s))
		}
	}
	if at, ok := w.m.Deadline(); next != 0 && !c.shutting && c.halts == 0 && (!ok || at > next) {
		w.fail("J3", "nobody waits for the next job")
	}
}

func (c *checker) endJob(s *service, began *bool) {
	j := s.job
	info := c.w.m.Info(s.id)
	busy := busy(&info)
	switch {
	case j.begin && !j.spawned && !busy && info.State != machine.Failed && !c.shutting:
		c.failf("J1", s, "was due, and nothing comes of it")
	case j.spawned && !j.run && info.RunBegan != c.w.now:
		c.failf("J1", s, "its run is not counted")
	case !j.spawned && info.RunBegan != j.began:
		c.failf("J1", s, "a run is counted that did not begin")
	case j.queue > 0 && !busy && !c.shutting && !c.jobsFullAtEnd():
		c.failf("J2", s, "a run waits and nothing keeps it")
	case j.queue > 0 && s.book.wish == wishDown:
		c.failf("J4", s, "a run waits although it is stopped")
	}
	*began = *began || j.begin
	run := info.RunBegan != 0 && info.RunEnded == 0
	switch {
	case run && !busy:
		c.failf("J1", s, "its run has ended and counts as going on")
	case j.run && !run && !j.ended:
		c.failf("J1", s, "its run goes on and counts as ended")
	}
	if began := info.RunBegan != j.began; began || j.run && !run {
		j.began, j.run = info.RunBegan, run
		for k := range j.list {
			if x := &j.list[k]; x.Kind == graph.ScheduleEvery {
				if began || x.FromEnd {
					j.last[k] = int64(c.w.now)
				}
				j.due[k] = c.nextDue(s, k)
			}
		}
	}
	j.busy = busy
	j.begin, j.spawned, j.ended = false, false, false
	if !busy {
		s.book.warrant &^= owing // what could not start has failed
	}
}

// busy reports whether a run is owed, goes on, or is to be tried again.
func busy(info *machine.Info) bool {
	switch info.State {
	case machine.Inactive, machine.Blocked, machine.Failed:
		return info.Due || info.NextRestart != 0
	case machine.Exited:
		return info.Due || info.NextRestart != 0 || info.Leftovers
	}
	return true
}

// jobsFullAtEnd is jobsFull by what the machine says now.
func (c *checker) jobsFullAtEnd() bool {
	limit, n := c.w.b.swarm.jobsAtOnce, 0
	for _, s := range c.w.byID {
		if s.job != nil {
			if info := c.w.m.Info(s.id); busy(&info) {
				n++
			}
		}
	}
	return limit > 0 && n >= limit
}

// endDue compares when a job is due next.
func (c *checker) endDue(s *service) Time {
	next := Time(0)
	if c.w.m.Config(s.id) == s.config && !c.shutting {
		for _, at := range s.job.due {
			next = earliest(next, at)
		}
	}
	if info := c.w.m.Info(s.id); c.w.m.Config(s.id) == s.config && info.NextRun != next {
		c.failf("J3", s, "is due next at "+duration(info.NextRun)+", should be "+duration(next))
	}
	return next
}

// earliest is the earlier of two times of which 0 is never.
func earliest(a, b Time) Time {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
