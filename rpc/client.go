package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/rpc/wire"
)

// maxReply bounds one line from the server, in bytes. Whole rings of many services can be long.
const maxReply = 256 << 20

// readBuffer is what a client reads at once, in bytes.
const readBuffer = 64 << 10

// retryFirst and retryMax bound the pauses between attempts to reach a server that is away.
const (
	retryFirst = 20 * time.Millisecond
	retryMax   = time.Second
)

// Client talks to one zinit server over its Unix socket. A Client is safe for concurrent use: calls go one after the
// other over one connection, because the server answers in order anyway. Streams (FollowLogs, FollowEvents) have a
// connection of their own. After a transport error the next call connects again.
type Client struct {
	path      string
	reconnect time.Duration

	mu   sync.Mutex
	conn *clientConn // nil after a transport error
	id   uint64
	out  []byte // the request being written, reused
}

// An Option changes how a Client behaves.
type Option func(*Client)

// WithReconnect makes calls and streams wait up to limit for a server that is away (an upgrade, a crash that is being
// recovered from). A call that had been sent is repeated only if it changes nothing; a stream goes on after the last
// line or event it delivered.
func WithReconnect(limit time.Duration) Option { return func(c *Client) { c.reconnect = limit } }

// TransportError says that the server could not be reached, or the connection ended before an answer. Its text names
// the socket and the cause. It unwraps to the cause: syscall.ECONNREFUSED, io.EOF, context.DeadlineExceeded, …
type TransportError struct {
	Socket string // path of the socket
	Op     string // "connect", "send" or "receive"
	Err    error  // the cause
	Sent   bool   // the request had been sent: it may have been carried out
}

// Error returns one line: what failed, where, and why.
func (e *TransportError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer from the server at %s in time", e.Socket)
	}
	if errors.Is(e.Err, context.Canceled) {
		return fmt.Sprintf("interrupted while waiting for the server at %s", e.Socket)
	}
	if e.Op != "connect" {
		return fmt.Sprintf("cannot %s over %s: %s%s", e.Op, e.Socket, causeText(e.Err), lostHint(e.Sent))
	}
	return fmt.Sprintf("cannot connect to %s: %s", e.Socket, causeText(e.Err))
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

func causeText(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

func lostHint(sent bool) string {
	if sent {
		return " (the request may have been carried out)"
	}
	return ""
}

// Dial connects to the server at path. The error is a *TransportError. ctx bounds connecting only.
func Dial(ctx context.Context, path string, options ...Option) (*Client, error) {
	c := &Client{path: path}
	for _, option := range options {
		option(c)
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return c, nil
}

// Socket returns the path the client was made with.
func (c *Client) Socket() string { return c.path }

// Close ends the connection. The client must not be used afterwards.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// Call sends one request and decodes its result into result (a pointer, or nil to drop it). params is anything that
// encodes to a JSON object or array, or nil. An error of the server is a *wire.Error, one of the connection a
// *TransportError. When ctx ends before the answer the connection is closed; what was asked may go on in the server.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	encoded, err := encodeParams(params)
	if err != nil {
		return fmt.Errorf("cannot encode the parameters of %s: %w", method, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(c.reconnect)
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		err := c.attempt(ctx, method, encoded, result)
		if !c.retry(err, method) || !sleepUntil(ctx, pause, until) {
			return err
		}
	}
}

// attempt is one round trip; it connects first where there is no connection.
func (c *Client) attempt(ctx context.Context, method string, params []byte, result any) error {
	if c.conn == nil {
		conn, err := c.connect(ctx)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	c.id++
	c.out = appendRequest(c.out[:0], c.id, method, params)
	stop := c.conn.watch(ctx)
	line, err := c.conn.roundTrip(c.out, c.path)
	stopped := stop()
	if err == nil {
		var body []byte
		if body, err = openReply(line, c.id); err == nil {
			err = decodeResult(body, result, method)
		}
	}
	c.out = shrink(c.out)
	var lost *TransportError
	if errors.As(err, &lost) {
		lost.Socket = c.path
		if ctx.Err() != nil {
			lost.Err = ctx.Err()
		}
	}
	if lost != nil || !stopped || c.conn.gone {
		c.conn.Close() //nolint:errcheck // it is given up
		c.conn = nil
	}
	return err
}

// retry tells whether the call may be sent again after err.
func (c *Client) retry(err error, method string) bool {
	var lost *TransportError
	if c.reconnect == 0 || !errors.As(err, &lost) {
		return false
	}
	return !lost.Sent || readOnly(method)
}

// readOnly tells whether repeating the method changes nothing.
func readOnly(method string) bool {
	m := lookup(method)
	return m != nil && m.repeatable
}

// sleepUntil waits pause and reports whether another attempt is due: false when ctx ended or the limit has passed.
func sleepUntil(ctx context.Context, pause time.Duration, until time.Time) bool {
	if time.Now().Add(pause).After(until) {
		return false
	}
	return sleep.For(ctx, pause)
}

func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	if err := checkPath(c.path); err != nil {
		return nil, &TransportError{Socket: c.path, Op: "connect", Err: err}
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.path)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &TransportError{Socket: c.path, Op: "connect", Err: err}
	}
	return &clientConn{Conn: conn}, nil
}

// clientConn is a connection with its read buffer.
type clientConn struct {
	net.Conn
	gone       bool // the server has closed it
	buf        []byte
	start, end int // the unread part of buf
}

// watch interrupts reads and writes when ctx ends. The returned func ends the watch; false means it had struck.
func (c *clientConn) watch(ctx context.Context) func() bool {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

func (c *clientConn) roundTrip(request []byte, path string) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		if line := c.refusal(err); line != nil {
			return line, nil
		}
		return nil, &TransportError{Socket: path, Op: "send", Err: err}
	}
	line, err := c.readLine()
	if err != nil {
		return nil, &TransportError{Socket: path, Op: "receive", Err: err, Sent: true}
	}
	return line, nil
}

