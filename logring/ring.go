package logring

import (
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Streams of a record.
const (
	Stdout uint8 = iota
	Stderr
	Syslog
)

// Limits bound one ring. Zero members mean DefaultLines and DefaultBytes.
type Limits struct{ Lines, Bytes int }

// Record is one line.
type Record struct {
	Seq       uint64 // from 1, without gaps within a ring
	TimeMS    int64  // wall clock, milliseconds since 1970
	Stream    uint8  // Stdout, Stderr, Syslog
	PID       int32  // who wrote it, 0 = unknown
	Continued bool   // cut at MaxLine; the next record of the stream goes on
	Priority  Priority
	Text      []byte // without its newline; any bytes
}

// Ring holds the newest lines of one service. All methods are safe for concurrent use; Append may be called from any
// goroutine, lines of one pipe come through a Feed.
//
// Two exceptions to Limits.Bytes: the newest line is always kept, also where it is alone larger (after a bound was
// lowered: its page, until the next line); and while a sink holds lines (SetHold) up to 1 MiB more, for lines that it
// has not taken yet.
type Ring struct {
	a    *Arena
	name string

	next   atomic.Uint64 // sequence number that the next line gets
	hold   atomic.Uint64 // noHold, or the first line that must stay
	paused atomic.Bool   // a reader stopped for SetHold

	adopted atomic.Bool // the hold is Open's, for the sinks that marks tell of

	mu       sync.RWMutex // guards what follows against readers; a writer holds a.mu as well
	locked   bool         // a writer that holds a.mu has mu
	limits   Limits
	pages    []*page // oldest first
	bytes    int     // of pages
	place    int     // in a.bySize, -1 = none
	number   uint32  // of the head slot
	hasHead  bool
	dropped  bool
	lost     uint64 // lines for which there was no memory
	marks    []*Mark
	feeds    []*Feed // open ones
	watchers []*Watch
}

const noHold = math.MaxUint64

// page is the private index of one page.
type page struct {
	mem    []byte
	unit   int
	first  uint64
	baseMS int64
	maxMS  int64 // no line is later
	count  int
	used   int
}

func (p *page) end() uint64 { return p.first + uint64(p.count) }

func newRing(a *Arena, name string) *Ring {
	r := &Ring{a: a, name: name, place: -1}
	r.next.Store(1)
	r.hold.Store(noHold)
	r.limits = Limits{DefaultLines, DefaultBytes}
	return r
}

// Name is the service.
func (r *Ring) Name() string { return r.name }

// Next is the sequence number that the next line will get. It costs one load.
func (r *Ring) Next() uint64 { return r.next.Load() }

// First is the sequence number of the oldest line that can be read, Next when there is none.
func (r *Ring) First() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.firstVisible()
}

// FirstHeld is the sequence number of the oldest line that Scan can give: not after First.
func (r *Ring) FirstHeld() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.firstHeld()
}

// Bytes is the memory that the ring's pages take.
func (r *Ring) Bytes() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.bytes
}

// Lost counts lines that could not be kept for want of memory.
func (r *Ring) Lost() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lost
}

// firstHeld is the oldest line that is there; firstVisible the oldest within Limits.Lines.
func (r *Ring) firstHeld() uint64 {
	if len(r.pages) == 0 {
		return r.next.Load()
	}
	return r.pages[0].first
}

func (r *Ring) firstVisible() uint64 {
	first, next := r.firstHeld(), r.next.Load()
	if n := uint64(r.limits.Lines); next-first > n {
		return next - n
	}
	return first
}

// Append adds one line and returns its sequence number; the record's own Seq is not used. Text over MaxLine is cut into
// several records, and the number is the last one's. 0: there was no memory, or the service was dropped.
func (r *Ring) Append(rec Record) uint64 {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.begin()
	defer r.end()
	text := rec.Text
	for len(text) > MaxLine {
		at, _ := cutAt(nil, text)
		r.put(nil, text[:at], &rec, true)
		text = text[at:]
	}
	if !r.put(nil, text, &rec, rec.Continued) {
		return 0
	}
	return r.writeSeq() - 1
}

// begin and end enclose what one writer, who holds a.mu, does to the ring.
func (r *Ring) begin() {
	r.mu.Lock()
	r.locked = true
}

