package ship

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

type report struct {
	service string
	err     error
	lost    uint64
}

type fixture struct {
	a *logring.Arena
	s *Shipper

	mu      sync.Mutex
	reports []report
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	a, err := logring.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{a: a}
	f.s = New(a, f.options())
	t.Cleanup(func() {
		f.s.Close(context.Background())
		_ = a.Close()
	})
	return f
}

func (f *fixture) options() Options {
	return Options{
		Host: "box", Linger: time.Millisecond, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond, Timeout: 2 * time.Second,
		Settle: 50 * time.Millisecond,
		Report: func(_, service string, err error, lost uint64) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.reports = append(f.reports, report{service, err, lost})
		},
	}
}

func (f *fixture) log(service string, from, to int) {
	r := f.a.Ring(service, logring.Limits{})
	for i := from; i < to; i++ {
		r.Append(logring.Record{TimeMS: 1_700_000_000_123, PID: 42, Stream: uint8(i % 2), Text: fmt.Appendf(nil, "line %d", i)})
	}
}

func (f *fixture) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	if f.s.Flush(ctx); ctx.Err() != nil {
		t.Fatalf("flush does not end: %+v", f.s.Sinks())
	}
}

func (f *fixture) set(t *testing.T, service, url string) {
	t.Helper()
	if err := f.s.Set(service, url, 0); err != nil {
		t.Fatal(err)
	}
}

// event is a line as a receiver decodes it.
type event struct {
	Timestamp time.Time
	Message   string
	Host      string
	Service   string
	Stream    string
	Seq       uint64
	PID       int
}

// receiver is an HTTP endpoint that misbehaves as told: answer says the status of the n-th request.
type receiver struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter, lines int) int

	mu     sync.Mutex
	n      int
	events []event
	gzips  int
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, lines int) int) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(r.handle))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) handle(w http.ResponseWriter, req *http.Request) {
	var body io.Reader = req.Body
	zipped := req.Header.Get("Content-Encoding") == "gzip"
	if zipped {
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			w.WriteHeader(599)
			return
		}
		body = z
	}
	var events []event
	for s := bufio.NewScanner(body); s.Scan(); {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			w.WriteHeader(599)
			return
		}
		events = append(events, e)
	}
	r.mu.Lock()
	n := r.n
	r.n++
	r.mu.Unlock()
	status := r.answer(n, w, len(events))
	r.mu.Lock()
	defer r.mu.Unlock()
	if status/100 == 2 {
		r.events = append(r.events, events...)
		if zipped {
			r.gzips++
		}
	}
	w.WriteHeader(status)
}

// check says that the lines of a service came once each and in order.
func (r *receiver) check(t *testing.T, service string, want int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := 0
	for _, e := range r.events {
		if e.Service != service {
			continue
		}
		if e.Message != fmt.Sprint("line ", i) || e.Seq != uint64(i+1) {
			t.Fatalf("%s: event %d is %+v", service, i, e)
		}
		i++
	}
	if i != want {
		t.Errorf("%s: %d lines came, want %d", service, i, want)
	}
}

func accept(int, http.ResponseWriter, int) int { return 204 }

func TestHTTP(t *testing.T) {
	f := newFixture(t)
	r := newReceiver(t, accept)
	f.log("a", 0, 500) // before: the ring is the queue
	f.set(t, "a", r.URL)
	f.set(t, "b", r.URL)
	f.log("b", 0, 700)
	f.flush(t)
	r.check(t, "a", 500)
	r.check(t, "b", 700)
	got := r.events[0]
	want := event{time.UnixMilli(1_700_000_000_123).UTC(), "line 0", "box", got.Service, "stdout", 1, 42}
	if got != want || r.gzips == 0 {
		t.Errorf("event is %+v, want %+v; %d compressed", got, want, r.gzips)
	}
	if sink, ok := f.s.Sink("a"); !ok || sink.Written != 500 || sink.Lost+sink.Errors+sink.Queued != 0 {
		t.Errorf("sink is %+v", sink)
	}
}

