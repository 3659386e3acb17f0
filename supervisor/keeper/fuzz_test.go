package keeper

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/record"
)

// frames are valid messages of every kind, as seeds.
func frames() [][]byte {
	var list [][]byte
	add := func(f *frame) { list = append(list, f.body) }
	for k := kHello; k <= kSettled; k++ {
		f := newFrame(k, 1)
		f.put64(7)
		f.put64(9)
		add(f)
	}
	for k := kBegin; k <= kOrder; k++ {
		f := newFrame(k, 2)
		f.putText("listener")
		f.putText("path")
		add(f)
	}
	p, _ := pipeFrame(kPipes, []Pipe{{Service: "a", Gen: 1, Stream: 1}, {Service: "b", Gen: 2, Stream: 2}})
	add(p)
	ack := newFrame(kAck, 1)
	ack.putExit(&Exit{PID: 5, Start: 6, seq: 1})
	add(ack)
	file := newFrame(kFile, 1)
	file.putText("arena")
	file.putText("")
	add(file)
	bye := newFrame(kBye, 1)
	bye.put32(2)
	bye.put32(0)
	add(bye)
	return list
}

// null is what the fuzzers give away: sockets would keep the kernel's own garbage collector busy.
var null, _ = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)

// FuzzStore sends any datagram with any number of descriptors to a store: each is closed or held afterwards, nothing
// panics, and what is held is within bounds.
func FuzzStore(f *testing.F) {
	for _, b := range frames() {
		f.Add(b, uint8(1), b)
		f.Add(b, uint8(3), []byte{})
	}
	f.Fuzz(func(t *testing.T, first []byte, fds uint8, second []byte) {
		before := openDescriptors(t)
		s := NewStore()
		ours, theirs, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		s.Attach(ours)
		s.track(5, 1, false)
		s.Exited(Exit{PID: 5, Start: 6})
		for _, b := range [][]byte{first, second} {
			give := make([]int, fds%8)
			for i := range give {
				give[i] = null
			}
			_ = send(theirs, &frame{body: b}, give, unix.MSG_DONTWAIT)
			if n, _, _ := s.Read(); n.FD >= 0 && n.Kind == NoticeUpgrade {
				closeAll([]int{n.FD})
			}
			_, _ = s.Write()
		}
		again(t, s)
		held := s.Descriptors()
		closeAll(append(held, theirs))
		if after := openDescriptors(t); after != before {
			t.Fatalf("%d descriptors open, %d before", after, before)
		}
	})
}

// FuzzClient sends any datagrams to a server in its handover and after.
func FuzzClient(f *testing.F) {
	begin := newFrame(kBegin, 1)
	begin.put64(1)
	for range 5 {
		begin.put64(2)
	}
	for _, b := range frames() {
		f.Add(begin.body, b, uint8(1))
	}
	f.Fuzz(func(t *testing.T, first, second []byte, fds uint8) {
		before := openDescriptors(t)
		ours, theirs, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		give := make([]int, fds%8)
		for i := range give {
			give[i] = null
		}
		for _, b := range [][]byte{first, second} {
			_ = send(ours, &frame{body: b}, give, unix.MSG_DONTWAIT)
		}
		_ = unix.Shutdown(ours, unix.SHUT_WR)
		c := &Client{fd: theirs}
		h, _ := c.collect(1)
		h.Close()
		for _, b := range [][]byte{first, second} {
			_ = send(ours, &frame{body: b}, nil, unix.MSG_DONTWAIT)
		}
		for {
			if _, ok, err := c.Receive(); err != nil || !ok {
				break
			}
		}
		closeAll([]int{ours, theirs})
		if after := openDescriptors(t); after != before {
			t.Fatalf("%d descriptors open, %d before", after, before)
		}
	})
}

// FuzzDecode reads any bytes as the state of a store.
func FuzzDecode(f *testing.F) {
	s := NewStore()
	s.track(9, 1, false)
	s.Exited(Exit{PID: 9})
	s.Exited(Exit{PID: 10})
	s.handOver(1)
	var e Encoder
	s.Encode(&e)
	f.Add(e.Bytes())
	c := record.Writer(nil)
	s.Fields(&c)
	f.Add(c.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		NewStore().Decode(NewDecoder(b))
		c := record.Reader(b)
		NewStore().Fields(&c)
	})
}

// again is the store as another image of pid1 has it.
func again(t *testing.T, s *Store) *Store {
	t.Helper()
	w := record.Writer(nil)
	s.Fields(&w)
	next, r := NewStore(), record.Reader(w.Bytes())
	if next.Fields(&r); r.Err() != nil {
		t.Fatal(r.Err())
	}
	return next
}

// againFirst is the same by way of the first version.
func againFirst(t *testing.T, s *Store) *Store {
	t.Helper()
	var e Encoder
	s.Encode(&e)
	next, d := NewStore(), NewDecoder(e.Bytes())
	if next.Decode(d); d.Bad() {
		t.Fatal("cannot be decoded")
	}
	return next
}
