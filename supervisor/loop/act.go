package loop

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// resolve ties an action to the definition of its service while its ID is still valid.
func (d *driver) resolve(a machine.Action) order {
	o := order{act: a}
	switch a := a.(type) {
	case machine.Precheck:
		o.config = d.m.Config(a.ID)
	case machine.Spawn:
		o.config = d.m.Config(a.ID)
	case machine.Stop:
		o.config = d.m.Config(a.ID)
	case machine.Kill:
		o.config = d.m.Config(a.ID)
	case machine.Signal:
		o.config = d.m.Config(a.ID)
	case machine.Probe:
		o.config = d.m.Config(a.ID)
	case machine.Hook:
		o.config = d.m.Config(a.ID)
	case machine.Critical:
		o.config = d.m.Config(a.ID)
	case machine.Reply:
		if a.ID >= 0 && int(a.ID) < d.m.Len() {
			o.config, o.info = d.m.Config(a.ID), d.m.Info(a.ID)
		}
	case machine.Note:
		o.config, o.info, o.at = d.m.Config(a.ID), d.m.Info(a.ID), d.clock.Time()
	case machine.LeftOut:
		d.leftOut(a, d.m.Config(a.ID))
	}
	return o
}

// do does one action. None of these blocks.
func (d *driver) do(o order) {
	switch a := o.act.(type) {
	case machine.Note:
		d.note(a, &o)
	case machine.Precheck:
		d.precheck(a, o.config)
	case machine.Spawn:
		d.spawn(a.Gen, o.config)
	case machine.Abort:
		d.abort(a.Gen)
	case machine.Stop:
		d.stop(a.Gen, o.config)
	case machine.Kill:
		d.kill(a.Gen)
	case machine.Signal:
		d.signal(a, o.config)
	case machine.Probe:
		d.probe(a.Gen, o.config)
	case machine.CancelProbe:
		d.cancelProbe(a.Gen)
	case machine.Hook:
		d.postStop(a.Gen, o.config)
	case machine.Reply:
		d.requests.settle(a.Req, Settled{a.Outcome, o.info, a.Gen})
	case machine.Forget:
		d.forget(a.Name)
	case machine.Critical:
		d.critical(o.config)
	case machine.Halt:
		d.halted, d.exitCode = true, a.Code
	}
}

// forget drops what is kept under the name of a removed service.
func (d *driver) forget(name string) {
	d.allDirty = true
	d.world.Undirect(name)
	d.boot.Forget(name)
	d.tally.Forget(name)
	d.diary.forget(name)
}

// critical says on the console what failed and why; pid1 offers the emergency shell.
func (d *driver) critical(c *graph.Config) {
	e, _, _ := d.views.Load().Lookup(c.Name)
	text := "failed for good"
	if e != nil {
		text = view.ReasonText(e.Info, e.Config)
	}
	d.log.Error("critical service failed for good", "service", c.Name, "reason", text)
	if d.keeper != nil {
		d.keeper.Critical(c.Name, d.networkUp())
	}
}

// networkUp tells whether somebody could still log in from elsewhere.
func (d *driver) networkUp() bool {
	id, ok := d.m.Graph().Lookup("network")
	return ok && d.m.Info(id).State == machine.Running
}
