package xinet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc/wire"
)

const patience = 10 * time.Second

// fakeServices counts, and starts a backend when asked to.
type fakeServices struct {
	mu      sync.Mutex
	ensured int
	stopped chan string
	ensure  func(ctx context.Context, service string) error
}

func (f *fakeServices) Ensure(ctx context.Context, service string) error {
	f.mu.Lock()
	f.ensured++
	ensure := f.ensure
	f.mu.Unlock()
	if ensure != nil {
		return ensure(ctx, service)
	}
	return nil
}

func (f *fakeServices) StopIdle(service string) { f.stopped <- service }

func newManager(t *testing.T) (*Manager, *fakeServices) {
	t.Helper()
	services := &fakeServices{stopped: make(chan string, 10)}
	m := New(services, nil)
	t.Cleanup(m.Close)
	return m, services
}

// echo is a backend that sends everything back and says goodbye at the end.
func echo(t *testing.T, network, target string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
				_, _ = conn.Write([]byte("bye"))
			}()
		}
	}()
	return listener
}

// talk sends, half-closes, and returns everything that comes back.
func talk(t *testing.T, network, target, text string) string {
	t.Helper()
	conn, err := net.Dial(network, target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		_, _ = conn.Write([]byte(text))
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	all, _ := io.ReadAll(conn)
	return string(all)
}

func active(t *testing.T, m *Manager, name string) uint64 {
	t.Helper()
	status, err := m.Status(name)
	if err != nil {
		t.Fatal(err)
	}
	if status.Connections != status.ActiveConnections {
		t.Errorf("connections %d, active_connections %d", status.Connections, status.ActiveConnections)
	}
	return status.ActiveConnections
}

// bound returns where the proxy's TCP listener is.
func bound(t *testing.T, m *Manager, name string) string {
	t.Helper()
	status, err := m.Status(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, listen := range status.Listen {
		if target, ok := strings.CutPrefix(listen, "tcp:"); ok {
			return target
		}
	}
	t.Fatalf("no TCP address in %v", status.Listen)
	return ""
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ text, want, problem string }{
		{"unix:/run/a.sock", "unix:/run/a.sock", ""},
		{"/run/a.sock", "unix:/run/a.sock", ""},
		{"/run/a:80", "unix:/run/a:80", ""},
		{"tcp:127.0.0.1:80", "tcp:127.0.0.1:80", ""},
		{"127.0.0.1:080", "tcp:127.0.0.1:80", ""},
		{":80", "tcp::80", ""},
		{"[::1]:80", "tcp:[::1]:80", ""},
		{"localhost:80", "tcp:localhost:80", ""},
		{"a.sock", "", "neither HOST:PORT nor an absolute path"},
		{"run/a.sock", "", "must be absolute"},
		{"unix:a.sock", "", "must be absolute"},
		{"", "", "neither"},
		{"tcp:", "", "neither"},
		{"tcp:/run/x", "", "no slash"},
		{"::1:80", "", "neither"},
		{"127.0.0.1:http", "", "no port"},
		{"127.0.0.1:65536", "", "no port"},
		{"127.0.0.1:-1", "", "no port"},
		{"/" + strings.Repeat("x", 107), "", "at most 107"},
		{"/a\x00b", "", "NUL"},
	} {
		a, err := parseAddress(c.text)
		switch {
		case c.problem == "" && (err != nil || a.String() != c.want):
			t.Errorf("%q: %v %v, want %s", c.text, a, err, c.want)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%q: %v %v, want %s", c.text, a, err, c.problem)
		}
	}
}

func TestForward(t *testing.T) {
	dir := t.TempDir()
	backend := echo(t, "unix", filepath.Join(dir, "backend"))
	m, services := newManager(t)
	front := filepath.Join(dir, "deep/front")
	config := wire.XinetConfig{Name: "p", Listen: []string{front, "127.0.0.1:0"}, Backend: backend.Addr().String(), Service: "svc"}
	if err := m.Set(config); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	for _, text := range []string{"hello", "", big} {
		if got := talk(t, "unix", front, text); got != text+"bye" {
			t.Errorf("over unix: %d bytes came back for %d", len(got), len(text))
		}
		if got := talk(t, "tcp", bound(t, m, "p"), text); got != text+"bye" {
			t.Errorf("over TCP: %d bytes came back for %d", len(got), len(text))
		}
	}
	wait.For(t, "the end of the connections", func() bool { return active(t, m, "p") == 0 })
	status, _ := m.Status("p")
	sent := uint64(2 * (len("hello") + len(big)))
	if status.TotalConnections != 6 || status.BytesIn != sent || status.BytesOut != sent+6*3 || !status.Running ||
		status.Service != "svc" || status.Backend != "unix:"+config.Backend || status.Listen[0] != "unix:"+front {
		t.Errorf("%+v", status)
	}
	if services.ensured != 6 {
		t.Errorf("the service was asked for %d times", services.ensured)
	}
}

// TestStartOnConnect: the backend comes only when the service is started, and listens a while later.
func TestStartOnConnect(t *testing.T) {
	dir := t.TempDir()
	m, services := newManager(t)
	where := filepath.Join(dir, "backend")
	var once sync.Once
	services.ensure = func(context.Context, string) error {
		once.Do(func() { time.AfterFunc(30*time.Millisecond, func() { echo(t, "unix", where) }) })
		return nil
	}
	if err := m.Set(wire.XinetConfig{Name: "p", Listen: []string{"127.0.0.1:0"}, Backend: where, Service: "svc"}); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, "tcp", bound(t, m, "p"), "x"); got != "xbye" {
		t.Errorf("got %q", got)
	}
}

