package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/internal/closer"
	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/rpc/wire"
)

// The bounds of the server. Settings may lower or raise the first two.
const (
	// MaxConnections is how many connections are served at once by default.
	MaxConnections = 1024
	// MaxRequestBytes is the longest request line by default, without its end.
	MaxRequestBytes = 1 << 20
	// maxBuffered bounds the bytes of unfinished long lines over all connections.
	maxBuffered = 64 << 20
	// replyTimeout is how long a client may take to read an answer.
	replyTimeout = 30 * time.Second
	// streamTimeout is how long a follower may not read: it may sit behind a pager.
	streamTimeout = 10 * time.Minute
	// changeSoft and changeAnswer: without wait, a change is answered as pending after so long. 0.3.9's clients give up
	// after 5 s. The context ends at the first, and what does not return then is left to itself at the second.
	changeSoft   = 3400 * time.Millisecond
	changeAnswer = 3700 * time.Millisecond
	// maxStreams bounds the streams of one connection.
	maxStreams = 16
	// acceptPauseMax bounds the back-off while the process has no descriptors left.
	acceptPauseMax = time.Second
)

// ErrServerClosed is what Serve returns after Close or Handover.
var ErrServerClosed = errors.New("the RPC server is closed")

// ServerOptions are the settings of a Server. The zero value means the defaults.
type ServerOptions struct {
	Lenient         bool         // unknown parameters are ignored, as 0.3.9 does
	MaxConnections  int          // 0: MaxConnections; at most half of the descriptors that the process may have
	MaxRequestBytes int          // 0: MaxRequestBytes
	GID             int          // members of this group may do everything; 0 or less: no such group
	GroupName       string       // its name, for messages
	Log             *slog.Logger // nil: discard
}

// Server answers JSON-RPC on Unix sockets.
type Server struct {
	backend Backend
	options ServerOptions
	log     *slog.Logger
	uid     int

	ctx      context.Context // ends with Close
	cancel   context.CancelCauseFunc
	buffered atomic.Int64 // bytes in long read buffers, over all connections

	mu        sync.Mutex
	state     serverState
	conns     map[*serverConn]struct{}
	listeners map[net.Listener]struct{}
	working   sync.WaitGroup // one for each connection
	changes   sync.WaitGroup // one for each change that is carried out, or begun, beside its answer
	handed    []ConnState
}

type serverState uint8

const (
	stateServing serverState = iota
	stateHanding
	stateClosed
)

// NewServer makes a server that asks backend.
func NewServer(backend Backend, options ServerOptions) *Server {
	if options.MaxConnections <= 0 {
		options.MaxConnections = MaxConnections
	}
	options.MaxConnections = affordable(options.MaxConnections)
	if options.MaxRequestBytes <= 0 {
		options.MaxRequestBytes = MaxRequestBytes
	}
	s := &Server{backend: backend, options: options, log: options.Log, uid: os.Geteuid(),
		conns: map[*serverConn]struct{}{}, listeners: map[net.Listener]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Serve accepts connections from listener until Close or Handover, and then returns ErrServerClosed. It closes the
// listener only in Close's place. Another error is one that accepting does not survive.
func (s *Server) Serve(listener net.Listener) error {
	if !s.track(listener) {
		return ErrServerClosed
	}
	defer s.untrack(listener)
	reserve := openReserve()
	defer func() { reserve.Close() }() //nolint:errcheck // a descriptor of /dev/null
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		if err == nil {
			pause = 0
			s.admit(conn)
			continue
		}
		if !s.serving() {
			return ErrServerClosed
		}
		if !outOfDescriptors(err) {
			if passing(err) {
				continue
			}
			return fmt.Errorf("cannot accept connections: %w", err)
		}
		if reserve != nil && s.refuseOne(listener, reserve) {
			if reserve = openReserve(); reserve != nil {
				continue
			}
		}
		pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
		s.log.Warn("out of file descriptors, accepting again later", "pause", pause.String())
		if !s.sleep(pause) {
			return ErrServerClosed
		}
		if reserve == nil {
			reserve = openReserve()
		}
	}
}

func (s *Server) track(listener net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateServing {
		return false
	}
	s.listeners[listener] = struct{}{}
	s.working.Add(1)
	if l, ok := listener.(deadliner); ok {
		_ = l.SetDeadline(time.Time{}) // a handover that came to nothing had set it
	}
	return true
}

func (s *Server) untrack(listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, listener)
	s.working.Done()
}

func (s *Server) serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateServing
}

func (s *Server) sleep(pause time.Duration) bool {
	return sleep.For(s.ctx, pause) && s.serving()
}

// admit begins to serve a connection, or tells the peer why not and closes it.
func (s *Server) admit(conn net.Conn) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close() //nolint:errcheck // it is no connection of ours
		return
	}
	if s.handOn(unixConn) {
		return
	}
	c := newConn(s, unixConn)
	if why := s.register(c); why != nil {
		refuse(unixConn, why)
		return
	}
	go c.serve()
}

// register counts the connection in. The last sixteenth of the places is for those that may do everything.
func (s *Server) register(c *serverConn) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.options.MaxConnections
	if !c.trusted {
		limit -= limit / 16
	}
	switch {
	case s.state != stateServing:
		return wire.NewError(wire.CodeInternal, "the server is going away")
	case len(s.conns) >= limit:
		return wire.NewError(wire.CodeRequest, fmt.Sprintf("too many connections: %d are open, which is the limit "+
			"(close some, or raise limits.connections in zinit.toml and start the server again)", len(s.conns)))
	}
	s.conns[c] = struct{}{}
	s.working.Add(1)
	return nil
}

// refuse answers a connection that is not served and closes it.
func refuse(conn *net.UnixConn, why *wire.Error) {
	_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = conn.Write(appendError(nil, zeroID, why))
	closer.Go(func() { _ = conn.Close() }) // the peer may have sent descriptors already
}

// remove counts a connection out.
func (s *Server) remove(c *serverConn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.working.Done()
}

// refuseOne gives the reserve descriptor for one connection, to tell its peer what is wrong.
func (s *Server) refuseOne(listener net.Listener, reserve *os.File) bool {
	if reserve.Close() != nil {
		return false
	}
	s.acceptUntil(listener, time.Now().Add(10*time.Millisecond))
	conn, err := listener.Accept()
	s.acceptUntil(listener, time.Time{})
	if err != nil {
		return true
	}
	if unixConn, ok := conn.(*net.UnixConn); ok {
		refuse(unixConn, wire.NewError(wire.CodeInternal, "the server is out of file descriptors"))
		return true
	}
	_ = conn.Close()
	return true
}

// acceptUntil sets the listener's deadline, unless Handover or Close has set the last one.
func (s *Server) acceptUntil(listener net.Listener, deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := listener.(deadliner); ok && s.state == stateServing {
		_ = l.SetDeadline(deadline)
	}
}

// deadliner is what net.UnixListener can do beyond net.Listener.
type deadliner interface{ SetDeadline(time.Time) error }

// Close ends all connections and makes Serve return. Calls that wait for the backend are told to give up; Close waits
// for them until ctx ends. It closes the listeners given to Serve.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.state = stateClosed
	s.cancel(errClosing)
	for listener := range s.listeners {
		_ = listener.Close()
	}
	for c := range s.conns {
		c.interrupt(errClosing)
	}
	s.mu.Unlock()
	return waitFor(ctx, &s.working)
}

// waitFor waits until nothing of a group is left.
func waitFor(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
