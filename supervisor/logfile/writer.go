package logfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchBytes = 128 << 10
	// A goroutine that had much to write stays, with its open file, for a moment: more is likely to come. Opening the file
	// for every 64 KiB of a flood costs a tenth of writing them.
	lingerFrom = 32 << 10
	lingerFor  = 20 * time.Millisecond
)

// writer owns one path. mu guards what Set and status touch; the file itself belongs to the goroutine.
type writer struct {
	path    string
	opt     *Options
	reopen  atomic.Bool
	working atomic.Bool   // the goroutine exists
	wake    chan struct{} // one slot: a goroutine that lingers has work
	waiting atomic.Bool   // the last attempt failed, and the time of the next has not come
	stopped atomic.Bool

	mu      sync.Mutex
	config  Config
	sources []*source
	retry   *time.Timer
	delay   time.Duration // of the next retry
	idle    chan struct{} // closed when the goroutine has written all there was, nil before the first one
	done    chan struct{} // closed when the goroutine has ended, nil before the first one
	packed  chan struct{} // closed when the compression under way is done

	// of the goroutine
	file    *os.File
	fd      int // of file
	regular bool
	ino     uint64
	stuck   bool // rotating failed: the file grows over its bound until the next open
	buf     []byte
	failing bool
	written int // since it began to catch up
	moment  *time.Timer
	stall   *time.Timer
}

func (w *writer) setConfig(c Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config = c
}

func (w *writer) add(s *source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = append(w.sources, s)
}

// drop removes a source; the batch under way is its last. It reports whether it was the writer's last source.
func (w *writer) drop(s *source) (last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.sources {
		if other == s {
			w.sources = append(w.sources[:i:i], w.sources[i+1:]...)
		}
	}
	s.detach()
	return len(w.sources) == 0
}

func (w *writer) used() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sources) > 0
}

// resting reports that the writer touches no file, so that another one may have its path.
func (w *writer) resting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.working.Load() || w.packed == nil {
		return !w.working.Load()
	}
	select {
	case <-w.packed:
		return true
	default:
		return false
	}
}

// start begins a goroutine unless one is there. It is called for every batch of lines that arrives: it must be quick.
func (w *writer) start() {
	switch {
	case w.waiting.Load() || w.stopped.Load():
	case w.working.CompareAndSwap(false, true):
		go w.run()
	default:
		w.nudge()
	}
}

func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) retryNow() {
	w.waiting.Store(false)
	w.start()
}

func (w *writer) end(ctx context.Context) {
	w.stopped.Store(true)
	w.mu.Lock()
	if w.retry != nil {
		w.retry.Stop()
	}
	done := w.done
	w.mu.Unlock()
	w.nudge()
	await(ctx, done)
	w.mu.Lock()
	packed := w.packed // of its last batch, perhaps
	w.mu.Unlock()
	await(ctx, packed)
}

