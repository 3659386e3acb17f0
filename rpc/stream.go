package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/zinit/zinit/rpc/wire"
)

// errPeerGone ends a stream whose peer does not read any more.
var errPeerGone = errors.New("the peer is gone")

// startStream answers {"ok":true} and goes on with notifications beside the other requests of the connection.
func (c *serverConn) startStream(m *method, req *request, a *args) error {
	switch {
	case c.batch:
		return wire.NewError(wire.CodeRequest, m.name+" cannot be part of a batch")
	case c.streams >= maxStreams:
		return wire.NewError(wire.CodeRequest, fmt.Sprintf("at most %d streams on one connection", maxStreams))
	case req.id == nil:
		return nil // nobody would learn that it has begun
	}
	if m.open != nil {
		if err := m.open(c.server.backend, a); err != nil {
			return err
		}
	}
	if err := c.reply(req, wire.OK{OK: true}); err != nil {
		return err
	}
	c.out = append(c.out, '\n')
	if !c.write() {
		return nil
	}
	c.streams++
	own := a.clone()
	c.running.Add(1)
	go c.stream(m, own)
	return nil
}

// stream runs one stream until it, the connection or the server ends.
func (c *serverConn) stream(m *method, a *args) {
	defer c.running.Done()
	buf := make([]byte, 0, bufferFirst)
	send := func(params notification) error {
		var err error
		if buf, err = appendNotification(buf[:0], m.note, c.visible(params)); err != nil {
			return err
		}
		if !c.send(buf, streamTimeout) {
			return errPeerGone
		}
		if cap(buf) > bufferKept {
			buf = make([]byte, 0, bufferFirst)
		}
		return nil
	}
	o := c.protect(m, func() (any, error) { return nil, m.stream(c.ctx, c.server.backend, a, send) })
	end := streamEnd{Of: m.name}
	if o.err != nil && !errors.Is(o.err, context.Canceled) && !errors.Is(o.err, errPeerGone) {
		end.Error = c.visibleError(asError(o.err))
	}
	if last, err := appendNotification(buf[:0], endNotification, end); err == nil && !errors.Is(o.err, errPeerGone) {
		c.sendLast(last)
	}
}

// sendLast writes the end of a stream even after interrupt has set the deadline into the past, if it does not block.
func (c *serverConn) sendLast(line []byte) {
	if c.ctx.Err() == nil {
		c.send(line, replyTimeout)
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.failed {
		return
	}
	if raw, err := c.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { sendNow(int(fd), line) })
	}
}

func appendNotification(b []byte, method string, params notification) ([]byte, error) {
	b = append(b, `{"jsonrpc":"2.0","method":`...)
	b = appendString(b, method)
	b = append(b, `,"params":`...)
	b, err := appendResult(b, params)
	return append(b, '}', '\n'), err
}
