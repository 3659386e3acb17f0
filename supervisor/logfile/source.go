package logfile

import (
	"os"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/ship"
)

// hostname is what lines in JSON name as the host.
var hostname = sync.OnceValue(func() string { name, _ := os.Hostname(); return name })

// Members of Position.Values. With to > Position.Seq a batch may be under way: the lines from Seq to before to,
// length bytes, at offset of the file ino.
const (
	valIno = iota
	valOffset
	valTo
	valLength
	valWritten
	valLost
	valErrors
)

// source is one service that writes into a writer's file. The writer's goroutine alone moves the position.
type source struct {
	service string
	ring    *logring.Ring
	mark    *logring.Mark
	watch   *logring.Watch
	w       *writer

	next uint64 // of the line after the batch collected last
	full bool   // the batch collected last is empty because the first line did not fit

	mu       sync.Mutex // guards what follows against sink and detach
	pos      logring.Position
	last     string
	lostMark uint64 // lost when writing failed
	detached bool
}

func newSource(a *logring.Arena, w *writer, service string) *source {
	s := &source{service: service, ring: a.Ring(service, logring.Limits{}), w: w}
	var known bool
	s.mark, known = s.ring.Mark("file:" + w.path)
	s.pos = s.mark.Get()
	if !known {
		s.pos.Seq = s.ring.Next()
		s.mark.Set(s.pos)
	}
	s.ring.SetHold(s.pos.Seq, true)
	return s
}

func (s *source) queued() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.detached {
		return 0
	}
	return s.ring.Next() - min(s.pos.Seq, s.ring.Next())
}

// position and set read and record where the source stands.
func (s *source) position() logring.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

func (s *source) set(p logring.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.detached {
		return
	}
	s.pos = p
	s.mark.Set(p)
}

// commit says that everything before p.Seq is in the file.
func (s *source) commit(p logring.Position) {
	p.Values[valTo], p.Values[valLength] = 0, 0
	s.set(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.detached {
		s.ring.SetHold(p.Seq, true)
	}
}

// collect gathers lines from the position on, at most room bytes but at least one line unless strict.
func (s *source) collect(buf []byte, room int, strict bool, format graph.FileFormat) []byte {
	p := s.position()
	before := len(buf)
	var next, missed uint64
	if format == graph.FilePlain {
		buf, next, missed = s.ring.AppendText(buf, p.Seq, room, !strict && before == 0)
	} else {
		next, missed = s.ring.Scan(p.Seq, func(rec *logring.Record) bool {
			at := len(buf)
			buf = s.appendLine(buf, rec, format)
			if fits := len(buf) <= room || !strict && at == 0; !fits {
				buf = buf[:at]
				return false
			}
			return true
		})
	}
	s.full = len(buf) == before && next < s.ring.Next()
	if missed > 0 {
		p.Seq += missed
		p.Values[valLost] += missed
		s.set(p)
	}
	s.next = next
	return buf
}

// timeFormat is RFC 3339 with milliseconds, in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// appendLine appends one line as the file has it. The pieces of a line that the ring had to cut are one line again in a
// plain file; with time they are lines of their own, and JSON marks them.
func (s *source) appendLine(buf []byte, rec *logring.Record, format graph.FileFormat) []byte {
	switch format {
	case graph.FileJSON:
		return ship.AppendJSON(buf, hostname(), s.service, rec)
	case graph.FileTime:
		buf = append(time.UnixMilli(rec.TimeMS).UTC().AppendFormat(buf, timeFormat), ' ')
		return append(append(buf, rec.Text...), '\n')
	}
	buf = append(buf, rec.Text...)
	if !rec.Continued {
		buf = append(buf, '\n')
	}
	return buf
}

// nothingFits reports that the last collect found a line that is longer than the room.
func (s *source) nothingFits() bool { return s.full }

// write appends the batch that collect made, at size.
func (s *source) write(w *writer, b []byte, size int64) error {
	p := s.position()
	p.Values[valIno], p.Values[valOffset] = w.ino, uint64(size)
	p.Values[valTo], p.Values[valLength] = s.next, uint64(len(b))
	s.set(p)
	fault.Here("file")
	if err := w.append(b); err != nil {
		return err
	}
	fault.Here("filed")
	s.done(p)
	return nil
}

// done commits the pending batch.
func (s *source) done(p logring.Position) {
	p.Values[valWritten] += p.Values[valTo] - p.Seq
	p.Seq = p.Values[valTo]
	s.commit(p)
}

// finishPending looks at a batch that was begun and not recorded as done: the server died, or the disk was full in
// the middle of it. The size of the file tells how much of it is there. done says that the position moved.
func (s *source) finishPending(w *writer, size int64, format graph.FileFormat) (done bool, err error) {
	p := s.position()
	if p.Values[valTo] <= p.Seq {
		return false, nil
	}
	there := size - int64(p.Values[valOffset])
	length := int64(p.Values[valLength])
	switch {
	case !w.regular || w.ino != p.Values[valIno] || there <= 0: // another file, or nothing of it: begin again
		p.Values[valTo] = 0
		s.set(p)
		return false, nil
	case there >= length:
		s.done(p)
		return true, nil
	}
	rest, ok := s.rebuild(p, length, format)
	if !ok { // the ring has gone on: end the torn line
		if err := w.append([]byte("\n")); err != nil {
			return false, err
		}
		s.commit(p)
		return true, nil
	}
	if err := w.append(rest[there:]); err != nil {
		return false, err
	}
	s.done(p)
	return true, nil
}

// rebuild makes the pending batch again from the ring.
func (s *source) rebuild(p logring.Position, length int64, format graph.FileFormat) ([]byte, bool) {
	var b []byte
	_, missed := s.ring.Scan(p.Seq, func(rec *logring.Record) bool {
		if rec.Seq >= p.Values[valTo] {
			return false
		}
		b = s.appendLine(b, rec, format)
		return true
	})
	return b, missed == 0 && int64(len(b)) == length
}

// fail counts an error.
func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == "" {
		s.lostMark = s.pos.Values[valLost]
	}
	s.last = err.Error()
	s.pos.Values[valErrors]++
	if !s.detached {
		s.mark.Set(s.pos)
	}
}

// lostSinceFailure is how many lines were overwritten since the first error, and forgets it.
func (s *source) lostSinceFailure() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = ""
	return s.pos.Values[valLost] - s.lostMark
}

// detach ends the source: its position is forgotten.
func (s *source) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
	s.ring.SetHold(0, false)
	s.mark.Forget()
}

func (s *source) sink() wire.Sink {
	queued := s.queued()
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.pos.Values[valLost]
	if first := s.ring.FirstHeld(); first > s.pos.Seq { // given up already, noticed when writing works again
		lost += first - s.pos.Seq
		queued -= min(queued, first-s.pos.Seq)
	}
	return wire.Sink{
		Target: s.w.path, Delivery: wire.Written, Written: s.pos.Values[valWritten], Lost: lost,
		Errors: s.pos.Values[valErrors], Queued: queued, Last: s.last,
	}
}
