package loop

import (
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// child is one incarnation of a service: from the decision to start it until nothing of it is left.
type child struct {
	gen    machine.Gen
	config *graph.Config // the definition it was started with

	pid        int          // main process, 0 = not known yet
	start      uint64       // its start time in clock ticks since boot
	inodes     []uint64     // of its log pipes
	inputs     proc.Inputs  // what its files said when it started
	adopted    bool         // not our child: started by a server before this one
	gone       bool         // the main process has ended
	reaped     bool         // and its zombie is away, so its group number may be somebody else's
	ending     bool         // a stop or kill was begun
	signalled  bool         // the stop signal was sent, and that is in the journal
	asked      askedToEnd   // processes outside of the main one's group that got it
	killed     bool         // SIGKILL was sent to the tree
	told       bool         // the kernel tells when its control group is empty
	endedAt    machine.Time // when the keeper reaped the main process, 0 = not told
	daemonized bool         // the main process is a descendant, which we reap as an orphan

	preparing bool // pre_start: the main process has not been forked

	fork    Fork      // the fork of its main process, nil = not asked for yet
	aborted bool      // Abort came before the answer to Spawn
	hook    *helper   // a command that runs for it now
	check   *helper   // the last exec check
	spawnAt time.Time // when the main process was forked
	group   Group     // cgroup, nil = none
	notify  Reporter  // readiness and status, nil = none
	heard   int       // pid of a main process that has ended and whose last words were heard
	probing func()    // calls the check under way off, nil = none
	filing  func()    // ends watchPIDFile, nil = it has not begun

	fileHangs bool // its pid file is being read

	settleBy time.Time // until when the way into the background may last, zero = not begun

	statusText string
	announced  string // "reloading" or "stopping": what it said about itself
	warning    string
	stuck      string    // why processes are still there after SIGKILL
	toldStuck  string    // what of that was told
	shown      *view.Run // what queries see, nil = stale
}

// public is the part that queries may see.
func (c *child) public() *view.Run {
	if c.shown == nil {
		c.shown = &view.Run{Gen: c.gen, PID: c.pid, Owner: c.owner(), StatusText: c.statusText, Announced: c.announced, Inputs: c.inputs, Warning: c.warning,
			Stuck: c.stuck}
		if c.group != nil {
			c.shown.Cgroup = c.group.Path()
		}
	}
	return c.shown
}

// changed makes queries see what is new.
func (d *driver) changed(c *child) {
	c.shown = nil
	if id, ok := d.m.ByGen(c.gen); ok {
		d.touched = append(d.touched, id)
	}
}

// owner is how the processes of this incarnation are recognised.
func (c *child) owner() proc.Owner {
	o := proc.Owner{Service: c.config.Name, Gen: uint64(c.gen), Main: c.pid, Start: c.start, PipeInodes: c.inodes}
	if c.group != nil {
		o.Cgroup = c.group.Main()
	}
	return o
}

// spawn begins an incarnation: pre_start, then the main process.
func (d *driver) spawn(gen machine.Gen, cfg *graph.Config) {
	c := &child{gen: gen, config: cfg}
	d.children.enter(c)
	if d.adoptLegacy(c) {
		return
	}
	if other := d.onTerminal(c); other != "" {
		d.spawnFailed(c, &proc.Error{Step: proc.StepTTY, Detail: "the terminal " + cfg.Tty + " is in use by " + other + ", which runs"})
		return
	}
	if cfg.PreStart.Command.IsZero() {
		d.spawnMain(c)
		return
	}
	c.preparing = true
	d.diary.run(c)
	d.runHook(c, hookPreStart, cfg.PreStart, func(ok bool, detail string) {
		c.preparing = false
		switch {
		case c.aborted:
			d.spawnFailed(c, &proc.Error{Step: hookPreStart, Detail: "the start was called off"})
		case !ok:
			d.spawnFailed(c, &proc.Error{Step: hookPreStart, Detail: "pre_start " + detail})
		default:
			d.diary.run(c)
			d.spawnMain(c)
		}
	})
}

// spawnMain asks for the fork.
func (d *driver) spawnMain(c *child) {
	delete(d.leftRunning, c.config.Name)
	c.fork = d.world.StartMain(c.config, c.gen, func(f Forked) { d.spawned(c, f) })
}

// follow makes a process the main one, for the keeper too.
func (d *driver) follow(c *child, pid int, start uint64) {
	if d.keeper != nil {
		if c.pid != 0 && c.pid != pid {
			_ = d.keeper.Untrack(c.pid)
		}
		_ = d.keeper.Track(pid, uint64(c.gen))
	}
	d.children.main(c, pid, start)
}

// spawned takes the answer to a fork.
func (d *driver) spawned(c *child, f Forked) {
	c.group, c.notify = f.Group, f.Notify
	if f.Err != nil {
		d.spawnFailed(c, f.Err)
		return
	}
	c.spawnAt, c.inodes, c.inputs = f.At, f.Inodes, f.Inputs
	d.follow(c, f.PID, f.Start)
	d.diary.run(c)
	fault.Here("spawned")
	d.step(machine.Spawned{Gen: c.gen, PID: f.PID})
	d.changed(c)
	if c.notify != nil {
		c.notify.Begin()
	}
	d.watchPIDFile(c)
}

// watchPIDFile looks during a start whether pid_file names the main process itself: a program in the foreground is ready
// then. One that goes into the background is when the process that was started has ended, see pidFiles.
func (d *driver) watchPIDFile(c *child) {
	if !machine.ReadyByFile(c.config) {
		return
	}
	pid := c.pid
	c.filing = d.world.AwaitPIDFile(c.config, pid, func() {
		if c.filing != nil && d.children.current(c) && c.pid == pid {
			d.step(machine.Readied{Gen: c.gen})
		}
	})
}

// stopFiling ends that: the main process has ended, or the incarnation is to end.
func (c *child) stopFiling() {
	if c.filing != nil {
		c.filing()
		c.filing = nil
	}
}

// spawnFailed ends an incarnation that never had a main process.
func (d *driver) spawnFailed(c *child, err *proc.Error) {
	d.world.Drain([]uint64{uint64(c.gen)})
	d.step(machine.SpawnFailed{Gen: c.gen, Kind: err.Step, Detail: err.Detail, Aborted: c.aborted})
	d.release(c)
}

// abort ends a start that has not been answered: the hook dies; an exec under way will be answered and then stopped.
func (d *driver) abort(gen machine.Gen) {
	c := d.children.of(gen)
	if c == nil || c.pid != 0 {
		return
	}
	c.aborted = true
	if c.hook != nil {
		d.endHelper(c.hook)
	}
	if c.fork != nil && c.fork.CallOff() {
		d.spawnFailed(c, &proc.Error{Step: "exec", Detail: "the start was called off while it waited for a file system that does not answer"})
	}
}

// release lets go of everything an incarnation holds. Its log pipes are read on until EOF or the grace is over.
func (d *driver) release(c *child) {
	fault.Here("release")
	d.children.leave(c)
	if c.probing != nil {
		c.probing()
	}
	c.stopFiling()
	if c.notify != nil {
		d.world.EndNotices(c.gen, c.notify)
	}
	if d.keeper != nil && c.pid != 0 {
		_ = d.keeper.Untrack(c.pid) // before the number is free: else the next process with it would be taken for this one
	}
	if c.pid != 0 && !c.adopted && !c.reaped {
		d.world.Reap(c.pid)
	}
	d.world.Release(uint64(c.gen), outputGrace)
	if c.group != nil {
		d.world.Leave(&Forked{Group: c.group}, c.hook == nil)
	}
	d.diary.over(c)
}

// stop begins the graceful end: stop_signal, or stop_command. A command that succeeded may only have asked (nginx -s
// quit): the signal follows when half of the stop timeout is over. After one that failed it follows at once.
func (d *driver) stop(gen machine.Gen, cfg *graph.Config) {
	c := d.children.of(gen)
	if c == nil {
		return
	}
	c.ending = true
	c.stopFiling()
	d.trees.hurry()
	sig := cfg.Lifecycle.StopSignal
	if c.gone || cfg.StopCommand.Command.IsZero() {
		d.sendStop(c, sig)
		return
	}
	d.runHook(c, hookStop, cfg.StopCommand, func(ok bool, detail string) {
		send := func() {
			if d.children.of(gen) == c {
				d.sendStop(c, sig)
			}
		}
		if ok {
			d.world.After(cfg.Lifecycle.StopTimeout/2, send)
			return
		}
		d.log.Warn("stop_command failed, the stop signal is sent", "service", cfg.Name, "detail", detail)
		send()
	})
}

// sendStop sends the stop signal and writes down that it was: for some programs a second one means that they must not take
// their time any more, so that the next server does not send it again.
//
// Where processes are signalled beside the loop it is written down behind that: a server that dies in between would leave
// them without the signal, and they would be waited for until they are killed.
func (d *driver) sendStop(c *child, sig graph.Signal) {
	d.signalTree(c, sig, func() {
		if d.children.current(c) {
			c.signalled = true
			d.diary.run(c)
		}
	})
}

// signal sends what an operator asked for, to the group, and answers the request when that is done.
func (d *driver) signal(a machine.Signal, cfg *graph.Config) {
	c := d.children.of(a.Gen)
	sent := func(ok bool) {
		outcome := machine.OutcomeDone
		if !ok {
			outcome = machine.OutcomeNotSent
		}
		d.requests.sent(a.Req, Settled{Outcome: outcome})
	}
	switch {
	case c == nil || c.pid == 0:
	case a.Reload && !cfg.Reload.Command.IsZero():
		hook := graph.Hook{Command: cfg.Reload.Command, Timeout: cfg.Lifecycle.StopTimeout}
		d.runHook(c, HookReload, hook, func(ok bool, detail string) {
			if !ok {
				d.log.Warn("the reload command failed", "service", cfg.Name, "detail", detail)
			}
		})
	case a.Reload:
		d.requests.hold(a.Req)
		d.signalMain(c, cfg.Reload.Signal, sent)
	default:
		d.requests.hold(a.Req)
		d.signalGroup(c, a.Sig, sent)
	}
}

// signalMain reaches the main process alone. sent is called when that was tried, at once if it could be.
func (d *driver) signalMain(c *child, sig graph.Signal, sent func(ok bool)) {
	switch {
	case c.gone:
		sent(false)
	case c.adopted:
		d.world.SignalOther(c.config.Name, c.pid, c.start, sig, sent)
	default: // our child, not reaped: the number is its own
		sent(d.world.Signal(c.config.Name, c.pid, sig))
	}
}

// signalGroup reaches the process group of the main process. Its number is safe while the main process, or its zombie,
// is our child; otherwise, and where another process has become the main one, which leads no group that we know of, the
// members are looked up one by one. sent is as signalMain's.
func (d *driver) signalGroup(c *child, sig graph.Signal, sent func(ok bool)) {
	switch {
	case c.unseen():
		d.world.SignalOther(c.config.Name, c.pid, 0, sig, sent)
	case c.adopted || c.reaped || c.daemonized || c.pid == 0:
		d.world.SignalTree(c.owner(), sig, sent)
	default:
		sent(d.world.SignalGroup(c.config.Name, c.pid, sig))
	}
}

// unseen reports whether an adopted main process cannot be found in /proc, which is not there. The keeper has not told of
// its end, so the number is still its own.
func (c *child) unseen() bool {
	return c.adopted && !c.gone && !c.daemonized && c.pid > 0 && c.start == 0
}

// kill ends everything that belongs to an incarnation. It goes on in treeWatch until nothing is left.
func (d *driver) kill(gen machine.Gen) {
	c := d.children.of(gen)
	if c == nil {
		return
	}
	c.ending, c.killed = true, true
	d.trees.hurry()
	if c.hook != nil {
		d.endHelper(c.hook)
	}
	if d.killMode(c) == graph.KillProcess {
		if c.gone {
			d.leaveRest(c)
		}
		d.signalMain(c, proc.SIGKILL, func(bool) {})
		return
	}
	if c.pid != 0 && !c.gone && !c.adopted {
		d.world.KillGroup(c.pid)
	}
	unseen := 0
	if c.unseen() {
		unseen = c.pid
	}
	d.world.KillTree(c.tree(), c.group == nil, unseen, d.trees.kick)
	d.watchObstacles(c, obstacleFirst)
}
