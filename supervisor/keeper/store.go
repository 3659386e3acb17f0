package keeper

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Store is the keeper's side: what is held, and the connection to the present server. It is used from one goroutine and
// never blocks. The zero value is not usable, see NewStore.
type Store struct {
	files   []File
	pipes   map[pipeKey]heldPipe
	tracked map[int]uint64 // pid -> gen

	exits   map[uint64]Exit // of tracked processes, by seq, until acknowledged
	unknown []Exit          // of others, oldest first
	seq     uint64          // of the last exit
	lost    int             // what a limit refused
	room    int             // descriptors that may be held, so that the keeper always has some left to start a server
	bad     int             // malformed messages

	conn   int // -1 = no server
	hello  bool
	in     mailbox
	out    []outgoing // what is still to be sent, in order; bounded: the handover, then live words
	orders []Order    // not sent yet
	sent   uint64     // exits up to this seq have been sent to the present server
	about  About
}

type pipeKey struct {
	gen    uint64
	stream uint8
}

type heldPipe struct {
	fd      int
	service string
}

// About is what a handover tells beside what is held.
type About struct {
	Mode        Mode
	Starts      int
	Order       Order
	StartedAt   int64
	SpawnedAt   int64
	Target      string
	LastCrash   string
	RolledBack  string
	Executable  string
	UpgradeDone bool
}

// Notice is one word of the server that the store leaves to pid1.
type Notice struct {
	Kind   NoticeKind
	Reason Reason // NoticeBye
	Code   int    // NoticeBye
	Budget int64  // NoticeBudget, nanoseconds >= 0
	Text   string // NoticeUpgrade: path; NoticeEmergency: the reason
	Name   string // NoticeEmergency: the service, "" = none
	FD     int    // NoticeUpgrade: the new executable, the caller's now, -1 = it is taken back; else -1
}

// NoticeKind says what a Notice is about.
type NoticeKind uint8

// The notices.
const (
	NoticeNone NoticeKind = iota
	NoticeHello
	NoticeSettled
	NoticeBye
	NoticeBudget
	NoticeUpgrade
	NoticeEmergency
	NoticeBooted
	NoticeBad // a malformed message
)

// NewStore returns an empty store without a connection.
func NewStore() *Store {
	return &Store{pipes: map[pipeKey]heldPipe{}, tracked: map[int]uint64{}, exits: map[uint64]Exit{}, conn: -1, room: room()}
}

// ownDescriptors is how many descriptors of the process are not for the store: the keeper's own, those of a server that is
// being started, and those of the message that is being read.
const ownDescriptors = 64 + maxEntries

// room is how many descriptors this process may hold for its server.
func room() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > MaxPipes+MaxFiles+ownDescriptors {
		return MaxPipes + MaxFiles
	}
	return max(int(limit.Cur)-ownDescriptors, int(limit.Cur)/2)
}

// pipeRoom leaves room for the named ones, without which the pipes are worth nothing.
func (s *Store) pipeRoom() int { return min(MaxPipes, max(s.room-MaxFiles, s.room/2)) }

// full reports whether there is no room for another named descriptor.
func (s *Store) full() bool {
	return len(s.files) >= MaxFiles || len(s.files)+len(s.pipes) >= s.room
}

// Attach makes fd (from Pair) the connection to a new server, after closing the one before. What was said and not
// acknowledged is said again.
func (s *Store) Attach(fd int) {
	s.Detach()
	s.conn = fd
}

// Detach closes the connection, if there is one.
func (s *Store) Detach() {
	if s.conn >= 0 {
		_ = unix.Close(s.conn)
	}
	s.conn, s.hello, s.out, s.sent = -1, false, nil, 0
}

// FD returns the descriptor to poll for reading, -1 without a server.
func (s *Store) FD() int { return s.conn }

// Greeted reports whether the present server has said hello.
func (s *Store) Greeted() bool { return s.hello }

// About sets what the next handover tells.
func (s *Store) About(a About) { s.about = a }

// Len returns how many pipes are held and processes tracked.
func (s *Store) Len() (pipes, tracked int) { return len(s.pipes), len(s.tracked) }

// SocketPath is the path of the control socket that the server has stored, "" before it has.
func (s *Store) SocketPath() string {
	for _, f := range s.files {
		if f.Name == fileListener {
			return f.Path
		}
	}
	return ""
}

// Tracked reports whether pid is one of the server's.
func (s *Store) Tracked(pid int) bool {
	_, ok := s.tracked[pid]
	return ok
}

// Read takes one message from the server. ok is false when there is none; ErrGone says that the server has closed its
// end. A message that is malformed or of an unknown type changes nothing.
func (s *Store) Read() (n Notice, ok bool, err error) {
	if s.conn < 0 {
		return Notice{}, false, ErrGone
	}
	f, fds, err := s.in.receive(s.conn, unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		return Notice{}, false, nil
	case err == errFrame:
		closeAll(fds)
		s.bad++
		return Notice{Kind: NoticeBad, FD: -1}, true, nil
	case err != nil:
		closeAll(fds)
		return Notice{}, false, ErrGone
	}
	return s.apply(f, fds), true, nil
}

