// Package ship sends the lines of services to other machines: newline-delimited JSON over HTTP, TCP and unix
// sockets, and syslog (RFC 5424) over TCP, UDP and unix sockets.
//
// The ring is the queue. A destination has an acknowledged position in each ring, kept in the log arena; a batch is
// read from the rings, sent, and only when the other side has it are the positions moved. What an endpoint that is
// down makes a ring overwrite is counted, by service. Nothing here is waited for by those who read pipes.
//
// Acknowledged means: HTTP, a 2xx answer; a stream socket, the other side's kernel has confirmed every byte (TCP) or
// its program has read them (unix); a datagram, the kernel took it. A batch that fails is sent again whole, so its lines
// may come twice, and so may lines of a stream whose connection ends soon after them (see settle.go); after any other
// acknowledgement they never do, unless the server itself is killed before it notes that down.
package ship

import (
	"context"
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
)

// Options are the times and bounds of all destinations; zero members mean the defaults.
type Options struct {
	Host       string        // what lines say they come from, default the host name
	Linger     time.Duration // a line waits so long for others to go with, default 100 ms
	Timeout    time.Duration // of one attempt, default 10 s
	RetryMin   time.Duration // after the first failure, default 500 ms; doubling, with jitter
	RetryMax   time.Duration // default 30 s
	Settle     time.Duration // a connection must outlive two looks so far apart for its lines to be sure, default 1 s
	BatchLines int           // default 1000
	BatchBytes int           // before compression, default 1 MiB
	TLS        *tls.Config   // for https, nil = the system's certificates

	// Report is told once when a destination fails (service is ""), once (err nil) when it works again, and then for
	// each service that lost lines meanwhile how many. It runs on the destination's goroutine.
	Report func(target, service string, err error, lost uint64)
}

// Shipper has the destinations. Its methods are safe for concurrent use.
type Shipper struct {
	arena *logring.Arena
	opt   Options
	ctx   context.Context
	stop  context.CancelFunc

	mu      sync.Mutex
	dests   map[string]*destination // by URL
	sources map[string]*source      // by service
}

// New makes a shipper without destinations.
func New(a *logring.Arena, o Options) *Shipper {
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}
	o.Linger = orDefault(o.Linger, 100*time.Millisecond)
	o.Timeout = orDefault(o.Timeout, 10*time.Second)
	o.RetryMin = orDefault(o.RetryMin, 500*time.Millisecond)
	o.RetryMax = max(o.RetryMin, orDefault(o.RetryMax, 30*time.Second))
	o.Settle = orDefault(o.Settle, time.Second)
	o.BatchLines = orDefault(o.BatchLines, 1000)
	o.BatchBytes = orDefault(o.BatchBytes, 1<<20)
	if o.Report == nil {
		o.Report = func(string, string, error, uint64) {}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Shipper{arena: a, opt: o, ctx: ctx, stop: stop, dests: map[string]*destination{}, sources: map[string]*source{}}
}

func orDefault[T time.Duration | int](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Set gives a service its destination, from the oldest line in its ring on; or, where the arena remembers the same
// destination, from where it stood. "" ends it. syslogBytes bounds one syslog message, header included; 0 is
// graph.DefaultSyslogBytes. The error says what is wrong with the URL.
func (s *Shipper) Set(service, url string, syslogBytes int) error {
	if url != "" {
		if err := Check(url); err != nil {
			return err
		}
	}
	syslogBytes = orDefault(syslogBytes, graph.DefaultSyslogBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.sources[service]; src != nil {
		if src.dest.url == url && s.arena.Find(service) == src.ring {
			src.limit.Store(int32(syslogBytes))
			return nil
		}
		delete(s.sources, service)
		if src.dest.drop(src) {
			delete(s.dests, src.dest.url)
		}
	}
	if url == "" || s.ctx.Err() != nil {
		return nil
	}
	d := s.dests[url]
	if d == nil {
		var err error
		if d, err = newDestination(s, url); err != nil {
			return err
		}
		s.dests[url] = d
	}
	s.sources[service] = d.add(service, syslogBytes)
	return nil
}

// Sink tells how the shipping of a service stands; false when it is not shipped.
func (s *Shipper) Sink(service string) (wire.Sink, bool) {
	s.mu.Lock()
	src := s.sources[service]
	s.mu.Unlock()
	if src == nil {
		return wire.Sink{}, false
	}
	return src.sink(), true
}

// Sinks tells how each destination stands, over all its services.
func (s *Shipper) Sinks() []wire.Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	sinks := []wire.Sink{}
	for _, d := range s.dests {
		sinks = append(sinks, d.sink())
	}
	return sinks
}

// Flush sends without lingering, and returns when the destinations have what is in the rings now, or ctx ends.
func (s *Shipper) Flush(ctx context.Context) {
	s.mu.Lock()
	var dests []*destination
	for _, d := range s.dests {
		dests = append(dests, d)
	}
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, d := range dests {
		all.Go(func() { d.flush(ctx) })
	}
	all.Wait()
}

// Close ends all destinations, in the middle of an attempt if need be; positions stay in the arena. One that does not
// notice is left alone when ctx ends.
func (s *Shipper) Close(ctx context.Context) {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.dests {
		select {
		case <-d.done:
		case <-ctx.Done():
		}
		d.watch.Close()
	}
}