// A receiver that is down for a while, answers 500, 429 and 503, is slow: nothing twice, nothing lost.
func TestHTTPMisbehaves(t *testing.T) {
	f := newFixture(t)
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ int) int {
		switch n % 6 {
		case 0:
			return 500
		case 1:
			w.Header().Set("Retry-After", "0")
			return 429
		case 2:
			w.Header().Set("Retry-After", time.Now().UTC().Format(http.TimeFormat))
			return 503
		case 3:
			time.Sleep(20 * time.Millisecond) // a slow receiver
		case 4:
			return 302
		}
		return 200
	})
	f.a.Ring("s", logring.Limits{Lines: 10_000, Bytes: 1 << 20})
	f.set(t, "s", r.URL)
	for i := range 20 {
		f.log("s", i*100, i*100+100)
		time.Sleep(2 * time.Millisecond) // the pace of the lines, so that they go in several batches
	}
	f.flush(t)
	r.check(t, "s", 2000)
	sink, _ := f.s.Sink("s")
	if sink.Errors == 0 || sink.Last != "" || sink.Written != 2000 {
		t.Errorf("sink is %+v", sink)
	}
}

// closedPort is a port of loopback that refuses connections until open makes it listen. It is bound all the time, so that
// nobody else gets it.
func closedPort(t *testing.T) (port int, open func() net.Listener) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "port")
	t.Cleanup(func() { file.Close() })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return name.(*unix.SockaddrInet4).Port, func() net.Listener {
		if err := unix.Listen(fd, 16); err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func TestHTTPDownThenUp(t *testing.T) {
	f := newFixture(t)
	port, open := closedPort(t)
	url := fmt.Sprintf("http://user:secret@127.0.0.1:%d/in", port)
	f.a.Ring("s", logring.Limits{Lines: 100, Bytes: 4096})
	f.a.Ring("t", logring.Limits{})
	f.set(t, "s", url)
	f.set(t, "t", url)
	f.log("t", 0, 10)
	f.log("s", 0, 1000)
	wait.For(t, "errors", func() bool { s, _ := f.s.Sink("s"); return s.Errors > 3 })
	if s, _ := f.s.Sink("s"); s.Lost < 700 || s.Written != 0 || strings.Contains(s.Target+s.Last, "secret") {
		t.Errorf("sink is %+v", s)
	}
	r := &receiver{answer: accept}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.handle))
	_ = r.Listener.Close()
	r.Listener = open()
	r.Start()
	defer r.Close()
	f.flush(t)
	r.check(t, "t", 10)
	s, _ := f.s.Sink("s")
	if s.Written+s.Lost != 1000 || s.Queued != 0 {
		t.Errorf("sink is %+v", s)
	}
	wait.For(t, "the reports", func() bool { // the last ones come after the queue is empty
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.reports) >= 3
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.reports); n != 3 || f.reports[0].err == nil || f.reports[1].err != nil ||
		f.reports[2] != (report{"s", nil, s.Lost}) {
		t.Errorf("reports: %+v", f.reports)
	}
}

func TestHTTPRefusesALine(t *testing.T) {
	f := newFixture(t)
	r := newReceiver(t, func(_ int, _ http.ResponseWriter, lines int) int {
		switch {
		case lines > 64:
			return 413
		default:
			return 200
		}
	})
	f.log("s", 0, 1000)
	f.set(t, "s", r.URL)
	f.flush(t)
	r.check(t, "s", 1000)

	none := newReceiver(t, func(int, http.ResponseWriter, int) int { return 400 })
	f.log("bad", 0, 5)
	f.set(t, "bad", none.URL)
	f.flush(t)
	if sink, _ := f.s.Sink("bad"); sink.Lost != 5 || sink.Written != 0 {
		t.Errorf("sink is %+v", sink)
	}
}

