package logring

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAppendText gives what Scan gives, as a file has it, within the room.
func TestAppendText(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{Lines: 1 << 20, Bytes: 40 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 3000 {
		r.Append(Record{TimeMS: int64(i), Continued: rng.IntN(4) == 0, Text: bytes.Repeat([]byte{byte('a' + i%26)}, rng.IntN(60))})
	}
	if len(r.pages) < 3 || r.FirstHeld() == 1 {
		t.Fatalf("%d pages from %d", len(r.pages), r.FirstHeld())
	}
	want := func(from uint64, room int, one bool) (string, uint64) {
		out := []byte("before")
		next, _ := r.Scan(from, func(rec *Record) bool {
			if len(out)+len(rec.Text)+1 > room && !one {
				return false
			}
			one = false
			out = append(out, rec.Text...)
			if !rec.Continued {
				out = append(out, '\n')
			}
			return true
		})
		return string(out), next
	}
	for range 2000 {
		from := r.FirstHeld() + rng.Uint64N(r.Next()-r.FirstHeld()+3) - 1
		room, one := rng.IntN(100), rng.IntN(2) == 0
		if rng.IntN(10) == 0 {
			room = rng.IntN(60 << 10)
		}
		got, next, missed := r.AppendText([]byte("before"), from, room, one)
		wantText, wantNext := want(from, room, one)
		if string(got) != wantText || next != wantNext || missed != max(r.FirstHeld(), from)-from {
			t.Fatalf("from %d, room %d, %v: %d bytes to %d, %d missed, want %d to %d", from, room, one, len(got), next, missed, len(wantText), wantNext)
		}
	}
	for from, want := range map[uint64]uint64{0: r.FirstHeld() - 1, 1: r.FirstHeld() - 1, r.FirstHeld(): 0, r.Next() + 5: 0} {
		if _, missed := r.Scan(from, func(*Record) bool { return false }); missed != want {
			t.Errorf("from %d %d are missed, want %d", from, missed, want)
		}
	}
	if next, _ := r.Scan(r.Next()+5, func(*Record) bool { t.Error("a line of the future"); return true }); next != r.Next()+5 {
		t.Errorf("a scan of the future goes on at %d", next)
	}
}

// TestReadIsBounded by lines and by text, and always gives one line.
func TestReadIsBounded(t *testing.T) {
	a := newTestArena(t, 4<<20)
	r := a.Ring("s", Limits{Lines: 1000, Bytes: 2 << 20})
	for range 9 {
		r.Append(Record{Text: make([]byte, MaxLine)})
	}
	recs, next, missed := r.Read(1, 100)
	if len(recs) != scanBytes/MaxLine || next != uint64(len(recs)+1) || missed != 0 {
		t.Errorf("%d lines to %d, %d missed", len(recs), next, missed)
	}
	for i := range recs {
		recs[i].Text = append(recs[i].Text, 'x') // each has its own room
	}
	if recs, _, _ := r.Read(1, 2); len(recs) != 2 || recs[1].Seq != 2 {
		t.Errorf("%d lines", len(recs))
	}
	if recs, next, _ := r.Read(1, 0); len(recs) != 0 || next != 1 {
		t.Errorf("no lines were wanted: %d to %d", len(recs), next)
	}
	few := a.Ring("few", Limits{Lines: 3})
	for range 10 {
		few.Append(Record{Text: []byte("x")})
	}
	for from, want := range map[uint64][2]uint64{0: {8, 0}, 1: {8, 7}, 7: {8, 1}, 8: {8, 0}, 9: {9, 0}} {
		recs, _, missed := few.Read(from, 1)
		if recs[0].Seq != want[0] || missed != want[1] {
			t.Errorf("from %d: line %d, %d missed, want %v", from, recs[0].Seq, missed, want)
		}
	}
	var c copier
	first := c.copy(&Record{Text: []byte("one")})
	second := c.copy(&Record{Text: []byte("two")})
	if string(first.Text) != "one" || string(second.Text) != "two" || cap(first.Text) != 3 {
		t.Errorf("%q, %q", first.Text, second.Text)
	}
}

// TestQueryAgainstModel: the newest lines over all services, each service in its order, whatever the clock did.
func TestQueryAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		a := newTestArena(t, MinTotal)
		type keyed struct {
			key  int64
			name string
			text string
			time int64
		}
		model := map[string][]keyed{}
		now := int64(1000)
		for i := range rng.IntN(60) {
			name := string(rune('a' + rng.IntN(4)))
			now += int64(rng.IntN(6)) - 2
			text := fmt.Sprint(i)
			a.Ring(name, Limits{}).Append(Record{TimeMS: now, Text: []byte(text)})
			model[name] = append(model[name], keyed{now, name, text, now})
		}
		q := Query{Lines: rng.IntN(30)}
		if rng.IntN(3) == 0 {
			q.SinceMS = now - int64(rng.IntN(20))
		}
		if rng.IntN(3) == 0 {
			q.UntilMS = now - int64(rng.IntN(20))
		}
		if rng.IntN(3) == 0 {
			q.Names = []string{"b", "a"}
		}
		names := q.Names
		if names == nil {
			names = a.Names()
		}
		var all []keyed
		for _, name := range names {
			var mine []keyed
			for _, k := range model[name] {
				if (q.SinceMS == 0 || k.time >= q.SinceMS) && (q.UntilMS == 0 || k.time <= q.UntilMS) {
					mine = append(mine, k)
				}
			}
			mine = mine[max(0, len(mine)-q.Lines):]
			for i := range mine {
				if i > 0 {
					mine[i].key = max(mine[i].key, mine[i-1].key)
				}
			}
			all = append(all, mine...)
		}
		slices.SortStableFunc(all, func(x, y keyed) int { return int(x.key - y.key) })
		all = all[max(0, len(all)-q.Lines):]
		got := a.Query(q)
		if len(got) != len(all) {
			t.Fatalf("seed %d: %d lines, want %d", seed, len(got), len(all))
		}
		for i := range got {
			if got[i].Service != all[i].name || string(got[i].Text) != all[i].text {
				t.Fatalf("seed %d: line %d is %s of %s, want %s of %s", seed, i, got[i].Text, got[i].Service, all[i].text, all[i].name)
			}
		}
	}
}

