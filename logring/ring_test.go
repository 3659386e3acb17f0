package logring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newTestArena(t testing.TB, total int) *Arena {
	t.Helper()
	a, err := New(total)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.mu.TryLock() { // not after a failure in the middle of a read
			a.mu.Unlock()
			_ = a.Close()
		}
	})
	return a
}

// reopen opens a second arena on the same memory, as a new server would. The first one stays mapped but is not used again.
func reopen(t testing.TB, a *Arena) *Arena {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(a.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	sound(t, b)
	return b
}

// feedBytes does what the reader does with the bytes of one pipe.
func feedBytes(f *Feed, data []byte, timeMS int64) {
	for len(data) > 0 {
		n := min(len(data), MaxRead)
		buf := f.a.Begin(f, n, data[:min(n, 8)], timeMS)
		copy(buf, data[:n])
		f.a.Finish(n)
		data = data[n:]
	}
}

func texts(recs []Record) []string {
	var out []string
	for _, r := range recs {
		s := string(r.Text)
		if r.Continued {
			s += "…"
		}
		out = append(out, s)
	}
	return out
}

func TestFraming(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	tests := []struct {
		name string
		in   string
		want []string
	}{
		{"lines", "a\nb\n", []string{"a", "b"}},
		{"empty lines", "\n\nd\n", []string{"", "", "d"}},
		{"no newline at the end", "a\nrest", []string{"a", "rest"}},
		{"nothing", "", nil},
		{"carriage returns", "a\r\nb\rc\n\r\nd\r\r\n", []string{"a", "b\rc", "", "d\r"}},
		{"carriage return at the end", "a\r", []string{"a\r"}},
		{"NUL and no UTF-8", "a\x00b\n\xff\xfe\n", []string{"a\x00b", "\xff\xfe"}},
		{"just not too long", long + "\nb\n", []string{long, "b"}},
		{"one too long", long + "y\nb\n", []string{long + "…", "y", "b"}},
		{"long at the end", long, []string{long}},
		{"too long at the end", long + "y", []string{long + "…", "y"}},
		{"twice too long", long + long + "\n", []string{long + "…", long}},
		{"long with carriage return", long + "\r\nb\n", []string{long + "…", "", "b"}},
	}
	for _, test := range tests {
		for _, chunk := range []int{1, 7, 1000, MaxRead - 1, MaxRead} {
			if chunk < 1000 && len(test.in) > 1000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", test.name, chunk), func(t *testing.T) {
				a := newTestArena(t, 4<<20)
				f := a.Feed("s", 1, Stdout, 1)
				for in := []byte(test.in); len(in) > 0; in = in[min(chunk, len(in)):] {
					feedBytes(f, in[:min(chunk, len(in))], 1)
				}
				f.Close(1)
				got := texts(a.Ring("s", Limits{}).Last(100, nil))
				if fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("got %.80q, want %.80q", got, test.want)
				}
			})
		}
	}
}

// A model of one ring: every line ever pushed.
type model struct {
	lines  []Record
	limits Limits
	fresh  bool // a line came after the last change of limits
}

func (m *model) push(rec Record) {
	rec.Seq = uint64(len(m.lines) + 1)
	rec.Text = bytes.Clone(rec.Text)
	m.lines = append(m.lines, rec)
	m.fresh = true
}

func (m *model) check(t *testing.T, r *Ring) {
	t.Helper()
	if r.Next() != uint64(len(m.lines)+1) {
		t.Fatalf("%s: next is %d, want %d", r.Name(), r.Next(), len(m.lines)+1)
	}
	first := r.First()
	if n := r.Next() - first; n > uint64(r.limits.Lines) {
		t.Fatalf("%s: %d lines, bound is %d", r.Name(), n, r.limits.Lines)
	}
	if first > 1 && first == r.Next() {
		t.Fatalf("%s: not even the newest line is there", r.Name())
	}
	newest := 0
	if len(m.lines) > 0 {
		newest = unitsFor(headerSize+recordSpan(len(m.lines[len(m.lines)-1].Text))) * unitSize
	}
	if m.fresh && r.Bytes() > max(r.limits.Bytes, newest) {
		t.Fatalf("%s: %d bytes, bound is %d", r.Name(), r.Bytes(), r.limits.Bytes)
	}
	from := first
	for from < r.Next() {
		recs, next, missed := r.Read(from, 7)
		if missed != 0 || len(recs) == 0 || next != from+uint64(len(recs)) {
			t.Fatalf("%s: Read(%d): %d records, next %d, missed %d", r.Name(), from, len(recs), next, missed)
		}
		for _, rec := range recs {
			want := m.lines[from-1]
			if rec.Seq != from || rec.TimeMS != want.TimeMS || rec.Stream != want.Stream || rec.PID != want.PID ||
				rec.Continued != want.Continued || rec.Priority != want.Priority || !bytes.Equal(rec.Text, want.Text) {
				t.Fatalf("%s: record %d is %v, want %v", r.Name(), from, rec, want)
			}
			from++
		}
	}
}

