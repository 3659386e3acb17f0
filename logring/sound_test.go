package logring

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"
)

// sound checks what must hold between any two calls: what is indexed is what lies in the arena, nothing is lost and nothing
// is used twice.
func sound(t testing.TB, a *Arena) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	extents := soundTable(t, a)
	slots := map[uint32]string{}
	claim := func(unit, units int, kind uint32, whose string) {
		if extents[unit] != kind<<entryShift|uint32(units) {
			t.Fatalf("%s: the extent at %d is %#x, want kind %d of %d units", whose, unit, extents[unit], kind, units)
		}
		delete(extents, unit)
	}
	withPages := 0
	for name, r := range a.rings {
		if r.name != name || r.dropped || r.locked {
			t.Fatalf("%s: is called %q, dropped %v, locked %v", name, r.name, r.dropped, r.locked)
		}
		if r.hasHead {
			h := a.head(r.number)
			if h.kind != slotHead || string(h.name[:h.nameLen]) != name || h.lines != uint64(r.limits.Lines) ||
				h.bytes != uint64(r.limits.Bytes) || h.floor == 0 || h.floor > r.next.Load() {
				t.Fatalf("%s: its head is %+v, limits %v, next %d", name, h, r.limits, r.next.Load())
			}
			slots[r.number] = name
		} else if len(r.pages)+len(r.feeds)-idle(r.feeds) > 0 {
			t.Fatalf("%s has %d pages and %d feeds, and no head", name, len(r.pages), len(r.feeds))
		}
		for _, m := range r.marks {
			if m.stored {
				if s := a.mark(m.number); s.kind != slotMark || s.head != r.number || s.key != m.key || s.vals[s.cur&1] != m.pos {
					t.Fatalf("%s: its mark is %+v, want %+v", name, s, m)
				}
				slots[m.number] = name + "'s mark"
			}
		}
		for _, f := range r.feeds {
			if f.unit >= 0 {
				if h := a.part(f.unit); h.magic != partMagic || h.length != uint32(f.length) || h.gen != f.key.gen ||
					h.stream != f.key.stream || h.version != f.version || h.slot != r.number || partSize+f.length > f.units*unitSize {
					t.Fatalf("%s: an unfinished line is %+v, want %+v", name, h, f)
				}
				claim(f.unit, f.units, kindPart, name)
			} else if f.length != 0 || f.units != 0 {
				t.Fatalf("%s: an unfinished line of %d bytes lies nowhere", name, f.length)
			}
		}
		soundPages(t, a, r, claim)
		if r.bytes > 0 {
			withPages++
		}
	}
	if len(a.bySize) != withPages {
		t.Fatalf("%d rings are known by their size, %d have pages", len(a.bySize), withPages)
	}
	for i, r := range a.bySize {
		if r.place != i || r.bytes > a.bySize[(i-1)/2].bytes && i > 0 {
			t.Fatalf("%s is at %d of the heap, believes %d", r.name, i, r.place)
		}
	}
	for key, f := range a.parts {
		if f.key != key || !slices.Contains(f.ring.feeds, f) {
			t.Fatalf("the unclaimed line of %v is not its ring's", key)
		}
	}
	soundSlots(t, a, extents, slots)
}

// idle counts feeds without an unfinished line.
func idle(feeds []*Feed) int {
	n := 0
	for _, f := range feeds {
		if f.unit < 0 {
			n++
		}
	}
	return n
}

