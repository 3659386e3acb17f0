package journal

import (
	"encoding/binary"

	"github.com/zinit/zinit/supervisor/machine"
)

// Version 1, which 0.4.0 writes and reads: varints and strings, of which the order counts.

// encoder appends varints and strings.
type encoder struct{ b []byte }

func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// bits packs booleans, first one lowest.
func (e *encoder) bits(vs ...bool) {
	var n uint64
	for i, v := range vs {
		if v {
			n |= 1 << i
		}
	}
	e.uint(n)
}

// decoder reads them back. At the end everything is zero: a value written by an older release is shorter. bad is set by
// what cannot be: a varint or a string that is cut.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) int() int64 {
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

func (d *decoder) uint() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) bits(vs ...*bool) {
	n := d.uint()
	for i, v := range vs {
		*v = n&(1<<i) != 0
	}
}

// record writes all of a record but its name. The order of the fields is part of the format: only append.
func (e *encoder) record(r *machine.Record) {
	e.bits(r.Gone, r.WantedUp, r.HeldDown, r.Due, r.ResultOK, r.LastExit.Valid, r.LastExit.Status.Core,
		r.LastExit.Status.OOM, r.LastExit.Status.Unknown)
	e.uint(uint64(r.State))
	e.uint(uint64(r.Gen))
	e.int(int64(r.PID))
	e.uint(uint64(r.Phase))
	e.reason(&r.Result)
	e.reason(&r.Reason)
	for _, t := range []machine.Time{r.Since, r.ReadyAt, r.SpawnedAt, r.StopAt, r.NextRestart, r.LastExit.At} {
		e.int(int64(t))
	}
	e.int(int64(r.Restarts))
	e.int(r.Backoff)
	e.int(int64(r.LastExit.Status.Code))
	e.int(int64(r.LastExit.Status.Signal))
	e.uint(uint64(r.Flags))
	e.uint(uint64(len(r.Extra)))
	for _, v := range r.Extra {
		e.int(v)
	}
	e.text(r.LastProbe)
	e.conflict(r.Conflict)
}

func (d *decoder) record(r *machine.Record) {
	d.bits(&r.Gone, &r.WantedUp, &r.HeldDown, &r.Due, &r.ResultOK, &r.LastExit.Valid, &r.LastExit.Status.Core,
		&r.LastExit.Status.OOM, &r.LastExit.Status.Unknown)
	r.State = machine.State(d.uint())
	r.Gen = machine.Gen(d.uint())
	r.PID = int(d.int())
	r.Phase = uint8(d.uint())
	d.reason(&r.Result)
	d.reason(&r.Reason)
	for _, t := range []*machine.Time{&r.Since, &r.ReadyAt, &r.SpawnedAt, &r.StopAt, &r.NextRestart, &r.LastExit.At} {
		*t = machine.Time(d.int())
	}
	r.Restarts = int(d.int())
	r.Backoff = d.int()
	r.LastExit.Status.Code = int32(d.int())
	r.LastExit.Status.Signal = int32(d.int())
	r.Flags = uint32(d.uint())
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return
	}
	for range n {
		r.Extra = append(r.Extra, d.int())
	}
	r.LastProbe = d.text()
	r.Conflict = d.conflict()
}

// conflict writes a bit that tells whether there is one.
func (e *encoder) conflict(c *machine.Conflict) {
	e.bits(c != nil)
	if c == nil {
		return
	}
	e.int(int64(c.Port))
	e.int(int64(c.PID))
	e.text(c.Filter)
	e.text(c.Process)
	e.text(c.Service)
}

func (d *decoder) conflict() *machine.Conflict {
	var there bool
	if d.bits(&there); !there {
		return nil
	}
	c := &machine.Conflict{Port: int(d.int()), PID: int(d.int())}
	c.Filter, c.Process, c.Service = d.text(), d.text(), d.text()
	return c
}

// reason writes one zero byte for no reason at all, the usual case.
func (e *encoder) reason(r *machine.Reason) {
	if *r == (machine.Reason{}) {
		e.uint(0)
		return
	}
	e.uint(uint64(r.Type) + 1)
	e.int(int64(r.Code))
	e.int(int64(r.Signal))
	e.int(int64(r.Attempts))
	e.text(r.Service)
	e.text(r.Kind)
	e.text(r.Detail)
}

func (d *decoder) reason(r *machine.Reason) {
	n := d.uint()
	if n == 0 {
		return
	}
	r.Type = machine.ReasonType(n - 1)
	r.Code, r.Signal, r.Attempts = int32(d.int()), int32(d.int()), int32(d.int())
	r.Service, r.Kind, r.Detail = d.text(), d.text(), d.text()
}

func (e *encoder) globals(g *machine.Globals) {
	e.uint(uint64(g.NextGen))
	e.bits(g.ShuttingDown)
	e.int(int64(g.HaltCode))
}

func (d *decoder) globals(g *machine.Globals) {
	g.NextGen = machine.Gen(d.uint())
	d.bits(&g.ShuttingDown)
	g.HaltCode = int(d.int())
}

func (e *encoder) definition(v *Definition) {
	e.text(string(v.Doc))
	e.text(v.Source)
	e.bits(v.Ephemeral)
}

func (d *decoder) definition(v *Definition) {
	v.Doc, v.Source = []byte(d.text()), d.text()
	d.bits(&v.Ephemeral)
}
