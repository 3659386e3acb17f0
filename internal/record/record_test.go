package record

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	Name string
	On   bool
}

func innerFields(c *Codec, v *inner) {
	c.Text(1, &v.Name)
	c.Bool(2, &v.On)
}

type state struct {
	A    int8
	B    uint64
	C    bool
	D    string
	E    []int64
	F    []string
	G    inner
	H, I *inner
	J    []inner
}

func fields(c *Codec, s *state) {
	Int(c, 1, &s.A)
	Int(c, 2, &s.B)
	c.Bool(3, &s.C)
	c.Text(5, &s.D)
	Ints(c, 6, &s.E)
	c.Texts(7, &s.F)
	Sub(c, 8, &s.G, innerFields)
	Optional(c, 9, &s.H, innerFields)
	Optional(c, 10, &s.I, innerFields)
	List(c, 200, &s.J, innerFields)
}

func write[T any](v *T, fields func(*Codec, *T)) []byte {
	c := Writer(nil)
	fields(&c, v)
	return c.Bytes()
}

func read[T any](b []byte, fields func(*Codec, *T)) (v T, err error) {
	c := Reader(b)
	fields(&c, &v)
	return v, c.Err()
}

func full() state {
	return state{A: math.MinInt8, B: math.MaxUint64, C: true, D: "text", E: []int64{0, math.MinInt64, 7}, F: []string{"", "x"},
		G: inner{strings.Repeat("long", 100), true}, H: &inner{}, J: []inner{{}, {"a", true}, {strings.Repeat("b", 200), false}}}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []state{{}, full()} {
		b := write(&want, fields)
		got, err := read(b, fields)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%x\nread %+v, %v\nwant %+v", b, got, err, want)
		}
	}
	if b := write(&state{}, fields); len(b) != 0 {
		t.Errorf("nothing is %x", b)
	}
}

// newer is a later state: it has gained fields at every place, and lost two.
type newer struct {
	state
	Before, Between int
	Behind          string
	Records         []inner
}

func newerFields(c *Codec, n *newer) {
	Int(c, 1, &n.A)
	c.Bool(3, &n.C)
	Int(c, 4, &n.Between)
	c.Text(5, &n.D)
	Ints(c, 6, &n.E)
	c.Texts(7, &n.F)
	Sub(c, 8, &n.G, func(c *Codec, v *inner) {
		innerFields(c, v)
		c.Text(3, &n.Behind)
	})
	Optional(c, 9, &n.H, innerFields)
	List(c, 11, &n.Records, innerFields)
	List(c, 200, &n.J, innerFields)
	Int(c, 201, &n.Before)
}

// TestBothWays: an older reader skips what it does not know, a newer one takes what is missing as zero.
func TestBothWays(t *testing.T) {
	now := newer{state: full(), Before: 3, Between: 4, Behind: "new", Records: []inner{{"r", true}}}
	old, err := read(write(&now, newerFields), fields)
	want := full()
	want.B = 0
	if err != nil || !reflect.DeepEqual(old, want) {
		t.Errorf("the older reads %+v, %v\nwant %+v", old, err, want)
	}
	was := full()
	got, err := read(write(&was, fields), newerFields)
	if err != nil || !reflect.DeepEqual(got, newer{state: want}) {
		t.Errorf("the newer reads %+v, %v", got, err)
	}
	type other struct{ A string }
	if v, err := read(write(&was, fields), func(c *Codec, o *other) { c.Text(1, &o.A) }); err != nil || v.A != "" {
		t.Errorf("a number that changed its kind: %+v, %v", v, err)
	}
}

// TestOrder: a description that a reader could not follow does not pass its first test.
func TestOrder(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("fields out of order are written")
		}
	}()
	write(&inner{"a", true}, func(c *Codec, v *inner) { c.Bool(2, &v.On); c.Text(1, &v.Name) })
}

func TestDamaged(t *testing.T) {
	s := full()
	b := write(&s, fields)
	cuts := 0
	for n := range b {
		if got, err := read(b[:n], fields); errors.Is(err, ErrDamaged) {
			cuts++
		} else if err != nil || reflect.DeepEqual(got, s) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if cuts < len(b)/2 {
		t.Errorf("only %d of %d cuts were noticed", cuts, len(b))
	}
	for _, bad := range [][]byte{{0}, {1}, {0x80}, {3, 5, 'a'}, {6, 2, 2, 2}, bytes.Repeat([]byte{0xff}, 11)} {
		if _, err := read(bad, fields); !errors.Is(err, ErrDamaged) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// FuzzRead: no bytes make a reader panic, or take more than they are long; what is read is written and read again.
func FuzzRead(f *testing.F) {
	s := full()
	f.Add(write(&s, fields))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b, fields)
		if err != nil {
			return
		}
		again, err := read(write(&got, fields), fields)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%x: %+v, then %+v, %v", b, got, again, err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s, buf := full(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		c := Writer(buf)
		fields(&c, &s)
	}
}
