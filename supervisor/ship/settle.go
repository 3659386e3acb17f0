package ship

import (
	"fmt"
	"time"

	"github.com/zinit/zinit/logring"
)

// A connection that cannot acknowledge says only that the other side's kernel has the bytes. Its program may never see them:
// it closes the connection over a record that it does not like, or dies. So lines count as sent at once, and are sure only
// when their connection has been open for a while after them. Those that are not sure when it ends are sent once more, and
// when that one ends over them too, they are counted as lost instead of being sent for ever.

// settle looks what became of the connection.
func (d *destination) settle() {
	c, ok := d.trans.(connected)
	if !ok {
		return
	}
	now := time.Now()
	if f := c.fate(); f != open {
		d.settled = now
		d.swallowed(f)
		return
	}
	if now.Sub(d.settled) >= d.opt.Settle {
		d.settled = now
		d.outlived()
	}
}

// outlived moves what is sure by one look.
func (d *destination) outlived() {
	for _, src := range d.list() {
		src.outlived()
	}
}

// unsure reports whether there are lines of which it is not known that they came.
func (d *destination) unsure() bool {
	for _, src := range d.list() {
		if src.unsure() {
			return true
		}
	}
	return false
}

// swallowed handles the end of a connection.
func (d *destination) swallowed(f fate) {
	again, lost := uint64(0), uint64(0)
	for _, src := range d.list() {
		a, l := src.swallowed(f)
		if again, lost = again+a, lost+l; l > 0 {
			d.opt.Report(d.target, src.service, nil, l)
		}
	}
	switch {
	case lost > 0:
		d.note(fmt.Sprintf("the connection was closed twice after the same %d lines, which count as lost", lost))
	case again > 0:
		d.note(fmt.Sprintf("the connection was closed after %d lines, which are sent again", again))
	}
}

// list is a copy of the sources.
func (d *destination) list() []*source {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*source(nil), d.sources...)
}

// note keeps an error for status.
func (d *destination) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = text
	d.errs++
}

// stand puts a source at a position, with nothing unsure; the caller has the lock, or nobody else has the source yet.
func (s *source) stand(p logring.Position) { s.pos, s.older, s.sure, s.newer = p, p, p, p }

func (s *source) outlived() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer.Seq != s.sure.Seq {
		s.older, s.sure = s.sure, s.newer
		s.put(s.sure)
	}
	s.newer = s.pos
}

func (s *source) unsure() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sure.Seq != s.pos.Seq
}

// swallowed goes back over what an ended connection may have swallowed, and counts as lost what went into two of them. After
// a reset the other side's program has not read all that its kernel had, which may be older than what is unsure. It
// returns how many lines are sent again, and how many are lost.
func (s *source) swallowed(f fate) (again, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.sure
	if f == reset {
		from = s.older
	}
	was := s.pos
	if was.Seq == from.Seq {
		return 0, 0
	}
	if s.tried.Seq > from.Seq {
		twice := s.tried
		if was.Seq < twice.Seq {
			twice = was
		}
		lost = twice.Values[valSent] - from.Values[valSent]
		again = was.Values[valSent] - twice.Values[valSent]
		twice.Values[valSent] -= lost
		twice.Values[valLost] += lost
		from = twice
	} else {
		again = was.Values[valSent] - from.Values[valSent]
	}
	if was.Seq > s.tried.Seq {
		s.tried = was
	}
	s.tried.Values[valSent] -= lost
	s.tried.Values[valLost] += lost
	s.stand(from)
	s.put(from)
	return again, lost
}
