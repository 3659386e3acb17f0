package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// ends is a backend whose ends of the server a test plays.
type ends struct {
	*fakeBackend
	shutdown func() (func(), error)
	prepare  func(context.Context) (wire.PrepareRestart, func(), error)
}

func (e ends) Shutdown(Power) (func(), error) { return e.shutdown() }
func (e ends) PrepareRestart(ctx context.Context) (wire.PrepareRestart, func(), error) {
	return e.prepare(ctx)
}

// patiently is a context that ends with the patience of the tests.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestAnswersDoNotWait: an answer goes out before a request is begun that may take long.
func TestAnswersDoNotWait(t *testing.T) {
	fake := newFake("a", strings.Repeat("long", 20<<10))
	var first chan struct{}
	blocked := func() {
		select {
		case <-first:
		case <-time.After(patience):
		}
	}
	fake.start = func(context.Context, string, Change) (wire.OK, error) { blocked(); return wire.OK{OK: true}, nil }
	fake.kill = func(string, string) (wire.OK, error) { blocked(); return wire.OK{OK: true}, nil }
	fake.wait = func(context.Context, []string, string, int64) (wire.Waited, error) {
		blocked()
		return wire.Waited{}, nil
	}
	fake.logs = func(LogQuery) ([]wire.LogLine, error) { blocked(); return nil, nil }
	server := serveFake(t, fake, ServerOptions{})
	for _, c := range []struct{ before, method, params string }{
		{"system.ping", "service.start", `{"name":"a"}`},
		{"system.ping", "service.kill", `{"name":"a"}`},
		{"system.ping", "service.wait", `{"names":["a"]}`},
		{"service.list", "logs.get", `{}`}, // a query; but the answer before it is long
	} {
		first = make(chan struct{})
		conn := dialRaw(t, server.path)
		began := time.Now()
		conn.send(req(1, c.before, `{}`) + req(2, c.method, c.params))
		if text := conn.next(); !strings.HasPrefix(text, `{"jsonrpc":"2.0","id":1,"result":`) || time.Since(began) >= patience {
			t.Errorf("%s: %.60s after %v", c.method, text, time.Since(began))
		}
		close(first)
		// Pending would say that the answer before it came when the time of the change was over.
		if text := conn.next(); !strings.HasPrefix(text, `{"jsonrpc":"2.0","id":2,"result":`) || strings.Contains(text, "pending") {
			t.Errorf("%s: %.60s", c.method, text)
		}
	}
	// The same inside a batch.
	first = make(chan struct{})
	conn := dialRaw(t, server.path)
	began := time.Now()
	conn.send("[" + strings.TrimSpace(req(1, "service.list", `{}`)) + "," + strings.TrimSpace(req(2, "logs.get", `{}`)) + "]\n")
	part := make([]byte, flushAt)
	if _, err := io.ReadFull(conn.in, part); err != nil || part[0] != '[' || time.Since(began) >= patience {
		t.Errorf("%.60s: %v after %v", part, err, time.Since(began))
	}
	close(first)
	if text := conn.next(); !strings.HasSuffix(text, `,{"jsonrpc":"2.0","id":2,"result":[]}]`) {
		t.Errorf("the end of the batch: %.200s", text)
	}
}

// TestNotificationSaysNothing: neither its result nor its error.
func TestNotificationSaysNothing(t *testing.T) {
	conn := dialRaw(t, serveFake(t, newFake("a"), ServerOptions{}).path)
	for _, quiet := range []string{`"method":"service.list"}`, `"method":"no.such"}`, `"method":"service.status","params":{"name":"ghost"}}`} {
		conn.send(`{"jsonrpc":"2.0",` + quiet + "\n")
		if text := conn.ask(pingLine); !strings.HasPrefix(text, `{"jsonrpc":"2.0","id":`) || strings.HasPrefix(text, `{"jsonrpc":"2.0","id":0`) || strings.Count(text, "jsonrpc") != 1 {
			t.Errorf("%s: %s", quiet, text)
		}
	}
}

