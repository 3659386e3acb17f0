package loop

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

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

// unproven are the orphans of which nobody can tell whose they are.
func unproven(orphans []proc.Orphan) (ps []proc.Process) {
	for _, o := range orphans {
		if o.Unproven {
			ps = append(ps, o.Process)
		}
	}
	return ps
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
		looks = append(looks, c.look())
	}
	known := t.d.accountedFor()
	go func() {
		alive := t.d.scanTrees(looks, known)
		t.d.post(func() { t.looked(looks, alive) })
	}()
}

// treeLook is what a look needs to know of one child; the child itself belongs to the driver.
type treeLook struct {
	c     *child
	owner proc.Owner
	group *proc.Group
	kill  bool
	ends  bool // what may be its own counts as that
	held  bool // its main process, or the zombie of it, is ours: the number of its group is certain
}

func (c *child) look() treeLook {
	return treeLook{c: c, owner: c.owner(), group: c.group, kill: c.killed, ends: c.ending, held: !c.adopted && !c.reaped && !c.daemonized && c.pid > 0}
}

// accountedFor are the processes that the driver knows, for a look from another goroutine.
func (d *driver) accountedFor() func(pid int) bool {
	pids := make(map[int]struct{}, len(d.byPID)+len(d.helpers))
	for pid := range d.byPID {
		pids[pid] = struct{}{}
	}
	for pid := range d.helpers {
		pids[pid] = struct{}{}
	}
	return func(pid int) bool { _, ok := pids[pid]; return ok }
}

// life says whether a tree is alive, and who tells of its end.
type life uint8

const (
	lifeless life = iota
	inGroup       // the kernel tells when its control group is empty
	outside       // a process lives that has left the group, or there is none: only looking tells
)

// scanTrees finds which trees still have a process, and kills what is left where SIGKILL was due.
func (d *driver) scanTrees(looks []treeLook, known func(pid int) bool) map[machine.Gen]life {
	alive := map[machine.Gen]life{}
	orphans := sync.OnceValues(func() ([]proc.Orphan, bool) { return d.scanner.LookForOrphans(known) })
	var owners []proc.Owner
	for _, l := range looks {
		switch {
		case l.group != nil && l.group.Populated(l.owner.Main):
			alive[l.c.gen] = inGroup
		case l.group != nil:
			if left, sure := orphans(); !sure && proc.Usable() || d.leftGroup(l, left) {
				alive[l.c.gen] = outside
			}
		case proc.Usable():
			owners = append(owners, l.owner)
		case l.held && proc.GroupLives(l.owner.Main):
			alive[l.c.gen] = outside
		}
	}
	if len(owners) > 0 {
		found := d.scanner.Look(owners)
		for _, l := range looks {
			gen := uint64(l.c.gen)
			if l.group == nil && (len(found.Members[gen]) > 0 || !found.Sure || l.ends && len(found.Unproven) > 0) {
				alive[l.c.gen] = outside
			}
		}
	}
	for _, l := range looks {
		if l.kill && alive[l.c.gen] != lifeless {
			d.killTree(l, alive[l.c.gen] == outside)
		}
	}
	return alive
}

// leftGroup reports whether a process of an incarnation, or one that may be of it while it is being ended, lives outside of
// its control group.
func (d *driver) leftGroup(l treeLook, orphans []proc.Orphan) bool {
	if l.ends && len(unproven(orphans)) > 0 {
		return true
	}
	for _, p := range d.scanner.TreeWith(&l.owner, orphans) {
		if p.PID != l.owner.Main {
			return true
		}
	}
	return false
}

// killTree sends SIGKILL to all that belongs to an incarnation: by the kernel where there is a cgroup, and one by one what
// has left it.
func (d *driver) killTree(l treeLook, outside bool) {
	if l.group != nil && l.group.Kill() == nil && !outside {
		return
	}
	if !proc.Usable() && l.held {
		_ = proc.SignalGroup(l.owner.Main, unix.SIGKILL)
		return
	}
	d.scanner.KillTree(&l.owner)
}

// looked takes the result of a look.
func (t *treeWatch) looked(looks []treeLook, alive map[machine.Gen]life) {
	t.scanning = false
	for _, l := range looks {
		switch {
		case t.lingering[l.c.gen] != l.c:
		case alive[l.c.gen] == lifeless:
			delete(t.lingering, l.c.gen)
			t.d.treeEmpty(l.c)
		case alive[l.c.gen] == outside:
			l.c.told = false
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
