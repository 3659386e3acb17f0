package keeper

import (
	"encoding/binary"
	"maps"
	"slices"
)

// The state as 0.4.0 writes and reads it. It is written beside the present one, and read where that is missing, for one
// version.

// Encoder and Decoder carry the state of pid1 over a re-execution of itself: varints and strings in a fixed order, where
// what is missing at the end reads as zero.
type Encoder struct{ b []byte }

// Bytes returns what was encoded.
func (e *Encoder) Bytes() []byte { return e.b }

// Int appends a number.
func (e *Encoder) Int(v int64) { e.b = binary.AppendVarint(e.b, v) }

// Bool appends a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Int(1)
	} else {
		e.Int(0)
	}
}

// Text appends a string.
func (e *Encoder) Text(s string) {
	e.Int(int64(len(s)))
	e.b = append(e.b, s...)
}

// Texts appends a list of strings.
func (e *Encoder) Texts(list []string) {
	e.Int(int64(len(list)))
	for _, s := range list {
		e.Text(s)
	}
}

// Decoder reads what Encoder wrote.
type Decoder struct {
	b   []byte
	bad bool
}

// NewDecoder returns a Decoder of b.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

// Bad reports whether something was cut or impossible.
func (d *Decoder) Bad() bool { return d.bad }

// Int reads a number.
func (d *Decoder) Int() int64 {
	if len(d.b) == 0 {
		return 0
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// Bool reads a truth value.
func (d *Decoder) Bool() bool { return d.Int() != 0 }

// Text reads a string.
func (d *Decoder) Text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// Texts reads a list of strings.
func (d *Decoder) Texts() []string {
	var list []string
	for range d.count() {
		list = append(list, d.Text())
	}
	return list
}

// count reads a length, which can be no more than the bytes that are left.
func (d *Decoder) count() int {
	n := d.Int()
	if n < 0 || n > int64(len(d.b)) {
		d.b, d.bad = nil, true
		return 0
	}
	return int(n)
}

// Encode writes the whole store, also what is still to be sent. The descriptors are written as numbers.
func (s *Store) Encode(e *Encoder) {
	e.Int(int64(s.conn))
	e.Bool(s.hello)
	for _, n := range []uint64{s.seq, s.sent, uint64(s.lost), uint64(s.bad)} {
		e.Int(int64(n))
	}
	e.Int(int64(len(s.files)))
	for _, f := range s.files {
		e.Text(f.Name)
		e.Text(f.Path)
		e.Int(int64(f.FD))
	}
	e.Int(int64(len(s.pipes)))
	for key, p := range s.pipes {
		e.Int(int64(key.gen))
		e.Int(int64(key.stream))
		e.Int(int64(p.fd))
		e.Text(p.service)
	}
	e.Int(int64(len(s.tracked)))
	for pid, gen := range s.tracked {
		e.Int(int64(pid))
		e.Int(int64(gen))
	}
	e.exits(slices.Collect(maps.Values(s.exits)))
	e.exits(s.unknown)
	e.Int(int64(len(s.orders)))
	for _, o := range s.orders {
		e.Int(int64(o))
	}
	s.encodeQueue(e)
}

func (e *Encoder) exits(list []Exit) {
	e.Int(int64(len(list)))
	for _, x := range list {
		for _, n := range []int64{int64(x.PID), int64(x.Start), int64(x.Gen), int64(x.Code), int64(x.Signal), int64(x.seq), int64(x.Tag), x.At} {
			e.Int(n)
		}
		e.Bool(x.Core)
	}
}

func (d *Decoder) exits() (list []Exit) {
	for range d.count() {
		x := Exit{PID: int(d.Int()), Start: uint64(d.Int()), Gen: uint64(d.Int()), Code: int32(d.Int()),
			Signal: int32(d.Int()), seq: uint64(d.Int()), Tag: uint64(d.Int()), At: d.Int()}
		x.Core = d.Bool()
		list = append(list, x)
	}
	return list
}

// encodeQueue writes the messages that are still to be sent.
func (s *Store) encodeQueue(e *Encoder) {
	e.Int(int64(len(s.out)))
	for _, o := range s.out {
		body := ""
		if o.frame != nil {
			body = string(o.frame.body)
		}
		e.Text(body)
		e.Int(int64(o.fd))
		e.Int(int64(len(o.keys)))
		for _, key := range o.keys {
			e.Int(int64(key.gen))
			e.Int(int64(key.stream))
		}
	}
}

// Decode reads what Encode wrote into an empty store.
func (s *Store) Decode(d *Decoder) {
	s.conn = int(d.Int())
	s.hello = d.Bool()
	s.seq, s.sent, s.lost, s.bad = uint64(d.Int()), uint64(d.Int()), int(d.Int()), int(d.Int())
	for range d.count() {
		s.files = append(s.files, File{Name: d.Text(), Path: d.Text(), FD: int(d.Int())})
	}
	for range d.count() {
		key := pipeKey{uint64(d.Int()), uint8(d.Int())}
		s.pipes[key] = heldPipe{fd: int(d.Int()), service: d.Text()}
	}
	for range d.count() {
		pid := int(d.Int())
		s.tracked[pid] = uint64(d.Int())
	}
	for _, e := range d.exits() {
		s.exits[e.seq] = e
	}
	s.unknown = d.exits()
	for range d.count() {
		s.orders = append(s.orders, Order(d.Int()))
	}
	for range d.count() {
		s.out = append(s.out, d.outgoing())
	}
}

func (d *Decoder) outgoing() outgoing {
	var o outgoing
	if body := d.Text(); body != "" {
		o.frame = &frame{body: []byte(body)}
	}
	o.fd = int(d.Int())
	for range d.count() {
		o.keys = append(o.keys, pipeKey{uint64(d.Int()), uint8(d.Int())})
	}
	return o
}
