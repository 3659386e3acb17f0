package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// create makes a journal that is closed at the end of the test.
func create(t *testing.T) *Journal {
	t.Helper()
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// live checks that what is counted is what is there, and returns it.
func live(t *testing.T, j *Journal) int {
	t.Helper()
	sum := 0
	for _, at := range j.live {
		sum += int(at.n)
	}
	if sum != j.bytes {
		t.Errorf("%d bytes are alive, counted are %d", sum, j.bytes)
	}
	return sum
}

// TestEveryMethodTellsAnError: whatever cannot be written is told, changes nothing, and is tried anew.
func TestEveryMethodTellsAnError(t *testing.T) {
	j := create(t)
	for _, err := range []error{
		j.Services([]machine.Record{{Name: "a", Gen: 3}}, machine.Globals{NextGen: 4}),
		j.Define("d", []byte("doc"), "", false), j.Note("n", []byte("value")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// Filled up to what has memory, so that one more entry needs more.
	for n := 0; j.seg.used+frameHeader+entryHeader+8 <= j.seg.have; n++ {
		size := max(0, min(1000, j.seg.have-j.seg.used-frameHeader-entryHeader-len("fill")-16))
		if err := j.Note("fill", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if n > 1000 {
			t.Fatalf("it does not become full: %d of %d", j.seg.used, j.seg.have)
		}
	}
	before := image(t, j)
	calls := map[string]func() error{
		"services": func() error { return j.Services([]machine.Record{{Name: "b", Gen: 9}}, machine.Globals{NextGen: 9}) },
		"define":   func() error { return j.Define("e", []byte("doc"), "", false) },
		"note":     func() error { return j.Note("m", []byte("value")) },
		"flush":    func() error { j.Hold(); _ = j.Note("f", []byte("value")); return j.Flush() },
		"forget":   func() error { return j.Forget("a") },
		"undefine": func() error { return j.Undefine("d") },
		"drop":     func() error { return j.Note("n", nil) },
		"rotate":   func() error { return j.rotate(1) },
		"convert":  func() error { return j.Convert(FirstVersion) },
	}
	fd := j.fd
	j.fd, j.seg.fd = -1, -1
	for name, call := range calls {
		if err := call(); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: error %v, want EBADF", name, err)
		}
	}
	j.fd, j.seg.fd = fd, fd
	if v := j.Version(); v != Version || j.slot.version != Version {
		t.Errorf("version %d, in the slot %d", v, j.slot.version)
	}
	if !slices.Equal(before, image(t, j)) {
		t.Error("a call that failed has written something")
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s, tried anew: %v", name, err)
		}
	}
	live(t, j)
	_, got, err := reopen(t, image(t, j))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 1 || got.Records[0].Name != "b" || len(got.Definitions) != 1 || got.Definitions[0].Name != "e" ||
		got.Notes["n"] != nil || got.Notes["m"] == nil || got.Notes["f"] == nil {
		t.Errorf("what came of it: %+v", got)
	}
}

// TestCloseTellsAnError as the system does.
func TestCloseTellsAnError(t *testing.T) {
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(j.FD()); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
}

// TestBeginOnFilesThatRefuse: no journal is made of a file that cannot hold one.
func TestBeginOnFilesThatRefuse(t *testing.T) {
	refusing := func(seal int) int {
		fd, err := unix.MemfdCreate("refusing", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Ftruncate(fd, pageSize); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	if err := (&Journal{fd: -1}).begin(); !errors.Is(err, unix.EBADF) {
		t.Errorf("no file: %v", err)
	}
	for what, seal := range map[string]int{"mapped": unix.F_SEAL_FUTURE_WRITE, "grown": unix.F_SEAL_GROW} {
		if err := (&Journal{fd: refusing(seal)}).begin(); !errors.Is(err, unix.EPERM) {
			t.Errorf("a file that cannot be %s: %v", what, err)
		}
	}
	j := create(t)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", j.FD()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, _, err := Open(fd); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "cannot map") {
		t.Errorf("a file that cannot be written: %v", err)
	}
	if _, _, err := Open(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no file: %v", err)
	}
}

// TestReserve: memory is taken in steps, up to the last byte, and old bytes read as zeros.
func TestReserve(t *testing.T) {
	j := create(t)
	const off = 1 << 20
	if _, err := unix.Pwrite(j.fd, slices.Repeat([]byte{0xff}, minSegment), off); err != nil {
		t.Fatal(err)
	}
	seg, err := mapSegment(j.fd, off, minSegment)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(seg.mem)
	seg.stale = true
	for _, c := range []struct{ used, n, have int }{
		{0, growStep, growStep}, {0, 8, growStep}, {1, growStep, 2 * growStep}, {growStep, growStep, 2 * growStep},
		{2 * growStep, 1, 3 * growStep}, {minSegment - 8, 8, minSegment},
	} {
		seg.used = c.used
		if err := seg.reserve(c.n); err != nil || seg.have != c.have {
			t.Errorf("%d bytes behind %d: %d have memory, want %d (%v)", c.n, c.used, seg.have, c.have, err)
		}
		if n := tail(seg.mem[:seg.have]); n != 0 {
			t.Errorf("%d bytes behind %d: old bytes up to %d", c.n, c.used, n)
		}
	}
	if err := seg.reserve(9); err != errFull {
		t.Errorf("more than there is: %v", err)
	}
	if mem := image(t, j)[off : off+minSegment]; tail(mem) != 0 {
		t.Error("the file has old bytes")
	}
}

// TestAppendLeavesRoomForTheNextWord: what reads the journal finds zeros behind the last frame, in memory that is there.
func TestAppendLeavesRoomForTheNextWord(t *testing.T) {
	j := create(t)
	if _, err := j.seg.append(make([]byte, growStep-frameHeader)); err != nil {
		t.Fatal(err)
	}
	if j.seg.used != growStep || j.seg.have != 2*growStep {
		t.Errorf("%d bytes used, %d have memory", j.seg.used, j.seg.have)
	}
	if _, err := j.seg.append(make([]byte, minSegment-growStep-frameHeader)); err != errFull {
		t.Errorf("a frame without room for the word behind it: %v", err)
	}
	if ^uint(0)>>32 != 0 {
		if _, err := j.seg.append(make([]byte, maxFrame+1)); err != errFull { // never touched
			t.Errorf("a frame that is too long: %v", err)
		}
	}
}

// TestFrameAt reads frames at the edges of what there is.
func TestFrameAt(t *testing.T) {
	j := create(t)
	frame := func(payload string) []byte {
		start := j.seg.used
		if _, err := j.seg.append([]byte(payload)); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(j.seg.mem[start : start+frameHeader+len(payload)])
	}
	for _, payload := range []string{"", "x", "12345678"} {
		b := frame(payload)
		if got, seq, ok := frameAt(b, 0); !ok || string(got) != payload || seq != j.seg.seq {
			t.Errorf("%q: %q, %d, %v", payload, got, seq, ok)
		}
		if _, _, ok := frameAt(append(make([]byte, 8), b...), 8); !ok {
			t.Errorf("%q behind 8 bytes is not found", payload)
		}
		for _, at := range []int{-1, 1, len(b), len(b) + 8} {
			if _, _, ok := frameAt(b, at); ok {
				t.Errorf("%q at %d is a frame", payload, at)
			}
		}
		if _, _, ok := frameAt(b[:len(b)-1], 0); ok {
			t.Errorf("%q cut is a frame", payload)
		}
		le.PutUint64(b, le.Uint64(b)+1) // longer than there is
		if _, _, ok := frameAt(b, 0); ok {
			t.Errorf("%q that is said to be longer is a frame", payload)
		}
	}
}

// TestValidLater: only a later frame, and not by far, tells of damage before it.
func TestValidLater(t *testing.T) {
	const last = 100
	frame := func(seq uint64) []byte {
		b := make([]byte, frameHeader)
		le.PutUint64(b[8:], seq)
		le.PutUint64(b, uint64(checksum(b[8:], nil))<<32)
		return b
	}
	for _, c := range []struct {
		seq    uint64
		before int
		want   bool
	}{
		{last + 1, 8, true}, {last + 1, 16, true}, {last + 1, 0, false}, {last + 1, 4, false},
		{last, 8, false}, {last - 1, 8, false}, {last + 1<<20, 8, true}, {last + 1<<20 + 1, 8, false},
	} {
		b := append(make([]byte, c.before), frame(c.seq)...)
		if got := validLater(b, 0, last); got != c.want {
			t.Errorf("frame %d, %d bytes behind one that is not valid: %v", c.seq, c.before, got)
		}
		if validLater(b[:len(b)-1], 0, last) {
			t.Errorf("frame %d cut is valid", c.seq)
		}
	}
}

// TestSlots: the newer of two valid ones counts, each is written to its own place, and what cannot be is damage.
func TestSlots(t *testing.T) {
	j := create(t)
	if err := j.rotate(0); err != nil {
		t.Fatal(err)
	}
	full := image(t, j)
	for i, want := range []uint64{2, 1} {
		if got := parseSlot(full[i*slotSize:]); got.seq != want || got.version != Version {
			t.Errorf("slot %d is %+v, want number %d", i, got, want)
		}
		b := slices.Clone(full)
		b[i*slotSize+20] ^= 1
		if got := parseSlot(b[i*slotSize:]); got != (slot{}) {
			t.Errorf("a changed slot is %+v", got)
		}
	}
	other := j.slot.bytes()
	le.PutUint64(other, magic+1)
	le.PutUint32(other[60:], checksum(other[:60], nil))
	if got := parseSlot(other); got != (slot{}) {
		t.Errorf("a slot of another format is %+v", got)
	}
	if got := parseSlot(j.slot.bytes()[:slotSize-1]); got != (slot{}) {
		t.Errorf("a cut slot is %+v", got)
	}
	if err := writeSlot(-1, &j.slot); !errors.Is(err, unix.EBADF) {
		t.Errorf("written to no file: %v", err)
	}
	// Only the first slot is there, which is how a file that was cut looks.
	if _, _, err := reopen(t, full[:slotSize]); !errors.Is(err, ErrDamaged) {
		t.Errorf("a file of one slot: %v", err)
	}
	j = create(t)
	full = image(t, j)
	for _, c := range []slot{
		{off: 0, capacity: pageSize}, {off: pageSize + 8, capacity: pageSize}, {off: -pageSize, capacity: pageSize},
		{off: pageSize, capacity: 0}, {off: pageSize, capacity: -pageSize}, {off: pageSize, capacity: pageSize + 8},
		{off: pageSize, capacity: 1 << 31}, {off: 1 << 40, capacity: pageSize},
	} {
		s := j.slot
		s.seq, s.off, s.capacity = 4, c.off, c.capacity
		copy(full, s.bytes())
		if _, _, err := reopen(t, full); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes at %d: %v", c.capacity, c.off, err)
		}
	}
}

// TestCutBeforeTheSegment: a file that ends where its segment begins is a journal in which nothing is said.
func TestCutBeforeTheSegment(t *testing.T) {
	again, got, err := reopen(t, image(t, create(t))[:pageSize])
	if err != nil || len(got.Records)+len(got.Notes) != 0 || got.Dropped != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	_ = again.Close()
}

// TestBootID is what the kernel says, and only two known ids can differ.
func TestBootID(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	id := bootID()
	if got, want := hex.EncodeToString(id[:]), strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for c := range 256 {
		want := strings.IndexByte("0123456789abcdef", byte(c))
		if got, ok := hexDigit(byte(c)); ok != (want >= 0) || ok && int(got) != want {
			t.Errorf("digit %q is %d, %v", rune(c), got, ok)
		}
	}
	none, a, b := [16]byte{}, [16]byte{1}, [16]byte{2}
	if otherBoot(none, a) || otherBoot(a, none) || otherBoot(a, a) || otherBoot(none, none) || !otherBoot(a, b) {
		t.Error("which boots differ is wrong")
	}
}

// TestMove: a new segment has room for four times what is written first, and stands before the old one where it fits.
func TestMove(t *testing.T) {
	j := create(t)
	for i, want := range []int64{pageSize + minSegment, pageSize, pageSize + minSegment} {
		if err := j.rotate(0); err != nil || j.seg.off != want {
			t.Errorf("rotation %d: at %d, want %d (%v)", i, j.seg.off, want, err)
		}
	}
	const first = 100*pageSize/4 - frameHeader
	if err := j.rotate(first); err != nil || len(j.seg.mem) != 100*pageSize {
		t.Errorf("room of %d for %d bytes (%v)", len(j.seg.mem), first, err)
	}
	if err := j.rotate(first + 1); err != nil || len(j.seg.mem) != 101*pageSize {
		t.Errorf("room of %d for one byte more (%v)", len(j.seg.mem), err)
	}
	for _, size := range []int{150 << 10, 300 << 10, 2 << 20} {
		if err := j.Note(fmt.Sprint(size), make([]byte, size)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	was := *j.seg
	refused := errors.New("refused")
	if err := j.move(Version, 1<<20, func(to *segment) (map[liveKey]span, error) {
		if err := to.reserve(1 << 20); err != nil {
			t.Error(err)
		}
		return nil, refused
	}); err != refused {
		t.Errorf("error %v", err)
	}
	if j.seg.off != was.off || j.seg.used != was.used {
		t.Error("the segment is another after an error")
	}
	var st unix.Stat_t
	if err := unix.Fstat(j.fd, &st); err != nil {
		t.Fatal(err)
	}
	if kept, want := st.Blocks*512, int64(was.have+pageSize); kept > want {
		t.Errorf("%d bytes of memory are kept, want %d", kept, want)
	}
	if punch(-1, 0, pageSize) || !punch(j.fd, 100<<20, pageSize) {
		t.Error("what punch says is wrong")
	}
	if _, err := j.copyLive(&segment{fd: j.fd}); err != errFull {
		t.Errorf("copied into no room: %v", err)
	}
}

// TestOpenFreesWhatIsNotTheSegment: a crash before the old segment was given back leaves it no memory.
func TestOpenFreesWhatIsNotTheSegment(t *testing.T) {
	j := create(t)
	if err := j.rotate(0); err != nil {
		t.Fatal(err)
	}
	if err := j.Note("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	end := j.seg.off + int64(len(j.seg.mem))
	junk := slices.Repeat([]byte{0xff}, minSegment)
	for _, at := range []int64{pageSize, end} {
		if _, err := unix.Pwrite(j.fd, junk, at); err != nil {
			t.Fatal(err)
		}
	}
	again, got, err := reopen(t, image(t, j))
	if err != nil || string(got.Notes["k"]) != "v" {
		t.Fatalf("%+v, %v", got, err)
	}
	defer again.Close()
	b := image(t, again)
	if tail(b[pageSize:again.seg.off]) != 0 || tail(b[end:]) != 0 {
		t.Error("the old bytes are still there")
	}
	if tail(b[again.seg.off:end]) == 0 {
		t.Error("the segment is gone")
	}
}

// TestReplayRefusesWhatCannotBe: valid checksums do not make a journal.
func TestReplayRefusesWhatCannotBe(t *testing.T) {
	entry := func(kind byte, keyLen, valueLen int, rest string) []byte {
		b := []byte{kind, 0, 0, 0, 0, 0, 0}
		le.PutUint16(b[1:], uint16(keyLen))
		le.PutUint32(b[3:], uint32(valueLen))
		return append(b, rest...)
	}
	for _, c := range []struct {
		what    string
		version uint32
		payload []byte
		valid   bool
	}{
		{"an entry with nothing in it", 2, entry(entryGlobals, 0, 0, ""), true},
		{"a note", 2, entry(entryNote, 1, 1, "kv"), true},
		{"two notes", 2, append(entry(entryNote, 1, 1, "kv"), entry(entryNote, 1, 0, "l")...), true},
		{"a cut head", 2, entry(entryGlobals, 0, 0, "")[:entryHeader-1], false},
		{"a cut value", 2, entry(entryNote, 1, 2, "kv"), false},
		{"a cut key", 2, entry(entryNote, 3, 0, "kv"), false},
		{"a value longer than any", 2, entry(entryNote, 1, maxFrame+1, "kv"), false},
		{"a value whose length has the highest bit", 2, entry(entryNote, 1, -1, "kv"), false},
		{"a cut record", 2, entry(entryRecord, 1, 1, "k\x0a"), false},
		{"a cut record of version 1", 1, entry(entryRecord, 1, 1, "k\x80"), false},
		{"cut globals of version 1", 1, entry(entryGlobals, 0, 1, "\x80"), false},
	} {
		j := create(t)
		j.slot.version = c.version
		if err := writeSlot(j.fd, &j.slot); err != nil {
			t.Fatal(err)
		}
		if _, err := j.seg.append(c.payload); err != nil {
			t.Fatal(err)
		}
		again, _, err := reopen(t, image(t, j))
		if err == nil {
			_ = again.Close()
		}
		if c.valid && err != nil || !c.valid && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	j := create(t)
	for range 2 {
		if _, err := j.seg.append(entry(entryNote, 1, 1, "kv")); err != nil {
			t.Fatal(err)
		}
		j.seg.seq++ // a number is missing
	}
	if _, _, err := reopen(t, image(t, j)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a missing frame: %v", err)
	}
}

// TestDecoderIsBad: what is cut is refused, what is not there is zero.
func TestDecoderIsBad(t *testing.T) {
	reads := map[string]func(d *decoder){
		"int": func(d *decoder) { d.int() }, "uint": func(d *decoder) { d.uint() }, "text": func(d *decoder) { d.text() },
		"record": func(d *decoder) { d.record(&machine.Record{}) },
	}
	cut := []byte{0x80}
	long := slices.Repeat([]byte{0xff}, 11)
	for _, c := range []struct {
		kind string
		b    []byte
		bad  bool
	}{
		{"int", nil, false}, {"int", []byte{2}, false}, {"int", cut, true}, {"int", long, true},
		{"uint", nil, false}, {"uint", []byte{2}, false}, {"uint", cut, true}, {"uint", long, true},
		{"text", nil, false}, {"text", []byte{1, 'x'}, false}, {"text", []byte{2, 'x'}, true},
		{"record", nil, false},
	} {
		d := decoder{b: c.b}
		if reads[c.kind](&d); d.bad != c.bad || d.bad && d.b != nil {
			t.Errorf("%s of %x: bad is %v, %d bytes are left", c.kind, c.b, d.bad, len(d.b))
		}
	}
	var e encoder
	e.record(&machine.Record{Extra: []int64{1}})
	// At the end of a record are the numbers, the text and the conflict.
	d := decoder{b: append(slices.Clone(e.b[:len(e.b)-4]), 9, 2)}
	if d.record(&machine.Record{}); !d.bad {
		t.Error("more numbers than bytes are taken")
	}
}

// TestConvertRefuses versions that there are not, and a batch that is not written yet.
func TestConvertRefuses(t *testing.T) {
	j := create(t)
	for _, version := range []int{FirstVersion - 1, Version + 1, -1} {
		if err := j.Convert(version); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", version)) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	j.Hold()
	if err := j.Note("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if err := j.Convert(FirstVersion); err == nil || j.Version() != Version {
		t.Errorf("with something held: %v, version %d", err, j.Version())
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	want, err := j.state()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{FirstVersion, Version} {
		if err := j.Convert(version); err != nil {
			t.Fatal(err)
		}
		if n := live(t, j); n == 0 {
			t.Error("nothing is alive")
		}
	}
	if got, err := j.state(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
