package machine

import (
	"slices"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
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
}

const bootDone = -1

// maxQueued bounds the runs that wait under overlap = "queue".
const maxQueued = 1000

// wall is the wall clock in ns since 1970.
func (m *Machine) wall() int64 { return int64(m.now) + m.wallOffset }

// clockSet takes the wall clock and the local zone, at the beginning and whenever either was changed.
func (m *Machine) clockSet(ev ClockSet) {
	m.wallOffset, m.local = ev.Wall-int64(m.now), ev.Local
	for i := range m.services {
		s := &m.services[i]
		for k := range s.config.Schedules {
			if !m.loaded && s.job != nil { // it counts from here
				s.job.last[k] = m.firstLast(&s.config.Schedules[k])
			}
		}
		m.armJob(int32(i))
	}
	m.findJob()
}

// adoptJob gives a service the schedules of its definition. What was there before goes on where it is the same.
func (m *Machine) adoptJob(i int32, before []graph.Schedule) {
	s := &m.services[i]
	list := s.config.Schedules
	switch {
	case len(list) == 0:
		s.job = nil
		return
	case s.job != nil && slices.EqualFunc(before, list, graph.Schedule.Equal):
	default:
		fresh := &job{at: make([]Time, len(list)), last: make([]int64, len(list))}
		for k := range list {
			fresh.last[k] = m.firstLast(&list[k])
		}
		if old := s.job; old != nil {
			fresh.began, fresh.ended, fresh.running, fresh.queued = old.began, old.ended, old.running, old.queued
		}
		s.job = fresh
	}
	m.armJob(i)
}

// moveJobs gives the services of a new graph their schedules.
func (m *Machine) moveJobs(w *swap) {
	m.jobsRunning = 0
	for i := range m.services {
		s := &m.services[i]
		if i < w.new.Len() && s.config == w.new.Config(graph.ID(i)) { // else its processes end by the old definition
			var before []graph.Schedule
			if old, ok := w.old.Lookup(s.name); ok {
				before = w.old.Config(old).Schedules
			}
			m.adoptJob(int32(i), before)
		}
		if s.job != nil && s.job.running {
			m.jobsRunning++
		}
	}
	m.findJob()
}

// firstLast is what a schedule counts from when it is new.
func (m *Machine) firstLast(c *graph.Schedule) int64 {
	switch c.Kind {
	case graph.ScheduleEvery:
		return int64(m.now)
	case graph.ScheduleBoot:
		if m.loaded {
			return bootDone // the start of the server is over
		}
		return int64(m.now) + int64(c.Interval)
	}
	return m.wall()
}

// jitter is the part of a schedule's jitter that is the service's own on this host.
func (m *Machine) jitter(s *service, c *graph.Schedule) int64 {
	if c.Jitter <= 0 {
		return 0
	}
	h := hasher(14695981039346656037)
	h.word(m.options.HostSeed)
	h.text(s.name)
	h.word(uint64(h) >> 29) // the last bytes of FNV-1a alone do not spread over the high bits
	return int64(uint64(h) % uint64(c.Jitter))
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
	zone := c.Zone
	if zone == nil {
		zone = m.local
	}
	// A clock that was set back must not keep a job from running until it has caught up.
	after := time.Unix(0, min(last, m.wall()))
	next, ok := c.When.Next(after, zone)
	if !ok {
		return 0
	}
	return max(Time(next.UnixNano()+jitter-m.wallOffset), 1)
}

// findJob finds the next time at which any job is due.
func (m *Machine) findJob() {
	m.jobAt = 0
	if m.shutting {
		return
	}
	for i := range m.services {
		if j := m.services[i].job; j != nil {
			for _, at := range j.at {
				if at != 0 && (m.jobAt == 0 || at < m.jobAt) {
					m.jobAt = at
				}
			}
		}
	}
}

// runJobs lets the jobs run that are due, in order of their names.
func (m *Machine) runJobs() {
	var due []int32
	for i := range m.services {
		if j := m.services[i].job; j != nil && slices.ContainsFunc(j.at, func(at Time) bool { return at != 0 && at <= m.now }) {
			due = append(due, int32(i))
		}
	}
	slices.SortFunc(due, func(a, b int32) int { return strings.Compare(m.services[a].name, m.services[b].name) })
	for _, i := range due {
		overlap := m.takeDue(i)
		m.jobDue(i, overlap)
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
		}
	}
	m.armJob(i)
	return overlap
}

