package pid1

import (
	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/keeper"
)

// The state as 0.4.0 writes and reads it: the order is the format, so nothing may be added here. A version later this file
// goes.

const firstVersion = 1

// firstTimers are those that 0.4.0 has.
const firstTimers = timerTrim + 1

// encodeFirst writes the state and the store for it; it ignores what comes behind.
func (s *shim) encodeFirst() []byte {
	var e keeper.Encoder
	e.Int(firstVersion)
	s.encode(&e)
	s.store.Encode(&e)
	return e.Bytes()
}

// decodeFirst reads what it wrote.
func decodeFirst(b []byte) (*shim, bool) {
	s, d := newShim(), keeper.NewDecoder(b)
	if d.Int() != firstVersion {
		return nil, false
	}
	s.decode(d)
	s.store.Decode(d)
	return s, !d.Bad()
}

func (s *shim) encode(e *keeper.Encoder) {
	e.Int(int64(s.mode))
	e.Int(int64(s.opt.shutdownMS))
	e.Texts(s.opt.command)
	e.Texts(s.flags)
	e.Text(s.target)
	e.Bool(s.con.quiet)
	e.Int(s.started)
	e.Text(s.oom)
	e.Int(int64(s.panics))
	for _, at := range s.timers[:firstTimers] {
		e.Int(at)
	}
	e.Int(int64(s.main.pid))
	e.Int(int64(s.shell.pid))
	e.Bool(s.shell.first)
	s.server.encode(e)
	s.upgrade.encode(e)
	s.stop.encode(e)
	e.Int(int64(early.Page()))
	e.Int(int64(s.holder))
}

func (s *shim) decode(d *keeper.Decoder) {
	s.mode = keeper.Mode(d.Int())
	s.opt.shutdownMS = int(d.Int())
	s.opt.command, s.flags, s.target = d.Texts(), d.Texts(), d.Text()
	s.con.quiet = d.Bool()
	s.started = d.Int()
	s.oom = d.Text()
	s.panics = int(d.Int())
	for t := range firstTimers {
		s.timers[t] = d.Int()
	}
	s.main.pid = int(d.Int())
	s.shell.pid = int(d.Int())
	s.shell.first = d.Bool()
	s.server.decode(d)
	s.upgrade.decode(d)
	s.stop.decode(d)
	s.counted = int(d.Int())
	s.holder = int(d.Int())
}

func (v *server) encode(e *keeper.Encoder) {
	for _, n := range []int{v.pid, v.exe, v.starts, v.streak, int(v.bye), v.byeCode, v.bad} {
		e.Int(int64(n))
	}
	e.Int(v.spawnedAt)
	for _, b := range []bool{v.settled, v.greeted, v.ever} {
		e.Bool(b)
	}
	for _, t := range []string{v.path, v.crash, v.rollback} {
		e.Text(t)
	}
}

func (v *server) decode(d *keeper.Decoder) {
	bye := 0
	for _, n := range []*int{&v.pid, &v.exe, &v.starts, &v.streak, &bye, &v.byeCode, &v.bad} {
		*n = int(d.Int())
	}
	v.bye = keeper.Reason(bye)
	v.spawnedAt = d.Int()
	for _, b := range []*bool{&v.settled, &v.greeted, &v.ever} {
		*b = d.Bool()
	}
	for _, t := range []*string{&v.path, &v.crash, &v.rollback} {
		*t = d.Text()
	}
}

func (u *upgrade) encode(e *keeper.Encoder) {
	e.Int(int64(u.exe))
	e.Int(int64(u.deaths))
	e.Bool(u.greeted)
	e.Bool(u.fresh)
	e.Text(u.path)
}

func (u *upgrade) decode(d *keeper.Decoder) {
	u.exe, u.deaths = int(d.Int()), int(d.Int())
	u.greeted, u.fresh = d.Bool(), d.Bool()
	u.path = d.Text()
}

func (t *stopping) encode(e *keeper.Encoder) {
	for _, n := range []int64{int64(t.phase), int64(t.action), int64(t.status), t.longest, t.until, int64(t.crashes)} {
		e.Int(n)
	}
	e.Bool(t.fixed)
	e.Text(t.root)
	e.Texts(t.init)
}

func (t *stopping) decode(d *keeper.Decoder) {
	t.phase, t.action, t.status = phase(d.Int()), act(d.Int()), int(d.Int())
	t.longest, t.until, t.crashes = d.Int(), d.Int(), int(d.Int())
	t.fixed = d.Bool()
	t.root, t.init = d.Text(), d.Texts()
}