// refusal is what a server said before it closed a connection that it does not serve, nil when it said nothing: it does not
// wait for the request, so that sending may fail although there is an answer.
func (c *clientConn) refusal(err error) []byte {
	if !errors.Is(err, syscall.EPIPE) {
		return nil
	}
	line, err := c.readLine()
	if err != nil {
		return nil
	}
	c.gone = true
	return line
}

// readLine returns the next line without its end. It is valid until the next call.
func (c *clientConn) readLine() ([]byte, error) {
	for looked := c.start; ; {
		if i := bytes.IndexByte(c.buf[looked:c.end], '\n'); i >= 0 {
			line := c.buf[c.start : looked+i]
			c.start = looked + i + 1
			return line, nil
		}
		looked = c.end
		if moved := c.makeRoom(); moved > 0 {
			looked -= moved
		}
		if c.end-c.start > maxReply {
			return nil, fmt.Errorf("an answer over %d bytes", maxReply)
		}
		n, err := c.Read(c.buf[c.end:])
		c.end += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// makeRoom moves the unread bytes to the front and grows the buffer where it is full. It returns by how much they moved.
func (c *clientConn) makeRoom() int {
	moved := c.start
	if moved > 0 {
		copy(c.buf, c.buf[c.start:c.end])
		c.start, c.end = 0, c.end-moved
	}
	if c.end == len(c.buf) {
		grown := make([]byte, max(readBuffer, 2*len(c.buf)))
		copy(grown, c.buf[:c.end])
		c.buf = grown
	}
	return moved
}

func encodeParams(params any) ([]byte, error) {
	switch p := params.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		var compact bytes.Buffer
		err := json.Compact(&compact, p)
		return compact.Bytes(), err
	case nameParams:
		return p.append(nil), nil
	}
	return json.Marshal(params)
}

func appendRequest(b []byte, id uint64, method string, params []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `,"method":`...)
	b = appendString(b, method)
	if len(params) > 0 {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}', '\n')
}

// openReply returns the result in a reply line, or its error.
func openReply(line []byte, id uint64) ([]byte, error) {
	if body, ok := openQuickly(line, id); ok {
		return body, nil
	}
	var reply struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *wire.Error     `json:"error"`
	}
	if err := json.Unmarshal(line, &reply); err != nil {
		return nil, &TransportError{Op: "receive", Err: fmt.Errorf("not a JSON-RPC answer: %w", err), Sent: true}
	}
	if reply.Error != nil {
		return nil, reply.Error
	}
	if string(reply.ID) != strconv.FormatUint(id, 10) {
		return nil, &TransportError{Op: "receive", Err: fmt.Errorf("an answer with id %s to request %d", reply.ID, id), Sent: true}
	}
	return reply.Result, nil
}

// openQuickly knows the exact shape our own server writes.
func openQuickly(line []byte, id uint64) ([]byte, bool) {
	var want [64]byte
	head := append(want[:0], `{"jsonrpc":"2.0","id":`...)
	head = strconv.AppendUint(head, id, 10)
	head = append(head, `,"result":`...)
	if !bytes.HasPrefix(line, head) || line[len(line)-1] != '}' {
		return nil, false
	}
	return line[len(head) : len(line)-1], true
}

func decodeResult(body []byte, result any, method string) error {
	var err error
	switch result := result.(type) {
	case nil:
	case *[]wire.Listed:
		*result, err = decodeListed(body)
	default:
		err = json.Unmarshal(body, result)
	}
	if err != nil {
		return fmt.Errorf("cannot read the answer to %s: %w", method, err)
	}
	return nil
}

// shrink drops a buffer that one big request had grown.
func shrink(b []byte) []byte {
	if cap(b) > 1<<20 {
		return nil
	}
	return b
}

// checkPath refuses a socket path that does not fit into a socket address.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("the socket path is empty")
	case len(path) > maxSocketPath:
		return fmt.Errorf("the socket path has %d bytes, at most %d are possible", len(path), maxSocketPath)
	}
	return nil
}
