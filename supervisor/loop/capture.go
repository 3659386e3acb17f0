package loop

import (
	"context"
	"errors"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// captured is the end of a command whose output was kept.
type captured struct {
	output []byte
	status machine.Status
	stuck  string // what is to be said about it when it was killed and is there all the same
	err    error  // there was no command
}

// capture starts a helper whose output is kept for done, which is called once, as a word.
func (d *driver) capture(h *helper, ask Helper, done func(captured)) {
	ask.Capture = true
	h.done = func(st machine.Status) {
		c := captured{status: st, stuck: h.stuckText(d)}
		d.world.Captured(&h.asked, func(output []byte) { c.output = output; done(c) })
	}
	d.startHelper(h, ask, func(err *proc.Error) { done(captured{err: err}) })
}

// Capture runs a short command, for another goroutine, and returns what it wrote to stdout and stderr. When ctx ends first,
// its group is killed.
func (l *Loop) Capture(ctx context.Context, spec *proc.Spec) ([]byte, machine.Status, error) {
	d := l.d
	ended := make(chan captured, 1)
	helpers := make(chan *helper, 1)
	d.post(func() {
		h := d.newHelper(nil)
		helpers <- h
		d.capture(h, Helper{Spec: spec}, func(c captured) { ended <- c })
	})
	h, ok := await(d, helpers)
	if !ok {
		return nil, machine.Status{}, errors.New("the supervisor is stopping")
	}
	var late error
	select {
	case c := <-ended:
		return c.output, c.status, c.err
	case <-ctx.Done():
		late = ctx.Err()
		d.post(func() { d.endHelper(h) })
	case <-d.opt.done:
	}
	c, ok := await(d, ended)
	switch {
	case !ok:
		return nil, machine.Status{}, errors.New("the supervisor is stopping")
	case c.err != nil && late == nil:
		late = c.err
	}
	return c.output, c.status, late
}

// execCheck runs an exec check: as the service's user, in its directory and environment, within its limits.
func (d *driver) execCheck(c *child, cfg *graph.Config, told func(ok bool, detail string)) (cancel func()) {
	late, off := false, false
	h := d.newHelper(c)
	c.check = h
	timer := d.world.After(cfg.Health.Timeout, func() { late = true; d.endHelper(h) })
	ask := Helper{Config: cfg, Command: cfg.Health.Exec, Env: []string{"ZINIT_HOOK=health"}}
	d.capture(h, ask, func(end captured) {
		timer.Stop()
		told(probe.Verdict(cfg.Health, &probe.End{Output: end.output, Status: end.status, Err: end.err, Stuck: end.stuck, Late: late, Off: off}))
	})
	return func() {
		if off = !h.dead; off && timer.Stop() {
			d.endHelper(h)
		}
	}
}
