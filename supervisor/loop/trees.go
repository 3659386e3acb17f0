package loop

import (
	"time"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// treeWatch knows the incarnations whose main process has ended while other processes of theirs live, and finds out when
// the last one is gone. Of those with a control group the kernel tells. The last process of another tree has no living
// ancestor of its own, so it is a child of ours (or of the keeper) and its end is heard; a look every now and then is only
// a second net, and a fast one only while a tree is being ended.
type treeWatch struct {
	d         *driver
	lingering map[machine.Gen]*child
	groups    *proc.GroupWatch // nil: there are no control groups, or they cannot be watched
	scanning  bool
	again     bool
	delay     time.Duration
	timer     *time.Timer
}

func newTreeWatch(d *driver) *treeWatch {
	return &treeWatch{d: d, lingering: map[machine.Gen]*child{}}
}

// watchGroups begins to listen to the kernel.
func (t *treeWatch) watchGroups() {
	w, err := proc.WatchGroups(func(string) { t.d.post(t.kick) })
	if err != nil {
		t.d.log.Warn("empty control groups are found by looking now and then", "error", err)
		return
	}
	t.groups = w
}

// add begins to watch the rest of a tree.
func (t *treeWatch) add(c *child) {
	t.lingering[c.gen] = c
	t.delay = treePollFirst
	c.told = t.groups != nil && c.group != nil && t.groups.Add(c.group) == nil
	t.kick()
}

// survivors finds the other processes of incarnations whose main process has just ended. It is cheap when there are
// none: one look at our own children tells.
func (t *treeWatch) survivors(cs []*child) map[machine.Gen][]proc.Process {
	out := map[machine.Gen][]proc.Process{}
	var ask []proc.Owner
	// What the reaper has told is dead; looking at each of a thousand that ended together would take long.
	known := func(pid int) bool { return t.d.knows(pid) || t.d.reaper.Told(pid) }
	orphans := t.d.scanner.Orphans(known)
	for _, c := range cs {
		if c.group != nil && c.group.Populated(c.pid) || hasOrphan(orphans, c) {
			ask = append(ask, c.owner())
		}
	}
	if len(ask) == 0 {
		return out
	}
	members, sure := t.d.scanner.Look(ask)
	for looks := 1; !sure && looks <= surviveLooks; looks++ {
		members, sure = t.d.scanner.Look(ask)
	}
	for _, c := range cs {
		for _, p := range members[uint64(c.gen)] {
			// A hook or a check that runs carries the signs of the service, and is not what the service left behind.
			if p.PID != c.pid && t.d.aux[p.PID] == nil && t.d.aux[p.Session] == nil {
				out[c.gen] = append(out[c.gen], p)
			}
		}
	}
	return out
}

// hasOrphan reports whether one of the orphans may be of this incarnation. All that is left of a tree hangs below one;
// one without a known incarnation may still hold its log pipe.
func hasOrphan(orphans []proc.Orphan, c *child) bool {
	for _, o := range orphans {
		if o.Gen == 0 || o.Gen == uint64(c.gen) || o.Session == c.pid || o.PGRP == c.pid {
			return true
		}
	}
	return false
}

// kick looks at the lingering trees, off the driver's goroutine; one look at a time.
func (t *treeWatch) kick() {
	if len(t.lingering) == 0 {
		return
	}
	if t.scanning {
		t.again = true
		return
	}
	t.scanning, t.again = true, false
	looks := make([]treeLook, 0, len(t.lingering))
	for _, c := range t.lingering {
		looks = append(looks, treeLook{c: c, owner: c.owner(), group: c.group, kill: c.killed})
	}
	go func() {
		alive := t.d.scanTrees(looks)
		t.d.post(func() { t.looked(looks, alive) })
	}()
}

// treeLook is what a look needs to know of one child; the child itself belongs to the driver.
type treeLook struct {
	c     *child
	owner proc.Owner
	group *proc.Group
	kill  bool
}

// scanTrees finds which trees still have a process, and kills what is left where SIGKILL was due.
func (d *driver) scanTrees(looks []treeLook) map[machine.Gen]bool {
	alive := map[machine.Gen]bool{}
	var owners []proc.Owner
	for _, l := range looks {
		if l.group != nil {
			alive[l.c.gen] = l.group.Populated(l.owner.Main)
			continue
		}
		owners = append(owners, l.owner)
	}
	if len(owners) > 0 {
		members, sure := d.scanner.Look(owners)
		for _, o := range owners {
			alive[machine.Gen(o.Gen)] = len(members[o.Gen]) > 0 || !sure
		}
	}
	for _, l := range looks {
		if l.kill && alive[l.c.gen] {
			d.killTree(l)
		}
	}
	return alive
}

// killTree sends SIGKILL to all that belongs to an incarnation: by the kernel where there is a cgroup, else one by one.
func (d *driver) killTree(l treeLook) {
	if l.group != nil && l.group.Kill() == nil {
		return
	}
	d.scanner.KillTree(&l.owner)
}

// looked takes the result of a look.
func (t *treeWatch) looked(looks []treeLook, alive map[machine.Gen]bool) {
	t.scanning = false
	for _, l := range looks {
		if t.lingering[l.c.gen] == l.c && !alive[l.c.gen] {
			delete(t.lingering, l.c.gen)
			t.d.treeEmpty(l.c)
		}
	}
	switch {
	case len(t.lingering) == 0:
	case t.again:
		t.kick()
	default:
		t.later()
	}
}

// hurry makes the looks frequent again: a tree is being ended.
func (t *treeWatch) hurry() {
	if t.delay = treePollFirst; len(t.lingering) > 0 {
		t.later()
	}
}

// later looks again after a delay that doubles, unless the kernel tells of all that are left.
func (t *treeWatch) later() {
	if t.timer != nil {
		t.timer.Stop()
	}
	slowest, look := treePollIdle, false
	for _, c := range t.lingering {
		look = look || !c.told || c.killed
		if c.killed || c.ending && !c.told {
			slowest = treePollMax
		}
	}
	if !look {
		return
	}
	t.delay = min(t.delay, slowest)
	t.timer = time.AfterFunc(t.delay, func() { t.d.post(t.kick) })
	t.delay = min(t.delay*2, slowest)
}

// treeEmpty tells the machine that nothing of an incarnation is left.
func (d *driver) treeEmpty(c *child) {
	d.out.Drain([]uint64{uint64(c.gen)})
	d.step(machine.TreeEmpty{Gen: c.gen})
	d.release(c)
}