// TestLastOverPages goes back as far as it must, and no line before the bound.
func TestLastOverPages(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{Lines: 500})
	for i := range 1000 {
		r.Append(Record{TimeMS: int64(i + 1), Text: make([]byte, 30)})
	}
	for _, c := range []struct {
		n          int
		from       uint64
		f          *Filter
		first, len int
	}{
		{1, 0, nil, 1000, 1}, {500, 0, nil, 501, 500}, {10000, 0, nil, 501, 500}, {-1, 0, nil, 0, 0}, {10, 998, nil, 998, 3}, {10, 1000, nil, 1000, 1},
		{10, 1001, nil, 0, 0}, {300, 0, nil, 701, 300}, {400, 650, nil, 650, 351}, {1000, 0, &Filter{SinceMS: 990}, 990, 11}, {1000, 0, &Filter{SinceMS: 1000}, 1000, 1},
		{1000, 0, &Filter{SinceMS: 1001}, 0, 0}, {2, 0, &Filter{UntilMS: 600}, 599, 2}, {7, 0, &Filter{UntilMS: 505}, 501, 5},
	} {
		got := r.lastFrom(c.n, c.from, math.MinInt64, c.f)
		if len(got) != c.len || c.len > 0 && got[0].Seq != uint64(c.first) {
			t.Errorf("%+v: %d lines, %v", c, len(got), got[:min(1, len(got))])
		}
	}
}