// soundTable compares the table of the arena with the index of free units, and returns the extents.
func soundTable(t testing.TB, a *Arena) map[int]uint32 {
	t.Helper()
	extents := map[int]uint32{}
	taken, used := make([]bool, a.space.units), 0
	for unit := 0; unit < a.space.units; {
		e := *a.entry(unit)
		n := int(e & entryMask)
		if e == 0 {
			unit++
			continue
		}
		if n == 0 || unit+n > a.space.units || unit+n > int(a.super().top) {
			t.Fatalf("an extent of %d units at %d; there are %d, used up to %d", n, unit, a.space.units, a.super().top)
		}
		extents[unit] = e
		used += n
		for i := range n {
			if i > 0 && *a.entry(unit + i) != 0 {
				t.Fatalf("an extent begins at %d, within that of %d", unit+i, unit)
			}
			taken[unit+i] = true
		}
		unit += n
	}
	for i, in := range taken {
		if known := a.space.words[i/64]>>(i%64)&1 == 1; known != in {
			t.Fatalf("unit %d is in use: %v, the index says %v", i, in, known)
		}
		if !in && i < a.space.low {
			t.Fatalf("unit %d is free, below %d", i, a.space.low)
		}
	}
	for i := a.space.units; i < 64*len(a.space.words); i++ {
		if a.space.words[i/64]>>(i%64)&1 == 0 {
			t.Fatalf("unit %d, behind the end, is free", i)
		}
	}
	if used != a.space.used {
		t.Fatalf("%d units are in use, counted are %d", used, a.space.used)
	}
	return extents
}

func soundPages(t testing.TB, a *Arena, r *Ring, claim func(unit, units int, kind uint32, whose string)) {
	t.Helper()
	bytes := 0
	for i, p := range r.pages {
		h := a.page(p.unit)
		if h.magic != pageMagic || h.slot != r.number || h.first != p.first || h.baseMS != p.baseMS || h.check != a.checkOf(h, p.unit) ||
			h.commit != uint64(p.count)<<32|uint64(p.used) {
			t.Fatalf("%s: page %d is %+v, want %+v", r.name, i, h, p)
		}
		if i > 0 && r.pages[i-1].end() > p.first {
			t.Fatalf("%s: page %d begins with %d, the one before ends with %d", r.name, i, p.first, r.pages[i-1].end())
		}
		at, maxMS := headerSize, p.baseMS
		for range p.count {
			rec := (*recordHeader)(unsafe.Pointer(&p.mem[at]))
			maxMS = max(maxMS, p.baseMS+int64(rec.delta))
			at += recordSize + int(rec.word&lengthMask+3)/4*4
		}
		if at != p.used || at > len(p.mem) || maxMS != p.maxMS {
			t.Fatalf("%s: page %d has %d bytes and lines up to %d, noted are %d and %d", r.name, i, at, maxMS, p.used, p.maxMS)
		}
		claim(p.unit, len(p.mem)/unitSize, kindPage, r.name)
		bytes += len(p.mem)
	}
	if n := len(r.pages); n > 0 && r.pages[n-1].end() != r.next.Load() {
		t.Fatalf("%s: the next line is %d, the last page ends with %d", r.name, r.next.Load(), r.pages[n-1].end())
	}
	if bytes != r.bytes || (bytes > 0) != (r.place >= 0) {
		t.Fatalf("%s: %d bytes, noted are %d, place %d", r.name, bytes, r.bytes, r.place)
	}
}

// soundSlots: what is left of the extents are slabs, and each of their slots is somebody's or free, once.
func soundSlots(t testing.TB, a *Arena, extents map[int]uint32, slots map[uint32]string) {
	t.Helper()
	for _, number := range a.freeSlots {
		if whose := slots[number]; whose != "" {
			t.Fatalf("slot %d is free, and also %s", number, whose)
		}
		slots[number] = "free"
		if kind := (*slot)(a.slotAt(number)).kind; kind == slotHead || kind == slotMark {
			t.Fatalf("slot %d is free and of kind %d", number, kind)
		}
	}
	for unit, e := range extents {
		if e != kindSlab<<entryShift|slabSize/unitSize {
			t.Fatalf("the extent %#x at %d is nobody's", e, unit)
		}
		for i := range slabLen {
			if n := uint32(unit*slabLen + i); slots[n] == "" {
				t.Fatalf("slot %d of kind %d is nobody's", n, (*slot)(a.slotAt(n)).kind)
			} else {
				delete(slots, n)
			}
		}
	}
	if len(slots) > 0 {
		t.Fatalf("slots in no slab: %v", slots)
	}
}

