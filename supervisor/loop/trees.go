package loop

import (
	"time"

	"github.com/zinit/zinit/supervisor/machine"
)

// treeWatch knows the incarnations whose main process has ended while other processes of theirs live, and finds out when
// the last one is gone. Of those with a control group the kernel tells. The last process of another tree has no living
// ancestor of its own, so it is a child of ours (or of the keeper) and its end is heard; a look every now and then is only
// a second net, and a fast one only while a tree is being ended.
type treeWatch struct {
	d         *driver
	lingering map[machine.Gen]*child
	scanning  bool
	again     bool
	delay     time.Duration
	timer     Timer
}

func newTreeWatch(d *driver) *treeWatch {
	return &treeWatch{d: d, lingering: map[machine.Gen]*child{}}
}

// add begins to watch the rest of a tree.
func (t *treeWatch) add(c *child) {
	t.lingering[c.gen] = c
	t.delay = treePollFirst
	c.told = c.group != nil && t.d.world.WatchGroup(c.group)
	t.kick()
}

// kick looks at the lingering trees; one look at a time.
func (t *treeWatch) kick() {
	if len(t.lingering) == 0 {
		return
	}
	if t.scanning {
		t.again = true
		return
	}
	t.scanning, t.again = true, false
	trees := make([]Tree, 0, len(t.lingering))
	children := make([]*child, 0, len(t.lingering))
	for _, c := range inOrder(t.lingering) {
		trees, children = append(trees, c.tree()), append(children, c)
	}
	t.d.world.Look(trees, t.d.children.accountedFor(), func(alive map[machine.Gen]Life) { t.looked(children, alive) })
}

func (c *child) tree() Tree {
	return Tree{Owner: c.owner(), Group: c.group, Kill: c.killed, Ends: c.ending, Held: !c.adopted && !c.reaped && !c.daemonized && c.pid > 0}
}

// looked takes the result of a look.
func (t *treeWatch) looked(children []*child, alive map[machine.Gen]Life) {
	t.scanning = false
	for _, c := range children {
		switch {
		case t.lingering[c.gen] != c:
		case alive[c.gen] == Lifeless:
			delete(t.lingering, c.gen)
			t.d.treeEmpty(c)
		case alive[c.gen] == Outside:
			c.told = false
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
	t.timer = t.d.world.After(t.delay, t.kick)
	t.delay = min(t.delay*2, slowest)
}

// treeEmpty tells the machine that nothing of an incarnation is left.
func (d *driver) treeEmpty(c *child) {
	d.world.Drain([]uint64{uint64(c.gen)})
	d.step(machine.TreeEmpty{Gen: c.gen})
	d.release(c)
}

// ask calls then, as a word or at once, with what main processes that have ended have left behind.
func (d *driver) ask(children []*child, then func(Left)) {
	trees := make([]Tree, len(children))
	for i, c := range children {
		trees[i] = c.tree()
	}
	d.world.Survey(trees, d.children.knows, then)
}