// TestFollower: several services in turn, positions, and what comes and goes.
func TestFollower(t *testing.T) {
	a := newTestArena(t, MinTotal)
	add := func(name string, n int) {
		for range n {
			a.Ring(name, Limits{}).Append(Record{Text: []byte(name)})
		}
	}
	add("a", 3)
	add("b", 3)
	add("c", 3)
	f := a.Follow([]string{"a", "b", "late", "c"}, map[string]uint64{"a": 2, "b": 0})
	for name, want := range map[string]uint64{"a": 2, "b": 1, "c": 4, "late": 1, "other": 1} {
		if got := f.Position(name); got != want {
			t.Errorf("the position in %s is %d, want %d", name, got, want)
		}
	}
	add("c", 2)
	add("late", 1)
	add("other", 1)
	var got []string
	for b, ok := f.Next(1); ok; b, ok = f.Next(1) {
		got = append(got, fmt.Sprint(b.Service, b.Records[0].Seq))
	}
	if want := []string{"a2", "b1", "late1", "c4", "a3", "b2", "c5", "b3"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := f.Position("a"); got != 4 {
		t.Errorf("then the position is %d", got)
	}
	<-f.C
	woken := func() bool {
		select {
		case <-f.C:
			return true
		default:
			return false
		}
	}
	woken()
	if add("late", 1); !woken() {
		t.Error("no word of a line")
	}
	if add("other", 1); woken() {
		t.Error("word of a service that is not followed")
	}
	a.Drop("late")
	f.Next(1)
	woken()
	add("late", 2)
	if b, ok := f.Next(5); !ok || len(b.Records) != 2 || b.Missed != 0 {
		t.Errorf("of the one that came back: %+v, %v", b, ok)
	}
	f.Close()
	woken()
	if add("a", 1); woken() {
		t.Error("word after the end")
	}
	for name, r := range a.rings {
		if len(r.watchers) != 0 || len(a.watchers) != 0 {
			t.Errorf("%s is still watched", name)
		}
	}
	all := a.Follow(nil, nil)
	defer all.Close()
	if a.Drop("b"); len(all.C) == 0 {
		t.Error("no first word")
	}
	if _, ok := all.Next(1); ok {
		t.Error("lines of before")
	}
}

// TestWatch fills the channel, or calls the function, for what is watched and nothing else.
func TestWatch(t *testing.T) {
	a := newTestArena(t, MinTotal)
	x, y, z := a.Ring("x", Limits{}), a.Ring("y", Limits{}), a.Ring("z", Limits{})
	called := 0
	w := a.WatchFunc(func() { called++ }, x)
	all := a.Watch()
	some := a.Watch(y)
	line := Record{Text: []byte("x")}
	expect := func(what string, calls int, woken bool) {
		t.Helper()
		if called != calls || (len(all.C) == 1) != true || (len(some.C) == 1) != woken {
			t.Errorf("%s: %d calls, want %d; woken %d and %d", what, called, calls, len(all.C), len(some.C))
		}
		for _, c := range []chan struct{}{all.C, some.C} {
			select {
			case <-c:
			default:
			}
		}
	}
	expect("at first", 1, true)
	x.Append(line)
	expect("x", 2, false)
	y.Append(line)
	expect("y", 2, true)
	w.Add(y)
	y.Append(line)
	expect("y, added", 4, true)
	w.Remove(x)
	x.Append(line)
	expect("x, removed", 4, false)
	z.Append(line)
	expect("z", 4, false)
	a.Ring("new", Limits{})
	expect("a new one", 4, false)
	w.Close()
	some.Close()
	y.Append(line)
	expect("y, closed", 4, false)
	a.Drop("y")
	expect("y, gone", 4, false)
	all.Close()
	if x.Append(line); len(all.C) != 0 {
		t.Error("woken after the end")
	}
	w.Remove(z) // never watched
}

// TestMarks: eight of a ring outlive the server, further ones work.
func TestMarks(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	r.Append(Record{Text: []byte("x")})
	for i := range maxMarks + 2 {
		m, known := r.Mark(fmt.Sprint(i))
		if known || m.Get().Seq != 1 {
			t.Errorf("a new mark is known (%v), or stands at %d", known, m.Get().Seq)
		}
		m.Set(Position{Seq: uint64(i + 1)})
		if m.Get().Seq != uint64(i+1) || m.stored != (i < maxMarks) {
			t.Errorf("mark %d stands at %d, stored %v", i, m.Get().Seq, m.stored)
		}
		if same, known := r.Mark(fmt.Sprint(i)); same != m || !known {
			t.Errorf("mark %d is another", i)
		}
	}
	sound(t, a)
	b := snapshot(t, a)
	defer b.Close()
	sound(t, b)
	again := b.Find("s")
	if got := again.hold.Load(); got != 1 {
		t.Errorf("lines from %d on are kept for the sinks", got)
	}
	for i := range maxMarks + 2 {
		if m, known := again.Mark(fmt.Sprint(i)); known != (i < maxMarks) || known && m.Get().Seq != uint64(i+1) {
			t.Errorf("mark %d is known %v, at %d", i, known, m.Get().Seq)
		}
	}
	m, _ := r.Mark("0")
	other, _ := r.Mark("1")
	m.Forget()
	m.Set(Position{Seq: 9})
	m.Forget()
	if sound(t, a); m.stored || len(r.marks) != maxMarks+1 || r.marks[0] != other {
		t.Errorf("a forgotten mark is stored %v, %d are left", m.stored, len(r.marks))
	}
	late, _ := r.Mark("9")
	late.Set(Position{Seq: 4})
	if late.stored {
		t.Error("too many are stored")
	}
	a.Drop("s")
	for _, m := range []*Mark{other, late} {
		m.Set(Position{Seq: 5})
		if m.stored || m.Get().Seq != 5 {
			t.Errorf("after the service went: stored %v, at %d", m.stored, m.Get().Seq)
		}
	}
	sound(t, a)
	if b := snapshot(t, a); len(b.Names()) != 0 {
		t.Errorf("%v came back", b.Names())
	}
}

// TestHoldBounds: how far behind a sink may be, and when reading stops and goes on.
func TestHoldBounds(t *testing.T) {
	a := newTestArena(t, 8<<20)
	var resumed []string
	a.OnResume(func(r *Ring) { resumed = append(resumed, r.Name()) })
	r := a.Ring("s", Limits{Lines: 10, Bytes: 64 << 10})
	fill := func(n int) {
		for range n {
			r.Append(Record{Text: make([]byte, 1000)})
		}
	}
	if fill(100); r.Congested() {
		t.Error("congested without a hold")
	}
	first := r.FirstHeld()
	r.SetHold(first, true)
	for !r.Congested() {
		fill(1)
		if r.Next()-first > 200 {
			t.Fatal("never congested")
		}
	}
	if bytes, bound := r.backlog(); bytes <= bound/2 || bytes > bound/2+recordSpan(1000) || bound != 64<<10 {
		t.Errorf("congested at %d of %d", bytes, bound)
	}
	for at := first; len(resumed) == 0; at++ {
		bytes, bound := r.backlog()
		r.SetHold(at, true)
		if after, _ := r.backlog(); (after <= bound/4) != (len(resumed) == 1) {
			t.Fatalf("at %d, %d bytes before and %d after: resumed %v", at, bytes, after, resumed)
		}
	}
	if r.SetHold(r.Next(), true); !slices.Equal(resumed, []string{"s"}) || r.Congested() {
		t.Errorf("resumed %v", resumed)
	}
	// What is held may be 1 MiB over the bound, and then it goes.
	hold := r.Next()
	r.SetHold(hold, true)
	for r.FirstHeld() <= hold {
		fill(1)
		if r.Bytes() > 64<<10+holdSlack {
			t.Fatalf("%d bytes", r.Bytes())
		}
	}
	if n := r.Bytes(); n < holdSlack {
		t.Errorf("given up at %d bytes", n)
	}
	before := r.Bytes()
	a.Ring("s", Limits{Lines: 10, Bytes: 32 << 10})
	if r.Bytes() != before {
		t.Error("a lower bound takes held lines")
	}
	r.SetHold(0, false)
	a.Ring("s", Limits{Lines: 10, Bytes: 32 << 10})
	if r.Bytes() > 32<<10 {
		t.Errorf("%d bytes are kept for nobody", r.Bytes())
	}
	sound(t, a)
}

// TestHeldLinesGoLast: where the arena is full, the biggest ring without a hold pays; with nothing but held lines the biggest.
func TestHeldLinesGoLast(t *testing.T) {
	a := newTestArena(t, MinTotal)
	limits := Limits{Lines: 1 << 20, Bytes: 4 << 20}
	fill := func(name string, kib int) {
		for range kib * 4 {
			a.Ring(name, limits).Append(Record{Text: make([]byte, 240)})
		}
	}
	for _, name := range []string{"held", "big", "small"} {
		a.Ring(name, limits)
	}
	fill("held", 400)
	a.Find("held").SetHold(1, true)
	fill("small", 100)
	fill("big", 300)
	fill("writer", 200)
	for name, want := range map[string]bool{"held": true, "small": true, "big": false} {
		if got := a.Find(name).FirstHeld() == 1; got != want {
			t.Errorf("%s has all its lines: %v", name, got)
		}
	}
	for name := range a.rings {
		a.Find(name).SetHold(1, true)
	}
	if fill("writer", 400); a.Find("held").FirstHeld() == 1 {
		t.Error("held lines stop the writers")
	}
	if r := a.Find("writer"); r.Lost() != 0 || r.Next() != 600*4+1 {
		t.Errorf("%d lines lost, next is %d", r.Lost(), r.Next())
	}
	sound(t, a)
}

// TestFull: where unfinished lines hold everything a line is lost and counted.
func TestFull(t *testing.T) {
	a := newTestArena(t, MinTotal)
	var feeds []*Feed
	for gen := range uint64(16) {
		f := a.Feed("s", gen, Stdout, 1)
		feedBytes(f, make([]byte, 60<<10), 1)
		feeds = append(feeds, f)
	}
	r := a.Ring("other", Limits{})
	if seq := r.Append(Record{Text: make([]byte, MaxLine)}); seq != 0 || r.Lost() != 1 || a.Find("s").Lost() != 0 {
		t.Errorf("number %d, %d lines lost", seq, r.Lost())
	}
	f := a.Feed("other", 99, Stdout, 1)
	feedBytes(f, make([]byte, 64<<10), 1)
	feedBytes(f, make([]byte, 64<<10), 1)
	lost := r.Lost()
	feedBytes(f, []byte("begun"), 1)
	feedBytes(f, make([]byte, 60<<10), 1)
	if r.Lost() != lost+1 || lost < 2 || lost > 4 || f.Unfinished() != 0 {
		t.Errorf("%d lines lost, unfinished are %d", r.Lost(), f.Unfinished())
	}
	sound(t, a)
	for _, f := range feeds {
		f.Close(1)
	}
	if r.Append(Record{Text: []byte("again")}) == 0 {
		t.Error("no room after the feeds were closed")
	}
	sound(t, a)
}

// TestFeed: who writes, where to, and how much memory an unfinished line takes.
func TestFeed(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 1, Stdout, 0)
	if f.Ring() != a.Find("s") || f.Unfinished() != 0 {
		t.Errorf("ring %v, %d unfinished", f.Ring(), f.Unfinished())
	}
	f.SetPID(12)
	feedBytes(f, []byte("a\nbcd"), 7)
	if got := f.Ring().Last(1, nil); got[0].PID != 12 || got[0].TimeMS != 7 || f.Unfinished() != 3 {
		t.Errorf("%+v, %d unfinished", got, f.Unfinished())
	}
	b := reopen(t, a)
	if again := b.Feed("s", 1, Stdout, 0); again.pid.Load() != 12 || again.Unfinished() != 3 {
		t.Errorf("after a restart %d has %d unfinished", again.pid.Load(), again.Unfinished())
	}
	b = reopen(t, a)
	if again := b.Feed("s", 1, Stdout, 13); again.pid.Load() != 13 {
		t.Errorf("the pid is %d", again.pid.Load())
	}
	b = reopen(t, a)
	if other := b.Feed("moved", 1, Stdout, 1); other.Ring().Name() != "moved" || other.Unfinished() != 0 {
		t.Error("a pipe of another service has this one's line")
	}
	if b.FlushUnclaimed(3); len(b.parts) != 0 || string(b.Find("s").Last(1, nil)[0].Text) != "bcd" {
		t.Error("what nobody claimed is not a line")
	}
	sound(t, b)

	a = newTestArena(t, MinTotal)
	f = a.Feed("t", 2, Stdout, 1)
	for _, c := range []struct {
		data  string
		units int
	}{
		{"x", 1}, {strings.Repeat("x", unitSize-partSize-1), 1}, {"y", 2}, {strings.Repeat("y", unitSize), 4}, // twice as much
		{"\n", 0}, {strings.Repeat("z", 3000), 3}, {"\n", 0}, {"\nshort", 1}, {"\n", 1},
		{strings.Repeat("z", 4*unitSize-partSize), 4}, {"\nshort", 4}, {strings.Repeat("z", 4*unitSize), 8},
		{"\n" + strings.Repeat("z", unitSize-partSize+1), 8}, {"\n" + strings.Repeat("z", unitSize-partSize), 1}, {"\n", 1},
		{strings.Repeat("z", 40<<10), 41}, {strings.Repeat("z", 10<<10), 65}, {strings.Repeat("z", 14<<10), 65},
	} {
		feedBytes(f, []byte(c.data), 1)
		if f.units != c.units {
			t.Errorf("after %d bytes more (%.3q…) there are %d, in %d units, want %d", len(c.data), c.data, f.length, f.units, c.units)
		}
		sound(t, a)
	}
	f.Close(1)
	if f.unit != -1 || len(f.Ring().feeds) != 0 {
		t.Errorf("a closed feed lies at %d, of %d", f.unit, len(f.Ring().feeds))
	}
	sound(t, a)
}

