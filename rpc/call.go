package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/rpc/wire"
)

// call carries out one request and appends its answer. false: it gets none, or has it already.
func (c *serverConn) call(req *request) bool {
	m := methods()[string(req.method[1:len(req.method)-1])]
	if m == nil && bytes.IndexByte(req.method, '\\') >= 0 {
		m = lookup(unquote(req.method))
	}
	if m != nil && !c.batch && (m.access == accessWrite || m.waits != nil) {
		c.write() // earlier answers do not wait for this one
	}
	mark := len(c.out)
	answered, err := c.run(m, req)
	if err != nil {
		c.out = appendErrorObject(c.out[:mark], idOf(req), c.visibleError(asError(err)))
		answered = true
	}
	if req.id == nil || c.again != nil {
		c.out = c.out[:mark]
		return false
	}
	return answered
}

func idOf(req *request) []byte {
	if req.id == nil {
		return zeroID
	}
	return req.id
}

// run checks a request against its table entry and calls it. A panic of the backend is an internal error and no more.
func (c *serverConn) run(m *method, req *request) (answered bool, err error) {
	if m == nil {
		return false, unknownMethod(req.method)
	}
	if !c.trusted && m.access != accessRead {
		return false, c.notPermitted(m)
	}
	a := &c.args
	if err := a.bind(m, req.params, c.server.options.Lenient); err != nil {
		return false, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = c.panicked(m, r)
		}
	}()
	if m.stream != nil {
		return false, c.startStream(m, req, a)
	}
	result, err := c.result(m, a)
	if err != nil {
		return false, err
	}
	return true, c.reply(req, result)
}

func (c *serverConn) panicked(m *method, reason any) error {
	c.server.log.Error("panic in a method", "method", m.name, "panic", fmt.Sprint(reason), "stack", string(debug.Stack()))
	return wire.NewError(wire.CodeInternal, fmt.Sprintf("internal error in %s: %v", m.name, reason))
}

func (c *serverConn) reply(req *request, result any) error {
	c.out = append(c.out, `{"jsonrpc":"2.0","id":`...)
	c.out = append(c.out, idOf(req)...)
	c.out = append(c.out, `,"result":`...)
	var err error
	c.out, err = appendResult(c.out, c.visible(result))
	if err != nil {
		return fmt.Errorf("cannot encode the answer: %w", err)
	}
	c.out = append(c.out, '}')
	return nil
}

func unknownMethod(raw []byte) error {
	name := unquote(raw)
	if len(name) > 60 {
		name = name[:60] + "…"
	}
	text := fmt.Sprintf("unknown method %q", name)
	best, distance := "", 4
	for known := range methods() {
		if d := edits(name, known); d < distance || d == distance && known < best {
			best, distance = known, d
		}
	}
	if best != "" {
		text += fmt.Sprintf(" (did you mean %q?)", best)
	}
	return wire.NewError(wire.CodeMethod, text)
}

func (c *serverConn) notPermitted(m *method) error {
	return wire.NewError(wire.CodeNotPermitted,
		fmt.Sprintf("user %d may not call %s: only %s may; others may read states", c.peer.uid, m.name, c.mayAll()))
}

// mayAll names those that have all rights.
func (c *serverConn) mayAll() string {
	who := "root"
	if c.server.uid != 0 {
		who = fmt.Sprintf("root or user %d", c.server.uid)
	}
	if c.server.options.GID > 0 {
		group := c.server.options.GroupName
		if group == "" {
			group = fmt.Sprint(c.server.options.GID)
		}
		who += " or a member of group " + group
	}
	return who
}

// result asks the backend, by the way the method needs.
func (c *serverConn) result(m *method, a *args) (any, error) {
	switch {
	case m.end != nil:
		return c.ending(m, a)
	case m.waits != nil && m.waits(a):
		return c.wait(m, a)
	case m.access == accessWrite:
		return c.change(m, a)
	}
	return m.call(c.ctx, c.server.backend, a)
}

// ending asks for what begins after the answer. While another end is on its way it waits, and the next server may do it.
func (c *serverConn) ending(m *method, a *args) (any, error) {
	result, begin, err := m.end(c.ctx, c.server.backend, a)
	switch {
	case err == nil && begin != nil:
		c.begin = append(c.begin, begin)
	case err != nil && m.again && !c.batch && errors.Is(context.Cause(c.ctx), errHandover):
		c.again = []byte{'\n'} // handleOne puts the line in
	}
	return result, err
}

// outcome is what a call of the backend came to.
type outcome struct {
	result any
	err    error
}

// change calls the backend for a change that must be answered soon. When it is not finished by then, it goes on and the
// answer says pending.
func (c *serverConn) change(m *method, a *args) (any, error) {
	a = a.clone() // what goes on beyond the answer keeps its parameters
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), changeSoft)
	done := make(chan outcome, 1)
	c.server.changes.Add(1)
	go func() {
		defer c.server.changes.Done()
		defer cancel()
		done <- c.protect(m, func() (any, error) { return m.call(ctx, c.server.backend, a) })
	}()
	timer := time.NewTimer(changeAnswer)
	defer timer.Stop()
	select {
	case o := <-done:
		// The call ends ctx itself when it returns: only the time that is over makes it pending.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && unfinished(o.err) {
			return m.pending(a), nil
		}
		return o.result, o.err
	case <-timer.C:
		return m.pending(a), nil
	}
}

// unfinished tells an error that only means that the time was over.
func unfinished(err error) bool {
	var e *wire.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Code == wire.CodeTimedOut
}

func (c *serverConn) protect(m *method, call func() (any, error)) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = outcome{err: c.panicked(m, r)}
		}
	}()
	result, err := call()
	return outcome{result, err}
}

// wait calls the backend for something that takes as long as it takes, and gives up when the peer is gone.
func (c *serverConn) wait(m *method, a *args) (any, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	stop := c.watchHangup(cancel)
	result, err := m.call(ctx, c.server.backend, a)
	stop()
	cause := context.Cause(c.ctx)
	if err == nil || cause == nil {
		return result, err
	}
	switch {
	case m.again && !c.batch && errors.Is(cause, errHandover):
		c.again = []byte{'\n'} // handleOne puts the line in
		return nil, err
	case m.pending != nil && errors.Is(cause, errHandover):
		return m.pending(a), nil
	}
	return nil, wire.NewError(wire.CodeTimedOut, "interrupted: "+cause.Error())
}

// watchHangup calls cancel when the peer has closed its end altogether; a half-closed peer still reads. The returned
// func ends the watch. Nothing else reads from the connection meanwhile.
func (c *serverConn) watchHangup(cancel func()) func() {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return func() {}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = raw.Read(func(fd uintptr) bool {
			if !hungUp(int(fd)) {
				return false
			}
			cancel()
			return true
		})
	}()
	return func() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		<-stopped
		_ = c.conn.SetReadDeadline(time.Time{})
		if c.ctx.Err() != nil { // interrupted meanwhile: its deadline is to stand
			_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

func hungUp(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd)}}
	for {
		n, err := unix.Poll(polled, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		return n > 0 && polled[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	}
}
