package loop

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// reap takes every dead child. All are collected first and told to the machine together: restarting in between would
// never come to an end in a storm.
func (d *driver) reap() {
	var mains []proc.Exit
	orphans := false
	for {
		e, ok := d.reaper.Next()
		if !ok {
			break
		}
		if !d.knows(e.PID) && d.inFlight > 0 {
			d.takeWords() // the word that names this pid may be waiting
		}
		switch {
		case d.byPID[e.PID] != nil:
			// It stays a zombie until its tree is gone, so that its group number cannot become somebody else's.
			d.byPID[e.PID].adopted = false // who is reaped here has become our child, if it was not
			mains = append(mains, e)
		case d.aux[e.PID] != nil:
			d.auxExited(d.aux[e.PID], e.Status)
		case d.inFlight > 0:
			d.early[e.PID] = e
		default:
			d.reaper.Reap(e.PID)
			orphans = true
		}
	}
	d.mainsExited(mains)
	if orphans {
		d.trees.kick()
	}
}

func (d *driver) knows(pid int) bool { return d.byPID[pid] != nil || d.aux[pid] != nil }

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
	var mains []proc.Exit
	for pid, e := range d.early {
		switch {
		case d.byPID[pid] != nil:
			d.byPID[pid].adopted = false
			mains = append(mains, e)
		case d.aux[pid] != nil:
			d.auxExited(d.aux[pid], e.Status)
		case d.inFlight > 0:
			continue
		default:
			d.reaper.Reap(pid)
		}
		delete(d.early, pid)
	}
	d.mainsExited(mains)
}

// mainsExited tells the machine that main processes have ended, after what they wrote has been read.
func (d *driver) mainsExited(exits []proc.Exit) {
	exits = d.lastNotices(exits)
	if len(exits) == 0 {
		return
	}
	children := make([]*child, 0, len(exits))
	for _, e := range exits {
		children = append(children, d.byPID[e.PID])
	}
	survivors := d.trees.survivors(children) // looked for once: a second look could find others
	exits = slices.DeleteFunc(exits, func(e proc.Exit) bool { return d.unsettled(e, survivors) })
	if len(exits) == 0 {
		return
	}
	gens := make([]uint64, 0, len(exits))
	children = children[:0]
	for _, e := range exits {
		c := d.byPID[e.PID]
		delete(d.byPID, e.PID)
		c.gone = true
		gens = append(gens, uint64(c.gen))
		children = append(children, c)
	}
	fault.Here("exit")
	d.out.Drain(gens)
	for i, e := range exits {
		d.mainExited(children[i], e.Status, survivors[children[i].gen])
	}
}

// lastNotices holds back the exits of those that may have said something (READY=1, MAINPID) just before they ended, until
// it has been heard. It returns the others.
func (d *driver) lastNotices(exits []proc.Exit) []proc.Exit {
	return slices.DeleteFunc(exits, func(e proc.Exit) bool {
		c := d.byPID[e.PID]
		if c.notify == nil || c.adopted || c.heard == e.PID {
			return false
		}
		d.notices.Flush(c.notify, func() { d.post(func() { d.heardOut(c, e) }) })
		return true
	})
}

// heardOut goes on with an exit that was held back until the last words were heard.
func (d *driver) heardOut(c *child, e proc.Exit) {
	c.heard = e.PID
	d.goOn(c, e)
}

// unsettled holds back the exit of a program that is putting itself into the background: on the way there, of two forks or of
// a shell in between, several processes may be alive for a moment, and the pid file is written by the last one.
func (d *driver) unsettled(e proc.Exit, survivors map[machine.Gen][]proc.Process) bool {
	c := d.byPID[e.PID]
	left := survivors[c.gen]
	if len(left) == 0 || len(left) == 1 && c.config.PIDFile == "" || e.Status.Signal != 0 || e.Status.Code != 0 || !c.mayLeave() {
		return false
	}
	if _, byFile := d.daemon(c, left); byFile != 0 {
		return false
	}
	time.AfterFunc(daemonizeLook, func() { d.post(func() { d.goOn(c, e) }) })
	return true
}