func TestHTTPWithoutGzip(t *testing.T) {
	f := newFixture(t)
	var plain sync.Once
	r := newReceiver(t, func(n int, _ http.ResponseWriter, _ int) int {
		status := 200
		if n == 0 {
			plain.Do(func() { status = 415 })
		}
		return status
	})
	f.log("s", 0, 10)
	f.set(t, "s", r.URL)
	f.flush(t)
	if r.check(t, "s", 10); r.gzips != 0 {
		t.Error("still compressed")
	}
}

// A receiver that takes no compressed body and says so with 400, as the OpenTelemetry collector does, gets the same batch as
// it is. One that has taken a batch means the lines.
func TestHTTPBadRequestToGzip(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	var plain []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Encoding") != "" {
			w.WriteHeader(400)
			return
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		plain = append(plain, strings.Split(strings.TrimSpace(string(body)), "\n")...)
	}))
	t.Cleanup(server.Close)
	f.log("s", 0, 5)
	f.set(t, "s", server.URL)
	f.flush(t)
	if sink, _ := f.s.Sink("s"); sink.Written != 5 || sink.Lost != 0 || sink.Last != "" || sink.Delivery != "delivered" {
		t.Errorf("sink is %+v", sink)
	}
	if mu.Lock(); len(plain) != 5 {
		t.Errorf("%d lines came", len(plain))
	}
	mu.Unlock()

	picky := newReceiver(t, func(n int, _ http.ResponseWriter, _ int) int { return map[bool]int{true: 200, false: 400}[n == 0] })
	f.log("picky", 0, 1)
	f.set(t, "picky", picky.URL)
	f.flush(t)
	f.log("picky", 1, 2)
	f.flush(t)
	if picky.n != 2 {
		t.Errorf("%d requests, want 2: a refused line is not tried again", picky.n)
	}
}

// What was acknowledged is not sent again after a restart of the server; what was not, is.
func TestPositionOutlivesServer(t *testing.T) {
	f := newFixture(t)
	r := newReceiver(t, accept)
	f.set(t, "s", r.URL)
	f.log("s", 0, 100)
	f.flush(t)
	f.s.Close(context.Background())
	f.log("s", 100, 200)
	f.s = New(f.a, f.options())
	f.set(t, "s", r.URL)
	f.flush(t)
	r.check(t, "s", 200)
}

// A stream receiver that is killed and comes back: all lines come, in order but for batches that come again.
func TestStreamReconnects(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			f := newFixture(t)
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			lines := make(chan string, 100_000)
			go receiveLines(l, lines, map[string]int{"tcp": 50, "unix": 30}[network])
			f.a.Ring("s", logring.Limits{Lines: 100_000, Bytes: 4 << 20})
			f.set(t, "s", network+"://"+l.Addr().String())
			for i := range 20 {
				f.log("s", i*50, i*50+50)
				if network == "tcp" { // what the other side's kernel has is confirmed: it closes only between batches
					f.flush(t)
					wait.For(t, "the receiver", func() bool { return len(lines) >= i*50+50 })
				}
			}
			f.flush(t)
			next := 0
			for next < 1000 {
				var e event
				select {
				case line := <-lines:
					if err := json.Unmarshal([]byte(line), &e); err != nil {
						t.Fatalf("%q: %v", line, err)
					}
				case <-time.After(wait.Patience):
					t.Fatalf("line %d does not come", next)
				}
				var n int
				if _, err := fmt.Sscanf(e.Message, "line %d", &n); err != nil || n > next {
					t.Fatalf("line %d came, want %d", n, next)
				}
				if n == next {
					next++
				}
			}
		})
	}
}

// receiveLines takes connections, and closes each other one after some lines.
func receiveLines(l net.Listener, lines chan<- string, some int) {
	for n := 0; ; n++ {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			for i := 0; n%2 == 1 || i < some; i++ {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if n%2 == 0 && i == some-1 {
					_ = conn.Close() // before the test can send more
				}
				lines <- line
			}
		}()
	}
}

// receiveFrames reads octet-counted messages of one connection until it ends, or take says no.
func receiveFrames(conn net.Conn, take func(message string) bool) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil || !take(string(message)) {
			return
		}
	}
}

