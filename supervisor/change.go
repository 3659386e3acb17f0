package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
)

// quickAnswer is how long a change without wait looks whether it is finished at once, so that its answer can say so.
const quickAnswer = 250 * time.Millisecond

// Start asks for a service to be up.
func (s *Supervisor) Start(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.change(ctx, name, machine.Asked{Verb: machine.VerbStart, NoDeps: c.NoDeps}, c)
}

// Stop asks for a service to be down.
func (s *Supervisor) Stop(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.change(ctx, name, machine.Asked{Verb: machine.VerbStop}, c)
}

// Restart stops and starts a service.
func (s *Supervisor) Restart(ctx context.Context, name string, c wire.Change) (wire.OK, error) {
	return s.change(ctx, name, machine.Asked{Verb: machine.VerbRestart}, c)
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
		return s.outcome(name, o, c.Wait)
	case <-expired:
		s.cancel(req)
		return wire.OK{OK: true, Pending: true}, nil
	case <-ctx.Done():
		s.cancel(req)
		return wire.OK{OK: true, Pending: true}, nil
	case <-s.opt.done:
		return wire.OK{}, errStopping()
	}
}

// ask posts the request to the driver; the name is looked up there, against the graph of that moment.
func (s *Supervisor) ask(name string, a machine.Asked, timeout time.Duration) (machine.ReqID, <-chan machine.Outcome, error) {
	outcomes := make(chan machine.Outcome, 1)
	ids := make(chan machine.ReqID, 1)
	d := s.driver
	d.post(func() {
		id, ok := d.m.Graph().Lookup(name)
		if !ok {
			ids <- 0
			return
		}
		d.lastReq++
		a.Req, a.IDs = d.lastReq, []graph.ID{id}
		if timeout > 0 {
			a.Deadline = d.clock.now() + machine.Time(timeout)
		}
		d.replies[a.Req] = outcomes
		ids <- a.Req
		d.step(a)
	})
	select {
	case req := <-ids:
		if req == 0 {
			return 0, nil, s.notFound(name)
		}
		return req, outcomes, nil
	case <-s.opt.done:
		return 0, nil, errStopping()
	}
}

// cancel withdraws the interest in an outcome; what was asked for goes on.
func (s *Supervisor) cancel(req machine.ReqID) {
	d := s.driver
	d.post(func() {
		delete(d.replies, req)
		d.step(machine.Cancelled{Req: req})
	})
}

var outcomeWords = map[machine.Outcome]string{
	machine.OutcomeAccepted: "accepted", machine.OutcomeDone: "done", machine.OutcomeFailed: "failed",
	machine.OutcomeBlocked: "blocked", machine.OutcomeTimedOut: "timed_out", machine.OutcomeSuperseded: "superseded",
	machine.OutcomeRemoved: "removed",
}

// outcome turns what the machine answered into what the client gets.
func (s *Supervisor) outcome(name string, o machine.Outcome, wait bool) (wire.OK, error) {
	view := s.driver.views.load()
	e, id, ok := view.lookup(name)
	switch o {
	case machine.OutcomeNotRunning:
		return wire.OK{}, wire.NewError(wire.CodeNotRunning, "service "+name+" is not running")
	case machine.OutcomeShutdown:
		return wire.OK{}, errStopping()
	case machine.OutcomeMissing:
		missing := []string{}
		if ok {
			missing = view.Graph.Missing(id)
		}
		text := fmt.Sprintf("cannot start %s: it requires %s, which does not exist", name, joinAnd(missing))
		if len(missing) == 1 {
			text += s.didYouMean(missing[0])
		}
		return wire.OK{}, wire.NewError(wire.CodeMissingDependency, text).With("missing", missing)
	}
	answer := wire.OK{OK: true}
	if !wait && (o == machine.OutcomeDone || o == machine.OutcomeAccepted) {
		return answer, nil
	}
	answer.Outcome = outcomeWords[o]
	if ok {
		st := s.wireState(view, id, e)
		answer.State, answer.Text = &st, s.causeText(view, id)
	}
	return answer, nil
}

// StartAll asks for every user service with status = start to be up.
func (s *Supervisor) StartAll(ctx context.Context) ([]string, error) {
	return s.bulk(machine.VerbStart, func(e *Entry) bool { return e.Config.Status == graph.StatusStart })
}

