package loop

import (
	"maps"
	"slices"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// children knows which process is whose: the incarnations of which something is left, each by its main process as long as
// that has not ended nor been reaped by the keeper, and the helpers. A pid is never two's.
type children struct {
	byGen   map[machine.Gen]*child
	byPID   map[int]*child    // by main process
	helpers map[int]*helper   // by pid, those included whose zombie is kept
	early   map[int]proc.Exit // exits of processes whose start has not been answered yet
	listed  Known             // accountedFor as it was asked last, nil = it has changed since
}

func newChildren() children {
	return children{byGen: map[machine.Gen]*child{}, byPID: map[int]*child{}, helpers: map[int]*helper{}, early: map[int]proc.Exit{}}
}

// enter begins an incarnation.
func (k *children) enter(c *child) { k.byGen[c.gen] = c }

// of is an incarnation by its number, nil = nothing of it is left.
func (k *children) of(gen machine.Gen) *child { return k.byGen[gen] }

// current reports whether something of an incarnation is left.
func (k *children) current(c *child) bool { return k.byGen[c.gen] == c }

// isMain reports whether a process is the main one of an incarnation of which something is left, and its end has not been taken.
func (k *children) isMain(c *child, pid int) bool { return k.current(c) && c.pid == pid && !c.gone }

// main makes a process the main one of an incarnation, in place of the one it had.
func (k *children) main(c *child, pid int, start uint64) {
	k.unname(c)
	c.pid, c.start, c.gone, c.reaped = pid, start, false, false
	k.byPID[pid] = c
	k.listed = nil
}

// reaped takes that somebody else has reaped the main process, or that it is gone: its number may be another's from now on,
// also while it is found out what it has left.
func (k *children) reaped(c *child) {
	k.unname(c)
	c.reaped = true
}

// mainOf is the incarnation whose main process has a pid, nil = none.
func (k *children) mainOf(pid int) *child { return k.byPID[pid] }

// ended takes the end of the main process: its number may become another's.
func (k *children) ended(c *child) {
	k.unname(c)
	c.gone = true
}

// leave ends an incarnation.
func (k *children) leave(c *child) {
	k.unname(c)
	if k.current(c) {
		delete(k.byGen, c.gen)
	}
}

func (k *children) unname(c *child) {
	if k.byPID[c.pid] == c {
		delete(k.byPID, c.pid)
		k.listed = nil
	}
}

// help enters a helper by its process, unhelp takes it out.
func (k *children) help(pid int, h *helper) {
	k.helpers[pid] = h
	k.listed = nil
}

func (k *children) unhelp(pid int) {
	delete(k.helpers, pid)
	k.listed = nil
}

// knows reports whether a process is one of ours that lives, or whose zombie is kept.
func (k *children) knows(pid int) bool { return k.byPID[pid] != nil || k.helpers[pid] != nil }

// accountedFor is knows as of now, for a look that takes a while. A turn that stops a thousand asks a thousand times.
func (k *children) accountedFor() Known {
	if k.listed != nil {
		return k.listed
	}
	pids := make(map[int]struct{}, len(k.byPID)+len(k.helpers))
	for pid := range k.byPID {
		pids[pid] = struct{}{}
	}
	for pid := range k.helpers {
		pids[pid] = struct{}{}
	}
	k.listed = func(pid int) bool { _, ok := pids[pid]; return ok }
	return k.listed
}

// all lists the incarnations in the order of their numbers.
func (k *children) all() []*child { return inOrder(k.byGen) }

// inOrder lists what a map holds, by its keys.
func inOrder[K machine.Gen | int, V any](m map[K]V) []V {
	list := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[key])
	}
	return list
}
