package xinet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/rpc/wire"
)

// dialFirst and dialMax bound the pauses between attempts to reach a backend that does not listen yet.
const (
	dialFirst = 5 * time.Millisecond
	dialMax   = 200 * time.Millisecond
)

// proxy is one definition. A new definition of the same name is a new proxy with the old one's counters.
type proxy struct {
	manager   *Manager
	config    wire.XinetConfig
	backend   address
	endpoints []*endpoint
	stats     *stats

	// Guarded by the manager's mutex.
	idle    *time.Timer
	retired bool
}

// stats are the counters of a proxy. active is guarded by the manager's mutex.
type stats struct {
	active      int
	total       uint64
	toBackend   atomic.Uint64
	fromBackend atomic.Uint64
	logged      atomic.Int64 // when something was logged last, ns
}

// logPause is the least time between two lines in the log of one proxy: clients must not be able to fill it.
const logPause = time.Second

// bindAll gives the proxy its endpoints: those of old where the address is the same, else new ones, which it returns.
// After an error nothing is bound that was not before.
func (p *proxy) bindAll(addresses []address, old *proxy) (fresh []*endpoint, err error) {
	for _, a := range addresses {
		if kept := old.at(a); kept != nil {
			p.endpoints = append(p.endpoints, kept)
			continue
		}
		e, err := bind(a)
		if err != nil {
			for _, e := range fresh {
				e.close()
			}
			return nil, err
		}
		p.endpoints = append(p.endpoints, e)
		fresh = append(fresh, e)
	}
	return fresh, nil
}

// at returns the endpoint of an address, nil when there is none.
func (p *proxy) at(a address) *endpoint {
	if p == nil {
		return nil
	}
	for _, e := range p.endpoints {
		if e.address == a {
			return e
		}
	}
	return nil
}

// retire takes the proxy out of service; endpoints in kept belong to its successor.
func (p *proxy) retire(kept []*endpoint) {
	p.retired = true
	if p.idle != nil {
		p.idle.Stop()
	}
	for _, e := range p.endpoints {
		if !slices.Contains(kept, e) {
			e.close()
		}
	}
}

func (p *proxy) status() wire.XinetStatus {
	listen := make([]string, len(p.endpoints))
	for i, e := range p.endpoints {
		listen[i] = e.shown()
	}
	return wire.XinetStatus{
		Name: p.config.Name, Listen: listen, Backend: p.backend.String(), Service: p.config.Service, Running: true,
		Connections: uint64(p.stats.active), ActiveConnections: uint64(p.stats.active), TotalConnections: p.stats.total,
		BytesIn: p.stats.toBackend.Load(), BytesOut: p.stats.fromBackend.Load(),
	}
}

func (p *proxy) log(text string, pairs ...any) {
	now, last := time.Now().UnixNano(), p.stats.logged.Load()
	if now-last < int64(logPause) || !p.stats.logged.CompareAndSwap(last, now) {
		return
	}
	p.manager.logger.Warn("xinet "+p.config.Name+": "+text, pairs...)
}

// take begins to serve a connection on a goroutine of its own, or closes it.
func (p *proxy) take(ctx context.Context, conn net.Conn) {
	f := &forwarding{proxy: p, client: conn}
	if why := p.enter(f); why != "" {
		p.log("connection refused", "reason", why)
		_ = conn.Close()
		return
	}
	p.manager.working.Go(func() {
		defer p.leave(f)
		defer f.close()
		if err := p.serve(ctx, f); err != nil && ctx.Err() == nil {
			p.log("connection failed", "error", err)
		}
	})
}

// enter counts a connection in, or says why it is refused. Every one that enters leaves.
func (p *proxy) enter(f *forwarding) string {
	m := p.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return "the server is going away"
	case p.config.SingleConnection && p.stats.active > 0:
		return "another connection is open, and single_connection is set"
	case m.total >= maxConnections:
		return fmt.Sprintf("%d connections are open, which is the limit", m.total)
	}
	m.conns[f] = struct{}{}
	m.total++
	m.users[p.config.Service]++
	p.stats.active++
	p.stats.total++
	if p.idle != nil {
		p.idle.Stop()
	}
	return ""
}

// leave counts a connection out.
func (p *proxy) leave(f *forwarding) {
	m := p.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, f)
	m.total--
	p.stats.active--
	if m.users[p.config.Service]--; m.users[p.config.Service] == 0 {
		delete(m.users, p.config.Service)
	}
	if now := m.proxies[p.config.Name]; now != nil { // perhaps a successor
		now.armIdle()
	}
}

// armIdle begins the idle time anew where nobody is connected. The manager's mutex is held.
func (p *proxy) armIdle() {
	if p.config.IdleTimeout == 0 || p.stats.active > 0 || p.retired {
		return
	}
	after := time.Duration(p.config.IdleTimeout) * time.Second
	if p.idle == nil {
		p.idle = time.AfterFunc(after, p.idleOver)
		return
	}
	p.idle.Reset(after)
}

// idleOver stops the service unless somebody is connected to it by this or another proxy. The lock is held over the
// question and the request, so that a connection that comes now asks for the start after the stop.
func (p *proxy) idleOver() {
	m := p.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.retired || m.closed || p.stats.active > 0 || m.users[p.config.Service] > 0 {
		return
	}
	m.services.StopIdle(p.config.Service)
}

// serve makes the service run, connects to it and forwards until both directions have ended.
func (p *proxy) serve(ctx context.Context, f *forwarding) error {
	limit := time.Duration(p.config.ConnectTimeout) * time.Second
	if limit == 0 {
		limit = connectDefault
	}
	starting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := p.manager.services.Ensure(starting, p.config.Service); err != nil {
		return fmt.Errorf("service %s does not run: %w", p.config.Service, err)
	}
	backend, err := p.dial(starting)
	if err != nil {
		return fmt.Errorf("cannot connect to backend %s within %v: %w", p.backend, limit, err)
	}
	if !f.setBackend(backend) {
		return nil
	}
	f.run()
	return nil
}

// dial connects to the backend; a service that runs may not listen yet.
func (p *proxy) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	for pause := dialFirst; ; pause = min(2*pause, dialMax) {
		conn, err := dialer.DialContext(ctx, p.backend.network, p.backend.target)
		if err == nil {
			return conn, nil
		}
		notYet := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EAGAIN)
		if !notYet || !sleep.For(ctx, pause) {
			return nil, bareError(err)
		}
	}
}