// damaged makes an arena, lets break change what lies in its memory, and opens that.
func damaged(t *testing.T, breakIt func(a *Arena)) *Arena {
	t.Helper()
	a := newTestArena(t, MinTotal)
	for i := range 200 {
		a.Ring("a", Limits{}).Append(Record{TimeMS: int64(i), Text: make([]byte, 100)})
		a.Ring("b", Limits{}).Append(Record{TimeMS: int64(i), Text: []byte("short")})
	}
	m, _ := a.Ring("a", Limits{}).Mark("x")
	m.Set(Position{Seq: 150})
	feedBytes(a.Feed("b", 1, Stdout, 77), []byte("unfinished"), 1)
	breakIt(a)
	b := snapshot(t, a)
	t.Cleanup(func() { _ = b.Close() })
	sound(t, b)
	return b
}

// TestOpenDropsWhatDoesNotHoldTogether: one damage each; the rest is there.
func TestOpenDropsWhatDoesNotHoldTogether(t *testing.T) {
	ring := func(a *Arena) *Ring { return a.rings["a"] }
	page := func(a *Arena, i int) *pageHeader { return a.page(ring(a).pages[i].unit) }
	part := func(a *Arena) *partHeader { return a.part(a.rings["b"].feeds[0].unit) }
	reseal := func(a *Arena, i int) { h := page(a, i); h.check = a.checkOf(h, ring(a).pages[i].unit) }
	tests := map[string]struct {
		breakIt  func(a *Arena)
		first    uint64 // of a's lines; 0 = there is no a
		next     uint64
		missing  int  // of a's lines in the middle
		unclosed bool // b's unfinished line is there
	}{
		"nothing":                {func(*Arena) {}, 1, 201, 0, true},
		"the first page's magic": {func(a *Arena) { page(a, 0).magic++ }, 0, 201, 0, true},
		"its slot":               {func(a *Arena) { page(a, 0).slot += 7; reseal(a, 0) }, 0, 201, 0, true},
		"its check":              {func(a *Arena) { page(a, 0).check++ }, 0, 201, 0, true},
		"its time":               {func(a *Arena) { page(a, 0).baseMS++ }, 0, 201, 0, true},
		"its first number":       {func(a *Arena) { page(a, 0).first = 0; reseal(a, 0) }, 0, 201, 0, true},
		"its count":              {func(a *Arena) { page(a, 0).setCommit(0, headerSize) }, 0, 201, 0, true},
		"one line more": {func(a *Arena) {
			p := ring(a).pages[0]
			page(a, 0).setCommit(p.count+1, p.used)
		}, 0, 201, 0, true},
		"one line less": {func(a *Arena) {
			p := ring(a).pages[0]
			page(a, 0).setCommit(p.count-1, p.used)
		}, 0, 201, 0, true},
		"more than the page": {func(a *Arena) { page(a, 0).setCommit(1, 2*maxPage) }, 0, 201, 0, true},
		"a record behind the end": {func(a *Arena) {
			(*recordHeader)(unsafe.Pointer(&ring(a).pages[0].mem[headerSize])).word = 100_000
			page(a, 0).setCommit(1, headerSize+recordSpan(100_000))
		}, 0, 201, 0, true},
		"an overlong record": {func(a *Arena) {
			(*recordHeader)(unsafe.Pointer(&ring(a).pages[0].mem[headerSize])).word |= lengthMask
		}, 0, 201, 0, true},
		"no head":             {func(a *Arena) { a.head(ring(a).number).kind = slotFree }, 0, 0, 0, true},
		"a head of no number": {func(a *Arena) { a.head(ring(a).number).floor = 0 }, 0, 0, 0, true},
		"a head with a name that is too long": {func(a *Arena) { a.head(ring(a).number).nameLen = MaxName + 1 },
			0, 0, 0, true},
		"an extent of no length": {func(a *Arena) { *a.entry(ring(a).pages[0].unit) = kindPage << entryShift }, 0, 201, 0, true},
		"an extent over the end": {func(a *Arena) { *a.entry(ring(a).pages[0].unit) |= entryMask }, 0, 201, 0, true},
		"an unknown kind": {func(a *Arena) {
			*a.entry(ring(a).pages[0].unit) |= 0xf << entryShift
		}, 0, 201, 0, true},
		"the part's magic":  {func(a *Arena) { part(a).magic++ }, 1, 201, 0, false},
		"the part's slot":   {func(a *Arena) { part(a).slot += 7 }, 1, 201, 0, false},
		"the part's length": {func(a *Arena) { part(a).length = unitSize }, 1, 201, 0, false},
		"a huge part":       {func(a *Arena) { part(a).length = 1<<32 - 1 }, 1, 201, 0, false},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			b := damaged(t, test.breakIt)
			r := b.Find("a")
			switch {
			case test.next == 0:
				if r != nil {
					t.Errorf("a is there, next is %d", r.Next())
				}
			case r == nil || r.Next() != test.next:
				t.Fatalf("a is %v", r)
			case test.first == 0:
				if r.FirstHeld() <= 1 {
					t.Error("the damaged page is there")
				}
			case r.FirstHeld() != test.first:
				t.Errorf("a begins with %d", r.FirstHeld())
			}
			if got := b.Find("b"); got == nil || got.Next() != 201 || got.FirstHeld() != 1 {
				t.Error("b is damaged as well")
			}
			if f := b.Feed("b", 1, Stdout, 0); (f.Unfinished() == len("unfinished")) != test.unclosed || test.unclosed && f.pid.Load() != 77 {
				t.Errorf("unfinished are %d bytes of %d", f.Unfinished(), f.pid.Load())
			}
		})
	}
}

