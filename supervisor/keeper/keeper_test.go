package keeper

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rig is a store with a goroutine that serves it, as pid1's loop does.
type rig struct {
	t       *testing.T
	mu      sync.Mutex
	store   *Store
	notices []Notice
	stop    chan struct{}
	done    sync.WaitGroup
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: NewStore(), stop: make(chan struct{})}
	r.done.Add(1)
	go r.serve()
	t.Cleanup(func() {
		close(r.stop)
		r.done.Wait()
		closeAll(r.store.Descriptors())
	})
	return r
}

func (r *rig) serve() {
	defer r.done.Done()
	for {
		select {
		case <-r.stop:
			return
		default:
		}
		r.mu.Lock()
		set := []unix.PollFd{{Fd: int32(r.store.FD()), Events: unix.POLLIN}}
		if blocked, err := r.store.Write(); blocked {
			set[0].Events |= unix.POLLOUT
		} else if err != nil {
			r.store.Detach()
		}
		r.mu.Unlock()
		_, _ = unix.Poll(set, 2)
		r.mu.Lock()
		r.read()
		r.mu.Unlock()
	}
}

func (r *rig) read() {
	for {
		n, ok, err := r.store.Read()
		if err != nil || !ok {
			return
		}
		if n.Kind != NoticeNone {
			r.notices = append(r.notices, n)
		}
	}
}

// do runs f as pid1's loop would.
func (r *rig) do(f func(*Store)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.store)
}

// connect attaches a new connection and returns the server's end.
func (r *rig) connect() int {
	r.t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		r.t.Fatal(err)
	}
	r.do(func(s *Store) { s.Attach(ours) })
	return theirs
}

// crash closes the server's end, after which the store has read everything that was sent.
func (r *rig) crash(fd int) {
	r.t.Helper()
	_ = unix.Close(fd)
	r.do(func(s *Store) {
		r.read()
		s.Detach()
	})
}

func (r *rig) dial(fd int) (*Client, *Handover) {
	r.t.Helper()
	c, h, err := Dial(fd)
	if err != nil {
		r.t.Fatal(err)
	}
	return c, h
}

func (r *rig) await(what string, ok func(*Store) bool) {
	r.t.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		held := false
		r.do(func(s *Store) { held = ok(s) })
		if held {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("timed out waiting for %s", what)
		}
		_, _ = unix.Poll(nil, 1)
	}
}

