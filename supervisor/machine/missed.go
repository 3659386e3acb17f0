package machine

import (
	"slices"
	"time"

	"github.com/zinit/zinit/graph"
)

// missed reports whether a schedule was due since a run (ns since 1970), while no server was there.
func (m *Machine) missed(s *service, c *graph.Schedule, ran int64) bool {
	if c.Kind == graph.ScheduleEvery {
		return ran+int64(c.Interval) <= m.wall()
	}
	if c.When == nil {
		return false
	}
	next, ok := m.nextTime(c, time.Unix(0, ran))
	return ok && next.UnixNano()+m.jitter(s, c) <= m.wall()
}

// tellMissed says which rule keeps a job from making up for what was missed while no server was there, if one does.
func (m *Machine) tellMissed(i int32, ran int64) {
	s := &m.services[i]
	catches := func(c graph.Schedule) bool { return c.CatchUp && c.Kind != graph.ScheduleBoot }
	switch {
	case ran <= 0 || s.is(flagDue) || s.job.waiting || !s.idle(): // it is new, or has caught up
	case ran > m.wall() && slices.ContainsFunc(s.config.Schedules, catches):
		m.leaveOut(i, "nobody knows whether one was missed: the clock stands before the last run", 1)
	case slices.ContainsFunc(s.config.Schedules, func(c graph.Schedule) bool { return !c.CatchUp && m.missed(s, &c, ran) }):
		m.leaveOut(i, "no server was there, and catch_up is off", 1)
	}
}