// apply carries out one message. Descriptors that it does not keep are closed.
func (s *Store) apply(f *frame, fds []int) Notice {
	n := Notice{FD: -1}
	switch f.kind {
	case kHello:
		nonce := f.get64()
		if !f.bad {
			s.handOver(nonce)
			n.Kind = NoticeHello
		}
	case kFile:
		fds = s.keepFile(f, fds)
	case kPipes:
		fds = s.keepPipes(f, fds)
	case kUpgrade:
		n.Kind, n.Text = NoticeUpgrade, f.getText()
		if !f.bad && len(fds) > 0 {
			n.FD, fds = fds[0], fds[1:]
		}
	default:
		n = s.applyPlain(f)
	}
	closeAll(fds)
	if f.bad {
		s.bad++
		n.Kind = NoticeBad
	}
	return n
}

// applyPlain carries out a message without descriptors.
func (s *Store) applyPlain(f *frame) Notice {
	n := Notice{FD: -1}
	switch f.kind {
	case kDropPipe:
		for range f.count {
			s.dropPipe(pipeKey{f.get64(), uint8(f.get64())}, f.bad)
		}
	case kTrack:
		for range f.count {
			s.track(int(f.get64()), f.get64(), f.bad)
		}
	case kUntrack:
		for range f.count {
			delete(s.tracked, int(f.get64()))
		}
	case kAck:
		for range f.count {
			s.acknowledge(f.getExit(), f.bad)
		}
	case kBye:
		n.Kind, n.Reason, n.Code = NoticeBye, Reason(f.get32()), int(int32(f.get32()))
		if n.Reason == ByeNone || n.Reason >= nReasons || n.Code < 0 || n.Code > maxExitCode {
			f.bad = true
		}
	case kBudget:
		if n.Kind, n.Budget = NoticeBudget, int64(f.get64()); n.Budget < 0 {
			f.bad = true
		}
	case kEmergency:
		n.Kind, n.Name, n.Text = NoticeEmergency, f.getText(), f.getText()
	case kSettled:
		n.Kind = NoticeSettled
	case kBooted:
		n.Kind = NoticeBooted
	}
	return n
}

// keepFile stores, replaces or drops a named descriptor and returns those it did not keep.
func (s *Store) keepFile(f *frame, fds []int) []int {
	name, path := f.getText(), f.getText()
	if f.bad || name == "" || len(name) > MaxName {
		f.bad = true
		return fds
	}
	at := slices.IndexFunc(s.files, func(h File) bool { return h.Name == name })
	if at >= 0 {
		fd := s.files[at].FD
		s.out = slices.DeleteFunc(s.out, func(o outgoing) bool { return o.fd == fd }) // its number will be another's
		_ = unix.Close(fd)
		s.files = slices.Delete(s.files, at, at+1)
	}
	if len(fds) == 0 {
		return nil
	}
	if s.full() {
		s.lost++
		return fds
	}
	s.files = append(s.files, File{Name: name, Path: path, FD: fds[0]})
	return fds[1:]
}

// keepPipes stores log pipes; of two with one key the later stays. It returns the descriptors it did not keep. When the
// process is out of descriptors the kernel delivers fewer than were sent: the first ones.
func (s *Store) keepPipes(f *frame, fds []int) []int {
	for i := range f.count {
		p := f.getPipe()
		if f.bad {
			return fds
		}
		key := pipeKey{p.Gen, p.Stream}
		if i < len(fds) {
			s.dropPipe(key, false)
		}
		if i >= len(fds) || len(s.pipes) >= s.pipeRoom() || len(s.files)+len(s.pipes) >= s.room {
			s.lost++
			continue
		}
		s.pipes[key] = heldPipe{fd: fds[i], service: p.Service}
		fds[i] = -1
	}
	return fds
}

func (s *Store) dropPipe(key pipeKey, bad bool) {
	if p, ok := s.pipes[key]; ok && !bad {
		_ = unix.Close(p.fd)
		delete(s.pipes, key)
	}
}

func (s *Store) track(pid int, gen uint64, bad bool) {
	if bad || pid <= 1 {
		return
	}
	if len(s.tracked)+len(s.exits) >= MaxTracked {
		s.lost++
		return
	}
	s.tracked[pid] = gen
}

// acknowledge forgets the exit e. Its pid may be tracked again by now: only Untrack and the exit end that.
func (s *Store) acknowledge(e Exit, bad bool) {
	if bad {
		return
	}
	if e.seq != 0 {
		delete(s.exits, e.seq)
	} else {
		for seq, held := range s.exits {
			if held.PID == e.PID && held.Start == e.Start {
				delete(s.exits, seq)
			}
		}
	}
	s.unknown = slices.DeleteFunc(s.unknown, func(u Exit) bool {
		return u.PID == e.PID && u.Start == e.Start && (e.seq == 0 || u.seq == e.seq)
	})
}

// Exited records that the keeper reaped a process. Call Write afterwards.
func (s *Store) Exited(e Exit) {
	s.seq++
	e.seq = s.seq
	gen, ok := s.tracked[e.PID]
	if ok {
		e.Gen = gen
		delete(s.tracked, e.PID)
		s.exits[e.seq] = e
		return
	}
	e.Gen = 0
	if len(s.unknown) >= MaxUnknown {
		s.unknown = slices.Delete(s.unknown, 0, MaxUnknown/8)
	}
	s.unknown = append(s.unknown, e)
}

// Ask sends an order to the server, as soon as it has said hello. Orders of one kind that were not sent yet are one. Call
// Write afterwards.
func (s *Store) Ask(o Order) {
	if !slices.Contains(s.orders, o) {
		s.orders = append(s.orders, o)
	}
}
