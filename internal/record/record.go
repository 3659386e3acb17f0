// Package record writes and reads state that outlives the program that wrote it. A record is a run of numbered fields; what
// is zero is left out. A reader skips the fields that it does not know, and those that are missing are zero to it: so a
// record can gain fields, and older and newer programs read each other's. What never changes is the meaning of a number.
//
// A type is described once, for both directions, by a function that visits its fields in the order of their numbers:
//
//	func fields(c *record.Codec, p *Point) {
//		record.Int(c, 1, &p.X)
//		record.Int(c, 2, &p.Y)
//		c.Text(4, &p.Name) // 3 was used once
//	}
//
// A field is a number and a kind (uvarint: number*2 + kind), then a signed varint (kind 0), or a length and as many bytes
// (kind 1): a text, or a record in it. A list is its field again and again.
package record

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// ErrDamaged is what a reader says of bytes that are no record: cut, or with fields out of order.
var ErrDamaged = errors.New("the record is damaged")

const (
	kindInt   = 0
	kindBytes = 1
)

// Codec is on its way through one record, writing or reading.
type Codec struct {
	b       []byte // written so far, or not yet read
	reading bool
	bad     bool
	last    uint64 // number of the field that was visited last
	head    uint64 // reading: number*2 + kind of the field at the front of b whose head was taken; 0 = none
	seen    uint64 // reading: number of the last head
}

// Writer returns a Codec that appends to b.
func Writer(b []byte) Codec { return Codec{b: b} }

// Reader returns a Codec that reads b.
func Reader(b []byte) Codec { return Codec{b: b, reading: true} }

// Bytes returns what was written.
func (c *Codec) Bytes() []byte { return c.b }

// Err reads what is behind the last field that was visited, and says whether all of it was a record.
func (c *Codec) Err() error {
	for c.reading && !c.bad && (len(c.b) > 0 || c.head != 0) {
		c.skip()
	}
	if c.bad {
		return ErrDamaged
	}
	return nil
}

// Reading reports the direction, for those that have to gather what they write or to spread what was read.
func (c *Codec) Reading() bool { return c.reading }

// Int visits a number of any size and sign.
func Int[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64](c *Codec, n int, v *T) {
	if !c.reading {
		if c.visit(n); *v != 0 {
			c.putInt(n, int64(*v))
		}
		return
	}
	if c.find(n, kindInt) {
		*v = T(c.int())
	}
}

// Bool visits a truth value.
func (c *Codec) Bool(n int, v *bool) {
	var i uint8
	if *v {
		i = 1
	}
	Int(c, n, &i)
	*v = i != 0
}

// Text visits a string.
func (c *Codec) Text(n int, v *string) {
	if !c.reading {
		if c.visit(n); *v != "" {
			c.putLength(n, len(*v))
			c.b = append(c.b, *v...)
		}
		return
	}
	if c.find(n, kindBytes) {
		*v = string(c.bytes())
	}
}

// Raw visits bytes.
func (c *Codec) Raw(n int, v *[]byte) {
	if !c.reading {
		if c.visit(n); len(*v) > 0 {
			c.putLength(n, len(*v))
			c.b = append(c.b, *v...)
		}
		return
	}
	if c.find(n, kindBytes) {
		*v = bytes.Clone(c.bytes())
	}
}

// Ints visits a list of numbers, of which zeros count too.
func Ints[T ~int | ~int64 | ~uint8 | ~uint64](c *Codec, n int, list *[]T) {
	if !c.reading {
		c.visit(n)
		for _, v := range *list {
			c.putInt(n, int64(v))
		}
		return
	}
	for c.find(n, kindInt) {
		*list = append(*list, T(c.int()))
	}
}

// Texts visits a list of strings, of which empty ones count too.
func (c *Codec) Texts(n int, list *[]string) {
	if !c.reading {
		c.visit(n)
		for _, v := range *list {
			c.putLength(n, len(v))
			c.b = append(c.b, v...)
		}
		return
	}
	for c.find(n, kindBytes) {
		*list = append(*list, string(c.bytes()))
	}
}

// Sub visits a record in the record; an empty one is left out.
func Sub[T any](c *Codec, n int, v *T, fields func(*Codec, *T)) {
	if !c.reading {
		c.visit(n)
		start, body := c.open(n)
		fields(c, v)
		c.shut(n, start, body, false)
		return
	}
	if c.find(n, kindBytes) {
		outer := c.enter()
		fields(c, v)
		c.leave(outer)
	}
}

