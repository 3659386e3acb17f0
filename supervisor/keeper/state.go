package keeper

import (
	"cmp"
	"slices"

	"github.com/zinit/zinit/internal/record"
)

// Descriptors returns every descriptor that the store holds, its connection included.
func (s *Store) Descriptors() []int {
	fds := []int{s.conn}
	for _, f := range s.files {
		fds = append(fds, f.FD)
	}
	for _, p := range s.pipes {
		fds = append(fds, p.fd)
	}
	return fds
}

// stored is the whole store as a record has it.
type stored struct {
	conn      int
	hello     bool
	seq, sent uint64
	lost, bad int
	files     []File
	pipes     []Pipe
	tracked   []tracked
	exits     []Exit
	unknown   []Exit
	orders    []Order
	out       []stillToSend
}

type tracked struct {
	pid int
	gen uint64
}

// stillToSend is outgoing with its message as bytes.
type stillToSend struct {
	body []byte
	fd   int
	keys []Pipe
}

// Fields describes the store for a record: all of it, also what is still to be sent. Descriptors are written as numbers. A
// store that is read must be empty before.
func (s *Store) Fields(c *record.Codec) {
	if !c.Reading() {
		storedFields(c, s.stored())
		return
	}
	var v stored
	storedFields(c, &v)
	s.take(&v)
}

func storedFields(c *record.Codec, v *stored) {
	record.Int(c, 1, &v.conn)
	c.Bool(2, &v.hello)
	record.Int(c, 3, &v.seq)
	record.Int(c, 4, &v.sent)
	record.Int(c, 5, &v.lost)
	record.Int(c, 6, &v.bad)
	record.List(c, 7, &v.files, fileFields)
	record.List(c, 8, &v.pipes, pipeFields)
	record.List(c, 9, &v.tracked, trackedFields)
	record.List(c, 10, &v.exits, exitFields)
	record.List(c, 11, &v.unknown, exitFields)
	record.Ints(c, 12, &v.orders)
	record.List(c, 13, &v.out, outFields)
}

func fileFields(c *record.Codec, f *File) {
	c.Text(1, &f.Name)
	c.Text(2, &f.Path)
	record.Int(c, 3, &f.FD)
}

func pipeFields(c *record.Codec, p *Pipe) {
	record.Int(c, 1, &p.Gen)
	record.Int(c, 2, &p.Stream)
	record.Int(c, 3, &p.FD)
	c.Text(4, &p.Service)
}

func trackedFields(c *record.Codec, t *tracked) {
	record.Int(c, 1, &t.pid)
	record.Int(c, 2, &t.gen)
}

func exitFields(c *record.Codec, e *Exit) {
	record.Int(c, 1, &e.PID)
	record.Int(c, 2, &e.Start)
	record.Int(c, 3, &e.Gen)
	record.Int(c, 4, &e.Code)
	record.Int(c, 5, &e.Signal)
	c.Bool(6, &e.Core)
	record.Int(c, 7, &e.Tag)
	record.Int(c, 8, &e.At)
	record.Int(c, 9, &e.seq)
}

func outFields(c *record.Codec, o *stillToSend) {
	c.Raw(1, &o.body)
	record.Int(c, 2, &o.fd)
	record.List(c, 3, &o.keys, pipeFields)
}

// stored gathers the store, in an order that does not depend on chance.
func (s *Store) stored() *stored {
	v := &stored{conn: s.conn, hello: s.hello, seq: s.seq, sent: s.sent, lost: s.lost, bad: s.bad, files: s.files,
		unknown: s.unknown, orders: s.orders}
	for key, p := range s.pipes {
		v.pipes = append(v.pipes, Pipe{Service: p.service, Gen: key.gen, Stream: key.stream, FD: p.fd})
	}
	slices.SortFunc(v.pipes, func(a, b Pipe) int { return cmp.Or(cmp.Compare(a.Gen, b.Gen), cmp.Compare(a.Stream, b.Stream)) })
	for pid, gen := range s.tracked {
		v.tracked = append(v.tracked, tracked{pid, gen})
	}
	slices.SortFunc(v.tracked, func(a, b tracked) int { return cmp.Compare(a.pid, b.pid) })
	for _, e := range s.exits {
		v.exits = append(v.exits, e)
	}
	slices.SortFunc(v.exits, func(a, b Exit) int { return cmp.Compare(a.seq, b.seq) })
	for _, o := range s.out {
		one := stillToSend{fd: o.fd}
		if o.frame != nil {
			one.body = o.frame.body
		}
		for _, key := range o.keys {
			one.keys = append(one.keys, Pipe{Gen: key.gen, Stream: key.stream})
		}
		v.out = append(v.out, one)
	}
	return v
}

// take is the other direction.
func (s *Store) take(v *stored) {
	s.conn, s.hello, s.seq, s.sent, s.lost, s.bad = v.conn, v.hello, v.seq, v.sent, v.lost, v.bad
	s.files, s.unknown, s.orders, s.out = v.files, v.unknown, v.orders, nil
	for _, p := range v.pipes {
		s.pipes[pipeKey{p.Gen, p.Stream}] = heldPipe{fd: p.FD, service: p.Service}
	}
	for _, t := range v.tracked {
		s.tracked[t.pid] = t.gen
	}
	for _, e := range v.exits {
		s.exits[e.seq] = e
	}
	for _, o := range v.out {
		one := outgoing{fd: o.fd}
		if len(o.body) > 0 {
			one.frame = &frame{body: o.body}
		}
		for _, key := range o.keys {
			one.keys = append(one.keys, pipeKey{key.Gen, key.Stream})
		}
		s.out = append(s.out, one)
	}
}