// mayLeave reports whether a main process that has just exited 0 may be on its way into the background.
func (c *child) mayLeave() bool {
	if c.config.Oneshot || c.ending {
		return false
	}
	if c.settleBy.IsZero() {
		c.settleBy = earlier(time.Now().Add(daemonizeSettle), c.spawnAt.Add(daemonizeWindow-daemonizeLook))
	}
	return time.Now().Before(c.settleBy)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// goOn takes up an exit that was held back.
func (d *driver) goOn(c *child, e proc.Exit) {
	if d.byPID[e.PID] != c { // it named another main process
		d.reaper.Reap(e.PID)
		d.trees.kick()
		return
	}
	d.mainsExited([]proc.Exit{e})
}

// mainExited tells the machine about one. Survivors are the other processes of its tree.
func (d *driver) mainExited(c *child, st machine.Status, survivors []proc.Process) {
	ev := machine.ProcessExited{Gen: c.gen, Status: st, Alive: len(survivors), At: c.endedAt}
	if st.Signal == int32(unix.SIGKILL) && c.group != nil && c.group.OOMKilled() {
		ev.Status.OOM = true
	}
	if len(survivors) > 0 && st.Signal == 0 && st.Code == 0 && time.Since(c.spawnAt) < daemonizeWindow {
		ev.Daemon, ev.PIDFileMain = d.daemon(c, survivors)
	}
	d.step(ev)
	if len(survivors) == 0 {
		d.release(c)
		return
	}
	if id, ok := d.m.ByGen(c.gen); ok {
		if main := d.m.Info(id).PID; main > 0 && main != c.pid {
			d.adoptMain(c, main)
			return
		}
	}
	d.trees.add(c)
	if c.ending && !c.killed {
		d.signalRest(c, survivors)
	}
}

// signalRest gives the stop signal to what is left of a tree that is being stopped and was not in the group of the main
// process, which got it. Else a child in a session of its own would hold up every stop until its timeout.
func (d *driver) signalRest(c *child, survivors []proc.Process) {
	rest := slices.DeleteFunc(survivors, func(p proc.Process) bool { return p.PGRP == c.pid })
	if len(rest) == 0 {
		return
	}
	go func() {
		d.scanner.Signal(rest, unix.Signal(c.config.Lifecycle.StopSignal))
		d.scanner.Signal(rest, unix.SIGCONT)
	}()
}

// daemon finds the process that a daemonizing program left as its main one: the one in pid_file if that is in the
// tree, else the only survivor.
func (d *driver) daemon(c *child, survivors []proc.Process) (only, byFile int) {
	if len(survivors) == 1 {
		only = survivors[0].PID
	}
	if c.config.PIDFile != "" {
		pid := readPIDFile(c.config)
		for _, p := range survivors {
			if p.PID == pid {
				byFile = pid
			}
		}
	}
	return only, byFile
}

// adoptMain makes another process of the tree the main process.
func (d *driver) adoptMain(c *child, pid int) {
	d.reaper.Reap(c.pid)
	if c.config.PIDFile == "" {
		c.warning = "its main process ended and left one process, which is taken for the main one: set pid_file, or the program's option to stay in the foreground"
		d.log.Warn(c.warning, "service", c.config.Name, "pid", pid)
	}
	c.pid, c.start, c.gone, c.reaped, c.settleBy = pid, startTime(pid), false, false, time.Time{}
	c.daemonized = true
	d.byPID[pid] = c
	d.noteRun(c)
	d.changed(c)
}

// foreignExit takes the end of a process that is not our child, from the keeper.
func (d *driver) foreignExit(e keeper.Exit) {
	st := machine.Status{Code: e.Code, Signal: e.Signal, Core: e.Core}
	c := d.byPID[e.PID]
	if c == nil || !c.adopted || e.Start != 0 && c.start != 0 && e.Start != c.start {
		d.trees.kick()
	} else {
		c.reaped, c.endedAt = true, machine.Time(e.At)
		d.mainsExited([]proc.Exit{{PID: e.PID, Status: st}})
	}
	fault.Here("ack")
	if d.keeper != nil {
		_ = d.keeper.AckExit(e.PID, e.Start)
	}
}

// readPIDFile reads pid_file, relative to the service's directory; 0 when it says nothing usable. The service may have put
// anything there: opening a FIFO would hold up all others for good.
func readPIDFile(c *graph.Config) int {
	path := c.PIDFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0
	}
	var buf [32]byte
	n, _ := f.Read(buf[:])
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return pid
}