func pipe(t *testing.T) (read, write int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestHandover: what one server stored, tracked and was told is what the next one gets.
func TestHandover(t *testing.T) {
	r := newRig(t)
	r.do(func(s *Store) { s.About(About{Mode: Container, Starts: 1}) })
	fd := r.connect()
	c, h := r.dial(fd)
	if h.Listener != -1 || h.Journal != -1 || h.Arena != -1 || len(h.Pipes)+len(h.Exits)+len(h.Files) != 0 || h.Mode != Container {
		t.Fatalf("the first handover is not empty: %+v", h)
	}
	const services = 260
	writers := map[uint64]int{}
	for gen := uint64(1); gen <= services; gen++ {
		var ps []Pipe
		for stream := uint8(1); stream <= 2; stream++ {
			rd, wr := pipe(t)
			ps = append(ps, Pipe{Service: fmt.Sprintf("service-%d", gen), Gen: gen, Stream: stream, FD: rd})
			writers[gen<<8|uint64(stream)] = wr
		}
		must(t, c.StorePipes(ps))
		closeAll([]int{ps[0].FD, ps[1].FD})
		must(t, c.Track(100000+int(gen), gen))
	}
	must(t, c.DropPipe(7, 2))
	must(t, c.Untrack(100008))
	listener, _ := pipe(t)
	must(t, c.StoreListener(listener, "/run/zinit.sock"))
	must(t, c.StoreArena(listener))
	must(t, c.StoreJournal(listener))
	must(t, c.StoreFile("proxy:a", "0.0.0.0:80", listener))
	must(t, c.StoreFile("proxy:b", "", listener))
	must(t, c.StoreFile("proxy:b", "", -1))
	r.crash(fd)

	r.do(func(s *Store) {
		s.Exited(Exit{PID: 100001, Start: 55, Code: 3})
		s.Exited(Exit{PID: 99, Start: 56, Signal: 11, Core: true})
		s.About(About{Mode: Container, Starts: 2, LastCrash: "signal SIGKILL", RolledBack: "no", Target: "net",
			Order: OrderStop, StartedAt: 12, SpawnedAt: 13, Executable: "/x", UpgradeDone: true})
	})
	_, h = r.dial(r.connect())
	defer h.Close()
	want := Handover{Version: Version, Mode: Container, PID: os.Getpid(), Starts: 2, Order: OrderStop, StartedAt: 12, SpawnedAt: 13,
		Target: "net", LastCrash: "signal SIGKILL", RolledBack: "no", SocketPath: "/run/zinit.sock", Executable: "/x", UpgradeDone: true}
	got := *h
	got.Pipes, got.Files, got.Exits, got.Tracked, got.Listener, got.Arena, got.Journal = nil, nil, nil, nil, 0, 0, 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("handover\n%+v, want\n%+v", got, want)
	}
	if h.Listener < 0 || h.Arena < 0 || h.Journal < 0 || len(h.Files) != 1 || h.Files[0].Path != "0.0.0.0:80" {
		t.Errorf("stored descriptors: %+v", h)
	}
	if len(h.Tracked) != services-2 || h.Tracked[100002] != 2 || h.Tracked[100008] != 0 || h.Tracked[100001] != 0 {
		t.Errorf("%d tracked: %v", len(h.Tracked), h.Tracked)
	}
	wantExits := []Exit{{PID: 100001, Start: 55, Gen: 1, Code: 3, seq: 1}, {PID: 99, Start: 56, Signal: 11, Core: true, seq: 2}}
	if !reflect.DeepEqual(h.Exits, wantExits) {
		t.Errorf("exits %+v, want %+v", h.Exits, wantExits)
	}
	if len(h.Pipes) != 2*services-1 {
		t.Fatalf("%d pipes, want %d", len(h.Pipes), 2*services-1)
	}
	for _, p := range h.Pipes {
		if p.Service != fmt.Sprintf("service-%d", p.Gen) {
			t.Fatalf("pipe of %d belongs to %q", p.Gen, p.Service)
		}
		text := fmt.Sprintf("%d/%d", p.Gen, p.Stream)
		if _, err := unix.Write(writers[p.Gen<<8|uint64(p.Stream)], []byte(text)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 32)
		n, err := unix.Read(p.FD, buf)
		if err != nil || string(buf[:n]) != text {
			t.Fatalf("pipe %s gave %q (%v)", text, buf[:max(n, 0)], err)
		}
		flags, _ := unix.FcntlInt(uintptr(p.FD), unix.F_GETFD, 0)
		if flags&unix.FD_CLOEXEC == 0 {
			t.Fatal("a descriptor of the handover is not close-on-exec")
		}
	}
	for _, fd := range writers {
		_ = unix.Close(fd)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestExitsUntilAcknowledged: the exit of a tracked process is told to every server until one acknowledges it.
func TestExitsUntilAcknowledged(t *testing.T) {
	r := newRig(t)
	fd := r.connect()
	c, _ := r.dial(fd)
	must(t, c.Track(4242, 9))
	r.await("the tracking", func(s *Store) bool { return s.Tracked(4242) })
	r.do(func(s *Store) { s.Exited(Exit{PID: 4242, Start: 1, Signal: 9}) })
	got := receive(t, c).Exits
	want := []Exit{{PID: 4242, Start: 1, Gen: 9, Signal: 9, seq: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("exits %+v, want %+v", got, want)
	}
	for range 3 {
		r.crash(fd)
		fd = r.connect()
		var h *Handover
		c, h = r.dial(fd)
		if !reflect.DeepEqual(h.Exits, want) {
			t.Fatalf("handed over %+v, want %+v", h.Exits, want)
		}
	}
	must(t, c.AckExit(4242, 2)) // another process of that number
	must(t, c.AckExit(4242, 1))
	r.await("the acknowledgement", func(s *Store) bool { return len(s.exits) == 0 })
	r.crash(fd)
	if _, h := r.dial(r.connect()); len(h.Exits) != 0 {
		t.Fatalf("acknowledged exits came back: %+v", h.Exits)
	}
}

func receive(t *testing.T, c *Client) Event {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		ev, ok, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return ev
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}, 100)
	}
	t.Fatal("nothing received")
	return Event{}
}

