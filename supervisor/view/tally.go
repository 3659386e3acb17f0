package view

import (
	"maps"
	"sync"
	"time"

	"github.com/zinit/zinit/supervisor/machine"
)

// Tally counts what has happened to each service since this server began. Its methods are safe for concurrent use.
type Tally struct {
	mu sync.Mutex
	of map[string]*Counts
}

// Counts are those of one service.
type Counts struct {
	Starts    [32]uint32 // by machine.Cause
	Restarts  [16]uint32 // by policy: by the machine.ReasonType of the end before, ReasonNone = it exited as it should
	Exits     map[Exit]uint64
	Passed    uint64 // health checks
	Failed    uint64
	ProbeTime time.Duration // that they took together
	LeftOut   map[string]uint64

	last machine.ReasonType // why the last run ended
}

// Exit is how a main process ended: by a signal, or with a code where that is 0.
type Exit struct{ Code, Signal int32 }

// NewTally makes an empty one.
func NewTally() *Tally { return &Tally{of: map[string]*Counts{}} }

// count changes the counts of one service.
func (t *Tally) count(name string, change func(*Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of[name]
	if c == nil {
		c = &Counts{}
		t.of[name] = c
	}
	change(c)
}

// Noted counts a transition; exit is how its main process ended, nil = none has.
func (t *Tally) Noted(name string, n machine.Note, exit *Exit) {
	switch n.To {
	case machine.Starting:
		if n.From == machine.Stopping || n.Cause == machine.CauseRestore {
			return // it goes on
		}
	case machine.Failed, machine.Exited:
	default:
		if exit == nil {
			return
		}
	}
	t.count(name, func(c *Counts) {
		switch {
		case n.To == machine.Starting:
			if c.Starts[n.Cause]++; n.Cause == machine.CauseRestart {
				c.Restarts[c.last]++
			}
			return
		case exit != nil:
			if c.Exits == nil {
				c.Exits = map[Exit]uint64{}
			}
			c.Exits[*exit]++
		}
		c.last = n.Reason.Type
	})
}

// Probed counts a health check.
func (t *Tally) Probed(name string, ok bool, took time.Duration) {
	t.count(name, func(c *Counts) {
		if c.ProbeTime += took; ok {
			c.Passed++
		} else {
			c.Failed++
		}
	})
}

// LeftOut counts runs of a job that a rule kept from running.
func (t *Tally) LeftOut(name, rule string, runs int) {
	t.count(name, func(c *Counts) {
		if c.LeftOut == nil {
			c.LeftOut = map[string]uint64{}
		}
		c.LeftOut[rule] += uint64(runs)
	})
}

// Forget drops the counts of a service that was removed.
func (t *Tally) Forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, name)
}

// Of are the counts of one service.
func (t *Tally) Of(name string) Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of[name]
	if c == nil {
		return Counts{}
	}
	copied := *c
	copied.Exits, copied.LeftOut = maps.Clone(c.Exits), maps.Clone(c.LeftOut)
	return copied
}
