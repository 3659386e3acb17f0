package machine

import (
	"slices"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
)

// job is what the machine keeps of a service that has schedules.
type job struct {
	at []Time // of each schedule: when it is due next, 0 = never

	// last is, of each schedule, what its next time counts from: for cron and calendar the wall clock (ns since 1970) up
	// to which it was looked after, for every the Time from which the interval runs, for boot the Time when it is due,
	// and once it has been, bootDone.
	last []int64

	began   Time // start of the last run, 0 = none
	ended   Time // its end, 0 = none or it goes on
	running bool // a run has begun and has not ended for good: a retry may be due
	waiting bool // it is due and waits for one of Options.JobsAtOnce
	queued  int32
	busy    bool // as jobBusy was after the last Step
}

const bootDone = -1

// maxQueued bounds the runs that wait under overlap = "queue".
const maxQueued = 1000

// wall is the wall clock in ns since 1970.
func (m *Machine) wall() int64 { return int64(m.now) + m.wallOffset }

// clockSet takes the wall clock and the local zone, at the beginning and whenever either was changed.
func (m *Machine) clockSet(ev ClockSet) {
	m.wallOffset, m.local, m.zones = ev.Wall-int64(m.now), ev.Local, ev.Zones
	if m.bug(BugClockIgnored) && m.loaded {
		return
	}
	for _, i := range m.jobs {
		s := &m.services[i]
		for k := range s.config.Schedules {
			switch c := &s.config.Schedules[k]; {
			case !m.loaded: // it counts from here
				s.job.last[k] = m.firstLast(s, c)
			case c.Kind == graph.ScheduleCron, c.Kind == graph.ScheduleCalendar:
				// What was looked after by a clock that was wrong is to come: what is passed over from here on counts.
				s.job.last[k] = min(s.job.last[k], m.wall()-m.jitter(s, c))
			}
		}
		m.armJob(i)
	}
	m.findJob()
}

// listJobs finds the services that run by a schedule.
func (m *Machine) listJobs() {
	m.jobs = m.jobs[:0]
	for i := range int32(m.graph.Len()) {
		if m.isJob(i) {
			m.jobs = append(m.jobs, i)
		}
	}
	m.findJob()
}

// isJob reports whether a service runs by a schedule. One whose processes end by an earlier definition does not.
func (m *Machine) isJob(i int32) bool {
	s := &m.services[i]
	return s.job != nil && int(i) < m.graph.Len() && s.config == m.graph.Config(graph.ID(i))
}

// jobBusy reports whether a run is owed, goes on, or is to be tried again.
func jobBusy(s *service) bool { return s.is(flagDue) || s.nextRestart != 0 || !s.idle() }

// adoptJob gives a service the schedules of its definition. What was there before goes on where it is the same.
func (m *Machine) adoptJob(i int32, before []graph.Schedule) {
	s := &m.services[i]
	list := s.config.Schedules
	switch {
	case len(list) == 0:
		if s.job != nil {
			s.job = nil
			m.touch(i)
		}
		return
	case s.job != nil && slices.EqualFunc(before, list, graph.Schedule.Equal):
	default:
		fresh := &job{busy: jobBusy(s)}
		if s.job != nil {
			*fresh = *s.job
		}
		fresh.at, fresh.last = make([]Time, len(list)), make([]int64, len(list))
		for k := range list {
			fresh.last[k] = m.firstLast(s, &list[k])
		}
		s.job = fresh
		m.armJob(i)
	}
}

// moveJobs gives the services of a new graph their schedules.
func (m *Machine) moveJobs(w *swap) {
	for i := range w.new.Len() {
		s := &m.services[i]
		if s.config == w.new.Config(graph.ID(i)) { // else its processes end by the old definition
			var before []graph.Schedule
			if old, ok := w.old.Lookup(s.name); ok {
				before = w.old.Config(old).Schedules
			}
			m.adoptJob(int32(i), before)
		}
	}
	m.listJobs()
}

