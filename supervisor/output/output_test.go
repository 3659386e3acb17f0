package output

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

type fixture struct {
	a  *logring.Arena
	r  *Reader
	mu sync.Mutex

	closed []Source
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	a, err := logring.New(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{a: a}
	f.r, err = New(a, Options{Closed: func(s Source) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.closed = append(f.closed, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.r.Stop()
		for _, p := range f.r.Pipes() {
			_ = unix.Close(p.FD)
		}
		_ = a.Close()
	})
	return f
}

// pipe adds a pipe and returns its writing end.
func (f *fixture) pipe(t testing.TB, s Source) *os.File {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := f.r.Add(p[0], s); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(p[1]), "pipe")
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (f *fixture) lines(service string) []string {
	var out []string
	for _, rec := range f.a.Ring(service, logring.Limits{}).Last(1000, nil) {
		out = append(out, string(rec.Text))
	}
	return out
}

func (f *fixture) closedCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.closed)
}

func write(t testing.TB, w *os.File, s string) {
	t.Helper()
	if _, err := w.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

func TestLinesOfTwoStreams(t *testing.T) {
	f := newFixture(t)
	out, errs := f.pipe(t, Source{"s", 1, logring.Stdout, 0}), f.pipe(t, Source{"s", 1, logring.Stderr, 0})
	f.r.SetPID(1, 4711)
	write(t, out, "hello\nhalf")
	write(t, errs, "x\n")
	wait.For(t, "two lines", func() bool { return f.a.Ring("s", logring.Limits{}).Next() == 3 })
	write(t, out, " a line\n1")
	_ = out.Close()
	_ = errs.Close()
	wait.For(t, "both ends", func() bool { return f.closedCount() == 2 })
	recs := f.a.Ring("s", logring.Limits{}).Last(10, nil)
	var got []string
	for _, rec := range recs {
		got = append(got, fmt.Sprintf("%d %s %d", rec.Stream, rec.Text, rec.PID))
		if age := time.Now().UnixMilli() - rec.TimeMS; age < 0 || age > 60_000 {
			t.Errorf("line is %d ms old", age)
		}
	}
	slices.Sort(got)
	if want := []string{"0 1 4711", "0 half a line 4711", "0 hello 4711", "1 x 4711"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the pipe holds when Drain is called is in the ring when it returns, whatever the goroutine does.
func TestDrainIsSynchronous(t *testing.T) {
	f := newFixture(t)
	for gen := range uint64(200) {
		w := f.pipe(t, Source{"s", gen, logring.Stdout, 0})
		write(t, w, fmt.Sprintf("line %d\nno end", gen))
		f.r.Drain([]uint64{gen})
		if got := f.lines("s"); len(got) == 0 || got[len(got)-1] != fmt.Sprintf("line %d", gen) {
			t.Fatalf("after Drain of %d the last line is %q", gen, got[len(got)-1])
		}
		_ = w.Close()
		f.r.Release(gen, time.Minute)
		if got := f.lines("s"); got[len(got)-1] != "no end" {
			t.Fatalf("after Release of %d the last line is %q", gen, got[len(got)-1])
		}
	}
	if n := len(f.r.Pipes()); n != 0 {
		t.Errorf("%d pipes are open", n)
	}
}

func TestDrainOfAFloodEnds(t *testing.T) {
	f := newFixture(t)
	w := f.pipe(t, Source{"s", 1, logring.Stdout, 0})
	done := make(chan struct{})
	go func() {
		defer close(done)
		line := bytes.Repeat([]byte("flood\n"), 1000)
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}()
	for range 100 {
		f.r.Drain([]uint64{1})
	}
	f.r.Release(1, 0)
	<-done // the pipe was closed
	if f.closedCount() != 1 {
		t.Error("no word of the close")
	}
}

// A grandchild holds the pipe: lines come until its end, or until the grace is over.
func TestReleaseHeldPipe(t *testing.T) {
	f := newFixture(t)
	w := f.pipe(t, Source{"s", 1, logring.Stdout, 0})
	f.r.Release(1, time.Hour)
	write(t, w, "late\n")
	wait.For(t, "the late line", func() bool { return len(f.lines("s")) == 1 })
	_ = w.Close()
	wait.For(t, "the end", func() bool { return f.closedCount() == 1 })

	w = f.pipe(t, Source{"s", 2, logring.Stdout, 0})
	write(t, w, "not ended")
	f.r.Release(2, 20*time.Millisecond)
	wait.For(t, "the grace to end", func() bool { return f.closedCount() == 2 })
	if got := f.lines("s"); !slices.Equal(got, []string{"late", "not ended"}) {
		t.Errorf("got %q", got)
	}
	if _, err := w.WriteString("x"); err == nil {
		t.Error("the pipe is still open")
	}
}

func TestTenMegabyteLine(t *testing.T) {
	f := newFixture(t)
	f.a.Ring("s", logring.Limits{Lines: 1000, Bytes: 20 << 20})
	w := f.pipe(t, Source{"s", 1, logring.Stdout, 0})
	line := bytes.Repeat([]byte("0123456789"), 1<<20)
	go func() {
		_, _ = w.Write(line)
		_ = w.Close()
	}()
	wait.For(t, "the end", func() bool { return f.closedCount() == 1 })
	var got []byte
	recs := f.a.Ring("s", logring.Limits{}).Last(1000, nil)
	for i, rec := range recs {
		if rec.Continued != (i < len(recs)-1) {
			t.Errorf("piece %d of %d: continued is %v", i, len(recs), rec.Continued)
		}
		got = append(got, rec.Text...)
	}
	if !bytes.Equal(got, line) || len(recs) != 160 {
		t.Errorf("%d bytes in %d pieces came, want %d in 160", len(got), len(recs), len(line))
	}
}

// While one service floods, another one's lines arrive and Drain stays quick.
func TestFloodIsFair(t *testing.T) {
	f := newFixture(t)
	flood := f.pipe(t, Source{"flood", 1, logring.Stdout, 0})
	quiet := f.pipe(t, Source{"quiet", 2, logring.Stdout, 0})
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		block := bytes.Repeat([]byte("flood flood flood flood\n"), 2000)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = flood.Write(block)
			}
		}
	}()
	var slowest time.Duration
	for i := range 200 {
		began := time.Now()
		write(t, quiet, fmt.Sprintf("%d\n", i))
		want := uint64(i + 2)
		wait.For(t, "the quiet line", func() bool { return f.a.Ring("quiet", logring.Limits{}).Next() == want })
		f.r.Drain([]uint64{2})
		slowest = max(slowest, time.Since(began))
	}
	close(stop)
	done.Wait()
	if slowest > time.Second {
		t.Errorf("a line beside a flood took %v", slowest)
	}
}