func (r *Ring) end() {
	r.commit()
	r.trimLines()
	r.notify()
	r.locked = false
	r.mu.Unlock()
}

// writeSeq is the number of the next line, counting those not yet committed.
func (r *Ring) writeSeq() uint64 {
	if n := len(r.pages); n > 0 {
		return r.pages[n-1].end()
	}
	return r.next.Load()
}

// put writes one line, given as two pieces, into the last page. commit makes it valid.
func (r *Ring) put(head, text []byte, meta *Record, continued bool) bool {
	n := len(head) + len(text)
	span := recordSpan(n)
	var p *page
	if k := len(r.pages); k > 0 {
		p = r.pages[k-1]
	}
	// A page over the bound (made for one long line, or before the bound was lowered) takes no further line.
	if p == nil || p.used+span > len(p.mem) || len(p.mem) > r.limits.Bytes || !fits(meta.TimeMS-p.baseMS) {
		if p = r.grow(span, meta.TimeMS); p == nil {
			r.lost++
			return false
		}
	}
	at := p.mem[p.used : p.used+span]
	*(*recordHeader)(unsafe.Pointer(&at[0])) = recordHeader{recordWord(n, meta, continued), int32(meta.TimeMS - p.baseMS), meta.PID}
	copy(at[recordSize:], head)
	copy(at[recordSize+len(head):], text)
	p.used += span
	p.count++
	if meta.TimeMS > p.maxMS {
		p.maxMS = meta.TimeMS
	}
	return true
}

// recordWord is the first word of a record of n bytes.
func recordWord(n int, meta *Record, continued bool) uint32 {
	word := uint32(n) | uint32(meta.Stream&streamMask)<<streamShift | uint32(meta.Priority)<<priorityShift
	if continued {
		word |= continuedFlag
	}
	return word
}

func fits(delta int64) bool { return delta >= math.MinInt32 && delta <= math.MaxInt32 }

// commit makes the lines of the last page valid, in the arena and for readers.
func (r *Ring) commit() {
	if n := len(r.pages); n > 0 {
		p := r.pages[n-1]
		r.a.page(p.unit).setCommit(p.count, p.used)
		r.a.step()
		r.next.Store(p.end())
	}
}

// grow closes the last page and adds one with room for span bytes; nil when there is no memory.
func (r *Ring) grow(span int, nowMS int64) *page {
	r.commit()
	if !r.needHead() {
		return nil
	}
	size := r.pageSize(span)
	r.trimBytes(size)
	unit, ok := r.a.alloc(size / unitSize)
	if !ok {
		return nil
	}
	first := r.next.Load()
	p := &page{mem: r.a.unitMem(unit, size), unit: unit, first: first, baseMS: nowMS, maxMS: nowMS, used: headerSize}
	h := r.a.page(unit)
	*h = pageHeader{magic: pageMagic, slot: r.number, first: first, baseMS: nowMS, commit: uint64(headerSize)}
	h.check = r.a.checkOf(h, unit)
	r.a.publish(unit, size/unitSize, kindPage)
	r.pages = append(r.pages, p)
	r.a.resize(r, size)
	return p
}

// pageSize chooses the next page: small for who writes little, up to an eighth of the bound for who writes much.
func (r *Ring) pageSize(span int) int {
	size := unitSize
	for size < r.bytes/2 {
		size *= 2
	}
	size = min(size, maxPage, max(unitSize, r.limits.Bytes/pagesRing/unitSize*unitSize))
	return max(size, unitsFor(headerSize+span)*unitSize)
}

// trimBytes gives up the oldest pages until size more bytes are within the bound.
func (r *Ring) trimBytes(size int) {
	for len(r.pages) > 0 && r.bytes+size > r.limits.Bytes {
		if r.holdsOldest() && r.bytes+size <= r.limits.Bytes+holdSlack {
			return
		}
		r.giveUpOldest()
	}
}

// trimLines gives up pages of which no line is within the bound.
func (r *Ring) trimLines() {
	next := r.next.Load()
	for len(r.pages) > 1 && next-r.pages[0].end() >= uint64(r.limits.Lines) && !r.holdsOldest() {
		r.giveUpOldest()
	}
}

