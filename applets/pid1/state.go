package pid1

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/internal/anon"
	"github.com/zinit/zinit/internal/record"
	"github.com/zinit/zinit/supervisor/keeper"
)

// The state that one image of process 1 leaves to the next is a file without a name: first what 0.4.0 reads, which ignores
// what is behind it, then the same and more as a record (package record), its length and a sign. So each reads the other's.

const (
	stateLimit = 64 << 20   // bytes
	stateSign  = 0x3254535a // "ZST2"
	signSize   = 8          // the length of the record and the sign
)

// saveState writes everything into a new file.
func (s *shim) saveState() (int, error) {
	fd, err := anon.File("zinit-pid1-state")
	if err != nil {
		return -1, err
	}
	for b := s.stateBytes(); len(b) > 0; {
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

func (s *shim) stateBytes() []byte {
	b := s.encodeFirst()
	start := len(b)
	c := record.Writer(b)
	s.page = early.Page()
	s.fields(&c)
	b = c.Bytes()
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)-start))
	return binary.LittleEndian.AppendUint32(b, stateSign)
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
	s, ok := parseState(b)
	if ok {
		s.timers[timerReexec] = 0
	}
	return s, ok
}

func parseState(b []byte) (*shim, bool) {
	end := len(b) - signSize
	if end < 0 || binary.LittleEndian.Uint32(b[end+4:]) != stateSign {
		return decodeFirst(b)
	}
	n := int(binary.LittleEndian.Uint32(b[end:]))
	if n > end {
		return nil, false
	}
	s := newShim()
	s.server, s.upgrade, s.page = server{self: -1}, upgrade{}, 0 // what is zero is not written
	c := record.Reader(b[end-n : end])
	s.fields(&c)
	s.counted, s.page = s.page, 0
	return s, c.Err() == nil
}

// fields describes the state for both directions. A number never changes its meaning.
func (s *shim) fields(c *record.Codec) {
	record.Int(c, 1, &s.mode)
	record.Int(c, 2, &s.opt.shutdownMS)
	c.Texts(3, &s.opt.command)
	c.Texts(4, &s.flags)
	c.Text(5, &s.target)
	c.Bool(6, &s.con.quiet)
	record.Int(c, 7, &s.started)
	c.Text(8, &s.oom)
	record.Int(c, 9, &s.panics)
	timersField(c, 10, &s.timers)
	record.Sub(c, 11, &s.main, mainFields)
	record.Sub(c, 12, &s.shell, shellFields)
	record.Sub(c, 13, &s.server, serverFields)
	record.Sub(c, 14, &s.upgrade, upgradeFields)
	record.Sub(c, 15, &s.stop, stopFields)
	record.Int(c, 16, &s.page)
	record.Int(c, 17, &s.holder)
	record.Int(c, 18, &s.opt.waitMS)
	record.Sub(c, 19, s.store, func(c *record.Codec, store *keeper.Store) { store.Fields(c) })
}

// timersField has the timers by their numbers, which never change their meaning either.
func timersField(c *record.Codec, n int, timers *[nTimers]int64) {
	var list []int64
	if *timers != [nTimers]int64{} {
		list = timers[:]
	}
	record.Ints(c, n, &list)
	copy(timers[:], list)
}

func mainFields(c *record.Codec, m *mainCommand) {
	record.Int(c, 1, &m.pid)
	c.Bool(2, &m.waiting)
	record.Int(c, 3, &m.listen)
}

func shellFields(c *record.Codec, s *shell) {
	record.Int(c, 1, &s.pid)
	c.Bool(2, &s.first)
}

func serverFields(c *record.Codec, v *server) {
	record.Int(c, 1, &v.pid)
	record.Int(c, 2, &v.exe)
	record.Int(c, 3, &v.starts)
	record.Int(c, 4, &v.streak)
	record.Int(c, 5, &v.bye)
	record.Int(c, 6, &v.byeCode)
	record.Int(c, 7, &v.bad)
	record.Int(c, 8, &v.spawnedAt)
	c.Bool(9, &v.settled)
	c.Bool(10, &v.greeted)
	c.Bool(11, &v.ever)
	c.Text(12, &v.path)
	c.Text(13, &v.crash)
	c.Text(14, &v.rollback)
	record.Int(c, 15, &v.self)
	c.Text(16, &v.selfPath)
}

func upgradeFields(c *record.Codec, u *upgrade) {
	record.Int(c, 1, &u.exe)
	record.Int(c, 2, &u.deaths)
	c.Bool(3, &u.greeted)
	c.Bool(4, &u.fresh)
	c.Text(5, &u.path)
}

func stopFields(c *record.Codec, t *stopping) {
	record.Int(c, 1, &t.phase)
	record.Int(c, 2, &t.action)
	record.Int(c, 3, &t.status)
	record.Int(c, 4, &t.longest)
	record.Int(c, 5, &t.until)
	record.Int(c, 6, &t.crashes)
	c.Bool(7, &t.fixed)
	c.Text(8, &t.root)
	c.Texts(9, &t.init)
}
