package sim

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// survivor is a service with a process over which a reload passes.
type survivor struct {
	service  *service
	state    machine.State
	gen      Gen
	pid      int
	restarts int
}

// noteSurvivors remembers who has a process when a reload comes.
func (c *checker) noteSurvivors() {
	c.kept = c.kept[:0]
	for _, s := range c.w.byID {
		if info := c.w.m.Info(s.id); s.active() && !s.config.Target {
			c.kept = append(c.kept, survivor{s, info.State, info.Gen, info.PID, info.Restarts})
		}
	}
}

// survivors is I15: who is neither restarted nor removed nor bound to such a one keeps process, state and counts.
func (c *checker) survivors(plan *graph.Plan) {
	for i := range c.kept {
		k := &c.kept[i]
		s := k.service
		if !s.present || s.book.asked || s.book.wish != wishUp || c.shutting || c.bindsBroken(s, map[*service]bool{}) {
			continue
		}
		info := c.w.m.Info(s.id)
		if k.state == machine.Stopping && changes(plan, s.name, "status") {
			continue // it may be wanted up again before its stop has begun
		}
		if k.state == machine.Starting && info.State == machine.Running && changes(plan, s.name, "health") {
			continue // it waited for a check that is no more
		}
		if info.State != k.state || info.Gen != k.gen || info.PID != k.pid ||
			info.Restarts != k.restarts && !s.book.unsureRuns { // being pulled in resets the count
			c.failf("I15", s, "does not survive a reload that does not concern it")
			return
		}
	}
}

// changes reports whether a plan changes one key of a service.
func changes(plan *graph.Plan, name, field string) bool {
	for i := range plan.Changed {
		if plan.Changed[i].Name == name && slices.Contains(plan.Changed[i].Fields, field) {
			return true
		}
	}
	return false
}

// gainsBind reports whether a plan gives s, or what it requires or binds directly or through others, something to bind, or
// makes a target of it: that is not satisfied when the new definitions come, even if it is at the end of the Step.
func (c *checker) gainsBind(s *service, plan *graph.Plan, seen map[*service]bool) bool {
	if plan == nil || seen[s] {
		return false
	}
	seen[s] = true
	found := changes(plan, s.name, "binds") || changes(plan, s.name, "definition")
	if !found {
		c.w.hard(s, func(d *service) bool {
			found = c.gainsBind(d, plan, seen)
			return !found
		})
	}
	return found
}
