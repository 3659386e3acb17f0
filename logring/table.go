package logring

import (
	"math/bits"
	"sync/atomic"
)

// Kinds of extents, in the high byte of a table entry; the low 24 bits are the length in units.
const (
	kindSlab = 1
	kindPage = 2
	kindPart = 3

	entryShift = 24
	entryMask  = 1<<entryShift - 1
)

// space is the private index of the table: one bit a unit, set = in use. It is rebuilt by Open.
type space struct {
	words []uint64
	units int
	used  int
	low   int // no free unit lies below
}

func newSpace(units int) space {
	s := space{words: make([]uint64, (units+63)/64), units: units}
	for i := units; i < len(s.words)*64; i++ {
		s.words[i/64] |= 1 << (i % 64)
	}
	return s
}

// find returns the first of n free units in a row, or -1.
func (s *space) find(n int) int {
	if s.units-s.used < n {
		return -1
	}
	run, start := 0, 0
	for w := s.low / 64; w < len(s.words); w++ {
		word := s.words[w]
		switch word {
		case ^uint64(0):
			run = 0
			continue
		case 0:
			if run == 0 {
				start = w * 64
			}
			if run += 64; run >= n {
				return start
			}
			continue
		}
		for b := 0; b < 64; {
			if word>>b&1 == 1 {
				run = 0
				b += bits.TrailingZeros64(^(word >> b))
				continue
			}
			free := min(bits.TrailingZeros64(word>>b), 64-b)
			if run == 0 {
				start = w*64 + b
			}
			if run += free; run >= n {
				return start
			}
			b += free
		}
	}
	return -1
}

func (s *space) take(unit, n int) {
	for i := unit; i < unit+n; i++ {
		s.words[i/64] |= 1 << (i % 64)
	}
	s.used += n
	if unit <= s.low {
		s.low = unit + n
	}
}

func (s *space) give(unit, n int) {
	for i := unit; i < unit+n; i++ {
		s.words[i/64] &^= 1 << (i % 64)
	}
	s.used -= n
	s.low = min(s.low, unit)
}

// alloc reserves n units in a row, giving up old pages when there is no room. The extent does not exist before publish. ok is
// false when even that is not enough: everything is held by unfinished lines.
func (a *Arena) alloc(n int) (unit int, ok bool) {
	for {
		if unit = a.space.find(n); unit >= 0 {
			a.space.take(unit, n)
			return unit, true
		}
		if !a.evictOne() {
			return 0, false
		}
	}
}

// publish makes the extent exist.
func (a *Arena) publish(unit, n int, kind uint32) {
	if s := a.super(); unit+n > int(s.top) {
		atomic.StoreUint32(&s.top, uint32(unit+n))
	}
	a.step()
	atomic.StoreUint32(a.entry(unit), kind<<entryShift|uint32(n))
	a.step()
}

// release ends the extent that begins at unit.
func (a *Arena) release(unit int) {
	n := int(*a.entry(unit) & entryMask)
	atomic.StoreUint32(a.entry(unit), 0)
	a.space.give(unit, n)
	a.step()
}

func unitsFor(bytes int) int { return (bytes + unitSize - 1) / unitSize }

// allocSlot finds a free slot and returns its number. The caller fills it and stores its kind last.
func (a *Arena) allocSlot() (uint32, bool) {
	if n := len(a.freeSlots); n > 0 {
		number := a.freeSlots[n-1]
		a.freeSlots = a.freeSlots[:n-1]
		return number, true
	}
	n := unitsFor(slabSize)
	unit, ok := a.alloc(n)
	if !ok {
		return 0, false
	}
	clear(a.unitMem(unit, slabSize))
	a.publish(unit, n, kindSlab)
	for i := slabLen - 1; i > 0; i-- {
		a.freeSlots = append(a.freeSlots, uint32(unit*slabLen+i))
	}
	return uint32(unit * slabLen), true
}

// freeSlot gives a slot back. Slabs stay: they are small, and a name that was once there often returns.
func (a *Arena) freeSlot(number uint32) {
	atomic.StoreUint32((*uint32)(a.slotAt(number)), slotFree)
	a.freeSlots = append(a.freeSlots, number)
}
