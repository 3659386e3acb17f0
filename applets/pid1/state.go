package pid1

import (
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/keeper"
)

// stateVersion is raised when the meaning of the state changes. A reader takes missing fields at the end as zero and
// ignores more.
const stateVersion = 1

// savedTimers are those that stand in one row, as they did in the first version; later ones stand at the end.
const savedTimers = timerTrim + 1

const stateLimit = 64 << 20

// saveState writes everything into a new memfd.
func (s *shim) saveState() (int, error) {
	var e keeper.Encoder
	e.Int(stateVersion)
	s.encode(&e)
	s.store.Encode(&e)
	fd, err := unix.MemfdCreate("zinit-pid1-state", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	for b := e.Bytes(); len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			closeFD(fd)
			return -1, err
		}
		b = b[n:]
	}
	return fd, nil
}

// loadState reads it back, without touching any of the descriptors it names.
func loadState(fd int) (*shim, bool) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size <= 0 || st.Size > stateLimit {
		return nil, false
	}
	b := make([]byte, st.Size)
	if n, err := unix.Pread(fd, b, 0); err != nil || n != len(b) {
		return nil, false
	}
	s := newShim()
	d := keeper.NewDecoder(b)
	if d.Int() != stateVersion {
		return nil, false
	}
	s.decode(d)
	s.store.Decode(d)
	return s, !d.Bad()
}

// encode and decode: the order is part of the format.
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
	for _, at := range s.timers[:savedTimers] {
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
	e.Bool(s.main.waiting)
	e.Int(int64(s.main.listen))
	e.Int(s.timers[timerMain])
	e.Int(int64(s.opt.waitMS))
}

func (s *shim) decode(d *keeper.Decoder) {
	s.mode = keeper.Mode(d.Int())
	s.opt.shutdownMS = int(d.Int())
	s.opt.command, s.flags, s.target = d.Texts(), d.Texts(), d.Text()
	s.con.quiet = d.Bool()
	s.started = d.Int()
	s.oom = d.Text()
	s.panics = int(d.Int())
	for t := range savedTimers {
		s.timers[t] = d.Int()
	}
	s.timers[timerReexec] = 0
	s.main.pid = int(d.Int())
	s.shell.pid = int(d.Int())
	s.shell.first = d.Bool()
	s.server.decode(d)
	s.upgrade.decode(d)
	s.stop.decode(d)
	s.counted = int(d.Int())
	s.holder = int(d.Int())
	s.main.waiting, s.main.listen = d.Bool(), int(d.Int())
	s.timers[timerMain] = d.Int()
	s.opt.waitMS = int(d.Int())
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
