package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/supervisor/machine"
)

func run(t testing.TB, h graph.Health) (bool, string) {
	t.Helper()
	if h.Timeout == 0 {
		h.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	defer cancel()
	return Run(ctx, &h)
}

// listener answers every connection with a function.
func listener(t testing.TB, address string, serve func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return l.Addr()
}

// closedPort is a port nobody listens on.
func closedPort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTCP(t *testing.T) {
	port := listener(t, "127.0.0.1:0", func(net.Conn) {}).(*net.TCPAddr).Port
	for _, target := range []string{"127.0.0.1:%d", "localhost:%d", ":%d", "%d", "tcp://127.0.0.1:%d"} {
		target = fmt.Sprintf(target, port)
		if ok, detail := run(t, graph.Health{Type: graph.HealthTCP, Target: target}); !ok || detail != fmt.Sprintf("connected to 127.0.0.1:%d", port) {
			t.Errorf("%s: %v %s", target, ok, detail)
		}
	}
	closed := closedPort(t)
	for target, want := range map[string]string{
		fmt.Sprintf("127.0.0.1:%d", closed): fmt.Sprintf("connect 127.0.0.1:%d: connection refused", closed),
		fmt.Sprintf("localhost:%d", closed): fmt.Sprintf("connect localhost:%d: connection refused", closed),
		"nonsense":                          `connect nonsense: want host:port, got "nonsense"`,
	} {
		if ok, detail := run(t, graph.Health{Type: graph.HealthTCP, Target: target}); ok || detail != want {
			t.Errorf("%s: %v %s", target, ok, detail)
		}
	}
}

func TestTCPLocalhostIsAlsoVersion6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	need.That(t, err == nil, "IPv6")
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if ok, detail := run(t, graph.Health{Type: graph.HealthTCP, Target: fmt.Sprintf("localhost:%d", port)}); !ok {
		t.Error(detail)
	}
}

func TestTimeoutsAreTold(t *testing.T) {
	silent := listener(t, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	h := graph.Health{Type: graph.HealthHTTP, Target: "http://" + silent.String() + "/x", Timeout: 100 * time.Millisecond}
	start := time.Now()
	ok, detail := run(t, h)
	if want := "GET http://" + silent.String() + "/x: no answer within " + graph.Duration(h.Timeout); ok || detail != want {
		t.Errorf("got %v %q, want %q", ok, detail, want)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestHTTP(t *testing.T) {
	var hits []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits = append(hits, r.URL.Path)
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, "fine")
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/bad":
			http.Error(w, "database is \x1b[31mdown\nsecond line", http.StatusServiceUnavailable)
		case "/page":
			w.WriteHeader(500)
			fmt.Fprint(w, "<html>no</html>")
		case "/auth":
			if user, password, _ := r.BasicAuth(); user != "u" || password != "secret" {
				w.WriteHeader(401)
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	base := server.URL
	withUser := strings.Replace(base, "http://", "http://u:secret@", 1)
	for _, test := range []struct {
		target string
		expect []graph.StatusRange
		ok     bool
		detail string
	}{
		{base + "/ok", nil, true, "GET " + base + "/ok answered 200 OK"},
		{strings.TrimPrefix(base, "http://") + "/ok", nil, true, "GET " + base + "/ok answered 200 OK"},
		{base + "/moved", nil, false, "GET " + base + "/moved answered 302, want 200"},
		{base + "/moved", []graph.StatusRange{{Low: 200, High: 399}}, true, "GET " + base + "/moved answered 302 Found"},
		{base + "/none", nil, false, "GET " + base + "/none answered 204, want 200"},
		{base + "/none", []graph.StatusRange{{Low: 200, High: 299}}, true, "GET " + base + "/none answered 204 No Content"},
		{base + "/bad", []graph.StatusRange{{Low: 200, High: 200}, {Low: 204, High: 204}}, false,
			"GET " + base + "/bad answered 503, want 200, 204: database is  [31mdown"},
		{base + "/page", []graph.StatusRange{{Low: 200, High: 299}, {Low: 301, High: 302}}, false,
			"GET " + base + "/page answered 500, want 2xx, 301-302"},
		{withUser + "/auth", nil, true, "GET " + strings.Replace(withUser, "secret", "xxxxx", 1) + "/auth answered 200 OK"},
		{"http://[::1", nil, false, "GET http://[::1: missing ']' in host"},
	} {
		ok, detail := run(t, graph.Health{Type: graph.HealthHTTP, Target: test.target, ExpectStatus: test.expect, TLSVerify: true})
		if ok != test.ok || detail != test.detail {
			t.Errorf("%s:\n got %v %s\nwant %v %s", test.target, ok, detail, test.ok, test.detail)
		}
	}
	if hits[2] != "/moved" || hits[3] != "/moved" {
		t.Errorf("a redirect was followed: %q", hits)
	}
}

// sends starts a server that answers each request with a head and a page and then waits for the client to close. What it
// saw then comes on the channel: nil for a connection closed in order.
func sends(t *testing.T, head, page string) (target string, seen <-chan error) {
	t.Helper()
	ends := make(chan error, 1)
	addr := listener(t, "127.0.0.1:0", func(c net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return // the listener's own closing
		}
		if request.Method == http.MethodHead {
			page = ""
		}
		if _, err = io.WriteString(c, head+page); err == nil {
			_ = c.(*net.TCPConn).CloseWrite()
			_, err = io.Copy(io.Discard, c)
		}
		ends <- err
	})
	return "http://" + addr.String() + "/", ends
}

func TestPagesAreReadToTheirEnd(t *testing.T) {
	page := strings.Repeat("x", 3<<20)
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(page))
	for name, test := range map[string]struct {
		h    graph.Health
		head string
		ok   bool
	}{
		"with a length":    {graph.Health{}, whole, true},
		"without a length": {graph.Health{}, "HTTP/1.1 200 OK\r\n\r\n", true},
		"of an error":      {graph.Health{}, "HTTP/1.1 503 No\r\n\r\n", false},
		"none for HEAD":    {graph.Health{Method: graph.MethodHead}, whole, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := test.h
			h.Type = graph.HealthHTTP
			var seen <-chan error
			h.Target, seen = sends(t, test.head, page)
			if ok, detail := run(t, h); ok != test.ok || !strings.HasPrefix(detail, h.Method.String()+" "+h.Target) {
				t.Errorf("got %v %s", ok, detail)
			}
			if err := <-seen; err != nil {
				t.Errorf("the program saw %v", err)
			}
		})
	}
}

