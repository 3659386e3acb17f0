package journal

import (
	"github.com/zinit/zinit/internal/record"
	"github.com/zinit/zinit/supervisor/machine"
)

// The values of version 2 as records: a number never changes its meaning, and one that is not used any more stays unused.

func recordFields(c *record.Codec, r *machine.Record) {
	record.Int(c, 1, &r.State)
	record.Int(c, 2, &r.Gen)
	record.Int(c, 3, &r.PID)
	record.Int(c, 4, &r.Phase)
	c.Bool(5, &r.WantedUp)
	c.Bool(6, &r.HeldDown)
	c.Bool(7, &r.Due)
	c.Bool(8, &r.Gone)
	c.Bool(9, &r.ResultOK)
	record.Sub(c, 10, &r.Result, reasonFields)
	record.Sub(c, 11, &r.Reason, reasonFields)
	record.Int(c, 12, &r.Since)
	record.Int(c, 13, &r.ReadyAt)
	record.Int(c, 14, &r.SpawnedAt)
	record.Int(c, 15, &r.StopAt)
	record.Int(c, 16, &r.NextRestart)
	record.Int(c, 17, &r.Restarts)
	record.Int(c, 18, &r.Backoff)
	record.Sub(c, 19, &r.LastExit, lastExitFields)
	record.Int(c, 20, &r.Flags)
	record.Ints(c, 21, &r.Extra)
	c.Text(22, &r.LastProbe)
	record.Optional(c, 23, &r.Conflict, conflictFields)
	record.Ints(c, 24, &r.Job)
}

func reasonFields(c *record.Codec, r *machine.Reason) {
	record.Int(c, 1, &r.Type)
	record.Int(c, 2, &r.Code)
	record.Int(c, 3, &r.Signal)
	record.Int(c, 4, &r.Attempts)
	c.Text(5, &r.Service)
	c.Text(6, &r.Kind)
	c.Text(7, &r.Detail)
}

func lastExitFields(c *record.Codec, l *machine.LastExit) {
	c.Bool(1, &l.Valid)
	record.Int(c, 2, &l.Status.Code)
	record.Int(c, 3, &l.Status.Signal)
	c.Bool(4, &l.Status.Core)
	c.Bool(5, &l.Status.OOM)
	c.Bool(6, &l.Status.Unknown)
	record.Int(c, 7, &l.At)
}

func conflictFields(c *record.Codec, v *machine.Conflict) {
	record.Int(c, 1, &v.Port)
	record.Int(c, 2, &v.PID)
	c.Text(3, &v.Filter)
	c.Text(4, &v.Process)
	c.Text(5, &v.Service)
}

func globalsFields(c *record.Codec, g *machine.Globals) {
	record.Int(c, 1, &g.NextGen)
	c.Bool(2, &g.ShuttingDown)
	record.Int(c, 3, &g.HaltCode)
}

// definitionFields is the value of a Definition; its name is the key.
func definitionFields(c *record.Codec, d *Definition) {
	c.Raw(1, &d.Doc)
	c.Text(2, &d.Source)
	c.Bool(3, &d.Ephemeral)
}

// value appends a value in the version of this journal.
func value[T any](j *Journal, v *T, fields func(*record.Codec, *T), first func(*encoder, *T)) {
	if j.slot.version == FirstVersion {
		first(&j.enc, v)
		return
	}
	j.writer = record.Writer(j.enc.b)
	fields(&j.writer, v)
	j.enc.b = j.writer.Bytes()
}

// parse reads one.
func parse[T any](j *Journal, b []byte, v *T, fields func(*record.Codec, *T), first func(*decoder, *T)) error {
	if j.slot.version == FirstVersion {
		d := decoder{b: b}
		if first(&d, v); d.bad {
			return ErrDamaged
		}
		return nil
	}
	c := record.Reader(b)
	fields(&c, v)
	if c.Err() != nil {
		return ErrDamaged
	}
	return nil
}
