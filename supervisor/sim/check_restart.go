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

// counted judges count and delay of a planned restart.
func (c *checker) counted(s *service, info *machine.Info) {
	b := &s.book
	low, high := c.runLength(s)
	period := Time(s.config.Lifecycle.StabilityPeriod)
	expected := b.restarts + 1
	switch {
	case low >= period:
		expected = 1
	case high >= period, b.unsureRuns:
		expected = info.Restarts // open
	}
	if info.Restarts != expected {
		c.failf("I9", s, "restart "+strconv.Itoa(info.Restarts)+" is planned, it is number "+strconv.Itoa(expected))
		return
	}
	delay := info.NextRestart - c.w.now
	if want := delayOf(&s.config.Lifecycle, info.Restarts-1); delay != want && !b.unsureRuns {
		c.failf("I9", s, "the restart comes after "+duration(delay)+", not "+duration(want))
	}
	b.restarts, b.unsureRuns = info.Restarts, false
}

// runLength is how long the last run was, at least and at most: what counts as its beginning is open.
func (c *checker) runLength(s *service) (low, high Time) {
	p := c.w.proc(s.book.gen)
	if p.toldAt == 0 || p.readyAt == 0 {
		if p.toldAt == 0 {
			return 0, 0
		}
		return 0, p.toldAt - p.asked
	}
	return p.toldAt - p.readyAt, c.w.now - p.asked
}

// delayOf is the delay of restart number count (from 0): states.md 3.
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
	if b.wish != wishUp || b.asked || b.warrant != 0 || c.shutting || c.onExit || b.unsureRuns || s.config.Status == graph.StatusIgnore {
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
	low, high := c.runLength(s)
	period := Time(l.StabilityPeriod)
	return low >= period || high < period && b.restarts < l.MaxRestarts
}

// duration writes a time for people.
func duration(t Time) string {
	return strconv.FormatFloat(float64(t)/float64(millisecond), 'f', -1, 64) + "ms"
}