// TestBeginOfFewBytes: what lies in the pipe is never taken for read.
func TestBeginOfFewBytes(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 1, Stdout, 1)
	for n := 1; n <= 16; n++ {
		peeked := make([]byte, n)
		for i := range peeked {
			peeked[i] = byte(0x55 + i)
		}
		for range 500 { // a canary of few random bytes would look read now and then
			if buf := a.Begin(f, n, peeked, 1); n < 8 && buf[0] == peeked[0] || !hasCanary(buf, a.intent().canary) {
				t.Fatalf("%d bytes look read, or have no canary", n)
			}
			a.Finish(0)
		}
		for _, known := range [][]byte{peeked, nil, peeked[:n-1], append(slices.Clone(peeked), 1, 2)} {
			buf := a.Begin(f, n, known, 1)
			if n < 8 && len(known) >= n {
				for i := range buf {
					if buf[i] == peeked[i] {
						t.Errorf("%d bytes: byte %d looks read", n, i)
					}
				}
			}
			if len(buf) != n || cap(buf) != n || !hasCanary(buf, a.intent().canary) {
				t.Errorf("%d bytes: room for %d, no canary", n, len(buf))
			}
			if got := a.Finish(0); got != 0 || a.intent().stage != stageIdle {
				t.Errorf("nothing was read: %d lines, stage %d", got, a.intent().stage)
			}
		}
	}
	a.Begin(f, 4, nil, 1)
	if a.Finish(-1) != 0 || f.Unfinished() != 0 {
		t.Error("an error is taken for bytes")
	}
	buf := a.Begin(f, 2*MaxRead, nil, 1)
	copy(buf, "a\nb\nc")
	if got := a.Finish(5); len(buf) != MaxRead || got != 2 || f.Unfinished() != 1 {
		t.Errorf("%d lines of %d bytes, %d unfinished", got, len(buf), f.Unfinished())
	}
	c1, c2 := a.nextCanary(), a.nextCanary()
	if c1 == c2 || c1 == 0 {
		t.Error("canaries can be guessed")
	}
}

