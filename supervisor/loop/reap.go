package loop

import (
	"fmt"
	"slices"
	"time"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// reap takes every dead child. All are collected first and told to the machine together: restarting in between would
// never come to an end in a storm.
func (d *driver) reap() {
	var mains []*ending
	orphans := false
	for {
		e, ok := d.world.Ended()
		if !ok {
			break
		}
		if !d.children.knows(e.PID) && d.world.Forking() {
			d.takeWords() // the word that names this pid may be waiting
		}
		switch {
		case d.children.mainOf(e.PID) != nil:
			// It stays a zombie until its tree is gone, so that its group number cannot become somebody else's.
			d.children.mainOf(e.PID).adopted = false // who is reaped here has become our child, if it was not
			mains = append(mains, &ending{Exit: e, child: d.children.mainOf(e.PID)})
		case d.children.helpers[e.PID] != nil:
			d.helperExited(d.children.helpers[e.PID], e.Status)
		case d.world.Forking():
			d.children.early[e.PID] = e
		default:
			d.world.Reap(e.PID)
			orphans = true
		}
	}
	d.mainsExited(mains)
	if orphans {
		d.trees.kick()
	}
}

// takeWords runs the words that are waiting now.
func (d *driver) takeWords() {
	for range inboxLen {
		select {
		case word := <-d.inbox:
			word()
		default:
			return
		}
	}
}

// settleEarly looks at exits that came before the word that named their process. With no fork under way, what is left
// are orphans.
func (d *driver) settleEarly() {
	var mains []*ending
	for _, e := range inOrder(d.children.early) {
		pid := e.PID
		switch {
		case d.children.mainOf(pid) != nil:
			d.children.mainOf(pid).adopted = false
			mains = append(mains, &ending{Exit: e, child: d.children.mainOf(pid)})
		case d.children.helpers[pid] != nil:
			d.helperExited(d.children.helpers[pid], e.Status)
		case d.world.Forking():
			continue
		default:
			d.world.Reap(pid)
		}
		delete(d.children.early, pid)
	}
	d.mainsExited(mains)
}

// ending is the exit of a main process on its way to the machine.
type ending struct {
	proc.Exit
	child *child

	foreign *keeper.Exit // not our child: the keeper told, and is told when the journal has it
	asked   bool         // pid_file was read
	inFile  int          // what it says, 0 = nothing
	held    string       // why it says nothing
}

// mainsExited tells the machine that main processes have ended, after what they wrote has been read, and it is known what
// they have left.
func (d *driver) mainsExited(exits []*ending) {
	exits = d.pidFiles(d.lastNotices(exits))
	if len(exits) == 0 {
		return
	}
	children := make([]*child, len(exits))
	for i, e := range exits {
		children[i] = e.child
	}
	d.ask(children, func(left Left) { d.settle(exits, left) })
}

// settle goes on with exits when it is known what they have left.
func (d *driver) settle(exits []*ending, left Left) {
	exits = slices.DeleteFunc(exits, func(e *ending) bool { return !d.current(e) || d.unsettled(e, left[e.child.gen]) })
	if len(exits) == 0 {
		return
	}
	gens := make([]uint64, 0, len(exits))
	for _, e := range exits {
		d.children.ended(e.child)
		e.child.stopFiling()
		gens = append(gens, uint64(e.child.gen))
	}
	fault.Here("exit")
	d.world.Drain(gens)
	d.tell(exits, left)
}

// tell tells the machine about exits, some in a turn.
func (d *driver) tell(exits []*ending, left Left) {
	some := exits[:min(len(exits), exitsInTurn)]
	for _, e := range some {
		d.mainExited(e, left[e.child.gen])
		d.acknowledge(e)
	}
	if rest := exits[len(some):]; len(rest) > 0 {
		d.more = append(d.more, func() { d.tell(rest, left) })
	}
}

// current reports whether an exit that was held back is still that of a main process. It has named another one if not.
func (d *driver) current(e *ending) bool {
	if d.children.isMain(e.child, e.PID) {
		return true
	}
	if e.foreign == nil {
		d.world.Reap(e.PID)
	}
	d.acknowledge(e)
	d.trees.kick()
	return false
}

// lastNotices holds back the exits of those that may have said something (READY=1, MAINPID) just before they ended, until
// it has been heard. It returns the others.
func (d *driver) lastNotices(exits []*ending) []*ending {
	return slices.DeleteFunc(exits, func(e *ending) bool {
		c := e.child
		if c.notify == nil || c.heard == e.PID {
			return false
		}
		d.world.FlushNotices(c.notify, func() {
			c.heard = e.PID
			d.goOn(e)
		})
		return true
	})
}

// pidFiles holds back the exits of programs that may have put themselves into the background, until their pid files are
// read. A file system that does not answer is waited for by nobody else, and only for pidFilePatience.
func (d *driver) pidFiles(exits []*ending) []*ending {
	return slices.DeleteFunc(exits, func(e *ending) bool {
		c := e.child
		if e.asked || c.config.PIDFile == "" || c.config.Oneshot || c.ending {
			return false
		}
		if c.fileHangs {
			e.inFile, e.held = 0, PIDFileHangs
			return false
		}
		c.fileHangs = true
		waits := true
		on := func(pid int, why string) {
			if waits {
				waits = false
				e.asked, e.inFile, e.held = true, pid, why
				d.goOn(e)
			}
		}
		late := d.world.After(pidFilePatience, func() { on(0, PIDFileHangs) })
		d.world.PIDFile(c.config, func(pid int, why string) {
			c.fileHangs = false
			late.Stop()
			on(pid, why)
		})
		return true
	})
}

// PIDFileHangs is why a pid file says nothing that lies on a mount which hangs.
const PIDFileHangs = "its pid_file cannot be read: the file system does not answer"

// clean reports whether the program ended as one that has put itself into the background does.
func (e *ending) clean() bool { return e.Status.Signal == 0 && e.Status.Code == 0 && !e.Status.Unknown }

// unsettled holds back the exit of a program that is putting itself into the background: on the way there, of two forks or of
// a shell in between, several processes may be alive for a moment, and the pid file is written by the last one.
func (d *driver) unsettled(e *ending, left []proc.Process) bool {
	c := e.child
	if len(left) == 0 || len(left) == 1 && c.config.PIDFile == "" || !e.clean() || !c.mayLeave(d.clock.Time()) {
		return false
	}
	if _, byFile := e.daemon(left); byFile != 0 {
		return false
	}
	e.asked = false // it may be written by then
	d.world.After(daemonizeLook, func() { d.goOn(e) })
	return true
}

// mayLeave reports whether a main process that has just exited 0 may be on its way into the background.
func (c *child) mayLeave(now time.Time) bool {
	if c.config.Oneshot || c.ending {
		return false
	}
	switch {
	case !c.settleBy.IsZero():
	case c.config.PIDFile != "":
		c.settleBy = now.Add(pidFileWait)
	default:
		c.settleBy = earlier(now.Add(daemonizeSettle), c.spawnAt.Add(daemonizeWindow-daemonizeLook))
	}
	return now.Before(c.settleBy)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// goOn takes up an exit that was held back.
func (d *driver) goOn(e *ending) {
	if d.current(e) {
		d.mainsExited([]*ending{e})
	}
}

// mainExited tells the machine about one. Survivors are the other processes of its tree, those left out of which somebody has
// taken the end since they were seen: nobody would tell of it again.
func (d *driver) mainExited(e *ending, survivors []proc.Process) {
	c := e.child
	survivors = slices.DeleteFunc(survivors, func(p proc.Process) bool { return !d.isThere(p) })
	ev := machine.ProcessExited{Gen: c.gen, Status: e.Status, Alive: len(survivors), At: c.endedAt}
	if e.Status.Signal == int32(proc.SIGKILL) && c.group != nil && c.group.OOMKilled() {
		ev.Status.OOM = true
	}
	if c.config.PIDFile != "" && !c.config.Oneshot && !c.ending {
		_, ev.PIDFileMain = e.daemon(survivors)
		ev.PIDFile = e.held
		if e.inFile > 0 {
			ev.PIDFile = fmt.Sprintf("its pid_file names %d, which is no process of the service", e.inFile)
		}
	} else if len(survivors) > 0 && e.clean() && d.clock.Time().Sub(c.spawnAt) < daemonizeWindow {
		ev.Daemon, _ = e.daemon(survivors)
	}
	d.step(ev)
	if len(survivors) == 0 {
		d.release(c)
		return
	}
	if id, ok := d.m.ByGen(c.gen); ok {
		if main := d.m.Info(id).PID; main > 0 && main != c.pid {
			d.adoptMain(c, main, survivors)
			return
		}
	}
	d.trees.add(c)
	if c.ending && !c.killed {
		d.endRest(c, survivors)
	}
}

// isThere reports whether a process that was seen is still there, if only as a zombie of which the end was not taken.
func (d *driver) isThere(p proc.Process) bool {
	if p.PID == 0 || p.Start == 0 { // not seen for certain
		return p.PID == 0 || d.world.Exists(p.PID)
	}
	now, _, there := d.world.Process(p.PID)
	return there && now.Start == p.Start
}

// daemon finds the process that a daemonizing program left as its main one: the one in pid_file if that is in the
// tree, else the only survivor.
func (e *ending) daemon(survivors []proc.Process) (only, byFile int) {
	if len(survivors) == 1 {
		only = survivors[0].PID
	}
	for _, p := range survivors {
		if e.inFile != 0 && p.PID == e.inFile {
			byFile = e.inFile
		}
	}
	return only, byFile
}

// adoptMain makes another process of the tree the main process.
func (d *driver) adoptMain(c *child, pid int, survivors []proc.Process) {
	old, reaped := c.pid, c.reaped
	if c.config.PIDFile == "" {
		c.warning = "its main process ended and left one process, which is taken for the main one: set pid_file, or the program's option to stay in the foreground"
		d.log.Warn(c.warning, "service", c.config.Name, "pid", pid)
	}
	start := uint64(0)
	for _, p := range survivors {
		if p.PID == pid {
			start = p.Start
		}
	}
	d.follow(c, pid, start)
	if !reaped { // else the number may be that of another child
		d.world.Reap(old)
	}
	c.settleBy = time.Time{}
	c.daemonized = true
	d.diary.run(c)
	d.changed(c)
}

// foreignExit takes the end of a process that is not our child, from the keeper.
func (d *driver) foreignExit(e keeper.Exit) {
	c := d.children.mainOf(e.PID)
	end := foreignEnd(c, e)
	if c == nil || !c.adopted || e.Start != 0 && c.start != 0 && e.Start != c.start {
		d.trees.kick()
		d.acknowledge(end)
		return
	}
	c.endedAt = machine.Time(e.At)
	d.children.reaped(c)
	d.mainsExited([]*ending{end})
}

// foreignEnd is the end of a main process that the keeper has reaped.
func foreignEnd(c *child, e keeper.Exit) *ending {
	st := machine.Status{Code: e.Code, Signal: e.Signal, Core: e.Core}
	return &ending{Exit: proc.Exit{PID: e.PID, Status: st}, child: c, foreign: &e}
}

// acknowledge lets the keeper forget an exit that it told, now that the journal has it.
func (d *driver) acknowledge(e *ending) {
	if e.foreign == nil {
		return
	}
	fault.Here("ack")
	if d.keeper != nil {
		_ = d.keeper.AckExit(e.foreign.PID, e.foreign.Start)
	}
}
