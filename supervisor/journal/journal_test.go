package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// model is what a journal must say, kept as plain maps.
type model struct {
	globals machine.Globals
	records map[string]machine.Record
	defs    map[string]Definition
	notes   map[string][]byte
}

func newModel() *model {
	return &model{records: map[string]machine.Record{}, defs: map[string]Definition{}, notes: map[string][]byte{}}
}

func (m *model) clone() *model {
	return &model{m.globals, maps.Clone(m.records), maps.Clone(m.defs), maps.Clone(m.notes)}
}

func (m *model) state() *State {
	s := &State{Version: Version, Globals: m.globals, Notes: m.notes}
	s.Records = slices.SortedFunc(maps.Values(m.records), func(a, b machine.Record) int { return cmp.Compare(a.Name, b.Name) })
	s.Definitions = slices.SortedFunc(maps.Values(m.defs), func(a, b Definition) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// randomRecord fills every field there is, so that one which the codec forgets is found by the comparison.
func randomRecord(r *rand.Rand, name string) machine.Record {
	var rec machine.Record
	fill(r, reflect.ValueOf(&rec).Elem())
	rec.Name = name
	return rec
}

func fill(r *rand.Rand, v reflect.Value) {
	zero := r.IntN(3) == 0
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if !zero {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		if n := r.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(r, v.Index(i))
			}
		}
	case reflect.String:
		v.SetString(string(randomBytes(r, 20)))
	case reflect.Bool:
		v.SetBool(zero)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> (64 - v.Type().Bits()) >> r.IntN(30))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()))
	default:
		panic("the test cannot fill a " + v.Type().String())
	}
}

