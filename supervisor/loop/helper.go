package loop

import (
	"fmt"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// helper is a command that runs for a service beside its main process: a hook or an exec check. It is always our child, and
// a tree of its own with a mark and a control group of its own: it is never taken for the service, and nothing of it is
// left when it has ended or its time is over.
type helper struct {
	gen   uint64 // proc.Aside and a number that is used once
	child *child
	asked Helper // as it was asked for

	forked  Forked       // PID 0 = the fork is under way
	dead    bool         // the process itself
	expired bool         // it was killed
	stuck   bool         // and was there all the same after killPatience: nobody waits for it any more
	remains proc.Process // one that it has left, and that SIGKILL did not end either
	fork    Fork
	done    func(machine.Status) // called once, or failed is
	failed  func(*proc.Error)
}

// newHelper makes one that has not been started. The self test of an upgrade is one without a service.
func (d *driver) newHelper(c *child) *helper {
	d.lastHelper++
	return &helper{gen: proc.Aside | d.lastHelper%maxHelper, child: c}
}

// maxHelper is beyond the greatest number that a mark has room for, a power of 2.
const maxHelper = 1 << 39

// tree is how the processes of a helper are recognised. It holds its main process, which is our child.
func (h *helper) tree() Tree {
	f := &h.forked
	t := Tree{Owner: proc.Owner{Gen: h.gen}, Group: f.Group, Held: true}
	if f.Start != 0 { // else the number alone could be another's by now
		t.Owner.Main, t.Owner.Start = f.PID, f.Start
	}
	if f.Group != nil {
		t.Owner.Cgroup = f.Group.Main()
	}
	return t
}

// stuckText says which process of a helper that was killed is there all the same, "" = none any more.
func (h *helper) stuckText(d *driver) string {
	left := proc.Process{PID: h.forked.PID}
	there, asleep := false, false
	if h.remains.PID > 0 {
		there, asleep = d.world.Stands(h.remains)
	}
	switch {
	case there:
		left = h.remains
	case h.dead || !h.stuck:
		return ""
	case left.PID == 0:
		return ", and has not even been executed: its program is on a disk that does not answer"
	default:
		_, asleep = d.world.Stands(left)
	}
	text := fmt.Sprintf(", and its process %d is there after SIGKILL still", left.PID)
	if asleep {
		text += ", in an uninterruptible sleep"
	}
	return text
}

// startHelper forks a helper, once what it needs can be reached. failed is called when there is none.
func (d *driver) startHelper(h *helper, ask Helper, failed func(*proc.Error)) {
	ask.Gen, ask.Over = h.gen, func() { d.killHelper(h) }
	if h.child != nil {
		ask.Of, ask.Within = h.child.gen, h.child.group
	}
	h.asked, h.failed = ask, failed
	h.fork = d.world.StartHelper(&h.asked, func(f Forked) {
		h.forked = f
		if f.Err != nil {
			d.notStarted(h, f.Err)
			return
		}
		d.children.help(f.PID, h)
		if h.expired {
			d.killHelper(h)
		}
	})
	if ask.Limit > 0 && !h.fork.Begun() {
		d.world.After(ask.Limit, func() { d.callOffHelper(h) })
	}
}

// notStarted ends a helper that never was.
func (d *driver) notStarted(h *helper, err *proc.Error) {
	h.dead = true
	if h.forked.Limit != nil {
		h.forked.Limit.Stop()
	}
	d.letGo(h)
	if !h.stuck {
		h.failed(err)
	}
}

// callOffHelper ends a helper that has not been started, since it waits for a file system that does not answer.
func (d *driver) callOffHelper(h *helper) bool {
	if h.fork == nil || !h.fork.CallOff() {
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
		d.world.After(killPatience, func() { d.giveUp(h) })
	}
	h.expired = true
	if pid := h.forked.PID; pid > 0 {
		d.world.KillGroup(pid)
		d.world.KillTree(h.tree(), false, 0, nil)
	}
}

// giveUp goes on without a helper that SIGKILL did not end.
func (d *driver) giveUp(h *helper) {
	if h.dead {
		return
	}
	h.stuck = true
	h.done(machine.Status{Signal: int32(proc.SIGKILL)})
}

// helperExited takes the end of a helper, which is still a zombie. What it has left ends first.
func (d *driver) helperExited(h *helper, st machine.Status) {
	if h.dead {
		return
	}
	pid := h.forked.PID
	d.world.KillGroup(pid) // the number is certainly its own
	h.dead = true
	fault.Here("hook")
	if h.forked.Limit != nil {
		h.forked.Limit.Stop()
	}
	over := func() {
		d.children.unhelp(pid)
		d.world.Reap(pid)
		d.letGo(h)
		if !h.stuck {
			h.done(st)
		}
	}
	whole := h.tree()
	whole.Owner.Main = pid
	if d.world.Clean(whole, d.children.knows) {
		over()
		return
	}
	d.world.Sweep(h.tree(), d.children.accountedFor(), func(remains proc.Process) {
		h.remains = remains
		over()
	})
}

// letGo removes the groups of a helper that has ended, with that of its incarnation where that is over.
func (d *driver) letGo(h *helper) {
	f := &h.forked
	if f.Group == nil && f.Parent == nil {
		return
	}
	if !h.asked.Alone && (h.child == nil || d.children.of(h.child.gen) == h.child) {
		f.Parent = nil
	}
	d.world.Leave(f, false)
}
