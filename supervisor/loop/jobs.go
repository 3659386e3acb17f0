package loop

import (
	"slices"
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// tellClock tells the machine what the wall clock shows and what the zones are now, and from the first job on watches for
// their changes.
func (d *driver) tellClock() { d.tellClockFor(d.m.Graph()) }

// tellClockFor is tellClock before a reload brings a graph.
func (d *driver) tellClockFor(g *graph.Graph) {
	names := zoneNames(g)
	if d.clockWatch == nil && hasJobs(g) {
		watch, err := d.world.WatchClock(d.tellClock)
		if err != nil {
			d.log.Warn("cannot watch the wall clock: after it is set, jobs go by the old time until the next reload", "error", err)
		} else {
			d.clockWatch = watch
		}
	}
	if d.clockWatch != nil {
		d.clockWatch.Zones(names)
	}
	ev := machine.ClockSet{Wall: d.clock.Time().UnixNano(), Local: d.world.Zone("")}
	for _, name := range names {
		if zone := d.world.Zone(name); zone != nil {
			if ev.Zones == nil {
				ev.Zones = map[string]*time.Location{}
			}
			ev.Zones[name] = zone
		}
	}
	d.step(ev)
}

// zoneNames are the zones that schedules name, each once.
func zoneNames(g *graph.Graph) (names []string) {
	for id := range graph.ID(g.Len()) {
		for _, s := range g.Config(id).Schedules {
			if name := s.ZoneName(); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func hasJobs(g *graph.Graph) bool {
	for id := range graph.ID(g.Len()) {
		if len(g.Config(id).Schedules) > 0 {
			return true
		}
	}
	return false
}

// leftOut tells of a run that was due and that a rule kept from running.
func (d *driver) leftOut(a machine.LeftOut, c *graph.Config) {
	now := d.clock.Time()
	d.tally.LeftOut(c.Name, a.Rule, 1)
	run := jobs.Run{Job: c.Name, Began: now, Ended: now, Cause: machine.CauseSchedule.String(), Left: a.Rule}
	if !d.opt.Jobs.Add(run, keep(c)) {
		return // that it is left out again is no news
	}
	text := c.Name + ": its run was left out: " + a.Rule
	if a.Runs > 1 {
		text = c.Name + ": " + strconv.Itoa(a.Runs) + " runs that waited were left out: " + a.Rule
	}
	d.log.Info(text, "service", c.Name)
	d.notes = append(d.notes, wire.Event{Time: view.RFC3339(now), Service: c.Name, From: d.m.Info(a.ID).State.String(),
		To: d.m.Info(a.ID).State.String(), Cause: machine.CauseSchedule.String(), Text: text})
}

// noteJob remembers the runs of a job: when each attempt began, and how it ended.
func (d *driver) noteJob(n machine.Note, o *order, exit *view.Exit) {
	c, i := o.config, o.info
	if len(c.Schedules) == 0 {
		return
	}
	r := jobs.Run{Job: c.Name, Gen: uint64(n.Gen), Began: o.at, Cause: n.Cause.String()}
	if n.To == machine.Starting {
		r.Log, r.From = d.world.NextLine(c.Name)
		d.opt.Jobs.Begin(r, keep(c))
		return
	}
	ran := n.From == machine.Starting || n.From == machine.Stopping
	if n.To == machine.Blocked && n.Cause == machine.CauseRestore || !ran && n.To != machine.Failed ||
		n.To != machine.Exited && n.To != machine.Failed && n.To != machine.Blocked {
		return
	}
	if r.Ended = o.at; !ran {
		r.Gen = 0 // it could not even begin
	}
	if exit != nil {
		number := int(exit.Code)
		if r.Code = &number; exit.Signal != 0 {
			number = int(exit.Signal)
			r.Code, r.Signal = nil, &number
		}
	}
	if n.To == machine.Failed {
		i.Reason = n.Reason
		r.Failed = view.ReasonText(i, c)
	}
	d.opt.Jobs.End(r, keep(c))
}

// keep is how many runs of a job are remembered.
func keep(c *graph.Config) int {
	n := 1
	for _, s := range c.Schedules {
		n = max(n, s.Keep)
	}
	return n
}