// R1, R2, R3 against the model, over several rings, small totals, changes of limits and reopening.
func TestRingAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			checkRandomRings(t, rand.New(rand.NewPCG(seed, 0)), 2000)
		})
	}
}

func checkRandomRings(t *testing.T, rng *rand.Rand, steps int) {
	a := newTestArena(t, MinTotal<<rng.IntN(3))
	models := map[string]*model{}
	names := []string{"a", "b", "c", "d", "e"}[:1+rng.IntN(5)]
	now := int64(1_700_000_000_000)
	pressed := a.Total() < 8<<20 && len(names) > 2
	for i := range steps {
		name := names[rng.IntN(len(names))]
		m := models[name]
		if m == nil {
			l := Limits{1 + rng.IntN(2000), unitSize + rng.IntN(400<<10)}
			m = &model{limits: l}
			models[name] = m
			a.Ring(name, l)
		}
		r := a.Ring(name, Limits{})
		switch k := rng.IntN(1000); {
		case k < 950:
			now += int64(rng.IntN(5)) - 1
			n := rng.IntN(200)
			if rng.IntN(50) == 0 {
				n = rng.IntN(MaxLine + 1)
			}
			rec := Record{TimeMS: now, Stream: uint8(rng.IntN(3)), PID: rng.Int32(), Text: bytes.Repeat([]byte{byte(rng.IntN(256))}, n)}
			rec.Continued = rng.IntN(10) == 0
			if rng.IntN(3) == 0 {
				rec.Priority = MakePriority(rng.IntN(24), rng.IntN(8))
			}
			m.push(rec)
			if seq := r.Append(rec); seq != uint64(len(m.lines)) {
				t.Fatalf("Append gave %d, want %d", seq, len(m.lines))
			}
		case k < 960:
			m.limits = Limits{1 + rng.IntN(2000), unitSize + rng.IntN(400<<10)}
			m.fresh = false
			a.Ring(name, m.limits)
		case k < 970:
			a.Drop(name)
			delete(models, name)
		case k < 980:
			now += rng.Int64N(1<<40) - 1<<39 // the clock jumps
		case k < 985:
			a = reopen(t, a)
		default:
			if !pressed {
				m.check(t, r)
			}
		}
		if a.Bytes() > a.Total() {
			t.Fatalf("%d bytes, total is %d", a.Bytes(), a.Total())
		}
		if i%100 == 0 {
			sound(t, a)
		}
	}
	a = reopen(t, a)
	for _, name := range a.Names() {
		if !pressed {
			models[name].check(t, a.Ring(name, Limits{}))
		}
		checkContiguous(t, a.Ring(name, Limits{}), models[name])
	}
}

// checkContiguous is R1 where the total takes pages away: what is there is a run of what was pushed.
func checkContiguous(t *testing.T, r *Ring, m *model) {
	t.Helper()
	_, next, missed := r.Read(1, 0)
	if missed+1 != r.First() || next != r.First() {
		t.Fatalf("%s: missed %d, next %d, first is %d", r.Name(), missed, next, r.First())
	}
	next, _ = r.Scan(r.First(), func(rec *Record) bool {
		if !bytes.Equal(rec.Text, m.lines[rec.Seq-1].Text) {
			t.Fatalf("%s: record %d differs", r.Name(), rec.Seq)
		}
		return true
	})
	if next != r.Next() {
		t.Fatalf("%s: scan ended at %d, next is %d", r.Name(), next, r.Next())
	}
}