// A receiver that closes a connection over a message, as syslog-ng does, has dropped what came after it although its kernel
// had confirmed it: that is sent again.
func TestClosedConnectionSwallows(t *testing.T) {
	f := newFixture(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var mu sync.Mutex
	got := map[string]bool{}
	go func() {
		for first := true; ; first = false {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n := 0
			receiveFrames(conn, func(message string) bool {
				mu.Lock()
				defer mu.Unlock()
				_, text, _ := strings.Cut(message, "] ")
				got[text] = true
				n++
				return !first || n < 10
			})
		}
	}()
	f.log("s", 0, 500)
	f.set(t, "s", "syslog+tcp://"+l.Addr().String())
	wait.For(t, "every line", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 500
	})
	f.flush(t)
	if sink, _ := f.s.Sink("s"); sink.Written != 500 || sink.Lost != 0 || sink.Delivery != "sent" {
		t.Errorf("sink is %+v", sink)
	}
}

// One that closes every connection over the same message gets it twice: then it counts as lost, and what comes after it goes on.
func TestConnectionClosedForEver(t *testing.T) {
	f := newFixture(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var bad, good sync.Map
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go receiveFrames(conn, func(message string) bool {
				if strings.HasSuffix(message, "bad") {
					bad.Store(conn.RemoteAddr().String(), true)
					return false
				}
				good.Store(message, true)
				return true
			})
		}
	}()
	f.a.Ring("s", logring.Limits{}).Append(logring.Record{Text: []byte("bad")})
	f.set(t, "s", "syslog+tcp://"+l.Addr().String())
	wait.For(t, "the bad line to be given up", func() bool { s, _ := f.s.Sink("s"); return s.Lost == 1 })
	f.log("s", 0, 10)
	wait.For(t, "the lines after it", func() bool {
		n := 0
		good.Range(func(any, any) bool { n++; return true })
		return n == 10
	})
	n := 0
	bad.Range(func(any, any) bool { n++; return true })
	if s, _ := f.s.Sink("s"); n != 2 || s.Lost != 1 || s.Written != 10 {
		t.Errorf("the bad line went into %d connections, want 2; sink is %+v", n, s)
	}
}

// Lines that their connection has outlived are not sent again when it ends.
func TestSureLinesGoOnce(t *testing.T) {
	f := newFixture(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conns := make(chan net.Conn, 8)
	lines := make(chan string, 1000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
			go receiveFrames(conn, func(message string) bool { lines <- message; return true })
		}
	}()
	f.set(t, "s", "syslog+tcp://"+l.Addr().String())
	f.log("s", 0, 10)
	wait.For(t, "the lines", func() bool { return len(lines) == 10 })
	f.s.mu.Lock()
	src := f.s.sources["s"]
	f.s.mu.Unlock()
	wait.For(t, "them to be sure", func() bool { return !src.unsure() })
	_ = (<-conns).Close()
	f.log("s", 10, 20)
	wait.For(t, "the lines after them", func() bool { return len(lines) >= 20 })
	if s, _ := f.s.Sink("s"); len(lines) != 20 || s.Written != 20 || s.Errors != 0 {
		t.Errorf("%d lines came; sink is %+v", len(lines), s)
	}
}

