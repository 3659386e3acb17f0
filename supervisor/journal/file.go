package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/anon"
)

// Version is the version that this release writes and the newest that it reads. Version 2 has records with numbered fields,
// which need no further version for what is only added.
const Version = 2

// FirstVersion has values in which the order of the fields counts (codec1.go). It is read, and written in a journal that was
// taken over from a release that reads nothing else, as long as that one may come back; a later release drops it.
const FirstVersion = 1

const (
	magic       = 0x314c4e4a54494e5a // "ZNITJNL1"
	pageSize    = 4096
	slotSize    = 64
	frameHeader = 16
	minSegment  = 256 << 10 // bytes of the smallest segment
	growStep    = 64 << 10  // bytes of memory taken at a time
	maxFrame    = 1 << 30   // bytes of one payload
)

var (
	le      = binary.LittleEndian
	errFull = errors.New("the journal's segment is full")
)

// castagnoli makes its table at the first use: that takes a fifth of a millisecond, which no run of the client shall pay.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// Warm makes what every journal needs. Who calls it in a goroutine before other work has it done by then.
func Warm() { castagnoli() }

// Errors of Open, to be told apart by errors.Is.
var (
	ErrNewer     = errors.New("the state was written by a newer zinit")
	ErrDamaged   = errors.New("the state is damaged")
	ErrOtherBoot = errors.New("the state is of another boot")
)

// segment is the mapped part of the file that is being written.
type segment struct {
	fd    int
	off   int64  // in the file, a multiple of pageSize
	mem   []byte // the whole capacity, of which only ready bytes may be touched
	have  int    // bytes that have memory
	used  int    // bytes of valid frames
	stale bool   // what has no memory yet may hold old bytes, which must read as zeros
	seq   uint64 // of the last frame
}

// mapSegment maps a segment without touching it.
func mapSegment(fd int, off int64, capacity int) (*segment, error) {
	mem, err := unix.Mmap(fd, off, capacity, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &segment{fd: fd, off: off, mem: mem}, nil
}

// reserve takes memory for n more bytes, so that writing them cannot fault.
func (s *segment) reserve(n int) error {
	if s.used+n > len(s.mem) {
		return errFull
	}
	if s.used+n <= s.have {
		return nil
	}
	want := min((s.used+n+growStep-1)/growStep*growStep, len(s.mem))
	take := anon.Reserve
	if s.stale {
		take = anon.Zero
	}
	err := take(s.fd, s.off+int64(s.have), int64(want-s.have))
	if err == nil {
		s.have = want
	}
	return err
}

// frameSize is the room of a frame with a payload of n bytes.
func frameSize(n int) int { return frameHeader + (n+7)/8*8 }

// append writes one frame and returns where its payload stands in the segment.
func (s *segment) append(payload []byte) (int, error) {
	if len(payload) > maxFrame {
		return 0, errFull
	}
	// One more word than the frame: the commit word after it must read as zero.
	if err := s.reserve(frameSize(len(payload)) + 8); err != nil {
		return 0, err
	}
	at := s.mem[s.used:]
	seq := s.seq + 1
	le.PutUint64(at[8:], seq)
	copy(at[frameHeader:], payload)
	word := uint64(len(payload)) | uint64(checksum(at[8:frameHeader], payload))<<32
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&at[0])), word)
	start := s.used + frameHeader
	s.used += frameSize(len(payload))
	s.seq = seq
	return start, nil
}

func checksum(seq, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli(), seq), castagnoli(), payload)
}

// frameAt reads the frame at offset at of b. A missing or invalid one gives ok = false.
func frameAt(b []byte, at int) (payload []byte, seq uint64, ok bool) {
	if at < 0 || len(b)-at < frameHeader {
		return nil, 0, false
	}
	word := le.Uint64(b[at:])
	if word == 0 || uint64(uint32(word)) > uint64(len(b)-at-frameHeader) { // before it is an int: that may have 32 bits
		return nil, 0, false
	}
	n := int(uint32(word))
	payload = b[at+frameHeader : at+frameHeader+n]
	if checksum(b[at+8:at+frameHeader], payload) != uint32(word>>32) {
		return nil, 0, false
	}
	return payload, le.Uint64(b[at+8:]), true
}

// slot names the active segment.
type slot struct {
	version  uint32
	seq      uint64 // the higher of two valid slots counts
	off      int64
	capacity int64
	boot     [16]byte
}

// bytes: magic, version, reserved, seq, offset, capacity, boot id, reserved, CRC-32C of all before it.
func (s *slot) bytes() []byte {
	b := make([]byte, slotSize)
	le.PutUint64(b, magic)
	le.PutUint32(b[8:], s.version)
	le.PutUint64(b[16:], s.seq)
	le.PutUint64(b[24:], uint64(s.off))
	le.PutUint64(b[32:], uint64(s.capacity))
	copy(b[40:56], s.boot[:])
	le.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli()))
	return b
}

// parseSlot gives a slot with the number 0, which none has, for what is none.
func parseSlot(b []byte) slot {
	if len(b) < slotSize || le.Uint64(b) != magic || le.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli()) {
		return slot{}
	}
	s := slot{version: le.Uint32(b[8:]), seq: le.Uint64(b[16:]), off: int64(le.Uint64(b[24:])), capacity: int64(le.Uint64(b[32:]))}
	copy(s.boot[:], b[40:56])
	return s
}

// writeSlot makes s the active one by overwriting the older of the two slots.
func writeSlot(fd int, s *slot) error {
	_, err := unix.Pwrite(fd, s.bytes(), int64(s.seq%2)*slotSize)
	return err
}

// readSlot finds the active slot and checks that it can be used.
func readSlot(fd int) (slot, error) {
	page := make([]byte, 2*slotSize)
	n, err := unix.Pread(fd, page, 0)
	if err != nil {
		return slot{}, err
	}
	page = page[:n]
	first := parseSlot(page)
	if second := parseSlot(page[min(n, slotSize):]); second.seq > first.seq {
		first = second
	}
	switch {
	case first.seq == 0:
		return slot{}, ErrDamaged
	case first.version > Version:
		return slot{}, errors.Join(ErrNewer, errors.New("its state version is "+strconv.Itoa(int(first.version))+
			", this one reads up to "+strconv.Itoa(Version)))
	case first.off < pageSize || first.off%pageSize != 0 || first.capacity <= 0 || first.capacity%pageSize != 0:
		return slot{}, ErrDamaged
	}
	return first, nil
}

// bootID reads the kernel's id of this boot; zeros when there is no /proc.
func bootID() (id [16]byte) {
	fd, err := unix.Open("/proc/sys/kernel/random/boot_id", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return id
	}
	defer func() { _ = unix.Close(fd) }()
	var text [36]byte
	n, _ := unix.Read(fd, text[:])
	digits := 0
	for _, c := range text[:max(n, 0)] {
		v, ok := hexDigit(c)
		if !ok || digits >= 32 {
			continue
		}
		id[digits/2] |= v << (4 * (1 - digits%2))
		digits++
	}
	return id
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
