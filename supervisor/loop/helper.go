package loop

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// helper is a command that runs for a service beside its main process: a hook or an exec check. It is always our child, and
// a tree of its own with a mark and a control group of its own: it is never taken for the service, and nothing of it is
// left when it has ended or its time is over.
type helper struct {
	gen    uint64 // proc.Aside and a number that is used once
	child  *child
	alone  bool        // it runs without a main process, in a group beside that of the incarnation
	parent *proc.Group // the group that its own is in, nil = none
	group  *proc.Group

	pid     int          // 0 = the fork is under way
	start   uint64       // its start time, 0 = not known
	dead    bool         // the process itself
	expired bool         // it was killed
	stuck   bool         // and was there all the same after killPatience: nobody waits for it any more
	remains proc.Process // one that it has left, and that SIGKILL did not end either
	timer   *time.Timer
	job     *job                 // its fork
	done    func(machine.Status) // called once, or failed is
	failed  func(*proc.Error)
}

// newHelper makes one that has not been started. The self test of an upgrade is one without a service.
func (d *driver) newHelper(c *child) *helper {
	h := &helper{gen: proc.Aside | d.lastHelper.Add(1)%maxHelper, child: c}
	if c != nil {
		h.parent = c.group
	}
	return h
}

// maxHelper is beyond the greatest number that a mark has room for, a power of 2.
const maxHelper = 1 << 39

// owner is how the processes of a helper are recognised.
func (h *helper) owner() proc.Owner {
	o := proc.Owner{Gen: h.gen}
	if h.start != 0 { // else the number alone could be another's by now
		o.Main, o.Start = h.pid, h.start
	}
	if h.group != nil {
		o.Cgroup = h.group.Main()
	}
	return o
}

// stuckText says which process of a helper that was killed is there all the same, "" = none any more.
func (h *helper) stuckText() string {
	pid := h.remains.PID
	switch {
	case pid > 0 && proc.Lives(h.remains.PID, h.remains.Start):
	case h.dead || !h.stuck:
		return ""
	case h.pid == 0:
		return ", and has not even been executed: its program is on a disk that does not answer"
	default:
		pid = h.pid
	}
	text := fmt.Sprintf(", and its process %d is there after SIGKILL still", pid)
	if p, err := proc.ReadProcess(pid); err == nil && p.State == 'D' {
		text += ", in an uninterruptible sleep"
	}
	return text
}

// makeGroup makes the helper's control group, on a worker.
func (h *helper) makeGroup(d *driver) (err *proc.Error) {
	if h.alone {
		if err = d.belongings.Make(h.child.config, uint64(h.child.gen)); err != nil {
			return err
		}
		if h.parent, err = d.newGroup(h.child.config, h.gen); err != nil {
			return err
		}
	}
	if h.parent != nil {
		h.group, err = h.parent.Helper(h.gen &^ proc.Aside)
	}
	return err
}

// startHelper forks a helper on a worker, once what it needs can be reached. failed is called when there is none.
func (d *driver) startHelper(h *helper, needs []string, timeout time.Duration, start func() (int, *proc.Error), failed func(*proc.Error)) {
	h.failed = failed
	h.job = d.pool.submit(needs, func() func() {
		var timer *time.Timer
		if timeout > 0 {
			timer = time.AfterFunc(timeout, func() { d.post(func() { d.killHelper(h) }) })
		}
		err := h.makeGroup(d)
		pid, at := 0, uint64(0)
		if err == nil {
			if pid, err = start(); err == nil {
				at = startTime(pid)
			}
		}
		return func() {
			h.pid, h.start, h.timer = pid, at, timer
			if err != nil {
				d.notStarted(h, err)
				return
			}
			d.helpers[pid] = h
			if h.expired {
				d.killHelper(h)
			}
		}
	})
	if timeout > 0 && !h.job.begun {
		time.AfterFunc(timeout, func() { d.post(func() { d.callOffHelper(h) }) })
	}
}

// notStarted ends a helper that never was.
func (d *driver) notStarted(h *helper, err *proc.Error) {
	h.dead = true
	if h.timer != nil {
		h.timer.Stop()
	}
	d.letGo(h)
	if !h.stuck {
		h.failed(err)
	}
}

// callOffHelper ends a helper that has not been started, since it waits for a file system that does not answer.
func (d *driver) callOffHelper(h *helper) bool {
	if !d.pool.callOff(h.job) {
		return false
	}
	d.notStarted(h, &proc.Error{Step: "exec", Detail: "it waited for a file system that does not answer"})
	return true
}