// step does one random operation on both.
func step(t *testing.T, r *rand.Rand, j *Journal, m *model) {
	t.Helper()
	name := fmt.Sprintf("service-%d", r.IntN(40))
	var err error
	switch r.IntN(10) {
	default:
		var recs []machine.Record
		for _, i := range r.Perm(40)[:r.IntN(20)] {
			rec := randomRecord(r, fmt.Sprintf("service-%d", i))
			recs = append(recs, rec)
			m.records[rec.Name] = rec
		}
		m.globals = machine.Globals{NextGen: machine.Gen(r.Uint64()), ShuttingDown: r.IntN(2) == 0, HaltCode: r.IntN(256)}
		err = j.Services(recs, m.globals)
	case 0:
		d := Definition{Name: name, Doc: randomBytes(r, 3000), Source: "/etc/zinit/x.toml", Ephemeral: r.IntN(2) == 0}
		m.defs[name] = d
		err = j.Define(d.Name, d.Doc, d.Source, d.Ephemeral)
	case 1:
		delete(m.defs, name)
		err = j.Undefine(name)
	case 2:
		delete(m.records, name)
		err = j.Forget(name)
	case 3:
		m.notes[name] = randomBytes(r, 100)
		err = j.Note(name, m.notes[name])
	case 4:
		delete(m.notes, name)
		err = j.Note(name, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func randomBytes(r *rand.Rand, limit int) []byte {
	b := make([]byte, r.IntN(limit))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// image reads the whole file.
func image(t testing.TB, j *Journal) []byte {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(j.fd, &st); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size)
	n, err := unix.Pread(j.fd, b, 0)
	if err != nil || n != len(b) {
		t.Fatalf("read %d of %d: %v", n, len(b), err)
	}
	return b
}

// reopen opens a copy of a file's contents.
func reopen(t testing.TB, b []byte) (*Journal, *State, error) {
	t.Helper()
	fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Pwrite(fd, b, 0); err != nil || n != len(b) {
		t.Fatalf("wrote %d: %v", n, err)
	}
	j, s, err := Open(fd)
	if err != nil {
		_ = unix.Close(fd)
	}
	return j, s, err
}

func sameState(t *testing.T, what string, got, want *State) {
	t.Helper()
	got.Dropped = 0
	if len(got.Records) == 0 {
		got.Records = nil
	}
	if len(want.Records) == 0 {
		want.Records = nil
	}
	for _, s := range []*State{got, want} {
		for key, value := range s.Notes {
			if len(value) == 0 {
				s.Notes[key] = nil
			}
		}
		for i := range s.Definitions {
			if len(s.Definitions[i].Doc) == 0 {
				s.Definitions[i].Doc = nil
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: replay gave\n%.2000s, want\n%.2000s", what, stripped(got), stripped(want))
	}
}

// TestReplay (I17): at every batch boundary a replay gives the state at that boundary, over rotations and reopenings.
func TestReplay(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		j, err := Create()
		if err != nil {
			t.Fatal(err)
		}
		m := newModel()
		rotations := j.slot.seq
		for i := range 3000 {
			step(t, r, j, m)
			if i%37 != 0 {
				continue
			}
			copied, state, err := reopen(t, image(t, j))
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			sameState(t, fmt.Sprintf("seed %d, step %d", seed, i), state, m.clone().state())
			if r.IntN(3) > 0 {
				_ = copied.Close()
				continue
			}
			// Go on with the copy, as a new server does.
			_ = j.Close()
			j = copied
		}
		if j.slot.seq < rotations+3 {
			t.Errorf("seed %d: only %d rotations", seed, j.slot.seq-rotations)
		}
		_ = j.Close()
	}
}

// TestMemory: however long it runs, the file holds no more than a few segments of memory.
func TestMemory(t *testing.T) {
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	r := rand.New(rand.NewPCG(5, 5))
	for range 20000 {
		if err := j.Services([]machine.Record{randomRecord(r, "a"), randomRecord(r, "b")}, machine.Globals{}); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(j.fd, &st); err != nil {
		t.Fatal(err)
	}
	if kept := st.Blocks * 512; kept > 2*minSegment || j.slot.seq < 10 {
		t.Errorf("%d bytes kept after %d rotations", kept, j.slot.seq)
	}
}

// TestTruncation: a file cut anywhere gives the state at some earlier batch boundary, never a mixture.
func TestTruncation(t *testing.T) {
	j, boundaries := history(t, 20)
	defer j.Close()
	full := image(t, j)
	for cut := pageSize; cut < j.usedEnd()+64; cut += 61 {
		copied, state, err := reopen(t, full[:min(cut, len(full))])
		if err != nil {
			if errors.Is(err, ErrDamaged) {
				continue
			}
			t.Fatal(err)
		}
		if !known(boundaries, state) {
			t.Fatalf("cut at %d: a state that never was, with %d records", cut, len(state.Records))
		}
		_ = copied.Close()
	}
}

// TestBitFlips: one flipped bit anywhere in the slots or the used part is refused, or drops the tail, and is never misread.
func TestBitFlips(t *testing.T) {
	j, boundaries := history(t, 25)
	defer j.Close()
	full := image(t, j)
	last := boundaries[len(boundaries)-1]
	r := rand.New(rand.NewPCG(9, 9))
	dropped, refused := 0, 0
	flip := func(bit int) {
		b := slices.Clone(full)
		b[bit/8] ^= 1 << (bit % 8)
		copied, state, err := reopen(t, b)
		switch {
		case err != nil:
			refused++
		case !known(boundaries, state):
			t.Fatalf("bit %d: a state that never was, with %d records", bit, len(state.Records))
		case stripped(state) != last:
			dropped++
			if state.Dropped == 0 {
				t.Fatalf("bit %d: a shorter state without a word", bit)
			}
		}
		if err == nil {
			_ = copied.Close()
		}
	}
	for bit := range 2 * slotSize * 8 {
		flip(bit)
	}
	for range 1500 {
		flip(8*pageSize + r.IntN(8*(j.usedEnd()-pageSize)))
	}
	if dropped == 0 || refused == 0 {
		t.Errorf("%d dropped, %d refused: the test does not reach both", dropped, refused)
	}
}

func (j *Journal) usedEnd() int { return int(j.seg.off) + j.seg.used }

// history makes a journal and the states at its boundaries.
func history(t *testing.T, steps int) (*Journal, []string) {
	t.Helper()
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	m := newModel()
	states := []string{stripped(m.clone().state())}
	for range steps {
		step(t, r, j, m)
		states = append(states, stripped(m.clone().state()))
	}
	if j.slot.seq != 1 {
		t.Fatal("this test wants no rotation")
	}
	return j, states
}

func stripped(s *State) string {
	copied := *s
	copied.Dropped = 0
	b, err := json.Marshal(copied)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func known(states []string, s *State) bool { return slices.Contains(states, stripped(s)) }

// TestAppendAfterTorn: what follows a torn append is found by the next replay.
func TestAppendAfterTorn(t *testing.T) {
	j, states := history(t, 10)
	b := image(t, j)
	garbage := b[j.usedEnd()+8 : j.usedEnd()+200] // the commit word stays zero: this is how a killed append looks
	for i := range garbage {
		garbage[i] = 0xa5
	}
	again, state, err := reopen(t, b)
	if err != nil {
		t.Fatal(err)
	}
	if state.Dropped == 0 || !known(states[len(states)-1:], state) {
		t.Fatalf("dropped %d, %d records", state.Dropped, len(state.Records))
	}
	if err := again.Note("after", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, state, err = reopen(t, image(t, again))
	if err != nil || string(state.Notes["after"]) != "x" {
		t.Fatalf("%v, %+v", err, state)
	}
}

// TestVersions: a newer version is refused by name, an older record with fewer fields is read.
func TestVersions(t *testing.T) {
	j, _ := history(t, 3)
	defer j.Close()
	s := j.slot
	s.seq, s.version = s.seq+1, Version+6
	if err := writeSlot(j.fd, &s); err != nil {
		t.Fatal(err)
	}
	_, _, err := reopen(t, image(t, j))
	want := fmt.Sprintf("version is %d, this one reads up to %d", Version+6, Version)
	if !errors.Is(err, ErrNewer) || !contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	s.seq, s.version, s.boot = s.seq+1, Version, [16]byte{1, 2, 3}
	if err := writeSlot(j.fd, &s); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reopen(t, image(t, j)); !errors.Is(err, ErrOtherBoot) {
		t.Errorf("error %v, want ErrOtherBoot", err)
	}
	var e encoder
	rec := machine.Record{Name: "a", WantedUp: true, State: machine.Running, Gen: 9, PID: 77}
	e.record(&rec)
	d, got := decoder{b: e.b[:3]}, machine.Record{Name: "a"}
	if d.record(&got); d.bad || got.State != machine.Running || got.Gen != 9 {
		t.Errorf("short record: %+v", got)
	}
	d, got = decoder{b: append(e.b, 1, 2, 3)}, machine.Record{Name: "a"}
	if d.record(&got); d.bad || !reflect.DeepEqual(got, rec) {
		t.Errorf("long record: %+v", got)
	}
}

func contains(s, part string) bool {
	for i := range s {
		if len(s)-i >= len(part) && s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

// TestGarbage: no file that is no journal is taken for one.
func TestGarbage(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 10), make([]byte, pageSize), make([]byte, 1<<20), []byte("ZNITJNL1")} {
		if _, _, err := reopen(t, b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// TestKill: a writer that is SIGKILLed at any instant leaves a whole batch or none of it: both of its records and the
// note always say the same number.
func TestKill(t *testing.T) {
	if os.Getenv("JOURNAL_WRITER") != "" {
		writeForEver(t)
	}
	runtime.LockOSThread() // a parent-death signal is of the thread
	defer runtime.UnlockOSThread()
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		j, err := Create()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "JOURNAL_WRITER=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it writes for ever
		dup, _ := unix.Dup(j.fd)
		file := os.NewFile(uintptr(dup), "journal")
		cmd.ExtraFiles = []*os.File{file}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		// Any instant from before the first append to many rotations later.
		end := time.Now().Add(time.Duration(r.IntN(12000)) * time.Microsecond)
		for begun := false; !begun || time.Now().Before(end); {
			var word [8]byte
			if n, _ := unix.Pread(j.fd, word[:], pageSize); !begun && n == 8 && word != [8]byte{} {
				begun, end = true, time.Now().Add(time.Duration(r.IntN(5000))*time.Microsecond)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		fd, _ := unix.FcntlInt(uintptr(j.fd), unix.F_DUPFD_CLOEXEC, 0)
		again, state, err := Open(fd)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(state.Records) != 2 || state.Records[0].Gen != state.Records[1].Gen || state.Records[0].Gen != state.Globals.NextGen {
			t.Fatalf("round %d: torn batch: %+v", round, state)
		}
		if err := again.Note("x", []byte("y")); err != nil {
			t.Fatal(err)
		}
		_ = again.Close()
		_ = j.Close()
	}
}

func writeForEver(t *testing.T) {
	j, _, err := Open(3)
	if err != nil {
		t.Fatal(err)
	}
	long := string(make([]byte, 400))
	for gen := machine.Gen(1); ; gen++ {
		recs := []machine.Record{{Name: "a", Gen: gen, Reason: machine.Reason{Type: 1, Detail: long}}, {Name: "b", Gen: gen}}
		if err := j.Services(recs, machine.Globals{NextGen: gen}); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzOpen replays any bytes behind a valid slot: no panic, and no more memory than the file is long.
func FuzzOpen(f *testing.F) {
	j, err := Create()
	if err != nil {
		f.Fatal(err)
	}
	_ = j.Services([]machine.Record{{Name: "a", Gen: 4}}, machine.Globals{NextGen: 5})
	_ = j.Define("a", []byte("{}"), "", true)
	_ = j.Note("k", []byte("v"))
	full := image(f, j)
	head := full[:pageSize]
	f.Add(full[pageSize:j.usedEnd()], false)
	f.Add(full[pageSize:j.usedEnd()], true)
	f.Fuzz(func(t *testing.T, body []byte, reseal bool) {
		b := append(slices.Clone(head), body...)
		if reseal && len(body) > frameHeader {
			// Give the first frame a valid checksum, so that the entries are reached.
			payload := body[frameHeader:]
			le.PutUint64(b[pageSize:], uint64(len(payload))|uint64(checksum(body[8:frameHeader], payload))<<32)
		}
		again, _, err := reopen(t, b)
		if err == nil {
			if err := again.Note("more", []byte("x")); err != nil {
				t.Fatal(err)
			}
			once, _, err := reopen(t, image(t, again))
			if err != nil {
				t.Fatalf("what was appended cannot be read: %v", err)
			}
			_, _ = once.Close(), again.Close()
		}
	})
}

func BenchmarkServices(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j, err := Create()
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			recs := make([]machine.Record, n)
			for i := range recs {
				recs[i] = machine.Record{Name: fmt.Sprintf("service-%d", i), State: machine.Running, Gen: machine.Gen(i), PID: 4711,
					Since: 1 << 45, ReadyAt: 1 << 45, SpawnedAt: 1 << 45, WantedUp: true}
			}
			for b.Loop() {
				if err := j.Services(recs, machine.Globals{NextGen: 9}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
		})
	}
}

func BenchmarkOpen10000(b *testing.B) {
	j, err := Create()
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for i := range 10000 {
		rec := machine.Record{Name: fmt.Sprintf("service-%d", i), State: machine.Running, Gen: machine.Gen(i), PID: i, Since: 1 << 45}
		if err := j.Services([]machine.Record{rec}, machine.Globals{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		fd, _ := unix.FcntlInt(uintptr(j.fd), unix.F_DUPFD_CLOEXEC, 0)
		again, state, err := Open(fd)
		if err != nil || len(state.Records) != 10000 {
			b.Fatal(err)
		}
		_ = again.Close()
	}
}

// TestHold: what is held comes as a whole or not at all.
func TestHold(t *testing.T) {
	j, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Note("before", []byte("1")); err != nil {
		t.Fatal(err)
	}
	j.Hold()
	for _, name := range []string{"a", "b"} {
		if err := j.Define(name, []byte("doc"), "", false); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{j.Undefine("a"), j.Note("before", nil), j.Note("after", []byte("2"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	other, held, err := reopen(t, image(t, j))
	if err != nil || len(held.Definitions) != 0 || string(held.Notes["before"]) != "1" {
		t.Fatalf("before Flush: %+v, %v", held, err)
	}
	other.Close()
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	other, all, err := reopen(t, image(t, j))
	if err != nil || len(all.Definitions) != 1 || all.Definitions[0].Name != "b" || len(all.Notes) != 1 || string(all.Notes["after"]) != "2" {
		t.Fatalf("after Flush: %+v, %v", all, err)
	}
	other.Close()
}
