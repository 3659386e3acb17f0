package logring

import (
	"sync/atomic"
	"unsafe"
)

// The structures below lie in the mapping. Fields marked commit are stored last and atomically.

type superblock struct {
	magic   uint64
	version uint32
	unit    uint32
	units   uint32 // in the data area
	top     uint32 // no extent was ever beyond this unit
	secret  uint64 // keys the checks of page headers
}

// intent is the one read that may be under way. See intake.go for the stages.
type intent struct {
	stage  uint32 // commit
	n      uint32 // bytes asked for
	slot   uint32 // of the ring's head
	pid    int32
	gen    uint64
	timeMS int64
	canary uint64
	first  uint64 // the sequence number of the first line that comes out of it, valid from stageRead on
	held   uint32 // bytes of the unfinished line before
	tail   uint32 // where in that line + staging the new unfinished line begins, valid from stageLines on
	stream uint8
	eof    uint8 // no more bytes will come: what is unfinished becomes the last line
	_      [6]byte
}

// slot is one element of a slab: the head of a ring or a mark. kind is the commit word.
type slot struct {
	kind uint32
	_    uint32
	data [slotSize - 8]byte
}

const (
	slotSize = 256
	slabSize = 4 << 10
	slabLen  = slabSize / slotSize

	slotFree = 0
	slotHead = 1
	slotMark = 2
)

type headSlot struct {
	kind    uint32
	nameLen uint32
	floor   uint64 // commit: next sequence number when every page is gone
	lines   uint64
	bytes   uint64
	name    [MaxName]byte
	_       [slotSize - 32 - MaxName]byte
}

type markSlot struct {
	kind uint32
	head uint32 // slot of the ring it belongs to
	key  uint64
	cur  uint64 // commit: values[cur&1] holds
	vals [2]Position
}

// pageHeader begins a page of lines.
type pageHeader struct {
	magic  uint32
	slot   uint32 // of the ring's head
	first  uint64 // sequence number of the first line
	baseMS int64  // times in records are relative to it
	check  uint64
	commit uint64 // lines<<32 | bytes in use, this header included
	_      [24]byte
}

// partHeader begins the unfinished line of one pipe.
type partHeader struct {
	magic   uint32
	slot    uint32
	gen     uint64
	version uint64 // the highest of two for the same pipe holds
	length  uint32 // commit
	pid     int32
	stream  uint8
	_       [31]byte
}

// recordHeader precedes the text of each line; the text is padded to a multiple of 4.
type recordHeader struct {
	word  uint32 // length in the low 20 bits, then stream (3), continued (1), priority (8; 0 in arenas of before there was one)
	delta int32  // milliseconds after the page's baseMS
	pid   int32
}

const (
	superSize  = 4 << 10
	intentAt   = 512
	stagingAt  = superSize
	tableAt    = stagingAt + MaxRead
	headerSize = int(unsafe.Sizeof(pageHeader{}))
	partSize   = int(unsafe.Sizeof(partHeader{}))
	recordSize = int(unsafe.Sizeof(recordHeader{}))

	lengthMask    = 1<<20 - 1
	streamShift   = 20
	streamMask    = 7
	continuedFlag = 1 << 23
	priorityShift = 24
)

// Sizes that the layout relies on; a change does not compile.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(slot{})-slotSize]
	_ = [1]struct{}{}[unsafe.Sizeof(headSlot{})-slotSize]
	_ = [1]struct{}{}[unsafe.Sizeof(pageHeader{})-64]
	_ = [1]struct{}{}[unsafe.Sizeof(partHeader{})-64]
	_ = [1]struct{}{}[unsafe.Sizeof(recordHeader{})-12]
)

// recordSpan is the room that a line of n bytes takes in a page.
func recordSpan(n int) int { return recordSize + (n+3)&^3 }

func (a *Arena) super() *superblock { return (*superblock)(unsafe.Pointer(&a.mem[0])) }
func (a *Arena) intent() *intent    { return (*intent)(unsafe.Pointer(&a.mem[intentAt])) }
func (a *Arena) staging() []byte    { return a.mem[stagingAt : stagingAt+MaxRead : stagingAt+MaxRead] }

func (a *Arena) entry(unit int) *uint32 {
	return (*uint32)(unsafe.Pointer(&a.mem[tableAt+4*unit]))
}

// unitMem is the memory of n bytes from a unit on.
func (a *Arena) unitMem(unit, n int) []byte {
	at := a.dataAt + unit*unitSize
	return a.mem[at : at+n : at+n]
}

func (a *Arena) page(unit int) *pageHeader {
	return (*pageHeader)(unsafe.Pointer(&a.mem[a.dataAt+unit*unitSize]))
}

func (a *Arena) part(unit int) *partHeader {
	return (*partHeader)(unsafe.Pointer(&a.mem[a.dataAt+unit*unitSize]))
}

// slotAt finds a slot by its number: unit of the slab * slabLen + index.
func (a *Arena) slotAt(number uint32) unsafe.Pointer {
	unit, index := int(number)/slabLen, int(number)%slabLen
	return unsafe.Pointer(&a.mem[a.dataAt+unit*unitSize+index*slotSize])
}

func (a *Arena) head(number uint32) *headSlot { return (*headSlot)(a.slotAt(number)) }
func (a *Arena) mark(number uint32) *markSlot { return (*markSlot)(a.slotAt(number)) }

// checkOf ties a page header to its place and content, keyed so that text cannot imitate it.
func (a *Arena) checkOf(h *pageHeader, unit int) uint64 {
	x := a.secret
	for _, v := range [...]uint64{uint64(h.slot), h.first, uint64(h.baseMS), uint64(unit)} {
		x = (x ^ v) * 0x9e3779b97f4a7c15
		x ^= x >> 29
	}
	return x
}

// setCommit publishes the first lines lines, used bytes, of a page.
func (h *pageHeader) setCommit(lines, used int) {
	atomic.StoreUint64(&h.commit, uint64(lines)<<32|uint64(used))
}
