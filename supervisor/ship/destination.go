package ship

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
)

// Members of Position.Values.
const (
	valSent = iota
	valLost
)

const maxRetryAfter = 5 * time.Minute

// destination is one URL and its goroutine.
type destination struct {
	url    string
	target string // the URL without its password
	opt    *Options
	arena  *logring.Arena
	trans  transport
	watch  *logring.Watch
	ctx    context.Context // of the shipper
	cancel context.CancelFunc
	done   chan struct{}
	urgent atomic.Int32 // flushes that wait

	mu      sync.Mutex
	sources []*source
	round   chan struct{} // closed after each attempt
	last    string        // error
	errs    uint64

	// of the goroutine
	turn    int
	lines   int // bound of a batch: less after a refused one
	batch   batch
	settled time.Time // the last look at what the connection's age makes sure of
}

// batch is what one attempt sends.
type batch struct {
	payload []byte
	ends    []int // of each record in payload; a line is one or more
	parts   []part
	header  []byte // scratch: of a syslog message
}

// part is a run of lines of one source in a batch.
type part struct {
	src    *source
	next   uint64 // of the line after
	count  uint64
	missed uint64
}

// source is one service that is shipped.
type source struct {
	service string
	ring    *logring.Ring
	mark    *logring.Mark
	dest    *destination
	lostOld uint64       // lost when the destination failed; of the goroutine
	limit   atomic.Int32 // bytes of a syslog message

	mu  sync.Mutex
	pos logring.Position
	// Where a connection cannot acknowledge: sure is what it has outlived, which the mark has; older what it had outlived
	// before, and newer what it will have outlived at the next look. What is before tried went into a connection that ended.
	older, sure, newer logring.Position
	tried              logring.Position
	detached           bool
}

func newDestination(s *Shipper, raw string) (*destination, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	d := &destination{
		url: raw, target: u.Redacted(), opt: &s.opt, arena: s.arena, trans: newTransport(u, &s.opt),
		done: make(chan struct{}), round: make(chan struct{}), lines: s.opt.BatchLines,
	}
	d.ctx, d.cancel = context.WithCancel(s.ctx)
	return d, nil
}

// add begins to ship a service; the first one starts the goroutine.
func (d *destination) add(service string, limit int) *source {
	src := &source{service: service, ring: d.arena.Ring(service, logring.Limits{}), dest: d}
	src.mark, _ = src.ring.Mark("ship:" + d.url)
	src.limit.Store(int32(limit))
	src.stand(src.mark.Get())
	src.mark.Set(src.pos)
	d.mu.Lock()
	d.sources = append(d.sources, src)
	first := d.watch == nil
	if first {
		d.watch = d.arena.Watch(src.ring)
	}
	d.mu.Unlock()
	if first {
		go d.run()
	} else {
		d.watch.Add(src.ring)
	}
	return src
}

// drop ends shipping a service and reports whether it was the last: then the destination has ended.
func (d *destination) drop(src *source) bool {
	d.mu.Lock()
	for i, other := range d.sources {
		if other == src {
			d.sources = append(d.sources[:i:i], d.sources[i+1:]...)
			break
		}
	}
	left := len(d.sources)
	d.mu.Unlock()
	src.detach()
	d.watch.Remove(src.ring)
	if left > 0 {
		return false
	}
	d.cancel()
	go func() { // the caller may be the one whom everybody waits for
		<-d.done
		d.watch.Close()
	}()
	return true
}

// run sends until the destination ends.
func (d *destination) run() {
	defer close(d.done)
	defer d.trans.close()
	failures := 0
	for d.ctx.Err() == nil {
		d.settle()
		d.collect()
		if len(d.batch.ends) == 0 {
			d.commit() // lines missed
			d.endRound()
			d.rest()
			continue
		}
		err := d.attempt()
		if err == nil {
			d.worked(failures > 0)
			failures = 0
			continue
		}
		if d.ctx.Err() == nil && !d.shrink(err) {
			d.failed(err, failures == 0)
			failures++
			sleep.For(d.ctx, d.delay(err, failures))
		}
	}
	if c, ok := d.trans.(connected); ok && c.fate() == open {
		d.outlived()
		d.outlived()
	}
	d.endRound()
}

// rest waits for lines, and meanwhile looks after those that are not sure.
func (d *destination) rest() {
	var look <-chan time.Time
	if d.unsure() {
		timer := time.NewTimer(d.opt.Settle)
		defer timer.Stop()
		look = timer.C
	}
	select {
	case <-d.watch.C:
		d.linger()
	case <-look:
	case <-d.ctx.Done():
	}
}

func (d *destination) attempt() error {
	ctx, cancel := context.WithTimeout(d.ctx, d.opt.Timeout)
	defer cancel()
	return d.trans.send(ctx, &d.batch)
}

// collect fills the batch from the rings, beginning with another source each time, so that none waits for a flood of
// another.
func (d *destination) collect() {
	b := &d.batch
	b.payload, b.ends, b.parts = b.payload[:0], b.ends[:0], b.parts[:0]
	sources := d.list()
	quota := max(1, d.lines/4)
	if len(sources) == 1 {
		quota = d.lines
	}
	for i := range sources {
		if len(b.ends) >= d.lines || len(b.payload) >= d.opt.BatchBytes {
			break
		}
		d.take(sources[(d.turn+i)%len(sources)], min(quota, d.lines-len(b.ends)))
	}
	d.turn++
	if len(sources) > 0 {
		d.turn %= len(sources)
	}
}