// firstLast is what a schedule counts from when it is new.
func (m *Machine) firstLast(s *service, c *graph.Schedule) int64 {
	switch c.Kind {
	case graph.ScheduleEvery:
		return int64(m.now)
	case graph.ScheduleBoot:
		if m.loaded {
			return bootDone // the start of the server is over
		}
		return int64(m.now) + int64(c.Interval)
	}
	return m.wall() - m.jitter(s, c)
}

func (m *Machine) jitter(s *service, c *graph.Schedule) int64 {
	return int64(Jitter(m.options.HostSeed, s.name, c.Jitter))
}

// Jitter is the part of a schedule's jitter, from 0 to span, that is the service's own on one host.
func Jitter(host uint64, service string, span time.Duration) time.Duration {
	if span <= 0 {
		return 0
	}
	h := hasher(14695981039346656037)
	h.word(host)
	h.text(service)
	h.word(uint64(h) >> 29) // the last bytes of FNV-1a alone do not spread over the high bits
	return time.Duration(uint64(h) % uint64(span))
}

// armJob finds when each schedule of a service is due next.
func (m *Machine) armJob(i int32) {
	s := &m.services[i]
	if s.job == nil {
		return
	}
	for k := range s.job.at {
		s.job.at[k] = m.nextDue(s, k)
	}
	m.touch(i)
}

// armEvery finds when the intervals of a service end next, which count from its runs. Times by the wall clock stay what
// they are: looked for again after the clock was set back, one that jitter puts off would be passed over.
func (m *Machine) armEvery(i int32, began bool) {
	s := &m.services[i]
	for k := range s.job.at {
		c := &s.config.Schedules[k]
		if c.Kind != graph.ScheduleEvery {
			continue
		}
		if began || c.FromEnd {
			s.job.last[k] = int64(m.now)
		}
		s.job.at[k] = m.nextDue(s, k)
	}
	m.touch(i)
	m.findJob()
}

func (m *Machine) nextDue(s *service, k int) Time {
	c, last, jitter := &s.config.Schedules[k], s.job.last[k], m.jitter(s, &s.config.Schedules[k])
	switch c.Kind {
	case graph.ScheduleBoot:
		if last == bootDone {
			return 0
		}
		return Time(last + jitter)
	case graph.ScheduleEvery:
		if c.FromEnd && s.job.running {
			return 0 // its end begins the next interval
		}
		if s.job.began == 0 {
			last += jitter
		}
		return Time(last + int64(c.Interval))
	}
	// A clock that was set back must not keep a job from running until it has caught up.
	after := time.Unix(0, min(last, m.wall()-jitter))
	next, ok := m.nextTime(c, after)
	if !ok {
		return 0
	}
	return max(Time(next.UnixNano()+jitter-m.wallOffset), 1)
}

// nextTime is when a schedule by the wall clock is due first after a time, by its zone as that is now.
func (m *Machine) nextTime(c *graph.Schedule, after time.Time) (time.Time, bool) {
	zone := m.zones[c.ZoneName()]
	if own, ok := c.When.(*calendar.Calendar); ok && own.ZoneName() != "" && zone != nil {
		return own.In(zone).Next(after, zone)
	}
	switch {
	case zone != nil:
	case c.Zone != nil:
		zone = c.Zone
	default:
		zone = m.local
	}
	return c.When.Next(after, zone)
}

// findJob finds the next time at which any job is due.
func (m *Machine) findJob() {
	m.jobAt = 0
	if m.shutting || m.restoring {
		return
	}
	for _, i := range m.jobs {
		for _, at := range m.services[i].job.at {
			if at != 0 && (m.jobAt == 0 || at < m.jobAt) {
				m.jobAt = at
			}
		}
	}
}

// runJobs lets the jobs run that are due, in order of their names, as IDs are.
func (m *Machine) runJobs() {
	for _, i := range m.jobs {
		if slices.ContainsFunc(m.services[i].job.at, func(at Time) bool { return at != 0 && at <= m.now }) {
			m.jobDue(i, m.takeDue(i))
		}
	}
	m.findJob()
}