// A sink that lags behind pauses the pipe, not the reader; when it has caught up, reading goes on.
func TestHoldPausesThePipe(t *testing.T) {
	f := newFixture(t)
	ring := f.a.Ring("s", logring.Limits{Lines: 100, Bytes: 64 << 10})
	ring.SetHold(1, true)
	w := f.pipe(t, Source{"s", 1, logring.Stdout, 0})
	other := f.pipe(t, Source{"other", 2, logring.Stdout, 0})
	const total = 20_000
	go func() {
		for i := range total {
			fmt.Fprintf(w, "line %d\n", i)
		}
		_ = w.Close()
	}()
	seen, from := 0, uint64(1)
	wait.For(t, "all lines", func() bool {
		next, missed := ring.Scan(from, func(rec *logring.Record) bool {
			if want := fmt.Sprintf("line %d", seen); string(rec.Text) != want {
				t.Fatalf("got %q, want %q", rec.Text, want)
			}
			seen++
			return true
		})
		if missed > 0 {
			t.Fatalf("%d held lines were lost", missed)
		}
		from = next
		ring.SetHold(from, true)
		return seen == total
	})
	write(t, other, "fine\n")
	wait.For(t, "the other service", func() bool { return len(f.lines("other")) == 1 })
	wait.For(t, "the end", func() bool { return f.closedCount() == 1 })
}

func TestStopKeepsThePipes(t *testing.T) {
	f := newFixture(t)
	w := f.pipe(t, Source{"s", 7, logring.Stderr, 3})
	f.r.Stop()
	write(t, w, "still here\n")
	pipes := f.r.Pipes()
	if len(pipes) != 1 || pipes[0].Source != (Source{"s", 7, logring.Stderr, 3}) || available(pipes[0].FD) != 11 {
		t.Fatalf("pipes are %+v", pipes)
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	before := openDescriptors(t)
	f := newFixture(t)
	for gen := range uint64(50) {
		w := f.pipe(t, Source{"s", gen, logring.Stdout, 0})
		_ = w.Close()
	}
	wait.For(t, "the ends", func() bool { return f.closedCount() == 50 })
	f.r.Stop()
	_ = f.a.Close()
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestStaleEvent: an event that was taken from epoll before its pipe was closed says nothing about the next pipe that got
// the same slot.
func TestStaleEvent(t *testing.T) {
	f := newFixture(t)
	f.pipe(t, Source{"old", 1, logring.Stdout, 0})
	f.r.mu.Lock()
	old := f.r.slots[0]
	f.r.mu.Unlock()
	f.r.Release(1, 0)
	f.pipe(t, Source{"new", 2, logring.Stdout, 0})
	f.r.mu.Lock()
	now := f.r.slots[0]
	f.r.mu.Unlock()
	if now == nil || now == old {
		t.Fatal("the slot was not used again")
	}
	f.r.turn(&unix.EpollEvent{Fd: old.slot, Pad: old.serial, Events: unix.EPOLLHUP})
	if n := len(f.r.Pipes()); n != 1 || f.closedCount() != 1 {
		t.Errorf("%d pipes are open and %d were closed, want 1 and 1", n, f.closedCount())
	}
}

// TestGraceEnds: what a pipe holds when its grace is over is read before it is closed.
func TestGraceEnds(t *testing.T) {
	f := newFixture(t)
	w := f.pipe(t, Source{"s", 1, logring.Stdout, 0})
	f.r.Release(1, time.Hour)
	f.r.mu.Lock()
	p := f.r.slots[0]
	f.r.disarm(p) // so that nothing but the end of its grace can read it
	p.deadline = 1
	f.r.mu.Unlock()
	write(t, w, "the last\n")
	f.r.expire()
	wait.For(t, "the end", func() bool { return f.closedCount() == 1 })
	if got := f.lines("s"); !slices.Equal(got, []string{"the last"}) {
		t.Errorf("got %q", got)
	}
}
