package loop

import (
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// found are the living processes of incarnations, without their main ones.
type found map[machine.Gen][]proc.Process

// survey finds out what main processes that have ended have left behind. That nothing is left, which is nearly always so, the
// list of our own children tells at once; else processes are looked at, which takes a while and is done elsewhere, one look
// at a time: who asks meanwhile is answered by the next one, which sees what happened before the question.
type survey struct {
	d       *driver
	waiting []question
	looking bool
}

type question struct {
	children []*child
	then     func(found) // a word
}

// ask calls then with what is left of some incarnations.
func (s *survey) ask(children []*child, then func(found)) {
	s.waiting = append(s.waiting, question{children, then})
	s.next()
}

// next looks at what is waiting.
func (s *survey) next() {
	for len(s.waiting) > 0 && !s.looking {
		asked := s.waiting
		s.waiting = nil
		s.look(asked)
	}
}

// remains are what a look needs to know of one child; the child itself belongs to the loop.
type remains struct {
	owner  proc.Owner
	group  *proc.Group
	ending bool // what may be its own counts as that
}

func (s *survey) look(asked []question) {
	d := s.d
	var rs []remains
	populated := false
	for _, q := range asked {
		for _, c := range q.children {
			rs = append(rs, remains{c.owner(), c.group, c.ending})
			populated = populated || c.group != nil && c.group.Populated(c.pid)
		}
	}
	// What the reaper has told is dead; looking at each of a thousand that ended together would take long.
	unknown := d.scanner.Unknown(func(pid int) bool { return d.knows(pid) || d.reaper.Told(pid) })
	if !populated && unknown.None() {
		left := found{}
		if !proc.Usable() {
			left.groups(rs)
		}
		s.answer(asked, left)
		return
	}
	s.looking = true
	go func() {
		left := d.survivors(rs, unknown)
		d.post(func() {
			s.looking = false
			s.answer(asked, left)
			s.next()
		})
	}()
}

func (s *survey) answer(asked []question, left found) {
	for _, q := range asked {
		q.then(left)
	}
}

// groups tells, where there is no /proc, whose process group has a member, of which the number cannot be known.
func (left found) groups(rs []remains) {
	for i := range rs {
		gen, main := machine.Gen(rs[i].owner.Gen), rs[i].owner.Main
		if len(left[gen]) == 0 && proc.GroupLives(main) {
			left[gen] = []proc.Process{{PGRP: main, Session: main}}
		}
	}
}

// survivors looks for the other processes of incarnations.
func (d *driver) survivors(rs []remains, unknown *proc.Unknown) found {
	left := found{}
	add := func(o *proc.Owner, ps []proc.Process) {
		for _, p := range ps {
			if p.PID != o.Main {
				left[machine.Gen(o.Gen)] = append(left[machine.Gen(o.Gen)], p)
			}
		}
	}
	orphans := unknown.Orphans()
	var ask []proc.Owner
	for i := range rs {
		r := &rs[i]
		switch {
		case r.group != nil && (r.group.Populated(r.owner.Main) || hasOrphan(orphans, &r.owner)):
			add(&r.owner, d.scanner.TreeWith(&r.owner, orphans))
		case hasOrphan(orphans, &r.owner):
			ask = append(ask, r.owner)
		}
		if r.ending {
			add(&r.owner, unproven(orphans))
		}
	}
	if !proc.Usable() {
		left.groups(rs)
		return left
	}
	if len(ask) == 0 {
		return left
	}
	look := d.scanner.Look(ask)
	for looks := 1; !look.Sure && looks <= surviveLooks; looks++ {
		look = d.scanner.Look(ask)
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
