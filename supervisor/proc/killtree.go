package proc

import (
	"slices"

	"golang.org/x/sys/unix"
)

// killPasses bounds how often KillTree looks again for processes that were forked while it was killing.
const killPasses = 64

// Signal sends a signal to each process, exactly to the one that was seen (pid and start time), and returns how many
// were still there. Protected processes are left out.
func (s *Scanner) Signal(processes []Process, sig unix.Signal) int {
	guard, sent := s.guard(), 0
	for _, p := range processes {
		if !guard.protects(p.PID) && SignalProcess(p.PID, p.Start, sig) == nil {
			sent++
		}
	}
	return sent
}

// guard holds the processes that are never signalled beside process 1: the supervisor, its keeper, their ancestors.
type guard []int

func (s *Scanner) guard() guard { return append(ancestors(s.self(), parentOf), s.Keeper) }

func (g guard) protects(pid int) bool { return pid <= 1 || slices.Contains(g, pid) }

func parentOf(pid int) int {
	p, err := ReadProcess(pid)
	if err != nil {
		return 0
	}
	return p.PPID
}

// SignalTree sends a signal once to every process of an incarnation, except that it does not chase those that are
// forked meanwhile. It returns how many got it.
func (s *Scanner) SignalTree(o *Owner, sig unix.Signal) int { return s.Signal(s.Members(o), sig) }

// KillTree sends SIGKILL to every process of an incarnation and looks again until it finds none that was not killed yet.
// left is how many of them have not ended yet: killed processes need a moment, or for ever in an uninterruptible sleep; it
// is at least 1 as long as that could not be told for sure. Call it again to learn whether they are gone.
//
// The main process must not have been reaped by the supervisor yet, if it is its child: its zombie keeps the group's
// number.
func (s *Scanner) KillTree(o *Owner) (left int) {
	own, _ := ReadProcess(s.self())
	k := killer{scanner: s, owner: o, guard: s.guard(), session: own.Session, killed: make(map[int]uint64)}
	k.mainGroup()
	for range killPasses {
		f := s.Look([]Owner{*o})
		left = len(f.Members[o.Gen])
		if fresh := k.each(f.Members[o.Gen]); fresh == 0 && f.Sure {
			return left
		}
		if !usable() {
			break // looking again shows nothing more
		}
		k.chase()
	}
	return max(left, 1)
}

// killer is one KillTree under way.
type killer struct {
	scanner *Scanner
	owner   *Owner
	guard   guard
	session int            // the supervisor's own
	killed  map[int]uint64 // pid to start time
}

// mainGroup kills the group of the main process in one go, which no fork escapes.
func (k *killer) mainGroup() {
	p, err := ReadProcess(k.owner.Main)
	if err == nil && (k.owner.Start == 0 || p.Start == k.owner.Start) && p.PGRP == p.PID && !k.guard.protects(p.PID) {
		_ = SignalGroup(p.PID, unix.SIGKILL)
	}
}

// each kills the members that were not killed yet, with their groups, and returns how many they were.
func (k *killer) each(members []Process) (fresh int) {
	groups := map[int]bool{}
	for i := range members {
		p := &members[i]
		if k.killed[p.PID] == p.Start || k.guard.protects(p.PID) {
			continue
		}
		fresh++
		k.kill(p, groups[p.PGRP])
		groups[p.PGRP] = true
	}
	return fresh
}

// kill kills one process and, unless that was done, its group.
func (k *killer) kill(p *Process, groupDone bool) {
	k.killed[p.PID] = p.Start
	if !groupDone {
		k.group(p)
	}
	_ = SignalProcess(p.PID, p.Start, unix.SIGKILL)
}

// group kills the process group that a member is, or has just been, in: a program that forks and exits all the time is
// gone before a signal to one pid reaches it, but its group stays. A group lies within one session, and the sessions of a
// service are made by its processes, so nobody else is in it. As long as anybody is in it, its number is given to no new
// process; if a process has that number which is no leader of it, it is somebody else's by now.
func (k *killer) group(p *Process) {
	if p.Session == k.session || k.guard.protects(p.PGRP) {
		return
	}
	if leader, err := ReadProcess(p.PGRP); err == nil && (leader.Session != p.Session || leader.Start > p.Start) {
		return
	}
	_ = unix.Kill(-p.PGRP, unix.SIGKILL)
}

// chase kills orphans of the incarnation as fast as they can be listed: one that only forks and exits, over and over,
// comes back to us as a child each time, and in the list of our own children it is found sooner than in all of /proc.
func (k *killer) chase() {
	var buf [256]int
	for range 16 {
		found := false
		for _, pid := range Children(buf[:0]) {
			if k.scanner.GenOf(pid) == k.owner.Gen {
				found = k.orphan(pid) || found
			}
		}
		if !found {
			return
		}
	}
}

func (k *killer) orphan(pid int) bool {
	p, err := ReadProcess(pid)
	if err != nil || p.Dead() || k.killed[pid] == p.Start {
		return false
	}
	k.kill(&p, false)
	return true
}
