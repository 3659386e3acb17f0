package loop

import (
	"context"
	"errors"
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// probe runs one health check on a goroutine of its own; nothing exists while no check is under way.
func (d *driver) probe(gen machine.Gen, cfg *graph.Config) {
	c := d.children[gen]
	if c == nil || cfg.Health == nil {
		return
	}
	d.cancelProbe(gen)
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Health.Timeout)
	c.probing = cancel
	before := ""
	if c.check != nil {
		before = c.check.stuckText()
	}
	var h *helper
	if before == "" && cfg.Health.Type == graph.HealthExec {
		h = d.newHelper(c)
		c.check = h
	}
	go func() {
		defer cancel()
		ok, detail := probe.Run(ctx, cfg.Health, func(ctx context.Context) ([]byte, machine.Status, error) {
			if before != "" { // one more each time would be one more that cannot be killed
				return nil, machine.Status{}, errors.New("not run: the one before did not end within " + graph.Duration(cfg.Health.Timeout) + before)
			}
			return d.capture(ctx, h, proc.Needs(cfg, cfg.Health.Exec), func(stdout int) (int, *proc.Error) { return d.startCheck(h, cfg, stdout) })
		})
		if ok && d.leftovers {
			if by := d.impostor(cfg.Health); by != "" {
				ok, detail = false, by
			}
		}
		d.post(func() {
			d.step(machine.Probed{Gen: gen, OK: ok, Detail: detail})
			d.noteProbe(gen, cfg, ok, detail)
		})
	}()
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

// startCheck forks an exec check: as the service's user, in its directory and environment, within its limits.
func (d *driver) startCheck(h *helper, cfg *graph.Config, stdout int) (int, *proc.Error) {
	spec, err := d.specFor(cfg, cfg.Health.Exec, h.gen, d.opt.Environ, []string{"ZINIT_HOOK=health"})
	if err != nil {
		return 0, err
	}
	spec.Files = []int{d.devNull, stdout, stdout}
	spec.Identity, spec.Cgroup = cfg.Identity, h.group
	return proc.Start(spec)
}

// cancelProbe ends a check that is under way.
func (d *driver) cancelProbe(gen machine.Gen) {
	if c := d.children[gen]; c != nil && c.probing != nil {
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
	ours := d.owners()
	go func() {
		conflict := d.scanner.FindConflict(cfg, ours, a.Kill)
		d.post(func() { d.step(machine.Prechecked{Gen: a.Gen, Conflict: conflict}) })
	}()
}

// owners are all incarnations that have a process now.
func (d *driver) owners() []proc.Owner {
	out := make([]proc.Owner, 0, len(d.children))
	for _, c := range d.children {
		if c.pid > 0 {
			out = append(out, c.owner())
		}
	}
	return out
}
