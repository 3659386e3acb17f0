package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/zinit/zinit/rpc/wire"
)

// The read buffer of a connection, in bytes: what an idle one keeps, and from where on its growth is counted.
const (
	bufferFirst = 4 << 10
	bufferKept  = 64 << 10
	flushAt     = 64 << 10
	answerKept  = 4 << 20 // answer buffers over this are not used again
)

// zeroID is the id of an answer to a request whose id could not be read, as 0.3.9 does.
var zeroID = []byte("0")

// serverConn serves one connection: one goroutine reads, calls and answers, in order. Streams write beside it.
type serverConn struct {
	server  *Server
	conn    *net.UnixConn
	peer    peer
	trusted bool // may do everything

	ctx    context.Context // ends when the connection or the server does
	cancel context.CancelCauseFunc

	buf        []byte
	start, end int // the unread part of buf
	counted    int64
	eof        bool

	args    args    // of the request being handled
	out     []byte  // answers not yet written
	pooled  *[]byte // where out came from
	streams int
	begin   []func() // to be called when out has been written
	batch   bool     // inside a batch
	left    bool     // given up by a handover; guarded by server.mu
	again   []byte   // a line that the next server is to handle

	writing  sync.Mutex // of conn, between the answers and the streams
	deadline time.Time  // of writes, as set; guarded by writing
	failed   bool       // a write has failed; guarded by writing
	running  sync.WaitGroup
}

// The causes by which calls that wait are interrupted.
var (
	errHandover = errors.New("the server is being replaced")
	errClosing  = errors.New("the server is going away")
)

func newConn(s *Server, conn *net.UnixConn) *serverConn {
	c := &serverConn{server: s, conn: conn, peer: peerOf(conn)}
	c.trusted = c.peer.uid == 0 || c.peer.uid == s.uid || (s.options.GID > 0 && c.peer.member(s.options.GID))
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	return c
}

// interrupt makes a blocked read return and waiting calls give up. Answers are still written.
func (c *serverConn) interrupt(cause error) {
	c.cancel(cause)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	if cause == errClosing {
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	}
}

// serve handles one request after the other until the peer closes, something is wrong, or the server ends.
func (c *serverConn) serve() {
	defer c.server.remove(c)
	defer c.finish()
	for c.ctx.Err() == nil {
		line, err := c.nextLine()
		if err != nil {
			c.lastWords(err)
			return
		}
		c.handle(line)
		if c.again != nil || c.due() && !c.flush() {
			return
		}
	}
}

// due reports whether it is time to write the answers: nothing more is to be handled at once, or there are many.
func (c *serverConn) due() bool {
	return len(c.begin) > 0 || len(c.out) >= flushAt || bytes.IndexByte(c.buf[c.start:c.end], '\n') < 0
}

// finish closes the connection, or hands it over.
func (c *serverConn) finish() {
	c.flush()
	if c.server.hand(c) {
		return
	}
	c.cancel(nil)
	_ = c.conn.SetDeadline(time.Unix(1, 0))
	c.running.Wait()
	_ = c.conn.Close()
	c.server.buffered.Add(-c.counted)
}

// lineError is a line that cannot be found again: it is answered and the connection closed.
type lineError struct{ err *wire.Error }

func (e *lineError) Error() string { return e.err.Message }

// nextLine returns the next request without its end; at the end of the input, what is left without one. It is valid
// until the next call.
func (c *serverConn) nextLine() ([]byte, error) {
	limit := c.server.options.MaxRequestBytes
	for looked := c.start; ; {
		if i := bytes.IndexByte(c.buf[looked:c.end], '\n'); i >= 0 {
			line := c.buf[c.start : looked+i]
			c.start = looked + i + 1
			return c.checkLength(bytes.TrimSuffix(line, []byte{'\r'}), limit)
		}
		if c.end-c.start > limit+1 {
			return c.checkLength(c.buf[c.start:c.end], limit)
		}
		if c.eof {
			line := c.buf[c.start:c.end]
			c.start = c.end
			if len(line) == 0 {
				return nil, io.EOF
			}
			return c.checkLength(bytes.TrimSuffix(line, []byte{'\r'}), limit)
		}
		unread := c.end - c.start
		if err := c.makeRoom(); err != nil {
			return nil, err
		}
		looked = c.start + unread
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *serverConn) checkLength(line []byte, limit int) ([]byte, error) {
	if len(line) > limit {
		return nil, &lineError{wire.NewError(wire.CodeRequest, fmt.Sprintf("a request line over %d bytes", limit))}
	}
	return line, nil
}

// fill reads once.
func (c *serverConn) fill() error {
	n, err := c.conn.Read(c.buf[c.end:])
	c.end += n
	switch {
	case n > 0 || err == nil:
		return nil
	case errors.Is(err, io.EOF):
		c.eof = true
		return nil
	}
	return err
}

// makeRoom moves the unread bytes to the front, and grows a full buffer or drops a big one that is empty.
func (c *serverConn) makeRoom() error {
	unread := c.buf[c.start:c.end]
	size := len(c.buf)
	switch {
	case len(unread) == 0 && size > bufferKept:
		size = bufferFirst
	case len(unread) == size:
		size = max(bufferFirst, 2*size)
	}
	switch {
	case size == len(c.buf) && c.start == 0: // where it is, or a long line would be copied at every read
	case size == len(c.buf):
		copy(c.buf, unread)
	default:
		if err := c.count(size); err != nil {
			return err
		}
		grown := make([]byte, size)
		copy(grown, unread)
		c.buf = grown
	}
	c.start, c.end = 0, len(unread)
	return nil
}

// count keeps account of big buffers over all connections.
func (c *serverConn) count(size int) error {
	counted := int64(max(0, size-bufferKept))
	if c.server.buffered.Add(counted-c.counted) > maxBuffered && counted > c.counted {
		c.server.buffered.Add(c.counted - counted)
		return &lineError{wire.NewError(wire.CodeRequest, "too many long requests at once; try again later")}
	}
	c.counted = counted
	return nil
}

// lastWords answers what can be answered when reading has ended.
func (c *serverConn) lastWords(err error) {
	var bad *lineError
	if !errors.As(err, &bad) {
		return
	}
	c.out = appendError(c.out, zeroID, bad.err)
	if !c.flush() {
		return
	}
	// Let the peer finish writing, or it would see a broken pipe in place of the answer.
	_ = c.conn.CloseWrite()
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, c.conn, maxBuffered)
}

