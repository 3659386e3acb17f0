package proc

import (
	"cmp"
	"os"
	"slices"
	"strconv"
)

// Tree lists the living processes of one incarnation by pid, main process included, without a look at all processes. It is
// for showing: a process that forks and exits at this moment may be missed.
func (s *Scanner) Tree(o *Owner, known func(pid int) bool) []Process {
	return s.TreeWith(o, s.Orphans(known))
}

// TreeWith is Tree with the orphans that the caller has looked for: what the control group holds, and what hangs below it,
// below the main process, and below the orphans of the incarnation. A process can leave its control group, but not its
// ancestors: those it still has, or us.
func (s *Scanner) TreeWith(o *Owner, orphans []Orphan) []Process {
	w := walk{seen: map[int]bool{}}
	if o.Cgroup != "" {
		for _, pid := range processesIn(o.Cgroup, 0, nil) {
			w.below(pid)
		}
	}
	if p, err := ReadProcess(o.Main); err == nil && (o.Start == 0 || p.Start == o.Start) {
		w.below(o.Main)
	}
	for _, orphan := range orphans {
		if orphan.Gen == o.Gen || orphan.Gen == 0 && o.Main > 0 && (orphan.Session == o.Main || orphan.PGRP == o.Main) {
			w.below(orphan.PID)
		}
	}
	slices.SortFunc(w.found, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return w.found
}

// walk collects living processes, each once.
type walk struct {
	seen  map[int]bool
	found []Process
}

func (w *walk) add(pid int) bool {
	if w.seen[pid] {
		return false
	}
	w.seen[pid] = true
	p, err := ReadProcess(pid)
	if err != nil || p.Dead() || p.Kernel {
		return false
	}
	w.found = append(w.found, p)
	return true
}

func (w *walk) below(pid int) {
	if !w.add(pid) {
		return
	}
	for _, child := range ChildrenOf(nil, pid) {
		w.below(child)
	}
}

// adoptedBy appends the children that a process has been given when their parents ended. The kernel gives them to its
// first thread that is not ending, and the first thread of a Go program stays to the end.
func adoptedBy(into []int, pid int) []int {
	name := strconv.Itoa(pid)
	out, listed := childrenOfThread(into, "/proc/"+name+"/task/"+name)
	if !listed {
		return childrenByParent(into, pid)
	}
	return out
}

// adopted is adoptedBy for this process.
func adopted(into []int) []int { return adoptedBy(into, os.Getpid()) }
