package notify

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		data string
		want Message
	}{
		{"READY=1", Message{Ready: true}},
		{"READY=1\n", Message{Ready: true}},
		{"READY=1\nSTATUS=Up and running\nMAINPID=123", Message{Ready: true, HasStatus: true, Status: "Up and running", MainPID: 123}},
		{"READY=0", Message{Unknown: 1}},
		{"READY=1=1", Message{Unknown: 1}},
		{"STATUS=", Message{HasStatus: true}},
		{"STATUS=a=b\nSTATUS=c", Message{HasStatus: true, Status: "c"}},
		{"STATUS= a\tb\x1b[31m\x00\xff ", Message{HasStatus: true, Status: "a b [31m \uFFFD"}},
		{"STOPPING=1", Message{Stopping: true}},
		{"RELOADING=1\nMONOTONIC_USEC=8123456", Message{Reloading: true, MonotonicUsec: 8123456}},
		{"ERRNO=2", Message{Errno: 2, HasErrno: true}},
		{"ERRNO=-2", Message{Unknown: 1}},
		{"MAINPID=1", Message{Unknown: 1}},
		{"MAINPID=0", Message{Unknown: 1}},
		{"MAINPID=-1", Message{Unknown: 1}},
		{"MAINPID=99999999999", Message{Unknown: 1}},
		{"WATCHDOG=1", Message{Watchdog: true}},
		{"WATCHDOG=trigger", Message{WatchdogTrigger: true}},
		{"WATCHDOG_USEC=20000000", Message{WatchdogTimeout: 20 * time.Second}},
		{"EXTEND_TIMEOUT_USEC=5000000", Message{ExtendTimeout: 5 * time.Second}},
		{"EXTEND_TIMEOUT_USEC=18446744073709551615", Message{ExtendTimeout: durationMax}},
		{"EXTEND_TIMEOUT_USEC=0", Message{Unknown: 1}},
		{"BARRIER=1", Message{Barrier: true}},
		{"FDSTORE=1\nFDNAME=x", Message{FDStore: true, Unknown: 1}},
		{"X_OWN=1\nnonsense\n\n=\nREADY=1", Message{Ready: true, Unknown: 3}},
		{"", Message{}},
	} {
		if got := Parse([]byte(test.data)); got != test.want {
			t.Errorf("%q:\n got %+v\nwant %+v", test.data, got, test.want)
		}
	}
	const all = "READY=1 RELOADING=1 STOPPING=1 MAINPID=7 WATCHDOG=1 WATCHDOG_USEC=8 EXTEND_TIMEOUT_USEC=9 ERRNO=2 STATUS=well"
	said := Parse([]byte(strings.ReplaceAll(all, " ", "\n")))
	if got := said.String(); got != all {
		t.Errorf("as text: %s", got)
	}
	long := Parse([]byte("STATUS=" + strings.Repeat("é", 2000)))
	if len(long.Status) > statusMax || !utf8.ValidString(long.Status) || strings.Contains(long.Status, "\uFFFD") {
		t.Errorf("a long status: %d bytes, valid %v", len(long.Status), utf8.ValidString(long.Status))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"READY=1\nSTATUS=x\nMAINPID=7", "WATCHDOG_USEC=99999999999999999999", "STATUS=\xff\xfe\x00", "=\n=\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := Parse(data)
		if len(m.Status) > statusMax || !utf8.ValidString(m.Status) || strings.ContainsAny(m.Status, "\n\r\x00\x1b") {
			t.Fatalf("status %q", m.Status)
		}
		if m.MainPID < 0 || m.MainPID == 1 || m.WatchdogTimeout < 0 || m.ExtendTimeout < 0 || m.ExtendTimeout > durationMax {
			t.Fatalf("%+v", m)
		}
	})
}

// FuzzControl feeds ancillary data as no kernel would send it.
func FuzzControl(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4})
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 1, Uid: 2, Gid: 3}))
	f.Fuzz(func(t *testing.T, data []byte) {
		readControl(data) // descriptors are numbers here; nothing may be closed or read
	})
}

