package notify

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is the way one incarnation of a service reports: a notify socket or a readiness descriptor. All methods may be
// called on nil, which is a service that has neither.
type Conn struct {
	poller *Poller
	gen    uint64
	id     int32
	socket bool
	path   string // of the socket in the file system, "" = abstract or no socket
	addr   string // the value of NOTIFY_SOCKET

	mu    sync.Mutex
	fd    int // -1 once closed
	child int // write end of a readiness descriptor, -1 = none
	begun bool
}

// SocketOptions say where a notify socket is made and for whom.
type SocketOptions struct {
	// Dir is the folder for sockets, which must exist; "" makes an abstract one, whose name cannot be guessed. An
	// abstract socket also serves where the path would be too long or the folder cannot be written.
	Dir string
	// UID and GID own the socket, -1 = the supervisor. Its mode is 0600.
	UID, GID int
}

// pathMax is the longest path of a socket address (unix(7)).
const pathMax = 107

// Socket makes the notify socket of an incarnation. What arrives is held back until Begin.
func (p *Poller) Socket(gen uint64, o SocketOptions) (*Conn, error) {
	fd, err := newSocket()
	if err != nil {
		return nil, fmt.Errorf("cannot make a notify socket: %w", err)
	}
	c := &Conn{poller: p, gen: gen, fd: fd, child: -1, socket: true}
	if err := c.bind(o); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p.register(c)
	return c, nil
}

func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bind binds to a path, or to an abstract name where that is asked for or no path works.
func (c *Conn) bind(o SocketOptions) error {
	path := o.Dir + "/" + strconv.FormatUint(c.gen, 10)
	if o.Dir != "" && len(path) <= pathMax {
		err := bindPath(c.fd, path, o)
		if err == nil {
			c.path, c.addr = path, path
			return nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("cannot make the notify socket %s: %w", path, err)
		}
	}
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	c.addr = "@zinit/" + hex.EncodeToString(secret[:]) + "/" + strconv.FormatUint(c.gen, 10)
	if err := unix.Bind(c.fd, &unix.SockaddrUnix{Name: c.addr}); err != nil {
		return fmt.Errorf("cannot make an abstract notify socket: %w", err)
	}
	return nil
}

// bindPath makes the socket file with its final mode and owner before anybody can know of it. The mode that bind gives
// is that of the descriptor, less the umask.
func bindPath(fd int, path string, o SocketOptions) error {
	_ = unix.Unlink(path) // of a supervisor that is gone: incarnation numbers are not used again
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	if err := unix.Chmod(path, 0o600); err != nil {
		return err
	}
	if o.UID < 0 && o.GID < 0 {
		return nil
	}
	return unix.Lchown(path, o.UID, o.GID)
}

// Descriptor makes a readiness descriptor: the child gets ChildFD, and is ready when it writes a newline to it.
func (p *Poller) Descriptor(gen uint64) (*Conn, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make a readiness pipe: %w", err)
	}
	_ = unix.SetNonblock(fds[0], true)
	c := &Conn{poller: p, gen: gen, fd: fds[0], child: fds[1]}
	p.register(c)
	return c, nil
}

