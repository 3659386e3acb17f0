package journal

import (
	"errors"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/anon"
	"github.com/zinit/zinit/internal/record"
	"github.com/zinit/zinit/supervisor/machine"
)

// Entry kinds. The deleting kind of kind k is k|deleting.
const (
	entryGlobals byte = 1
	entryRecord  byte = 2
	entryDefine  byte = 3
	entryNote    byte = 4
	deleting     byte = 0x80
)

// Journal appends to one memfd. It is used from one goroutine. After an error of one of its methods the state on file is
// that before the call and every later call is tried anew.
type Journal struct {
	fd    int
	seg   *segment
	slot  slot
	live  map[liveKey]span // where the newest entry of each kind and key stands in the segment
	bytes int              // of all live entries
	enc   encoder          // the batch being built
	marks []mark           // its entries
	held  bool             // the batch is not written before Flush

	version atomic.Uint32 // slot.version, for everybody
	writer  record.Codec  // here because a new one for each value would be memory
}

type liveKey struct {
	kind byte
	key  string
}

type span struct{ off, n int32 }

// mark is an entry of the batch being built: its key and where it begins and ends.
type mark struct {
	kind     byte
	key      string
	from, to int
}

// Create makes an empty journal in a new memfd, close-on-exec.
func Create() (*Journal, error) {
	fd, err := anon.File("zinit-journal")
	if err != nil {
		return nil, err
	}
	j := &Journal{fd: fd, live: map[liveKey]span{}, slot: slot{version: Version, boot: bootID()}}
	j.version.Store(Version)
	if err := j.begin(); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return j, nil
}

