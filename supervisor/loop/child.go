package loop

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
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

	job     *job         // the fork of its main process, nil = not asked for yet
	aborted bool         // Abort came before the answer to Spawn
	hook    *helper      // a command that runs for it now
	check   *helper      // the last exec check
	spawnAt time.Time    // when the main process was forked
	group   *proc.Group  // cgroup, nil = none
	notify  *notify.Conn // readiness and status, nil = none
	heard   int          // pid of a main process that has ended and whose last words were heard
	probing context.CancelFunc
	filing  context.CancelFunc // ends watchPIDFile, nil = it has not begun

	fileHangs atomic.Bool // its pid file is being read

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
	d.children[gen] = c
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

// spawnMain hands the fork to a worker.
func (d *driver) spawnMain(c *child) {
	delete(d.leftRunning, c.config.Name)
	base := d.opt.Environ
	c.job = d.pool.submit(proc.Needs(c.config, c.config.Exec), func() func() {
		f := d.forkMain(c, base)
		return func() { d.spawned(c, f) }
	})
}

// forked is what a worker brings back.
type forked struct {
	pid    int
	start  uint64
	at     time.Time
	inodes []uint64
	inputs proc.Inputs
	group  *proc.Group
	notify *notify.Conn
	err    *proc.Error
}

// spawned takes the answer of a worker.
func (d *driver) spawned(c *child, f forked) {
	c.group, c.notify = f.group, f.notify
	if f.err != nil {
		d.spawnFailed(c, f.err)
		return
	}
	c.pid, c.start, c.spawnAt, c.inodes, c.inputs = f.pid, f.start, f.at, f.inodes, f.inputs
	d.byPID[f.pid] = c
	if d.keeper != nil {
		_ = d.keeper.Track(f.pid, uint64(c.gen))
	}
	d.diary.run(c)
	fault.Here("spawned")
	d.step(machine.Spawned{Gen: c.gen, PID: f.pid})
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
	ctx, stop := context.WithCancel(context.Background())
	c.filing = stop
	pid, dir, path := c.pid, c.config.Dir, c.config.PIDFile
	go func() {
		for pause := pidFileFirst; ; pause = min(2*pause, pidFileSlow) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if named, _ := proc.ReadPIDFile(dir, path); named != pid {
				continue
			}
			d.post(func() {
				if ctx.Err() == nil && d.children[c.gen] == c && c.pid == pid {
					d.step(machine.Readied{Gen: c.gen})
				}
			})
			return
		}
	}()
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
	d.out.Drain([]uint64{uint64(c.gen)})
	d.step(machine.SpawnFailed{Gen: c.gen, Kind: err.Step, Detail: err.Detail, Aborted: c.aborted})
	d.release(c)
}

// abort ends a start that has not been answered: the hook dies; an exec under way will be answered and then stopped.
func (d *driver) abort(gen machine.Gen) {
	c := d.children[gen]
	if c == nil || c.pid != 0 {
		return
	}
	c.aborted = true
	if c.hook != nil {
		d.endHelper(c.hook)
	}
	if d.pool.callOff(c.job) {
		d.spawnFailed(c, &proc.Error{Step: "exec", Detail: "the start was called off while it waited for a file system that does not answer"})
	}
}

// release lets go of everything an incarnation holds. Its log pipes are read on until EOF or the grace is over.
func (d *driver) release(c *child) {
	fault.Here("release")
	delete(d.children, c.gen)
	if c.pid != 0 && d.byPID[c.pid] == c {
		delete(d.byPID, c.pid)
	}
	if c.probing != nil {
		c.probing()
	}
	c.stopFiling()
	d.closeNotify(uint64(c.gen), c.notify)
	if c.pid != 0 && !c.adopted && !c.reaped {
		d.reaper.Reap(c.pid)
	}
	if d.keeper != nil && c.pid != 0 {
		_ = d.keeper.Untrack(c.pid)
	}
	d.out.Release(uint64(c.gen), outputGrace)
	if c.group != nil {
		go d.removeGroup(c.group, c.hook == nil)
	}
	d.diary.over(c)
}

// removeGroup removes the group of an incarnation that is gone. Where no hook of it runs any more, which removes it then,
// nothing may be left in it, such as what a server before this one has run.
func (d *driver) removeGroup(g *proc.Group, alone bool) {
	for _, helper := range g.Helpers() {
		if alone {
			_ = helper.Kill()
		}
	}
	_ = g.Remove()
}

