package proc

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Orphan is a child that the supervisor did not start itself: when a process of a service ends, those that it had
// started become children of the supervisor (or of the keeper).
type Orphan struct {
	Process
	Gen uint64 // the incarnation by its tag or ZINIT_ID, 0 = not known
	// Unproven says that it may belong to any incarnation: we were not allowed to look. What is hidden
	// altogether has no more than a number, a group and a session.
	Unproven bool
}

// Orphans lists the living children of the supervisor, and of the keeper, that are not known. It is the cheap question
// after a batch of exits: a tree whose main process is gone has members left only if some orphan is left, because all
// of them hang below an orphan. known answers for main processes, helpers and what else the caller accounts for. A child
// that Start is forking at this moment is left out until its exec; after it, it carries its Gen.
func (s *Scanner) Orphans(known func(pid int) bool) []Orphan {
	out, _ := s.LookForOrphans(known)
	return out
}

// LookForOrphans is Orphans for those who must know that none is left: when sure is false, some came and went faster than
// they could be looked at.
func (s *Scanner) LookForOrphans(known func(pid int) bool) (out []Orphan, sure bool) {
	l := orphanage{scanner: s, known: known, seen: map[int]bool{}, quiet: watchForks()}
	for range relists {
		if l.look() {
			return l.found, usable()
		}
	}
	return l.found, false
}

// Unknown are the children of the supervisor, and of the keeper, of which the caller does not know, as a list tells.
type Unknown struct {
	scanner *Scanner
	known   []int // children that are known, sorted
	none    bool
}

// Unknown reads the lists of children. Unlike a look at one of them that takes no time.
func (s *Scanner) Unknown(known func(pid int) bool) *Unknown {
	var buf [256]int
	u := &Unknown{scanner: s, none: true}
	self := s.self()
	for _, pid := range s.children(buf[:0]) {
		if pid == self || known(pid) {
			u.known = append(u.known, pid)
		} else {
			u.none = false
		}
	}
	if !u.none {
		slices.Sort(u.known)
	}
	return u
}

// children appends those of the supervisor and of its keeper, as their lists tell.
func (s *Scanner) children(into []int) []int {
	into = adopted(into)
	if s.Keeper > 0 {
		into = adoptedBy(into, s.Keeper)
	}
	return into
}

// None reports whether there are none at all. Where orphans do not come to us no list says so.
func (u *Unknown) None() bool { return u.none && u.scanner.Adopts() }

// Orphans looks at them, and at those that have become our children since.
func (u *Unknown) Orphans() []Orphan {
	return u.scanner.Orphans(func(pid int) bool {
		_, known := slices.BinarySearch(u.known, pid)
		return known
	})
}

// orphanage is one look for orphans.
type orphanage struct {
	scanner *Scanner
	known   func(pid int) bool
	seen    map[int]bool
	found   []Orphan
	quiet   func() bool
}

// look reads the lists once. It is false when one has ended meanwhile: what that one had forked has become a child of ours
// after the list was read.
func (l *orphanage) look() (settled bool) {
	var buf [256]int
	children := l.scanner.children(buf[:0])
	settled = true
	if !l.scanner.Adopts() {
		settled = l.elsewhere()
	}
	self := l.scanner.self()
	for _, pid := range children {
		if pid == self || l.seen[pid] || l.known(pid) {
			continue
		}
		l.seen[pid] = true
		settled = l.meet(pid) && settled
	}
	return settled
}

// elsewhere looks where orphans are when they do not come to us: at an ancestor. Only their marks tell them from others. The
// list of an ancestor's children would be shorter, but the kernel leaves some out of it while others of them end.
func (l *orphanage) elsewhere() (settled bool) {
	settled = true
	adopters := ancestors(l.scanner.self(), parentOf)[1:]
	for _, pid := range listProcesses(nil) {
		if l.seen[pid] || l.known(pid) || l.scanner.Tagged(pid) == 0 {
			continue
		}
		if parent := parentOf(pid); parent > 0 && !slices.Contains(adopters, parent) {
			continue // it hangs below another process of a service
		}
		l.seen[pid] = true
		settled = l.meet(pid) && settled
	}
	return settled
}

// Adopts reports whether the orphans of services become children of this process, or of its keeper.
func (s *Scanner) Adopts() bool { return subreaper.Load() || s.self() == 1 || s.Keeper == 1 }

// meet takes one in that lives; false when it has ended.
func (l *orphanage) meet(pid int) bool {
	p, err := ReadProcess(pid)
	if errors.Is(hidden(pid, err), errHidden) {
		if _, dead := PeekPID(pid); !dead {
			l.found = append(l.found, Orphan{Process: veiled(pid), Unproven: true})
		}
		return true
	}
	if err != nil || p.Dead() {
		return false
	}
	o := Orphan{Process: p}
	gen, known := l.scanner.whose(pid)
	if gen == 0 && !l.quiet() {
		if beforeExec(pid) {
			return true
		}
		gen, known = l.scanner.whose(pid) // it may have executed since the first look
	}
	o.Gen, o.Unproven = gen, !known
	// One that has ended before Start could mark it must not make the caller look at every process there is.
	if o.Gen == 0 && (!p.alive() || hollow(pid)) {
		return false
	}
	l.found = append(l.found, o)
	return true
}

// hollow reports whether a process has given up its memory: it runs no program any more, and is a zombie in a moment.
func hollow(pid int) bool {
	if !usable() {
		return false
	}
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return errors.Is(err, fs.ErrNotExist)
}

// veiled is what the kernel tells of a process that /proc hides.
func veiled(pid int) Process {
	p := Process{PID: pid}
	p.PGRP, _ = unix.Getpgid(pid)
	p.Session, _ = unix.Getsid(pid)
	return p
}