// TestFlood: a server that does not read loses no exit of a process it tracks; other orphans' are bounded.
func TestFlood(t *testing.T) {
	r := newRig(t)
	fd := r.connect()
	c, _ := r.dial(fd)
	const tracked = 2000
	for pid := range tracked {
		must(t, c.Track(10000+pid, uint64(pid)))
	}
	r.await("the tracking", func(s *Store) bool { _, n := s.Len(); return n == tracked })
	for i := range 3 * MaxUnknown {
		r.do(func(s *Store) {
			s.Exited(Exit{PID: 1000000 + i, Start: 1})
			if i < tracked {
				s.Exited(Exit{PID: 10000 + i, Start: 2, Code: int32(i % 256)})
			}
		})
	}
	r.do(func(s *Store) {
		if len(s.unknown) > MaxUnknown || len(s.exits) != tracked {
			t.Errorf("%d unknown, %d tracked exits held", len(s.unknown), len(s.exits))
		}
	})
	seen := map[int]int32{}
	for len(seen) < tracked {
		for _, e := range receive(t, c).Exits {
			if e.PID < 1000000 {
				if _, twice := seen[e.PID]; twice {
					t.Fatalf("exit of %d came twice", e.PID)
				}
				seen[e.PID] = e.Code
			}
		}
	}
	for pid, code := range seen {
		if code != int32((pid-10000)%256) {
			t.Fatalf("exit of %d has code %d", pid, code)
		}
	}
}

// TestOrders: an order waits for the hello, orders of one kind are one, and the stop that a handover tells is not said twice.
func TestOrders(t *testing.T) {
	r := newRig(t)
	fd := r.connect()
	r.do(func(s *Store) {
		for range 100 {
			s.Ask(OrderReload)
			s.Ask(OrderPowerOff)
		}
	})
	c, h := r.dial(fd)
	if h.Order != 0 {
		t.Fatalf("handover tells %v", h.Order)
	}
	if a, b := receive(t, c).Order, receive(t, c).Order; a != OrderReload || b != OrderPowerOff {
		t.Fatalf("orders %v, %v", a, b)
	}
	r.crash(fd)
	r.do(func(s *Store) {
		s.Ask(OrderPowerOff)
		s.Ask(OrderUpgrade)
		s.About(About{Order: OrderPowerOff})
	})
	c, h = r.dial(r.connect())
	if got := receive(t, c).Order; h.Order != OrderPowerOff || got != OrderUpgrade {
		t.Fatalf("handover tells %v, then %v", h.Order, got)
	}
	if ev, ok, _ := c.Receive(); ok {
		t.Fatalf("unexpected %+v", ev)
	}
}