// holdsOldest reports whether a sink still needs a line of the oldest page.
func (r *Ring) holdsOldest() bool {
	return len(r.pages) > 0 && r.pages[0].end() > r.hold.Load()
}

// giveUpOldest frees the oldest page. The head remembers where numbers go on before the page is gone.
func (r *Ring) giveUpOldest() {
	p := r.pages[0]
	if len(r.pages) == 1 {
		r.commit()
	}
	atomic.StoreUint64(&r.a.head(r.number).floor, p.end())
	r.a.release(p.unit)
	r.a.resize(r, -len(p.mem))
	r.pages[0] = nil
	r.pages = r.pages[1:]
}

// needHead gives the ring its head in the arena at the first write.
func (r *Ring) needHead() bool {
	if r.hasHead || r.dropped {
		return r.hasHead
	}
	number, ok := r.a.allocSlot()
	if !ok {
		return false
	}
	h := r.a.head(number)
	*h = headSlot{nameLen: uint32(len(r.name)), floor: r.next.Load()}
	h.lines, h.bytes = uint64(r.limits.Lines), uint64(r.limits.Bytes)
	copy(h.name[:], r.name)
	atomic.StoreUint32(&h.kind, slotHead)
	r.number, r.hasHead = number, true
	return true
}

func (r *Ring) setLimits(l Limits) {
	if l.Lines <= 0 {
		l.Lines = DefaultLines
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	r.limits = l
	if r.hasHead {
		h := r.a.head(r.number)
		atomic.StoreUint64(&h.lines, uint64(l.Lines))
		atomic.StoreUint64(&h.bytes, uint64(l.Bytes))
	}
	r.trimLines()
	for len(r.pages) > 1 && r.bytes > l.Bytes && !r.holdsOldest() {
		r.giveUpOldest()
	}
}

// drop frees everything. The head goes last: without it pages mean nothing to Open.
func (r *Ring) drop() {
	for len(r.pages) > 0 {
		r.giveUpOldest()
	}
	for _, m := range r.marks {
		m.drop()
	}
	r.marks = nil
	for _, f := range r.feeds {
		f.free()
	}
	if r.hasHead {
		r.a.freeSlot(r.number)
		r.hasHead = false
	}
	r.dropped = true
	r.notify()
}

// SetHold says that lines from seq on are still needed by a sink that follows without loss (a file on a healthy
// disk): they are not given up for the ring's own bounds, and Congested tells the reader when to stop reading. hold =
// false ends it. The total of the arena goes before: there, held lines are only the last to go.
func (r *Ring) SetHold(seq uint64, hold bool) {
	if !hold {
		seq = noHold
	}
	r.hold.Store(seq)
	if r.adopted.Load() {
		r.takeOver()
	}
	if !r.paused.Load() {
		return
	}
	if backlog, bound := r.backlog(); backlog <= bound/4 && r.paused.CompareAndSwap(true, false) && r.a.resume != nil {
		r.a.resume(r)
	}
}

// takeOver notes that the ring's sink is there again after Open.
func (r *Ring) takeOver() {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.adopted.Store(false)
	delete(r.a.adopting, r)
}

// Congested reports that a sink with a hold is so far behind that no more should be read for this ring, and
// arranges that the arena's OnResume is called when it has caught up.
func (r *Ring) Congested() bool {
	if r.hold.Load() == noHold {
		return false
	}
	if backlog, bound := r.backlog(); backlog <= bound/2 {
		return false
	}
	r.paused.Store(true)
	if backlog, bound := r.backlog(); backlog <= bound/2 {
		r.paused.Store(false)
		return false
	}
	return true
}

// OnResume sets what is called, from the goroutine of a sink, when a congested ring may be read again. Set it before
// the first read.
func (a *Arena) OnResume(f func(*Ring)) { a.resume = f }

// backlog is the room taken by held lines, and the ring's bound.
func (r *Ring) backlog() (bytes, bound int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	hold := r.hold.Load()
	for i := len(r.pages) - 1; i >= 0 && r.pages[i].end() > hold; i-- {
		bytes += r.pages[i].used
	}
	return bytes, r.limits.Bytes
}