// endHelper ends a helper, started or not.
func (d *driver) endHelper(h *helper) {
	if !d.callOffHelper(h) {
		d.killHelper(h)
	}
}

// killHelper ends a helper with all its processes; its exit comes through reap like every other. One that is there all the
// same a while later is not waited for.
func (d *driver) killHelper(h *helper) {
	if h.dead {
		return
	}
	if !h.expired {
		time.AfterFunc(killPatience, func() { d.post(func() { d.giveUp(h) }) })
	}
	h.expired = true
	if h.pid > 0 {
		_ = unix.Kill(-h.pid, unix.SIGKILL)
		owner, group := h.owner(), h.group
		go d.killTree(treeLook{owner: owner, group: group, held: true}, false)
	}
}

// giveUp goes on without a helper that SIGKILL did not end.
func (d *driver) giveUp(h *helper) {
	if h.dead {
		return
	}
	h.stuck = true
	h.done(machine.Status{Signal: int32(unix.SIGKILL)})
}

// helperExited takes the end of a helper, which is still a zombie. What it has left ends first.
func (d *driver) helperExited(h *helper, st machine.Status) {
	if h.dead {
		return
	}
	_ = unix.Kill(-h.pid, unix.SIGKILL) // the number is certainly its own
	h.dead = true
	fault.Here("hook")
	if h.timer != nil {
		h.timer.Stop()
	}
	over := func() {
		delete(d.helpers, h.pid)
		d.reaper.Reap(h.pid)
		d.letGo(h)
		if !h.stuck {
			h.done(st)
		}
	}
	if !d.left(h) {
		over()
		return
	}
	look, known := treeLook{owner: h.owner(), group: h.group, held: true}, d.accountedFor()
	go func() {
		remains := d.sweep(look, known)
		d.post(func() { h.remains = remains; over() })
	}()
}

// left reports whether a helper that has ended may have left a process. It takes no time.
func (d *driver) left(h *helper) bool {
	return h.group != nil && h.group.Populated(h.pid) || !proc.Usable() && proc.GroupLives(h.pid) ||
		!d.scanner.Unknown(d.knows).None()
}

// sweep ends what a helper has left. It takes a moment until killed processes have ended, at most sweepPatience: one may be
// in an uninterruptible sleep, and is what it returns.
func (d *driver) sweep(l treeLook, known func(pid int) bool) (remains proc.Process) {
	end := time.Now().Add(sweepPatience)
	tick := time.NewTicker(treePollFirst)
	defer tick.Stop()
	for {
		orphans, _ := d.scanner.LookForOrphans(known)
		left := slices.DeleteFunc(d.scanner.TreeWith(&l.owner, orphans), func(p proc.Process) bool { return p.PID == l.owner.Main })
		if len(left) == 0 && (l.group == nil || !l.group.Populated(l.owner.Main)) {
			return proc.Process{}
		}
		if time.Now().After(end) {
			return append(left, proc.Process{})[0]
		}
		var within []int
		if l.group != nil {
			within = l.group.Processes()
		}
		d.killTree(l, slices.ContainsFunc(left, func(p proc.Process) bool { return !slices.Contains(within, p.PID) }))
		<-tick.C
	}
}

// letGo removes the groups of a helper that has ended, with that of its incarnation where that is over.
func (d *driver) letGo(h *helper) {
	if h.group == nil && h.parent == nil {
		return
	}
	over := h.alone || h.child != nil && d.children[h.child.gen] != h.child
	group, parent := h.group, h.parent
	go func() {
		if group != nil {
			_ = group.Remove()
		}
		if over && parent != nil {
			_ = parent.Remove()
		}
	}()
}

// endOldHelpers ends the helpers of a server before this one: whoever waited for them is dead. A command that makes a
// service reload is left to come to its end. It may be called by any goroutine.
func (d *driver) endOldHelpers(known func(pid int) bool) {
	old := func(gen uint64) bool { return gen&proc.Aside != 0 && gen&^proc.Aside < d.firstHelper }
	for _, o := range d.scanner.Orphans(known) {
		if hook, _ := proc.Variable(o.PID, "ZINIT_HOOK"); old(o.Gen) && hook != hookReload {
			d.scanner.KillTree(&proc.Owner{Gen: o.Gen, Main: o.PID, Start: o.Start})
		}
	}
	if d.cgroups == nil {
		return
	}
	for _, g := range d.cgroups.Groups(old) {
		_ = g.Kill()
		go g.Remove() //nolint:errcheck // one that is still busy stays
	}
}
