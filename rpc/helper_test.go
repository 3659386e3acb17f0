package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// running is a server for a test, with its socket.
type running struct {
	*Server
	path   string
	socket *Socket
}

// serveFake serves a backend on a socket of its own until the test ends.
func serveFake(t testing.TB, b Backend, options ServerOptions) *running {
	t.Helper()
	r := &running{Server: NewServer(b, options), path: filepath.Join(t.TempDir(), "s")}
	socket, err := Listen(SocketOptions{Path: r.path})
	if err != nil {
		t.Fatal(err)
	}
	r.socket = socket
	served := make(chan error, 1)
	go func() { served <- r.Serve(socket.Listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		_ = socket.Close(true)
	})
	return r
}

// line is a raw connection that speaks in lines.
type line struct {
	t testing.TB
	*net.UnixConn
	in *bufio.Reader
}

func dialRaw(t testing.TB, path string) *line {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &line{t, conn.(*net.UnixConn), bufio.NewReaderSize(conn, 1<<20)}
}

func (l *line) send(text string) {
	l.t.Helper()
	if _, err := l.Write([]byte(text)); err != nil {
		l.t.Fatalf("send: %v", err)
	}
}

// next returns the next line, "" at the end.
func (l *line) next() string {
	l.t.Helper()
	text, err := l.in.ReadString('\n')
	if err != nil && text == "" {
		if !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
			l.t.Fatalf("receive: %v", err)
		}
		return ""
	}
	return strings.TrimSuffix(text, "\n")
}

// ask sends one line and returns the answer.
func (l *line) ask(text string) string {
	l.t.Helper()
	l.send(text + "\n")
	return l.next()
}

type reply struct {
	ID     json.RawMessage
	Result json.RawMessage
	Error  *wire.Error
}

func parseReply(t testing.TB, text string) reply {
	t.Helper()
	var r reply
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

// code returns the error code of an answer, 0 when it is none.
func (r reply) code() wire.Code {
	if r.Error == nil {
		return 0
	}
	return r.Error.Code
}

func dialClient(t testing.TB, path string, options ...Option) *Client {
	t.Helper()
	c, err := Dial(context.Background(), path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newReader(conn net.Conn) *bufio.Reader { return bufio.NewReaderSize(conn, 64<<10) }
