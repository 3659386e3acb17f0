package output

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/internal/tee"
	"github.com/zinit/zinit/logring"
)

// run is the reader's goroutine.
func (r *Reader) run() {
	defer close(r.done)
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(r.epoll, events, r.timeout())
		if err != nil && err != unix.EINTR {
			return // the set itself is broken; cannot happen
		}
		for i := range max(n, 0) {
			if events[i].Fd == wakeSlot {
				var b [8]byte
				_, _ = unix.Read(r.event, b[:])
				continue
			}
			r.turn(&events[i])
		}
		if r.expire() {
			return
		}
		runtime.Gosched() // on one processor a flood must not keep the others waiting for a whole time slice
	}
}

// turn gives one pipe its turn.
func (r *Reader) turn(e *unix.EpollEvent) {
	r.mu.Lock()
	defer r.unlock()
	if int(e.Fd) >= len(r.slots) {
		return
	}
	p := r.slots[e.Fd]
	if p == nil || p.serial != e.Pad || !p.armed {
		return // closed or paused since the event was taken
	}
	n := available(p.fd)
	switch {
	case n > 0 && p.feed.Ring().Congested():
		r.pause(p)
	case n > 0:
		if !r.read(p, n) {
			r.close(p)
		}
	case e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 || n < 0:
		r.close(p)
	}
}

// timeout is the time until the next deadline as epoll_wait takes it.
func (r *Reader) timeout() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dying) == 0 {
		return -1
	}
	next := r.dying[0].deadline
	for _, p := range r.dying {
		next = min(next, p.deadline)
	}
	left := next - time.Since(r.started)
	return int(max(0, (left+time.Millisecond-1)/time.Millisecond))
}

// expire closes pipes whose grace is over, and reports whether the goroutine is to end.
func (r *Reader) expire() bool {
	r.mu.Lock()
	defer r.unlock()
	if len(r.dying) > 0 {
		now := time.Since(r.started)
		var due []*pipe
		for _, p := range r.dying {
			if p.deadline <= now {
				due = append(due, p)
			}
		}
		for _, p := range due {
			r.drain(p)
			r.close(p)
		}
	}
	return r.stop
}

// drain reads what the pipe holds now.
func (r *Reader) drain(p *pipe) {
	for n := available(p.fd); n > 0; n -= logring.MaxRead {
		if !r.read(p, n) {
			return
		}
	}
}

// pause takes the pipe out of the set until its ring is no longer congested. Out of the set, not merely without
// EPOLLIN: the end of a pipe is always reported, and would be over and over.
func (r *Reader) pause(p *pipe) {
	r.disarm(p)
	ring := p.feed.Ring()
	r.paused[ring] = append(r.paused[ring], p)
}

// resume is called by a sink that has caught up.
func (r *Reader) resume(ring *logring.Ring) {
	r.mu.Lock()
	defer r.unlock()
	pipes := r.paused[ring]
	delete(r.paused, ring)
	for _, p := range pipes {
		if r.arm(p) != nil {
			r.close(p)
		}
	}
}

// read takes n bytes, or MaxRead where there are more, straight into the arena. It reports false when the descriptor cannot
// be read at all.
func (r *Reader) read(p *pipe, n int) bool {
	n = min(n, logring.MaxRead)
	var peeked []byte
	if n < 8 {
		if peeked = r.peek(p.fd, n); len(peeked) > 0 {
			n = len(peeked)
		}
	}
	buf := r.arena.Begin(p.feed, n, peeked, nowMS())
	got, errno := rawRead(p.fd, buf)
	fault.Here("read")
	r.arena.Finish(got)
	return errno == 0 || errno == unix.EAGAIN || errno == unix.EINTR
}

// peek returns the next n bytes of a pipe without taking them, nil where that cannot be done.
func (r *Reader) peek(fd, n int) []byte {
	got, err := tee.Copy(fd, r.scratch[1], n)
	if err != nil || got <= 0 {
		return nil
	}
	var b [8]byte
	for have := 0; have < got; {
		k, err := unix.Read(r.scratch[0], b[have:got])
		if err != nil || k <= 0 {
			return nil
		}
		have += k
	}
	return b[:got]
}

// atEnd reports whether the pipe is empty and nobody can write to it any more.
func (r *Reader) atEnd(p *pipe) bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLIN == 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// available is the number of bytes in the pipe, negative when it cannot be asked. Neither this call nor rawRead can
// block, so both go around the scheduler: that is a fifth of the cost of a small read.
func available(fd int) int {
	var n int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return -1
	}
	return int(n)
}

func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
