package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc/wire"
)

const pingLine = `{"jsonrpc":"2.0","id":1,"method":"system.ping"}`

func req(id int, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params)
}

func TestPipelinedInOrder(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	var all strings.Builder
	for i := range 500 {
		all.WriteString(req(i, "service.status", `{"name":"a"}`))
	}
	go conn.send(all.String())
	for i := range 500 {
		if text := conn.next(); !strings.HasPrefix(text, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result"`, i)) {
			t.Fatalf("answer %d: %s", i, text)
		}
	}
}

func TestHalfClose(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	for _, tail := range []string{"", pingLine, pingLine + "\r"} {
		conn := dialRaw(t, server.path)
		conn.send(pingLine + "\n" + pingLine + "\n" + tail)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		want := 2
		if tail != "" {
			want = 3
		}
		for range want {
			if text := conn.next(); !strings.Contains(text, `"version"`) {
				t.Errorf("tail %q: %q", tail, text)
			}
		}
		if text := conn.next(); text != "" {
			t.Errorf("after the last: %s", text)
		}
	}
}

// TestHalfCloseWhileWaiting: a peer that has closed its writing half still gets its answer; one that is gone ends the call.
func TestHalfCloseWhileWaiting(t *testing.T) {
	fake := newFake("a")
	release := make(chan struct{})
	ended := make(chan error, 1)
	fake.wait = func(ctx context.Context, _ []string, _ string, _ int64) (wire.Waited, error) {
		select {
		case <-release:
			ended <- nil
			return wire.Waited{}, nil
		case <-ctx.Done():
			ended <- ctx.Err()
			return wire.Waited{}, ctx.Err()
		}
	}
	server := serveFake(t, fake, ServerOptions{})
	half := dialRaw(t, server.path)
	half.send(req(1, "service.wait", `{"names":["a"]}`))
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the call", func() bool { return len(fake.notes()) == 1 })
	select {
	case err := <-ended:
		t.Fatalf("ended early: %v", err)
	default:
	}
	close(release)
	if text := half.next(); !strings.Contains(text, `"result":{"states":[]}`) {
		t.Errorf("answer: %s", text)
	}
	<-ended

	release = make(chan struct{})
	gone := dialRaw(t, server.path)
	gone.send(req(1, "service.wait", `{"names":["a"]}`) + req(2, "system.ping", `{}`))
	wait.For(t, "the call", func() bool { return len(fake.notes()) == 2 })
	_ = gone.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a call goes on for a peer that is gone")
	}
	wait.For(t, "the end of the connection", func() bool { return server.Connections() <= 1 })
}

// TestAfterWait: the connection works on after a call that waited, with what was sent meanwhile.
func TestAfterWait(t *testing.T) {
	fake := newFake("a")
	fake.wait = func(context.Context, []string, string, int64) (wire.Waited, error) {
		return wire.Waited{}, wire.NewError(wire.CodeTimedOut, "not running after 5 ms")
	}
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	for i := range 50 {
		conn.send(req(i, "service.wait", `{"names":["a"],"timeout_ms":5}`) + req(1000+i, "system.ping", `{}`))
		if r := parseReply(t, conn.next()); r.code() != wire.CodeTimedOut {
			t.Fatalf("%+v", r)
		}
		if text := conn.next(); !strings.Contains(text, `"version"`) {
			t.Fatal(text)
		}
		if text := conn.ask(pingLine); !strings.Contains(text, `"version"`) {
			t.Fatal(text)
		}
	}
}