// StopAll asks for every user service to be down, in one step so that the order holds.
func (s *Supervisor) StopAll(ctx context.Context) ([]string, error) {
	return s.bulk(machine.VerbStop, func(e *Entry) bool { return e.Info.WantedUp || active(e.Info.State) })
}

func (s *Supervisor) bulk(verb machine.Verb, want func(*Entry) bool) ([]string, error) {
	done := make(chan []string, 1)
	d := s.driver
	d.post(func() {
		names := []string{}
		var ids []graph.ID
		for id := range graph.ID(d.m.Graph().Len()) {
			if e := d.entry(id); d.m.Graph().Class(id) == graph.ClassUser && want(e) {
				ids, names = append(ids, id), append(names, e.Config.Name)
			}
		}
		if len(ids) > 0 {
			d.step(machine.Asked{Verb: verb, IDs: ids})
		}
		done <- names
	})
	select {
	case names := <-done:
		return names, nil
	case <-s.opt.done:
		return nil, errStopping()
	}
}

// Wait returns when every name has reached the goal.
func (s *Supervisor) Wait(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error) {
	reached, ok := goals[goal]
	if !ok {
		return wire.Waited{}, wire.NewError(wire.CodeParams, "cannot wait for "+goal+": want running, ready, exited, failed, inactive or gone")
	}
	if timeoutMS > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(timeoutMS)*time.Millisecond)
		defer stop()
	}
	for {
		view, changed := s.driver.views.watch()
		pending, err := s.unreached(view, names, goal, reached)
		if err != nil {
			return wire.Waited{}, err
		}
		if pending == "" {
			return wire.Waited{States: s.rows(view, names)}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return wire.Waited{}, wire.NewError(wire.CodeTimedOut, fmt.Sprintf("timed out waiting for %s to be %s: %s",
				pending, goal, s.causeOf(view, pending)))
		case <-s.opt.done:
			return wire.Waited{}, errStopping()
		}
	}
}

// goals say when a service has reached what service.wait waits for, and when it no longer can.
var goals = map[string]func(*Entry) (reached, hopeless bool){
	"running": func(e *Entry) (bool, bool) { return e.Info.State == machine.Running, over(e) },
	"ready":   func(e *Entry) (bool, bool) { return e.Standing&graph.Satisfied != 0, over(e) },
	"exited": func(e *Entry) (bool, bool) {
		return e.Info.State == machine.Exited, e.Info.State == machine.Failed && e.Info.ForGood
	},
	"failed": func(e *Entry) (bool, bool) {
		return e.Info.State == machine.Failed, e.Info.State == machine.Exited && e.Info.ForGood
	},
	"inactive": func(e *Entry) (bool, bool) { return e.Info.State == machine.Inactive || stoppedByHand(e), false },
	"gone":     func(*Entry) (bool, bool) { return false, false },
}

// over: ended for good, so that nothing but a new request can start it.
func over(e *Entry) bool {
	return (e.Info.State == machine.Failed || e.Info.State == machine.Exited) && e.Info.ForGood
}

// stoppedByHand: a stopped service shows how its process ended, and is as inactive as one that never ran.
func stoppedByHand(e *Entry) bool {
	return !e.Info.WantedUp && (e.Info.State == machine.Exited || e.Info.State == machine.Failed)
}

// unreached names the first service that has not reached the goal, "" when all have.
func (s *Supervisor) unreached(v *View, names []string, goal string, reached func(*Entry) (bool, bool)) (string, error) {
	for _, name := range names {
		e, _, ok := v.lookup(name)
		switch {
		case !ok && goal == "gone":
			continue
		case !ok:
			return "", s.notFound(name)
		}
		done, hopeless := reached(e)
		if hopeless && !done {
			return "", wire.NewError(wire.CodeNotRunning, fmt.Sprintf("%s will not be %s: %s", name, goal, s.causeOf(v, name)))
		}
		if !done {
			return name, nil
		}
	}
	return "", nil
}

// rows lists the named services that exist.
func (s *Supervisor) rows(v *View, names []string) []wire.Listed {
	out := []wire.Listed{}
	for _, name := range names {
		if e, id, ok := v.lookup(name); ok {
			out = append(out, s.row(v, id, e))
		}
	}
	return out
}
