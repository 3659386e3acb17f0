package xinet

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// chunk is what is forwarded at once, in bytes.
const chunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// forwarding is one connection of a client, and after a while the one to the backend.
type forwarding struct {
	proxy  *proxy
	client net.Conn

	mu      sync.Mutex
	backend net.Conn
	closed  bool
}

// setBackend adds the second connection. false: the forwarding has been closed meanwhile.
func (f *forwarding) setBackend(backend net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = backend.Close()
		return false
	}
	f.backend = backend
	return true
}

// close ends both connections. It may be called more than once.
func (f *forwarding) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	_ = f.client.Close()
	if f.backend != nil {
		_ = f.backend.Close()
	}
}

// run forwards in both directions. The end of one direction is passed on as a half-close. When one end does not take
// any more, what it has said before is still forwarded; when one is broken, both are closed.
func (f *forwarding) run() {
	var back sync.WaitGroup
	back.Go(func() { f.direction(f.client, f.backend, &f.proxy.stats.fromBackend) })
	f.direction(f.backend, f.client, &f.proxy.stats.toBackend)
	back.Wait()
}

func (f *forwarding) direction(to, from net.Conn, counter *atomic.Uint64) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			written, failure := to.Write(buf[:n])
			counter.Add(uint64(written))
			if failure != nil {
				halfClose(from, false)
				return
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			f.close()
		}
		halfClose(to, true)
		return
	}
}

// halfClose ends one direction of a connection: what it is told, or what it says.
func halfClose(conn net.Conn, write bool) {
	both, ok := conn.(interface {
		CloseRead() error
		CloseWrite() error
	})
	switch {
	case !ok:
		_ = conn.Close()
	case write:
		_ = both.CloseWrite()
	default:
		_ = both.CloseRead()
	}
}
