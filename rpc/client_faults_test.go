package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

// played serves each connection, in their order, by the next func, the last one for ever.
func played(t *testing.T, parts ...func(*line)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	playedAt(t, path, parts...)
	return path
}

func playedAt(t *testing.T, path string, parts ...func(*line)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var over sync.WaitGroup
	over.Go(func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			part := parts[min(i, len(parts)-1)]
			over.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				part(&line{t, conn.(*net.UnixConn), newReader(conn)})
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); over.Wait() })
}

const okLine = `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}` + "\n"

func note(method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`+"\n", method, params)
}

// asked tells what a peer asked for, "" when it said nothing.
func asked(l *line) string {
	text, _ := l.in.ReadString('\n')
	return text
}

// answerOnce answers the first line and closes.
func answerOnce(answer string) func(*line) {
	return func(l *line) {
		if asked(l) != "" {
			_, _ = l.Write([]byte(answer))
		}
	}
}

// TestReadLine: lines that come in pieces, several in one, an empty one, and one longer than the buffer.
func TestReadLine(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	c := &clientConn{Conn: near}
	_ = near.SetDeadline(time.Now().Add(patience))
	long := strings.Repeat("0123456789", readBuffer/4)
	go func() {
		for _, piece := range []string{"abc", "\n", "one\ntw", "o\n", "\n", long[:readBuffer], long[readBuffer:] + "\nla", "st\n"} {
			_, _ = far.Write([]byte(piece))
		}
		_ = far.Close()
	}()
	for _, want := range []string{"abc", "one", "two", "", long, "last"} {
		if got, err := c.readLine(); err != nil || string(got) != want {
			t.Fatalf("%.40q, %v, want %.40q", got, err, want)
		}
	}
	if _, err := c.readLine(); err != io.EOF {
		t.Error(err)
	}
}

func TestClientPieces(t *testing.T) {
	if err := checkPath(strings.Repeat("x", 107)); err != nil {
		t.Error(err)
	}
	if err := checkPath(strings.Repeat("x", 108)); err == nil {
		t.Error("a path of 108 bytes")
	}
	if body, err := openReply([]byte(`{"jsonrpc":"2.0","id":1,"result":5}`+"\r"), 1); err != nil || string(body) != "5" {
		t.Errorf("%s %v", body, err)
	}
	if shrink(make([]byte, 0, 2<<20)) != nil || shrink(make([]byte, 0, 1000)) == nil {
		t.Error("the buffer of one big request is kept, or that of small ones is not")
	}
	if err := (&TransportError{Socket: "/s", Op: "receive", Err: context.Canceled}); err.Error() != "interrupted while waiting for the server at /s" {
		t.Error(err)
	}
	var lost *TransportError
	if err := endOf(json.RawMessage(`{"of":5,"error":{"code":1,"message":"x"}}`), "/s"); !errors.As(err, &lost) || lost.Socket != "/s" {
		t.Errorf("an end that cannot be read: %v", err)
	}
}

// TestClientKeepsItsConnection over calls, whether they have an end or not, and after an error of the server's.
func TestClientKeepsItsConnection(t *testing.T) {
	client := dialClient(t, serveFake(t, newFake("a"), ServerOptions{}).path)
	conn := client.conn
	for _, ctx := range []context.Context{context.Background(), patiently(t)} {
		if _, err := client.Ping(ctx); err != nil || client.conn != conn {
			t.Errorf("%v, the same connection: %v", err, client.conn == conn)
		}
		if _, err := client.Status(ctx, "ghost"); err == nil || client.conn != conn {
			t.Errorf("%v, the same connection: %v", err, client.conn == conn)
		}
	}
	var number int
	err := client.Call(context.Background(), "system.ping", nil, &number)
	says(t, "a result of another type", err, "cannot read the answer to system.ping: ")
	_ = conn.Conn.Close()
	if err := client.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("close: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// TestClientOfAClosedServer: a server that closes before it is asked may have said why.
func TestClientOfAClosedServer(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{`{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"too many connections"}}` + "\n", "too many connections"},
		{"", "cannot send over "},
	} {
		closed := make(chan struct{})
		path := played(t, func(l *line) {
			_, _ = l.Write([]byte(c.words))
			_ = l.Close()
			close(closed)
		}, answerOnce(`{"jsonrpc":"2.0","id":2,"result":{"ok":true}}`+"\n"))
		client := dialClient(t, path)
		<-closed
		err := client.Call(t.Context(), "service.start", nil, nil)
		says(t, "the first call", err, c.want)
		var lost *TransportError
		if errors.As(err, &lost) != (c.words == "") || lost != nil && (lost.Op != "send" || lost.Sent || !errors.Is(err, syscall.EPIPE)) {
			t.Errorf("%#v", err)
		}
		if err := client.Call(t.Context(), "service.start", nil, nil); err != nil {
			t.Errorf("the next call: %v", err)
		}
		_ = os.Remove(path)
		err = client.Call(t.Context(), "service.start", nil, nil)
		says(t, "after its end", err, path)
		err = client.Call(t.Context(), "service.start", nil, nil)
		says(t, "without a socket", err, "cannot connect to "+path)
	}
}

// TestWhatIsSentAgain: with WithReconnect a call whose connection was lost is sent again if it changes nothing, and any call
// that could not be sent is.
func TestWhatIsSentAgain(t *testing.T) {
	for _, c := range []struct {
		method string
		again  bool
	}{{"system.ping", true}, {"service.start", false}, {"no.such", false}} {
		var mu sync.Mutex
		calls := 0
		count := func(answer string) func(*line) {
			return func(l *line) {
				if asked(l) == "" {
					return
				}
				mu.Lock()
				calls++
				mu.Unlock()
				_, _ = l.Write([]byte(answer))
			}
		}
		client := dialClient(t, played(t, count(""), count(`{"jsonrpc":"2.0","id":2,"result":{"ok":true}}`+"\n")), WithReconnect(patience))
		err := client.Call(t.Context(), c.method, nil, nil)
		mu.Lock()
		if (err == nil) != c.again || (calls == 2) != c.again {
			t.Errorf("%s: %v after %d calls", c.method, err, calls)
		}
		mu.Unlock()
	}
	path := played(t, answerOnce(""))
	client := dialClient(t, path, WithReconnect(patience))
	if !client.retry(&TransportError{Err: io.EOF}, "service.start") || client.retry(&TransportError{Err: io.EOF, Sent: true}, "service.start") ||
		client.retry(wire.NewError(wire.CodeInternal, "no"), "system.ping") {
		t.Error("what was sent, and only that, is not sent again where it changes something")
	}
	_ = client.conn.Close()
	client.conn = nil
	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	playedLater := make(chan error, 1)
	go func() { playedLater <- client.Call(t.Context(), "service.start", nil, nil) }()
	playedAt(t, path, func(l *line) {
		var r struct{ ID json.RawMessage }
		if json.Unmarshal([]byte(asked(l)), &r) == nil {
			_, _ = fmt.Fprintf(l, `{"jsonrpc":"2.0","id":%s,"result":{"ok":true}}`+"\n", r.ID)
		}
	})
	if err := <-playedLater; err != nil {
		t.Errorf("a change that could not be sent: %v", err)
	}
}

// TestReconnectEnds: nobody waits for a server longer than it said.
func TestReconnectEnds(t *testing.T) {
	const limit = 60 * time.Millisecond
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	deadAt(t, dead)
	client := &Client{path: dead, reconnect: limit}
	says(t, "a call", client.Call(patiently(t), "system.ping", nil, nil), "connection refused")
	says(t, "a stream", client.FollowEvents(patiently(t), 0, nil), "connection refused")
	for what, part := range map[string]func(*line){
		"the server closed the connection": answerOnce(""),
		"not a JSON-RPC answer":            answerOnce("nonsense\n"),
	} {
		client := dialClient(t, played(t, part), WithReconnect(limit))
		says(t, "a stream that never begins", client.FollowEvents(patiently(t), 0, nil), what)
	}
	// What the server itself refuses is not asked for again.
	client = dialClient(t, serveFake(t, newFake("a"), ServerOptions{}).path, WithReconnect(time.Hour))
	var refused *wire.Error
	if err := client.FollowLogs(patiently(t), LogQuery{Names: []string{"ghost"}}, nil); !errors.As(err, &refused) {
		t.Errorf("a stream that is refused: %v", err)
	}
}

// TestStreamOutlivesTheLimit: the time to reconnect counts from the loss of the connection, however it was lost, not from the
// begin of the stream.
func TestStreamOutlivesTheLimit(t *testing.T) {
	const limit = 300 * time.Millisecond
	enough := errors.New("enough")
	var all sync.WaitGroup
	for _, last := range []string{"", "nonsense\n", note("end", `{"of":"events.subscribe"}`)} {
		var second string
		path := played(t, answerOnce(""), func(l *line) {
			asked(l)
			_, _ = l.Write([]byte(okLine + note("event", `{"seq":5,"service":"a"}`)))
			<-time.After(limit) // a measured span: longer than the limit
			_, _ = l.Write([]byte(last))
		}, func(l *line) {
			second = asked(l)
			_, _ = l.Write([]byte(okLine + note("event", `{"seq":6,"service":"a"}`)))
			_, _ = io.Copy(io.Discard, l.in)
		})
		client := dialClient(t, path, WithReconnect(limit))
		_ = client.Close() // the first part is this connection's
		all.Go(func() {
			var seqs []uint64
			err := client.FollowEvents(patiently(t), 2, func(e wire.Event) error {
				if seqs = append(seqs, e.Seq); e.Seq == 6 {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) || !slices.Equal(seqs, []uint64{5, 6}) || !strings.Contains(second, `"since":6`) {
				t.Errorf("ended by %q: %v after %v, asked for %s", last, err, seqs, second)
			}
		})
	}
	all.Wait()
}

// TestStreamErrors: what ends a stream for good.
func TestStreamErrors(t *testing.T) {
	enough := errors.New("enough")
	for _, c := range []struct{ notes, want string }{
		{note("log", "5"), "cannot read a line of logs.follow: "},
		{"nonsense\n", "not a JSON-RPC notification"},
		{note("end", `{"of":"logs.follow"}`), "the server ended the stream"},
		{"", "the server closed the connection"},
		{note("log", `{"lines":[{"service":"a","seq":3,"timestamp_ms":1}],"missed":0}`), "enough"},
	} {
		client := dialClient(t, played(t, answerOnce(""), answerOnce(okLine+c.notes)))
		err := client.FollowLogs(patiently(t), LogQuery{}, func(wire.Follow) error { return enough })
		says(t, fmt.Sprintf("%q", c.notes), err, c.want)
	}
	client := dialClient(t, played(t, answerOnce(""), answerOnce(okLine+note("event", "5"))))
	says(t, "an event", client.FollowEvents(patiently(t), 0, func(wire.Event) error { return nil }), "cannot read an event: ")
	err := client.follow(patiently(t), "x.y", func() any { return make(chan int) }, nil)
	says(t, "parameters", err, "cannot encode the parameters of x.y: ")
}

// TestMissedBeforeTheFirst: a gap before the first line is told once, by the server.
func TestMissedBeforeTheFirst(t *testing.T) {
	notes := note("log", `{"lines":[],"missed":7,"service":"a"}`) + note("log", `{"lines":[{"service":"a","seq":20,"timestamp_ms":1}],"missed":0}`)
	client := dialClient(t, played(t, answerOnce(""), answerOnce(okLine+notes)))
	var got []string
	err := client.FollowLogs(patiently(t), LogQuery{}, func(f wire.Follow) error {
		got = append(got, fmt.Sprint(f.Missed, len(f.Lines)))
		return nil
	})
	if want := []string{"7 0", "0 1"}; !slices.Equal(got, want) {
		t.Errorf("%v after %v, want %v", err, got, want)
	}
	kept, gaps := dropSeen([]wire.LogLine{{Service: "a"}}, map[string]delivered{})
	if len(kept) != 1 || len(gaps) != 0 {
		t.Errorf("the first one of all: %v %v", kept, gaps)
	}
	kept, gaps = dropSeen([]wire.LogLine{{Service: "a", Seq: 5, TimestampMS: 1}}, map[string]delivered{})
	if len(kept) != 1 || len(gaps) != 0 {
		t.Errorf("%v %v", kept, gaps)
	}
}

// TestBadParameters: parameters that are no JSON are an error wherever they stop.
func TestBadParameters(t *testing.T) {
	set := lookup("service.set")
	for _, text := range []string{`{"config":`, `{"service":{},"x":`, `{"config":{},`, `[{},`, `[`, `{`} {
		var a args
		var bad *syntaxError
		if err := a.bind(set, []byte(text), false); !errors.As(err, &bad) {
			t.Errorf("%s: %v", text, err)
		}
	}
	a := args{method: lookup("xinet.set")}
	a.raw[0] = []byte(`{"bogus":`)
	var bad *syntaxError
	if err := a.checkMembers(0, xinetMembers); !errors.As(err, &bad) {
		t.Errorf("members: %v", err)
	}
	calls := 0
	err := eachMember([]byte(`{"a":`), func(_, _ []byte) error { calls++; return nil })
	if !errors.As(err, &bad) || calls != 0 {
		t.Errorf("%v after %d members", err, calls)
	}
	if _, err := decodeListed([]byte(`[{"name":"a"},`)); err == nil {
		t.Error("half a list")
	}
	if allStrings([]byte(`["a",`)) {
		t.Error("half a list of strings")
	}
}

// TestParameterForms that a client may use: escapes, a config beside members, options of removals.
func TestParameterForms(t *testing.T) {
	fake := newFake("a")
	fake.lines = []wire.LogLine{{Content: "x", Service: "a", Stream: "stdout"}, {Content: "y", Service: "a", Stream: "stdout"}}
	conn := dialRaw(t, serveFake(t, fake, ServerOptions{}).path)
	for _, c := range []struct{ method, params, want string }{
		{`service\u002estart`, `{"name":"a","\u0077ait":true}`, `"ok":true`},
		{"service.set", `{"config":{"service":{}},"dry_run":true,"service":{}}`, `unknown parameter \"service\"`},
		{"service.delete", `{"name":"a","files":"some"}`, `files \"some\": want all or written`},
		{"service.delete", `{"name":"a","files":"written"}`, `"ok":true`},
		{"service.delete_all", `{"files":"some"}`, `files \"some\": want all or written`},
		{"service.delete_all", `{"files":"all"}`, `"deleted":["a"]`},
		{"service.delete_all", `{}`, `"deleted":["a"]`},
		{"xinet.set", `{"name":5}`, "invalid xinet config: "},
		{"logs.follow", `{"stream":"both"}`, "'stream' must be stdout, stderr or syslog"},
		{"jobs.log", `{"name":"a","lines":3}`, `"lines":[]`},
	} {
		if text := conn.ask(`{"jsonrpc":"2.0","id":1,"method":"` + c.method + `","params":` + c.params + "}"); !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %s", c.method, c.params, text)
		}
	}
	if notes := fake.notes(); !strings.HasPrefix(notes[0], "start a {Wait:true ") {
		t.Error(notes[0])
	}
	if text := conn.ask(`{"jsonrpc":"2.0","id":1,"method":"logs.get","params":{}}`); !strings.HasSuffix(text, `"result":["0 [stdout] x","0 [stdout] y"]}`) {
		t.Errorf("two lines of text: %s", text)
	}
	for line, want := range map[string]string{
		`{"jsonrpc":2,"id":1,"method":"a"}`: `"jsonrpc" must be a string, not a number`,
		`[2,1,"a"]`:                         `"jsonrpc" must be a string, not a number`,
		`{"jsonrpc":"2.0","method":"a`:      "the line ends inside a string at line 1 column 28",
	} {
		if _, err := parseRequest([]byte(line)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// questions notes what is asked for by a value, not by its text.
type questions struct {
	*fakeBackend
	runs   []RunQuery
	choice []wire.FilesChoice
	noDeps []bool
	hasEnd bool // of the context of a run
}

func (q *questions) RunOneshot(ctx context.Context, _ string, _ RunRequest) (wire.Run, error) {
	_, q.hasEnd = ctx.Deadline()
	return wire.Run{OK: true}, nil
}

func (q *questions) JobLog(r RunQuery) (wire.RunLog, error) {
	q.runs = append(q.runs, r)
	return wire.RunLog{}, nil
}
func (q *questions) Remove(_ context.Context, _ string, r wire.Removal) (wire.OK, error) {
	q.choice = append(q.choice, r.Files)
	return wire.OK{OK: true}, nil
}
func (q *questions) DeleteAll(_ context.Context, f wire.FilesChoice) (wire.Bulk, error) {
	q.choice = append(q.choice, f)
	return wire.Bulk{Deleted: []string{"a"}, Removed: wire.Removed{Deleted: []string{"/etc/a.toml"}, Kept: []string{"/etc/b.toml"}}}, nil
}
func (q *questions) Start(_ context.Context, _ string, c Change) (wire.OK, error) {
	q.noDeps = append(q.noDeps, c.NoDeps, c.RunOnly)
	return wire.OK{OK: true}, nil
}
func (q *questions) Stop(ctx context.Context, name string, c Change) (wire.OK, error) {
	return q.Start(ctx, name, c)
}

func TestWhatTheBackendIsAsked(t *testing.T) {
	q := &questions{fakeBackend: newFake("a")}
	conn := dialRaw(t, serveFake(t, q, ServerOptions{}).path)
	ask := func(method, params string) string { return conn.ask(strings.TrimSpace(req(1, method, params))) }
	for _, params := range []string{`{"name":"a"}`, `{"name":"a","lines":3}`} {
		ask("jobs.log", params)
	}
	if len(q.runs) != 2 || q.runs[0].Lines != allLines || q.runs[0].Run != -1 || q.runs[1].Lines != 3 {
		t.Errorf("runs: %+v", q.runs)
	}
	for _, params := range []string{`{"name":"a"}`, `{"name":"a","files":"all"}`, `{"name":"a","files":"written"}`} {
		ask("service.remove", params)
	}
	text := ask("service.delete_all", `{"files":"written"}`)
	if want := `"result":{"deleted":["a"],"count":1,"deleted_files":["/etc/a.toml"],"kept_files":["/etc/b.toml"]}`; !strings.Contains(text, want) {
		t.Errorf("%s, want %s", text, want)
	}
	if want := []wire.FilesChoice{wire.FilesAll, wire.FilesAll, wire.FilesWritten, wire.FilesWritten}; !slices.Equal(q.choice, want) {
		t.Errorf("files: %v", q.choice)
	}
	if text := ask("service.run", `{"name":"a"}`); q.hasEnd || !strings.Contains(text, `"ok":true`) {
		t.Errorf("a run takes as long as it takes: %v, %s", q.hasEnd, text)
	}
	if ask("service.wait", `{"names" : [ "a" , "b" ]}`); !strings.Contains(q.notes()[0], "wait [a b] running") {
		t.Errorf("%q", q.notes())
	}
	ask("service.start", `{"name":"a","no_deps":true}`)
	ask("service.stop", `{"name":"a","run_only":true}`)
	if want := []bool{true, false, false, true}; !slices.Equal(q.noDeps, want) {
		t.Errorf("no_deps, run_only: %v", q.noDeps)
	}
}

func TestOddAnswers(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, "null"}, {json.RawMessage("\n{}"), "{}"}, {json.RawMessage("{\n}"), "{}"}, {5, "5"},
		{struct{ M map[string]int }{}, `{"M":{}}`}, {logTexts(nil), "[]"},
	} {
		if got, err := appendResult(nil, c.v); err != nil || string(got) != c.want {
			t.Errorf("%#v: %s %v", c.v, got, err)
		}
	}
	for _, text := range []string{"running", "inactive", "exited", "user", "up", "down", "", "else"} {
		got := "before"
		if err := decodeText([]byte(`"`+text+`"`), &got); err != nil || got != text {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, text := range []string{"1e-5", "1E+5", "-0.5e5"} {
		s := scanner{data: []byte(text)}
		if err := s.value(0); err != nil || s.pos != len(text) {
			t.Errorf("%s: %v at %d", text, err, s.pos)
		}
	}
	c := &serverConn{}
	if got := c.visible(nil); got != nil {
		t.Errorf("what a stranger sees of nothing: %v", got)
	}
	for text, want := range map[string]string{"": "", "failed: exec /secret": "is failed"} {
		if got := c.visible(wire.Listed{State: wire.State{State: "failed"}, Text: text}).(wire.Listed).Text; got != want {
			t.Errorf("what a stranger sees of %q: %q", text, got)
		}
	}
}