func TestUnknownMethod(t *testing.T) {
	for name, want := range map[string]string{
		"service.et":       `unknown method "service.et" (did you mean "service.get"?)`, // and service.set is as near
		"service.listabcd": `unknown method "service.listabcd"`,
		"service.listabc":  `unknown method "service.listabc" (did you mean "service.list"?)`,
	} {
		for range 60 { // the table has no order
			if err := unknownMethod([]byte(`"` + name + `"`)); err.Error() != want {
				t.Fatalf("%v, want %s", err, want)
			}
		}
	}
}

func TestMayAll(t *testing.T) {
	for _, c := range []struct {
		uid, gid    int
		group, want string
	}{
		{0, 0, "", "root"}, {0, -1, "", "root"}, {7, 0, "", "root or user 7"}, {0, 8, "", "root or a member of group 8"},
		{0, 1, "", "root or a member of group 1"}, {7, 8, "staff", "root or user 7 or a member of group staff"},
	} {
		server := NewServer(newFake(), ServerOptions{GID: c.gid, GroupName: c.group})
		server.uid = c.uid
		if got := (&serverConn{server: server}).mayAll(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestWhoIsTrusted: root, and the user of the server.
func TestWhoIsTrusted(t *testing.T) {
	need.Root(t)
	server := NewServer(newFake("a"), ServerOptions{})
	server.uid = 65534
	if text := stranger(t, server).ask(strings.TrimSpace(req(1, "service.get", `{"name":"a"}`))); !strings.Contains(text, `"result"`) {
		t.Errorf("the user of the server: %s", text)
	}
	near, far := pair(t)
	_ = far.SetDeadline(time.Now().Add(patience))
	server.admit(near)
	if text := (&line{t, far, newReader(far)}).ask(strings.TrimSpace(req(1, "service.get", `{"name":"a"}`))); !strings.Contains(text, `"result"`) {
		t.Errorf("root: %s", text)
	}
	server.uid = 7
	if text := stranger(t, server).ask(strings.TrimSpace(req(1, "service.get", `{"name":"a"}`))); !strings.Contains(text, "root or user 7") {
		t.Errorf("a stranger: %s", text)
	}
	if err := server.Close(patiently(t)); err != nil {
		t.Error(err)
	}
}

// TestEndsThatFail: what an end returns beside an error is not begun, and one without a begin is answered.
func TestEndsThatFail(t *testing.T) {
	began := make(chan struct{}, 1)
	refused := true
	server := serveFake(t, ends{newFake("a"), func() (func(), error) {
		if refused {
			return func() { began <- struct{}{} }, wire.NewError(wire.CodeInternal, "not now")
		}
		return nil, nil
	}, func(context.Context) (wire.PrepareRestart, func(), error) {
		return wire.PrepareRestart{}, nil, wire.NewError(wire.CodeInternal, "no room")
	}}, ServerOptions{})
	conn := dialRaw(t, server.path)
	if r := parseReply(t, conn.ask(strings.TrimSpace(req(1, "system.prepare_restart", `{}`)))); r.code() != wire.CodeInternal {
		t.Errorf("%+v", r)
	}
	if r := parseReply(t, conn.ask(strings.TrimSpace(req(1, "system.shutdown", `{}`)))); r.code() != wire.CodeInternal {
		t.Errorf("%+v", r)
	}
	refused = false
	if text := conn.ask(strings.TrimSpace(req(2, "system.shutdown", `{}`))); !strings.Contains(text, `"ok":true`) {
		t.Error(text)
	}
	conn.ask(pingLine)
	_ = server.Close(patiently(t))
	if err := waitFor(patiently(t), &server.changes); err != nil || len(began) > 0 {
		t.Errorf("it was begun: %v", err)
	}
}

// TestBeginBeforeTheNext: what an answer promises begins before the next request of the same connection.
func TestBeginBeforeTheNext(t *testing.T) {
	fake := newFake("a")
	fake.wait = func(ctx context.Context, _ []string, _ string, _ int64) (wire.Waited, error) {
		if !wait.Until(patience, func() bool { return fake.began.Load() == 1 || ctx.Err() != nil }) {
			return wire.Waited{}, errors.New("nothing has begun")
		}
		return wire.Waited{}, nil
	}
	conn := dialRaw(t, serveFake(t, fake, ServerOptions{}).path)
	conn.send(req(1, "system.shutdown", `{}`) + req(2, "service.wait", `{"names":["a"]}`))
	conn.next()
	if text := conn.next(); !strings.Contains(text, `"result"`) {
		t.Error(text)
	}
}

// TestQuickTimeout: an error of the backend's own is no change that goes on.
func TestQuickTimeout(t *testing.T) {
	fake := newFake("a")
	fake.start = func(context.Context, string, Change) (wire.OK, error) {
		return wire.OK{}, wire.NewError(wire.CodeTimedOut, "it did not answer")
	}
	conn := dialRaw(t, serveFake(t, fake, ServerOptions{}).path)
	if r := parseReply(t, conn.ask(strings.TrimSpace(req(1, "service.start", `{"name":"a"}`)))); r.code() != wire.CodeTimedOut {
		t.Errorf("%+v", r)
	}
}

// TestHandoverOfCalls: what becomes of each kind of call that waits when the server is replaced.
func TestHandoverOfCalls(t *testing.T) {
	const waits = `"method":"service.wait","params":{"names":["a"]}}`
	const restart = `"method":"system.prepare_restart"}`
	for _, c := range []struct {
		what, line string
		half       bool   // the peer has closed its end, and left the end of the line out
		fails      bool   // the backend ends with an error when it is interrupted
		answer     string // what the peer reads from the old server; "": nothing
		pending    bool   // the line goes to the next one
	}{
		{"a wait", `{"jsonrpc":"2.0","id":1,` + waits, false, true, "", true},
		{"a wait of a peer that has said all", `{"jsonrpc":"2.0","id":1,` + waits, true, true, "", true},
		{"a wait that came to its end", `{"jsonrpc":"2.0","id":1,` + waits, false, false, `"result":{"states"`, false},
		{"the same of a peer that has said all", `{"jsonrpc":"2.0","id":1,` + waits, true, false, `"result":{"states"`, false},
		{"a wait in a batch", `[{"jsonrpc":"2.0","id":1,` + waits + `]`, false, true, "interrupted: the server is being replaced", false},
		{"a start with wait", `{"jsonrpc":"2.0","id":1,"method":"service.start","params":{"name":"a","wait":true,"timeout_ms":7}}`, false, true, "", true},
		{"a restart with wait", `{"jsonrpc":"2.0","id":1,"method":"service.restart","params":{"name":"a","wait":true}}`, false, true,
			`"result":{"ok":true,"pending":true}`, false},
		{"an end", `{"jsonrpc":"2.0","id":1,` + restart, false, true, "", true},
		{"an end that came to its end", `{"jsonrpc":"2.0","id":1,` + restart, false, false, `"result":{"ready":true`, false},
		{"an end in a batch", `[{"jsonrpc":"2.0","id":1,` + restart + `]`, false, true, `"error":`, false},
		{"an end that is not asked for again", `{"jsonrpc":"2.0","id":1,"method":"system.shutdown"}`, false, true, `"error":`, false},
	} {
		fake := newFake("a")
		begun := make(chan struct{}, 1)
		var server *running
		interrupted := func() error {
			begun <- struct{}{}
			wait.For(t, "the handover", func() bool { return !server.serving() })
			if c.fails {
				return errors.New("interrupted")
			}
			return nil
		}
		fake.wait = func(context.Context, []string, string, int64) (wire.Waited, error) {
			return wire.Waited{}, interrupted()
		}
		fake.start = func(context.Context, string, Change) (wire.OK, error) { return wire.OK{OK: true}, interrupted() }
		server = serveFake(t, ends{fake,
			func() (func(), error) { return nil, interrupted() },
			func(context.Context) (wire.PrepareRestart, func(), error) {
				return wire.PrepareRestart{Ready: true}, nil, interrupted()
			}}, ServerOptions{})
		conn := dialRaw(t, server.path)
		text := c.line + "\n"
		if c.half {
			text = c.line
		}
		conn.send(text)
		if c.half {
			_ = conn.CloseWrite()
		}
		<-begun
		states, err := server.Handover(patiently(t))
		want := []string{""}
		if c.pending {
			want = []string{c.line + "\n"}
		} else if c.half {
			want = nil // it has all its answers
		}
		var got []string
		for _, state := range states {
			got = append(got, string(state.Pending))
			_ = state.File.Close()
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: the next server gets %q, %v, want %q", c.what, got, err, want)
		}
		if got := conn.next(); c.answer == "" && got != "" || !strings.Contains(got, c.answer) {
			t.Errorf("%s: the answer is %q, want %q", c.what, got, c.answer)
		}
	}
}

func TestHandoverRefuses(t *testing.T) {
	fake := newFake("a")
	begun, release := make(chan struct{}), make(chan struct{})
	fake.start = func(context.Context, string, Change) (wire.OK, error) {
		close(begun)
		<-release
		return wire.OK{OK: true}, nil
	}
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	conn.send(req(1, "service.start", `{"name":"a"}`))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	states, err := server.Handover(ctx)
	if !errors.Is(err, ErrChanging) || len(states) != 0 {
		t.Errorf("while a change is carried out: %d connections, %v", len(states), err)
	}
	if _, err := server.Handover(ctx); !errors.Is(err, ErrServerClosed) {
		t.Errorf("a second one: %v", err)
	}
	close(release)
}

// TestHand: which connections go to the next server.
func TestHand(t *testing.T) {
	server := NewServer(newFake("a"), ServerOptions{})
	fresh := func() *serverConn { near, _ := pair(t); return newConn(server, near) }
	if server.hand(fresh()) {
		t.Error("without a handover")
	}
	server.state = stateHanding
	closed, failed := fresh(), fresh()
	_ = closed.conn.Close()
	failed.failed = true
	if server.hand(closed) || server.hand(failed) || server.handOn(closed.conn) || len(server.handed) != 0 {
		t.Errorf("broken ones are handed over: %v", server.handed)
	}
	good := fresh()
	good.counted = 5
	server.buffered.Store(5)
	if !server.hand(good) || len(server.handed) != 1 || server.buffered.Load() != 0 {
		t.Errorf("%v, %d bytes are counted still", server.handed, server.buffered.Load())
	}
	late, _ := pair(t)
	server.admit(late)
	later, _ := pair(t)
	if !server.handOn(later) || len(server.handed) != 3 || server.Connections() != 0 {
		t.Errorf("those that come late: %v", server.handed)
	}
	for _, state := range server.handed {
		_ = state.File.Close()
	}
}

// TestAdoptTellsTheFirstError, and takes what it can.
func TestAdoptTellsTheFirstError(t *testing.T) {
	server := NewServer(newFake("a"), ServerOptions{MaxConnections: 1})
	defer server.Close(patiently(t)) //nolint:errcheck // a test
	plain, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	client, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	foreign, err := client.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	var peers []*line
	states := []ConnState{{File: foreign}, {File: plain}}
	for range 2 {
		near, far := pair(t)
		file, err := near.File()
		if err != nil {
			t.Fatal(err)
		}
		_ = near.Close()
		_ = far.SetDeadline(time.Now().Add(patience))
		states = append(states, ConnState{File: file})
		peers = append(peers, &line{t, far, newReader(far)})
	}
	says(t, "what cannot be adopted", server.Adopt(states), "cannot adopt a connection: it is no Unix socket")
	if text := peers[0].ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
	if text := peers[1].next(); !strings.Contains(text, "too many connections: 1 are open") {
		t.Error(text)
	}
	if text := peers[1].next(); text != "" {
		t.Error(text)
	}
	dev, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	says(t, "a file", server.Adopt([]ConnState{{File: dev}}), "cannot adopt a connection: ")
}

// TestLineBounds: a line of the limit may end in \r\n, and what was handled before does not count.
func TestLineBounds(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{MaxRequestBytes: len(pingLine)})
	for _, text := range []string{pingLine + "\r", pingLine + "\n" + pingLine, pingLine + "\r\n" + pingLine + "\r"} {
		conn := dialRaw(t, server.path)
		conn.send(text)
		_ = conn.CloseWrite()
		for range strings.Count(text, pingLine) {
			if got := conn.next(); !strings.Contains(got, `"version"`) {
				t.Errorf("%q: %s", text, got)
			}
		}
	}
	if text := (&lineError{wire.NewError(wire.CodeRequest, "too long")}).Error(); text != "too long" {
		t.Error(text)
	}
}

// TestBuffersAreGivenBack: only long lines are counted, and only as long as they are there.
func TestBuffersAreGivenBack(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	conn.ask(pingLine)
	if n := server.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are counted for a short line", n)
	}
	if r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"service.status","params":{"name":"`+strings.Repeat("x", 500<<10)+`"}}`)); r.code() != wire.CodeNotFound {
		t.Errorf("%+v", r)
	}
	wait.For(t, "the end of the long buffer", func() bool { return server.buffered.Load() == 0 })

	near, _ := pair(t)
	c := newConn(NewServer(newFake(), ServerOptions{}), near)
	all := &c.server.buffered
	for _, step := range []struct {
		what           string
		others, before int64
		size           int
		refused        bool
		now            int64
	}{
		{"exactly the bound", maxBuffered - 10, 0, bufferKept + 10, false, 10},
		{"one more", maxBuffered - 10, 0, bufferKept + 11, true, 0},
		{"less than before, over the bound", maxBuffered, 50, bufferKept + 20, false, 20},
		{"as much as before, over the bound", maxBuffered, 50, bufferKept + 50, false, 50},
		{"more than before, over the bound", maxBuffered, 50, bufferKept + 51, true, 50},
	} {
		c.counted = step.before
		all.Store(step.others + step.before)
		if err := c.count(step.size); (err != nil) != step.refused || c.counted != step.now || all.Load() != step.others+step.now {
			t.Errorf("%s: %v, %d of %d", step.what, err, c.counted, all.Load())
		}
	}
}

// TestRefusedFloodIsRead: whoever writes too long a line can write it to its end and then reads why.
func TestRefusedFloodIsRead(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte(strings.Repeat("x", 4<<20)))
		_ = conn.CloseWrite()
		written <- err
	}()
	if r := parseReply(t, conn.next()); r.code() != wire.CodeRequest {
		t.Errorf("%+v", r)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestCloseDoesNotWaitForReaders: a peer that does not read holds the end of the server up for a second, not for
// replyTimeout.
func TestCloseDoesNotWaitForReaders(t *testing.T) {
	asked := make(chan struct{}, 1)
	fake := newFake("a")
	fake.logs = func(LogQuery) ([]wire.LogLine, error) {
		asked <- struct{}{}
		return []wire.LogLine{{Content: strings.Repeat("x", 8<<20)}}, nil
	}
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	conn.send(req(1, "logs.get", `{}`))
	<-asked
	if _, err := conn.in.ReadByte(); err != nil { // it is being written
		t.Fatal(err)
	}
	if err := server.Close(patiently(t)); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestBatchMessages(t *testing.T) {
	conn := dialRaw(t, serveFake(t, newFake("a"), ServerOptions{}).path)
	for text, want := range map[string]string{
		`[{"jsonrpc":"2.0","id":1,"method":"system.ping"}]` + "\x00": `"jsonrpc" must be a string, not an object`,
		`[{"a":1},tru]`: `"jsonrpc" must be a string, not an object`,
		`[{"a":1}] x`:   `"jsonrpc" must be a string, not an object`,
		`[{"a":tru}]`:   "expected true at line 1 column 7",
	} {
		if r := parseReply(t, conn.ask(text)); r.code() != wire.CodeParse || r.Error.Message != want {
			t.Errorf("%q: %+v", text, r.Error)
		}
	}
	if text := conn.ask(`[{"jsonrpc":"2.0","id":1,"method":"system.ping"}] `); !strings.HasPrefix(text, `[{"jsonrpc":"2.0","id":1,"result"`) {
		t.Error(text)
	}
}

// TestSend: deadlines of answers and streams on one connection, and what a failure leaves.
func TestSend(t *testing.T) {
	near, far := pair(t)
	c := newConn(NewServer(newFake(), ServerOptions{}), near)
	ahead := func() time.Duration { return time.Until(c.deadline) }
	if !c.send([]byte("a\n"), time.Minute) || ahead() < 30*time.Second || ahead() > time.Minute {
		t.Errorf("an answer: %v", ahead())
	}
	was := c.deadline
	if c.send([]byte("a\n"), time.Minute); !c.deadline.Equal(was) {
		t.Error("the deadline is set at every answer")
	}
	if !c.send([]byte("a\n"), time.Hour) || ahead() < 30*time.Minute || ahead() > time.Hour {
		t.Errorf("a stream: %v", ahead())
	}
	if !c.send([]byte("a\n"), time.Minute) || ahead() > time.Minute {
		t.Errorf("an answer beside it: %v", ahead())
	}
	_ = far.Close()
	if c.send([]byte("a\n"), time.Minute) || !c.broken() || c.ctx.Err() == nil {
		t.Errorf("to a peer that is gone: %v %v", c.broken(), c.ctx.Err())
	}
	if c.send([]byte("a\n"), time.Minute) {
		t.Error("after a failure")
	}
}

func TestDescriptorErrors(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		if !outOfDescriptors(err) || passing(err) {
			t.Error(err)
		}
	}
	for _, err := range []error{syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, os.ErrDeadlineExceeded} {
		if outOfDescriptors(err) || !passing(err) {
			t.Error(err)
		}
	}
	if outOfDescriptors(syscall.EBADF) || passing(syscall.EBADF) {
		t.Error("a closed listener")
	}
	file := openReserve()
	if file == nil {
		t.Fatal("no reserve")
	}
	_ = file.Close()
	if NewServer(newFake(), ServerOptions{}).refuseOne(nil, file) {
		t.Error("a reserve that cannot be closed gives nothing")
	}
	limitFiles(t, 100)
	if got := affordable(1000); got != 50 {
		t.Errorf("of 100 descriptors: %d", got)
	}
	if got := affordable(20); got != 20 {
		t.Errorf("fewer than half: %d", got)
	}
	limitFiles(t, 6)
	if got := affordable(1000); got != 4 {
		t.Errorf("of 6 descriptors: %d", got)
	}
}

// limitFiles lowers how many descriptors the process may have, until the test ends.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lower := limit
	lower.Cur = n
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) })
}

// text is a log that a test may read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }
func (l *text) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// TestReserveComesBack: without a reserve accepting pauses, longer each time; with one it does not.
func TestReserveComesBack(t *testing.T) {
	listener := &failingListener{errs: make(chan error, 100), closed: make(chan struct{})}
	log := &text{}
	server := NewServer(newFake("a"), ServerOptions{Log: slog.New(slog.NewTextHandler(log, nil))})
	served := make(chan error, 1)
	full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	go func() { served <- server.Serve(listener) }()
	wait.For(t, "accepting", func() bool { return listener.accepts.Load() == 1 })
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	limitFiles(t, 0)
	listener.errs <- full
	listener.errs <- full // with the reserve, which then cannot be had again
	wait.For(t, "accepting after a pause", func() bool { return listener.accepts.Load() == 3 })
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	listener.errs <- full
	wait.For(t, "accepting after two pauses", func() bool { return listener.accepts.Load() == 4 })
	if got := log.String(); strings.Count(got, "out of file descriptors") != 2 || !strings.Contains(got, "pause=5ms") || !strings.Contains(got, "pause=10ms") {
		t.Errorf("the log says\n%s", got)
	}
	for range 4 {
		listener.errs <- full
	}
	wait.For(t, "the reserve", func() bool { return listener.accepts.Load() == 8 })
	if got := log.String(); strings.Count(got, "out of file descriptors") != 2 {
		t.Errorf("with a reserve the log says\n%s", got)
	}
	listener.errs <- io.ErrUnexpectedEOF
	if err := <-served; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}

	// The end of the server ends a pause.
	server = NewServer(newFake("a"), ServerOptions{})
	server.cancel(errClosing)
	limitFiles(t, 0)
	listener.errs <- full
	go func() { served <- server.Serve(listener) }()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// TestRefuseOne: with the reserve a peer is told what is wrong.
func TestRefuseOne(t *testing.T) {
	server := NewServer(newFake("a"), ServerOptions{})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := dialRaw(t, l.Addr().String())
	if !server.refuseOne(l, openReserve()) {
		t.Error("one that waits")
	}
	if got := conn.next(); !strings.Contains(got, "the server is out of file descriptors") {
		t.Error(got)
	}
	if !server.refuseOne(l, openReserve()) {
		t.Error("nobody waits")
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	foreign, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if !server.refuseOne(tcp, openReserve()) {
		t.Error("a foreign one")
	}
	_ = foreign.SetDeadline(time.Now().Add(patience))
	if _, err := foreign.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a foreign one is kept: %v", err)
	}
	mine, other := net.Pipe()
	server.admit(mine)
	_ = other.SetDeadline(time.Now().Add(patience))
	if _, err := other.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("admitted: %v", err)
	}
}

type setDeadline struct {
	net.Listener
	set []time.Time
}

func (l *setDeadline) SetDeadline(at time.Time) error { l.set = append(l.set, at); return nil }

// TestAfterTheEnd: a server that is closed, or handed over, takes nothing any more.
func TestAfterTheEnd(t *testing.T) {
	server := NewServer(newFake("a"), ServerOptions{})
	l := &setDeadline{}
	server.acceptUntil(l, time.Time{})
	if len(l.set) != 1 || !server.sleep(0) {
		t.Errorf("while it serves: %v", l.set)
	}
	server.state = stateHanding
	server.acceptUntil(l, time.Time{})
	if len(l.set) != 1 || server.sleep(0) {
		t.Errorf("the deadline of a handover is taken back: %v", l.set)
	}
	if err := server.Close(patiently(t)); err != nil {
		t.Fatal(err)
	}
	if server.sleep(time.Hour) {
		t.Error("it sleeps")
	}
	if err := server.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	near, far := pair(t)
	_ = far.SetDeadline(time.Now().Add(patience))
	server.admit(near)
	if got := (&line{t, far, newReader(far)}).next(); !strings.Contains(got, "the server is going away") {
		t.Error(got)
	}
	var busy sync.WaitGroup
	busy.Add(1)
	defer busy.Done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitFor(ctx, &busy); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what does not end: %v", err)
	}
}

// TestPeerGroups: however many there are.
func TestPeerGroups(t *testing.T) {
	if p := peerOf(new(net.UnixConn)); p.uid != -1 || len(p.groups) != 0 {
		t.Errorf("no connection: %+v", p)
	}
	if got := peerGroups(-1); got != nil {
		t.Errorf("no socket: %v", got)
	}
	need.Root(t)
	for _, n := range []int{3, 64, 65, 300} {
		var want []uint32
		fds := make(chan [2]int, 1)
		go func() {
			lockThread() // the thread keeps its groups, and ends with this function
			for i := range n {
				want = append(want, uint32(5000+i))
			}
			if err := setGroups(want); err != nil {
				t.Error(err)
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
			}
			fds <- pair
		}()
		pair := <-fds
		got := peerGroups(pair[0])
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d groups: %d are seen", n, len(got))
		}
		_, _ = unix.Close(pair[0]), unix.Close(pair[1])
	}
}