// TestCountsNeverLeak: whatever ends a connection, it is counted out.
func TestCountsNeverLeak(t *testing.T) {
	dir := t.TempDir()
	m, services := newManager(t)
	if err := m.Set(wire.XinetConfig{Name: "p", Listen: []string{"127.0.0.1:0"}, Backend: filepath.Join(dir, "none"),
		Service: "svc", ConnectTimeout: 1}); err != nil {
		t.Fatal(err)
	}
	for name, ensure := range map[string]func(ctx context.Context, service string) error{
		"the service fails":       func(context.Context, string) error { return errors.New("failed: exited with code 1") },
		"the backend never comes": nil,
		"it hangs in the start":   func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
	} {
		services.mu.Lock()
		services.ensure = ensure
		services.mu.Unlock()
		if got := talk(t, "tcp", bound(t, m, "p"), "x"); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
		wait.For(t, "the count: "+name, func() bool { return active(t, m, "p") == 0 })
	}
	backend := echo(t, "unix", filepath.Join(dir, "none"))
	services.mu.Lock()
	services.ensure = nil
	services.mu.Unlock()
	var all sync.WaitGroup
	for i := range 40 { // clients that break off in every way
		all.Go(func() {
			conn, err := net.Dial("tcp", bound(t, m, "p"))
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				_, _ = conn.Write([]byte(strings.Repeat("x", 100_000)))
			}
			if i%3 == 0 {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close()
		})
	}
	all.Wait()
	wait.For(t, "the count", func() bool { s, _ := m.Status("p"); return s.TotalConnections == 43 && s.ActiveConnections == 0 })
	_ = backend.Close()
	if len(m.users) != 0 || m.total != 0 || len(m.conns) != 0 {
		t.Errorf("left over: %v %d %d", m.users, m.total, len(m.conns))
	}
}

// TestEarlyAnswer: a backend that answers and closes without reading everything is heard.
func TestEarlyAnswer(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("too much"))
		_ = conn.(*net.UnixConn).CloseWrite()
		_ = conn.(*net.UnixConn).CloseRead()
	}()
	m, _ := newManager(t)
	if err := m.Set(wire.XinetConfig{Name: "p", Listen: []string{"127.0.0.1:0"}, Backend: listener.Addr().String(), Service: "s"}); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, "tcp", bound(t, m, "p"), strings.Repeat("x", 1<<20)); got != "too much" {
		t.Errorf("got %q", got)
	}
}

