// Package output reads the log pipes of all services: one goroutine, one epoll set, one buffer, which is the staging
// area of the log arena. Nothing that was read is ever only in private memory; see package logring.
//
// Fairness: a turn reads from each pipe that has something at most one buffer, then the next pipe has its turn. A
// flood so costs the others one buffer's time, and the driver never waits for longer than one read.
//
// The mutex is the exception to the rule of one owner: the driver reads itself, in Drain and Release, what the pipes
// of a dead incarnation still hold. Handing that to the reader's goroutine would cost two thread switches an exit. It is
// held for one read at a time.
package output

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/logring"
)

// Source says whose pipe it is.
type Source struct {
	Service string
	Gen     uint64 // the incarnation, unique for ever
	Stream  uint8  // logring.Stdout or Stderr
	PID     int32  // main process, 0 = not known yet
}

// Pipe is an open pipe with its descriptor.
type Pipe struct {
	FD int
	Source
}

// Options are hooks; nil ones are not called.
type Options struct {
	// Closed is told that a pipe was closed: at its end, on an error, or when the grace of Release was over. It is
	// called without locks, from the reader's goroutine or from inside Release, and may call the Reader.
	Closed func(Source)
}

// Reader reads log pipes. Its methods are safe for concurrent use.
type Reader struct {
	arena   *logring.Arena
	closed  func(Source)
	epoll   int
	event   int // eventfd: wakes the goroutine for a new deadline or to stop
	scratch [2]int
	done    chan struct{}

	mu      sync.Mutex
	stop    bool
	slots   []*pipe
	free    []int32
	byGen   map[uint64][]*pipe
	paused  map[*logring.Ring][]*pipe
	dying   []*pipe  // with a deadline
	ended   []Source // to be told to Closed
	serial  int32
	started time.Time
}

// pipe is one descriptor in the set.
type pipe struct {
	fd       int
	src      Source
	feed     *logring.Feed
	slot     int32
	serial   int32 // told apart from an earlier user of the slot
	armed    bool  // in the epoll set
	gone     bool
	deadline time.Duration // since Reader.started; 0 = none
}

const wakeSlot = -1

// New makes a reader and starts its goroutine.
func New(a *logring.Arena, o Options) (*Reader, error) {
	r := &Reader{
		arena: a, closed: o.Closed, epoll: -1, event: -1, scratch: [2]int{-1, -1}, done: make(chan struct{}),
		byGen: map[uint64][]*pipe{}, paused: map[*logring.Ring][]*pipe{}, started: time.Now(),
	}
	if err := r.open(); err != nil {
		r.closeOwn()
		return nil, fmt.Errorf("cannot read logs: %w", err)
	}
	a.OnResume(r.resume)
	go r.run()
	return r, nil
}

func (r *Reader) open() (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if r.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	if err = unix.Pipe2(r.scratch[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, r.event, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot})
}

func (r *Reader) closeOwn() {
	for _, fd := range []int{r.epoll, r.event, r.scratch[0], r.scratch[1]} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Stop ends the goroutine and returns when it has ended. The pipes stay open, with what they hold: Pipes tells them.
func (r *Reader) Stop() {
	r.mu.Lock()
	again := r.stop
	r.stop = true
	r.mu.Unlock()
	r.wake()
	<-r.done
	if !again {
		r.closeOwn()
	}
}

func (r *Reader) wake() {
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // any number but zero, in either byte order
	_, _ = unix.Write(r.event, one[:])
}

// Add takes over the read end of a pipe: the reader closes it. After a crash of the server, a pipe that came back
// with its old Gen and Stream goes on with its unfinished line; call arena.FlushUnclaimed when all are back.
func (r *Reader) Add(fd int, s Source) error {
	r.mu.Lock()
	defer r.unlock()
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("cannot read log pipe of %s: %w", s.Service, err)
	}
	p := &pipe{fd: fd, src: s, feed: r.arena.Feed(s.Service, s.Gen, s.Stream, s.PID)}
	r.place(p)
	r.byGen[s.Gen] = append(r.byGen[s.Gen], p)
	if err := r.arm(p); err != nil {
		r.close(p)
		return fmt.Errorf("cannot read log pipe of %s: %w", s.Service, err)
	}
	return nil
}