// take adds up to limit lines of one source.
func (d *destination) take(src *source, limit int) {
	from := src.position().Seq
	if src.ring.Next() <= from {
		return
	}
	b := &d.batch
	p := part{src: src}
	p.next, p.missed = src.ring.Scan(from, func(rec *logring.Record) bool {
		if p.count >= uint64(limit) || len(b.payload) >= d.opt.BatchBytes {
			return false
		}
		d.trans.add(b, src, rec)
		p.count++
		return true
	})
	b.parts = append(b.parts, p)
}

// commit moves the positions over the batch.
func (d *destination) commit() {
	for _, p := range d.batch.parts {
		p.src.advance(p)
	}
	d.batch.parts = d.batch.parts[:0]
}

func (d *destination) worked(again bool) {
	d.commit()
	d.lines = min(d.opt.BatchLines, 2*d.lines)
	d.mu.Lock()
	d.last = ""
	sources := append([]*source(nil), d.sources...)
	d.mu.Unlock()
	d.endRound()
	if !again {
		return
	}
	d.opt.Report(d.target, "", nil, 0)
	for _, src := range sources {
		if lost := src.position().Values[valLost]; lost > src.lostOld {
			d.opt.Report(d.target, src.service, nil, lost-src.lostOld)
		}
	}
}

func (d *destination) failed(err error, first bool) {
	d.mu.Lock()
	d.last = err.Error()
	d.errs++
	sources := append([]*source(nil), d.sources...)
	d.mu.Unlock()
	if first {
		for _, src := range sources {
			src.lostOld = src.position().Values[valLost]
		}
		d.opt.Report(d.target, "", err, 0)
	}
}

// shrink handles a refused batch: half of it is tried at once, and a single line that is refused is dropped, as it
// would be for ever.
func (d *destination) shrink(err error) bool {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return false
	}
	d.failed(err, d.lines == d.opt.BatchLines)
	if n := len(d.batch.ends); n > 1 {
		d.lines = n / 2
		return true
	}
	for i := range d.batch.parts {
		p := &d.batch.parts[i]
		p.missed, p.count = p.missed+p.count, 0
	}
	d.commit()
	return true
}

// delay is the time before attempt number failures+1: exponential, with a jitter of half, but what the other side
// asked for where it did.
func (d *destination) delay(err error, failures int) time.Duration {
	var retry *retryError
	if errors.As(err, &retry) && retry.after > 0 {
		return min(retry.after, maxRetryAfter)
	}
	delay := d.opt.RetryMax
	if failures < 20 {
		delay = min(delay, d.opt.RetryMin<<(failures-1))
	}
	return delay/2 + rand.N(delay/2+1)
}

// linger waits for lines to go with the first, until half a batch is there, somebody flushes, or the time is over.
func (d *destination) linger() {
	const steps = 10
	for range steps {
		if d.urgent.Load() > 0 || d.queued() >= uint64(d.lines/2) || d.ctx.Err() != nil {
			return
		}
		sleep.For(d.ctx, d.opt.Linger/steps)
	}
}

func (d *destination) endRound() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.round)
	d.round = make(chan struct{})
}

func (d *destination) queued() (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, src := range d.sources {
		n += src.queued()
	}
	return n
}

func (d *destination) flush(ctx context.Context) {
	d.urgent.Add(1)
	defer d.urgent.Add(-1)
	for ctx.Err() == nil && d.ctx.Err() == nil {
		d.mu.Lock()
		round := d.round
		d.mu.Unlock()
		if d.queued() == 0 {
			return
		}
		d.watch.Wake()
		select {
		case <-round:
		case <-ctx.Done():
		case <-d.done:
		}
	}
}

func (d *destination) sink() wire.Sink {
	d.mu.Lock()
	sources := append([]*source(nil), d.sources...)
	total := wire.Sink{Target: d.target, Delivery: d.delivery(), Errors: d.errs, Last: d.last}
	d.mu.Unlock()
	for _, src := range sources {
		s := src.sink()
		total.Written += s.Written
		total.Lost += s.Lost
		total.Queued += s.Queued
	}
	return total
}

// delivery is what is known of a line that counts as written.
func (d *destination) delivery() string {
	if _, ok := d.trans.(*httpTransport); ok {
		return wire.Delivered
	}
	return wire.Sent
}

func (s *source) position() logring.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

func (s *source) advance(p part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos.Seq = p.next
	s.pos.Values[valSent] += p.count
	s.pos.Values[valLost] += p.missed
	if _, ok := s.dest.trans.(connected); !ok {
		s.put(s.pos)
	}
}

// put records a position in the arena; the caller has the lock.
func (s *source) put(p logring.Position) {
	if !s.detached {
		s.mark.Set(p)
	}
}

// messageBytes is the most that one syslog message of the source may have.
func (s *source) messageBytes() int { return int(s.limit.Load()) }

func (s *source) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
	s.mark.Forget()
}

func (s *source) queued() uint64 {
	next := s.ring.Next()
	return next - min(s.position().Seq, next)
}

func (s *source) sink() wire.Sink {
	s.dest.mu.Lock()
	sink := wire.Sink{Target: s.dest.target, Delivery: s.dest.delivery(), Errors: s.dest.errs, Last: s.dest.last}
	s.dest.mu.Unlock()
	pos := s.position()
	next, first := s.ring.Next(), s.ring.FirstHeld()
	sink.Written, sink.Lost = pos.Values[valSent], pos.Values[valLost]
	if first > pos.Seq { // given up already; counted when the next batch is made
		sink.Lost += first - pos.Seq
		pos.Seq = first
	}
	sink.Queued = next - min(pos.Seq, next)
	return sink
}