// TestArenaBasics: names, limits, memory.
func TestArenaBasics(t *testing.T) {
	a, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	if a.Total() != MinTotal || a.Bytes() != 0 {
		t.Errorf("%d of %d bytes", a.Bytes(), a.Total())
	}
	long := strings.Repeat("n", MaxName)
	r := a.Ring(long+"more", Limits{Lines: 5})
	if r.Name() != long || a.Ring(long, Limits{}) != r || r.limits != (Limits{5, DefaultBytes}) {
		t.Errorf("%q with %v", r.Name(), r.limits)
	}
	if r.limits = (Limits{7, 9}); a.Ring(long, Limits{}).limits != (Limits{7, 9}) {
		t.Error("limits of nothing change some")
	}
	if a.Ring(long, Limits{Bytes: 5000}); r.limits != (Limits{DefaultLines, 5000}) {
		t.Errorf("limits %v", r.limits)
	}
	if r.FirstHeld() != 1 || r.First() != 1 || r.Next() != 1 || r.Bytes() != 0 {
		t.Errorf("an empty ring has %d to %d", r.First(), r.Next())
	}
	r.Append(Record{Text: []byte("x")})
	if r.Bytes() != unitSize || a.Bytes() != unitSize+slabSize {
		t.Errorf("a line takes %d bytes of %d", r.Bytes(), a.Bytes())
	}
	a.Ring(long, Limits{Lines: 6, Bytes: 7000})
	sound(t, a)
	if seq := r.Append(Record{Text: []byte(strings.Repeat("é", MaxLine) + "end")}); seq != 4 {
		t.Errorf("a line of three pieces has number %d", seq)
	}
	got := r.Last(3, nil)
	if len(got) != 1 || string(got[0].Text) != "end" || got[0].Continued { // each piece is larger than the bound
		t.Errorf("%d pieces", len(got))
	}
	sound(t, a)
	fd := a.FD()
	if err := a.Close(); err != nil || a.FD() != -1 {
		t.Errorf("%v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Error("the descriptor is open")
	}
	if err := a.Close(); err == nil {
		t.Error("closed twice")
	}
	a = newTestArena(t, MinTotal)
	_ = unix.Close(a.fd)
	if err := a.Close(); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
	var anonymous Arena
	anonymous.fd = -1
	anonymous.mem, _ = unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err := anonymous.Close(); err != nil {
		t.Errorf("memory without a descriptor: %v", err)
	}
	if fd, mem := newMemfd(-1); fd != -1 || mem != nil {
		t.Error("a file of no size")
	}
}

// TestOpenRefuses what is no arena, and says why.
func TestOpenRefuses(t *testing.T) {
	if _, err := Open(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
	base := soundArena(t)
	for what, c := range map[string]struct {
		change func(s *superblock)
		size   int
		want   string
	}{
		"nothing":         {func(*superblock) {}, len(base), ""},
		"magic":           {func(s *superblock) { s.magic++ }, len(base), "no arena"},
		"version":         {func(s *superblock) { s.version++ }, len(base), "another version (2, known is 1)"},
		"unit":            {func(s *superblock) { s.unit *= 2 }, len(base), "another version"},
		"units":           {func(s *superblock) { s.units++ }, len(base), "does not fit"},
		"more":            {func(*superblock) {}, len(base) + 4096, "does not fit"},
		"too small":       {func(*superblock) {}, len(base) - 1, fmt.Sprint(len(base)-1, " bytes are no arena")},
		"nothing at all":  {func(*superblock) {}, 0, "0 bytes are no arena"},
		"much too large":  {func(*superblock) {}, mapSize(MaxTotal/unitSize) + 1, "bytes are no arena"},
		"large as can be": {func(*superblock) {}, mapSize(MaxTotal / unitSize), "does not fit"},
	} {
		a := &Arena{mem: slices.Clone(base)}
		c.change(a.super())
		fd, err := unix.MemfdCreate("refused", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(fd, a.mem, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Ftruncate(fd, int64(c.size)); err != nil {
			t.Fatal(err)
		}
		b, err := Open(fd)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if err == nil {
			_ = b.Close()
			continue
		}
		if errors.Is(err, ErrVersion) != strings.Contains(c.want, "version") {
			t.Errorf("%s: %v", what, err)
		}
		_ = unix.Close(fd)
	}
	a := newTestArena(t, MinTotal)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", a.FD()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := Open(fd); !errors.Is(err, unix.EACCES) {
		t.Errorf("one that cannot be written: %v", err)
	}
}

// TestPageSizes: small for who writes little, an eighth of the bound for who writes much.
func TestPageSizes(t *testing.T) {
	for _, c := range []struct{ bytes, bound, span, want int }{
		{0, 256 << 10, 20, unitSize}, {2 * unitSize, 256 << 10, 20, unitSize}, {2*unitSize + 2, 256 << 10, 20, 2 * unitSize},
		{16 << 10, 256 << 10, 20, 8 << 10}, {256 << 10, 256 << 10, 20, 32 << 10}, {8 << 20, 8 << 20, 20, maxPage},
		{100 << 10, 20 << 10, 20, 2 << 10}, {100 << 10, 23 << 10, 20, 2 << 10}, {100 << 10, 100, 20, unitSize},
		{0, 256 << 10, unitSize - headerSize, unitSize}, {0, 256 << 10, unitSize - headerSize + 1, 2 * unitSize},
	} {
		r := &Ring{bytes: c.bytes, limits: Limits{Bytes: c.bound}}
		if got := r.pageSize(c.span); got != c.want {
			t.Errorf("%d bytes of %d, a line of %d: %d, want %d", c.bytes, c.bound, c.span, got, c.want)
		}
	}
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	fill := unitSize - headerSize - recordSize
	r.Append(Record{Text: make([]byte, fill)})
	if r.Bytes() != unitSize {
		t.Errorf("a line that fills a page takes %d", r.Bytes())
	}
	for _, delta := range []int64{math.MinInt32, math.MaxInt32, math.MinInt32 - 1, math.MaxInt32 + 1} {
		if got, want := fits(delta), int64(int32(delta)) == delta; got != want {
			t.Errorf("%d fits: %v", delta, got)
		}
	}
	small := a.Ring("small", Limits{Lines: 1 << 20, Bytes: unitSize})
	for range 100 {
		small.Append(Record{Text: make([]byte, 200)})
		if small.Bytes() != unitSize {
			t.Fatalf("%d bytes in a ring of one page", small.Bytes())
		}
	}
	pair := a.Ring("pair", Limits{Lines: 100, Bytes: unitSize})
	for range 2 { // which fill one page exactly
		pair.Append(Record{TimeMS: 1_700_000_000_000, Text: make([]byte, (unitSize-headerSize)/2-recordSize)})
	}
	if pair.FirstHeld() != 1 || pair.Bytes() != unitSize {
		t.Errorf("two lines that fill a page take %d from %d", pair.Bytes(), pair.FirstHeld())
	}
	long := a.Ring("long", Limits{Lines: 100, Bytes: 64 << 10})
	long.Append(Record{Text: make([]byte, 30<<10)})
	if a.Ring("long", Limits{Lines: 100, Bytes: unitSize}); long.FirstHeld() != 1 {
		t.Error("a lower bound takes the newest line")
	}
	// Two pages that fill the bound exactly stay.
	two := a.Ring("two", Limits{Lines: 1 << 20, Bytes: 2 * unitSize})
	for range 2 {
		two.Append(Record{Text: make([]byte, fill)})
	}
	if two.FirstHeld() != 1 || two.Bytes() != 2*unitSize {
		t.Errorf("%d bytes from %d", two.Bytes(), two.FirstHeld())
	}
	a.Ring("two", Limits{Lines: 1 << 20, Bytes: 2 * unitSize})
	if two.FirstHeld() != 1 {
		t.Error("a bound that is met takes a page")
	}
	// A page goes when the last of its lines is out of bounds, not before.
	lines := a.Ring("lines", Limits{Lines: 3, Bytes: 64 << 10})
	for i := range uint64(6) {
		lines.Append(Record{Text: make([]byte, fill)})
		if want := max(1, int64(i)-1); lines.FirstHeld() != uint64(want) {
			t.Errorf("after %d lines the first is %d, want %d", i+1, lines.FirstHeld(), want)
		}
	}
	sound(t, a)
}

// TestSpace finds the first room that is large enough.
func TestSpace(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for _, units := range []int{1, 63, 64, 65, 128, 200} {
		s := newSpace(units)
		taken := make([]bool, units)
		naive := func(n int) int {
			run := 0
			for i := range taken {
				if run++; taken[i] {
					run = 0
				} else if run == n {
					return i - n + 1
				}
			}
			return -1
		}
		if s.find(units) != 0 || s.find(units+1) != -1 {
			t.Errorf("%d units: all are at %d, one more at %d", units, s.find(units), s.find(units+1))
		}
		var held [][2]int
		for range 2000 {
			n := 1 + rng.IntN(min(units, 70))
			at := s.find(n)
			if want := naive(n); at != want {
				t.Fatalf("%d units: %d are at %d, want %d", units, n, at, want)
			}
			if at >= 0 && rng.IntN(3) > 0 {
				s.take(at, n)
				held = append(held, [2]int{at, n})
				for i := range n {
					taken[at+i] = true
				}
			} else if len(held) > 0 {
				i := rng.IntN(len(held))
				s.give(held[i][0], held[i][1])
				for k := range held[i][1] {
					taken[held[i][0]+k] = false
				}
				held = slices.Delete(held, i, i+1)
			}
			for i := range s.low {
				if !taken[i] {
					t.Fatalf("unit %d is free below %d", i, s.low)
				}
			}
		}
	}
}

// TestCheck depends on everything that it ties together, on all of its bits.
func TestCheck(t *testing.T) {
	a := newTestArena(t, MinTotal)
	seen := map[uint64]bool{}
	add := func(h pageHeader, unit int) {
		c := a.checkOf(&h, unit)
		if seen[c] || c>>32 == 0 || uint32(c) == 0 {
			t.Errorf("%+v at %d has the check %#x of another", h, unit, c)
		}
		seen[c] = true
	}
	add(pageHeader{}, 0)
	for bit := range 32 {
		add(pageHeader{slot: 1 << bit}, 0)
	}
	for bit := range 63 {
		add(pageHeader{first: 1 << bit}, 0)
		add(pageHeader{baseMS: 1 << bit}, 0)
	}
	for bit := range 20 {
		add(pageHeader{}, 1<<bit)
	}
	a.secret = ^a.secret
	add(pageHeader{}, 0)
}

// TestPriorityBounds: nothing beyond the tables.
func TestPriorityBounds(t *testing.T) {
	for facility := -2; facility < 27; facility++ {
		for severity := -2; severity < 11; severity++ {
			want := Priority(0)
			if facility >= 0 && facility < 24 && severity >= 0 && severity < 8 {
				want = Priority(facility*8 + severity + 1)
			}
			if got := MakePriority(facility, severity); got != want {
				t.Errorf("%d, %d: %d, want %d", facility, severity, got, want)
			}
		}
	}
}

// TestDropEndsTheFeeds: what the pipes of a service that went still say goes nowhere, and takes nothing.
func TestDropEndsTheFeeds(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	f := a.Feed("s", 1, Stdout, 1)
	feedBytes(f, []byte("line\nunfinished"), 1)
	a.Drop("s")
	sound(t, a)
	feedBytes(f, []byte("more\nand more"), 1)
	if r.Append(Record{Text: []byte("x")}) != 0 || f.Unfinished() != 0 || a.Bytes() != slabSize {
		t.Errorf("%d unfinished, %d bytes", f.Unfinished(), a.Bytes())
	}
	f.Close(1)
	sound(t, a)
	a.Drop("s")
	a.Drop("never there")
}

// TestSplitAtTheEnd: what no newline ends is the last line, in one piece or in what the cut leaves.
func TestSplitAtTheEnd(t *testing.T) {
	for _, n := range []int{1, 5, MaxLine - 1, MaxLine, MaxLine + 1, 2 * MaxLine} {
		a := newTestArena(t, MinTotal)
		r := a.Ring("s", Limits{Lines: 100, Bytes: 512 << 10})
		s := splitter{ring: r}
		text := bytes.Repeat([]byte("x"), n)
		r.a.mu.Lock()
		r.begin()
		rest := s.split(nil, text, true)
		r.end()
		r.a.mu.Unlock()
		var got []byte
		for _, rec := range r.Last(9, nil) {
			got = append(got, rec.Text...)
		}
		if rest != n || !bytes.Equal(got, text) || s.lines != (n+MaxLine-1)/MaxLine {
			t.Errorf("%d bytes: %d lines of %d bytes, rest at %d", n, s.lines, len(got), rest)
		}
	}
}

// TestHeldFromTheEndOfAPage: that page is not held.
func TestHeldFromTheEndOfAPage(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{Lines: 1000, Bytes: 64 << 10})
	for range 60 {
		r.Append(Record{Text: make([]byte, 300)})
	}
	r.SetHold(r.pages[0].end(), true)
	if r.holdsOldest() {
		t.Error("held")
	}
	want := 0
	for _, p := range r.pages[1:] {
		want += p.used
	}
	if got, _ := r.backlog(); got != want {
		t.Errorf("%d bytes are held, want %d", got, want)
	}
	if r.SetHold(r.pages[0].end()-1, true); !r.holdsOldest() {
		t.Error("not held")
	}
	// Without OnResume nobody is told.
	r.paused.Store(true)
	if r.SetHold(r.Next(), true); r.paused.Load() {
		t.Error("still paused")
	}
}

// TestSinkTakesOver: what Open held for a sink is its own again once it says how far it is.
func TestSinkTakesOver(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	for range 9 {
		r.Append(Record{Text: []byte("x")})
	}
	m, _ := r.Mark("sink")
	m.Set(Position{Seq: 4})
	b := snapshot(t, a)
	defer b.Close()
	r = b.Find("s")
	if r.hold.Load() != 4 || !r.adopted.Load() {
		t.Fatalf("held from %d", r.hold.Load())
	}
	r.SetHold(6, true)
	if b.FlushUnclaimed(1); r.hold.Load() != 6 || r.adopted.Load() || len(b.adopting) != 0 {
		t.Errorf("held from %d, adopted %v", r.hold.Load(), r.adopted.Load())
	}
	m, _ = b.Find("s").Mark("sink")
	m.Forget()
	if m.Set(Position{Seq: 5}); m.stored {
		t.Error("a forgotten mark is stored")
	}
	sound(t, b)
}

// TestManyRings have their heads in several slabs, with pages between them.
func TestManyRings(t *testing.T) {
	a := newTestArena(t, MinTotal)
	for i := range 60 {
		r := a.Ring(fmt.Sprint("service-", i), Limits{})
		r.Append(Record{Text: []byte("one")})
		m, _ := r.Mark("x")
		m.Set(Position{Seq: uint64(i + 1)})
	}
	long := strings.Repeat("n", MaxName)
	a.Ring(long, Limits{}).Append(Record{Text: []byte("x")})
	sound(t, a)
	b := snapshot(t, a)
	defer b.Close()
	sound(t, b)
	for i := range 60 {
		if m, known := b.Find(fmt.Sprint("service-", i)).Mark("x"); !known || m.Get().Seq != uint64(i+1) {
			t.Errorf("mark %d is known %v", i, known)
		}
	}
	if b.Find(long) == nil || len(b.Names()) != 61 {
		t.Errorf("%d names", len(b.Names()))
	}
	if a.ID() == "" || a.ID() != b.ID() || a.ID() == newTestArena(t, MinTotal).ID() {
		t.Errorf("ids %q and %q", a.ID(), b.ID())
	}
}

// TestLongestParts are kept, longer ones are none of ours.
func TestLongestParts(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 1, Stdout, 1)
	feedBytes(f, make([]byte, MaxLine), 1)
	for gen, c := range map[uint64]struct{ units, length int }{2: {1, unitSize - partSize}, 3: {1, unitSize - partSize + 1}, 4: {66, MaxLine + 1}, 5: {65, MaxLine}} {
		unit, _ := a.alloc(c.units)
		*a.part(unit) = partHeader{magic: partMagic, slot: f.ring.number, gen: gen, length: uint32(c.length)}
		a.publish(unit, c.units, kindPart)
	}
	f.ring.feeds = nil // the others are not known here
	b := snapshot(t, a)
	defer b.Close()
	sound(t, b)
	for gen, want := range map[uint64]int{1: MaxLine, 2: unitSize - partSize, 3: 0, 4: 0, 5: MaxLine} {
		if got := b.Feed("s", gen, Stdout, 0).Unfinished(); got != want {
			t.Errorf("of pipe %d %d bytes are unfinished, want %d", gen, got, want)
		}
	}
}

// TestCrashInALongRead: a whole pipe beside a whole line.
func TestCrashInALongRead(t *testing.T) {
	a := newTestArena(t, MinTotal)
	a.Ring("s", Limits{Lines: 100, Bytes: 512 << 10})
	f := a.Feed("s", 1, Stdout, 1)
	feedBytes(f, bytes.Repeat([]byte("h"), MaxLine), 1)
	buf := a.Begin(f, MaxRead, nil, 1)
	for i := range buf {
		buf[i] = 'x'
	}
	buf[9] = '\n'
	b := snapshot(t, a)
	defer b.Close()
	a.Finish(MaxRead)
	for what, arena := range map[string]*Arena{"going on": a, "after a crash": b} {
		recs := arena.Find("s").Last(9, nil)
		if len(recs) != 2 || len(recs[0].Text) != MaxLine || string(recs[1].Text) != "xxxxxxxxx" || arena.Feed("s", 1, Stdout, 0).Unfinished() != MaxRead-10 && what != "going on" {
			t.Errorf("%s: %d lines", what, len(recs))
		}
	}
	if b.Recovery() != RecoveryRead {
		t.Errorf("recovery %d", b.Recovery())
	}
}

// TestCutWithinWhatIsHeld: a character at the bound may begin in one read and end in another.
func TestCutWithinWhatIsHeld(t *testing.T) {
	for _, char := range []string{"é", "€", "😀"} {
		for pad := MaxLine - 6; pad <= MaxLine; pad++ {
			for part := range len(char) {
				data := append(bytes.Repeat([]byte("x"), pad), char+char+"end"...)
				a := newTestArena(t, MinTotal)
				a.Ring("s", Limits{Lines: 10, Bytes: 512 << 10})
				f := a.Feed("s", 1, Stdout, 1)
				feedBytes(f, data[:pad+part], 1)
				feedBytes(f, data[pad+part:], 1)
				f.Close(1)
				if got, want := texts(a.Find("s").Last(9, nil)), naiveLines(data); !slices.Equal(got, want) {
					t.Fatalf("%s at %d, %d bytes first: %d pieces, want %d", char, pad, part, len(got), len(want))
				}
			}
		}
	}
}

// TestTimesBeforeTheEpoch are times.
func TestTimesBeforeTheEpoch(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	r.Append(Record{TimeMS: -5, Text: []byte("x")})
	if len(r.Last(5, nil)) != 1 || len(a.Query(Query{Lines: 5})) != 1 || len(r.Last(5, &Filter{SinceMS: -4})) != 0 || len(r.Last(5, &Filter{SinceMS: -5})) != 1 {
		t.Error("a line is left out")
	}
}

// TestQueryAfterAStepBack over pages: the newest lines of a service count as of the time before the step.
func TestQueryAfterAStepBack(t *testing.T) {
	a := newTestArena(t, 8<<20)
	limits := Limits{Lines: 1000, Bytes: 1 << 20}
	add := func(name string, n int, at int64) {
		for range n {
			a.Ring(name, limits).Append(Record{TimeMS: at, Text: make([]byte, 1000)})
		}
	}
	add("f1", 150, 500)
	add("f2", 150, 500)
	add("stepped", 100, 1000)
	add("stepped", 100, 10)
	got := a.Query(Query{Names: []string{"f1", "f2", "stepped"}, Lines: 150})
	n := 0
	for _, l := range got {
		if l.Service == "stepped" {
			n++
		}
	}
	if len(got) != 150 || n != 150 || got[149].Seq != 200 {
		t.Errorf("%d lines, %d of them of the service whose clock stepped back", len(got), n)
	}
}

// TestFollowFrom: where to begin counts once, for a ring that is there or comes later, not for one that comes back.
func TestFollowFrom(t *testing.T) {
	a := newTestArena(t, MinTotal)
	add := func(name string, n int) {
		for range n {
			a.Ring(name, Limits{}).Append(Record{Text: []byte("x")})
		}
	}
	add("s", 9)
	f := a.Follow([]string{"s", "late"}, map[string]uint64{"s": 5, "late": 3})
	defer f.Close()
	if b, _ := f.Next(1); b.Records[0].Seq != 5 {
		t.Errorf("begun with %d", b.Records[0].Seq)
	}
	a.Drop("s")
	add("s", 9)
	if b, _ := f.Next(1); b.Records[0].Seq != 1 {
		t.Errorf("after it came back begun with %d", b.Records[0].Seq)
	}
	for len(f.C) > 0 {
		<-f.C
	}
	if add("late", 5); len(f.C) == 0 {
		t.Error("no word of one that came later")
	}
	for range 2 {
		if b, _ := f.Next(1); b.Service == "late" && b.Records[0].Seq != 3 {
			t.Errorf("the late one begins with %d", b.Records[0].Seq)
		}
	}
}
