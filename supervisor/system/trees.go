package system

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// survey finds out what main processes that have ended have left behind. That nothing is left, which is nearly always so, the
// list of our own children tells at once; else processes are looked at, which takes a while and is done elsewhere, one look
// at a time: who asks meanwhile is answered by the next one, which sees what happened before the question. It belongs to the
// loop's goroutine.
type survey struct {
	y       *System
	waiting []question
	looking bool
}

type question struct {
	trees []loop.Tree
	known loop.Known
	then  func(loop.Left) // a word
}

// Survey implements loop.Trees.
func (y *System) Survey(trees []loop.Tree, known loop.Known, then func(loop.Left)) {
	y.survey.waiting = append(y.survey.waiting, question{trees, known, then})
	y.survey.next()
}

// next looks at what is waiting.
func (s *survey) next() {
	for len(s.waiting) > 0 && !s.looking {
		asked := s.waiting
		s.waiting = nil
		s.look(asked)
	}
}

func (s *survey) look(asked []question) {
	y := s.y
	trees, populated := asked[0].trees, false
	for _, q := range asked[1:] {
		trees = append(slices.Clip(trees), q.trees...)
	}
	for i := range trees {
		g := groupOf(trees[i].Group)
		populated = populated || g != nil && g.Populated(trees[i].Owner.Main)
	}
	// What the reaper has told is dead; looking at each of a thousand that ended together would take long.
	known := asked[0].known
	unknown := y.scanner.Unknown(func(pid int) bool { return known(pid) || y.reaper.Told(pid) })
	if !populated && unknown.None() {
		left := loop.Left{}
		if !proc.Usable() {
			groups(left, trees)
		}
		answer(asked, left)
		return
	}
	s.looking = true
	y.beside(func() func() {
		left := y.survivors(trees, unknown)
		return func() {
			s.looking = false
			answer(asked, left)
			s.next()
		}
	})
}

func answer(asked []question, left loop.Left) {
	for _, q := range asked {
		q.then(left)
	}
}

// groups tells, where there is no /proc, whose process group has a member, of which the number cannot be known.
func groups(left loop.Left, trees []loop.Tree) {
	for i := range trees {
		gen, main := machine.Gen(trees[i].Owner.Gen), trees[i].Owner.Main
		if len(left[gen]) == 0 && proc.GroupLives(main) {
			left[gen] = []proc.Process{{PGRP: main, Session: main}}
		}
	}
}

// survivors looks for the other processes of incarnations.
func (y *System) survivors(trees []loop.Tree, unknown *proc.Unknown) loop.Left {
	left := loop.Left{}
	add := func(o *proc.Owner, ps []proc.Process) {
		for _, p := range ps {
			if p.PID != o.Main {
				left[machine.Gen(o.Gen)] = append(left[machine.Gen(o.Gen)], p)
			}
		}
	}
	orphans := unknown.Orphans()
	var ask []proc.Owner
	for i := range trees {
		t := &trees[i]
		g := groupOf(t.Group)
		switch {
		case g != nil && (g.Populated(t.Owner.Main) || hasOrphan(orphans, &t.Owner)):
			add(&t.Owner, y.scanner.TreeWith(&t.Owner, orphans))
		case hasOrphan(orphans, &t.Owner):
			ask = append(ask, t.Owner)
		}
		if t.Ends {
			add(&t.Owner, unproven(orphans))
		}
	}
	if !proc.Usable() {
		groups(left, trees)
		return left
	}
	if len(ask) == 0 {
		return left
	}
	look := y.scanner.Look(ask)
	for looks := 1; !look.Sure && looks <= surviveLooks; looks++ {
		look = y.scanner.Look(ask)
	}
	for i := range ask {
		add(&ask[i], look.Members[ask[i].Gen])
	}
	return left
}

