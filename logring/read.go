package logring

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"unsafe"
)

// Scan calls fn with each line from sequence number from on, oldest first, until fn returns false or there are no
// more. next is the number to go on with: that of the line for which fn returned false, or one past the last. missed is
// how many lines from on were given up already. Lines beyond Limits.Lines that are still in memory are included: that
// is what sinks want.
//
// The record and its Text are valid only during the call; fn must be quick and must not call the arena.
func (r *Ring) Scan(from uint64, fn func(*Record) bool) (next, missed uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from, missed = r.held(from)
	return r.scan(from, fn), missed
}

// held is from, or the first line that is still held and how many before it are gone.
func (r *Ring) held(from uint64) (at, missed uint64) {
	if first := r.firstHeld(); from < first {
		return first, first - max(from, 1)
	}
	return from, 0
}

// pagesFrom are those with lines from number from on.
func (r *Ring) pagesFrom(from uint64) []*page {
	return r.pages[sort.Search(len(r.pages), func(i int) bool { return r.pages[i].end() > from }):]
}

// scan is Scan for a from that is held or in the future; the caller has the lock.
func (r *Ring) scan(from uint64, fn func(*Record) bool) uint64 {
	for _, p := range r.pagesFrom(from) {
		if stop, ok := p.walk(from, fn); !ok {
			return stop
		}
		from = p.end()
	}
	return from
}

// walk calls fn with the lines of the page from number from on. ok is false when fn ended it, at stop.
func (p *page) walk(from uint64, fn func(*Record) bool) (stop uint64, ok bool) {
	var rec Record
	at := headerSize
	for seq := p.first; seq < p.end(); seq++ {
		h := (*recordHeader)(unsafe.Pointer(&p.mem[at]))
		n := int(h.word & lengthMask)
		if seq >= from {
			text := at + recordSize
			rec = Record{
				Seq: seq, TimeMS: p.baseMS + int64(h.delta), PID: h.pid,
				Stream:    uint8(h.word >> streamShift & streamMask),
				Continued: h.word&continuedFlag != 0, Priority: Priority(h.word >> priorityShift),
				Text: p.mem[text : text+n : text+n],
			}
			if !fn(&rec) {
				return seq, false
			}
		}
		at += recordSpan(n)
	}
	return p.end(), true
}

// AppendText appends lines from sequence number from on to dst, as a file has them: each with its newline, but the pieces of a
// cut line without. It stops before the line with which dst would be longer than room; with one, the first line is appended
// in any case. next and missed are as Scan has them. It is Scan for who takes everything, at half the cost.
func (r *Ring) AppendText(dst []byte, from uint64, room int, one bool) (out []byte, next, missed uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from, missed = r.held(from)
	for _, p := range r.pagesFrom(from) {
		if dst, from = p.appendText(dst, from, room, &one); from < p.end() {
			break
		}
	}
	return dst, from, missed
}

// appendText is AppendText for one page.
func (p *page) appendText(dst []byte, from uint64, room int, one *bool) ([]byte, uint64) {
	at := headerSize
	for seq := p.first; seq < p.end(); seq++ {
		word := (*recordHeader)(unsafe.Pointer(&p.mem[at])).word
		n := int(word & lengthMask)
		if seq >= from {
			if len(dst)+n+1 > room && !*one {
				return dst, seq
			}
			*one = false
			text := at + recordSize
			dst = append(dst, p.mem[text:text+n]...)
			if word&continuedFlag == 0 {
				dst = append(dst, '\n')
			}
		}
		at += recordSpan(n)
	}
	return dst, p.end()
}

// Read returns up to limit lines (fewer where they are long: about 256 KiB of text) from sequence number from on; 0
// means the oldest. next is where to go on, missed how many lines between from and the first returned are gone.
func (r *Ring) Read(from uint64, limit int) (recs []Record, next, missed uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if first := r.firstVisible(); from < first {
		if from != 0 {
			missed = first - from
		}
		from = first
	}
	c := copier{}
	next = r.scan(from, func(rec *Record) bool {
		if len(recs) >= limit || (c.total+len(rec.Text) > scanBytes && len(recs) > 0) {
			return false
		}
		recs = append(recs, c.copy(rec))
		return true
	})
	return recs, next, missed
}

// copier copies texts into a few blocks instead of one allocation each.
type copier struct {
	block []byte
	total int
}

func (c *copier) copy(rec *Record) Record {
	n := len(rec.Text)
	c.total += n
	if cap(c.block)-len(c.block) < n {
		c.block = make([]byte, 0, max(n, min(16<<10, 2*c.total)))
	}
	at := len(c.block)
	c.block = append(c.block, rec.Text...)
	out := *rec
	out.Text = c.block[at : at+n : at+n]
	return out
}

