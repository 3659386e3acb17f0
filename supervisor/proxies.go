package supervisor

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/machine"
)

// proxied is what the socket proxies may ask of the supervisor.
type proxied struct{ s *Supervisor }

// Ensure starts the service where it does not run, and returns when it does.
func (p proxied) Ensure(ctx context.Context, service string) error {
	if p.s.IsRunning(service) {
		return nil
	}
	started, err := p.s.Start(ctx, service, wire.Change{Wait: true})
	if err != nil {
		return err
	}
	if started.Outcome != answer.OutcomeWords[machine.OutcomeDone] {
		return errors.New(service + " " + started.Text)
	}
	return nil
}

// StopIdle asks for the service to be stopped.
func (p proxied) StopIdle(service string) {
	go func() { _, _ = p.s.Stop(context.Background(), service, wire.Change{}) }()
}

// proxyNote is where the journal keeps the definitions of proxies.
const proxyNote = "xinet"

// noteProxies writes the definitions to the journal, so that proxies outlive the server.
func (s *Supervisor) noteProxies() {
	b, err := json.Marshal(s.proxies.Definitions())
	if err == nil {
		s.loop.Note(proxyNote, b)
	}
}

// restoreProxies listens again where the server before did.
func (s *Supervisor) restoreProxies() {
	if s.opt.Loop.Restored == nil {
		return
	}
	var list []wire.XinetConfig
	if json.Unmarshal(s.opt.Loop.Restored.Notes[proxyNote], &list) != nil {
		return
	}
	for _, err := range s.proxies.Restore(list) {
		s.log.Error("a socket proxy is lost", "error", err)
	}
}

// XinetSet makes or replaces a socket proxy for a service that is loaded; it listens when this returns.
func (s *Supervisor) XinetSet(c wire.XinetConfig) error {
	if s.atEnd() {
		return s.AtEnd()
	}
	if _, _, ok := s.shown.Views.Load().Lookup(c.Service); !ok && c.Service != "" {
		return s.NotFound(c.Service)
	}
	err := s.proxies.Set(c)
	if err == nil {
		s.noteProxies()
	}
	return err
}

// XinetDelete ends a socket proxy.
func (s *Supervisor) XinetDelete(name string) error {
	err := s.proxies.Delete(name)
	if err == nil {
		s.noteProxies()
	}
	return err
}

// XinetList names the socket proxies.
func (s *Supervisor) XinetList() []string { return s.proxies.List() }

// XinetStatus is one socket proxy.
func (s *Supervisor) XinetStatus(name string) (wire.XinetStatus, error) {
	return s.proxies.Status(name)
}

// XinetStatusAll are all socket proxies.
func (s *Supervisor) XinetStatusAll() []wire.XinetStatus { return s.proxies.StatusAll() }
