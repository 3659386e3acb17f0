package output

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

var kills = flag.Int("kills", 60, "how often the server is killed in TestReaderIsKilled")

// The survival test. This process is the keeper: it holds the arena and the read ends of the pipes. A helper process is the
// server: it opens the arena and reads. It is killed at random instants and started again. Writers write
// numbered lines all the while: as fast as they can, a few bytes at a time, long lines, two streams of one service. At
// the end of each life all lines that came in are looked at: each number once, in order, whole.

const (
	arenaFD = 3
	pipesFD = 4
)

func init() { helpers["server"] = helperServer }

// helperServer is the server: descriptors from 4 on are pipes, named by the argument "service gen stream" each.
func helperServer() {
	a, err := logring.Open(arenaFD)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	r, err := New(a, Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i, arg := range os.Args[1:] {
		var s Source
		if _, err := fmt.Sscan(arg, &s.Service, &s.Gen, &s.Stream, &s.PID); err != nil {
			panic(err)
		}
		if err := r.Add(pipesFD+i, s); err != nil {
			panic(err)
		}
	}
	a.FlushUnclaimed(nowMS())
	go func() { // another writer into the same rings, as syslog is
		for range time.Tick(time.Millisecond) {
			r.Inject("fast", logring.Record{Stream: logring.Syslog, Text: []byte("injected")})
		}
	}()
	_, _ = os.Stdout.Write([]byte("ready\n"))
	_, _ = os.Stdin.Read(make([]byte, 1)) // for ever, or until the test is over
	r.Stop()
}

type testWriter struct {
	Source
	line  func(n int) string // the n-th line, without newline
	chunk func() int         // bytes a write
	pause time.Duration      // between writes
	read  *os.File
	write *os.File
	count int // lines written
	seen  int // lines found
	next  uint64
}

func testWriters(t *testing.T) []*testWriter {
	big := func() int { return 64 << 10 }
	few := func() int { return 1 + rand.IntN(3) }
	some := func() int { return 1 + rand.IntN(3000) }
	numbered := func(n int) string { return strconv.Itoa(n) }
	padded := func(n int) string { return fmt.Sprintf("%d %s", n, strings.Repeat("x", n%150)) }
	long := func(n int) string { return fmt.Sprintf("%d %s", n, strings.Repeat("y", n*7919%60_000)) }
	return []*testWriter{
		{Source: Source{"fast", 1, logring.Stdout, 11}, line: padded, chunk: big},
		{Source: Source{"fast", 1, logring.Stderr, 11}, line: numbered, chunk: some, pause: 50 * time.Microsecond},
		{Source: Source{"small", 2, logring.Stdout, 12}, line: numbered, chunk: few},
		{Source: Source{"small", 2, logring.Stderr, 12}, line: numbered, chunk: few},
		{Source: Source{"long", 3, logring.Stdout, 13}, line: long, chunk: some},
	}
}

// run writes until the pipe is closed or stop is. It always ends with a whole line.
func (w *testWriter) run(stop chan struct{}) {
	defer w.write.Close()
	var pending []byte
	for {
		select {
		case <-stop:
			_, _ = w.write.Write(pending)
			return
		default:
		}
		n := w.chunk()
		for len(pending) < n {
			pending = append(append(pending, w.line(w.count)...), '\n')
			w.count++
		}
		if _, err := w.write.Write(pending[:n]); err != nil {
			return
		}
		pending = append(pending[:0:0], pending[n:]...)
		if w.pause > 0 {
			time.Sleep(w.pause) // the pace of this writer: without one its lines come in large reads only
		}
	}
}

func TestReaderIsKilled(t *testing.T) {
	a, err := logring.New(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	need.That(t, a.FD() >= 0, "memfd")
	writers := testWriters(t)
	for _, name := range []string{"fast", "small", "long"} {
		// Bounds so wide that a life of the server does not overrun them: the check reads between two lives.
		a.Ring(name, logring.Limits{Lines: 1 << 30, Bytes: 16 << 20}).Append(logring.Record{Text: []byte("begin")})
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, w := range writers {
		if w.read, w.write, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		w.next = 2
		running.Add(1)
		go func() { defer running.Done(); w.run(stop) }()
	}
	found := map[logring.Recovery]int{}
	for life := range *kills {
		s := startServer(t, a.FD(), writers)
		if life == *kills-1 {
			close(stop)
			running.Wait()
			waitEmpty(t, writers)
			s.end()
		} else {
			time.Sleep(time.Duration(rand.IntN(8_000)) * time.Microsecond) // nothing is waited for: the kill comes at any instant
			s.kill()
		}
		found[checkLife(t, a, writers, life)]++
	}
	total := 0
	for _, w := range writers {
		if w.seen != w.count {
			t.Errorf("%s/%d: %d lines written, %d found", w.Service, w.Stream, w.count, w.seen)
		}
		total += w.count
	}
	t.Logf("%d kills, %d lines; found: no read under way %d, one not done %d, done %d, lines there %d, rest missing %d", *kills, total,
		found[logring.RecoveryNone], found[logring.RecoveryNotRead], found[logring.RecoveryRead],
		found[logring.RecoveryLines], found[logring.RecoveryRest])
}

// checkLife opens the arena as the next server will, and reads what is new.
func checkLife(t *testing.T, a *logring.Arena, writers []*testWriter, life int) logring.Recovery {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(a.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := logring.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	next := map[string]uint64{}
	for _, w := range writers {
		if _, done := next[w.Service]; done {
			continue
		}
		var missed uint64
		next[w.Service], missed = b.Ring(w.Service, logring.Limits{}).Scan(w.next, func(rec *logring.Record) bool {
			if rec.Stream == logring.Syslog {
				return true
			}
			for _, x := range writers {
				if x.Service == w.Service && x.Stream == rec.Stream {
					if want := x.line(x.seen); string(rec.Text) != want || rec.PID != x.PID || rec.Continued {
						t.Fatalf("life %d, %s/%d: line %d of pid %d is %.60q, want %.60q",
							life, x.Service, x.Stream, rec.Seq, rec.PID, rec.Text, want)
					}
					x.seen++
				}
			}
			return true
		})
		if missed > 0 {
			t.Fatalf("life %d, %s: the bounds of the test are too narrow, %d lines missed", life, w.Service, missed)
		}
	}
	for _, w := range writers {
		w.next = next[w.Service]
	}
	return b.Recovery()
}

type testServer struct {
	cmd   *exec.Cmd
	stdin *os.File
}

func startServer(t *testing.T, arena int, writers []*testWriter) *testServer {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(arena), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	memfd := os.NewFile(uintptr(dup), "arena")
	defer memfd.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "ZINIT_OUTPUT_HELPER=server")
	cmd.ExtraFiles = []*os.File{memfd}
	for _, w := range writers {
		cmd.ExtraFiles = append(cmd.ExtraFiles, w.read)
		cmd.Args = append(cmd.Args, fmt.Sprint(w.Service, " ", w.Gen, " ", w.Stream, " ", w.PID))
	}
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = stdin
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	line := make([]byte, 200)
	n, _ := out.Read(line)
	if !bytes.Equal(line[:n], []byte("ready\n")) {
		t.Fatalf("the server says %q", line[:n])
	}
	return &testServer{cmd, hold}
}

func (s *testServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.stdin.Close()
}

func (s *testServer) end() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
}

// waitEmpty waits until the server has read every pipe.
func waitEmpty(t *testing.T, writers []*testWriter) {
	t.Helper()
	wait.For(t, "the pipes to be read", func() bool {
		for _, w := range writers {
			if available(int(w.read.Fd())) > 0 {
				return false
			}
		}
		return true
	})
}