func TestLongLine(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	name := strings.Repeat("x", MaxRequestBytes)
	line := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"service.status","params":{"name":%q}}`, name)
	fits := line[:len(line)-3-(len(line)-MaxRequestBytes)] + `"}}`
	if len(fits) != MaxRequestBytes {
		t.Fatal(len(fits))
	}
	if r := parseReply(t, conn.ask(fits)); r.code() != wire.CodeNotFound {
		t.Errorf("a line of exactly the limit: %d", r.code())
	}
	// One byte more, with its end; and a flood that has none. Both are answered, then closed.
	for _, text := range []string{fits[:len(fits)-3] + `x"}}` + "\n", strings.Repeat("x", 3<<20)} {
		conn := dialRaw(t, server.path)
		go func() { _, _ = conn.Write([]byte(text)) }()
		if r := parseReply(t, conn.next()); r.code() != wire.CodeRequest || string(r.ID) != "0" {
			t.Errorf("%+v", r)
		}
		if text := conn.next(); text != "" {
			t.Errorf("not closed: %s", text)
		}
	}
	wait.For(t, "the end of the connections", func() bool { return server.Connections() <= 1 })
	if n := server.buffered.Load(); n > 2*MaxRequestBytes {
		t.Errorf("%d bytes are counted as buffered", n)
	}
}

// TestBufferedBound: many long unfinished lines cannot take more than maxBuffered together.
func TestBufferedBound(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{MaxRequestBytes: 16 << 20})
	refused := make(chan string, 1)
	piece := strings.Repeat("x", 10<<20)
	for range 8 {
		conn := dialRaw(t, server.path)
		go func() { _, _ = conn.Write([]byte(piece)) }()
		go func() {
			text, err := conn.in.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case refused <- text:
			default:
			}
		}()
	}
	select {
	case text := <-refused:
		if r := parseReply(t, text); r.code() != wire.CodeRequest {
			t.Errorf("%s", text)
		}
	case <-time.After(patience):
		t.Error("80 MiB of unfinished lines are buffered")
	}
	if n := server.buffered.Load(); n > maxBuffered {
		t.Errorf("%d bytes are buffered", n)
	}
}

func TestConnectionLimit(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{MaxConnections: 20})
	var open []*line
	for range 20 {
		conn := dialRaw(t, server.path)
		if text := conn.ask(pingLine); !strings.Contains(text, `"version"`) {
			t.Fatal(text)
		}
		open = append(open, conn)
	}
	for range 3 {
		conn := dialRaw(t, server.path)
		if r := parseReply(t, conn.next()); r.code() != wire.CodeRequest || !strings.Contains(r.Error.Message, "too many connections") {
			t.Errorf("%+v", r.Error)
		}
		if text := conn.next(); text != "" {
			t.Errorf("not closed: %s", text)
		}
	}
	// A client says what the server said, whether it had sent its request before the connection was closed or not.
	for range 50 {
		c, err := Dial(t.Context(), server.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var answer *wire.Error
		if _, err = c.Ping(t.Context()); !errors.As(err, &answer) || !strings.Contains(answer.Message, "too many connections") {
			t.Fatalf("a client at the limit: %v", err)
		}
	}
	_ = open[0].Close()
	wait.For(t, "a free place", func() bool { return server.Connections() < 20 })
	if text := dialRaw(t, server.path).ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
}

// TestSlowReader: a peer that does not read costs itself only.
func TestSlowReader(t *testing.T) {
	fake := newFake("a")
	for i := range 1000 {
		pid := i
		fake.listed = append(fake.listed, wire.Listed{Name: fmt.Sprintf("service-%d", i), State: wire.State{State: "running", PID: &pid}})
	}
	server := serveFake(t, fake, ServerOptions{})
	slow := dialRaw(t, server.path)
	go func() {
		for i := range 2000 {
			if _, err := slow.Write([]byte(req(i, "service.list_full", `{}`))); err != nil {
				return
			}
		}
	}()
	quick := dialRaw(t, server.path)
	for range 100 {
		if text := quick.ask(pingLine); !strings.Contains(text, `"version"`) {
			t.Fatal(text)
		}
	}
}

