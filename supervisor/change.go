package supervisor

import (
	"context"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// Start asks for a service to be up.
func (s *Supervisor) Start(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.changeToUp(ctx, name, machine.Asked{Verb: machine.VerbStart, NoDeps: c.NoDeps}, c)
}

// Stop asks for a service to be down.
func (s *Supervisor) Stop(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.change(ctx, name, machine.Asked{Verb: machine.VerbStop, RunOnly: c.RunOnly}, c)
}

// RunOneshot runs a oneshot now, and returns when that run has ended.
func (s *Supervisor) RunOneshot(ctx context.Context, name string, c wire.RunRequest) (wire.Run, error) {
	if err := s.MayRun(name); err != nil {
		return wire.Run{}, err
	}
	req, outcomes, err := s.ask(name, machine.Asked{Verb: machine.VerbRun, NoDeps: c.NoDeps, Again: c.Again, After: machine.Gen(c.After),
		Wait: true}, time.Duration(c.TimeoutMS)*time.Millisecond)
	if err != nil {
		return wire.Run{}, err
	}
	select {
	case o := <-outcomes:
		return s.RunEnded(name, o.Outcome, o.Info, o.Gen)
	case <-ctx.Done():
		s.loop.Cancel(req)
		return wire.Run{Pending: true}, nil
	case <-s.loop.Done():
		return wire.Run{}, answer.ErrStopping()
	}
}

// Restart stops and starts a service.
func (s *Supervisor) Restart(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.changeToUp(ctx, name, machine.Asked{Verb: machine.VerbRestart}, c)
}

// Kill sends one signal to a running service.
func (s *Supervisor) Kill(name, signal string) (wire.OK, error) {
	sig, err := graph.ParseSignal(signal)
	if err != nil {
		return wire.OK{}, wire.NewError(wire.CodeParams, err.Error())
	}
	return s.change(context.Background(), name, machine.Asked{Verb: machine.VerbKill, Sig: sig}, wire.Change{})
}

// SignalReload makes a running service read its configuration again.
func (s *Supervisor) SignalReload(name string) (wire.OK, error) {
	return s.change(context.Background(), name, machine.Asked{Verb: machine.VerbReloadSignal}, wire.Change{})
}

// change sends one request to the machine and waits for its outcome: for ever with Wait, else only long enough to say
// whether it was finished at once.
func (s *Supervisor) change(ctx context.Context, name string, ask machine.Asked, c wire.Change) (wire.OK, error) {
	patience := quickAnswer
	if c.Wait {
		patience = 0
	}
	ask.Wait = true
	req, outcomes, err := s.ask(name, ask, time.Duration(c.TimeoutMS)*time.Millisecond)
	if err != nil {
		return wire.OK{}, err
	}
	var expired <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		expired = t.C
	}
	select {
	case o := <-outcomes:
		return s.Outcome(name, o.Outcome, c.Wait)
	case <-expired:
		s.loop.Cancel(req)
		return wire.OK{OK: true, Pending: true}, nil
	case <-ctx.Done():
		s.loop.Cancel(req)
		return wire.OK{OK: true, Pending: true}, nil
	case <-s.loop.Done():
		return wire.OK{}, answer.ErrStopping()
	}
}

// ask gives the request to the loop.
func (s *Supervisor) ask(name string, a machine.Asked, timeout time.Duration) (machine.ReqID, <-chan loop.Settled, error) {
	req, outcomes, ok := s.loop.Ask(name, a, timeout)
	switch {
	case !ok:
		return 0, nil, answer.ErrStopping()
	case req == 0:
		return 0, nil, s.NotFound(name)
	}
	return req, outcomes, nil
}

// StartAll asks for every user service with status = start to be up.
func (s *Supervisor) StartAll(ctx context.Context) ([]string, error) {
	if s.atEnd() {
		return nil, s.AtEnd()
	}
	return s.bulk(machine.VerbStart, func(e *view.Entry) bool { return e.Config.Status == graph.StatusStart })
}

// StopAll asks for every user service to be down, in one step so that the order holds.
func (s *Supervisor) StopAll(ctx context.Context) ([]string, error) {
	return s.bulk(machine.VerbStop, func(e *view.Entry) bool { return e.Info.WantedUp || view.Active(e.Info.State) })
}

func (s *Supervisor) bulk(verb machine.Verb, want func(*view.Entry) bool) ([]string, error) {
	names, ok := s.loop.Bulk(verb, want)
	if !ok {
		return nil, answer.ErrStopping()
	}
	return names, nil
}
