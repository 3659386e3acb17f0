package logring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// snapshot copies an arena's memory into a new memfd and opens that: what a new server finds when the old one died
// at this instant.
func snapshot(t testing.TB, a *Arena) *Arena {
	t.Helper()
	return openBytes(t, a.mem)
}

func openBytes(t testing.TB, mem []byte) *Arena {
	t.Helper()
	b, err := tryOpen(t, mem)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tryOpen(t testing.TB, mem []byte) (*Arena, error) {
	t.Helper()
	fd, err := unix.MemfdCreate("snapshot", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pwrite(fd, mem, 0); err != nil {
		t.Fatal(err)
	}
	b, err := Open(fd)
	if err != nil {
		_ = unix.Close(fd)
	}
	return b, err
}

// history is a pipe whose bytes are read in some chunks.
type history struct {
	bytes  []byte
	chunks []int
	want   []string
}

func randomHistory(rng *rand.Rand) history {
	var h history
	for range 1 + rng.IntN(40) {
		n := rng.IntN(30)
		if rng.IntN(20) == 0 {
			n = rng.IntN(3 * MaxLine)
		}
		char := []string{"a", "b", "é", "€", "😀"}[rng.IntN(5)]
		line := []byte("12"[:rng.IntN(3)] + strings.Repeat(char, n/len(char)))
		h.bytes = append(append(h.bytes, line...), '\n')
	}
	h.want = naiveLines(h.bytes)
	for left := len(h.bytes); left > 0; {
		n := min(left, 1+rng.IntN(20))
		if rng.IntN(3) == 0 || len(h.bytes) > 10_000 {
			n = min(left, 1+rng.IntN(MaxRead))
		}
		h.chunks = append(h.chunks, n)
		left -= n
	}
	return h
}

// At each instant at which the server may die the next one goes on and has every line once.
func TestCrashAtEveryStep(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			h := randomHistory(rng)
			a := newTestArena(t, MinTotal)
			a.Ring("s", Limits{1 << 20, 1 << 20})
			f := a.Feed("s", 5, Stderr, 1)
			at := 0
			for i, n := range h.chunks {
				crashing := rng.IntN(max(1, len(h.chunks)/30)) == 0
				readChunk(t, f, h, at, n, crashing)
				if at += n; i == len(h.chunks)/2 {
					a = reopen(t, a)
					f = a.Feed("s", 5, Stderr, 1)
				}
			}
			f.Close(1)
			checkHistory(t, a, h)
		})
	}
}

// readChunk reads n bytes at offset at, and with crashing tries a crash at each step of it.
func readChunk(t *testing.T, f *Feed, h history, at, n int, crashing bool) {
	a := f.a
	data := h.bytes[at : at+n]
	taken := at // how far the pipe is read
	if crashing {
		a.onStep = func() { crashHere(t, a, h, taken) }
		defer func() { a.onStep = nil }()
	}
	buf := a.Begin(f, n, data[:min(n, 8)], 1)
	if crashing {
		crashHere(t, a, h, at) // the bytes are still in the pipe
	}
	copy(buf, data)
	taken += n
	if crashing {
		crashHere(t, a, h, at+n)
	}
	a.Finish(n)
}

// crashHere goes on with a copy of the arena, where the pipe has lost at bytes.
func crashHere(t *testing.T, a *Arena, h history, at int) {
	t.Helper()
	b := snapshot(t, a)
	defer b.Close()
	sound(t, b)
	f := b.Feed("s", 5, Stderr, 1)
	feedBytes(f, h.bytes[at:], 1)
	f.Close(1)
	sound(t, b)
	checkHistory(t, b, h)
	if len(b.parts) > 0 {
		t.Fatalf("%d unfinished lines are left over", len(b.parts))
	}
}

// checkHistory compares what the ring still has; it must be the end of what was written, and numbered so.
func checkHistory(t *testing.T, a *Arena, h history) {
	t.Helper()
	r := a.Find("s")
	if r.Next() != uint64(len(h.want)+1) {
		t.Fatalf("%d lines, want %d", r.Next()-1, len(h.want))
	}
	recs := r.Last(len(h.want), nil)
	if got := texts(recs); len(got) == 0 || !slices.Equal(got, h.want[len(h.want)-len(got):]) {
		t.Fatalf("lines differ: got %.200q", got)
	}
}

// The last line without newline is flushed once, whenever the server dies.
func TestCrashAtClose(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 5, Stderr, 1)
	feedBytes(f, []byte("one\ntwo"), 1)
	h := history{want: []string{"one", "two"}}
	steps := 0
	a.onStep = func() {
		steps++
		b := snapshot(t, a)
		defer b.Close()
		b.FlushUnclaimed(1)
		checkHistory(t, b, h)
	}
	f.Close(1)
	if checkHistory(t, a, h); steps < 4 {
		t.Errorf("only %d steps were tried", steps)
	}
}

// A clean upgrade: the same memory, opened again, says the same; what is unfinished goes on.
func TestUnclaimedPartialIsFlushed(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 1, Stdout, 1)
	g := a.Feed("s", 1, Stderr, 1)
	feedBytes(f, []byte("half of "), 1)
	feedBytes(g, []byte("lost pipe"), 1)
	b := reopen(t, a)
	f = b.Feed("s", 1, Stdout, 1)
	b.FlushUnclaimed(2)
	feedBytes(f, []byte("a line\n"), 3)
	if got := texts(b.Find("s").Last(9, nil)); !slices.Equal(got, []string{"lost pipe", "half of a line"}) {
		t.Errorf("got %q", got)
	}
}

func TestDropWithOpenFeed(t *testing.T) {
	a := newTestArena(t, MinTotal)
	f := a.Feed("s", 1, Stdout, 1)
	feedBytes(f, bytes.Repeat([]byte("x"), 50_000), 1)
	a.Drop("s")
	before := a.Bytes()
	feedBytes(f, []byte("y\nz\nrest"), 1)
	f.Close(1)
	a.Ring("other", Limits{}).Append(Record{Text: []byte("fine")})
	if b := reopen(t, a); len(b.Names()) != 1 || before > slabSize {
		t.Errorf("left behind: %v, %d bytes", b.Names(), before)
	}
}

func TestPartialsOverTheTotal(t *testing.T) {
	a := newTestArena(t, MinTotal)
	for gen := range uint64(40) { // 40 unfinished lines of 60 KiB in 1 MiB
		f := a.Feed(fmt.Sprint("s", gen%3), gen, Stdout, 1)
		feedBytes(f, bytes.Repeat([]byte("x"), 60<<10), 1)
	}
	if a.Bytes() > a.Total() {
		t.Errorf("%d bytes, total is %d", a.Bytes(), a.Total())
	}
	reopen(t, a)
}