// TestOpenOfAPageWithinAnother: nothing may begin inside an extent.
func TestOpenOfAPageWithinAnother(t *testing.T) {
	b := damaged(t, func(a *Arena) {
		for _, p := range a.rings["a"].pages {
			if len(p.mem) >= 4*unitSize {
				*a.entry(p.unit + 1) = kindPart<<entryShift | 2
				return
			}
		}
		t.Fatal("all pages are small")
	})
	if got := b.Find("a"); got.Next() != 201 || got.FirstHeld() != 1 {
		t.Errorf("a is %d to %d", got.FirstHeld(), got.Next())
	}
}

// TestOpenOfOverlappingPages keeps the one that begins first.
func TestOpenOfOverlappingPages(t *testing.T) {
	var end uint64
	b := damaged(t, func(a *Arena) {
		r := a.rings["a"]
		p := r.pages[1]
		end = r.pages[0].end()
		h := a.page(p.unit)
		h.first = end - 1
		h.check = a.checkOf(h, p.unit)
	})
	r := b.Find("a")
	var seen []uint64
	r.Scan(1, func(rec *Record) bool { seen = append(seen, rec.Seq); return true })
	if !slices.IsSorted(seen) || seen[0] != 1 || !slices.Contains(seen, end-1) || slices.Contains(seen, end) || r.Next() != 201 {
		t.Errorf("from %d: %v", end, seen)
	}
}

// TestOpenOfTwoHeads of one name takes the first.
func TestOpenOfTwoHeads(t *testing.T) {
	b := damaged(t, func(a *Arena) {
		number, _ := a.allocSlot()
		*a.head(number) = *a.head(a.rings["a"].number)
	})
	if got := b.Find("a"); got == nil || got.Next() != 201 {
		t.Error("a is gone")
	}
}