func (j *Journal) begin() error {
	if err := unix.Ftruncate(j.fd, pageSize); err != nil {
		return err
	}
	// Nobody can make the file shorter than what is mapped, which would be a SIGBUS.
	_, _ = unix.FcntlInt(uintptr(j.fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	seg, err := mapSegment(j.fd, pageSize, minSegment)
	if err != nil {
		return err
	}
	if err := seg.reserve(8); err != nil {
		_ = unix.Munmap(seg.mem)
		return err
	}
	j.seg = seg
	j.slot.seq, j.slot.off, j.slot.capacity = 1, pageSize, minSegment
	return writeSlot(j.fd, &j.slot)
}

// FD returns the memfd, to be given to the keeper. It stays the journal's.
func (j *Journal) FD() int { return j.fd }

// Close unmaps and closes the journal. The memfd lives on where a copy of it is held.
func (j *Journal) Close() error {
	_ = unix.Munmap(j.seg.mem)
	return unix.Close(j.fd)
}

// Services appends the records that a step touched, and the globals, as one batch. Call it before the step's actions
// are carried out.
func (j *Journal) Services(recs []machine.Record, g machine.Globals) error {
	for i := range recs {
		j.enter(entryRecord, recs[i].Name)
		value(j, &recs[i], recordFields, (*encoder).record)
	}
	j.enter(entryGlobals, "")
	value(j, &g, globalsFields, (*encoder).globals)
	return j.commit()
}

// Forget drops the record of a service.
func (j *Journal) Forget(name string) error { return j.remove(entryRecord, name) }

// Define appends a definition that is on no file, or that differs from its file: doc is the RPC document.
func (j *Journal) Define(name string, doc []byte, source string, ephemeral bool) error {
	j.enter(entryDefine, name)
	value(j, &Definition{Doc: doc, Source: source, Ephemeral: ephemeral}, definitionFields, (*encoder).definition)
	return j.commit()
}

// Undefine drops a definition.
func (j *Journal) Undefine(name string) error { return j.remove(entryDefine, name) }

// Note keeps value under key, in the place of what was there; nil drops it. Keys are at most 65535 bytes.
func (j *Journal) Note(key string, value []byte) error {
	if value == nil {
		return j.remove(entryNote, key)
	}
	j.enter(entryNote, key)
	j.enc.b = append(j.enc.b, value...)
	return j.commit()
}

// Hold makes one batch of all that follows until Flush: after a crash either all of it is there or nothing.
func (j *Journal) Hold() { j.held = true }

// Flush writes what was held.
func (j *Journal) Flush() error {
	j.held = false
	if len(j.marks) == 0 {
		return nil
	}
	return j.commit()
}

func (j *Journal) remove(kind byte, key string) error {
	if _, ok := j.live[liveKey{kind, key}]; !ok && !j.held {
		return nil
	}
	j.enter(kind|deleting, key)
	return j.commit()
}

// enter begins an entry; its value is what is appended to j.enc until the next enter or commit.
func (j *Journal) enter(kind byte, key string) {
	j.endEntry()
	j.marks = append(j.marks, mark{kind: kind, key: key, from: len(j.enc.b)})
	j.enc.b = append(j.enc.b, kind, 0, 0, 0, 0, 0, 0)
	le.PutUint16(j.enc.b[len(j.enc.b)-6:], uint16(len(key)))
	j.enc.b = append(j.enc.b, key...)
}

// entryHeader is the size of an entry without key and value.
const entryHeader = 7

func (j *Journal) endEntry() {
	if len(j.marks) == 0 {
		return
	}
	m := &j.marks[len(j.marks)-1]
	m.to = len(j.enc.b)
	le.PutUint32(j.enc.b[m.from+3:], uint32(m.to-m.from-entryHeader-len(m.key)))
}

// commit appends the batch as one frame. When there is no room it first copies what is alive into a new segment.
func (j *Journal) commit() error {
	j.endEntry()
	if j.held {
		return nil
	}
	defer func() { j.enc.b, j.marks = j.enc.b[:0], j.marks[:0] }()
	at, err := j.seg.append(j.enc.b)
	if err == errFull {
		if err = j.rotate(len(j.enc.b)); err == nil {
			at, err = j.seg.append(j.enc.b)
		}
	}
	if err != nil {
		return err
	}
	for i := range j.marks {
		m := &j.marks[i]
		j.index(m.kind, m.key, span{int32(at + m.from), int32(m.to - m.from)})
	}
	return nil
}

// index notes where the newest entry stands.
func (j *Journal) index(kind byte, key string, at span) {
	k := liveKey{kind &^ deleting, key}
	j.bytes -= int(j.live[k].n)
	if kind&deleting != 0 {
		delete(j.live, k)
		return
	}
	j.live[k] = at
	j.bytes += int(at.n)
}

// rotate copies the live entries into a new segment with room for extra bytes, makes it the active one and frees the old.
func (j *Journal) rotate(extra int) error { return j.move(j.slot.version, j.bytes+extra, j.copyLive) }

// Version is the version that this journal is written in: at first that which it was taken over in.
// It may be asked from any goroutine.
func (j *Journal) Version() int { return int(j.version.Load()) }

// Convert writes everything anew in another version: Version, or FirstVersion for an executable that reads nothing newer.
// After a crash at any instant all of it is in one of the two. Nothing may be held.
func (j *Journal) Convert(version int) error {
	if version == j.Version() {
		return nil
	}
	if len(j.marks) > 0 || version < FirstVersion || version > Version {
		return errors.New("the journal cannot be converted to version " + strconv.Itoa(version))
	}
	state, err := j.state()
	if err != nil {
		return err
	}
	was := j.slot.version
	j.slot.version = uint32(version)
	j.enterAll(state)
	batch, marks := j.enc.b, j.marks
	defer func() { j.enc.b, j.marks = batch[:0], marks[:0] }()
	bytes := 0
	err = j.move(uint32(version), len(batch), func(to *segment) (map[liveKey]span, error) {
		at, err := to.append(batch)
		live := make(map[liveKey]span, len(marks))
		for i := range marks {
			m := &marks[i]
			live[liveKey{m.kind, m.key}] = span{int32(at + m.from), int32(m.to - m.from)}
			bytes += m.to - m.from
		}
		return live, err
	})
	if err != nil {
		j.slot.version = was
		return err
	}
	j.bytes = bytes
	j.version.Store(uint32(version))
	return nil
}

// enterAll makes a batch of a whole state.
func (j *Journal) enterAll(s *State) {
	for i := range s.Records {
		j.enter(entryRecord, s.Records[i].Name)
		value(j, &s.Records[i], recordFields, (*encoder).record)
	}
	for i := range s.Definitions {
		j.enter(entryDefine, s.Definitions[i].Name)
		value(j, &s.Definitions[i], definitionFields, (*encoder).definition)
	}
	for key, note := range s.Notes {
		j.enter(entryNote, key)
		j.enc.b = append(j.enc.b, note...)
	}
	j.enter(entryGlobals, "")
	value(j, &s.Globals, globalsFields, (*encoder).globals)
	j.endEntry()
}

// move makes a new segment the active one, with room for four times as much as is written into it at first.
func (j *Journal) move(version uint32, first int, write func(to *segment) (map[liveKey]span, error)) error {
	capacity := max(minSegment, 4*(first+frameHeader))
	capacity = (capacity + pageSize - 1) / pageSize * pageSize
	// Before the present segment if that one is far enough in, else behind it: so the file stays short.
	off := int64(pageSize)
	if j.seg.off-pageSize < int64(capacity) {
		off = j.seg.off + int64(len(j.seg.mem))
	}
	zeroed := punch(j.fd, off, int64(capacity))
	next, err := mapSegment(j.fd, off, capacity)
	if err != nil {
		return err
	}
	next.seq, next.stale = j.seg.seq, !zeroed
	live, err := write(next)
	if err == nil {
		s := j.slot
		s.seq, s.off, s.capacity, s.version = s.seq+1, next.off, int64(capacity), version
		if err = writeSlot(j.fd, &s); err == nil {
			j.slot = s
		}
	}
	if err != nil {
		_ = unix.Munmap(next.mem)
		punch(j.fd, next.off, int64(capacity))
		return err
	}
	_ = unix.Munmap(j.seg.mem)
	punch(j.fd, j.seg.off, int64(len(j.seg.mem)))
	j.seg, j.live = next, live
	return nil
}

// copyLive writes all live entries as one frame.
func (j *Journal) copyLive(to *segment) (map[liveKey]span, error) {
	payload := make([]byte, 0, j.bytes)
	live := make(map[liveKey]span, len(j.live))
	for key, at := range j.live {
		live[key] = span{int32(len(payload)), at.n}
		payload = append(payload, j.seg.mem[at.off:at.off+at.n]...)
	}
	start, err := to.append(payload)
	if err != nil {
		return nil, err
	}
	for key, at := range live {
		live[key] = span{at.off + int32(start), at.n}
	}
	return live, nil
}

// punch gives the memory of a range back, which then reads as zeros. A failure costs memory, and says that it does not.
func punch(fd int, off, n int64) bool {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil
}
