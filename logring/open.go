package logring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrVersion says that an arena was written by a version whose layout this one does not know.
var ErrVersion = errors.New("log arena has another version")

// Recovery is what Open found of a read that was under way.
type Recovery uint8

// The ways a read can have ended.
const (
	RecoveryNone    Recovery = iota // none was under way
	RecoveryNotRead                 // it had not happened: the bytes are still in the pipe
	RecoveryRead                    // it had happened, and nothing was recorded
	RecoveryLines                   // some or all of its lines were there
	RecoveryRest                    // only the unfinished rest was missing
)

// Recovery tells what Open had to do.
func (a *Arena) Recovery() Recovery { return a.recovery }

// Open maps the memfd of an arena that another process of the same machine made, rebuilds the rings from its pages and
// finishes the read that may have been under way. What does not hold together is dropped. The arena owns fd when there is no
// error. The process that wrote it must be dead (or be this one, before an exec).
func Open(fd int) (*Arena, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot look at log arena: %w", err)
	}
	if st.Size < int64(mapSize(MinTotal/unitSize)) || st.Size > int64(mapSize(MaxTotal/unitSize)) {
		return nil, fmt.Errorf("cannot open log arena: %d bytes are no arena", st.Size)
	}
	mem, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map log arena: %w", err)
	}
	unix.CloseOnExec(fd)
	a, err := rebuild(mem, fd)
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	return a, nil
}

// rebuild makes an Arena of what is in mem.
func rebuild(mem []byte, fd int) (*Arena, error) {
	s := (*superblock)(unsafe.Pointer(&mem[0]))
	if s.magic != superMagic {
		return nil, errors.New("cannot open log arena: no arena")
	}
	if s.version != version || s.unit != unitSize {
		return nil, fmt.Errorf("cannot open log arena: %w (%d, known is %d)", ErrVersion, s.version, version)
	}
	if mapSize(int(s.units)) != len(mem) {
		return nil, errors.New("cannot open log arena: size does not fit its header")
	}
	a := newArena(mem, fd, int(s.units))
	a.secret = s.secret
	// One call instead of a fault a page; no matter if the kernel does not know it. Up to top everything was in use.
	_ = unix.Madvise(mem[:min(len(mem), a.dataAt+int(s.top)*unitSize)], unix.MADV_POPULATE_READ)
	o := opener{a: a, heads: map[uint32]*Ring{}, pages: map[*Ring][]*page{}}
	o.scanTable()
	o.readSlots()
	o.readPages()
	o.readParts()
	o.finishIntent()
	return a, nil
}

// opener is the state of one rebuild.
type opener struct {
	a     *Arena
	slabs []int // units
	found struct{ pages, parts []int }
	heads map[uint32]*Ring
	marks []uint32
	pages map[*Ring][]*page
}

// scanTable finds the extents. An entry that reaches over the last that was ever in use or into another extent is dropped.
func (o *opener) scanTable() {
	a := o.a
	top := min(int(a.super().top), a.space.units) // reading further would make the memory resident
	for unit := 0; unit < top; {
		e := *a.entry(unit)
		if e == 0 {
			unit++
			continue
		}
		kind, n := e>>entryShift, int(e&entryMask)
		if n == 0 || n > top-unit {
			*a.entry(unit) = 0
			unit++
			continue
		}
		for i := unit + 1; i < unit+n; i++ {
			if *a.entry(i) != 0 { // never so; but nothing may begin inside an extent
				*a.entry(i) = 0
			}
		}
		a.space.take(unit, n)
		switch kind {
		case kindSlab:
			o.addSlab(unit, n)
		case kindPage:
			o.found.pages = append(o.found.pages, unit)
		case kindPart:
			o.found.parts = append(o.found.parts, unit)
		default:
			a.release(unit)
		}
		unit += n
	}
	a.space.low = 0
}

func (o *opener) addSlab(unit, n int) {
	if n != unitsFor(slabSize) {
		o.a.release(unit)
		return
	}
	o.slabs = append(o.slabs, unit)
}

// readSlots makes the rings, then gives them their marks.
func (o *opener) readSlots() {
	for _, unit := range o.slabs {
		for i := range slabLen {
			o.readSlot(uint32(unit*slabLen + i))
		}
	}
	for _, number := range o.marks {
		s := o.a.mark(number)
		r := o.heads[s.head]
		if r == nil || len(r.marks) >= maxMarks {
			o.a.freeSlot(number)
			continue
		}
		if hold := s.vals[s.cur&1].Seq; hold < r.hold.Load() {
			r.hold.Store(hold) // until its sink is there again, or FlushUnclaimed
			r.adopted.Store(true)
			o.a.adopting[r] = true
		}
		r.marks = append(r.marks, &Mark{r: r, key: s.key, number: number, stored: true, ver: s.cur, pos: s.vals[s.cur&1]})
	}
}

func (o *opener) readSlot(number uint32) {
	a := o.a
	switch (*slot)(a.slotAt(number)).kind {
	case slotMark:
		o.marks = append(o.marks, number)
	case slotHead:
		h := a.head(number)
		if h.nameLen > MaxName || h.floor == 0 || a.rings[string(h.name[:h.nameLen])] != nil {
			a.freeSlot(number)
			return
		}
		r := newRing(a, string(h.name[:h.nameLen]))
		r.number, r.hasHead = number, true
		r.limits = Limits{clampInt(h.lines, DefaultLines), clampInt(h.bytes, DefaultBytes)}
		r.next.Store(h.floor)
		a.rings[r.name] = r
		o.heads[number] = r
	default:
		a.freeSlots = append(a.freeSlots, number)
	}
}