// TestBeginAfterAnswer: the server ends only when the answer has been written, even to a peer that has gone.
func TestBeginAfterAnswer(t *testing.T) {
	fake := newFake("a")
	server := serveFake(t, fake, ServerOptions{})
	for i, c := range []struct{ method, want string }{
		{"system.shutdown", `"result":{"ok":true}`},
		{"system.upgrade", `"result":{"ok":true,"from":"","to":"","id":0}`},
		{"system.prepare_restart", `"result":{"ready":true,"state_path":""}`},
	} {
		conn := dialRaw(t, server.path)
		conn.send(req(1, "system.ping", `{}`) + req(2, c.method, `{}`) + req(3, "system.ping", `{}`))
		conn.next()
		if text := conn.next(); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", c.method, text)
		}
		wait.For(t, "the begin of "+c.method, func() bool { return int(fake.began.Load()) == i+1 })
	}
	conn := dialRaw(t, server.path)
	if r := parseReply(t, conn.ask(strings.TrimSpace(req(1, "system.reboot", `{}`)))); r.code() != wire.CodeInternal {
		t.Errorf("%+v", r)
	}
	conn.send(`{"jsonrpc":"2.0","method":"system.shutdown"}` + "\n") // a notification
	wait.For(t, "the begin of a notification", func() bool { return fake.began.Load() == 4 })
	// In a batch: after the whole answer.
	text := conn.ask(`[{"jsonrpc":"2.0","id":1,"method":"system.shutdown"},{"jsonrpc":"2.0","id":2,"method":"system.ping"}]`)
	if !strings.Contains(text, `"id":2`) {
		t.Error(text)
	}
	wait.For(t, "the begin in a batch", func() bool { return fake.began.Load() == 5 })
}