// station is a poller that collects words.
type station struct {
	*Poller
	words chan Word
}

func newStation(t *testing.T) *station {
	t.Helper()
	s := &station{words: make(chan Word, 100)}
	p, err := NewPoller(func(w Word) { s.words <- w })
	if err != nil {
		t.Fatal(err)
	}
	s.Poller = p
	t.Cleanup(p.Close)
	return s
}

func (s *station) next(t *testing.T) Word {
	t.Helper()
	select {
	case w := <-s.words:
		return w
	case <-time.After(20 * time.Second):
		t.Fatal("no word within 20 s")
		return Word{}
	}
}

func (s *station) silent(t *testing.T) {
	t.Helper()
	// A word on another Conn is a fence: the poller goes through its Conns one by one.
	fence, err := s.Descriptor(1 << 60)
	if err != nil {
		t.Fatal(err)
	}
	fence.Begin()
	_, _ = unix.Write(fence.ChildFD(), []byte("\n"))
	for {
		w := s.next(t)
		if w.Gen == 1<<60 {
			break
		}
		t.Errorf("unexpected word %+v", w)
	}
	fence.Close(nil)
}

func (s *station) socket(t *testing.T, gen uint64, dir string) *Conn {
	t.Helper()
	c, err := s.Socket(gen, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(nil) })
	return c
}

func TestSocketKinds(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, dir string
		abstract  bool
	}{
		{"path", dir, false},
		{"abstract", "", true},
		{"missing folder", dir + "/none", true},
		{"path too long", dir + strings.Repeat("/x", 60), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStation(t)
			c := s.socket(t, 7, test.dir)
			if abstract := c.Env()[0] == '@'; abstract != test.abstract {
				t.Fatalf("socket %s", c.Env())
			}
			c.Begin()
			if err := Send(c.Env(), "READY=1\nSTATUS=x"); err != nil {
				t.Fatal(err)
			}
			w := s.next(t)
			if w.Gen != 7 || !w.Message.Ready || w.Message.Status != "x" || int(w.Sender.Pid) != os.Getpid() || int(w.Sender.Uid) != os.Getuid() {
				t.Errorf("got %+v", w)
			}
			path := c.Env()
			c.Close(nil)
			if _, err := os.Stat(path); !test.abstract && err == nil {
				t.Errorf("%s is still there", path)
			}
			if Send(path, "READY=1") == nil {
				t.Error("a closed socket took a word")
			}
		})
	}
}