// handle answers one line into out.
func (c *serverConn) handle(line []byte) {
	if c.out == nil {
		c.pooled = answers.Get().(*[]byte)
		c.out = *c.pooled
	}
	switch {
	case !utf8.Valid(line):
		c.fail(zeroID, wire.NewError(wire.CodeParse, "the request is not UTF-8"))
	case batchOf(line):
		c.handleBatch(line)
	default:
		c.handleOne(line)
	}
}

func (c *serverConn) handleOne(line []byte) {
	req, err := parseRequest(line)
	if err != nil {
		c.fail(zeroID, wire.NewError(wire.CodeParse, err.Error()))
		return
	}
	answered := c.call(&req)
	switch {
	case c.again != nil:
		c.again = append(bytes.Clone(line), '\n')
	case answered:
		c.out = append(c.out, '\n')
	}
}

// handleBatch answers an array of requests by an array of answers, in order. Notifications have none.
func (c *serverConn) handleBatch(line []byte) {
	if s := (scanner{data: line}); s.value(-2) != nil || s.space() != 0 || s.pos < len(line) {
		_, err := parseRequest(line)
		if err == nil {
			err = errors.New("trailing characters")
		}
		c.fail(zeroID, wire.NewError(wire.CodeParse, err.Error()))
		return
	}
	c.batch = true
	defer func() { c.batch = false }()
	answered := false
	elements := elementScan{s: &scanner{data: line}, depth: -1}
	elements.s.space()
	for {
		if more, err := elements.next(); err != nil || !more {
			break
		}
		mark := len(c.out)
		if answered {
			c.out = append(c.out, ',')
		} else {
			c.out = append(c.out, '[')
		}
		if !c.handleElement(elements.value) {
			c.out = c.out[:mark]
			continue
		}
		answered = true
		if len(c.out) >= flushAt {
			c.write()
		}
	}
	if answered {
		c.out = append(c.out, ']', '\n')
	}
}

// handleElement answers one request of a batch. false: it was a notification.
func (c *serverConn) handleElement(element []byte) bool {
	if element[0] != '{' {
		c.out = appendErrorObject(c.out, zeroID, wire.NewError(wire.CodeRequest, "a request in a batch must be an object"))
		return true
	}
	req, err := parseRequest(element)
	if err != nil {
		c.out = appendErrorObject(c.out, zeroID, wire.NewError(wire.CodeParse, err.Error()))
		return true
	}
	return c.call(&req)
}

// fail answers a line with an error.
func (c *serverConn) fail(id []byte, err *wire.Error) { c.out = appendError(c.out, id, err) }

func appendErrorObject(b, id []byte, err *wire.Error) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = append(b, id...)
	b = append(b, `,"error":`...)
	b, failure := appendResult(b, *err)
	if failure != nil { // data that is no JSON: leave it out
		b, _ = appendResult(b, *wire.NewError(err.Code, err.Message))
	}
	return append(b, '}')
}

func appendError(b, id []byte, err *wire.Error) []byte {
	return append(appendErrorObject(b, id, err), '\n')
}

// flush writes the answers and then begins what was to begin after them: beside this connection, which the end of the
// server waits for; a handover waits until it was asked for. false: the connection is broken.
func (c *serverConn) flush() bool {
	ok := c.write()
	for _, begin := range c.begin {
		c.server.changes.Add(1)
		go func() {
			defer c.server.changes.Done()
			begin()
		}()
	}
	c.begin = nil
	return ok
}

// write writes the answers.
func (c *serverConn) write() bool {
	if len(c.out) == 0 {
		return true
	}
	ok := c.send(c.out, replyTimeout)
	if c.pooled != nil && cap(c.out) <= answerKept {
		*c.pooled = c.out[:0]
		answers.Put(c.pooled)
	}
	c.out, c.pooled = nil, nil
	return ok
}

// answers are buffers for answers: a connection has one only while it has something to say.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, bufferFirst); return &b }}

// send writes whole lines, for answers and streams. After a failure the connection takes nothing any more.
func (c *serverConn) send(lines []byte, timeout time.Duration) bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.failed {
		return false
	}
	if now := time.Now(); c.deadline.Sub(now) < timeout/2 || c.deadline.Sub(now) > timeout {
		c.deadline = now.Add(timeout)
		_ = c.conn.SetWriteDeadline(c.deadline)
	}
	if _, err := c.conn.Write(lines); err != nil {
		c.failed = true
		c.cancel(err)
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // the reader is to see it too
		return false
	}
	return true
}
