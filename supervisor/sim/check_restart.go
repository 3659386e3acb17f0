package sim

import (
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// checkRestart is I9 and I10: restarts by policy, with the right delay, counted.
func (c *checker) checkRestart(s *service, info *machine.Info) {
	b := &s.book
	if s.config.Target || c.w.failure != nil {
		return
	}
	planned := info.NextRestart != 0 && info.NextRestart != b.info.NextRestart
	switch {
	case planned && !c.resuming && b.info.Gen != 0 && info.Gen == b.info.Gen && b.info.NextRestart != 0:
		c.failf("I9", s, "a restart is planned twice")
	case planned:
		c.planned(s, info)
	case b.ended && c.owed(s, info):
		c.failf("I10", s, "no restart although the policy asks for one")
	}
	if info.NextRestart != 0 && b.state != machine.Failed && b.state != machine.Exited {
		c.failf("I9", s, "a restart is planned while "+b.state.String())
	}
}

// planned judges a restart that was planned in this Step.
func (c *checker) planned(s *service, info *machine.Info) {
	b := &s.book
	l := &s.config.Lifecycle
	switch policy := effectivePolicy(s.config); {
	case b.wish != wishUp || c.shutting:
		c.failf("I10", s, "a restart is planned although it is wanted down")
	case policy == graph.RestartNever, s.config.Status == graph.StatusIgnore:
		c.failf("I10", s, "a restart is planned although the policy forbids it")
	case policy == graph.RestartOnFailure && b.state == machine.Exited:
		c.failf("I10", s, "a restart is planned after a success")
	case l.MaxRestarts > 0 && info.Restarts > l.MaxRestarts:
		c.failf("I9", s, "more restarts than max_restarts")
	default:
		c.counted(s, info)
	}
	b.warrant |= byRestart
	b.notBefore = info.NextRestart
}

// judgeRun resets the count after a run that was long enough, however it ended.
func (c *checker) judgeRun(s *service) {
	if !s.present {
		return
	}
	low, high := c.runLength(s)
	switch period := Time(s.config.Lifecycle.StabilityPeriod); {
	case low >= period:
		s.book.restarts, s.book.unsureDelay = 0, false
	case high >= period:
		s.book.unsureRuns = true
	}
}

// restartAtOnce grants the restart with delay 0, which follows in the same Step as the end.
func (c *checker) restartAtOnce(s *service, to machine.State) {
	b := &s.book
	if !s.present || b.wish != wishUp || b.asked || c.shutting || to != machine.Failed && to != machine.Exited {
		return
	}
	l := &s.config.Lifecycle
	policy := effectivePolicy(s.config)
	allowed := policy == graph.RestartAlways || policy == graph.RestartOnFailure && to == machine.Failed
	first := b.restarts == 0 || b.unsureRuns
	if !allowed || l.RestartDelay != 0 || !first || s.config.Status == graph.StatusIgnore {
		return
	}
	b.warrant |= byRestart
	b.notBefore = c.w.now
	b.restarts++
}

// counted judges count and delay of a planned restart.
func (c *checker) counted(s *service, info *machine.Info) {
	b := &s.book
	expected := b.restarts + 1
	if b.unsureRuns {
		expected = info.Restarts // open
	}
	if info.Restarts != expected {
		c.failf("I9", s, "restart "+strconv.Itoa(info.Restarts)+" is planned, it is number "+strconv.Itoa(expected))
		return
	}
	delay := info.NextRestart - c.w.now
	if want := delayOf(&s.config.Lifecycle, info.Restarts-1); delay != want && !b.unsureRuns && !b.unsureDelay {
		c.failf("I9", s, "the restart comes after "+duration(delay)+", not "+duration(want))
	}
	b.restarts, b.unsureRuns = info.Restarts, false
}

// runLength is how long the last run was, at least and at most: what counts as its beginning is open, and whether one that
// never was ready counts at all.
func (c *checker) runLength(s *service) (low, high Time) {
	p := c.w.proc(s.book.gen)
	switch {
	case p.toldAt == 0:
		return -1, -1
	case p.readyAt == 0:
		return -1, p.toldAt - p.asked
	}
	return p.leftAt - p.readyAt, c.w.now - p.asked
}

// delayOf is the delay of restart number count (from 0): docs/design/states.md 3.
func delayOf(l *graph.Lifecycle, count int) Time {
	delay, most := Time(l.RestartDelay), Time(l.RestartDelayMax)
	if delay == 0 {
		if count == 0 {
			return 0
		}
		delay, count = 100*millisecond, count-1
	}
	for ; count > 0 && delay < most; count-- {
		delay *= 2
	}
	return min(delay, most)
}

// owed reports whether a restart has to follow the end that this Step brought.
func (c *checker) owed(s *service, info *machine.Info) bool {
	b := &s.book
	l := &s.config.Lifecycle
	if b.state != machine.Failed && b.state != machine.Exited || info.NextRestart != 0 || b.spawning {
		return false
	}
	if b.wish != wishUp || b.asked || b.warrant != 0 || c.shutting || b.unsureRuns || s.config.Status == graph.StatusIgnore {
		return false
	}
	switch info.Reason.Type {
	case machine.ReasonDependencyFailed, machine.ReasonMissingDependency:
		return false
	}
	switch policy := effectivePolicy(s.config); {
	case policy == graph.RestartNever, policy == graph.RestartOnFailure && b.state == machine.Exited:
		return false
	case l.MaxRestarts == 0:
		return true
	}
	return b.restarts < l.MaxRestarts
}

// duration writes a time for people.
func duration(t Time) string {
	return strconv.FormatFloat(float64(t)/float64(millisecond), 'f', -1, 64) + "ms"
}