// Optional is Sub for one that may not be there at all; an empty one counts as there.
func Optional[T any](c *Codec, n int, v **T, fields func(*Codec, *T)) {
	if !c.reading {
		if c.visit(n); *v != nil {
			start, body := c.open(n)
			fields(c, *v)
			c.shut(n, start, body, true)
		}
		return
	}
	if c.find(n, kindBytes) {
		*v = new(T)
		outer := c.enter()
		fields(c, *v)
		c.leave(outer)
	}
}

// List visits a list of records, of which empty ones count too.
func List[T any](c *Codec, n int, list *[]T, fields func(*Codec, *T)) {
	if !c.reading {
		c.visit(n)
		for i := range *list {
			start, body := c.open(n)
			fields(c, &(*list)[i])
			c.shut(n, start, body, true)
		}
		return
	}
	for c.find(n, kindBytes) {
		var none T
		*list = append(*list, none)
		outer := c.enter()
		fields(c, &(*list)[len(*list)-1])
		c.leave(outer)
	}
}

// visit holds the order of numbers, on which reading depends.
func (c *Codec) visit(n int) {
	if uint64(n) <= c.last {
		panic("record: fields are visited in the order of their numbers")
	}
	c.last = uint64(n)
}

func (c *Codec) putInt(n int, v int64) {
	c.b = binary.AppendUvarint(c.b, uint64(n)<<1|kindInt)
	c.b = binary.AppendVarint(c.b, v)
}

func (c *Codec) putLength(n, length int) {
	c.b = binary.AppendUvarint(c.b, uint64(n)<<1|kindBytes)
	c.b = binary.AppendUvarint(c.b, uint64(length))
}

// open begins a record in the record, behind room for a length of one byte. shut takes what it returns.
func (c *Codec) open(n int) (start, body int) {
	start = len(c.b)
	c.putLength(n, 0)
	c.last = 0
	return start, len(c.b)
}

// shut writes the length, and makes more room when that takes more than a byte. An empty record is left out unless it is
// one that counts.
func (c *Codec) shut(n, start, body int, empty bool) {
	c.last = uint64(n)
	switch length := len(c.b) - body; {
	case length == 0 && !empty:
		c.b = c.b[:start]
	case length < 0x80:
		c.b[body-1] = byte(length)
	default:
		text := string(c.b[body:])
		c.b = binary.AppendUvarint(c.b[:body-1], uint64(length))
		c.b = append(c.b, text...)
	}
}

// enter goes on with the record in the record that find has found, until leave.
func (c *Codec) enter() (outer Codec) {
	inner := c.bytes()
	outer = *c
	c.b, c.head, c.seen = inner, 0, 0
	return outer
}

func (c *Codec) leave(outer Codec) {
	outer.bad = outer.bad || c.Err() != nil
	*c = outer
}

// find goes to the next field with this number, past those with lower ones. One of another kind is as good as unknown.
func (c *Codec) find(n int, kind uint64) bool {
	for c.takeHead() && c.head>>1 <= uint64(n) {
		if c.head == uint64(n)<<1|kind {
			c.head = 0
			return true
		}
		c.skip()
	}
	return false
}

// takeHead takes the head of the next field, if that was not done.
func (c *Codec) takeHead() bool {
	if c.bad || c.head != 0 {
		return !c.bad
	}
	if len(c.b) == 0 {
		return false
	}
	head, size := binary.Uvarint(c.b)
	if size <= 0 || head>>1 == 0 || head>>1 < c.seen {
		c.bad = true
		return false
	}
	c.head, c.seen, c.b = head, head>>1, c.b[size:]
	return true
}

// skip passes the next field.
func (c *Codec) skip() {
	if !c.takeHead() {
		return
	}
	kind := c.head & 1
	c.head = 0
	if kind == kindInt {
		c.int()
	} else {
		c.bytes()
	}
}

func (c *Codec) int() int64 {
	v, size := binary.Varint(c.b)
	if size <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[size:]
	return v
}

// bytes are valid as long as what is read.
func (c *Codec) bytes() []byte {
	n, size := binary.Uvarint(c.b)
	if size <= 0 || n > uint64(len(c.b)-size) {
		c.bad = true
		return nil
	}
	v := c.b[size : size+int(n)]
	c.b = c.b[size+int(n):]
	return v
}