func TestBiggestRingPays(t *testing.T) {
	a := newTestArena(t, MinTotal)
	quiet := a.Ring("quiet", Limits{})
	quiet.Append(Record{Text: []byte("hello")})
	flood := a.Ring("flood", Limits{1 << 30, 1 << 30})
	line := bytes.Repeat([]byte("x"), 1000)
	for range 10_000 {
		flood.Append(Record{Text: line})
	}
	if got := texts(quiet.Last(1, nil)); len(got) != 1 || got[0] != "hello" {
		t.Errorf("the quiet service's line is gone: %q", got)
	}
	if n := flood.Next() - flood.First(); n < 700 {
		t.Errorf("the flood keeps %d lines of 1000 bytes in 1 MiB", n)
	}
}

func TestQuietServicesCostNothing(t *testing.T) {
	a := newTestArena(t, 64<<20)
	for i := range 10_000 {
		a.Ring(fmt.Sprintf("service-%d", i), Limits{})
	}
	if a.Bytes() != 0 {
		t.Errorf("10,000 silent services take %d bytes", a.Bytes())
	}
	for i := range 10_000 {
		a.Ring(fmt.Sprintf("service-%d", i), Limits{}).Append(Record{Text: []byte("started")})
	}
	if got := a.Bytes(); got > 15<<20 {
		t.Errorf("10,000 services with a line each take %d bytes", got)
	}
}

func TestLastFilter(t *testing.T) {
	a := newTestArena(t, 4<<20)
	r := a.Ring("s", Limits{Lines: 5000})
	for i := range 3000 {
		r.Append(Record{TimeMS: int64(1000 + i), Stream: uint8(i % 2), Text: fmt.Appendf(nil, "line %d", i)})
	}
	tests := []struct {
		name   string
		n      int
		f      Filter
		want   int
		newest string
	}{
		{"all", 10, Filter{}, 10, "line 2999"},
		{"stderr", 10, Filter{Streams: 1 << Stderr}, 10, "line 2999"},
		{"stdout", 10, Filter{Streams: 1 << Stdout}, 10, "line 2998"},
		{"until", 5000, Filter{UntilMS: 1099}, 100, "line 99"},
		{"since", 5000, Filter{SinceMS: 3900}, 100, "line 2999"},
		{"match", 3, Filter{Match: func(b []byte) bool { return bytes.HasSuffix(b, []byte("00")) }}, 3, "line 2900"},
		{"none", 0, Filter{}, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := r.Last(test.n, &test.f)
			if len(got) != test.want {
				t.Fatalf("%d lines, want %d", len(got), test.want)
			}
			if test.want > 0 && string(got[len(got)-1].Text) != test.newest {
				t.Errorf("newest is %q, want %q", got[len(got)-1].Text, test.newest)
			}
			for i := 1; i < len(got); i++ {
				if got[i].Seq <= got[i-1].Seq {
					t.Fatalf("not in order at %d", i)
				}
			}
		})
	}
}

func TestQueryMergesByTime(t *testing.T) {
	a := newTestArena(t, 4<<20)
	for i := range 100 {
		a.Ring(fmt.Sprintf("s%d", i%7), Limits{}).Append(Record{TimeMS: int64(i), Text: fmt.Appendf(nil, "%d", i)})
	}
	lines := a.Query(Query{Lines: 20})
	if len(lines) != 20 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if want := fmt.Sprint(80 + i); string(l.Text) != want || l.Service != fmt.Sprintf("s%d", (80+i)%7) {
			t.Errorf("line %d is %s of %s, want %s", i, l.Text, l.Service, want)
		}
	}
	if got := a.Query(Query{Names: []string{"s1", "nobody"}, Lines: 3, From: 15}); len(got) != 1 || string(got[0].Text) != "99" {
		t.Errorf("from 15: %v", got)
	}
}