func TestSetRefuses(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	alive := echo(t, "unix", filepath.Join(dir, "alive"))
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, _ := newManager(t)
	good := wire.XinetConfig{Name: "p", Listen: []string{filepath.Join(dir, "front")}, Backend: "127.0.0.1:1", Service: "s"}
	if err := m.Set(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*wire.XinetConfig)
		code   wire.Code
		want   string
	}{
		{func(c *wire.XinetConfig) { c.Name = "" }, wire.CodeParams, "name must have 1 to 128 bytes"},
		{func(c *wire.XinetConfig) { c.Service = "" }, wire.CodeParams, "p: service is missing"},
		{func(c *wire.XinetConfig) { c.Listen = nil }, wire.CodeParams, "p: listen is missing"},
		{func(c *wire.XinetConfig) { c.Listen = []string{"x"} }, wire.CodeParams, `p: listen: "x" is neither`},
		{func(c *wire.XinetConfig) { c.Backend = "" }, wire.CodeParams, "p: backend:"},
		{func(c *wire.XinetConfig) { c.Backend = "127.0.0.1:0" }, wire.CodeParams, "needs a port"},
		{func(c *wire.XinetConfig) { c.Backend = c.Listen[0] }, wire.CodeParams, "listen and backend are both"},
		{func(c *wire.XinetConfig) { c.IdleTimeout = 1 << 40 }, wire.CodeParams, "at most"},
		{func(c *wire.XinetConfig) { c.Listen = []string{taken.Addr().String()} }, wire.CodeInternal, "address already in use"},
		{func(c *wire.XinetConfig) { c.Listen = []string{alive.Addr().String()} }, wire.CodeInternal, "another process listens there"},
		{func(c *wire.XinetConfig) { c.Listen = []string{file} }, wire.CodeInternal, "something that is no socket"},
		{func(c *wire.XinetConfig) { c.Listen = []string{filepath.Join(file, "x")} }, wire.CodeInternal, "not a directory"},
		{func(c *wire.XinetConfig) { c.Listen = []string{filepath.Join(dir, "second"), taken.Addr().String()} }, wire.CodeInternal, "in use"},
	} {
		config := good
		c.change(&config)
		err := m.Set(config)
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %d %s", err, c.code, c.want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "second")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a socket is left of a refused definition: %v", err)
	}
	if list := m.Definitions(); !reflect.DeepEqual(list, []wire.XinetConfig{good}) {
		t.Errorf("%+v", list)
	}
	if text, _ := os.ReadFile(file); string(text) != "x" {
		t.Error("the file was touched")
	}
	for _, err := range []error{m.Delete("ghost"), func() error { _, err := m.Status("ghost"); return err }()} {
		if err == nil || !strings.Contains(err.Error(), "not found") {
			t.Error(err)
		}
	}
}

// TestReplace: the same address goes on without a gap, others come and go, open connections and counters stay.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	first, second := echo(t, "unix", filepath.Join(dir, "1")), echo(t, "unix", filepath.Join(dir, "2"))
	m, _ := newManager(t)
	front, other := filepath.Join(dir, "front"), filepath.Join(dir, "other")
	config := wire.XinetConfig{Name: "p", Listen: []string{front, "127.0.0.1:0"}, Backend: first.Addr().String(), Service: "s"}
	if err := m.Set(config); err != nil {
		t.Fatal(err)
	}
	open, err := net.Dial("unix", front)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	_ = open.SetDeadline(time.Now().Add(patience))
	if _, err := open.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	tcp := bound(t, m, "p")
	config.Listen, config.Backend = []string{front, other}, second.Addr().String()
	if err := m.Set(config); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	for _, where := range []string{front, other} {
		if got := talk(t, "unix", where, "y"); got != "ybye" {
			t.Errorf("%s: %q", where, got)
		}
	}
	if conn, err := net.Dial("tcp", tcp); err == nil {
		_ = conn.Close()
		t.Error("the address that was taken away is still bound")
	}
	if _, err := open.Write([]byte("z")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	wait.For(t, "the count", func() bool { return active(t, m, "p") == 1 })
	if status, _ := m.Status("p"); status.TotalConnections != 3 {
		t.Errorf("%+v", status)
	}
	if err := m.Delete("p"); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{front, other} {
		if _, err := os.Lstat(where); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", where, err)
		}
	}
	if got := m.List(); len(got) != 0 {
		t.Error(got)
	}
	if _, err := open.Write([]byte("z")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Errorf("the open connection after the removal: %v", err)
	}
}

