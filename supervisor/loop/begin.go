package loop

import (
	"crypto/rand"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/output"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// newDriver makes a driver with everything but its machine.
func newDriver(o *Options) (*driver, error) {
	d := &driver{opt: o, log: o.Log, clock: view.NewClock(), inbox: make(chan func(), inboxLen), sigchld: make(chan os.Signal, 1),
		deadlines: time.NewTimer(time.Hour), children: map[machine.Gen]*child{}, byPID: map[int]*child{}, helpers: map[int]*helper{},
		early: map[int]proc.Exit{}, reaper: proc.NewReaper(), arena: o.Arena, diary: diary{o.Journal, o.Log}, keeper: o.Keeper,
		events: view.NewEventLog(o.firstEvent())}
	d.deadlines.Stop()
	d.firstHelper = uint64(time.Now().UnixMilli()) % maxHelper
	d.lastHelper.Store(d.firstHelper)
	d.boot = view.NewBootLine(d.clock, o.Machine.PID1, o.spawned())
	d.pool = newSpawnPool(d.post, o.Keeper == nil)
	d.trees = newTreeWatch(d)
	d.belongings = proc.NewBelongings(o.Environ)
	d.survey = &survey{d: d}
	out, err := output.New(o.Arena, output.Options{Closed: d.outputClosed})
	if err != nil {
		return nil, err
	}
	d.out = out
	d.devNull = proc.EmptyInput()
	if d.noCgroups = "switched off by ZINIT_CGROUP=0"; os.Getenv("ZINIT_CGROUP") != "0" {
		d.cgroups, d.noCgroups = proc.DetectCgroupsOf(o.owner())
	}
	if d.cgroups != nil {
		d.trees.watchGroups()
	}
	d.notices = d.newNotices()
	d.sinks = newSinks(d)
	d.scanner = &proc.Scanner{Instance: o.instance()}
	o.Dead = slices.DeleteFunc(slices.Clone(o.Dead), func(name string) bool { return name == d.scanner.Instance })
	if o.Handover != nil && o.Keeper != nil {
		d.scanner.Keeper = o.Handover.PID
	}
	d.diary.note(instanceNote, []byte(d.scanner.Instance))
	return d, nil
}

// spawned is when the keeper started this server, on CLOCK_BOOTTIME in ns; 0 = there is none.
func (o *Options) spawned() int64 {
	if o.Handover == nil {
		return 0
	}
	return o.Handover.SpawnedAt
}

// owner is the process that outlives a crash: the keeper, else this one.
func (o *Options) owner() int {
	if o.Keeper != nil && o.Handover != nil && o.Handover.PID > 0 {
		return o.Handover.PID
	}
	return os.Getpid()
}

// instance names this supervisor over all its lives, so that its services are told from those of another one.
func (o *Options) instance() string {
	if o.Restored != nil {
		if name := o.Restored.Notes[instanceNote]; len(name) > 0 {
			return string(name)
		}
	}
	if o.Instance != "" {
		return o.Instance
	}
	return rand.Text()
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
	if d.keeper != nil {
		exits := make(chan keeper.Exit)
		d.exits = exits
		go d.listenToKeeper(exits)
	}
	d.arena.FlushUnclaimed(time.Now().UnixMilli()) // all pipes and sinks that came back are there
	runs := map[string]bool{}
	for _, c := range d.children {
		runs[c.config.Name] = true
	}
	d.belongings.Sweep(func(service string) bool { return runs[service] })
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
	for _, c := range d.children {
		if c.adopted && c.daemonized && !c.gone {
			d.watchForeign(c)
		}
		c.notify.Begin()
		if id, ok := d.m.ByGen(c.gen); ok && d.m.Info(id).State == machine.Starting && c.pid > 0 && !c.gone {
			d.watchPIDFile(c) // the server before was still waiting for it
		}
	}
	for _, e := range late {
		d.foreignExit(e)
	}
	d.dropUnclaimed()
	if d.opt.Restored != nil {
		go d.endOldHelpers(d.accountedFor())
	}
	d.reap()
	d.commit()
	for _, c := range d.children {
		if c.ending {
			d.trees.hurry()
		}
	}
}

// settleLost lets go of an incarnation whose main process ended while nobody watched, or watches the rest of its tree.
func (d *driver) settleLost(c *child) {
	if id, ok := d.m.ByGen(c.gen); ok && (d.m.Info(id).State == machine.Stopping || d.m.Info(id).Leftovers) {
		d.children[c.gen] = c
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
	time.AfterFunc(patience, func() {
		d.post(func() {
			d.reap() // it may have become our child since, and then its status is known
			if c.gone || !c.adopted || c.pid != pid || d.byPID[pid] != c || startTime(pid) == start && !zombie(pid) {
				return
			}
			c.reaped = true
			d.mainsExited([]*ending{{Exit: proc.Exit{PID: pid, Status: machine.Status{Unknown: true}}, child: c,
				foreign: &keeper.Exit{PID: pid, Start: start}}})
		})
	})
}

// ackInherited tells the keeper which exits are in the journal now.
func (d *driver) ackInherited() {
	if d.keeper == nil || d.opt.Handover == nil {
		return
	}
	_ = d.keeper.AckExits(slices.DeleteFunc(slices.Clone(d.opt.Handover.Exits), func(e keeper.Exit) bool {
		return slices.Contains(d.late, e)
	}))
	_ = d.keeper.Settled()
	for _, c := range d.children {
		if c.pid > 0 {
			_ = d.keeper.Track(c.pid, uint64(c.gen))
		}
	}
	_ = d.keeper.Budget(d.stopBudget())
}

// listenToKeeper passes on what the keeper says until it is gone. It blocks in poll(2), which costs nothing while the
// keeper is silent.
func (d *driver) listenToKeeper(exits chan<- keeper.Exit) {
	fds := []unix.PollFd{{Fd: int32(d.keeper.FD()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		for {
			ev, ok, err := d.receive()
			if err != nil {
				d.post(d.keeperGone)
				return
			}
			if !ok {
				break
			}
			for _, e := range ev.Exits {
				select {
				case exits <- e:
				case <-d.opt.done:
					return
				}
			}
		}
	}
}

// receive takes one word of the keeper, and passes on an order: never while another image is about to take over.
func (d *driver) receive() (keeper.Event, bool, error) {
	d.receiving.Lock()
	defer d.receiving.Unlock()
	ev, ok, err := d.keeper.Receive()
	if ev.Order != 0 && d.opt.Order != nil {
		d.opt.Order(ev.Order)
	}
	return ev, ok, err
}

// keeperGone goes on alone: it was what told of the ends of adopted processes.
func (d *driver) keeperGone() {
	d.log.Error("the keeper is gone: a crash of this server would from now on leave its services without one")
	for _, c := range d.children {
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

// outputClosed is called by the reader, from its goroutine, when a log pipe has been read to its end.
func (d *driver) outputClosed(s output.Source) {
	if d.keeper != nil {
		_ = d.keeper.DropPipe(s.Gen, s.Stream)
	}
}

// ringLimits are the bounds of a service's log ring.
func ringLimits(o *Options, c *graph.Config) logring.Limits {
	return logring.Limits{Lines: c.Logging.BufferLines, Bytes: c.Logging.BufferBytes}
}