// jobDue runs a job that is due, unless a rule keeps it from that.
func (m *Machine) jobDue(i int32, overlap graph.Overlap) {
	s := &m.services[i]
	switch {
	case m.shutting || s.is(flagGone):
	case !s.is(flagWanted):
		m.leaveOut(i, "it is stopped")
	case s.is(flagBroken):
		m.leaveOut(i, "its definition is broken")
	case !s.job.running && !s.job.waiting && !s.is(flagDue) && s.idle():
		m.beginJob(i)
	case overlap == graph.OverlapQueue && s.job.queued < maxQueued:
		s.job.queued++
		m.touch(i)
	case overlap == graph.OverlapQueue:
		m.leaveOut(i, "too many runs are queued")
	case overlap == graph.OverlapReplace && s.job.running:
		m.replaceRun(i, CauseSchedule)
	default:
		m.leaveOut(i, m.overlapRule(s))
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

func (m *Machine) leaveOut(i int32, rule string) { m.say(LeftOut{ID: m.id(i), Rule: rule}) }

// beginJob starts a run with what it needs, or lets it wait for its turn.
func (m *Machine) beginJob(i int32) {
	if limit := m.options.JobsAtOnce; limit > 0 && m.jobsBusy() >= limit {
		m.services[i].job.waiting = true
		m.touch(i)
		return
	}
	m.services[i].job.waiting = false
	m.pullIn(i, true)
	m.dispatch(i, inStart, command{CauseSchedule, ""})
}

// jobsBusy counts the jobs that run or are about to.
func (m *Machine) jobsBusy() (n int) {
	for i := range m.services {
		if s := &m.services[i]; s.job != nil && (s.job.running || s.is(flagDue)) {
			n++
		}
	}
	return n
}

// jobBegan notes that a run of a job begins, whoever asked for it.
func (m *Machine) jobBegan(i int32) {
	s := &m.services[i]
	if s.job == nil || s.job.running { // a retry goes on with the run
		return
	}
	s.job.running, s.job.began, s.job.ended = true, m.now, 0
	for k := range s.config.Schedules {
		if c := &s.config.Schedules[k]; c.Kind == graph.ScheduleEvery {
			s.job.last[k] = int64(m.now)
		}
	}
	m.jobsRunning++
	m.armJob(i)
	m.findJob()
}

// endJobs finds runs that have ended for good and begins what waited for that. It reports whether there is more to settle.
func (m *Machine) endJobs() (more bool) {
	if m.jobsRunning == 0 || m.restoring {
		return false
	}
	for i := range m.services {
		s := &m.services[i]
		if s.job == nil || !s.job.running || !s.idle() || s.is(flagDue) || s.nextRestart != 0 {
			continue
		}
		s.job.running, s.job.ended = false, m.now
		for k := range s.config.Schedules {
			if c := &s.config.Schedules[k]; c.Kind == graph.ScheduleEvery && c.FromEnd {
				s.job.last[k] = int64(m.now)
			}
		}
		m.jobsRunning--
		m.armJob(int32(i))
		m.endRun(int32(i), s.runOutcome())
		if s.job.queued > 0 && s.is(flagWanted) && !m.shutting {
			s.job.queued--
			m.beginJob(int32(i))
		}
		more = true
	}
	if more && !m.shutting {
		m.nextInLine()
	}
	m.findJob()
	return more
}

// runOutcome is how a run that has just ended ended.
func (s *service) runOutcome() Outcome {
	switch {
	case s.state == Failed:
		return OutcomeFailed
	case !s.is(flagWanted):
		return OutcomeSuperseded
	}
	return OutcomeDone
}

// nextInLine begins jobs that waited for their turn, in order of their names.
func (m *Machine) nextInLine() {
	var line []int32
	for i := range m.services {
		if s := &m.services[i]; s.job != nil && s.job.waiting {
			line = append(line, int32(i))
		}
	}
	slices.SortFunc(line, func(a, b int32) int { return strings.Compare(m.services[a].name, m.services[b].name) })
	for _, i := range line {
		if !m.services[i].is(flagWanted) {
			m.services[i].job.waiting = false
			m.leaveOut(i, "it is stopped")
			continue
		}
		m.beginJob(i)
	}
}

// catchUp begins a run that was missed while no server was there. ran is when it last ran (ns since 1970).
func (m *Machine) catchUp(i int32, ran int64) {
	s := &m.services[i]
	if ran <= 0 || ran > m.wall() { // the clock stands before it: nobody knows what was missed
		return
	}
	for k := range s.config.Schedules {
		c := &s.config.Schedules[k]
		if !c.CatchUp || c.Kind == graph.ScheduleBoot {
			continue
		}
		if m.missed(s, c, ran) {
			m.jobDue(i, graph.OverlapSkip)
			return
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
