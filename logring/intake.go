package logring

import (
	"bytes"
	"sync/atomic"
	"unicode/utf8"
)

// Stages of the intent. Each is stored atomically when all that it promises is in the arena.
//
//	idle -> reading   the intent and the canary are written; the read(2) may happen at any instant from now on
//	reading -> read   it has happened (alive: we know; after a crash: the canary is gone). first = number of its first line
//	read -> lines     all lines that it completed are committed in the ring; tail = where the unfinished rest begins
//	lines -> idle     the rest is the feed's unfinished line
//
// A crash at reading with the canary in place: the bytes are still in the pipe. At read: ring.next - first lines are
// there already, the framing is deterministic, so the same lines are made again and that many skipped. At lines: the
// rest is stored again.
// The arena's mutex is held from reading to idle, so that no other line gets a number in between.
const (
	stageIdle uint32 = iota
	stageReading
	stageRead
	stageLines
)

// Begin prepares a read of exactly n bytes (at most MaxRead; what FIONREAD says) from the pipe of f and returns the
// memory to read into. peeked are those bytes where they are fewer than 8 and the caller could look at them without
// taking them (tee): so few are no room for a canary that cannot occur by chance. The arena is locked until Finish,
// which must follow; the read must not block.
func (a *Arena) Begin(f *Feed, n int, peeked []byte, nowMS int64) []byte {
	a.mu.Lock()
	n = min(n, MaxRead)
	a.openIntent(f, n, nowMS, false)
	buf := a.staging()[:n:n]
	in := a.intent()
	in.canary = a.nextCanary()
	putCanary(buf, in.canary)
	if n < 8 && len(peeked) >= n {
		for i := range buf {
			buf[i] = ^peeked[i]
		}
		in.canary = readCanary(buf)
	}
	atomic.StoreUint32(&in.stage, stageReading)
	return buf
}

// Finish takes what the read returned: n bytes (0 or less: none, nothing happened), and returns how many lines it
// completed.
func (a *Arena) Finish(n int) int {
	defer a.mu.Unlock()
	if n <= 0 {
		atomic.StoreUint32(&a.intent().stage, stageIdle)
		return 0
	}
	return a.intake(a.feed, min(n, MaxRead))
}

// openIntent fills everything but the canary.
func (a *Arena) openIntent(f *Feed, n int, nowMS int64, eof bool) {
	in := a.intent()
	in.n, in.pid, in.gen, in.stream = uint32(n), f.pid.Load(), f.key.gen, f.key.stream
	in.timeMS, in.held = nowMS, uint32(f.length)
	in.slot, in.eof = 0, 0
	if eof {
		in.eof = 1
	}
	if f.ring.needHead() {
		in.slot = f.ring.number + 1
	}
	a.feed = f
}

// intake turns n bytes of staging into lines and an unfinished rest.
func (a *Arena) intake(f *Feed, n int) int {
	in, r := a.intent(), f.ring
	r.begin()
	defer r.end()
	in.first = r.writeSeq()
	in.n = uint32(n)
	a.step()
	atomic.StoreUint32(&in.stage, stageRead)
	a.step()
	return a.appendStaged(f, n, 0)
}

// appendStaged appends the lines of staging but for the first skip, which are in the ring already.
func (a *Arena) appendStaged(f *Feed, n, skip int) int {
	in, r := a.intent(), f.ring
	s := splitter{ring: r, skip: skip, meta: Record{TimeMS: in.timeMS, PID: in.pid, Stream: in.stream}}
	in.tail = uint32(s.split(f.text(), a.staging()[:n], in.eof != 0))
	r.commit()
	a.step()
	atomic.StoreUint32(&in.stage, stageLines)
	a.step()
	a.keepTail(f, n)
	return s.lines
}

// keepTail is the last stage: the rest becomes the feed's unfinished line.
func (a *Arena) keepTail(f *Feed, n int) {
	in := a.intent()
	held, tail := int(in.held), int(in.tail)
	rest, replace := a.staging()[:n], tail >= held
	if replace {
		rest = rest[tail-held:]
	}
	f.length = min(f.length, held) // after a crash it may have been appended already
	if !f.keep(rest, replace) {
		f.ring.lost++
		f.free()
	}
	a.step()
	atomic.StoreUint32(&in.stage, stageIdle)
}

// flush makes a last line of what is unfinished and frees its memory.
func (f *Feed) flush(nowMS int64) {
	if f.length > 0 {
		f.a.openIntent(f, 0, nowMS, true)
		f.a.intake(f, 0)
	}
	f.free()
}

// splitter frames bytes into lines.
type splitter struct {
	ring  *Ring
	meta  Record
	skip  int // lines that are in the ring already
	lines int
}

// split emits the lines of held+data and returns where in held+data the unfinished rest begins; with eof there is
// none. A line ends at "\n"; one "\r" before it goes too. A line longer than MaxLine is cut where cutAt says, whatever the
// chunks it came in; so many bytes without an end are not cut before one more is there, which may be the end.
func (s *splitter) split(held, data []byte, eof bool) int {
	total := len(held) + len(data)
	at := 0
	for {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			break
		}
		s.cut(held, data[at:at+i], true)
		held = nil
		at += i + 1
	}
	rest := s.cut(held, data[at:], false)
	if eof && rest > 0 { // a "\r" at the end of the pipe stays, no newline followed it
		if text := data[at:]; rest <= len(text) {
			s.emit(nil, text[len(text)-rest:], false)
		} else { // nothing was cut
			s.emit(held, text, false)
		}
		rest = 0
	}
	return total - rest
}

// cut emits the pieces over MaxLine of head+text as continued lines and, when the line is whole, its end. It
// returns how many bytes are left over.
func (s *splitter) cut(head, text []byte, whole bool) int {
	for {
		at, ok := cutAt(head, text)
		if !ok {
			break
		}
		k := max(at-len(head), 0) // an arena of before characters were kept whole may hold more than at
		s.emit(head, text[:k], true)
		head, text = nil, text[k:]
	}
	if !whole {
		return len(head) + len(text)
	}
	switch {
	case len(text) > 0:
		text = trimCR(text)
	default:
		head = trimCR(head)
	}
	s.emit(head, text, false)
	return 0
}

// cutAt is the length of the first piece of a line that begins with head+text, false while it may still end as one piece.
// A piece is MaxLine long, or ends before the UTF-8 character that would reach over that. The first byte of the character
// alone decides, so that the same bytes are cut at the same places in whatever chunks they come, and what is left
// unfinished never has to be cut within.
func cutAt(head, text []byte) (int, bool) {
	total := len(head) + len(text)
	for at := MaxLine - utf8.UTFMax + 1; at < min(total, MaxLine); at++ {
		first := byte(0)
		if at < len(head) {
			first = head[at]
		} else {
			first = text[at-len(head)]
		}
		if at+charLen(first) > MaxLine {
			return at, true
		}
	}
	return MaxLine, total > MaxLine
}

// charLen is how long the UTF-8 character is that begins with a byte, 1 where none does.
func charLen(first byte) int {
	switch {
	case first >= 0xc2 && first <= 0xdf:
		return 2
	case first >= 0xe0 && first <= 0xef:
		return 3
	case first >= 0xf0 && first <= 0xf4:
		return 4
	}
	return 1
}

func trimCR(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\r' {
		return b[:n-1]
	}
	return b
}

func (s *splitter) emit(head, text []byte, continued bool) {
	s.lines++
	if s.skip > 0 {
		s.skip--
		return
	}
	s.ring.put(head, text, &s.meta, continued)
}