func TestEndlessAnswersPass(t *testing.T) {
	for name, head := range map[string]string{
		"a stream of events":   "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
		"a change of protocol": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			addr := listener(t, "127.0.0.1:0", func(c net.Conn) {
				requests := bufio.NewReader(c)
				_, _ = http.ReadRequest(requests) // an answer that comes before its question is an error
				_, _ = io.WriteString(c, head)
				_, _ = io.Copy(io.Discard, requests)
			})
			h := graph.Health{Type: graph.HealthHTTP, Target: "http://" + addr.String(), Timeout: wait.Patience,
				ExpectStatus: []graph.StatusRange{{Low: 101, High: 299}}}
			start := time.Now()
			if ok, detail := run(t, h); !ok {
				t.Error(detail)
			}
			if took := time.Since(start); took > wait.Patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	h := graph.Health{Type: graph.HealthHTTP, Target: server.URL + "/", TLSVerify: true}
	if ok, detail := run(t, h); ok || !strings.Contains(detail, "certificate") {
		t.Errorf("a certificate of nobody: %v %s", ok, detail)
	}
	h.TLSVerify = false
	if ok, detail := run(t, h); !ok {
		t.Errorf("tls_verify = false: %s", detail)
	}
}

func TestNothingOutlivesACheck(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		for range 100 {
			fmt.Fprint(w, strings.Repeat("x", 1000))
		}
	}))
	t.Cleanup(server.Close)
	before := runtime.NumGoroutine()
	descriptors := openDescriptors(t)
	for range 20 {
		if ok, detail := run(t, graph.Health{Type: graph.HealthHTTP, Target: server.URL}); !ok {
			t.Fatal(detail)
		}
	}
	if !wait.Until(10*time.Second, func() bool { return runtime.NumGoroutine() <= before+2 && openDescriptors(t) <= descriptors+2 }) {
		t.Fatalf("%d goroutines and %d descriptors, before %d and %d", runtime.NumGoroutine(), openDescriptors(t), before, descriptors)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestCommand(t *testing.T) {
	for _, test := range []struct {
		name   string
		output string
		end    End
		ok     bool
		detail string
	}{
		{"pass", "", End{}, true, "exited with code 0"},
		{"pass with output", "a\nready to serve\n\n", End{}, true, "ready to serve"},
		{"fail", "", End{Status: machine.Status{Code: 3}}, false, "exited with code 3, want 0"},
		{"fail with output", "x\nno connection\n", End{Status: machine.Status{Code: 1}}, false, "exited with code 1, want 0: no connection"},
		{"killed", "", End{Status: machine.Status{Signal: 9}}, false, "was killed by signal 9, want exit code 0"},
		{"not started", "", End{Err: errors.New("cannot execute \"x\": not found")}, false, "cannot execute \"x\": not found"},
		{"timeout", "still working\n", End{Status: machine.Status{Signal: 9}, Late: true}, false, "did not end within 10s: still working"},
		{"stuck", "", End{Late: true, Stuck: ", and is there still"}, false, "did not end within 10s, and is there still"},
		{"called off", "x", End{Status: machine.Status{Signal: 9}, Off: true}, false, "called off"},
		{"garbage", "\xff\x00\x1b[2J\n", End{Status: machine.Status{Code: 1}}, false, "exited with code 1, want 0: \uFFFD  [2J"},
	} {
		test.end.Output = []byte(test.output)
		ok, detail := Verdict(&graph.Health{Type: graph.HealthExec, Timeout: 10 * time.Second}, &test.end)
		if ok != test.ok || strings.ReplaceAll(detail, "10 s", "10s") != test.detail {
			t.Errorf("%s: got %v %q, want %v %q", test.name, ok, detail, test.ok, test.detail)
		}
	}
}

func TestCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	port := listener(t, "127.0.0.1:0", func(net.Conn) {}).String()
	for _, h := range []graph.Health{
		{Type: graph.HealthTCP, Target: port}, {Type: graph.HealthHTTP, Target: "http://" + port},
	} {
		h.Timeout = time.Second
		ok, detail := Run(ctx, &h)
		if ok || !strings.Contains(detail, "called off") {
			t.Errorf("%v: %v %s", h.Type, ok, detail)
		}
	}
}