// TestSocketIsOpenToAll: a daemon that has given up root reports from then on as another user.
func TestSocketIsOpenToAll(t *testing.T) {
	s := newStation(t)
	c := s.socket(t, 1, t.TempDir())
	var st unix.Stat_t
	if err := unix.Stat(c.Env(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o777 != 0o666 {
		t.Errorf("mode %o", st.Mode&0o777)
	}
}

func TestWordsWaitForBegin(t *testing.T) {
	s := newStation(t)
	c := s.socket(t, 3, "")
	if err := Send(c.Env(), "READY=1"); err != nil {
		t.Fatal(err)
	}
	s.silent(t)
	c.Begin()
	c.Begin()
	if w := s.next(t); w.Gen != 3 || !w.Message.Ready {
		t.Errorf("got %+v", w)
	}
	s.silent(t)
}

// TestFlush: what was said before is delivered before the answer, whether or not delivery has begun.
func TestFlush(t *testing.T) {
	s := newStation(t)
	for _, begun := range []bool{true, false} {
		c := s.socket(t, 4, "")
		if begun {
			c.Begin()
		}
		for range 5 {
			if err := Send(c.Env(), "STATUS=x"); err != nil {
				t.Fatal(err)
			}
		}
		heard := make(chan int, 1)
		s.Flush(c, func() { heard <- len(s.words) })
		if n := <-heard; n != 5 {
			t.Errorf("begun %v: %d words before the answer, want 5", begun, n)
		}
		for range 5 {
			s.next(t)
		}
		c.Close(nil)
		s.Flush(c, func() { heard <- len(s.words) })
		if n := <-heard; n != 0 {
			t.Errorf("a closed one said %d words", n)
		}
	}
	called := false
	s.Flush(nil, func() { called = true })
	if !called {
		t.Error("nobody to listen to, and no answer")
	}
}

func TestSocketsAreNotShared(t *testing.T) {
	s := newStation(t)
	a, b := s.socket(t, 1, ""), s.socket(t, 2, "")
	if a.Env() == b.Env() {
		t.Fatal("one name for two")
	}
	a.Begin()
	b.Begin()
	if err := Send(b.Env(), "READY=1"); err != nil {
		t.Fatal(err)
	}
	if w := s.next(t); w.Gen != 2 {
		t.Errorf("got %+v", w)
	}
}

func TestOddDatagrams(t *testing.T) {
	s := newStation(t)
	c := s.socket(t, 1, "")
	c.Begin()
	for _, data := range []string{strings.Repeat("A=1\n", 2000) + "READY=1", "", "READY=1"} {
		if err := Send(c.Env(), data); err != nil {
			t.Fatal(err)
		}
	}
	if w := s.next(t); !w.Message.Empty() {
		t.Errorf("the datagram that is too long must be dropped, the empty one means nothing: %+v", w)
	}
	if w := s.next(t); !w.Message.Ready {
		t.Errorf("got %+v", w)
	}
}

// sendWithFiles sends descriptors along.
func sendWithFiles(t *testing.T, socket, state string, files ...int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(fd, []byte(state), unix.UnixRights(files...), &unix.SockaddrUnix{Name: socket}, 0); err != nil {
		t.Fatal(err)
	}
}

func TestDescriptorsAreClosedAfterTheWord(t *testing.T) {
	s := &station{words: make(chan Word)}
	delivered := make(chan bool)
	p, err := NewPoller(func(w Word) { s.words <- w; <-delivered })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s.Poller = p
	c := s.socket(t, 1, "")
	c.Begin()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sendWithFiles(t, c.Env(), "BARRIER=1", int(w.Fd()))
	w.Close()
	if got := s.next(t); !got.Message.Barrier {
		t.Fatalf("got %+v", got)
	}
	fds := []unix.PollFd{{Fd: int32(r.Fd())}}
	if n, _ := unix.Poll(fds, 0); n != 0 {
		t.Error("the barrier was released before the word was dealt with")
	}
	delivered <- true
	if n, _ := unix.Poll(fds, 10000); n != 1 || fds[0].Revents&unix.POLLHUP == 0 {
		t.Error("the barrier was never released")
	}
}

func TestStoredDescriptorsDoNotPileUp(t *testing.T) {
	s := newStation(t)
	c := s.socket(t, 1, "")
	c.Begin()
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for range 50 {
		sendWithFiles(t, c.Env(), "FDSTORE=1\nFDNAME=x", 0, 1, 2)
		if w := s.next(t); !w.Message.FDStore {
			t.Fatalf("got %+v", w)
		}
	}
	s.silent(t)
	if !wait.Until(wait.Patience, func() bool { return count() <= before }) {
		t.Errorf("%d descriptors before, %d after", before, count())
	}
}

func TestReadinessDescriptor(t *testing.T) {
	for _, test := range []struct {
		name, written string
		keepOpen      bool
		want          Word
	}{
		{"newline", "\n", true, Word{OnDescriptor: true, Message: Message{Ready: true}}},
		{"text and newline", strings.Repeat("x", 1000) + "\nrest", true, Word{OnDescriptor: true, Message: Message{Ready: true}}},
		{"newline, then closed", "\n", false, Word{OnDescriptor: true, Message: Message{Ready: true}}},
		{"closed without", "x", false, Word{OnDescriptor: true, Closed: true}},
		{"closed at once", "", false, Word{OnDescriptor: true, Closed: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStation(t)
			c, err := s.Descriptor(9)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close(nil) })
			c.Begin()
			_, _ = unix.Write(c.ChildFD(), []byte(test.written))
			if !test.keepOpen {
				c.CloseChildFD()
			}
			test.want.Gen = 9
			if got := s.next(t); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			s.silent(t)
			if c.FD() != -1 {
				t.Error("the supervisor's end stays open for nothing")
			}
		})
	}
}