// Filter selects lines. The zero value selects all.
type Filter struct {
	Streams uint8 // one bit a stream, 1<<Stdout | 1<<Stderr …; 0 = all
	SinceMS int64 // not before, 0 = no bound
	UntilMS int64 // not after, 0 = no bound
	Match   func(text []byte) bool
}

// Wants reports whether the filter selects a line.
func (f *Filter) Wants(rec *Record) bool {
	return (f.Streams == 0 || f.Streams>>rec.Stream&1 == 1) &&
		(f.SinceMS == 0 || rec.TimeMS >= f.SinceMS) &&
		(f.UntilMS == 0 || rec.TimeMS <= f.UntilMS) &&
		(f.Match == nil || f.Match(rec.Text))
}

// Last returns the newest n lines that the filter (nil = all) selects, oldest first.
func (r *Ring) Last(n int, f *Filter) []Record {
	return r.lastFrom(n, 0, math.MinInt64, f)
}

// lastFrom is Last among the lines from number from on, without those before which no line has a time of floor or later:
// where the clock stepped back, what came after counts as no older than what was before.
func (r *Ring) lastFrom(n int, from uint64, floor int64, f *Filter) []Record {
	if n <= 0 {
		return nil
	}
	if f == nil {
		f = &Filter{}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	from = max(from, r.firstVisible())
	c := copier{}
	var groups [][]Record // of one page each, the newest page first
	have := 0
	for i := len(r.pages) - 1; i >= 0 && have < n && r.pages[i].end() > from; i-- {
		if f.SinceMS != 0 && r.pages[i].maxMS < f.SinceMS {
			continue
		}
		before := latest(r.pages[:i])
		if max(before, r.pages[i].maxMS) < floor {
			break // and no page before it has one
		}
		group := r.pages[i].matches(from, n-have, before, floor, f, &c)
		groups = append(groups, group)
		have += len(group)
	}
	recs := make([]Record, 0, have)
	for _, group := range slices.Backward(groups) {
		recs = append(recs, group...)
	}
	return recs
}

// latest is the latest time on any of the pages.
func latest(pages []*page) int64 {
	at := int64(math.MinInt64)
	for _, p := range pages {
		at = max(at, p.maxMS)
	}
	return at
}

// matches returns the last n lines of the page that the filter selects, with the floor of lastFrom; before is the latest time
// on the pages before.
func (p *page) matches(from uint64, n int, before, floor int64, f *Filter, c *copier) []Record {
	wanted := make([]Record, 0, min(n, p.count))
	oldest := 0 // once n are there wanted is a circle that begins here
	p.walk(from, func(rec *Record) bool {
		before = max(before, rec.TimeMS)
		switch {
		case before < floor, !f.Wants(rec):
		case len(wanted) < n:
			wanted = append(wanted, *rec)
		default:
			wanted[oldest] = *rec
			oldest = (oldest + 1) % n
		}
		return true
	})
	group := make([]Record, 0, len(wanted))
	for i := range wanted {
		group = append(group, c.copy(&wanted[(oldest+i)%len(wanted)]))
	}
	return group
}

// Line is a record with its service.
type Line struct {
	Service string
	Record
}

// Query selects lines of several services.
type Query struct {
	Names []string // nil = all
	Lines int      // the newest so many over all names together
	From  uint64   // of the first line wanted, 0 = no bound; meaningful with one name
	Filter
}

// Query returns the newest q.Lines lines that q selects, merged by time. Lines of one service stay in their order: where the
// wall clock stepped back what came after counts as of the time before.
func (a *Arena) Query(q Query) []Line {
	names := q.Names
	if names == nil {
		names = a.Names()
	}
	var all []timed
	floor := int64(math.MinInt64)
	for _, name := range names {
		r := a.Find(name)
		if r == nil {
			continue
		}
		at := int64(math.MinInt64)
		for _, rec := range r.lastFrom(q.Lines, q.From, floor, &q.Filter) {
			at = max(at, rec.TimeMS)
			all = append(all, timed{at, Line{name, rec}})
		}
		// Enough lines are there: what is older than the oldest of the newest can be passed over.
		if len(all) > 0 && len(all) >= 2*q.Lines {
			all = newest(all, q.Lines)
			floor = all[0].at
		}
	}
	all = newest(all, q.Lines)
	lines := make([]Line, len(all))
	for i := range all {
		lines[i] = all[i].line
	}
	return lines
}

// timed is a line with the time that it counts for.
type timed struct {
	at   int64
	line Line
}

// newest sorts by time, of one time as they were, and keeps the last n.
func newest(lines []timed, n int) []timed {
	slices.SortStableFunc(lines, func(x, y timed) int { return cmp.Compare(x.at, y.at) })
	return lines[max(0, len(lines)-n):]
}
