package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc/wire"
)

// TestTypedCalls calls every typed method once: each must be in the table and be understood by it.
func TestTypedCalls(t *testing.T) {
	fake := newFake("a", "b")
	fake.lines = []wire.LogLine{{Service: "a", Content: "x", Seq: 1}}
	c := dialClient(t, serveFake(t, fake, ServerOptions{}).path)
	ctx := t.Context()
	config := json.RawMessage("{\n\"service\": {\"name\": \"x\"}\n}")
	for name, call := range map[string]func() error{
		"Ping":         func() error { p, err := c.Ping(ctx); return check(err, p.Version == "0.4.0", p) },
		"SystemStatus": func() error { _, err := c.SystemStatus(ctx); return err },
		"Boot":         func() error { _, err := c.Boot(ctx); return err },
		"Discover":     func() error { d, err := c.Discover(ctx); return check(err, len(d) > 1000, string(d)) },
		"List":         func() error { l, err := c.List(ctx); return check(err, len(l) == 2, l) },
		"ListFull": func() error {
			l, err := c.ListFull(ctx, false)
			return check(err, len(l) == 2 && *l[0].State.PID == 100, l)
		},
		"ListStats":  func() error { l, err := c.ListFull(ctx, true); return check(err, len(l) == 2, l) },
		"Status":     func() error { s, err := c.Status(ctx, "b"); return check(err, s.PID == 101, s) },
		"StatusFull": func() error { s, err := c.StatusFull(ctx, "a"); return check(err, len(s.Log) == 1, s) },
		"Get": func() error {
			g, err := c.Get(ctx, "a")
			return check(err, string(g) == `{"service":{"name":"a"}}`, string(g))
		},
		"Stats":        func() error { _, err := c.Stats(ctx, "a"); return err },
		"Children":     func() error { k, err := c.Children(ctx, "a"); return check(err, k.Children != nil, k) },
		"IsRunning":    func() error { r, err := c.IsRunning(ctx, "ghost"); return check(err, !r, r) },
		"Why":          func() error { w, err := c.Why(ctx, "a"); return check(err, w.Name == "a", w) },
		"Tree":         func() error { _, err := c.Tree(ctx, ""); return err },
		"TreeOf":       func() error { _, err := c.Tree(ctx, "a"); return err },
		"DebugState":   func() error { s, err := c.DebugState(ctx); return check(err, s == "state\n", s) },
		"ProcessTree":  func() error { s, err := c.ProcessTree(ctx, "a"); return check(err, s != "", s) },
		"Start":        func() error { o, err := c.Start(ctx, "a", Change{NoDeps: true}); return check(err, o.OK, o) },
		"Stop":         func() error { o, err := c.Stop(ctx, "a", Change{Wait: true, TimeoutMS: 5}); return check(err, o.OK, o) },
		"Restart":      func() error { o, err := c.Restart(ctx, "a", Change{}); return check(err, o.OK, o) },
		"Kill":         func() error { o, err := c.Kill(ctx, "a", ""); return check(err, o.OK, o) },
		"SignalReload": func() error { o, err := c.SignalReload(ctx, "a"); return check(err, o.OK, o) },
		"Set":          func() error { a, err := c.Set(ctx, config, true); return check(err, a.Name == "x", a) },
		"Add": func() error {
			a, err := c.Add(ctx, map[string]any{"service": 1}, true)
			return check(err, a.Name == "x", a)
		},
		"Remove":   func() error { o, err := c.Remove(ctx, "a", true); return check(err, o.OK, o) },
		"Reload":   func() error { _, err := c.Reload(ctx, true); return err },
		"Plan":     func() error { p, err := c.Plan(ctx); return check(err, p.Actions != nil, p) },
		"StartAll": func() error { b, err := c.StartAll(ctx); return check(err, b.Count == 2 && len(b.Started) == 2, b) },
		"StopAll":  func() error { b, err := c.StopAll(ctx); return check(err, b.Count == 0 && b.Stopped != nil, b) },
		"Forget": func() error {
			o, err := c.Forget(ctx, "a", wire.Removal{Files: wire.FilesWritten})
			return check(err, o.OK, o)
		},
		"ForgetAll": func() error { b, err := c.ForgetAll(ctx, wire.FilesAll); return check(err, len(b.Deleted) == 2, b) },
		"DeleteAll": func() error { b, err := c.DeleteAll(ctx); return check(err, len(b.Deleted) == 2, b) },
		"Wait":      func() error { w, err := c.Wait(ctx, []string{"a"}, "ready", 9); return check(err, w.States != nil, w) },
		"Logs": func() error {
			l, err := c.Logs(ctx, LogQuery{Lines: 5})
			return check(err, len(l) == 1 && l[0].Seq == 1, l)
		},
		"Events":    func() error { e, err := c.Events(ctx, 4, 9); return check(err, e.Next == 4 && e.Events != nil, e) },
		"Shutdown":  func() error { return c.Shutdown(ctx, PowerStop) },
		"Upgrade":   func() error { u, err := c.Upgrade(ctx, "/x"); return check(err, u.To == "/x", u) },
		"Prepare":   func() error { p, err := c.PrepareRestart(ctx); return check(err, p.Ready, p) },
		"XinetSet":  func() error { return c.XinetSet(ctx, wire.XinetConfig{Name: "p", Listen: []string{"/a"}}) },
		"XinetList": func() error { l, err := c.XinetList(ctx); return check(err, l != nil, l) },
		"XinetAll":  func() error { l, err := c.XinetStatusAll(ctx); return check(err, l != nil, l) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"reboot":  func() error { return c.Shutdown(ctx, PowerReboot) },
		"delete":  func() error { return c.XinetDelete(ctx, "p") },
		"status":  func() error { _, err := c.XinetStatus(ctx, "p"); return err },
		"unknown": func() error { _, err := c.Status(ctx, "ghost"); return err },
		"method":  func() error { return c.Call(ctx, "nope", nil, nil) },
	} {
		var refused *wire.Error
		if err := call(); !errors.As(err, &refused) || refused.Data["kind"] != refused.Code.Kind() {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, want := range []string{
		"start a {Wait:false TimeoutMS:0 NoDeps:true RunOnly:false}", "stop a {Wait:true TimeoutMS:5 NoDeps:false RunOnly:false}", "kill a SIGTERM",
		`set {"service":{"name":"x"}} true`, `add {"service":1} true`, "remove a true", "wait [a] ready 9", "events 4 9",
		"logs {Names:[] Lines:5 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}",
	} {
		if !strings.Contains(strings.Join(fake.notes(), "\n"), want) {
			t.Errorf("the backend did not see %q", want)
		}
	}
}

func check(err error, ok bool, got any) error {
	if err == nil && !ok {
		b, _ := json.Marshal(got)
		return errors.New("got " + string(b))
	}
	return err
}

func TestTransportErrors(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	listener, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	for _, c := range []struct {
		path  string
		cause error
		want  []string
	}{
		{filepath.Join(dir, "none"), syscall.ENOENT, []string{"cannot connect to ", "no such file"}},
		{dead, syscall.ECONNREFUSED, []string{"connection refused"}},
		{"/" + strings.Repeat("x", 200), nil, []string{"201 bytes, at most 107"}},
		{"", nil, []string{"the socket path is empty"}},
	} {
		_, err := Dial(t.Context(), c.path)
		var lost *TransportError
		if !errors.As(err, &lost) || lost.Socket != c.path || lost.Op != "connect" || c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("%s: %#v", c.path, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.path, err, want)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is more than a line", err)
		}
	}
}

// script answers each connection with what the func returns for a line; "" closes it.
func script(t *testing.T, answer func(line string) string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
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
				l := &line{t, conn.(*net.UnixConn), newReader(conn)}
				for {
					text, err := l.in.ReadString('\n')
					if err != nil {
						return
					}
					reply := answer(text)
					if reply == "" {
						return
					}
					if _, err := conn.Write([]byte(reply)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return path
}

func TestLostConnection(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{"", "the server closed the connection (the request may have been carried out"},
		{"nonsense\n", "not a JSON-RPC answer"},
		{`{"jsonrpc":"2.0","id":77,"result":1}` + "\n", "an answer with id 77"},
	} {
		path := script(t, func(string) string { return c.answer })
		client := dialClient(t, path)
		err := client.Call(t.Context(), "service.start", nil, nil)
		var lost *TransportError
		if !errors.As(err, &lost) || !lost.Sent || lost.Socket != path || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.answer, err)
		}
	}
}

// TestForeignShapes: answers of another server, with other spacing and order, are understood.
func TestForeignShapes(t *testing.T) {
	path := script(t, func(text string) string {
		if strings.Contains(text, "bad") {
			return `{ "error": {"message":"no","code":-5}, "id": 2, "jsonrpc":"2.0" }` + "\n"
		}
		return `{ "result" : {"version":"0.3.9"}, "id":1,"jsonrpc":"2.0"}` + "\r\n"
	})
	client := dialClient(t, path)
	if ping, err := client.Ping(t.Context()); err != nil || ping.Version != "0.3.9" {
		t.Error(ping, err)
	}
	var refused *wire.Error
	if err := client.Call(t.Context(), "bad", nil, nil); !errors.As(err, &refused) || refused.Code != -5 {
		t.Error(err)
	}
}

func TestContextEndsCall(t *testing.T) {
	fake := newFake("a")
	fake.wait = func(ctx context.Context, _ []string, _ string, _ int64) (wire.Waited, error) {
		<-ctx.Done()
		return wire.Waited{}, ctx.Err()
	}
	server := serveFake(t, fake, ServerOptions{})
	client := dialClient(t, server.path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := client.Wait(ctx, []string{"a"}, "running", 0)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer from the server at "+server.path) {
		t.Errorf("%v", err)
	}
	if _, err := client.Ping(t.Context()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	wait.For(t, "the end of the call in the server", func() bool { return server.Connections() == 1 })
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := client.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConcurrentCalls(t *testing.T) {
	client := dialClient(t, serveFake(t, newFake("a", "b"), ServerOptions{}).path)
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			name := string(rune('a' + i%2))
			for range 50 {
				if s, err := client.Status(t.Context(), name); err != nil || s.Name != name {
					t.Error(s, err)
					return
				}
			}
		})
	}
	calls.Wait()
}

