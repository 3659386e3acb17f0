package journal

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// State is what a journal says. Records, Definitions and Notes are those alive, sorted by name.
type State struct {
	Version     int // that the journal was written with
	Globals     machine.Globals
	Records     []machine.Record
	Definitions []Definition
	Notes       map[string][]byte
	Dropped     int // bytes of a torn last append that were dropped
}

// Definition is a service definition that came over RPC.
type Definition struct {
	Name      string
	Doc       []byte // the RPC document, JSON
	Source    string // the file that it was saved to, "" = none
	Ephemeral bool
}

// Open replays the journal in fd, which becomes the journal's (made close-on-exec), and goes on appending behind what is
// valid. On error fd stays the caller's: ErrNewer, ErrDamaged or ErrOtherBoot, or one of the system.
func Open(fd int) (*Journal, *State, error) {
	s, err := readSlot(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the journal: %w", err)
	}
	if otherBoot(bootID(), s.boot) {
		return nil, nil, fmt.Errorf("cannot use the journal: %w", ErrOtherBoot)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, fmt.Errorf("cannot use the journal: %w", err)
	}
	if s.capacity > math.MaxInt32 || s.off > st.Size { // a span has no more
		return nil, nil, fmt.Errorf("cannot use the journal: %w", ErrDamaged)
	}
	seg, err := mapSegment(fd, s.off, int(s.capacity))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot map the journal: %w", err)
	}
	seg.have = int(min(st.Size-s.off, s.capacity))
	j := &Journal{fd: fd, seg: seg, slot: s, live: map[liveKey]span{}}
	state, err := j.replay()
	if err != nil {
		_ = unix.Munmap(seg.mem)
		return nil, nil, fmt.Errorf("cannot use the journal: %w", err)
	}
	j.version.Store(s.version)
	unix.CloseOnExec(fd)
	if s.off > pageSize {
		punch(fd, pageSize, s.off-pageSize)
	}
	if behind := st.Size - s.off - s.capacity; behind > 0 {
		punch(fd, s.off+s.capacity, behind)
	}
	return j, state, nil
}

// otherBoot reports whether two boot ids are known (not zeros) and differ.
func otherBoot(a, b [16]byte) bool {
	return a != b && a != [16]byte{} && b != [16]byte{}
}

// replay reads the frames up to the first that is not valid, and clears what is behind it.
func (j *Journal) replay() (*State, error) {
	seg := j.seg
	b := seg.mem[:seg.have]
	payload, seq, ok := frameAt(b, 0)
	for ok {
		if seg.used > 0 && seq != seg.seq+1 {
			return nil, ErrDamaged
		}
		if err := j.indexFrame(payload, seg.used+frameHeader); err != nil {
			return nil, err
		}
		seg.seq = seq
		seg.used += frameSize(len(payload)) // behind the end of a file that was cut in the padding
		payload, seq, ok = frameAt(b, seg.used)
	}
	rest := b[min(seg.used, len(b)):]
	torn := tail(rest)
	if torn > 0 && validLater(b, seg.used, seg.seq) {
		return nil, ErrDamaged
	}
	clear(rest[:torn])
	state, err := j.state()
	if err == nil {
		state.Dropped = torn
	}
	return state, err
}

// tail returns how long the part of b is that is not zeros at its end.
func tail(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// validLater reports whether a valid frame with a later number follows an invalid one: then it was no torn append.
func validLater(b []byte, from int, last uint64) bool {
	for at := from + 8; len(b)-at >= frameHeader; at += 8 {
		seq := le.Uint64(b[at+8:])
		if seq <= last || seq-last > 1<<20 {
			continue
		}
		if _, _, ok := frameAt(b, at); ok {
			return true
		}
	}
	return false
}

// indexFrame notes the entries of one frame whose payload stands at offset at.
func (j *Journal) indexFrame(payload []byte, at int) error {
	for len(payload) > 0 {
		if len(payload) < entryHeader {
			return ErrDamaged
		}
		keyLen, valueLen := int(le.Uint16(payload[1:])), int(le.Uint32(payload[3:]))
		n := entryHeader + keyLen + valueLen
		if valueLen < 0 || valueLen > maxFrame || n > len(payload) {
			return ErrDamaged
		}
		key := string(payload[entryHeader : entryHeader+keyLen])
		j.index(payload[0], key, span{int32(at), int32(n)})
		payload, at = payload[n:], at+n
	}
	return nil
}

// state decodes what is alive.
func (j *Journal) state() (*State, error) {
	s := &State{Version: int(j.slot.version), Notes: map[string][]byte{}}
	for key, at := range j.live {
		value := j.seg.mem[int(at.off)+entryHeader+len(key.key) : at.off+at.n]
		var err error
		switch key.kind {
		case entryGlobals:
			err = parse(j, value, &s.Globals, globalsFields, (*decoder).globals)
		case entryRecord:
			r := machine.Record{Name: key.key}
			err = parse(j, value, &r, recordFields, (*decoder).record)
			s.Records = append(s.Records, r)
		case entryDefine:
			def := Definition{Name: key.key}
			err = parse(j, value, &def, definitionFields, (*decoder).definition)
			s.Definitions = append(s.Definitions, def)
		case entryNote:
			s.Notes[key.key] = slices.Clone(value)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.Records, func(a, b machine.Record) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Definitions, func(a, b Definition) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}