func TestSingleConnection(t *testing.T) {
	dir := t.TempDir()
	backend := echo(t, "unix", filepath.Join(dir, "b"))
	m, _ := newManager(t)
	if err := m.Set(wire.XinetConfig{Name: "p", Listen: []string{"127.0.0.1:0"}, Backend: backend.Addr().String(), Service: "s",
		SingleConnection: true}); err != nil {
		t.Fatal(err)
	}
	open, err := net.Dial("tcp", bound(t, m, "p"))
	if err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the first", func() bool { return active(t, m, "p") == 1 })
	if got := talk(t, "tcp", bound(t, m, "p"), "x"); got != "" {
		t.Errorf("the second got %q", got)
	}
	_ = open.Close()
	wait.For(t, "its end", func() bool { return active(t, m, "p") == 0 })
	if got := talk(t, "tcp", bound(t, m, "p"), "x"); got != "xbye" {
		t.Errorf("the third got %q", got)
	}
}

// TestIdle: the service is stopped when nobody has been connected for the time, and not while another proxy uses it.
func TestIdle(t *testing.T) {
	dir := t.TempDir()
	backend := echo(t, "unix", filepath.Join(dir, "b"))
	m, services := newManager(t)
	for _, name := range []string{"p", "q"} {
		config := wire.XinetConfig{Name: name, Listen: []string{"127.0.0.1:0"}, Backend: backend.Addr().String(), Service: "s"}
		if name == "p" {
			config.IdleTimeout = 1
		}
		if err := m.Set(config); err != nil {
			t.Fatal(err)
		}
	}
	other, err := net.Dial("tcp", bound(t, m, "q"))
	if err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the connection", func() bool { return active(t, m, "q") == 1 })
	m.mu.Lock()
	p := m.proxies["p"]
	m.mu.Unlock()
	p.idleOver()
	select {
	case <-services.stopped:
		t.Fatal("stopped although another proxy is in use")
	default:
	}
	_ = other.Close()
	wait.For(t, "its end", func() bool { return active(t, m, "q") == 0 })
	began := time.Now()
	if got := talk(t, "tcp", bound(t, m, "p"), "x"); got != "xbye" {
		t.Fatal(got)
	}
	select {
	case service := <-services.stopped:
		if took := time.Since(began); service != "s" || took < time.Second {
			t.Errorf("%s after %v", service, took)
		}
	case <-time.After(patience):
		t.Fatal("not stopped")
	}
}

func TestRestoreAndClose(t *testing.T) {
	dir := t.TempDir()
	backend := echo(t, "unix", filepath.Join(dir, "b"))
	m, _ := newManager(t)
	for i := range 3 {
		if err := m.Set(wire.XinetConfig{Name: fmt.Sprint("p", i), Listen: []string{filepath.Join(dir, fmt.Sprint("f", i))},
			Backend: backend.Addr().String(), Service: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	open, err := net.Dial("unix", filepath.Join(dir, "f0"))
	if err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the connection", func() bool { return active(t, m, "p0") == 1 })
	definitions := m.Definitions()
	m.Close()
	if err := open.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(open); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q %v", rest, err)
	}
	if err := m.Set(definitions[0]); err == nil {
		t.Error("a definition after the end")
	}
	// A crash leaves dead sockets behind: they are replaced. What cannot be bound is reported and left out.
	dead, err := net.Listen("unix", filepath.Join(dir, "f0"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = dead.Close()
	if err := os.WriteFile(filepath.Join(dir, "f1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next, _ := newManager(t)
	failures := next.Restore(definitions)
	if len(failures) != 1 || !strings.Contains(failures[0].Error(), "cannot restore proxy p1: cannot listen on unix:") {
		t.Errorf("%v", failures)
	}
	if got := next.List(); !reflect.DeepEqual(got, []string{"p0", "p2"}) {
		t.Error(got)
	}
	if got := talk(t, "unix", filepath.Join(dir, "f0"), "x"); got != "xbye" {
		t.Error(got)
	}
	if all := next.StatusAll(); len(all) != 2 || all[0].Name != "p0" {
		t.Errorf("%+v", all)
	}
}

func TestLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	m := New(&fakeServices{}, newLogger(&out))
	t.Cleanup(m.Close)
	p := &proxy{manager: m, config: wire.XinetConfig{Name: "p"}, stats: &stats{}}
	for range 1000 {
		p.log("connection failed")
	}
	if n := strings.Count(out.String(), "\n"); n == 0 || n > 3 {
		t.Errorf("%d lines", n)
	}
}
