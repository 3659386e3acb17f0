package xinet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

// Services is what the proxies ask of the supervisor. Both are called from many goroutines.
type Services interface {
	// Ensure starts the service where it does not run, and returns when it does, or with the reason why it will not.
	Ensure(ctx context.Context, service string) error
	// StopIdle asks for the service to be stopped and returns at once. It is called with a lock held.
	StopIdle(service string)
}

// The bounds of proxies.
const (
	// connectDefault is how long a service may take to accept where the definition does not say, as in 0.3.9.
	connectDefault = 30 * time.Second
	// maxSeconds bounds the times of a definition.
	maxSeconds = 365 * 24 * 3600
	// maxConnections bounds the connections of all proxies together.
	maxConnections = 4096
	maxName        = 128
	maxListen      = 64
)

// Manager holds the proxies.
type Manager struct {
	services Services
	logger   *slog.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	working  sync.WaitGroup

	mu      sync.Mutex
	proxies map[string]*proxy
	users   map[string]int // connections by service, over all proxies
	total   int
	conns   map[*forwarding]struct{}
	closed  bool
}

// New makes a manager without proxies. log may be nil.
func New(services Services, log *slog.Logger) *Manager {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{services: services, logger: log, proxies: map[string]*proxy{}, users: map[string]int{},
		conns: map[*forwarding]struct{}{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Set defines a proxy, or replaces the one of that name: all addresses are bound when it returns. When one cannot be,
// nothing has changed. Connections that are open go on. Errors are *wire.Error: -32602 names a wrong member, -32603 the
// address that cannot be bound.
func (m *Manager) Set(config wire.XinetConfig) error {
	p, addresses, err := m.check(config)
	if err != nil {
		return wire.NewError(wire.CodeParams, "invalid xinet config: "+err.Error())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return wire.NewError(wire.CodeInternal, "the server is going away")
	}
	old := m.proxies[config.Name]
	fresh, err := p.bindAll(addresses, old)
	if err != nil {
		return wire.NewError(wire.CodeInternal, err.Error())
	}
	if old != nil {
		p.stats = old.stats
		old.retire(p.endpoints)
	}
	m.proxies[config.Name] = p
	for _, e := range p.endpoints {
		e.owner.Store(p)
	}
	for _, e := range fresh {
		m.working.Go(func() { e.accept(m.ctx) })
	}
	p.armIdle()
	return nil
}

// check turns a definition into a proxy that listens nowhere yet.
func (m *Manager) check(config wire.XinetConfig) (*proxy, []address, error) {
	switch {
	case config.Name == "" || len(config.Name) > maxName:
		return nil, nil, fmt.Errorf("name must have 1 to %d bytes", maxName)
	case config.Service == "":
		return nil, nil, fmt.Errorf("%s: service is missing: the name of the service to start", config.Name)
	case len(config.Listen) == 0:
		return nil, nil, fmt.Errorf("%s: listen is missing: at least one address", config.Name)
	case len(config.Listen) > maxListen:
		return nil, nil, fmt.Errorf("%s: listen has %d addresses, at most %d are possible", config.Name, len(config.Listen), maxListen)
	case config.ConnectTimeout > maxSeconds || config.IdleTimeout > maxSeconds:
		return nil, nil, fmt.Errorf("%s: connect_timeout and idle_timeout are at most %d s", config.Name, maxSeconds)
	}
	p := &proxy{manager: m, config: config, stats: &stats{}}
	p.config.Listen = slices.Clone(config.Listen)
	var err error
	if p.backend, err = parseAddress(config.Backend); err != nil {
		return nil, nil, fmt.Errorf("%s: backend: %w", config.Name, err)
	}
	if strings.HasSuffix(p.backend.target, ":0") && p.backend.network == "tcp" {
		return nil, nil, fmt.Errorf("%s: backend: %q needs a port", config.Name, config.Backend)
	}
	var addresses []address
	for _, text := range config.Listen {
		a, err := parseAddress(text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: listen: %w", config.Name, err)
		}
		if a == p.backend {
			return nil, nil, fmt.Errorf("%s: listen and backend are both %s", config.Name, a)
		}
		if !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return p, addresses, nil
}

// Delete removes a proxy. Its addresses are free when it returns; connections that are open go on. An unknown name is
// error -32603, as in 0.3.9.
func (m *Manager) Delete(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.proxies[name]
	if p == nil {
		return wire.NewError(wire.CodeInternal, fmt.Sprintf("Proxy '%s' not found", name))
	}
	delete(m.proxies, name)
	p.retire(nil)
	return nil
}

// List returns all names, sorted.
func (m *Manager) List() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.proxies))
	for name := range m.proxies {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Status returns the state of one proxy; an unknown name is error -32000.
func (m *Manager) Status(name string) (wire.XinetStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.proxies[name]
	if p == nil {
		return wire.XinetStatus{}, wire.NewError(wire.CodeNotFound, fmt.Sprintf("proxy not found: %s", name))
	}
	return p.status(), nil
}

// StatusAll returns the states of all proxies, by name.
func (m *Manager) StatusAll() []wire.XinetStatus {
	names := m.List()
	list := make([]wire.XinetStatus, 0, len(names))
	for _, name := range names {
		if status, err := m.Status(name); err == nil {
			list = append(list, status)
		}
	}
	return list
}

// Definitions returns what Restore needs, by name.
func (m *Manager) Definitions() []wire.XinetConfig {
	names := m.List()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]wire.XinetConfig, 0, len(names))
	for _, name := range names {
		if p := m.proxies[name]; p != nil {
			list = append(list, p.config)
		}
	}
	return list
}

// Restore defines again what another process had defined. What cannot be bound is left out and reported.
func (m *Manager) Restore(list []wire.XinetConfig) []error {
	var failures []error
	for _, config := range list {
		if err := m.Set(config); err != nil {
			failures = append(failures, fmt.Errorf("cannot restore proxy %s: %w", config.Name, err))
		}
	}
	return failures
}

// Close ends all proxies and their connections and removes their sockets. It returns when nothing of them runs any more.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	for _, p := range m.proxies {
		p.retire(nil)
	}
	m.proxies = map[string]*proxy{}
	m.cancel()
	for f := range m.conns {
		f.close()
	}
	m.mu.Unlock()
	m.working.Wait()
}