// Adopt takes over a socket or the read end of a readiness pipe from a supervisor before this one.
func (p *Poller) Adopt(gen uint64, fd int) (*Conn, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil && err != unix.ENOTSOCK {
		return nil, fmt.Errorf("cannot take over descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	_ = unix.SetNonblock(fd, true)
	c := &Conn{poller: p, gen: gen, fd: fd, child: -1, socket: err == nil && kind == unix.SOCK_DGRAM}
	if name, ok := socketName(fd); c.socket && ok {
		c.addr = name
		if name[0] != '@' {
			c.path = name
		}
	}
	p.register(c)
	return c, nil
}

func socketName(fd int) (string, bool) {
	sa, err := unix.Getsockname(fd)
	u, ok := sa.(*unix.SockaddrUnix)
	if err != nil || !ok || u.Name == "" {
		return "", false
	}
	return u.Name, true
}

// Env is the value of NOTIFY_SOCKET for the service, "" for a readiness descriptor.
func (c *Conn) Env() string {
	if c == nil {
		return ""
	}
	return c.addr
}

// IsSocket tells a notify socket from a readiness descriptor.
func (c *Conn) IsSocket() bool { return c != nil && c.socket }

// FD is the supervisor's end, to be given to a keeper; -1 when there is none. It stays the Conn's.
func (c *Conn) FD() int {
	if c == nil {
		return -1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fd
}

// ChildFD is the end of a readiness descriptor that the child gets, -1 = none.
func (c *Conn) ChildFD() int {
	if c == nil {
		return -1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.child
}

// CloseChildFD closes the child's end in the supervisor, once the child has it.
func (c *Conn) CloseChildFD() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child >= 0 {
		unix.Close(c.child)
		c.child = -1
	}
}

// Begin starts the delivery of words, those that came before included.
func (c *Conn) Begin() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun || c.fd < 0 {
		return
	}
	c.begun = true
	_ = unix.EpollCtl(c.poller.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.id})
}

// Close ends it and removes the socket's file. A word that is being delivered at this moment is still delivered.
func (c *Conn) Close() {
	if c == nil {
		return
	}
	c.poller.forget(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
	if c.child >= 0 {
		unix.Close(c.child)
		c.child = -1
	}
	if c.path != "" {
		_ = os.Remove(c.path)
		c.path = ""
	}
}

// closeLocked leaves the epoll set before closing: as long as some child between fork and exec still holds the file,
// closing alone would leave it there.
func (c *Conn) closeLocked() {
	if c.fd < 0 {
		return
	}
	if c.begun {
		_ = unix.EpollCtl(c.poller.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
	}
	unix.Close(c.fd)
	c.fd = -1
}

// receive takes what is there, on the poller's goroutine; true means that there may be more. A word is looked at, delivered,
// and only then taken out: when the supervisor dies in between, the one that comes hears it, perhaps a second time.
func (c *Conn) receive() bool {
	for range 64 { // so that one service cannot keep the others waiting
		w, fds, take := c.look()
		if w != nil {
			c.poller.deliver(*w)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		if take == nil {
			return false
		}
		c.mu.Lock()
		if c.fd >= 0 {
			take()
		}
		c.mu.Unlock()
	}
	return true
}

// look looks at one word; take takes it out, nil = there is none now.
func (c *Conn) look() (w *Word, fds []int, take func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, nil, nil
	}
	if c.socket {
		return c.lookDatagram()
	}
	w, take = c.lookByte()
	return w, nil, take
}

// lookDatagram looks at one datagram, with who sent it and copies of the descriptors that came along.
func (c *Conn) lookDatagram() (w *Word, fds []int, take func()) {
	var data [MaxDatagram + 1]byte
	var control [512]byte
	n, cn, flags, _, err := unix.Recvmsg(c.fd, data[:], control[:], unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.EINTR {
		return nil, nil, func() {}
	}
	if err != nil {
		return nil, nil, nil
	}
	sender, fds := readControl(control[:cn])
	if flags&unix.MSG_TRUNC == 0 && n <= MaxDatagram && sender != nil {
		w = &Word{Gen: c.gen, Message: Parse(data[:n]), Sender: *sender}
	}
	return w, fds, c.drop
}

// drop takes the first datagram out, whatever is in it.
func (c *Conn) drop() {
	for {
		if _, _, _, _, err := unix.Recvmsg(c.fd, nil, nil, unix.MSG_DONTWAIT); err != unix.EINTR {
			return
		}
	}
}

// readControl takes the sender and the descriptors out of the ancillary data.
func readControl(control []byte) (sender *unix.Ucred, fds []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, nil
	}
	for i := range messages {
		if len(messages[i].Data) >= unix.SizeofUcred {
			if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
				sender = cred
			}
		}
		if len(messages[i].Data)%4 == 0 {
			if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
				fds = append(fds, got...)
			}
		}
	}
	return sender, fds
}

// lookByte looks at a readiness descriptor until its newline or its end, after which nothing more is of interest. A pipe is
// looked at by way of a second one. The newline stays in it.
func (c *Conn) lookByte() (w *Word, take func()) {
	var data [64]byte
	n, err := c.poller.tee(c.fd, data[:])
	switch {
	case err == unix.EINTR:
		return nil, func() {}
	case err == unix.EAGAIN:
		return nil, nil
	case err != nil || n == 0:
		return &Word{Gen: c.gen, OnDescriptor: true, Closed: true}, c.closeLocked
	case bytes.IndexByte(data[:n], '\n') >= 0:
		return &Word{Gen: c.gen, OnDescriptor: true, Message: Message{Ready: true}}, c.closeLocked
	}
	return nil, func() { _, _ = unix.Read(c.fd, data[:n]) }
}

// tee reads from a pipe what stays there.
func (p *Poller) tee(fd int, data []byte) (int, error) {
	n, err := unix.Tee(fd, p.scratch[1], len(data), unix.SPLICE_F_NONBLOCK)
	if n > 0 {
		return unix.Read(p.scratch[0], data)
	}
	return int(n), err
}