// No message is longer than its bound, and the pieces of a line are the line.
func TestSyslogPieces(t *testing.T) {
	for _, most := range []int{480, graph.DefaultSyslogBytes, 8192} {
		for _, text := range []string{"", "x", strings.Repeat("é", 7000), strings.Repeat("x", most), strings.Repeat("\x80", 9000)} {
			var b batch
			b.addSyslog(strings.Repeat("h", 255), strings.Repeat("s", 128), &logring.Record{Seq: 1, Text: []byte(text)}, most, false)
			from, joined := 0, ""
			for _, end := range b.ends {
				message := string(b.payload[from:end])
				_, piece, _ := strings.Cut(message, "] ")
				if len(message) > most || text != strings.Repeat("\x80", 9000) && !utf8.ValidString(piece) {
					t.Errorf("bound %d: a message has %d bytes, valid %v", most, len(message), utf8.ValidString(piece))
				}
				joined += piece
				from = end
			}
			if joined != text {
				t.Errorf("bound %d: %d bytes of %d", most, len(joined), len(text))
			}
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://h/x": true, "https://h:1": true, "tcp://h:1": true, "unix:///run/x": true, "syslog+tcp://h": true,
		"syslog+udp://h:514": true, "syslog+unix:///dev/log": true, "syslog+tcp://[::1]": true,
		"": false, "h:1": false, "http://": false, "tcp://h": false, "unix://run/x": false, "ftp://h": false, "syslog+udp://": false,
		"http://[": false, "unix:///" + strings.Repeat("x", 108): false,
	} {
		if err := Check(url); (err == nil) != ok {
			t.Errorf("Check(%q): %v", url, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestDelay(t *testing.T) {
	d := &destination{opt: &Options{RetryMin: time.Second, RetryMax: 30 * time.Second}}
	for failures, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 99: 30 * time.Second} {
		for range 100 {
			if got := d.delay(errors.New("x"), failures); got < most/2 || got > most {
				t.Fatalf("delay %d is %v, want %v to %v", failures, got, most/2, most)
			}
		}
	}
	if got := d.delay(&retryError{after: time.Hour}, 1); got != maxRetryAfter {
		t.Errorf("delay is %v", got)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte("a\x00\"\\\n\xff\u2028é\x7f"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := AppendJSON(nil, "h", "s", &logring.Record{Text: text, Seq: 1})
		var e event
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := strings.ToValidUTF8(string(text), "\ufffd"); e.Message != want && e.Message != replaceEach(text) {
			t.Fatalf("got %q, want %q", e.Message, want)
		}
	})
}

// replaceEach replaces each bad byte by itself, as ranging over a string does.
func replaceEach(text []byte) string {
	var runes []rune
	for _, r := range string(text) {
		runes = append(runes, r)
	}
	return string(runes)
}

func TestSyslogMessage(t *testing.T) {
	rec := &logring.Record{Seq: 3, TimeMS: 1_700_000_000_123, Stream: logring.Stderr, PID: 7, Text: []byte("boom")}
	for priority, want := range map[logring.Priority]string{0: "<27>1", logring.MakePriority(0, 0): "<0>1", logring.MakePriority(20, 4): "<164>1", 200: "<27>1"} {
		if got := string(appendSyslogHeader(nil, "h", "s", &logring.Record{Seq: 1, Stream: logring.Stderr, Priority: priority})); !strings.HasPrefix(got, want+" ") {
			t.Errorf("priority %d: %s, want %s", priority, got, want)
		}
	}
	var b batch
	b.addSyslog("my box", "web", rec, graph.DefaultSyslogBytes, true)
	got := string(b.payload)
	want := `<27>1 2023-11-14T22:13:20.123Z my_box web 7 stderr [meta sequenceId="3"] boom`
	if want = fmt.Sprintf("%d %s", len(want), want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The members, as Vector's sources name them; those of syslog only where there is a priority.
func TestJSONMembers(t *testing.T) {
	rec := logring.Record{Seq: 3, TimeMS: 1_700_000_000_123, Stream: logring.Stderr, PID: 7, Text: []byte("boom"), Continued: true}
	want := `{"timestamp":"2023-11-14T22:13:20.123Z","message":"boom","host":"box","service":"web","stream":"stderr","seq":3,"pid":7,"continued":true}` + "\n"
	if got := string(AppendJSON(nil, "box", "web", &rec)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	rec.Stream, rec.Continued, rec.Priority = logring.Syslog, false, logring.MakePriority(10, 3)
	want = `{"timestamp":"2023-11-14T22:13:20.123Z","message":"boom","host":"box","service":"web","stream":"syslog","seq":3,"pid":7,"severity":"err","facility":"authpriv"}` + "\n"
	if got := string(AppendJSON(nil, "box", "web", &rec)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func readLines(path string) []string {
	b, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	return slices.DeleteFunc(lines, func(s string) bool { return s == "" })
}