func TestReadinessFromAShell(t *testing.T) {
	s := newStation(t)
	c, err := s.Descriptor(4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(nil) })
	cmd := exec.Command("/bin/sh", "-c", "echo >&3; exec 3>&-")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup(t, c.ChildFD())), "ready")}
	defer cmd.ExtraFiles[0].Close()
	c.Begin()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if w := s.next(t); !w.Message.Ready || w.Gen != 4 {
		t.Errorf("got %+v", w)
	}
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAdoptedDescriptors(t *testing.T) {
	old, s := newStation(t), newStation(t)
	a := old.socket(t, 1, t.TempDir())
	b, err := old.Descriptor(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(nil) })
	if err := Send(a.Env(), "READY=1"); err != nil {
		t.Fatal(err)
	}
	a2, err := s.Adopt(1, dup(t, a.FD()))
	if err != nil {
		t.Fatal(err)
	}
	b2, err := s.Adopt(2, dup(t, b.FD()))
	if err != nil {
		t.Fatal(err)
	}
	if a2.Env() != a.Env() || !a2.IsSocket() || b2.IsSocket() {
		t.Errorf("adopted %q for %q", a2.Env(), a.Env())
	}
	a2.Begin()
	if w := s.next(t); w.Gen != 1 || !w.Message.Ready {
		t.Errorf("got %+v", w)
	}
	b2.Begin()
	_, _ = unix.Write(b.ChildFD(), []byte("\n"))
	if w := s.next(t); w.Gen != 2 || !w.OnDescriptor {
		t.Errorf("got %+v", w)
	}
	a2.Close(nil)
	b2.Close(nil)
	if _, err := os.Stat(filepath.Clean(a.Env())); err == nil {
		t.Error("the adopted socket's file is still there")
	}
}

// TestHeardAgain: a word that was being dealt with when the supervisor died is there for the next one.
func TestHeardAgain(t *testing.T) {
	old, s := &station{words: make(chan Word)}, newStation(t)
	dealtWith := make(chan bool)
	p, err := NewPoller(func(w Word) { old.words <- w; <-dealtWith })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	old.Poller = p
	a := old.socket(t, 1, "")
	b, err := old.Descriptor(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(nil) })
	for _, c := range []*Conn{a, b} {
		if c.IsSocket() {
			err = Send(c.Env(), "READY=1")
		} else {
			_, err = unix.Write(c.ChildFD(), []byte("starting\n"))
		}
		if err != nil {
			t.Fatal(err)
		}
		keeper := dup(t, c.FD())
		c.Begin()
		first := old.next(t)
		next, err := s.Adopt(first.Gen, keeper)
		if err != nil {
			t.Fatal(err)
		}
		next.Begin()
		if w := s.next(t); w != first {
			t.Errorf("first %+v, then %+v", first, w)
		}
		s.silent(t)
		next.Close(nil)
		dealtWith <- true
	}
}

func TestNilConn(t *testing.T) {
	var c *Conn
	c.Begin()
	c.CloseChildFD()
	c.Close(nil)
	if c.FD() != -1 || c.ChildFD() != -1 || c.Env() != "" || c.IsSocket() {
		t.Error("a nil Conn must be nothing")
	}
}

