package loop

import (
	"slices"
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// newDriver makes a driver with everything but its machine.
func newDriver(o *Options) *driver {
	w := o.World
	d := &driver{opt: o, world: w, log: o.Log, clock: w.Clock(), inbox: make(chan func(), inboxLen), sigchld: w.Deaths(),
		children: newChildren(), diary: diary{o.Journal, o.Log}, keeper: w.Keeper(),
		events: view.NewEventLog(o.firstEvent()), tally: view.NewTally()}
	d.rest = rest{world: w, act: o.AtRest}
	d.firstHelper = uint64(d.clock.Time().UnixMilli()) % maxHelper
	d.lastHelper = d.firstHelper
	d.boot = view.NewBootLine(d.clock, o.Machine.PID1, o.spawned())
	d.trees = newTreeWatch(d)
	w.Connect(Listener{Post: d.post, Ticked: d.ticked, Exited: d.foreignExit, Alone: d.keeperGone, Noticed: d.notified, Emptied: d.trees.kick})
	d.diary.note(InstanceNote, []byte(w.Instance()))
	return d
}

// spawned is when the keeper started this server, on CLOCK_BOOTTIME in ns; 0 = there is none.
func (o *Options) spawned() int64 {
	if o.Handover == nil {
		return 0
	}
	return o.Handover.SpawnedAt
}

// firstEvent continues the numbers of the server before, so that a follower can go on.
func (o *Options) firstEvent() uint64 {
	if o.Restored == nil {
		return 1
	}
	n, _ := strconv.ParseUint(string(o.Restored.Notes[eventNote]), 10, 64)
	return n
}

// countEvents writes the number behind n more events, before anybody sees them: after a crash none is given out twice.
func (d *driver) countEvents(n int) {
	d.diary.note(eventNote, strconv.AppendUint(nil, d.events.End()+uint64(n), 10))
}

// begin starts the helpers and feeds the first event, or after a restore the words about the time in between.
func (d *driver) begin() {
	d.world.Listen()
	d.world.Claimed() // all pipes and sinks that came back are there
	runs := map[string]bool{}
	for _, c := range d.children.all() {
		runs[c.config.Name] = true
	}
	d.world.SweepBelongings(func(service string) bool { return runs[service] })
	d.tellClock()
	if d.resume == nil {
		d.step(d.first)
		d.startLegacy()
		d.diary.flush()
	}
	for _, ev := range d.resume {
		d.step(ev)
	}
	for _, c := range d.lost {
		d.settleLost(c)
	}
	fault.Here("resumed")
	d.ackInherited()
	d.awaitExits()
	late := d.late
	d.resume, d.lost, d.awaited, d.late = nil, nil, nil, nil
	for _, c := range d.children.all() {
		if c.adopted && c.daemonized && !c.gone {
			d.watchForeign(c)
		}
		if c.notify != nil {
			c.notify.Begin()
		}
		if id, ok := d.m.ByGen(c.gen); ok && d.m.Info(id).State == machine.Starting && c.pid > 0 && !c.gone {
			d.watchPIDFile(c) // the server before was still waiting for it
		}
	}
	for _, e := range late {
		d.mainsExited([]*ending{e})
	}
	d.dropUnclaimed()
	if d.opt.Restored != nil {
		known := d.children.accountedFor()
		d.world.Beside(func() { d.world.EndOldHelpers(d.firstHelper, known) })
	}
	d.reap()
	d.commit()
	for _, c := range d.children.all() {
		if c.ending {
			d.trees.hurry()
		}
	}
}

// settleLost lets go of an incarnation whose main process ended while nobody watched, or watches the rest of its tree.
func (d *driver) settleLost(c *child) {
	if id, ok := d.m.ByGen(c.gen); ok && (d.m.Info(id).State == machine.Stopping || d.m.Info(id).Leftovers) {
		d.children.enter(c)
		d.trees.add(c)
		d.changed(c)
		return
	}
	d.release(c)
}

// awaitExits gives up on exits that the keeper does not know of either.
func (d *driver) awaitExits() {
	for _, c := range d.awaited {
		d.giveUpLater(c)
	}
}

// giveUpLater takes a process that is gone for one of which nobody knows how it ended, unless the keeper tells.
func (d *driver) giveUpLater(c *child) {
	patience := exitPatience
	if d.keeper == nil {
		patience = 0
	}
	pid, start := c.pid, c.start
	d.world.After(patience, func() {
		d.reap() // it may have become our child since, and then its status is known
		if c.gone || !c.adopted || c.pid != pid || d.children.mainOf(pid) != c || d.world.Lives(pid, start) {
			return
		}
		d.children.reaped(c)
		d.mainsExited([]*ending{{Exit: proc.Exit{PID: pid, Status: machine.Status{Unknown: true}}, child: c,
			foreign: &keeper.Exit{PID: pid, Start: start}}})
	})
}

// ackInherited tells the keeper which exits are in the journal now.
func (d *driver) ackInherited() {
	if d.keeper == nil || d.opt.Handover == nil {
		return
	}
	_ = d.keeper.AckExits(slices.DeleteFunc(slices.Clone(d.opt.Handover.Exits), func(e keeper.Exit) bool {
		return slices.ContainsFunc(d.late, func(late *ending) bool { return *late.foreign == e })
	}))
	_ = d.keeper.Settled()
	for _, c := range d.children.all() {
		if c.pid > 0 && !c.gone && !c.reaped { // else the number may be the next process's
			_ = d.keeper.Track(c.pid, uint64(c.gen))
		}
	}
	_ = d.keeper.Budget(d.stopBudget())
}

// keeperGone goes on alone: it was what told of the ends of adopted processes.
func (d *driver) keeperGone() {
	d.log.Error("the keeper is gone: a crash of this server would from now on leave its services without one")
	for _, c := range d.children.all() {
		if c.adopted && !c.gone {
			d.watchForeign(c)
		}
	}
}

// stopBudget is the longest time an ordered stop may take: the heaviest chain of stop timeouts over the edges that order
// stopping.
func (d *driver) stopBudget() time.Duration {
	g := d.m.Graph()
	total := make([]time.Duration, g.Len())
	var longest time.Duration
	order := g.Order()
	for i := len(order) - 1; i >= 0; i-- {
		id := order[i]
		c := g.Config(id)
		total[id] += c.Lifecycle.StopTimeout + c.PostStop.Timeout + 2*time.Second
		longest = max(longest, total[id])
		for _, ids := range [][]graph.ID{g.Requires(id), g.Binds(id), g.After(id)} {
			for _, o := range ids {
				total[o] = max(total[o], total[id])
			}
		}
	}
	return longest
}