func clampInt(v uint64, def int) int {
	if v == 0 || v > 1<<31-1 {
		return def
	}
	return int(v)
}

// readPages gives each ring its pages in order of their numbers. Where two overlap, the later one is dropped.
func (o *opener) readPages() {
	for _, unit := range o.found.pages {
		n := int(*o.a.entry(unit) & entryMask)
		r, p := o.readPage(unit, n)
		if p == nil {
			o.a.release(unit)
			continue
		}
		o.pages[r] = append(o.pages[r], p)
	}
	for r, pages := range o.pages {
		slices.SortFunc(pages, func(x, y *page) int {
			if x.first < y.first {
				return -1
			}
			return 1
		})
		for _, p := range pages {
			if n := len(r.pages); n > 0 && r.pages[n-1].end() > p.first {
				o.a.release(p.unit)
				continue
			}
			r.pages = append(r.pages, p)
			o.a.resize(r, len(p.mem))
		}
		r.next.Store(max(r.next.Load(), r.pages[len(r.pages)-1].end()))
	}
}

// readPage checks one page, record by record.
func (o *opener) readPage(unit, units int) (*Ring, *page) {
	a := o.a
	h := a.page(unit)
	r := o.heads[h.slot]
	if h.magic != pageMagic || r == nil || h.check != a.checkOf(h, unit) || h.first == 0 {
		return nil, nil
	}
	commit := atomic.LoadUint64(&h.commit)
	p := &page{
		mem: a.unitMem(unit, units*unitSize), unit: unit, first: h.first, baseMS: h.baseMS, maxMS: h.baseMS,
		count: int(commit >> 32), used: int(uint32(commit)),
	}
	if p.count == 0 || p.used > len(p.mem) || !p.measure() {
		return nil, nil
	}
	return r, p
}

// measure walks the records, checks that they end where the commit word says, and finds the latest time.
func (p *page) measure() bool {
	at := headerSize
	for range p.count {
		if at+recordSize > p.used {
			return false
		}
		h := (*recordHeader)(unsafe.Pointer(&p.mem[at]))
		p.maxMS = max(p.maxMS, p.baseMS+int64(h.delta))
		at += recordSpan(int(h.word & lengthMask))
	}
	return at == p.used
}

// readParts finds the unfinished lines; of two for one pipe the newer version holds.
func (o *opener) readParts() {
	a := o.a
	for _, unit := range o.found.parts {
		units := int(*a.entry(unit) & entryMask)
		h := a.part(unit)
		r := o.heads[h.slot]
		length := int(atomic.LoadUint32(&h.length))
		if h.magic != partMagic || r == nil || length < 0 || length > MaxLine || partSize+length > units*unitSize {
			a.release(unit)
			continue
		}
		f := newFeed(a, r, feedKey{h.gen, h.stream})
		f.unit, f.units, f.length, f.version = unit, units, length, h.version
		f.pid.Store(h.pid)
		if other := a.parts[f.key]; other != nil {
			if other.version > f.version {
				f, other = other, f
			}
			other.free()
			other.ring.feeds = without(other.ring.feeds, other)
		}
		a.parts[f.key] = f
	}
}

// finishIntent does what the dead process had begun.
func (o *opener) finishIntent() {
	a := o.a
	in := a.intent()
	stage, n := atomic.LoadUint32(&in.stage), int(in.n)
	r := o.heads[in.slot-1]
	usable := r != nil && n <= MaxRead && in.held <= MaxLine
	if stage == stageIdle || stage > stageLines || !usable ||
		(stage == stageReading && hasCanary(a.staging()[:n], in.canary)) {
		if stage == stageReading && usable {
			a.recovery = RecoveryNotRead
		}
		atomic.StoreUint32(&in.stage, stageIdle)
		return
	}
	f := o.intentFeed(r)
	a.recovery = RecoveryNotRead + Recovery(stage)
	if stage != stageLines { // there the unfinished line may be the new one already
		f.length = min(f.length, int(in.held))
		in.held = uint32(f.length)
	}
	switch stage {
	case stageReading:
		a.intake(f, n)
	case stageRead:
		a.resumeIntake(f, n)
	case stageLines:
		if in.tail <= in.held+in.n {
			a.keepTail(f, n)
		}
		atomic.StoreUint32(&in.stage, stageIdle)
	}
}

// intentFeed finds the unfinished line that the intent goes on with, or makes a feed without one.
func (o *opener) intentFeed(r *Ring) *Feed {
	in := o.a.intent()
	key := feedKey{in.gen, in.stream}
	f := o.a.parts[key]
	if f == nil || f.ring != r {
		f = newFeed(o.a, r, key)
		f.pid.Store(in.pid)
		if o.a.parts[key] == nil {
			o.a.parts[key] = f // so that it is claimed, or flushed
		}
	}
	return f
}

// resumeIntake appends the lines of staging that are missing.
func (a *Arena) resumeIntake(f *Feed, n int) {
	in, r := a.intent(), f.ring
	done := r.next.Load() - in.first
	if in.first == 0 || in.first > r.next.Load() || done > uint64(n)+2 {
		atomic.StoreUint32(&in.stage, stageIdle)
		return
	}
	r.begin()
	defer r.end()
	a.appendStaged(f, n, int(done))
}

func readCanary(b []byte) uint64 {
	var w [8]byte
	copy(w[:], b)
	return binary.NativeEndian.Uint64(w[:])
}