// stop begins the graceful end: stop_signal, or stop_command. A command that succeeded may only have asked (nginx -s
// quit): the signal follows when half of the stop timeout is over. After one that failed it follows at once.
func (d *driver) stop(gen machine.Gen, cfg *graph.Config) {
	c := d.children[gen]
	if c == nil {
		return
	}
	c.ending = true
	c.stopFiling()
	d.trees.hurry()
	sig := unix.Signal(cfg.Lifecycle.StopSignal)
	if c.gone || cfg.StopCommand.Command.IsZero() {
		d.sendStop(c, sig)
		return
	}
	d.runHook(c, hookStop, cfg.StopCommand, func(ok bool, detail string) {
		send := func() {
			if d.children[gen] == c {
				d.sendStop(c, sig)
			}
		}
		if ok {
			time.AfterFunc(cfg.Lifecycle.StopTimeout/2, func() { d.post(send) })
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
func (d *driver) sendStop(c *child, sig unix.Signal) {
	under := d.signalTree(c, sig)
	note := func() {
		if d.children[c.gen] == c {
			c.signalled = true
			d.diary.run(c)
		}
	}
	if len(under) == 0 {
		note()
		return
	}
	go func() {
		for _, done := range under {
			<-done
		}
		d.post(note)
	}()
}

// beside runs work that may take a moment beside the loop; the channel is closed when it is done.
func beside(work func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	return done
}

// signal sends what an operator asked for, to the group.
func (d *driver) signal(a machine.Signal, cfg *graph.Config) {
	c := d.children[a.Gen]
	switch {
	case c == nil || c.pid == 0:
	case a.Reload && !cfg.Reload.Command.IsZero():
		hook := graph.Hook{Command: cfg.Reload.Command, Timeout: cfg.Lifecycle.StopTimeout}
		d.runHook(c, hookReload, hook, func(ok bool, detail string) {
			if !ok {
				d.log.Warn("the reload command failed", "service", cfg.Name, "detail", detail)
			}
		})
	case a.Reload:
		d.signalMain(c, unix.Signal(cfg.Reload.Signal))
	default:
		d.signalGroup(c, unix.Signal(a.Sig))
	}
}

// signalMain reaches the main process alone. The channel is closed when the signal was sent; nil: it was.
func (d *driver) signalMain(c *child, sig unix.Signal) <-chan struct{} {
	if c.gone {
		return nil
	}
	if c.adopted {
		pid, start := c.pid, c.start
		return beside(func() { d.sent(c, pid, sig, proc.SignalProcess(pid, start, sig)) })
	}
	d.sent(c, c.pid, sig, unix.Kill(c.pid, sig)) // our child, not reaped: the number is its own
	return nil
}

// signalGroup reaches the process group of the main process. Its number is safe while the main process, or its zombie,
// is our child; otherwise, and where another process has become the main one, which leads no group that we know of, the
// members are looked up one by one. The channel is as signalMain's.
func (d *driver) signalGroup(c *child, sig unix.Signal) <-chan struct{} {
	if c.unseen() {
		pid := c.pid
		return beside(func() { d.sent(c, pid, sig, proc.SignalProcess(pid, 0, sig)) })
	}
	if c.adopted || c.reaped || c.daemonized || c.pid == 0 {
		owner := c.owner()
		return beside(func() { d.scanner.SignalTree(&owner, sig) })
	}
	if unix.Kill(-c.pid, sig) != nil {
		d.sent(c, c.pid, sig, unix.Kill(c.pid, sig))
	}
	return nil
}

// unseen reports whether an adopted main process cannot be found in /proc, which is not there. The keeper has not told of
// its end, so the number is still its own.
func (c *child) unseen() bool {
	return c.adopted && !c.gone && !c.daemonized && c.pid > 0 && c.start == 0
}

// kill ends everything that belongs to an incarnation. It goes on in treeWatch until nothing is left.
func (d *driver) kill(gen machine.Gen) {
	c := d.children[gen]
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
		d.signalMain(c, unix.SIGKILL)
		return
	}
	if c.pid != 0 && !c.gone && !c.adopted {
		_ = unix.Kill(-c.pid, unix.SIGKILL)
	}
	unseen, pid := c.unseen(), c.pid
	look := c.look()
	go func() {
		if unseen {
			_ = proc.SignalProcess(pid, 0, unix.SIGKILL)
		}
		d.killTree(look, look.group == nil)
		d.post(d.trees.kick)
	}()
	d.watchObstacles(c, obstacleFirst)
}
