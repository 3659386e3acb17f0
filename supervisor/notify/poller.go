package notify

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Word is what one service said.
type Word struct {
	Gen     uint64
	Message Message
	// Sender is who sent the datagram, as the kernel says; PID is 0 for a process of another pid namespace. It is zero
	// for a word on a readiness descriptor.
	Sender unix.Ucred
	// OnDescriptor says that Message.Ready came on the readiness descriptor, which only the service has.
	OnDescriptor bool
	// Closed says that the readiness descriptor was closed without a newline: this service will not become ready.
	Closed bool
}

// Poller waits on all sockets and readiness descriptors at once. Nothing happens while nobody says anything.
type Poller struct {
	epoll   int
	wake    int    // eventfd that ends the loop
	scratch [2]int // a pipe to look into others with
	deliver func(Word)
	done    chan struct{}

	mu      sync.Mutex
	conns   map[int32]*Conn
	next    int32
	flushes []flush
	closing bool
}

// flush is a question whether everything that was said so far has been delivered.
type flush struct {
	conn *Conn
	then func()
}

// NewPoller starts a poller. It calls deliver for each word, one at a time, on its own goroutine; deliver may block,
// which only makes services wait that send more than the sockets hold. A barrier (sd_notify_barrier) is released when
// deliver has returned.
func NewPoller(deliver func(Word)) (*Poller, error) {
	p := &Poller{deliver: deliver, done: make(chan struct{}), conns: map[int32]*Conn{}, next: 1}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make an epoll set: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.epoll)
		return nil, fmt.Errorf("cannot make an eventfd: %w", err)
	}
	if err = unix.Pipe2(p.scratch[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		unix.Close(p.epoll)
		unix.Close(p.wake)
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 0})
	go p.loop()
	return p, nil
}

// Close ends the poller and closes what it still holds.
func (p *Poller) Close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.kick()
	<-p.done
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close(nil)
	}
	unix.Close(p.epoll)
	unix.Close(p.wake)
	unix.Close(p.scratch[0])
	unix.Close(p.scratch[1])
}

// kick wakes the loop.
func (p *Poller) kick() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Flush delivers what has been said on c until now and then calls then, on the poller's goroutine: a process that says
// something and ends at once is heard before its end is. On nil, then is called at once.
func (p *Poller) Flush(c *Conn, then func()) {
	if c == nil {
		then()
		return
	}
	p.mu.Lock()
	p.flushes = append(p.flushes, flush{c, then})
	p.mu.Unlock()
	p.kick()
}

// woken answers the flushes that are due; false ends the loop.
func (p *Poller) woken() bool {
	var buf [8]byte
	_, _ = unix.Read(p.wake, buf[:])
	p.mu.Lock()
	flushes, closing := p.flushes, p.closing
	p.flushes = nil
	p.mu.Unlock()
	for _, f := range flushes {
		for range flushMax {
			if !f.conn.receive() {
				break
			}
		}
		f.then()
	}
	return !closing
}

// flushMax bounds a flush, in batches, against a tree that talks all the time.
const flushMax = 16

func (p *Poller) loop() {
	defer close(p.done)
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.epoll, events[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if e.Fd == 0 {
				if !p.woken() {
					return
				}
			} else if c := p.lookup(e.Fd); c != nil {
				c.receive()
			}
		}
	}
}

// lookup finds a Conn by its number. Numbers are never used again, unlike descriptors, so that an event for a closed
// one reaches nobody.
func (p *Poller) lookup(id int32) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[id]
}

func (p *Poller) register(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.id = p.next
	p.next++
	if p.next <= 0 {
		p.next = 1
	}
	if p.conns != nil {
		p.conns[c.id] = c
	}
}

func (p *Poller) forget(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c.id)
}
