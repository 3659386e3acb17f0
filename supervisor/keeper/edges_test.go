package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attached is a store with a connection that nobody serves, and the server's end.
func attached(t *testing.T) (*Store, *Client) {
	t.Helper()
	ours, theirs, err := Pair()
	must(t, err)
	s := NewStore()
	s.Attach(ours)
	t.Cleanup(func() {
		s.Detach()
		closeAll(append(s.Descriptors(), theirs))
	})
	return s, &Client{fd: theirs}
}

// bad is a descriptor that is not open, for sends that must fail.
const bad = 1 << 20

// word is a message as it would arrive.
func word(t *testing.T, k kind, count int, fill func(f *frame)) *frame {
	t.Helper()
	f := newFrame(k, count)
	fill(f)
	read, err := parseFrame(f.body)
	must(t, err)
	return read
}

// TestEverySendTellsAnError.
func TestEverySendTellsAnError(t *testing.T) {
	c := &Client{fd: bad}
	for name, err := range map[string]error{
		"listener": c.StoreListener(1, "x"), "arena": c.StoreArena(1), "journal": c.StoreJournal(1), "file": c.StoreFile("a", "", 1),
		"no file": c.StoreFile("a", "", -1), "pipes": c.StorePipes([]Pipe{{Gen: 1, FD: 1}}), "drop": c.DropPipe(1, 1), "track": c.Track(5, 1),
		"untrack": c.Untrack(5), "acknowledge": c.AckExits([]Exit{{PID: 1}}), "one": c.AckExit(1, 1), "settled": c.Settled(), "booted": c.Booted(),
		"budget": c.Budget(1), "upgrade": c.Upgrade(1, "x"), "cancel": c.CancelUpgrade(), "emergency": c.Emergency("a", "b"),
		"critical": c.Critical("a", false), "bye": c.Bye(ByeStop, 0),
	} {
		if !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Critical("a", true); err != nil {
		t.Errorf("somebody can log in: %v", err)
	}
	if c.FD() != bad {
		t.Errorf("FD is %d", c.FD())
	}
	if _, _, err := Dial(bad); !errors.Is(err, unix.EBADF) {
		t.Errorf("Dial: %v", err)
	}
	ours, theirs, err := Pair()
	must(t, err)
	closeAll([]int{ours})
	if _, _, err := Dial(theirs); err != ErrGone {
		t.Errorf("Dial of one that is gone: %v", err)
	}
	closeAll([]int{theirs})
	if err := c.wait(time.Second); err != nil { // a descriptor that is not open has news, which receive tells
		t.Errorf("wait: %v", err)
	}
	if _, _, err := c.Receive(); err != ErrGone {
		t.Errorf("Receive: %v", err)
	}
	_, waiting := attached(t)
	if err := waiting.wait(time.Millisecond); err != errNoHello {
		t.Errorf("wait for nobody: %v", err)
	}
}

// TestDialClosesAHalfHandover: what was taken before the keeper went is closed.
func TestDialClosesAHalfHandover(t *testing.T) {
	before := openDescriptors(t)
	ours, theirs, err := Pair()
	must(t, err)
	done := make(chan error)
	go func() {
		_, _, err := Dial(theirs)
		done <- err
	}()
	var in mailbox
	for {
		f, _, err := in.receive(ours, 0)
		if err == unix.EAGAIN {
			continue
		}
		must(t, err)
		begin := newFrame(kBegin, 1)
		begin.put64(f.get64())
		for range 6 {
			begin.put64(0)
		}
		must(t, send(ours, begin, nil, 0))
		break
	}
	rd, wr := pipe(t)
	p, fds := pipeFrame(kPipeSet, []Pipe{{Service: "a", Gen: 1, FD: rd}})
	must(t, send(ours, p, fds, 0))
	file := newFrame(kFiles, 1)
	file.putText("x")
	file.putText("")
	must(t, send(ours, file, []int{rd}, 0))
	closeAll([]int{ours})
	if err := <-done; err != ErrGone {
		t.Errorf("Dial says %v", err)
	}
	closeAll([]int{theirs, rd, wr})
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// TestCollectIgnoresWhatWasBefore: only orders count of what comes before the beginning, and only a beginning and an end with the
// right number; no descriptor is lost.
func TestCollectIgnoresWhatWasBefore(t *testing.T) {
	before := openDescriptors(t)
	ours, theirs, err := Pair()
	must(t, err)
	rd, wr := pipe(t)
	order := func(o Order) *frame { f := newFrame(kOrder, 1); f.put32(uint32(o)); return f }
	begin := func(nonce uint64) *frame {
		f := newFrame(kBegin, 1)
		f.put64(nonce)
		for range 6 {
			f.put64(0)
		}
		return f
	}
	numbered := func(k kind, nonce uint64) *frame { f := newFrame(k, 0); f.put64(nonce); return f }
	tracked := newFrame(kTracked, 1)
	tracked.put64(500)
	tracked.put64(6)
	for _, f := range []*frame{order(OrderHalt), order(OrderKill), order(nOrders), order(OrderUpgrade), begin(80), tracked, numbered(kEnd, 70), begin(70),
		order(OrderReload), numbered(kEnd, 80), tracked, numbered(kEnd, 70)} {
		must(t, send(ours, f, []int{rd}, 0))
	}
	h, err := (&Client{fd: theirs}).collect(70)
	must(t, err)
	if !slices.Equal(h.Orders, []Order{OrderKill, OrderUpgrade}) || !reflect.DeepEqual(h.Tracked, map[int]uint64{500: 6}) {
		t.Errorf("orders %v, tracked %v", h.Orders, h.Tracked)
	}
	for _, f := range []*frame{begin(70), newFrame(kFiles, 1)} {
		must(t, send(ours, f, []int{rd}, 0))
	}
	if _, err := (&Client{fd: theirs}).collect(70); err != errFrame {
		t.Errorf("a cut message: %v", err)
	}
	closeAll([]int{ours, theirs, rd, wr})
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// TestTakeOfFewerDescriptors: those without one are left out, and none is taken twice.
func TestTakeOfFewerDescriptors(t *testing.T) {
	h := &Handover{Listener: -1, Arena: -1, Journal: -1}
	pipes := func(k kind, n int) *frame {
		return word(t, k, n, func(f *frame) {
			for i := range n {
				f.putPipe(&Pipe{Service: "a", Gen: uint64(i), Stream: 1})
			}
		})
	}
	if left := h.take(pipes(kPipeSet, 3), []int{70, 71}); len(h.Pipes) != 2 || h.Pipes[1].FD != 71 || !slices.Equal(left, []int{-1, -1}) {
		t.Errorf("%+v, left %v", h.Pipes, left)
	}
	if left := h.take(pipes(kPipeSet, 1), []int{72, 73}); !slices.Equal(left, []int{-1, 73}) {
		t.Errorf("left %v", left)
	}
	cut := pipes(kPipeSet, 1)
	cut.count = 2
	if left := h.take(cut, []int{74, 75}); len(h.Pipes) != 4 || !slices.Equal(left, []int{-1, 75}) || !cut.bad {
		t.Errorf("%+v, left %v", h.Pipes, left)
	}
	file := func() *frame {
		return word(t, kFiles, 1, func(f *frame) { f.putText(fileArena); f.putText("") })
	}
	if left := h.take(file(), nil); left != nil || h.Arena != -1 {
		t.Errorf("a file of no descriptor is %d", h.Arena)
	}
	if left := h.take(file(), []int{80, 81}); h.Arena != 80 || !slices.Equal(left, []int{81}) {
		t.Errorf("the arena is %d, left %v", h.Arena, left)
	}
	f := word(t, kFiles, 1, func(f *frame) { f.putText("x") })
	if left := h.take(f, []int{82}); !slices.Equal(left, []int{82}) || len(h.Files) != 0 {
		t.Errorf("a cut message gives %v, left %v", h.Files, left)
	}
}

// TestReceiveOnlyWhatIsWhole: nonsense is passed over, up to the next word.
func TestReceiveOnlyWhatIsWhole(t *testing.T) {
	ours, theirs, err := Pair()
	must(t, err)
	defer closeAll([]int{ours, theirs})
	c := &Client{fd: theirs}
	order := func(o uint32) *frame { f := newFrame(kOrder, 1); f.put32(o); return f }
	exits := newFrame(kExits, 2)
	exits.putExit(&Exit{PID: 5})
	for _, f := range []*frame{order(0), order(uint32(nOrders)), newFrame(kOrder, 1), exits, newFrame(kExits, 0), newFrame(kBegin, 0), {body: []byte("nonsense")},
		order(uint32(OrderStop))} {
		must(t, send(ours, f, nil, 0))
	}
	ev, ok, err := c.Receive()
	if err != nil || !ok || ev.Order != OrderStop || len(ev.Exits) != 0 {
		t.Errorf("%+v, %v, %v", ev, ok, err)
	}
	if ev, ok, err := c.Receive(); ok || err != nil {
		t.Errorf("then %+v, %v, %v", ev, ok, err)
	}
	must(t, send(ours, order(uint32(OrderUpgrade)), nil, 0))
	if ev, _, _ := c.Receive(); ev.Order != OrderUpgrade {
		t.Errorf("%+v", ev)
	}
}

// TestStoreFileBounds of names and paths.
func TestStoreFileBounds(t *testing.T) {
	s, c := attached(t)
	for _, v := range []struct {
		name, path string
		ok         bool
	}{
		{"", "", false}, {"n", "", true}, {strings.Repeat("n", MaxName), strings.Repeat("p", MaxPath), true}, {strings.Repeat("n", MaxName+1), "", false},
		{"n", strings.Repeat("p", MaxPath+1), false},
	} {
		rd, wr := pipe(t)
		err := c.StoreFile(v.name, v.path, rd)
		closeAll([]int{rd, wr})
		if (err == nil) != v.ok || !v.ok && !strings.Contains(err.Error(), "too long") {
			t.Errorf("%d and %d bytes: %v", len(v.name), len(v.path), err)
		}
		if v.ok {
			if n, ok, err := s.Read(); !ok || err != nil || n.Kind != NoticeNone {
				t.Errorf("%+v, %v, %v", n, ok, err)
			}
			if f := s.files[len(s.files)-1]; f.Name != v.name || f.Path != v.path || f.FD < 0 {
				t.Errorf("stored is %d of %d and %d bytes", f.FD, len(f.Name), len(f.Path))
			}
		}
	}
	if len(s.files) != 2 || s.SocketPath() != "" {
		t.Errorf("%d files, socket %q", len(s.files), s.SocketPath())
	}
	must(t, c.StoreListener(0, "/run/x"))
	if _, _, err := s.Read(); err != nil || s.SocketPath() != "/run/x" {
		t.Errorf("socket %q (%v)", s.SocketPath(), err)
	}
	must(t, c.StoreListener(-1, ""))
	if _, _, err := s.Read(); err != nil || s.SocketPath() != "" || s.files[0].FD == -1 {
		t.Errorf("socket %q (%v)", s.SocketPath(), err)
	}
	// What a server of another release may send: no name, or one that is too long.
	for _, name := range []string{"", strings.Repeat("n", MaxName+1)} {
		f := word(t, kFile, 1, func(f *frame) { f.putText(name); f.putText("") })
		if n := s.apply(f, nil); n.Kind != NoticeBad || len(s.files) != 2 {
			t.Errorf("a name of %d bytes: %+v, %d files", len(name), n, len(s.files))
		}
	}
	if n := s.apply(word(t, kFile, 1, func(f *frame) { f.putText("n") }), nil); n.Kind != NoticeBad || len(s.files) != 2 {
		t.Errorf("no path: %+v, %d files", n, len(s.files))
	}
}

// TestBadMessagesAreCounted, whatever is wrong with them, and change nothing.
func TestBadMessagesAreCounted(t *testing.T) {
	s, c := attached(t)
	s.track(50, 1, false)
	s.pipes[pipeKey{1, 1}] = heldPipe{fd: -1, service: "a"}
	for i, f := range []*frame{
		newFrame(kHello, 1), newFrame(kTrack, 1), newFrame(kDropPipe, 1), newFrame(kAck, 1), newFrame(kUntrack, 1), newFrame(kBudget, 1), newFrame(kBye, 1),
		newFrame(kEmergency, 1), newFrame(kUpgrade, 1), newFrame(kPipes, 1), newFrame(kFile, 1), {body: []byte("no")}, {body: make([]byte, headerSize)},
		{body: make([]byte, MaxFrame+10)},
	} {
		must(t, send(c.fd, f, nil, 0))
		n, ok, err := s.Read()
		if n.Kind != NoticeBad || !ok || err != nil || s.bad != i+1 {
			t.Errorf("message %d: %+v %v %v, %d are counted", i, n, ok, err, s.bad)
		}
	}
	if len(s.tracked) != 1 || len(s.pipes) != 1 || s.Greeted() {
		t.Errorf("%v, %v, greeted %v", s.tracked, s.pipes, s.Greeted())
	}
	for reason, want := range map[Reason]NoticeKind{ByeNone: NoticeBad, ByeStop: NoticeBye, ByeRefused: NoticeBye, nReasons: NoticeBad} {
		if n := s.apply(word(t, kBye, 1, func(f *frame) { f.put32(uint32(reason)); f.put32(0) }), nil); n.Kind != want {
			t.Errorf("reason %d: %+v", reason, n)
		}
	}
	for budget, want := range map[int64]NoticeKind{0: NoticeBudget, 1: NoticeBudget, -1: NoticeBad} {
		if n := s.apply(word(t, kBudget, 1, func(f *frame) { f.put64(uint64(budget)) }), nil); n.Kind != want {
			t.Errorf("budget %d: %+v", budget, n)
		}
	}
	must(t, c.Booted())
	if n, _, _ := s.Read(); n.Kind != NoticeBooted {
		t.Errorf("%+v", n)
	}
	must(t, c.Budget(-5))
	if n, _, _ := s.Read(); n.Kind != NoticeBudget || n.Budget != 0 {
		t.Errorf("%+v", n)
	}
	must(t, c.Emergency(strings.Repeat("s", MaxPath+5), "why"))
	if n, _, _ := s.Read(); len(n.Name) != MaxPath || n.Text != "why" {
		t.Errorf("%d bytes, %q", len(n.Name), n.Text)
	}
	for pid, want := range map[int]bool{-1: false, 0: false, 1: false, 2: true} {
		if s.track(pid, 7, false); s.Tracked(pid) != want {
			t.Errorf("%d is tracked: %v", pid, !want)
		}
	}
	if s.track(3, 1, true); s.Tracked(3) {
		t.Error("tracked by half a message")
	}
}

// TestAcknowledge forgets what it names and nothing else.
func TestAcknowledge(t *testing.T) {
	fill := func() *Store {
		s := NewStore()
		for i := range 3 {
			s.track(10+i, uint64(i), false)
			s.Exited(Exit{PID: 10 + i, Start: 7}) // 1, 2, 3
		}
		for i := range 3 {
			s.Exited(Exit{PID: 20 + i, Start: 7}) // 4, 5, 6
		}
		s.Exited(Exit{PID: 20, Start: 8}) // 7
		s.track(10, 5, false)
		s.Exited(Exit{PID: 10, Start: 8}) // 8
		s.Exited(Exit{PID: 20, Start: 7}) // 9, cannot be, but then each counts for itself
		return s
	}
	left := func(s *Store) string {
		var seqs []uint64
		for seq := range s.exits {
			seqs = append(seqs, seq)
		}
		for _, e := range s.unknown {
			seqs = append(seqs, e.seq)
		}
		slices.Sort(seqs)
		return strings.Trim(fmt.Sprint(seqs), "[]")
	}
	for _, c := range []struct {
		e    Exit
		bad  bool
		want string
	}{
		{Exit{PID: 10, Start: 7, seq: 1}, false, "2 3 4 5 6 7 8 9"},
		{Exit{PID: 10, Start: 7}, false, "2 3 4 5 6 7 8 9"},
		{Exit{PID: 10, Start: 8}, false, "1 2 3 4 5 6 7 9"},
		{Exit{PID: 10, Start: 9}, false, "1 2 3 4 5 6 7 8 9"},
		{Exit{PID: 20, Start: 7}, false, "1 2 3 5 6 7 8"},
		{Exit{PID: 20, Start: 7, seq: 4}, false, "1 2 3 5 6 7 8 9"},
		{Exit{PID: 21, Start: 7, seq: 4}, false, "1 2 3 4 5 6 7 8 9"},
		{Exit{PID: 20, Start: 8, seq: 7}, false, "1 2 3 4 5 6 8 9"},
		{Exit{PID: 10, Start: 7, seq: 1}, true, "1 2 3 4 5 6 7 8 9"},
	} {
		s := fill()
		if s.acknowledge(c.e, c.bad); left(s) != c.want {
			t.Errorf("%+v leaves %s, want %s", c.e, left(s), c.want)
		}
	}
}

// TestUnknownExitsAreBounded: the oldest eighth goes.
func TestUnknownExitsAreBounded(t *testing.T) {
	s := NewStore()
	for i := range MaxUnknown {
		s.Exited(Exit{PID: i + 2})
	}
	if len(s.unknown) != MaxUnknown || s.unknown[0].seq != 1 {
		t.Errorf("%d, from %d", len(s.unknown), s.unknown[0].seq)
	}
	if s.Exited(Exit{PID: 9}); len(s.unknown) != MaxUnknown-MaxUnknown/8+1 || s.unknown[0].seq != MaxUnknown/8+1 {
		t.Errorf("%d, from %d", len(s.unknown), s.unknown[0].seq)
	}
}

// TestQueueIsInOrder: exits by their number, pipes by theirs, and nothing twice.
func TestQueueIsInOrder(t *testing.T) {
	s, c := attached(t)
	for i := range 300 {
		s.track(1000+i, uint64(i), false)
	}
	for i := range 300 {
		s.Exited(Exit{PID: 1000 + i})
		s.Exited(Exit{PID: 5000 + i})
		rd, wr := pipe(t)
		closeAll([]int{wr})
		s.pipes[pipeKey{uint64((i * 7) % 300), 2}] = heldPipe{fd: rd, service: "s"}
	}
	must(t, send(c.fd, func() *frame { f := newFrame(kHello, 1); f.put64(3); return f }(), nil, 0))
	if n, _, err := s.Read(); n.Kind != NoticeHello || err != nil || !s.Greeted() {
		t.Fatal(n, err)
	}
	done := make(chan *Handover)
	go func() {
		h, err := c.collect(3)
		if err != nil {
			t.Error(err)
		}
		done <- h
	}()
	var h *Handover
	for end := time.Now().Add(20 * time.Second); h == nil; {
		select {
		case h = <-done:
		default:
			if _, err := s.Write(); err != nil || time.Now().After(end) {
				t.Fatal(err)
			}
			_, _ = unix.Poll(nil, 1)
		}
	}
	defer h.Close()
	if len(h.Exits) != 600 || len(h.Pipes) != 300 {
		t.Fatalf("%d exits, %d pipes", len(h.Exits), len(h.Pipes))
	}
	for i, e := range h.Exits {
		if e.seq != uint64(i+1) {
			t.Fatalf("exit %d has number %d", i, e.seq)
		}
	}
	for i, p := range h.Pipes {
		if p.Gen != uint64(i) {
			t.Fatalf("pipe %d is of %d", i, p.Gen)
		}
	}
	if blocked, err := s.Write(); blocked || err != nil || len(s.out) != 0 {
		t.Errorf("%v, %v, %d messages", blocked, err, len(s.out))
	}
	if ev, ok, err := c.Receive(); ok || err != nil {
		t.Errorf("said again: %+v, %v", ev, err)
	}
	s.Exited(Exit{PID: 9})
	s.Ask(OrderHalt)
	if _, err := s.Write(); err != nil {
		t.Error(err)
	}
	if ev, ok, _ := c.Receive(); !ok || len(ev.Exits) != 1 || ev.Exits[0].seq != 601 {
		t.Errorf("%+v", ev)
	}
	if ev, ok, _ := c.Receive(); !ok || ev.Order != OrderHalt {
		t.Errorf("%+v", ev)
	}
	s.track(7, 1, false)
	for _, pid := range []int{7, 8} { // nothing that was said is said again, of neither kind
		s.Exited(Exit{PID: pid})
		if _, err := s.Write(); err != nil {
			t.Error(err)
		}
		if ev, _, _ := c.Receive(); len(ev.Exits) != 1 || ev.Exits[0].PID != pid {
			t.Errorf("of %d alone: %+v", pid, ev)
		}
	}
	// The stop that a handover tells is not said again, what is no stop is.
	s.Ask(OrderHalt)
	s.Ask(OrderKill)
	s.About(About{Order: OrderHalt})
	if s.handOver(4); !slices.Equal(s.orders, []Order{OrderKill}) {
		t.Errorf("orders %v", s.orders)
	}
}

// TestWriteTellsThatTheServerIsGone.
func TestWriteTellsThatTheServerIsGone(t *testing.T) {
	s := NewStore()
	if blocked, err := s.Write(); blocked || err != nil || s.FD() != -1 {
		t.Errorf("no server: %v, %v, FD %d", blocked, err, s.FD())
	}
	if n, ok, err := s.Read(); ok || err != ErrGone || n != (Notice{}) {
		t.Errorf("no server: %+v, %v, %v", n, ok, err)
	}
	s, c := attached(t)
	s.Ask(OrderStop)
	if blocked, err := s.Write(); blocked || err != nil || len(s.orders) != 1 {
		t.Errorf("before the hello: %v, %v", blocked, err)
	}
	s.handOver(1)
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
	if blocked, err := s.Write(); blocked || err != ErrGone {
		t.Errorf("gone: %v, %v", blocked, err)
	}
	file := &outgoing{frame: newFrame(kFiles, 1), fd: 0}
	if err := s.sendOne(file); err != ErrGone {
		t.Errorf("a file: %v", err)
	}
	s.pipes[pipeKey{1, 1}] = heldPipe{fd: 0}
	if err := s.sendOne(&outgoing{keys: []pipeKey{{1, 1}}, fd: -1}); err != ErrGone {
		t.Errorf("pipes: %v", err)
	}
	delete(s.pipes, pipeKey{1, 1})
	if err := s.sendOne(&outgoing{keys: []pipeKey{{1, 1}}, fd: -1}); err != nil {
		t.Errorf("pipes that are gone: %v", err)
	}
}

// TestEncodeOfQueuedPipes: what is still to be sent is carried over, key by key.
func TestEncodeOfQueuedPipes(t *testing.T) {
	s := NewStore()
	s.out = []outgoing{{keys: []pipeKey{{3, 2}, {1, 1}}, fd: -1}, {frame: newFrame(kEnd, 0), fd: -1}, {frame: newFrame(kFiles, 1), fd: 0}}
	for i := range 20 {
		s.track(100-i, uint64(i), false)
		s.pipes[pipeKey{uint64(20 - i), uint8(i % 3)}] = heldPipe{fd: i, service: "x"}
	}
	for i := range 10 {
		s.Exited(Exit{PID: 100 - i, Start: 5, Tag: 1 << 63, At: 99, Core: true})
	}
	for _, next := range []*Store{again(t, s), againFirst(t, s)} {
		sameStore(t, s, next)
	}
	v := s.stored()
	if !slices.IsSortedFunc(v.tracked, func(a, b tracked) int { return a.pid - b.pid }) ||
		!slices.IsSortedFunc(v.exits, func(a, b Exit) int { return int(a.seq) - int(b.seq) }) ||
		!slices.IsSortedFunc(v.pipes, func(a, b Pipe) int { return int(a.Gen) - int(b.Gen) }) {
		t.Error("the order depends on chance")
	}
	var e Encoder
	e.Texts([]string{"a", "", "c"})
	e.Int(-7)
	d := NewDecoder(e.Bytes())
	if got := d.Texts(); !slices.Equal(got, []string{"a", "", "c"}) || d.Int() != -7 || d.Bad() {
		t.Errorf("%q", got)
	}
	for _, b := range [][]byte{{0x80}, slices.Repeat([]byte{0xff}, 11)} {
		d := NewDecoder(b)
		if got := d.Int(); got != 0 || !d.Bad() || d.Int() != 0 {
			t.Errorf("%x is %d, bad %v", b, got, d.Bad())
		}
	}
	for _, n := range []int64{-1, 3} {
		e := Encoder{}
		e.Int(n)
		e.b = append(e.b, 1, 2)
		d := NewDecoder(e.b)
		if got := d.count(); got != 0 || !d.Bad() || len(d.b) != 0 {
			t.Errorf("%d of two bytes: %d, bad %v", n, got, d.Bad())
		}
	}
}

// TestRoomOfTheProcess follows the limit of open files.
func TestRoomOfTheProcess(t *testing.T) {
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }()
	const most = MaxPipes + MaxFiles
	for limit, want := range map[uint64]int{256: 128, 400: 236, 1024: 1024 - ownDescriptors, most + ownDescriptors: most, most + ownDescriptors - 1: most - 1,
		most + ownDescriptors + 1: most} {
		if limit > was.Max {
			continue
		}
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}))
		if got := room(); got != want {
			t.Errorf("of %d open files the room is %d, want %d", limit, got, want)
		}
	}
	s := NewStore()
	s.room = 4
	for gen := range uint64(3) {
		s.pipes[pipeKey{gen, 1}] = heldPipe{fd: -1}
	}
	for _, c := range []struct{ room, want int }{{4, 2}, {600, 344}, {most * 2, MaxPipes}} {
		if s.room = c.room; s.pipeRoom() != c.want {
			t.Errorf("in a room of %d %d are for pipes, want %d", c.room, s.pipeRoom(), c.want)
		}
	}
	// Named descriptors take from the room of pipes, and the other way round.
	s = NewStore()
	s.room = 10
	s.files = make([]File, 7)
	give := func(gen uint64) {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		s.apply(word(t, kPipes, 1, func(f *frame) { f.putPipe(&Pipe{Service: "a", Gen: gen, Stream: 1}) }), []int{fd})
	}
	for gen := range uint64(5) {
		give(gen)
	}
	if len(s.pipes) != 3 || s.lost != 2 {
		t.Errorf("%d pipes beside 7 files in a room of 10, %d lost", len(s.pipes), s.lost)
	}
	for _, p := range s.pipes {
		closeAll([]int{p.fd})
	}
}

