package sim

import (
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
func (c *checker) survivors() {
	for i := range c.kept {
		k := &c.kept[i]
		s := k.service
		if !s.present || s.book.asked || s.book.wish != wishUp || c.shutting || c.bindsBroken(s, map[*service]bool{}) {
			continue
		}
		info := c.w.m.Info(s.id)
		if info.State != k.state || info.Gen != k.gen || info.PID != k.pid || info.Restarts != k.restarts {
			c.failf("I15", s, "does not survive a reload that does not concern it")
			return
		}
	}
}