// TestReconnect: with the option, queries and streams outlive a restart of the server; a change that was sent does not
// happen twice.
func TestReconnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fake := newFake("a")
	var first atomic.Bool
	first.Store(true)
	stop := make(chan struct{})
	fake.start = func(ctx context.Context, _ string, _ Change) (wire.OK, error) {
		select {
		case <-stop:
		case <-ctx.Done():
		}
		return wire.OK{}, ctx.Err()
	}
	fake.followLogs = func(ctx context.Context, q LogQuery, send func(wire.Follow) error) error {
		from := uint64(1)
		if !first.Load() {
			from = 2 // the ring has all; the client must drop what it knows
			if q.SinceMS != 3 || q.Lines < 1000 {
				t.Errorf("resumed with %+v", q)
			}
		}
		for i := from; i < from+3; i++ {
			if err := send(wire.Follow{Lines: []wire.LogLine{{Service: "a", Seq: i, TimestampMS: int64(i)}}}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
	up := func() func() {
		server := NewServer(fake, ServerOptions{})
		socket, err := Listen(SocketOptions{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(socket.Listener) }()
		return func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := server.Close(ctx); err != nil {
				t.Error(err)
			}
			<-served
			_ = socket.Close(true)
		}
	}
	down := up()
	client := dialClient(t, path, WithReconnect(patience))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var got []uint64
	followed := make(chan error, 1)
	go func() {
		followed <- client.FollowLogs(ctx, LogQuery{Names: []string{"a"}}, func(f wire.Follow) error {
			mu.Lock()
			defer mu.Unlock()
			for _, l := range f.Lines {
				got = append(got, l.Seq)
			}
			return nil
		})
	}()
	seen := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == n }
	}
	wait.For(t, "three lines", seen(3))
	down()
	first.Store(false)
	again := make(chan error, 1)
	go func() { _, err := client.Ping(t.Context()); again <- err }()
	down = up()
	defer func() { down() }()
	if err := <-again; err != nil {
		t.Errorf("ping: %v", err)
	}
	wait.For(t, "the fourth line", seen(4))
	if want := []uint64{1, 2, 3, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	cancel()
	if err := <-followed; !errors.Is(err, context.Canceled) {
		t.Errorf("follow: %v, want the context's error", err)
	}

	changed := make(chan error, 1)
	go func() { _, err := client.Start(t.Context(), "a", Change{Wait: true}); changed <- err }()
	wait.For(t, "the start", func() bool {
		return strings.HasPrefix(strings.Join(fake.notes(), "\n"), "start") ||
			strings.Contains(strings.Join(fake.notes(), "\n"), "\nstart")
	})
	before := len(fake.notes())
	down()
	down = up()
	if err := <-changed; err == nil {
		t.Error("a change whose connection was lost is said to be done")
	}
	if after := fake.notes(); len(after) != before {
		t.Errorf("sent again: %v", after[before:])
	}
	close(stop)
}

func TestFollowEnds(t *testing.T) {
	fake := newFake("a")
	fake.followEvent = func(ctx context.Context, since uint64, send func(wire.Event) error) error {
		for i := since; i < since+2; i++ {
			if err := send(wire.Event{Seq: i, Service: "a"}); err != nil {
				return err
			}
		}
		return wire.NewError(wire.CodeInternal, "no more")
	}
	client := dialClient(t, serveFake(t, fake, ServerOptions{}).path)
	var seqs []uint64
	err := client.FollowEvents(t.Context(), 5, func(e wire.Event) error { seqs = append(seqs, e.Seq); return nil })
	var ended *wire.Error
	if !errors.As(err, &ended) || ended.Message != "no more" || !reflect.DeepEqual(seqs, []uint64{5, 6}) {
		t.Errorf("%v after %v", err, seqs)
	}
	enough := errors.New("enough")
	if err := client.FollowEvents(t.Context(), 5, func(wire.Event) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if err := client.FollowLogs(t.Context(), LogQuery{Names: []string{"ghost"}}, nil); !errors.As(err, &ended) || ended.Code != wire.CodeNotFound {
		t.Error(err)
	}
	_ = os.Remove(client.Socket())
	var lost *TransportError
	if err := client.FollowEvents(t.Context(), 0, nil); !errors.As(err, &lost) {
		t.Error(err)
	}
}