// TestOpenOfManyMarks keeps as many as there may be, and frees what belongs to nobody.
func TestOpenOfManyMarks(t *testing.T) {
	b := damaged(t, func(a *Arena) {
		for i := range maxMarks + 3 {
			number, _ := a.allocSlot()
			*a.mark(number) = markSlot{kind: slotMark, head: a.rings["a"].number, key: uint64(i), vals: [2]Position{{Seq: uint64(20 + i)}}}
		}
		number, _ := a.allocSlot()
		*a.mark(number) = markSlot{kind: slotMark, head: 999, key: 7}
	})
	r := b.Find("a")
	if len(r.marks) != maxMarks {
		t.Errorf("%d marks", len(r.marks))
	}
	if hold := r.hold.Load(); hold != 20 || !r.adopted.Load() || !b.adopting[r] {
		t.Errorf("lines from %d on are kept", hold)
	}
	b.FlushUnclaimed(1)
	if r.hold.Load() != noHold || r.adopted.Load() || len(b.adopting) != 0 {
		t.Error("they are kept for sinks that did not come back")
	}
	sound(t, b)
}

// TestOpenOfTwoParts of one pipe keeps the newer, wherever it lies.
func TestOpenOfTwoParts(t *testing.T) {
	for _, version := range []uint64{0, 2} {
		b := damaged(t, func(a *Arena) {
			f := a.rings["b"].feeds[0]
			unit, _ := a.alloc(1)
			*a.part(unit) = *a.part(f.unit)
			a.part(unit).version = version
			a.part(unit).length = 3
			a.publish(unit, 1, kindPart)
		})
		want := map[uint64]int{0: len("unfinished"), 2: 3}[version]
		if got := b.Feed("b", 1, Stdout, 0).Unfinished(); got != want || len(b.Find("b").feeds) != 1 {
			t.Errorf("version %d: %d bytes, want %d, %d feeds", version, got, want, len(b.Find("b").feeds))
		}
	}
}

// TestOpenOfASlabOfAnotherSize does without it.
func TestOpenOfASlabOfAnotherSize(t *testing.T) {
	a := newTestArena(t, MinTotal)
	a.Ring("a", Limits{}).Append(Record{Text: []byte("x")})
	*a.entry(0)++
	*a.entry(slabSize / unitSize) = 0
	b := snapshot(t, a)
	defer b.Close()
	if sound(t, b); len(b.Names()) != 0 || b.Bytes() != 0 {
		t.Errorf("%v, %d bytes", b.Names(), b.Bytes())
	}
}

// TestOpenOfOddLimits gives the defaults for what no ring can have.
func TestOpenOfOddLimits(t *testing.T) {
	for v, want := range map[uint64]int{0: DefaultLines, 1: 1, 1<<31 - 1: 1<<31 - 1, 1 << 31: DefaultLines, 1 << 63: DefaultLines} {
		if got := clampInt(v, DefaultLines); got != want {
			t.Errorf("%d gives %d, want %d", v, got, want)
		}
	}
}

// TestOpenOfRandomDamage: whatever the structures say, what Open makes of it is sound, and stays so.
func TestOpenOfRandomDamage(t *testing.T) {
	base := soundArena(t)
	top := int((*superblock)(unsafe.Pointer(&base[0])).top) // what lies behind it is not looked at
	opened := 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		mem := slices.Clone(base)
		for range 1 + rng.IntN(8) {
			at := rng.IntN(superSize)
			switch rng.IntN(4) {
			case 0:
				at = tableAt + rng.IntN(4*top)
			case 1:
				at = dataStart(MinTotal/unitSize) + rng.IntN(slabSize)
			case 2:
				at = dataStart(MinTotal/unitSize) + rng.IntN(100)*unitSize + rng.IntN(64)
			}
			mem[at] ^= byte(1 + rng.IntN(255))
		}
		b, err := tryOpen(t, mem)
		if err != nil {
			continue
		}
		opened++
		for _, name := range b.Names() {
			b.Ring(name, Limits{DefaultLines, DefaultBytes}) // brings the head in line
		}
		sound(t, b)
		b.FlushUnclaimed(1)
		sound(t, b)
		_ = b.Close()
	}
	if opened < 100 {
		t.Errorf("only %d of the damaged arenas could be opened", opened)
	}
}

