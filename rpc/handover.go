package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// ConnState is an open connection on its way to the next server process.
type ConnState struct {
	File    *os.File // the connection; close-on-exec is set
	Pending []byte   // what was read from it and not yet handled
}

// Handover stops serving without closing anything: accepting ends (Serve returns ErrServerClosed, the listeners stay
// open), requests that were begun are answered, and the open connections are returned with what they had sent beyond.
// Calls that wait are put back where they may be asked again; streams end, with a notification that says so, and their
// connections close. When ctx ends first, connections that are still busy are closed; while a change is still being
// carried out the error is ErrChanging, since the next process would not finish it. If the next process does not come to
// life, Adopt and Serve go on with this Server.
func (s *Server) Handover(ctx context.Context) ([]ConnState, error) {
	s.mu.Lock()
	if s.state != stateServing {
		s.mu.Unlock()
		return nil, ErrServerClosed
	}
	s.state = stateHanding
	for listener := range s.listeners {
		if l, ok := listener.(deadliner); ok {
			_ = l.SetDeadline(time.Unix(1, 0))
		}
	}
	for c := range s.conns {
		c.interrupt(errHandover)
	}
	s.mu.Unlock()
	err := waitFor(ctx, &s.working)
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), changesGrace)
	defer stop()
	if waitFor(grace, &s.changes) != nil {
		err = ErrChanging
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.left = true
		_ = c.conn.Close()
	}
	handed := s.handed
	s.handed = nil
	return handed, err
}

// ErrChanging is what Handover returns when a change that was asked for is not finished in time.
var ErrChanging = errors.New("a change that a client asked for is still under way")

// changesGrace is how long changes may take beyond the connections that asked for them.
const changesGrace = 200 * time.Millisecond

// hand gives the connection to the handover, if there is one and it can go on elsewhere.
func (s *Server) hand(c *serverConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := c.eof && c.again == nil // the peer has said all, and has its answers
	if s.state != stateHanding || c.left || over || c.streams > 0 || c.broken() {
		return false
	}
	file, err := c.conn.File()
	if err != nil {
		return false
	}
	pending := append(c.again, c.buf[c.start:c.end]...)
	s.handed = append(s.handed, ConnState{File: file, Pending: pending})
	s.buffered.Add(-c.counted)
	_ = c.conn.Close()
	return true
}

// handOn gives a connection that was accepted when the handover had begun to it.
func (s *Server) handOn(conn *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateHanding {
		return false
	}
	file, err := conn.File()
	if err != nil {
		return false
	}
	s.handed = append(s.handed, ConnState{File: file})
	_ = conn.Close()
	return true
}

func (c *serverConn) broken() bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.failed
}

// Adopt serves connections that another process (or this one, before a failed upgrade) has handed over. It takes the
// files over. Call it before Serve.
func (s *Server) Adopt(states []ConnState) error {
	s.mu.Lock()
	if s.state == stateHanding {
		s.state = stateServing
	}
	s.mu.Unlock()
	var failure error
	for _, state := range states {
		if err := s.adopt(state); err != nil && failure == nil {
			failure = err
		}
	}
	return failure
}

func (s *Server) adopt(state ConnState) error {
	conn, err := net.FileConn(state.File)
	_ = state.File.Close()
	if err != nil {
		return fmt.Errorf("cannot adopt a connection: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return fmt.Errorf("cannot adopt a connection: it is no Unix socket")
	}
	c := newConn(s, unixConn)
	c.buf = make([]byte, max(bufferFirst, 2*len(state.Pending)))
	c.end = copy(c.buf, state.Pending)
	if why := s.register(c); why != nil {
		refuse(unixConn, why)
		return nil
	}
	go c.serve()
	return nil
}
