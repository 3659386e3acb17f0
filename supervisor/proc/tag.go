package proc

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/mark"
)

// A tag marks all processes of an incarnation by something that nobody sheds (see package mark). It tells members apart
// where there is no cgroup, or where they have left it, and a program has daemonized itself, become another user, closed
// its descriptors and overwritten its environment with its title, as nginx and PostgreSQL do.
//
// A tag is bit 63, then 23 bits that name the supervisor, then a bit for what runs beside a main process (a hook, a
// check), then 39 bits of incarnation.

const (
	tagGenBits = 40
	tagAside   = 1 << (tagGenBits - 1)
	// Aside is set in the number of what runs beside a main process and is not part of the service.
	Aside = uint64(1) << 63
)

// Tag makes the tag of incarnation gen, which may have the bit Aside, under the supervisor called instance; 0 = none on a
// 32-bit machine, where limits have no room for it.
func Tag(instance string, gen uint64) uint64 {
	n := gen &^ Aside
	if bits.UintSize < 64 || instance == "" || n == 0 || n >= tagAside {
		return 0
	}
	if gen&Aside != 0 {
		n |= tagAside
	}
	return instanceBits(instance) | n
}

func instanceBits(instance string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(instance))
	return 1<<63 | h.Sum64()>>41<<tagGenBits
}

// genOf takes the incarnation out of a tag, if it is one of this supervisor.
func genOf(tag uint64, instance string) (gen uint64, ok bool) {
	gen = tag & (1<<tagGenBits - 1)
	if gen&tagAside != 0 {
		gen = gen&^tagAside | Aside
	}
	return gen, tag != 0 && Tag(instance, gen) == tag
}

// place is the limit that carries the tag of what is started, -1 = none: not one that was asked for as a limit.
func (s *Spec) place() int {
	return mark.Place(func(limit int) bool {
		return slices.ContainsFunc(s.Identity.Limits, func(l graph.Limit) bool {
			n, ok := LimitNumber(l.Name)
			return ok && n == limit
		})
	})
}

// marksOn reads the limits that may be marks of a process, which may be a zombie. The error is ErrGone, or that it may
// not be looked at.
func marksOn(pid int) (v mark.Values, err error) {
	if v, err = mark.Read(pid); err == nil {
		return v, nil
	}
	if errors.Is(err, unix.ESRCH) {
		return v, ErrGone
	}
	var buf [2048]byte
	text, err := readProc(pid, "limits", buf[:])
	if err != nil {
		return v, hidden(pid, err)
	}
	v, ok := mark.Parse(text)
	if !ok {
		return v, ErrGone // one that is being reaped has none
	}
	return v, nil
}

// errHidden says that a process exists that /proc does not show us (its option hidepid).
var errHidden = errors.New("the process is hidden from us")

// hidden makes errHidden out of ErrGone for a process that is there all the same.
func hidden(pid int, err error) error {
	if !errors.Is(err, ErrGone) {
		return err
	}
	if kill := unix.Kill(pid, 0); kill != nil && kill != unix.EPERM {
		return ErrGone
	}
	if _, again := ReadProcess(pid); again == nil || !usable() {
		return ErrGone // it is another one by now, or no number says anything
	}
	if kill := unix.Kill(pid, 0); kill != nil && kill != unix.EPERM {
		return ErrGone
	}
	return errHidden
}

// refused reports whether an error says that we may not look, not that there is nothing.
func refused(err error) bool { return errors.Is(err, fs.ErrPermission) || errors.Is(err, errHidden) }

// tagged finds our tag on a process. sure is false when it may have one that we may not read, or when it may belong to us
// without one: then "no" is no answer.
func (s *Scanner) tagged(pid int) (gen uint64, ok, sure bool) {
	values, err := marksOn(pid)
	if err != nil {
		return 0, false, !refused(err)
	}
	for _, v := range values {
		if gen, ok := genOf(v, s.Instance); ok {
			return gen, true, true
		}
	}
	return 0, false, canTag() && !values.Changed()
}

// canTag reports whether there is a limit for tags here.
func canTag() bool { return (&Spec{}).place() >= 0 }

// GenOf is the incarnation that a living process belongs to, by its tag or its ZINIT_ID; 0 = none of this supervisor's.
func (s *Scanner) GenOf(pid int) uint64 {
	gen, _ := s.whose(pid)
	return gen
}

// whose tells an incarnation by its tag, else by ZINIT_ID. known is false when that found none and there may be one all
// the same, since we were not allowed to look.
func (s *Scanner) whose(pid int) (gen uint64, known bool) {
	gen, ok, sure := s.tagged(pid)
	if ok {
		return gen, true
	}
	gen, ok, err := s.identified(pid)
	if ok {
		return gen, true
	}
	return 0, sure || !refused(err)
}

// Tagged is the incarnation that a process, which may be a zombie, is tagged with; 0 = none of this supervisor's.
func (s *Scanner) Tagged(pid int) uint64 {
	gen, _, _ := s.tagged(pid)
	return gen
}