// takeDue notes that the schedules which are due have been looked after, and returns what the first of them says of an
// overlap. However many times were passed over together, they count as one.
func (m *Machine) takeDue(i int32) graph.Overlap {
	s := &m.services[i]
	overlap, found := graph.OverlapSkip, false
	for k, at := range s.job.at {
		if at == 0 || at > m.now {
			continue
		}
		c := &s.config.Schedules[k]
		if !found {
			overlap, found = c.Overlap, true
		}
		switch c.Kind {
		case graph.ScheduleBoot:
			s.job.last[k] = bootDone
		case graph.ScheduleEvery:
			s.job.last[k] = int64(m.now)
		default:
			s.job.last[k] = m.wall() - m.jitter(s, c)
			if m.bug(BugJobPerMissed) {
				s.job.last[k] = int64(at) + m.wallOffset - m.jitter(s, c)
			}
		}
		s.job.at[k] = m.nextDue(s, k)
	}
	m.touch(i)
	return overlap
}

// wantJob notes that a job is to run when it is due.
func (m *Machine) wantJob(i int32) {
	s := &m.services[i]
	s.set(flagWanted)
	s.clear(flagHeld)
	m.touch(i)
	m.refresh(i)
}

// jobDue runs a job that is due, unless a rule keeps it from that.
func (m *Machine) jobDue(i int32, overlap graph.Overlap) {
	s := &m.services[i]
	free := !s.job.waiting && !jobBusy(s)
	if m.bug(BugJobOverRetry) {
		free = !s.job.waiting && s.idle()
	}
	switch {
	case m.shutting:
	case !s.is(flagWanted) && !m.bug(BugJobThoughStopped):
		m.leaveOut(i, "it is stopped", 1)
	case free:
		m.beginJob(i)
	case overlap == graph.OverlapQueue && s.job.queued < maxQueued:
		s.job.queued++
		m.touch(i)
	case overlap == graph.OverlapQueue:
		m.leaveOut(i, "too many runs are queued", 1)
	case overlap == graph.OverlapReplace && s.job.running:
		m.pullIn(i, true)
		m.replaceRun(i, CauseSchedule)
	default:
		m.leaveOut(i, m.overlapRule(s), 1)
	}
}

// overlapRule says what the run before a due one is at.
func (m *Machine) overlapRule(s *service) string {
	switch {
	case s.job.waiting:
		return "the run before waits for its turn, [jobs] concurrency jobs run"
	case s.state == Blocked:
		return "the run before waits to start: " + s.name + " is blocked"
	case s.nextRestart != 0:
		return "the run before failed and is about to be tried again"
	}
	return "the run before has not ended"
}

func (m *Machine) leaveOut(i int32, rule string, runs int) {
	m.say(LeftOut{ID: m.id(i), Rule: rule, Runs: runs})
}

// dropQueue leaves out what waits for the present run or for its turn.
func (m *Machine) dropQueue(i int32, rule string) {
	j := m.services[i].job
	if j == nil || !j.waiting && j.queued == 0 {
		return
	}
	runs := int(j.queued)
	if j.waiting {
		runs++
	}
	j.waiting, j.queued = false, 0
	m.touch(i)
	m.leaveOut(i, rule, runs)
}

// beginJob starts a run with what it needs, or lets it wait for its turn.
func (m *Machine) beginJob(i int32) {
	s := &m.services[i]
	switch {
	case s.is(flagBroken):
		m.leaveOut(i, "its definition is broken", 1)
		return
	case m.jobsFull():
		s.job.waiting = true
		m.touch(i)
		return
	}
	s.job.busy = true // even if it fails before anybody looks
	m.pullIn(i, true)
	m.dispatch(i, s.runInput(), command{CauseSchedule, ""})
}