// TestOpenOfAnIntentThatCannotBe does nothing of it.
func TestOpenOfAnIntentThatCannotBe(t *testing.T) {
	for what, breakIt := range map[string]func(in *intent){
		"no stage":             func(in *intent) { in.stage = stageLines + 1 },
		"too many bytes":       func(in *intent) { in.n = MaxRead + 1 },
		"too much held":        func(in *intent) { in.held = MaxLine + 1 },
		"no ring":              func(in *intent) { in.slot = 999 },
		"no first line":        func(in *intent) { in.stage, in.first, in.n = stageRead, 0, 1000 },
		"a first line to come": func(in *intent) { in.stage, in.first = stageRead, 202 },
		"too many lines":       func(in *intent) { in.stage, in.first = stageRead, 201-13 },
	} {
		t.Run(what, func(t *testing.T) {
			b := damaged(t, func(a *Arena) {
				in := a.intent()
				*in = intent{stage: stageReading, n: 10, slot: a.rings["a"].number + 1, canary: 1, gen: 9, first: 201}
				copy(a.staging(), "one\ntwo\nre")
				breakIt(in)
			})
			if got, rest := b.Find("a").Next(), b.Feed("a", 9, Stdout, 0).Unfinished(); got != 201 || rest != 0 {
				t.Errorf("the next line is %d, unfinished are %d bytes", got, rest)
			}
			if stage := atomic.LoadUint32(&b.intent().stage); stage != stageIdle {
				t.Errorf("the stage is %d", stage)
			}
		})
	}
	for _, c := range []struct {
		in   intent
		next uint64
		rest int
	}{
		{intent{stage: stageRead, first: 201, n: 10}, 203, 2}, {intent{stage: stageRead, first: 200, n: 10}, 202, 2},
		{intent{stage: stageRead, first: 201 - 12, n: 10}, 201, 2}, {intent{stage: stageLines, n: 10, tail: 8}, 201, 2},
		{intent{stage: stageLines, n: 10, tail: 10}, 201, 0}, {intent{stage: stageLines, n: 10, tail: 11}, 201, 0},
	} {
		b := damaged(t, func(a *Arena) {
			in := a.intent()
			*in = c.in
			in.slot, in.gen, in.pid = a.rings["a"].number+1, 9, 5
			copy(a.staging(), "one\ntwo\nre")
		})
		f := b.Feed("a", 9, Stdout, 0)
		if got := b.Find("a").Next(); got != c.next || f.Unfinished() != c.rest || f.pid.Load() != 5 && c.rest > 0 || b.intent().stage != stageIdle {
			t.Errorf("%+v: the next line is %d, unfinished are %d of %d", c.in, got, f.Unfinished(), f.pid.Load())
		}
	}
	b := damaged(t, func(a *Arena) { // the same, sound
		*a.intent() = intent{stage: stageReading, n: 8, slot: a.rings["a"].number + 1, canary: 1, gen: 9, pid: 5, timeMS: 3}
		copy(a.staging(), "one\ntwo\n")
	})
	if got := texts(b.Find("a").Last(2, nil)); !slices.Equal(got, []string{"one", "two"}) || b.Recovery() != RecoveryRead {
		t.Errorf("lines %q, recovery %d", got, b.Recovery())
	}
}

// TestRecovery tells how far a read had come, at each instant at which it can end.
func TestRecovery(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 5, Stdout, 1)
	feedBytes(f, []byte("before"), 1)
	var got []Recovery
	note := func() {
		b := snapshot(t, a)
		defer b.Close()
		sound(t, b)
		if r := b.Recovery(); len(got) == 0 || got[len(got)-1] != r {
			got = append(got, r)
		}
	}
	note()
	data := []byte(" one\ntwo\nthree")
	buf := a.Begin(f, len(data), nil, 1)
	note()
	a.onStep = note
	copy(buf, data)
	note()
	a.Finish(len(data))
	want := []Recovery{RecoveryNone, RecoveryNotRead, RecoveryRead, RecoveryLines, RecoveryRest, RecoveryNone}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
