package loop

import (
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// probe runs one health check; nothing exists while no check is under way.
func (d *driver) probe(gen machine.Gen, cfg *graph.Config) {
	c := d.children.of(gen)
	if c == nil || cfg.Health == nil {
		return
	}
	d.cancelProbe(gen)
	began := d.clock.Time()
	told := func(ok bool, detail string) {
		if _, known := d.m.ByGen(gen); known {
			d.tally.Probed(cfg.Name, ok, max(d.clock.Time().Sub(began), 0))
		}
		d.step(machine.Probed{Gen: gen, OK: ok, Detail: detail})
		d.noteProbe(gen, cfg, ok, detail)
	}
	if cfg.Health.Type != graph.HealthExec {
		c.probing = d.world.Probe(cfg.Health, told)
		return
	}
	if c.check != nil {
		if stuck := c.check.stuckText(d); stuck != "" { // one more each time would be one more that cannot be killed
			told(false, "not run: the one before did not end within "+graph.Duration(cfg.Health.Timeout)+stuck)
			return
		}
	}
	c.probing = d.execCheck(c, cfg, told)
}

// noteProbe writes the first of some failures in a row into the server's own log: what was got and what was wanted. The
// last one stands in the transition.
func (d *driver) noteProbe(gen machine.Gen, cfg *graph.Config, ok bool, detail string) {
	id, known := d.m.ByGen(gen)
	if ok || !known {
		return
	}
	if i := d.m.Info(id); i.State == machine.Running && i.FailuresRow == 1 {
		d.log.Warn(cfg.Name+": health check failed, 1 of "+strconv.Itoa(cfg.Health.Retries)+": "+detail, "service", cfg.Name, "cause", "health")
	}
}

// cancelProbe ends a check that is under way.
func (d *driver) cancelProbe(gen machine.Gen) {
	if c := d.children.of(gen); c != nil && c.probing != nil {
		c.probing()
		c.probing = nil
	}
}

// precheck looks who holds the ports and matches the filters of a service about to start.
func (d *driver) precheck(a machine.Precheck, cfg *graph.Config) {
	if _, runs := d.legacy[cfg.Name]; runs {
		d.step(machine.Prechecked{Gen: a.Gen}) // it holds its ports itself
		return
	}
	d.world.Conflict(cfg, d.owners(), a.Kill, func(conflict *machine.Conflict) {
		d.step(machine.Prechecked{Gen: a.Gen, Conflict: conflict})
	})
}

// owners are all incarnations that have a process now.
func (d *driver) owners() []proc.Owner {
	out := []proc.Owner{}
	for _, c := range d.children.all() {
		if c.pid > 0 {
			out = append(out, c.owner())
		}
	}
	return out
}
