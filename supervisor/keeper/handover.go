package keeper

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// outgoing is one step of what is to be sent: a whole message, or a range of the pipes to hand over, whose descriptors
// are looked up when it is sent, since the server may drop some meanwhile.
type outgoing struct {
	frame *frame
	fd    int // -1 = none
	keys  []pipeKey
}

// handOver queues everything for a server that said hello.
func (s *Store) handOver(nonce uint64) {
	s.hello, s.out = true, nil
	if s.about.Order != 0 {
		// The handover itself carries the stop that is under way.
		s.orders = slices.DeleteFunc(s.orders, func(o Order) bool { return o <= OrderHalt })
	}
	s.queue(s.begin(nonce), -1)
	for which, text := range s.texts() {
		f := newFrame(kText, 1)
		f.put32(uint32(which))
		f.putText(text)
		s.queue(f, -1)
	}
	for _, file := range s.files {
		f := newFrame(kFiles, 1)
		f.putText(file.Name)
		f.putText(file.Path)
		s.queue(f, file.FD)
	}
	keys := slices.SortedFunc(maps.Keys(s.pipes), func(a, b pipeKey) int {
		return cmp.Or(cmp.Compare(a.gen, b.gen), cmp.Compare(a.stream, b.stream))
	})
	for part := range slices.Chunk(keys, maxEntries) {
		s.out = append(s.out, outgoing{keys: part, fd: -1})
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(s.tracked)), maxEntries) {
		f := newFrame(kTracked, len(part))
		for _, pid := range part {
			f.put64(uint64(pid))
			f.put64(s.tracked[pid])
		}
		s.queue(f, -1)
	}
	s.sent = 0
	s.queueExits()
	end := newFrame(kEnd, 0)
	end.put64(nonce)
	s.queue(end, -1)
}

func (s *Store) begin(nonce uint64) *frame {
	f := newFrame(kBegin, 1)
	f.put64(nonce)
	f.put32(uint32(s.about.Mode))
	f.put32(uint32(unix.Getpid()))
	f.put32(uint32(s.about.Starts))
	f.put32(uint32(s.about.Order))
	f.put64(uint64(s.about.StartedAt))
	f.put64(uint64(s.about.SpawnedAt))
	f.put32(uint32(s.lost))
	upgraded := uint32(0)
	if s.about.UpgradeDone {
		upgraded = 1
	}
	f.put32(upgraded)
	return f
}

// The texts of a handover, by their number on the wire.
const (
	textTarget = iota
	textCrash
	textRollback
	textExecutable
)

func (s *Store) texts() []string {
	return []string{textTarget: s.about.Target, textCrash: s.about.LastCrash, textRollback: s.about.RolledBack,
		textExecutable: s.about.Executable}
}

func (s *Store) queue(f *frame, fd int) { s.out = append(s.out, outgoing{frame: f, fd: fd}) }

// queueExits queues every exit that this server has not been told, oldest first.
func (s *Store) queueExits() {
	var news []Exit
	for seq, e := range s.exits {
		if seq > s.sent {
			news = append(news, e)
		}
	}
	for _, e := range s.unknown {
		if e.seq > s.sent {
			news = append(news, e)
		}
	}
	slices.SortFunc(news, func(a, b Exit) int { return cmp.Compare(a.seq, b.seq) })
	for part := range slices.Chunk(news, maxEntries) {
		f := newFrame(kExits, len(part))
		for i := range part {
			f.putExit(&part[i])
		}
		s.queue(f, -1)
	}
	s.sent = s.seq
}

// Write sends what is due. blocked says that the server does not read at present: call again when FD can be written.
func (s *Store) Write() (blocked bool, err error) {
	if s.conn < 0 || !s.hello {
		return false, nil
	}
	for {
		if len(s.out) == 0 {
			s.queueNews()
		}
		if len(s.out) == 0 {
			return false, nil
		}
		switch err := s.sendOne(&s.out[0]); err {
		case nil:
			s.out = s.out[1:]
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS:
			return true, nil
		default:
			return false, err
		}
	}
}

// queueNews turns new exits and orders into messages once everything before has been sent, so that the queue is bounded.
func (s *Store) queueNews() {
	s.out = nil
	if s.sent < s.seq {
		s.queueExits()
	}
	for _, o := range s.orders {
		f := newFrame(kOrder, 1)
		f.put32(uint32(o))
		s.queue(f, -1)
	}
	s.orders = s.orders[:0]
}

func (s *Store) sendOne(o *outgoing) error {
	if o.frame != nil {
		if o.fd >= 0 {
			return send(s.conn, o.frame, []int{o.fd}, unix.MSG_DONTWAIT)
		}
		return send(s.conn, o.frame, nil, unix.MSG_DONTWAIT)
	}
	var pipes []Pipe
	for _, key := range o.keys {
		if held, ok := s.pipes[key]; ok {
			pipes = append(pipes, Pipe{Service: held.service, Gen: key.gen, Stream: key.stream, FD: held.fd})
		}
	}
	if len(pipes) == 0 {
		return nil
	}
	f, fds := pipeFrame(kPipeSet, pipes)
	return send(s.conn, f, fds, unix.MSG_DONTWAIT)
}

// pipeFrame builds a message of at most maxEntries pipes.
func pipeFrame(k kind, pipes []Pipe) (*frame, []int) {
	f := newFrame(k, len(pipes))
	fds := make([]int, len(pipes))
	for i := range pipes {
		f.putPipe(&pipes[i])
		fds[i] = pipes[i].FD
	}
	return f, fds
}
