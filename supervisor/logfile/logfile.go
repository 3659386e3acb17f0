// Package logfile appends the lines of services to files, rotates and compresses them.
//
// The ring is the queue: a writer has a position in it, kept in the log arena, and no copy. While the disk is
// healthy the ring holds lines until they are written, so that the file lacks none; a service that writes faster than
// the disk then waits on its own full pipe. When the disk fails, or one write takes longer than Stall, the hold ends:
// lines are overwritten and counted, the service goes on.
//
// Before a batch its place in the file is recorded, so that after a crash of the server the file's size tells how
// much of it was written: no line is lost or doubled.
//
// A writer's goroutine, and its open file, exist only while there is work, and a moment longer after much of it.
package logfile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
)

// Config says how one service's lines are kept in a file.
type Config struct {
	Path   string
	Rotate int64 // bytes; a file never gets larger, but for one longer line. <= 0: never rotated
	Keep   int   // older files that stay: PATH.1 is the newest
	Gzip   bool  // older files become PATH.1.gz …
	Format graph.FileFormat
}

// Options are the times, zero for the defaults, and the report.
type Options struct {
	Stall    time.Duration // a write that takes longer no longer holds the service, default 2 s
	RetryMin time.Duration // after the first failure, default 1 s
	RetryMax time.Duration // doubling up to, default 30 s
	// Report is told once when writing fails, and once (err nil) when it works again, with the lines that were lost
	// meanwhile. It runs on the writer's goroutine.
	Report func(service, path string, err error, lost uint64)
}

// Files are the file sinks of all services. Methods are safe for concurrent use.
type Files struct {
	arena *logring.Arena
	opt   Options

	mu      sync.Mutex
	writers map[string]*writer // by path
	leaving []*writer          // those without a source
	sources map[string]*source // by service
	closed  bool
}

// New makes an empty set.
func New(a *logring.Arena, o Options) *Files {
	o.Stall = orDefault(o.Stall, 2*time.Second)
	o.RetryMin = orDefault(o.RetryMin, time.Second)
	o.RetryMax = max(o.RetryMin, orDefault(o.RetryMax, 30*time.Second))
	if o.Report == nil {
		o.Report = func(string, string, error, uint64) {}
	}
	return &Files{arena: a, opt: o, writers: map[string]*writer{}, sources: map[string]*source{}}
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Set gives a service its file, from the next line on; or, where the arena remembers the same file, from where it
// stood. A nil or empty config ends it. Services may share a file: the last Set decides how it is rotated.
func (fs *Files) Set(service string, c *Config) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	s := fs.sources[service]
	if s != nil && (c == nil || c.Path != s.w.path || fs.arena.Find(service) != s.ring) {
		fs.remove(s)
		s = nil
	}
	if c == nil || c.Path == "" || fs.closed {
		return
	}
	w := fs.writers[c.Path]
	if w == nil {
		w = &writer{path: c.Path, opt: &fs.opt, wake: make(chan struct{}, 1)}
		fs.writers[c.Path] = w
	}
	w.setConfig(*c)
	if s == nil {
		s = newSource(fs.arena, w, service)
		fs.sources[service] = s
		w.add(s)
		s.watch = fs.arena.WatchFunc(w.start, s.ring)
	}
}

func (fs *Files) remove(s *source) {
	s.watch.Close()
	delete(fs.sources, s.service)
	if s.w.drop(s) {
		fs.leaving = append(fs.leaving, s.w)
	}
	fs.sweep()
}

// sweep forgets the writers that nobody uses any more. One that is still at its last batch, or compresses, stays until later: were
// there another one for the same path, they would rotate each other's files.
func (fs *Files) sweep() {
	fs.leaving = slices.DeleteFunc(fs.leaving, func(w *writer) bool {
		switch {
		case w.used():
			return true
		case w.resting():
			delete(fs.writers, w.path)
			return true
		}
		return false
	})
}

// Reopen makes every writer open its path again: somebody else has moved the files away.
func (fs *Files) Reopen() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, w := range fs.writers {
		w.reopen.Store(true)
		w.retryNow()
	}
}

// Sink tells how the file of a service stands; false when it has none.
func (fs *Files) Sink(service string) (wire.Sink, bool) {
	fs.mu.Lock()
	s := fs.sources[service]
	fs.mu.Unlock()
	if s == nil {
		return wire.Sink{}, false
	}
	return s.sink(), true
}

// Flush waits until everything that is in the rings now is in the files, a writer failed, or ctx ends.
func (fs *Files) Flush(ctx context.Context) {
	fs.mu.Lock()
	var writers []*writer
	for _, w := range fs.writers {
		writers = append(writers, w)
	}
	fs.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range writers {
		all.Go(func() { w.flush(ctx) })
	}
	all.Wait()
}

// Close ends all writers after the batch that they are at; positions stay in the arena. A file that does not answer is left
// alone when ctx ends.
func (fs *Files) Close(ctx context.Context) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.closed = true
	for _, s := range fs.sources {
		s.watch.Close()
		s.ring.SetHold(0, false)
	}
	for _, w := range fs.writers {
		w.end(ctx)
	}
}