// await waits until a channel is closed, if there is one, or ctx ends.
func await(ctx context.Context, closed <-chan struct{}) {
	if closed == nil {
		return
	}
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// run writes until nothing is left, then closes the file.
func (w *writer) run() {
	done := make(chan struct{})
	defer close(done)
	w.mu.Lock()
	w.done = done
	w.mu.Unlock()
	for {
		for w.catchUp(); w.linger(); {
			w.catchUp()
		}
		w.closeFile()
		w.working.Store(false)
		if w.stopped.Load() || !w.lagging() || !w.working.CompareAndSwap(false, true) {
			return
		}
	}
}

// catchUp writes what there is.
func (w *writer) catchUp() {
	idle := make(chan struct{})
	defer close(idle)
	w.mu.Lock()
	w.idle = idle
	w.mu.Unlock()
	w.written = 0
	for more := true; more && !w.stopped.Load(); {
		more = w.round()
	}
}

// linger waits for more after much, and reports whether it came.
func (w *writer) linger() bool {
	if w.written < lingerFrom || w.stopped.Load() || w.waiting.Load() {
		return false
	}
	if w.moment == nil {
		w.moment = time.NewTimer(lingerFor)
	} else {
		w.moment.Reset(lingerFor)
	}
	defer w.moment.Stop()
	select {
	case <-w.wake:
		return true
	case <-w.moment.C:
		return false
	}
}

// lagging reports whether a line came in after the last look.
func (w *writer) lagging() bool {
	if w.waiting.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sources {
		if s.queued() > 0 {
			return true
		}
	}
	return false
}

// round writes one batch of each source, and reports whether there may be more.
func (w *writer) round() bool {
	w.mu.Lock()
	sources := append([]*source(nil), w.sources...)
	config := w.config
	w.mu.Unlock()
	if w.reopen.Swap(false) {
		w.closeFile()
	}
	more := false
	for _, s := range sources {
		if s.queued() == 0 {
			continue
		}
		more = true
		if err := w.batch(s, config); err != nil {
			w.failed(s, err)
			return false
		}
		w.worked(s)
	}
	return more
}

// batch writes lines of one source, as many as fit into a batch and into the file, which is rotated first when not
// even one fits.
func (w *writer) batch(s *source, c Config) error {
	w.watch()
	defer w.stall.Stop()
	if err := w.openFile(); err != nil {
		return err
	}
	size, err := w.size()
	if err != nil {
		return err
	}
	if done, err := s.finishPending(w, size, c.Format); done || err != nil {
		return err
	}
	room := int64(batchBytes)
	if w.regular && c.Rotate > 0 && !w.stuck {
		room = min(room, c.Rotate-size)
	}
	if w.buf = s.collect(w.buf[:0], int(room), size > 0, c.Format); len(w.buf) == 0 {
		if s.nothingFits() {
			w.turnOver(s, c)
		}
		return nil
	}
	return s.write(w, w.buf, size)
}

func (w *writer) openFile() error {
	if w.file != nil {
		return nil
	}
	fd, err := unix.Open(w.path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", w.path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("cannot look at %s: %w", w.path, err)
	}
	w.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	w.ino = st.Ino
	w.fd, w.file = fd, os.NewFile(uintptr(fd), w.path)
	return nil
}

func (w *writer) size() (int64, error) {
	if !w.regular {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.fd, &st); err != nil {
		return 0, fmt.Errorf("cannot look at %s: %w", w.path, err)
	}
	return st.Size, nil
}

func (w *writer) closeFile() {
	if w.file != nil {
		_ = w.file.Close()
		w.file, w.stuck = nil, false
	}
}

// watch ends the holds when what follows, up to w.stall.Stop, takes longer than Stall: opening the file, too, may wait for a
// server that has gone away.
func (w *writer) watch() {
	if w.stall == nil {
		w.stall = time.AfterFunc(w.opt.Stall, w.letGo)
	} else {
		w.stall.Reset(w.opt.Stall)
	}
}

// letGo ends the holds, so that the services go on whether or not their lines are written.
func (w *writer) letGo() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sources {
		s.ring.SetHold(0, false)
	}
}

func (w *writer) append(b []byte) error {
	if _, err := w.file.Write(b); err != nil {
		return fmt.Errorf("cannot write %s: %w", w.path, errors.Unwrap(err))
	}
	w.written += len(b)
	return nil
}

// failed ends the holds and arranges the next attempt.
func (w *writer) failed(s *source, err error) {
	s.fail(err)
	if !w.failing {
		w.failing = true
		w.opt.Report(s.service, w.path, err, 0)
	}
	w.closeFile()
	w.letGo()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = min(max(2*w.delay, w.opt.RetryMin), w.opt.RetryMax)
	w.waiting.Store(true)
	if !w.stopped.Load() {
		w.retry = time.AfterFunc(w.delay, w.retryNow)
	}
}

func (w *writer) worked(s *source) {
	if !w.failing {
		return
	}
	w.failing = false
	w.opt.Report(s.service, w.path, nil, s.lostSinceFailure())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = 0
}

// flush waits until the writer has nothing left, has failed, or ctx ends.
func (w *writer) flush(ctx context.Context) {
	for ctx.Err() == nil && w.lagging() && !w.stopped.Load() {
		w.start()
		w.mu.Lock()
		idle := w.idle
		w.mu.Unlock()
		if idle == nil { // just being started
			idle = closedChan
		}
		select {
		case <-idle:
			runtime.Gosched() // it is idle and about to be woken
		case <-ctx.Done():
		}
	}
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