// FuzzHTTPAnswer lets a server answer with anything: the check must end, with one bounded line.
func FuzzHTTPAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 503 No\r\nContent-Length: 99999999999\r\n\r\nx", "", "\x00\xff", "HTTP/1.1 200",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 999 \x1b[2J\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	answers := make(chan []byte, 1)
	addr := listener(f, "127.0.0.1:0", func(c net.Conn) {
		data := <-answers
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = c.Write(data)
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		answers <- data
		_, detail := run(t, graph.Health{Type: graph.HealthHTTP, Target: "http://" + addr.String() + "/"})
		if len(detail) > detailMax+4 || !utf8.ValidString(detail) || strings.ContainsAny(detail, "\n\x1b\x00") {
			t.Fatalf("detail %q", detail)
		}
	})
}

func TestHugeHeaderIsRefused(t *testing.T) {
	addr := listener(t, "127.0.0.1:0", func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
		for range 10000 {
			if _, err := c.Write([]byte("X: " + strings.Repeat("y", 1000) + "\r\n")); err != nil {
				return
			}
		}
	})
	if ok, detail := run(t, graph.Health{Type: graph.HealthHTTP, Target: "http://" + addr.String()}); ok || !strings.Contains(detail, "exceeded") {
		t.Errorf("got %v %s", ok, detail)
	}
}

func BenchmarkTCP(b *testing.B) {
	addr := listener(b, "127.0.0.1:0", func(net.Conn) {})
	for b.Loop() {
		if ok, detail := run(b, graph.Health{Type: graph.HealthTCP, Target: addr.String()}); !ok {
			b.Fatal(detail)
		}
	}
}

func BenchmarkHTTP(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for b.Loop() {
		if ok, detail := run(b, graph.Health{Type: graph.HealthHTTP, Target: server.URL}); !ok {
			b.Fatal(detail)
		}
	}
}

// TestNoProxy: a check asks the service itself. Go never uses a proxy for a loopback address, so the transport is asked what
// it would do with another one.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	if newTransport(&graph.Health{}).Proxy != nil {
		t.Error("a check may go through a proxy")
	}
}