// jobsFull reports whether as many jobs run, or are about to, as may run because they are due.
func (m *Machine) jobsFull() bool {
	if m.options.JobsAtOnce <= 0 {
		return false
	}
	busy := 0
	for _, i := range m.jobs {
		if jobBusy(&m.services[i]) {
			busy++
		}
	}
	return busy >= m.options.JobsAtOnce
}

// jobBegan notes that a run of a job begins, whoever asked for it. A retry goes on with its run.
func (m *Machine) jobBegan(i int32) {
	s := &m.services[i]
	if s.job == nil {
		return
	}
	if s.job.running && s.dueCause != CauseAsked && s.dueCause != CauseSchedule {
		return
	}
	s.job.running, s.job.began, s.job.ended = true, m.now, 0
	m.armEvery(i, true)
}

// endJobs finds runs that have ended for good and begins what waited for that. It reports whether there is more to settle.
func (m *Machine) endJobs() (more bool) {
	if m.restoring || !m.loaded {
		return false
	}
	waiting := false
	for _, i := range m.jobs {
		s := &m.services[i]
		j, ended := s.job, s.job.busy
		if j.busy = jobBusy(s); ended && !j.busy {
			if j.running {
				j.running, j.ended = false, m.now
				m.armEvery(i, false)
				m.endRun(i, m.runOutcome(s))
			} else {
				m.dropQueue(i, "the run before could not start")
			}
			if j.queued > 0 && s.is(flagWanted) && !m.shutting {
				if j.queued--; !m.bug(BugQueueLost) {
					m.beginJob(i)
				}
				more = true
			}
		}
		waiting = waiting || j.waiting
	}
	if !waiting || m.shutting || m.jobsFull() {
		return more
	}
	for _, i := range m.jobs {
		if j := m.services[i].job; j.waiting {
			if m.jobsFull() {
				break
			}
			j.waiting = false
			m.beginJob(i)
		}
	}
	return true
}

// runOutcome is how a run that has just ended ended.
func (m *Machine) runOutcome(s *service) Outcome {
	endedAll := m.endedBy == s.name // and is at rest by now
	switch {
	case s.finished(), endedAll && s.config.Lifecycle.Success(m.haltCode):
		return OutcomeDone
	case s.state == Failed, endedAll:
		return OutcomeFailed
	case m.shutting:
		return OutcomeShutdown
	}
	return OutcomeSuperseded
}

// catchUp begins one run for all that were missed while no server was there. ran is when it last ran (ns since 1970); while
// the clock stands before that nothing was missed.
func (m *Machine) catchUp(i int32, ran int64) {
	s := &m.services[i]
	if ran <= 0 { // it is new
		return
	}
	for k := range s.config.Schedules {
		c := &s.config.Schedules[k]
		if !c.CatchUp || c.Kind == graph.ScheduleBoot {
			continue
		}
		if m.missed(s, c, ran) {
			if m.jobDue(i, graph.OverlapSkip); !m.bug(BugCatchUpEach) {
				return
			}
		}
	}
}

// The places in Record.Job; the times that the schedules count from follow.
const (
	jobBegan = iota
	jobEnded
	jobState // bit 0: running, bit 1: waiting
	jobQueued
	nJobPlaces
)

func (j *job) record() []int64 {
	state := int64(0)
	if j.running {
		state |= 1
	}
	if j.waiting {
		state |= 2
	}
	return append([]int64{int64(j.began), int64(j.ended), state, int64(j.queued)}, j.last...)
}

// restore takes back what record gave. Schedules of another number have no past.
func (j *job) restore(places []int64) {
	if len(places) < nJobPlaces {
		return
	}
	j.began, j.ended = Time(places[jobBegan]), Time(places[jobEnded])
	j.running, j.waiting = places[jobState]&1 != 0, places[jobState]&2 != 0
	j.queued = int32(places[jobQueued])
	if last := places[nJobPlaces:]; len(last) == len(j.last) {
		copy(j.last, last)
	}
}
