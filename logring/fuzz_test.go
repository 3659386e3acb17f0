package logring

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzOpen changes bytes of the structures of a sound arena. Whatever they say then, Open answers, and the rings can be
// read and written.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3, 4})
	f.Add([]byte{2, 0, 0, 0, 0, 3})
	var base []byte
	f.Fuzz(func(t *testing.T, edits []byte) {
		if base == nil {
			base = soundArena(t)
		}
		mem := slices.Clone(base)
		for ; len(edits) >= 5; edits = edits[5:] {
			at := int(binary.LittleEndian.Uint32(edits)) % len(mem)
			switch edits[4] % 4 { // aim at where the structure is
			case 0:
				at %= superSize
			case 1:
				at = tableAt + at%400
			case 2:
				at = dataStart(MinTotal/unitSize) + at%(100*unitSize)
			}
			mem[at] ^= edits[4]
		}
		a, err := tryOpen(t, mem)
		if err != nil {
			return
		}
		defer a.Close()
		exercise(t, a)
	})
}

func soundArena(t testing.TB) []byte {
	a := newTestArena(t, MinTotal)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		a.Ring(string(rune('a'+i%3)), Limits{}).Append(Record{TimeMS: int64(i), Text: make([]byte, rng.IntN(300))})
	}
	a.Ring("a", Limits{}).Mark("x")
	feedBytes(a.Feed("b", 1, Stdout, 1), []byte("unfinished"), 1)
	a.Begin(a.Feed("a", 2, Stdout, 1), 100, nil, 1)
	a.mu.Unlock()
	return slices.Clone(a.mem)
}

func exercise(t *testing.T, a *Arena) {
	a.FlushUnclaimed(1)
	for _, name := range a.Names() {
		r := a.Find(name)
		r.Read(0, 1000)
		r.Last(100, nil)
		if r.Append(Record{Text: []byte("still works")}) > 0 {
			if got := r.Last(1, nil); len(got) != 1 || string(got[0].Text) != "still works" {
				t.Fatalf("%q: an appended line is not there", name)
			}
		}
	}
	for i := range 3000 {
		a.Ring("flood", Limits{1000, 1 << 30}).Append(Record{Text: make([]byte, i)})
	}
	if a.Bytes() > a.Total() {
		t.Fatalf("%d bytes, total is %d", a.Bytes(), a.Total())
	}
}

// FuzzFramer: any chunking of the same bytes gives the same lines, and they are those of a naive splitter.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("a\nb\r\n\x00\xff\n\nlast"), []byte{1, 2, 3}, uint16(0))
	f.Add([]byte("x\r"), []byte{1}, uint16(65535))
	f.Add([]byte("é€😀x\n\xf0\n"), []byte{0}, uint16(65521))
	f.Add([]byte("é€😀x\n\xf0\xf0\xf0"), []byte{255, 0}, uint16(65524))
	f.Fuzz(func(t *testing.T, data, chunks []byte, pad uint16) {
		if pad > 0 { // a line around the cut
			data = append(slices.Repeat([]byte("p"), int(pad)+len(data)), data...)
		}
		a := newTestArena(t, 8<<20)
		a.Ring("s", Limits{1 << 20, 8 << 20})
		feed := a.Feed("s", 1, Stdout, 0)
		rest := data
		for i := 0; len(rest) > 0; i++ {
			n := len(rest)
			if len(chunks) > 0 {
				n = min(n, 1+int(chunks[i%len(chunks)])*(1+int(pad)/64))
			}
			feedBytes(feed, rest[:n], 1)
			rest = rest[n:]
		}
		feed.Close(1)
		if got, want := texts(a.Find("s").Last(1<<20, nil)), naiveLines(data); !slices.Equal(got, want) {
			t.Fatalf("got %.200q, want %.200q", got, want)
		}
	})
}

// naiveLines is the rule, written as simply as can be.
func naiveLines(data []byte) []string {
	var lines []string
	var line []byte
	for _, c := range data {
		if c == '\n' {
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			lines, line = append(lines, string(line)), nil
			continue
		}
		if len(line)+naiveLen(c) > MaxLine {
			lines, line = append(lines, string(line)+"…"), nil
		}
		line = append(line, c)
	}
	if len(line) > 0 {
		lines = append(lines, string(line))
	}
	return lines
}

// naiveLen is how long a UTF-8 character is that begins with c, as the table of RFC 3629 has it.
func naiveLen(c byte) int {
	return map[byte]int{0xc: 2, 0xd: 2, 0xe: 3, 0xf: 4}[c>>4]*bit(c != 0xc0 && c != 0xc1 && c < 0xf5) + bit(c < 0xc2 || c > 0xf4)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestCharLen asks for every byte.
func TestCharLen(t *testing.T) {
	for c := range 256 {
		if got, want := charLen(byte(c)), naiveLen(byte(c)); got != want {
			t.Errorf("%#x: %d, want %d", c, got, want)
		}
	}
}

// FuzzRing: pushes and reads against a naive model.
func FuzzRing(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, s1, s2 uint64) {
		checkRandomRings(t, rand.New(rand.NewPCG(s1, s2)), 500)
	})
}
