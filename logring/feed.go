package logring

import "sync/atomic"

// feedKey names a pipe for ever.
type feedKey struct {
	gen    uint64
	stream uint8
}

// Feed is one pipe's way into a ring: who writes, and the unfinished line so far, which lies in the arena.
type Feed struct {
	a    *Arena
	ring *Ring
	key  feedKey
	pid  atomic.Int32

	// The unfinished line; guarded by a.mu. unit < 0: there is none.
	unit    int
	units   int
	length  int
	version uint64
}

// Feed makes the feed of a pipe: of the incarnation gen of service, for Stdout or Stderr. If the arena was opened after
// a crash, it goes on with the unfinished line that this pipe had.
func (a *Arena) Feed(service string, gen uint64, stream uint8, pid int32) *Feed {
	ring := a.Ring(service, Limits{})
	a.mu.Lock()
	defer a.mu.Unlock()
	key := feedKey{gen, stream}
	f := a.parts[key]
	if f != nil && f.ring == ring {
		delete(a.parts, key)
	} else {
		f = newFeed(a, ring, key)
	}
	if pid != 0 {
		f.pid.Store(pid)
	}
	return f
}

func newFeed(a *Arena, ring *Ring, key feedKey) *Feed {
	f := &Feed{a: a, ring: ring, key: key, unit: -1}
	ring.feeds = append(ring.feeds, f)
	return f
}

// Ring is where the lines go.
func (f *Feed) Ring() *Ring { return f.ring }

// SetPID tells who writes, once that is known.
func (f *Feed) SetPID(pid int32) { f.pid.Store(pid) }

// Unfinished is the length of the line that has begun and not ended.
func (f *Feed) Unfinished() int {
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	return f.length
}

// Close ends the feed: an unfinished line becomes the last one.
func (f *Feed) Close(nowMS int64) {
	f.a.mu.Lock()
	defer f.a.mu.Unlock()
	f.close(nowMS)
}

// FlushUnclaimed ends what Open began, and does nothing in a new arena: call it when all file and shipping sinks are
// set again and all pipes that were handed back are added. What other pipes had left unfinished when the server died
// becomes their last line; lines that Open kept for sinks that did not come back may be given up.
func (a *Arena) FlushUnclaimed(nowMS int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for r := range a.adopting {
		r.hold.Store(noHold)
		r.adopted.Store(false)
	}
	clear(a.adopting)
	for key, f := range a.parts {
		delete(a.parts, key)
		f.close(nowMS)
	}
}

func (f *Feed) close(nowMS int64) {
	f.flush(nowMS)
	f.ring.feeds = without(f.ring.feeds, f)
}

// text is the unfinished line.
func (f *Feed) text() []byte {
	if f.unit < 0 {
		return nil
	}
	return f.a.unitMem(f.unit, f.units*unitSize)[partSize : partSize+f.length]
}

// keep appends tail to the unfinished line, or with replace puts it in its place. Doing it again with the same
// tail and the length it had before changes nothing. It reports false when there is no memory for it.
func (f *Feed) keep(tail []byte, replace bool) bool {
	old := f.length
	if replace {
		old = 0
	}
	length := old + len(tail)
	if length == 0 || f.ring.dropped {
		f.discard()
		return true
	}
	if partSize+length > f.units*unitSize || (replace && f.units > 4 && partSize+length <= unitSize) {
		return f.move(old, tail)
	}
	copy(f.a.unitMem(f.unit, f.units*unitSize)[partSize+old:], tail)
	f.setLength(length)
	return true
}

func (f *Feed) setLength(n int) {
	f.a.step()
	atomic.StoreUint32(&f.a.part(f.unit).length, uint32(n))
	f.length = n
}

// move gives the unfinished line an extent of the right size. The new one is whole before it exists, and counts more
// than the old one should both be found.
func (f *Feed) move(old int, tail []byte) bool {
	units := unitsFor(partSize + old + len(tail))
	if f.units > 0 && old > 0 {
		units = min(max(units, 2*f.units), unitsFor(partSize+MaxLine))
		units = max(units, unitsFor(partSize+old+len(tail)))
	}
	unit, ok := f.a.alloc(units)
	if !ok {
		return false
	}
	mem := f.a.unitMem(unit, units*unitSize)
	if old > 0 {
		copy(mem[partSize:], f.text()[:old])
	}
	copy(mem[partSize+old:], tail)
	*f.a.part(unit) = partHeader{
		magic: partMagic, slot: f.ring.number, gen: f.key.gen, version: f.version + 1,
		length: uint32(old + len(tail)), pid: f.pid.Load(), stream: f.key.stream,
	}
	f.a.publish(unit, units, kindPart)
	if f.unit >= 0 {
		f.a.release(f.unit)
	}
	f.unit, f.units, f.length, f.version = unit, units, old+len(tail), f.version+1
	return true
}

// discard frees the unfinished line's memory; a small extent is kept for the next, as a busy pipe needs one at
// every read.
func (f *Feed) discard() {
	if f.unit < 0 {
		return
	}
	f.setLength(0)
	if f.units > 1 {
		f.free()
	}
}

func (f *Feed) free() {
	if f.unit >= 0 {
		f.a.release(f.unit)
	}
	f.unit, f.units, f.length = -1, 0, 0
}