func TestVerify(t *testing.T) {
	alive := func(pid int) bool { return pid < 100 }
	member := func(pid int) bool { return pid < 10 }
	word := func(pid int32, uid uint32, main int) *Word {
		return &Word{Sender: unix.Ucred{Pid: pid, Uid: uid}, Message: Message{MainPID: main}}
	}
	for _, test := range []struct {
		name string
		word *Word
		ok   bool
	}{
		{"a member", word(5, 1000, 0), true},
		{"a member of another user", word(5, 33, 0), true},
		{"a stranger of the same user", word(50, 1000, 0), false},
		{"root, alive, a stranger", word(50, 0, 0), false},
		{"ended, the service's user", word(500, 1000, 0), true},
		{"ended, root", word(500, 0, 0), true},
		{"ended, another user", word(500, 33, 0), false},
		{"unseen, the service's user", word(0, 1000, 0), true},
		{"MAINPID of the tree", word(5, 1000, 6), true},
		{"MAINPID of a stranger", word(5, 1000, 50), false},
		{"MAINPID of the dead", word(5, 1000, 500), false},
		{"a descriptor", &Word{OnDescriptor: true}, true},
	} {
		if ok, why := Verify(test.word, 1000, alive, member); ok != test.ok || ok != (why == "") {
			t.Errorf("%s: %v %q", test.name, ok, why)
		}
	}
}

func TestRedisUnderSupervision(t *testing.T) {
	program := need.Program(t, "redis-server")
	dir := t.TempDir()
	s := newStation(t)
	c := s.socket(t, 5, dir)
	c.Begin()
	cmd := exec.Command(program, "--supervised", "systemd", "--port", "0", "--unixsocket", dir+"/redis.sock", "--save", "", "--dir", dir)
	cmd.Env = []string{"NOTIFY_SOCKET=" + c.Env(), "PATH=/usr/bin:/bin"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for ready := false; !ready; {
		w := s.next(t)
		if int(w.Sender.Pid) != cmd.Process.Pid || w.Gen != 5 {
			t.Fatalf("got %+v", w)
		}
		ready = w.Message.Ready
	}
	if _, err := os.Stat(dir + "/redis.sock"); err != nil {
		t.Error("ready before it listens:", err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for stopping := false; !stopping; {
		stopping = s.next(t).Message.Stopping
	}
}

func TestSystemdNotify(t *testing.T) {
	program := need.Program(t, "systemd-notify")
	for _, o := range []string{"", t.TempDir()} {
		s := newStation(t)
		c := s.socket(t, 1, o)
		c.Begin()
		cmd := exec.Command(program, "--ready", "--status=It is up", fmt.Sprintf("--pid=%d", os.Getpid()))
		cmd.Env = []string{"NOTIFY_SOCKET=" + c.Env()}
		// It waits for its barrier, so it ends only if we close that.
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		w := s.next(t)
		if !w.Message.Ready || w.Message.Status != "It is up" || w.Message.MainPID != os.Getpid() {
			t.Errorf("got %+v", w)
		}
	}
}

func TestGoSystemd(t *testing.T) {
	s := newStation(t)
	c := s.socket(t, 1, "")
	c.Begin()
	t.Setenv("NOTIFY_SOCKET", c.Env())
	if sent, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\n"+daemon.SdNotifyWatchdog); !sent || err != nil {
		t.Fatal(sent, err)
	}
	if w := s.next(t); !w.Message.Ready || !w.Message.Watchdog {
		t.Errorf("got %+v", w)
	}
}

func TestSendToASocketAbove(t *testing.T) {
	path := t.TempDir() + "/n"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := Send(path, "STOPPING=1"); err != nil {
		t.Fatal(err)
	}
	var buf [100]byte
	n, _, err := l.ReadFromUnix(buf[:])
	if err != nil || !bytes.Equal(buf[:n], []byte("STOPPING=1")) {
		t.Errorf("%q %v", buf[:n], err)
	}
	for _, bad := range []string{"", "relative", path + "/none"} {
		if Send(bad, "READY=1") == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func BenchmarkWord(b *testing.B) {
	done := make(chan struct{}, 1)
	p, err := NewPoller(func(Word) { done <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	c, err := p.Socket(1, "")
	if err != nil {
		b.Fatal(err)
	}
	c.Begin()
	for b.Loop() {
		_ = Send(c.Env(), "WATCHDOG=1")
		<-done
	}
}