func TestFollowMissedAndGapless(t *testing.T) {
	a := newTestArena(t, 4<<20)
	r := a.Ring("s", Limits{Lines: 10})
	f := a.Follow([]string{"s"}, map[string]uint64{"s": 1})
	defer f.Close()
	<-f.C
	if _, ok := f.Next(5); ok {
		t.Fatal("something to read in an empty ring")
	}
	for i := range 25 {
		r.Append(Record{Text: fmt.Appendf(nil, "%d", i)})
	}
	<-f.C
	b, ok := f.Next(100)
	if !ok || b.Missed != 15 || len(b.Records) != 10 || b.Records[0].Seq != 16 {
		t.Fatalf("got %+v", b)
	}
	if _, ok := f.Next(5); ok {
		t.Fatal("lines come twice")
	}
	a.Drop("s")
	a.Ring("s", Limits{}).Append(Record{Text: []byte("again")})
	if b, ok = f.Next(100); !ok || b.Missed != 0 || string(b.Records[0].Text) != "again" {
		t.Fatalf("after removal and return: %+v", b)
	}
}

func TestFollowAllSeesNewRings(t *testing.T) {
	a := newTestArena(t, 4<<20)
	a.Ring("old", Limits{}).Append(Record{Text: []byte("before")})
	f := a.Follow(nil, nil)
	defer f.Close()
	<-f.C
	if b, ok := f.Next(5); ok {
		t.Fatalf("got what was before: %+v", b)
	}
	a.Ring("new", Limits{}).Append(Record{Text: []byte("first")})
	<-f.C
	if b, ok := f.Next(5); !ok || b.Service != "new" || b.Missed != 0 || len(b.Records) != 1 {
		t.Fatalf("got %+v %v", b, ok)
	}
}

func TestMarkOutlivesServer(t *testing.T) {
	a := newTestArena(t, 4<<20)
	r := a.Ring("s", Limits{})
	m, known := r.Mark("file:/var/log/x")
	if known {
		t.Fatal("a new mark is known")
	}
	m.Set(Position{Seq: 7, Values: [7]uint64{1, 2, 3}})
	m.Set(Position{Seq: 9, Values: [7]uint64{4}})
	a = reopen(t, a)
	m, known = a.Ring("s", Limits{}).Mark("file:/var/log/x")
	if p := m.Get(); !known || p.Seq != 9 || p.Values != [7]uint64{4} {
		t.Fatalf("known %v, %+v", known, p)
	}
	m.Forget()
	a = reopen(t, a)
	if _, known = a.Ring("s", Limits{}).Mark("file:/var/log/x"); known {
		t.Fatal("a forgotten mark came back")
	}
}

func TestHoldKeepsLinesAndCongests(t *testing.T) {
	a := newTestArena(t, 16<<20)
	resumed := 0
	a.OnResume(func(*Ring) { resumed++ })
	r := a.Ring("s", Limits{Lines: 10, Bytes: 64 << 10})
	r.SetHold(1, true)
	line := bytes.Repeat([]byte("x"), 100)
	for range 1 << 20 { // more than the arena has room for
		if r.Congested() {
			break
		}
		r.Append(Record{Text: line})
	}
	if !r.Congested() {
		t.Fatal("held lines fill the arena, and the ring is not congested")
	}
	_, missed := r.Scan(1, func(*Record) bool { return false })
	if missed != 0 {
		t.Errorf("%d held lines were given up", missed)
	}
	if recs, _, _ := r.Read(0, 1000); len(recs) != 10 {
		t.Errorf("readers see %d lines, bound is 10", len(recs))
	}
	r.SetHold(r.Next(), true)
	if resumed != 1 || r.Congested() {
		t.Errorf("resumed %d times, congested %v", resumed, r.Congested())
	}
}

// TestNumbersGoOn: a ring of which every line was given up to make room for others goes on with its numbers after a restart.
func TestNumbersGoOn(t *testing.T) {
	a := newTestArena(t, 4<<20)
	r := a.Ring("s", Limits{})
	for range 5 {
		r.Append(Record{Text: []byte("once")})
	}
	a.mu.Lock()
	r.mu.Lock()
	for len(r.pages) > 0 {
		r.giveUpOldest()
	}
	r.mu.Unlock()
	a.mu.Unlock()
	if got := reopen(t, a).Ring("s", Limits{}).Next(); got != 6 {
		t.Errorf("the next line has number %d, want 6", got)
	}
}
