package logring

import "testing"

func TestPriority(t *testing.T) {
	tests := []struct {
		facility, severity int
		pri                int // -1 = none
		names              [2]string
	}{
		{0, 0, 0, [2]string{"kern", "emerg"}},
		{1, 5, 13, [2]string{"user", "notice"}},
		{3, 3, 27, [2]string{"daemon", "err"}},
		{4, 2, 34, [2]string{"auth", "crit"}},
		{20, 5, 165, [2]string{"local4", "notice"}},
		{23, 7, 191, [2]string{"local7", "debug"}},
		{24, 0, -1, [2]string{}},
		{-1, 0, -1, [2]string{}},
		{0, 8, -1, [2]string{}},
		{0, -1, -1, [2]string{}},
	}
	for _, test := range tests {
		p := MakePriority(test.facility, test.severity)
		n, ok := p.PRI()
		if ok != (test.pri >= 0) || (ok && n != test.pri) || p.Facility() != test.names[0] || p.Severity() != test.names[1] {
			t.Errorf("MakePriority(%d, %d) = %d: %d %v %s %s", test.facility, test.severity, p, n, ok, p.Facility(), p.Severity())
		}
	}
	for p := 193; p < 256; p++ { // of a page that is not ours
		if _, ok := Priority(p).PRI(); ok || Priority(p).Severity() != "" {
			t.Errorf("%d is a priority", p)
		}
	}
}

// A record keeps its priority over a crash; the record of an arena of before, whose word has zero bits there, has none, and
// the version before finds length, stream and mark where they were.
func TestPriorityOutlivesServer(t *testing.T) {
	a := newTestArena(t, MinTotal)
	r := a.Ring("s", Limits{})
	r.Append(Record{Stream: Syslog, Priority: MakePriority(23, 7), Text: []byte("with")})
	r.Append(Record{Stream: Stderr, Continued: true, Text: []byte("without")})
	for _, arena := range []*Arena{a, reopen(t, a)} {
		recs := arena.Ring("s", Limits{}).Last(10, nil)
		if len(recs) != 2 || recs[0].Priority != MakePriority(23, 7) || recs[1].Priority != 0 {
			t.Fatalf("got %+v", recs)
		}
		if recs[0].Stream != Syslog || recs[0].Continued || string(recs[0].Text) != "with" || !recs[1].Continued {
			t.Errorf("got %+v", recs)
		}
	}
	const formerMask = 1<<24 - 1 // what the layout had before there were priorities
	if h := recordWord(4, &Record{Stream: Syslog, Priority: 192}, false); h&formerMask != 4|uint32(Syslog)<<streamShift {
		t.Errorf("word is %x", h)
	}
}