// TestDialAgain: a server that executed a new image in its place says hello on the same socket. What was under way for the
// old image is thrown away and its descriptors closed.
func TestDialAgain(t *testing.T) {
	r := newRig(t)
	fd := r.connect()
	c, _ := r.dial(fd)
	must(t, c.Track(77, 5))
	rd, wr := pipe(t)
	defer closeAll([]int{wr})
	must(t, c.StorePipes([]Pipe{{Service: "a", Gen: 5, Stream: 1, FD: rd}}))
	closeAll([]int{rd})
	r.await("the pipe", func(s *Store) bool { n, _ := s.Len(); return n == 1 })
	before := openDescriptors(t)
	for range 3 {
		// A hello whose answer nobody reads.
		f := newFrame(kHello, 1)
		f.put64(1)
		must(t, send(fd, f, nil, 0))
	}
	r.do(func(s *Store) { s.Exited(Exit{PID: 77, Start: 3}) })
	_, h := r.dial(fd)
	if len(h.Pipes) != 1 || len(h.Exits) != 1 || h.Exits[0].Gen != 5 {
		t.Fatalf("handover: %+v", h)
	}
	h.Close()
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// TestNotices: what pid1 is to act on reaches it, nonsense does not.
func TestNotices(t *testing.T) {
	r := newRig(t)
	c, _ := r.dial(r.connect())
	exe, wr := pipe(t)
	defer closeAll([]int{exe, wr})
	must(t, c.Settled())
	must(t, c.Budget(90*time.Second))
	must(t, c.Upgrade(exe, "/new"))
	must(t, c.CancelUpgrade())
	must(t, c.Critical("db", true))
	must(t, c.Critical("db", false))
	must(t, c.Bye(200, 0))
	must(t, c.Bye(Reboot, 7))
	want := []Notice{{Kind: NoticeHello, FD: -1}, {Kind: NoticeSettled, FD: -1}, {Kind: NoticeBudget, Budget: 90e9, FD: -1},
		{Kind: NoticeUpgrade, Text: "/new", FD: 1}, {Kind: NoticeUpgrade, FD: -1},
		{Kind: NoticeEmergency, Name: "db", Text: "critical service db failed for good", FD: -1},
		{Kind: NoticeBad, Reason: 200, FD: -1}, {Kind: NoticeBye, Reason: Reboot, Code: 7, FD: -1}}
	r.await("the notices", func(*Store) bool { return len(r.notices) >= len(want) })
	for i := range r.notices {
		if r.notices[i].FD > 0 {
			closeAll([]int{r.notices[i].FD})
			r.notices[i].FD = 1
		}
	}
	if !reflect.DeepEqual(r.notices, want) {
		t.Errorf("notices\n%+v, want\n%+v", r.notices, want)
	}
}

// TestLimits: what is above a limit is refused and closed, the rest goes on.
func TestLimits(t *testing.T) {
	s := NewStore()
	before := openDescriptors(t)
	rd, wr := pipe(t)
	for i := range MaxFiles + 10 {
		f := newFrame(kFile, 1)
		f.putText(fmt.Sprint("file", i))
		f.putText("")
		dup, err := unix.Dup(rd)
		must(t, err)
		reopened, _ := parseFrame(f.body)
		s.apply(reopened, []int{dup})
	}
	if len(s.files) != MaxFiles || s.lost != 10 {
		t.Errorf("%d files, %d lost", len(s.files), s.lost)
	}
	for pid := range MaxTracked + 5 {
		s.track(pid+2, 1, false)
	}
	if _, n := s.Len(); n != MaxTracked || s.lost != 15 {
		t.Errorf("%d tracked, %d lost", n, s.lost)
	}
	s.track(0, 1, false)
	s.track(-7, 1, false)
	closeAll(append(s.Descriptors(), rd, wr))
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// TestFewerDescriptors: a keeper that is out of descriptors gets fewer than were sent; it keeps the first and counts.
func TestFewerDescriptors(t *testing.T) {
	s := NewStore()
	rd, wr := pipe(t)
	defer closeAll([]int{wr})
	f, _ := pipeFrame(kPipes, []Pipe{{Service: "a", Gen: 1, Stream: 1, FD: rd}, {Service: "b", Gen: 2, Stream: 1, FD: rd}})
	read, _ := parseFrame(f.body)
	s.apply(read, []int{rd})
	if s.lost != 1 || len(s.pipes) != 1 || s.pipes[pipeKey{1, 1}].service != "a" {
		t.Errorf("lost %d, pipes %v", s.lost, s.pipes)
	}
	closeAll(s.Descriptors())
}

// TestRoom: a server cannot take so many descriptors that the keeper has none left to start another; the listener, the
// arena and the journal find room beside any number of pipes.
func TestRoom(t *testing.T) {
	s := NewStore()
	s.room = 100
	before := openDescriptors(t)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	give := func(f *frame, n int) {
		fds := make([]int, n)
		for i := range fds {
			fds[i], err = unix.Dup(null)
			must(t, err)
		}
		read, err := parseFrame(f.body)
		must(t, err)
		s.apply(read, fds)
	}
	for gen := range uint64(3) {
		f := newFrame(kPipes, maxEntries)
		for stream := range uint8(maxEntries) {
			f.putPipe(&Pipe{Service: "a", Gen: gen, Stream: stream})
		}
		give(f, 253)
	}
	for i := range 2 * s.room {
		f := newFrame(kFile, 1)
		f.putText(fmt.Sprint("file", i))
		f.putText("")
		give(f, 253)
	}
	if pipes, _ := s.Len(); pipes != 50 || len(s.files) != 50 {
		t.Errorf("%d pipes and %d files in a room of %d", pipes, len(s.files), s.room)
	}
	if after := openDescriptors(t); after != before+1+s.room {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	closeAll(append(s.Descriptors(), null))
}

// TestDropWhileHandingOver: what a server drops before it has read its handover is not sent under another's number.
func TestDropWhileHandingOver(t *testing.T) {
	s := NewStore()
	ours, theirs, err := Pair()
	must(t, err)
	s.Attach(ours)
	rd, wr := pipe(t)
	for _, name := range []string{"a", "b"} {
		f := newFrame(kFile, 1)
		f.putText(name)
		f.putText("")
		must(t, send(theirs, f, []int{rd}, 0))
	}
	hello, drop := newFrame(kHello, 1), newFrame(kFile, 1)
	hello.put64(3)
	drop.putText("a")
	drop.putText("")
	must(t, send(theirs, hello, nil, 0))
	must(t, send(theirs, drop, nil, 0))
	for range 4 {
		if _, ok, err := s.Read(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if blocked, err := s.Write(); blocked || err != nil {
		t.Fatal(blocked, err)
	}
	h, err := (&Client{fd: theirs}).collect(3)
	must(t, err)
	if len(h.Files) != 1 || h.Files[0].Name != "b" {
		t.Errorf("handed over %+v", h.Files)
	}
	h.Close()
	closeAll(append(s.Descriptors(), theirs, rd, wr))
}

// TestReplaceStored: what is stored again under its name replaces, and closes, what was there.
func TestReplaceStored(t *testing.T) {
	r := newRig(t)
	c, _ := r.dial(r.connect())
	rd, wr := pipe(t)
	for range 5 {
		must(t, c.StoreArena(rd))
		must(t, c.StorePipes([]Pipe{{Service: "a", Gen: 1, Stream: 1, FD: rd}}))
	}
	must(t, c.Settled())
	r.await("the last message", func(*Store) bool { return len(r.notices) == 2 })
	r.do(func(s *Store) {
		if fds := s.Descriptors(); len(fds) != 3 {
			t.Errorf("holds %v", fds)
		}
	})
	closeAll([]int{rd, wr})
}

// TestBlockedServer: a server that never reads its handover does not hold up the store, which goes on when it does.
func TestBlockedServer(t *testing.T) {
	s := NewStore()
	ours, theirs, err := Pair()
	must(t, err)
	s.Attach(ours)
	for pid := range 20000 {
		s.track(pid+2, uint64(pid), false)
	}
	done := make(chan *Handover, 1)
	f := newFrame(kHello, 1)
	f.put64(3)
	must(t, send(theirs, f, nil, 0))
	if n, ok, err := s.Read(); !ok || err != nil || n.Kind != NoticeHello {
		t.Fatalf("%+v %v %v", n, ok, err)
	}
	if blocked, err := s.Write(); !blocked || err != nil {
		t.Fatalf("a handover of 20,000 entries fits a socket that nobody reads (%v, %v)", blocked, err)
	}
	queued := len(s.out)
	for i := range 50000 {
		s.Exited(Exit{PID: 100000 + i})
		if blocked, _ := s.Write(); !blocked {
			t.Fatal("no longer blocked")
		}
	}
	if len(s.out) != queued {
		t.Errorf("the queue grew from %d to %d", queued, len(s.out))
	}
	go func() {
		c := &Client{fd: theirs}
		h, err := c.collect(3)
		if err != nil {
			t.Error(err)
		}
		done <- h
	}()
	for end := time.Now().Add(10 * time.Second); ; {
		select {
		case h := <-done:
			if len(h.Tracked) != 20000 {
				t.Errorf("%d tracked", len(h.Tracked))
			}
			closeAll([]int{ours, theirs})
			return
		default:
		}
		if _, err := s.Write(); err != nil || time.Now().After(end) {
			t.Fatalf("the handover does not end: %v", err)
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(ours), Events: unix.POLLOUT}}, 1)
	}
}

// TestGone: either side hears that the other is gone.
func TestGone(t *testing.T) {
	r := newRig(t)
	fd := r.connect()
	c, _ := r.dial(fd)
	r.do(func(s *Store) { s.Detach() })
	r.await("the client to hear of it", func(*Store) bool {
		_, _, err := c.Receive()
		return err == ErrGone
	})
	if err := c.Settled(); err != ErrGone {
		t.Errorf("a send says %v", err)
	}
	ours, theirs, err := Pair()
	must(t, err)
	closeAll([]int{theirs})
	s := NewStore()
	s.Attach(ours)
	if _, _, err := s.Read(); err != ErrGone {
		t.Errorf("Read says %v", err)
	}
	s.Detach()
}

// TestEmptyMessage: an empty message is nonsense, not the end of the connection.
func TestEmptyMessage(t *testing.T) {
	ours, theirs, err := Pair()
	must(t, err)
	s := NewStore()
	s.Attach(ours)
	c := &Client{fd: theirs}
	for range 2 {
		must(t, unix.Sendmsg(theirs, nil, nil, nil, 0))
	}
	must(t, c.Settled())
	if n, ok, err := s.Read(); n.Kind != NoticeBad || !ok || err != nil {
		t.Errorf("%+v %v %v", n, ok, err)
	}
	closeAll([]int{theirs})
	for _, want := range []NoticeKind{NoticeBad, NoticeSettled} {
		if n, ok, err := s.Read(); n.Kind != want || !ok || err != nil {
			t.Errorf("%+v %v %v, want %v", n, ok, err, want)
		}
	}
	if _, _, err := s.Read(); err != ErrGone {
		t.Errorf("at the end: %v", err)
	}
	s.Detach()
}

// TestEncode: a store that pid1 carried over its own re-execution is the same, in the middle of a handover too.
func TestEncode(t *testing.T) {
	s := NewStore()
	ours, theirs, err := Pair()
	must(t, err)
	defer closeAll([]int{theirs})
	s.Attach(ours)
	rd, wr := pipe(t)
	defer closeAll([]int{wr})
	s.pipes[pipeKey{3, 2}] = heldPipe{rd, "web"}
	s.files = []File{{Name: "listener", Path: "/s", FD: wr}}
	for pid := range 9000 {
		s.track(100+pid, uint64(pid), false)
	}
	s.Exited(Exit{PID: 101, Start: 4, Signal: 6, Core: true})
	s.Exited(Exit{PID: 5, Code: 1})
	s.handOver(8)
	if _, err := s.Write(); err != nil {
		t.Fatal(err)
	}
	s.Ask(OrderReload)
	for _, next := range []*Store{again(t, s), againFirst(t, s)} {
		sameStore(t, s, next)
	}
	var e Encoder
	s.Encode(&e)
	for cut := range min(len(e.Bytes()), 2000) {
		NewStore().Decode(NewDecoder(e.Bytes()[:cut])) // must not panic
	}
	closeAll([]int{ours, rd})
}

// sameStore compares all but what is of one process.
func sameStore(t *testing.T, s, next *Store) {
	t.Helper()
	if len(next.out) != len(s.out) || next.out[0].fd != s.out[0].fd {
		t.Fatalf("%d messages to send, want %d", len(next.out), len(s.out))
	}
	for i := range s.out {
		if f := s.out[i].frame; f != nil && !slices.Equal(f.body, next.out[i].frame.body) {
			t.Errorf("message %d differs", i)
		}
		if !slices.Equal(s.out[i].keys, next.out[i].keys) {
			t.Errorf("the pipes of message %d differ", i)
		}
	}
	was, is := *s, *next
	was.out, is.out = nil, nil
	was.about, is.about = About{}, About{}
	was.in, is.in = mailbox{}, mailbox{}
	if !reflect.DeepEqual(was, is) {
		t.Errorf("read\n%+v, want\n%+v", is, was)
	}
}

// TestHandoverSpeed keeps an eye on the time a crash costs: 9,000 pipes were measured at some milliseconds.
func BenchmarkHandover(b *testing.B) {
	var lim unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	pipes := min(2000, (int(lim.Cur)-100)/4)
	s := NewStore()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	for gen := range pipes {
		fd, err := unix.Dup(p[0])
		if err != nil {
			b.Fatal(err)
		}
		s.pipes[pipeKey{uint64(gen), 1}] = heldPipe{fd, "some-service"}
	}
	for b.Loop() {
		ours, theirs, err := Pair()
		if err != nil {
			b.Fatal(err)
		}
		s.Attach(ours)
		done := make(chan *Handover)
		go func() {
			_, h, err := Dial(theirs)
			if err != nil {
				b.Error(err)
			}
			done <- h
		}()
		for n := 0; n == 0; {
			_, ok, _ := s.Read()
			if ok {
				n++
			}
		}
		for blocked := true; blocked; {
			blocked, _ = s.Write()
		}
		h := <-done
		if len(h.Pipes) != pipes {
			b.Fatalf("%d pipes", len(h.Pipes))
		}
		h.Close()
		closeAll([]int{theirs})
	}
	s.Detach()
	closeAll(s.Descriptors())
}

// TestGoodbyeCode: an exit status that no process can have is refused, and the one of a sound goodbye is kept.
func TestGoodbyeCode(t *testing.T) {
	for code, want := range map[int32]NoticeKind{0: NoticeBye, maxExitCode: NoticeBye, maxExitCode + 1: NoticeBad, -1: NoticeBad,
		-1 << 31: NoticeBad} {
		ours, theirs, err := Pair()
		must(t, err)
		s := NewStore()
		s.Attach(ours)
		f := newFrame(kBye, 1)
		f.put32(uint32(ByeStop))
		f.put32(uint32(code))
		must(t, send(theirs, f, nil, 0))
		if n, ok, err := s.Read(); n.Kind != want || !ok || err != nil || want == NoticeBye && n.Code != int(code) {
			t.Errorf("code %d: %+v %v %v, want %v", code, n, ok, err, want)
		}
		closeAll([]int{theirs})
		s.Detach()
	}
}

// TestCutMessage: one that is longer than any of ours is cut by the kernel; what is left of it is not applied, though it
// may look whole.
func TestCutMessage(t *testing.T) {
	ours, theirs, err := Pair()
	must(t, err)
	s := NewStore()
	s.Attach(ours)
	f := newFrame(kBye, 1)
	f.put32(uint32(ByeStop))
	f.put32(3)
	whole := append(append([]byte{}, f.body...), make([]byte, MaxFrame)...)
	must(t, unix.Sendmsg(theirs, whole, nil, nil, 0))
	if n, ok, err := s.Read(); n.Kind != NoticeBad || !ok || err != nil {
		t.Errorf("%+v %v %v", n, ok, err)
	}
	closeAll([]int{theirs})
	s.Detach()
}
