package proc

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// Orphan is a child that the supervisor did not start itself: when a process of a service ends, those that it had
// started become children of the supervisor (or of the keeper).
type Orphan struct {
	Process
	Gen uint64 // the incarnation by its tag or ZINIT_ID, 0 = not known
}

// Orphans lists the living children of the supervisor, and of the keeper, that are not known. It is the cheap question
// after a batch of exits: a tree whose main process is gone has members left only if some orphan is left, because all
// of them hang below an orphan. known answers for main processes, helpers and what else the caller accounts for. A child
// that Start is forking at this moment is left out until its exec; after it, it carries its Gen.
func (s *Scanner) Orphans(known func(pid int) bool) []Orphan {
	quiet := watchForks()
	var buf [256]int
	children := adopted(buf[:0])
	if s.Keeper > 0 {
		children = adoptedBy(children, s.Keeper)
	}
	self := s.self()
	children = slices.DeleteFunc(children, func(pid int) bool { return pid == self || known(pid) })
	var out []Orphan
	for _, pid := range children {
		p, err := ReadProcess(pid)
		if err != nil || p.Dead() {
			continue
		}
		o := Orphan{Process: p, Gen: s.genOf(pid)}
		if o.Gen == 0 && !quiet() {
			if beforeExec(pid) {
				continue
			}
			o.Gen = s.genOf(pid) // it may have executed since the first look
		}
		// One that has ended before Start could mark it must not make the caller look at every process there is.
		if o.Gen == 0 && (!p.alive() || hollow(pid)) {
			continue
		}
		out = append(out, o)
	}
	return out
}

// hollow reports whether a process has given up its memory: it runs no program any more, and is a zombie in a moment.
func hollow(pid int) bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return errors.Is(err, fs.ErrNotExist)
}

// genOf tells an incarnation by its tag, else by ZINIT_ID; 0 = not known.
func (s *Scanner) genOf(pid int) uint64 {
	if gen, ok := genOf(tagOf(pid), s.Instance); ok {
		return gen
	}
	gen, _ := s.identified(pid)
	return gen
}