func (r *Reader) place(p *pipe) {
	r.serial++
	p.serial = r.serial
	if n := len(r.free); n > 0 {
		p.slot = r.free[n-1]
		r.free = r.free[:n-1]
		r.slots[p.slot] = p
		return
	}
	p.slot = int32(len(r.slots))
	r.slots = append(r.slots, p)
}

func (r *Reader) arm(p *pipe) error {
	if p.armed {
		return nil
	}
	err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: p.slot, Pad: p.serial})
	p.armed = err == nil
	return err
}

func (r *Reader) disarm(p *pipe) {
	if p.armed {
		_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
		p.armed = false
	}
}

// SetPID tells the main process of an incarnation once it is known: its lines carry the number from then on.
func (r *Reader) SetPID(gen uint64, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.byGen[gen] {
		p.src.PID = int32(pid)
		p.feed.SetPID(int32(pid))
	}
}

// Drain reads what the pipes of these incarnations hold at this moment, and no more, so that a writer that goes on cannot
// keep it. When it returns those lines can be read from the rings.
func (r *Reader) Drain(gens []uint64) {
	for _, gen := range gens {
		r.mu.Lock()
		for _, p := range r.byGen[gen] {
			r.drain(p)
		}
		r.unlock()
	}
}

// Release says that the tree of an incarnation is gone. A pipe at its end is closed before Release returns; one that somebody
// else holds open is read on until its end, for grace at most. 0 closes at once. What it holds then is read first.
func (r *Reader) Release(gen uint64, grace time.Duration) {
	r.mu.Lock()
	defer r.unlock()
	var held []*pipe
	held = append(held, r.byGen[gen]...)
	for _, p := range held {
		r.drain(p)
		if grace <= 0 || r.atEnd(p) {
			r.close(p)
			continue
		}
		if p.deadline == 0 {
			r.dying = append(r.dying, p)
		}
		p.deadline = time.Since(r.started) + grace
		r.wake()
	}
}

// Pipes lists the open pipes, to hand them on before an exec.
func (r *Reader) Pipes() []Pipe {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pipes []Pipe
	for _, p := range r.slots {
		if p != nil {
			pipes = append(pipes, Pipe{p.fd, p.src})
		}
	}
	return pipes
}

// Inject adds a line that did not come through a pipe: of zinit's own log, or of syslog. It returns its sequence number. Any
// goroutine may call it; it does not wait for the disk or for a reader.
func (r *Reader) Inject(service string, rec logring.Record) uint64 {
	return r.arena.Ring(service, logring.Limits{}).Append(rec)
}

// unlock releases the mutex and tells which pipes were closed under it.
func (r *Reader) unlock() {
	ended := r.ended
	r.ended = nil
	r.mu.Unlock()
	if r.closed != nil {
		for _, s := range ended {
			r.closed(s)
		}
	}
}

// close ends a pipe. It leaves the epoll set before the descriptor is closed: a child between fork and exec may still
// hold the pipe, and a stale entry would fire for it.
func (r *Reader) close(p *pipe) {
	if p.gone {
		return
	}
	p.gone = true
	r.disarm(p)
	_ = unix.Close(p.fd)
	p.feed.Close(nowMS())
	r.slots[p.slot] = nil
	r.free = append(r.free, p.slot)
	if r.byGen[p.src.Gen] = remove(r.byGen[p.src.Gen], p); len(r.byGen[p.src.Gen]) == 0 {
		delete(r.byGen, p.src.Gen)
	}
	if ring := p.feed.Ring(); r.paused[ring] != nil {
		r.setPaused(ring, remove(r.paused[ring], p))
	}
	if p.deadline != 0 {
		r.dying = remove(r.dying, p)
	}
	r.ended = append(r.ended, p.src)
}

func (r *Reader) setPaused(ring *logring.Ring, pipes []*pipe) {
	if len(pipes) == 0 {
		delete(r.paused, ring)
		return
	}
	r.paused[ring] = pipes
}

func remove(list []*pipe, p *pipe) []*pipe {
	for i, other := range list {
		if other == p {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}

func nowMS() int64 { return time.Now().UnixMilli() }