// TestDropPipe only by a whole message.
func TestDropPipe(t *testing.T) {
	s := NewStore()
	rd, wr := pipe(t)
	defer closeAll([]int{wr})
	s.pipes[pipeKey{0, 0}] = heldPipe{fd: rd}
	if s.dropPipe(pipeKey{0, 0}, true); len(s.pipes) != 1 {
		t.Error("dropped by half a message")
	}
	if s.dropPipe(pipeKey{0, 0}, false); len(s.pipes) != 0 {
		t.Error("not dropped")
	}
	// A pipe without its descriptor keeps the one that is held.
	rd, wr2 := pipe(t)
	defer closeAll([]int{wr2})
	s.pipes[pipeKey{1, 1}] = heldPipe{fd: rd}
	s.apply(word(t, kPipes, 1, func(f *frame) { f.putPipe(&Pipe{Gen: 1, Stream: 1}) }), nil)
	if s.pipes[pipeKey{1, 1}].fd != rd || s.lost != 1 {
		t.Errorf("held is %v, %d lost", s.pipes, s.lost)
	}
	closeAll([]int{rd})
}

// TestFrameEnds: reading past the end gives zeros and is noticed, up to the end it does not.
func TestFrameEnds(t *testing.T) {
	f := word(t, kTrack, 1, func(f *frame) { f.put64(5); f.put32(6) })
	if f.get64() != 5 || f.get32() != 6 || f.bad {
		t.Errorf("%+v", f)
	}
	if f.get32() != 0 || !f.bad {
		t.Error("the end is not noticed")
	}
	f = word(t, kTrack, 1, func(f *frame) { f.put32(6) })
	if f.get64() != 0 || !f.bad || f.get32() != 0 {
		t.Errorf("after a failure what is left is read: %+v", f)
	}
	long := strings.Repeat("x", MaxPath)
	f = word(t, kText, 1, func(f *frame) { f.putText(long); f.putText(long + "y") })
	if first, second := f.getText(), f.getText(); first != long || second != long || f.bad {
		t.Error("a long text is another")
	}
	f = word(t, kText, 1, func(f *frame) {
		f.body = binary.LittleEndian.AppendUint16(f.body, MaxPath+1)
		f.body = append(f.body, long+"y"...)
	})
	if f.getText() != "" || !f.bad {
		t.Error("a text that is too long is taken")
	}
	name := strings.Repeat("n", MaxName)
	for n, want := range map[byte]string{MaxName: name, MaxName + 1: "", 3: "nnn"} {
		f = word(t, kPipes, 1, func(f *frame) { f.putPipe(&Pipe{Service: name + "more", Gen: 7, Stream: 2}); f.body[headerSize+9] = n })
		if p := f.getPipe(); p.Service != want || f.bad != (want == "") || p.Gen != 7 && want != "" {
			t.Errorf("a name of %d: %+v, bad %v", n, p, f.bad)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, headerSize-1), make([]byte, headerSize), append([]byte{0x5a, 0x4b, 1, 1, 101, 0}, 0, 0)} {
		if _, err := parseFrame(b); err != errFrame {
			t.Errorf("%x is a message", b)
		}
	}
	for _, n := range []int{headerSize, MaxFrame} {
		b := make([]byte, n)
		copy(b, newFrame(kEnd, maxEntries).body)
		if _, err := parseFrame(b); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestRights are those of SCM_RIGHTS only, and a rest of no control message is none.
func TestRights(t *testing.T) {
	if got := rightsOf(append(unix.UnixRights(3, 4), unix.UnixRights(5)...)); !slices.Equal(got, []int{3, 4, 5}) {
		t.Errorf("%v", got)
	}
	credentials := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid())})
	if got := rightsOf(append(credentials, unix.UnixRights(5)...)); !slices.Equal(got, []int{5}) {
		t.Errorf("credentials are taken for descriptors: %v", got)
	}
	other := unix.UnixRights(9)
	other[8]++ // the level
	if got := rightsOf(other); len(got) != 0 {
		t.Errorf("%v of another level", got)
	}
	if got := rightsOf(unix.UnixRights(3)[:5]); len(got) != 0 {
		t.Errorf("%v of a cut message", got)
	}
	closeAll([]int{-1, -7})
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	closeAll([]int{-1, fd})
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Error("not closed")
	}
	if !closed(bad) {
		t.Error("a descriptor that is not open is not closed")
	}
}

// TestWords of modes and orders.
func TestWords(t *testing.T) {
	for m, want := range map[Mode]string{Machine: "machine", Container: "container", Plain: "keeper", Plain + 1: "?"} {
		if m.String() != want {
			t.Errorf("%d is %s", m, m)
		}
	}
	for o, want := range map[Order]string{0: "none", OrderStop: "stop", OrderPowerOff: "power off", OrderReboot: "reboot", OrderHalt: "halt",
		OrderKill: "kill", OrderReload: "reload", OrderUpgrade: "upgrade", nOrders: "?"} {
		if o.String() != want {
			t.Errorf("%d is %s", o, o)
		}
	}
}

// TestPairFails without descriptors, and says so.
func TestPairFails(t *testing.T) {
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}))
	ours, theirs, err := Pair()
	if !errors.Is(err, unix.EMFILE) || ours != -1 || theirs != -1 {
		t.Errorf("%d, %d, %v", ours, theirs, err)
	}
}
