package notify

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/closer"
	"github.com/zinit/zinit/internal/tee"
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

	away   int            // datagrams of which descriptors are being closed
	paused bool           // nothing is read, because too many are
	drops  sync.WaitGroup // of datagrams that are taken out elsewhere
}

// awayMax is how many datagrams with descriptors a service may send while the first of them is being
// closed; then it is not read, and only it.
const awayMax = 8

// pathMax is the longest path of a socket address (unix(7)).
const pathMax = 107

// Socket makes the notify socket of an incarnation in a folder, which must exist and which everybody
// who is to report must be able to search; "" makes an abstract one, whose name cannot be guessed, and
// so does a folder in which no socket can be made: a full or broken disk does not keep a service from
// becoming ready. What arrives is held back until Begin.
//
// Everybody may write to the socket, as to systemd's: a daemon gives up root before it is ready. Who has
// sent a word the kernel tells; see Verify.
func (p *Poller) Socket(gen uint64, dir string) (*Conn, error) {
	c := &Conn{poller: p, gen: gen, child: -1, socket: true}
	var err error
	path := dir + "/" + strconv.FormatUint(gen, 10)
	if dir != "" && len(path) <= pathMax {
		if c.fd, err = pathSocket(path); err == nil {
			c.path, c.addr = path, path
		}
	}
	if c.path == "" {
		if c.fd, c.addr, err = abstractSocket(gen); err != nil {
			return nil, fmt.Errorf("cannot make a notify socket: %w", err)
		}
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

func pathSocket(path string) (int, error) {
	fd, err := newSocket()
	if err != nil {
		return -1, err
	}
	_ = unix.Unlink(path) // of a supervisor that is gone: incarnation numbers are not used again
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = unix.Chmod(path, 0o666); err != nil { // the umask counts for bind
			_ = unix.Unlink(path)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func abstractSocket(gen uint64) (fd int, name string, err error) {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // it never fails
	name = "@zinit/" + hex.EncodeToString(secret[:]) + "/" + strconv.FormatUint(gen, 10)
	if fd, err = newSocket(); err != nil {
		return -1, "", err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, name, nil
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
	if !c.paused {
		c.listen()
	}
}

// Close ends it and removes the socket's file. A word that is being delivered at this moment is still
// delivered. after, if not nil, is called on some goroutine once nothing is left in the socket, so that
// who closes the last copy of it is not held up by what somebody has sent.
func (c *Conn) Close(after func()) {
	if c == nil {
		return
	}
	c.poller.forget(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	fd := c.leave()
	if fd >= 0 && c.socket {
		_ = unix.Shutdown(fd, unix.SHUT_RD) // nothing more comes in
	}
	if c.child >= 0 {
		unix.Close(c.child)
		c.child = -1
	}
	if c.path != "" {
		_ = os.Remove(c.path)
		c.path = ""
	}
	closer.Go(func() {
		if fd >= 0 {
			c.drops.Wait()
			for c.socket && drop(fd) == nil { // the keeper's copy is to have nothing in it either
			}
			unix.Close(fd)
		}
		if after != nil {
			after()
		}
	})
}

// leave takes the descriptor out of the epoll set before it is closed: as long as some child between fork and exec
// still holds the file, closing alone would leave it there.
func (c *Conn) leave() (fd int) {
	fd = c.fd
	if fd >= 0 && c.begun && !c.paused {
		_ = unix.EpollCtl(c.poller.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
	c.fd = -1
	return fd
}

// end closes a readiness descriptor, on which nothing more is of interest.
func (c *Conn) end() {
	if fd := c.leave(); fd >= 0 {
		unix.Close(fd)
	}
}

// sight is one word as it lies in the socket or pipe.
type sight struct {
	word *Word  // nil = there is none in it
	fds  []int  // copies of the descriptors that came along
	cut  bool   // and there are more, of which there was no room for a copy
	take func() // takes it out; nil = there is nothing now
}

// receive takes what is there, on the poller's goroutine; true means that there may be more. A word is looked at, delivered,
// and only then taken out: when the supervisor dies in between, the one that comes hears it, perhaps a second time.
func (c *Conn) receive() bool {
	for range 64 { // so that one service cannot keep the others waiting
		s := c.look()
		if s.word != nil {
			c.poller.deliver(*s.word)
		}
		if s.take == nil || !c.takeOut(&s) {
			return false
		}
	}
	return true
}

// takeOut takes out what was looked at. Descriptors are closed elsewhere, a barrier's among them; a
// service of which too many are still being closed is not read until that is done, which takeOut tells.
func (c *Conn) takeOut(s *sight) (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := c.fd >= 0
	if len(s.fds) == 0 && !s.cut {
		if open {
			s.take()
		}
		return open
	}
	weight, later := 1, func() {}
	switch {
	case open && s.cut: // what there is no copy of goes with the datagram
		c.drops.Add(1)
		weight, later = awayMax, func() { s.take(); c.drops.Done() }
	case open:
		s.take()
	}
	if c.away += weight; open && c.away >= awayMax {
		c.paused = true
		if c.begun {
			_ = unix.EpollCtl(c.poller.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
		}
	}
	closer.Go(func() {
		later()
		for _, fd := range s.fds {
			unix.Close(fd)
		}
		c.back(weight)
	})
	return open && !c.paused
}

// back goes on reading once enough has been closed.
func (c *Conn) back(weight int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away -= weight; c.away >= awayMax || !c.paused {
		return
	}
	c.paused = false
	if c.begun && c.fd >= 0 {
		c.listen()
	}
}

// listen puts the descriptor into the epoll set.
func (c *Conn) listen() {
	_ = unix.EpollCtl(c.poller.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.id})
}

// look looks at one word.
func (c *Conn) look() sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd < 0 || c.paused:
		return sight{}
	case c.socket:
		return c.lookDatagram()
	}
	return c.lookByte()
}

// controlMax has room for all that may come with a datagram: who sent it, and at most SCM_MAX_FD (253)
// descriptors.
const controlMax = 2048

// lookDatagram looks at one datagram, with who sent it and copies of the descriptors that came along.
func (c *Conn) lookDatagram() sight {
	var data [MaxDatagram + 1]byte
	var control [controlMax]byte
	n, cn, flags, _, err := unix.Recvmsg(c.fd, data[:], control[:], unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.EINTR {
		return sight{take: func() {}}
	}
	if err != nil {
		return sight{}
	}
	fd := c.fd
	s := sight{cut: flags&unix.MSG_CTRUNC != 0, take: func() { _ = drop(fd) }}
	var sender *unix.Ucred
	sender, s.fds = readControl(control[:cn])
	if flags&unix.MSG_TRUNC == 0 && n <= MaxDatagram && sender != nil {
		s.word = &Word{Gen: c.gen, Message: Parse(data[:n]), Sender: *sender}
	}
	return s
}

// drop takes the first datagram out, whatever is in it; an error says that there was none.
func drop(fd int) error {
	for {
		if _, _, _, _, err := unix.Recvmsg(fd, nil, nil, unix.MSG_DONTWAIT); err != unix.EINTR {
			return err
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
func (c *Conn) lookByte() sight {
	var data [64]byte
	n, left, err := c.poller.tee(c.fd, data[:])
	switch {
	case err == unix.EINTR:
		return sight{take: func() {}}
	case err == unix.EAGAIN:
		return sight{}
	case err != nil || n == 0:
		return sight{word: &Word{Gen: c.gen, OnDescriptor: true, Closed: true}, take: c.end}
	case bytes.IndexByte(data[:n], '\n') >= 0:
		return sight{word: &Word{Gen: c.gen, OnDescriptor: true, Message: Message{Ready: true}}, take: c.end}
	case left:
		fd := c.fd
		return sight{take: func() { _, _ = unix.Read(fd, data[:n]) }}
	}
	return sight{take: func() {}}
}

// tee reads from a pipe what stays there; left says that it did. A sandbox that does not know tee(2) takes
// away only that a word is heard again by the next supervisor when this one dies right now.
func (p *Poller) tee(fd int, data []byte) (n int, left bool, err error) {
	teed, err := tee.Copy(fd, p.scratch[1], len(data))
	switch {
	case err == unix.EPERM || err == unix.ENOSYS || err == unix.EACCES:
		n, err = unix.Read(fd, data)
		return n, false, err
	case teed > 0:
		n, err = unix.Read(p.scratch[0], data)
		return n, true, err
	}
	return teed, true, err
}