// TestBeginMayCloseTheServer: what begins may wait for all connections to end.
func TestBeginMayCloseTheServer(t *testing.T) {
	fake := newFake("a")
	server := NewServer(fakeShutdown{fake, nil}, ServerOptions{})
	closed := make(chan error, 1)
	server.backend = fakeShutdown{fake, func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		closed <- server.Close(ctx)
	}}
	socket, err := Listen(SocketOptions{Path: t.TempDir() + "/s"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(socket.Listener) }()
	conn := dialRaw(t, socket.Path)
	if text := conn.ask(`{"jsonrpc":"2.0","id":1,"method":"system.shutdown"}`); !strings.Contains(text, `"ok":true`) {
		t.Error(text)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if text := conn.next(); text != "" {
		t.Error(text)
	}
}

type fakeShutdown struct {
	*fakeBackend
	begin func()
}

func (f fakeShutdown) Shutdown(Power) (func(), error) { return f.begin, nil }

// TestChangePending: without wait a change is answered in under 4 s, whether the backend looks at its context or not.
func TestChangePending(t *testing.T) {
	fake := newFake("deaf", "polite")
	release := make(chan struct{})
	defer close(release)
	fake.start = func(ctx context.Context, name string, _ Change) (wire.OK, error) {
		if name == "deaf" {
			<-release
			return wire.OK{OK: true}, nil
		}
		<-ctx.Done()
		return wire.OK{}, ctx.Err()
	}
	fake.set = func(ctx context.Context, _ json.RawMessage, _ bool) (wire.Added, error) {
		<-ctx.Done()
		return wire.Added{}, wire.NewError(wire.CodeTimedOut, "not yet")
	}
	server := serveFake(t, fake, ServerOptions{})
	var calls sync.WaitGroup
	for _, c := range []struct{ method, params, want string }{
		{"service.start", `{"name":"deaf"}`, `"result":{"ok":true,"pending":true}`},
		{"service.stop", `{"name":"polite"}`, `"result":{"ok":true,"pending":true}`},
		{"service.set", `{"service":{"name":"x"}}`, `"result":{"name":"x","path":null,"warnings":[],"pending":true}`},
	} {
		calls.Go(func() {
			conn := dialRaw(t, server.path)
			began := time.Now()
			conn.send(req(1, c.method, c.params))
			text := conn.next()
			if took := time.Since(began); !strings.Contains(text, c.want) || took > 4*time.Second || took < 3*time.Second {
				t.Errorf("%s %s: %s after %v", c.method, c.params, text, took)
			}
		})
	}
	calls.Wait()
}

func TestPanicIsAnError(t *testing.T) {
	fake := newFake("a")
	fake.ping = func() wire.Ping { panic("broken") }
	fake.kill = func(string, string) (wire.OK, error) { panic("broken too") }
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	for _, method := range []string{"system.ping", "service.kill", "rpc.discover"} {
		r := parseReply(t, conn.ask(strings.TrimSpace(req(1, method, `{"name":"a"}`))))
		if method != "service.kill" {
			r = parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`))
		}
		if r.code() != wire.CodeInternal || !strings.Contains(r.Error.Message, method) {
			t.Errorf("%s: %+v", method, r.Error)
		}
	}
	if text := conn.ask(`{"jsonrpc":"2.0","id":1,"method":"service.list"}`); !strings.Contains(text, `["a"]`) {
		t.Error(text)
	}
}

// TestStrangers: who is neither root, nor the server's user, nor of its group reads states and nothing else.
func TestStrangers(t *testing.T) {
	need.Root(t)
	server := serveFake(t, newFake("a"), ServerOptions{GID: 4242, GroupName: "zinit"})
	open(t, server.path)
	for _, c := range []struct {
		method, params string
		allowed        bool
	}{
		{"system.ping", `{}`, true}, {"service.list", `{}`, true}, {"service.status_full", `{"name":"a"}`, true},
		{"service.why", `{"name":"a"}`, true}, {"service.wait", `{"names":["a"]}`, true}, {"rpc.discover", `{}`, true},
		{"events.get", `{}`, true},
		{"service.get", `{"name":"a"}`, false}, {"logs.get", `{"name":"a"}`, false}, {"logs.follow", `{}`, false},
		{"service.stop", `{"name":"a"}`, false}, {"service.set", `{"service":{},"dry_run":true}`, false},
		{"service.plan", `{}`, false}, {"system.shutdown", `{}`, false}, {"xinet.set", `{}`, false},
	} {
		for _, who := range []struct {
			uid, gid int
			groups   []int
			all      bool
		}{{1234, 1234, nil, false}, {1234, 4242, nil, true}, {1234, 1234, []int{7, 4242}, true}} {
			text := askAs(t, server.path, who.uid, who.gid, who.groups, req(1, c.method, c.params))
			refused := strings.Contains(text, `"error":{"code":-32030`)
			if refused == (c.allowed || who.all) {
				t.Errorf("%+v %s: %s", who, c.method, text)
			}
			if c.method == "service.status_full" && strings.Contains(text, "secret") != who.all {
				t.Errorf("%+v: logs in %s", who, text)
			}
		}
	}
}

// open lets everybody reach the socket.
func open(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := path; len(dir) > 1; {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		if strings.Contains(dir, "Test") {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// askAs connects as another user: credentials belong to the thread that connects.
func askAs(t *testing.T, path string, uid, gid int, groups []int, text string) string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		// The thread keeps its credentials, so it must not come back: it ends with the locked goroutine.
		lockThread()
		if err := becomeOther(uid, gid, groups); err != nil {
			done <- err.Error()
			return
		}
		done <- askBlocking(path, text)
	}()
	return <-done
}

// askBlocking does everything on the calling thread.
func askBlocking(path, text string) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd) //nolint:errcheck // a test
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return err.Error()
	}
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return err.Error()
	}
	buf := make([]byte, 256<<10)
	n := 0
	for !strings.Contains(string(buf[:n]), "\n") {
		more, err := unix.Read(fd, buf[n:])
		if err != nil || more <= 0 {
			break
		}
		n += more
	}
	return string(buf[:n])
}

func TestStreams(t *testing.T) {
	fake := newFake("a")
	fake.followLogs = func(ctx context.Context, q LogQuery, send func(wire.Follow) error) error {
		for i := uint64(1); i <= 3; i++ {
			if err := send(wire.Follow{Lines: []wire.LogLine{{Service: "a", Seq: i, Content: "x"}}}); err != nil {
				return err
			}
		}
		if q.Grep == "stop" {
			return wire.NewError(wire.CodeNotFound, "a was removed")
		}
		<-ctx.Done()
		return ctx.Err()
	}
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	if text := conn.ask(strings.TrimSpace(req(1, "logs.follow", `{"names":["ghost"]}`))); !strings.Contains(text, "-32000") {
		t.Errorf("an unknown name: %s", text)
	}
	conn.send(req(2, "logs.follow", `{"names":["a"]}`))
	if text := conn.next(); text != `{"jsonrpc":"2.0","id":2,"result":{"ok":true}}` {
		t.Fatal(text)
	}
	for i := 1; i <= 3; i++ {
		want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"log","params":{"lines":[{"content":"x","service":"a","stream":"","timestamp_ms":0,"seq":%d,"pid":0}],"missed":0}}`, i)
		if text := conn.next(); text != want {
			t.Fatal(text)
		}
	}
	if text := conn.ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Errorf("a request beside the stream: %s", text)
	}
	conn.send(req(3, "logs.follow", `{"names":["a"],"grep":"stop"}`))
	for range 4 {
		conn.next()
	}
	if text := conn.next(); !strings.Contains(text, `"method":"end","params":{"of":"logs.follow","error":{"code":-32000,"message":"a was removed"`) {
		t.Error(text)
	}
	for range maxStreams - 2 {
		conn.send(req(4, "events.subscribe", `{}`))
		if text := conn.next(); !strings.Contains(text, `"ok":true`) {
			t.Fatal(text)
		}
	}
	if text := conn.ask(strings.TrimSpace(req(5, "events.subscribe", `{}`))); !strings.Contains(text, "-32600") {
		t.Error(text)
	}
	_ = conn.Close()
	wait.For(t, "the end of the streams", func() bool { return server.Connections() == 0 })
}

// TestStreamFlood: a follower that does not read is not waited for by anybody else, and ends with its connection.
func TestStreamFlood(t *testing.T) {
	fake := newFake("a")
	blocked := make(chan struct{})
	fake.followLogs = func(ctx context.Context, _ LogQuery, send func(wire.Follow) error) error {
		big := wire.Follow{Lines: []wire.LogLine{{Content: strings.Repeat("x", 60<<10)}}}
		for i := 0; ; i++ {
			if i == 20 {
				close(blocked)
			}
			if err := send(big); err != nil {
				return err
			}
		}
	}
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	conn.send(req(2, "logs.follow", `{}`))
	for range 22 {
		conn.next()
	}
	<-blocked
	if text := dialRaw(t, server.path).ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	_ = conn.Close()
	wait.For(t, "the end of the stream", func() bool { return server.Connections() <= 1 })
}

func TestCloseEndsEverything(t *testing.T) {
	fake := newFake("a")
	fake.wait = func(ctx context.Context, _ []string, _ string, _ int64) (wire.Waited, error) {
		<-ctx.Done()
		return wire.Waited{}, ctx.Err()
	}
	server := serveFake(t, fake, ServerOptions{})
	idle, waiting, following := dialRaw(t, server.path), dialRaw(t, server.path), dialRaw(t, server.path)
	idle.ask(pingLine)
	waiting.send(req(1, "service.wait", `{"names":["a"]}`))
	following.ask(strings.TrimSpace(req(1, "events.subscribe", `{}`)))
	wait.For(t, "the call", func() bool { return len(fake.notes()) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if text := idle.next(); text != "" {
		t.Error(text)
	}
	if text := waiting.next(); !strings.Contains(text, "going away") {
		t.Error(text)
	}
	if text := following.next(); text != `{"jsonrpc":"2.0","method":"end","params":{"of":"events.subscribe"}}` {
		t.Error(text)
	}
}

// TestHandover: connections go on in another server, with what they had sent and not been answered.
func TestHandover(t *testing.T) {
	fake := newFake("a")
	release := make(chan struct{})
	fake.wait = func(ctx context.Context, _ []string, _ string, _ int64) (wire.Waited, error) {
		select {
		case <-release:
			return wire.Waited{}, nil
		case <-ctx.Done():
			return wire.Waited{}, ctx.Err()
		}
	}
	old := serveFake(t, fake, ServerOptions{})
	idle, partial, waiting, following := dialRaw(t, old.path), dialRaw(t, old.path), dialRaw(t, old.path), dialRaw(t, old.path)
	idle.ask(pingLine)
	partial.ask(pingLine)
	partial.send(pingLine[:20])
	waiting.send(req(7, "service.wait", `{"names":["a"]}`) + req(8, "system.ping", `{}`))
	following.ask(strings.TrimSpace(req(1, "events.subscribe", `{}`)))
	wait.For(t, "the call", func() bool { return len(fake.notes()) == 1 })

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	states, err := old.Handover(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != 3 {
		t.Fatalf("%d connections are handed over", len(states))
	}
	if text := following.next(); !strings.Contains(text, `"method":"end"`) {
		t.Error(text)
	}
	if text := following.next(); text != "" {
		t.Error(text)
	}

	next := NewServer(fake, ServerOptions{})
	if err := next.Adopt(states); err != nil {
		t.Fatal(err)
	}
	listener, lock, err := old.socket.Files()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := AdoptSocket(old.path, listener, lock)
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	served := make(chan error, 1)
	go func() { served <- next.Serve(socket.Listener) }()
	if text := idle.ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	if text := partial.ask(pingLine[20:]); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	wait.For(t, "the call again", func() bool { return len(fake.notes()) == 2 })
	close(release)
	if text := waiting.next(); !strings.Contains(text, `"id":7,"result":{"states"`) {
		t.Error(text)
	}
	if text := waiting.next(); !strings.Contains(text, `"id":8`) {
		t.Error(text)
	}
	if text := dialRaw(t, old.path).ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	if err := next.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// TestHandoverTakenBack: when the next process does not come to life, the old one goes on.
func TestHandoverTakenBack(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	conn.ask(pingLine)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	states, err := server.Handover(ctx)
	if err != nil || len(states) != 1 {
		t.Fatal(len(states), err)
	}
	if err := server.Adopt(states); err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(server.socket.Listener) }()
	if text := conn.ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	if text := dialRaw(t, server.path).ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
}

// TestOutOfDescriptors: the peer is told, nothing spins, and it goes on when there are descriptors again.
func TestOutOfDescriptors(t *testing.T) {
	listener := &failingListener{errs: make(chan error, 100), closed: make(chan struct{})}
	server := NewServer(newFake("a"), ServerOptions{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	for range 6 { // an error for Accept, one for the try with the reserve
		listener.errs <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	listener.errs <- &net.OpError{Op: "accept", Err: syscall.ECONNABORTED}
	wait.For(t, "the accepts", func() bool { return len(listener.errs) == 0 })
	if listener.accepts.Load() > 20 {
		t.Errorf("%d accepts", listener.accepts.Load())
	}
	listener.errs <- io.ErrUnexpectedEOF
	if err := <-served; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// TestPlacesForRoot: strangers cannot take the last places, so that those who may stop the server still reach it.
func TestPlacesForRoot(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{MaxConnections: 32})
	refused := func(trusted bool) bool {
		c := &serverConn{trusted: trusted}
		why := server.register(c)
		if why == nil {
			t.Cleanup(func() { server.remove(c) })
		}
		return why != nil
	}
	for i := range 30 {
		if refused(false) {
			t.Fatalf("stranger %d has no place", i+1)
		}
	}
	if !refused(false) {
		t.Error("a stranger takes one of the last places")
	}
	for i := range 2 {
		if refused(true) {
			t.Errorf("root's place %d is taken", i+1)
		}
	}
	if !refused(true) {
		t.Error("there is a place more than the limit")
	}
}