// hasOrphan reports whether one of the orphans may be of this incarnation. All that is left of a tree hangs below one;
// one without a known incarnation may still hold its log pipe.
func hasOrphan(orphans []proc.Orphan, owner *proc.Owner) bool {
	for _, o := range orphans {
		if o.Gen == 0 || o.Gen == owner.Gen || o.Session == owner.Main || o.PGRP == owner.Main {
			return true
		}
	}
	return false
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

// watchGroups begins to listen to the kernel.
func (y *System) watchGroups() {
	w, err := proc.WatchGroups(func(string) { y.post(y.told.Emptied) })
	if err != nil {
		y.log.Warn("empty control groups are found by looking now and then", "error", err)
		return
	}
	y.groups = w
}

// WatchGroup implements loop.Trees.
func (y *System) WatchGroup(g loop.Group) bool {
	return y.groups != nil && y.groups.Add(groupOf(g)) == nil
}

// Look implements loop.Trees.
func (y *System) Look(trees []loop.Tree, known loop.Known, then func(map[machine.Gen]loop.Life)) {
	y.beside(func() func() {
		alive := y.scanTrees(trees, known)
		return func() { then(alive) }
	})
}

// scanTrees finds which trees still have a process, and kills what is left where SIGKILL was due.
func (y *System) scanTrees(trees []loop.Tree, known loop.Known) map[machine.Gen]loop.Life {
	alive := map[machine.Gen]loop.Life{}
	orphans := sync.OnceValues(func() ([]proc.Orphan, bool) { return y.scanner.LookForOrphans(known) })
	var owners []proc.Owner
	for i := range trees {
		t := &trees[i]
		gen, g := machine.Gen(t.Owner.Gen), groupOf(t.Group)
		switch {
		case g != nil && g.Populated(t.Owner.Main):
			alive[gen] = loop.InGroup
		case g != nil:
			if left, sure := orphans(); !sure && proc.Usable() || y.leftGroup(t, left) {
				alive[gen] = loop.Outside
			}
		case proc.Usable():
			owners = append(owners, t.Owner)
		case t.Held && proc.GroupLives(t.Owner.Main):
			alive[gen] = loop.Outside
		}
	}
	if len(owners) > 0 {
		found := y.scanner.Look(owners)
		for i := range trees {
			t := &trees[i]
			if t.Group == nil && (len(found.Members[t.Owner.Gen]) > 0 || !found.Sure || t.Ends && len(found.Unproven) > 0) {
				alive[machine.Gen(t.Owner.Gen)] = loop.Outside
			}
		}
	}
	for i := range trees {
		t := &trees[i]
		if life := alive[machine.Gen(t.Owner.Gen)]; t.Kill && life != loop.Lifeless {
			y.killTree(t, life == loop.Outside)
		}
	}
	return alive
}

// leftGroup reports whether a process of an incarnation, or one that may be of it while it is being ended, lives outside of
// its control group.
func (y *System) leftGroup(t *loop.Tree, orphans []proc.Orphan) bool {
	if t.Ends && len(unproven(orphans)) > 0 {
		return true
	}
	for _, p := range y.scanner.TreeWith(&t.Owner, orphans) {
		if p.PID != t.Owner.Main {
			return true
		}
	}
	return false
}

// KillTree implements loop.Trees.
func (y *System) KillTree(t loop.Tree, outside bool, unseen int, then func()) {
	y.beside(func() func() {
		if unseen > 0 {
			_ = proc.SignalProcess(unseen, 0, unix.SIGKILL)
		}
		y.killTree(&t, outside)
		return then
	})
}

// killTree sends SIGKILL to all that belongs to an incarnation: by the kernel where there is a cgroup, and one by one what
// has left it.
func (y *System) killTree(t *loop.Tree, outside bool) {
	if g := groupOf(t.Group); g != nil && g.Kill() == nil && !outside {
		return
	}
	if !proc.Usable() && t.Held {
		_ = proc.SignalGroup(t.Owner.Main, unix.SIGKILL)
		return
	}
	y.scanner.KillTree(&t.Owner)
}

// roll answers what is asked for members of trees: all questions that wait share one look at our children, which takes as long
// for one as for a thousand.
type roll struct {
	mu      sync.Mutex
	waiting []rollCall
	calling bool
}

type rollCall struct {
	owner proc.Owner
	known loop.Known
	then  func([]proc.Process)
}

// Members implements loop.Trees.
func (y *System) Members(o proc.Owner, known loop.Known, then func([]proc.Process)) {
	r := &y.roll
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, rollCall{o, known, then})
	if !r.calling {
		r.calling = true
		go y.call(r)
	}
}

// call answers until nobody asks any more. Of several questions the last one knows the most.
func (y *System) call(r *roll) {
	for {
		r.mu.Lock()
		calls := r.waiting
		r.waiting = nil
		r.calling = len(calls) > 0
		r.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		orphans := y.scanner.Orphans(calls[len(calls)-1].known)
		trees := make([][]proc.Process, len(calls))
		for i := range calls {
			trees[i] = y.scanner.TreeWith(&calls[i].owner, orphans)
		}
		y.post(func() {
			for i, c := range calls {
				c.then(trees[i])
			}
		})
	}
}

// SignalTree implements loop.Trees.
func (y *System) SignalTree(o proc.Owner, sig graph.Signal, then func(sent bool)) {
	y.beside(func() func() {
		sent := y.scanner.SignalTree(&o, unix.Signal(sig)) > 0
		return func() { then(sent) }
	})
}

// Clean implements loop.Trees. It takes no time.
func (y *System) Clean(t loop.Tree, known loop.Known) bool {
	g := groupOf(t.Group)
	return (g == nil || !g.Populated(t.Owner.Main)) && (proc.Usable() || !proc.GroupLives(t.Owner.Main)) &&
		y.scanner.Unknown(known).None()
}

// Sweep implements loop.Trees. It takes a moment until killed processes have ended, at most sweepPatience: one may be in an
// uninterruptible sleep.
func (y *System) Sweep(t loop.Tree, known loop.Known, then func(remains proc.Process)) {
	y.beside(func() func() {
		remains := y.sweep(&t, known)
		return func() { then(remains) }
	})
}

func (y *System) sweep(t *loop.Tree, known loop.Known) (remains proc.Process) {
	g, end := groupOf(t.Group), time.Now().Add(sweepPatience)
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		orphans, _ := y.scanner.LookForOrphans(known)
		left := slices.DeleteFunc(y.scanner.TreeWith(&t.Owner, orphans), func(p proc.Process) bool { return p.PID == t.Owner.Main })
		if len(left) == 0 && (g == nil || !g.Populated(t.Owner.Main)) {
			return proc.Process{}
		}
		if time.Now().After(end) {
			return append(left, proc.Process{})[0]
		}
		var within []int
		if g != nil {
			within = g.Processes()
		}
		y.killTree(t, slices.ContainsFunc(left, func(p proc.Process) bool { return !slices.Contains(within, p.PID) }))
		<-tick.C
	}
}

// Obstacles implements loop.Trees. A main process counts also as a zombie that we cannot reap.
func (y *System) Obstacles(t loop.Tree, known loop.Known, then func(text string)) {
	y.beside(func() func() {
		orphans := y.scanner.Orphans(known)
		left := y.scanner.TreeWith(&t.Owner, orphans)
		if main, err := proc.ReadProcess(t.Owner.Main); err == nil && main.Dead() && main.Start == t.Owner.Start {
			if _, ended := proc.PeekPID(main.PID); !ended {
				left = append(left, main)
			}
		}
		text := proc.Obstacles(append(left, unproven(orphans)...))
		return func() { then(text) }
	})
}
