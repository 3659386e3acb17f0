// Package syslog serves a syslog socket: datagrams of RFC 3164 and RFC 5424, as /dev/log takes them. A message is
// filed under the service that owns the sending process, which the kernel tells; what the message claims to be from
// decides nothing.
//
// One goroutine takes datagrams as they come and waits for nobody, so that a sender is only ever held up by the
// socket's own full buffer.
package syslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/logring"
)

// Service is the name under which messages are filed that belong to no service.
const Service = "syslog"

const (
	maxDatagram = 256 << 10
	recvBuffer  = 1 << 20
	cacheFor    = 500 * time.Millisecond
	cacheSize   = 1024
	// controlMax has room for all that may come with a datagram: who sent it, a pidfd, and at most
	// SCM_MAX_FD (253) descriptors.
	controlMax = 2048
)

// Listen makes the socket, writable by everybody. A stale socket or dangling link in its place is removed; a
// daemon that listens there is left alone and is an error.
func Listen(path string) (fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot serve syslog at %s: %w", path, err)
		}
	}()
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			fd = -1
		}
	}()
	if err = clearPath(fd, path); err != nil {
		return fd, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fd, err
	}
	return fd, unix.Chmod(path, 0o666)
}

// clearPath removes what a dead daemon left.
func clearPath(fd int, path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return errors.Unwrap(err)
	case st.Mode()&(os.ModeSocket|os.ModeSymlink) == 0:
		return errors.New("something that is no socket is there")
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		return errors.New("another daemon serves it")
	}
	return os.Remove(path)
}

// Options of a server.
type Options struct {
	Host string // this machine's name, default the host name
	// Owner names the service that a process belongs to, "" when none. It is asked on the server's goroutine, so it
	// must be quick; answers are remembered for half a second.
	Owner func(pid int32, uid uint32) string
	// OwnerOfGroup does the same by the number of a control group, for a sender that has ended before it could be looked at.
	// nil = nobody.
	OwnerOfGroup func(group uint64) string
}

// Server takes messages from a socket.
type Server struct {
	arena    *logring.Arena
	opt      Options
	file     *os.File
	raw      syscall.RawConn
	done     chan struct{}
	received atomic.Uint64

	// of the goroutine
	senders memory[int32]  // by pid
	groups  memory[uint64] // of senders that are no service's by their pid
	buf     []byte
	oob     []byte
}

type answer struct {
	service string
	at      time.Time
}

// memory keeps the last answers for as long as they may be believed.
type memory[K comparable] map[K]answer

func (m memory[K]) of(key K, ask func() string) string {
	now := time.Now()
	if a, ok := m[key]; ok && now.Sub(a.at) < cacheFor {
		return a.service
	}
	if len(m) >= cacheSize {
		clear(m)
	}
	name := ask()
	m[key] = answer{name, now}
	return name
}

// Serve takes over fd, a socket that Listen made (perhaps in an earlier life of the server), and starts its goroutine.
func Serve(fd int, a *logring.Arena, o Options) (*Server, error) {
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}
	if o.Owner == nil {
		o.Owner = func(int32, uint32) string { return "" }
	}
	if o.OwnerOfGroup == nil {
		o.OwnerOfGroup = func(uint64) string { return "" }
	}
	unix.CloseOnExec(fd)
	err := errors.Join(unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, soPassPidfd, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, soPassRights, 0) // nobody has a reason to send a descriptor here
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, recvBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, recvBuffer)
	}
	s := &Server{
		arena: a, opt: o, file: os.NewFile(uintptr(fd), "syslog"), done: make(chan struct{}), senders: memory[int32]{}, groups: memory[uint64]{},
		buf: make([]byte, maxDatagram), oob: make([]byte, controlMax),
	}
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("cannot serve syslog: %w", err)
	}
	go s.run()
	return s, nil
}

// Received counts the messages taken.
func (s *Server) Received() uint64 { return s.received.Load() }

// Close ends the server and closes its descriptor; the path stays.
func (s *Server) Close() {
	_ = s.file.Close()
	<-s.done
}

func (s *Server) run() {
	defer close(s.done)
	for {
		var n, oobn int
		var err error
		if waitErr := s.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, err = unix.Recvmsg(int(fd), s.buf, s.oob, unix.MSG_CMSG_CLOEXEC)
			return err != unix.EAGAIN
		}); waitErr != nil {
			return // closed
		}
		if err != nil {
			continue // EINTR, or a passing want of memory
		}
		s.received.Add(1)
		s.take(s.buf[:n], s.oob[:oobn])
	}
}

// take files one datagram. Every line of it is a record.
func (s *Server) take(datagram, oob []byte) {
	from := senderOf(oob)
	if from.pidfd >= 0 {
		defer unix.Close(from.pidfd) //nolint:errcheck // nothing was written
	}
	text, priority := parse(datagram, s.opt.Host)
	ring := s.arena.Ring(s.owner(from), logring.Limits{})
	now := time.Now().UnixMilli()
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		ring.Append(logring.Record{TimeMS: now, Stream: logring.Syslog, PID: from.pid, Priority: priority, Text: line})
	}
}

func (s *Server) owner(from sender) string {
	if from.pid <= 0 {
		return Service
	}
	return s.senders.of(from.pid, func() string {
		name := s.opt.Owner(from.pid, from.uid)
		if name == "" {
			if group := groupOf(from.pidfd); group > 1 { // 1 is the root of the hierarchy
				name = s.groups.of(group, func() string { return s.opt.OwnerOfGroup(group) })
			}
		}
		if name == "" {
			name = Service
		}
		return name
	})
}
