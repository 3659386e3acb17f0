package answer

import (
	"context"
	"fmt"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// OutcomeWords are what clients read for an outcome.
var OutcomeWords = map[machine.Outcome]string{
	machine.OutcomeAccepted: "accepted", machine.OutcomeDone: "done", machine.OutcomeFailed: "failed",
	machine.OutcomeBlocked: "blocked", machine.OutcomeTimedOut: "timed_out", machine.OutcomeSuperseded: "superseded",
	machine.OutcomeRemoved: "removed",
}

// Outcome turns what the machine answered into what the client gets.
func (s *Reader) Outcome(name string, o machine.Outcome, wait bool) (wire.OK, error) {
	view := s.from.Views.Load()
	e, id, ok := view.Lookup(name)
	switch o {
	case machine.OutcomeNotRunning:
		return wire.OK{}, wire.NewError(wire.CodeNotRunning, "service "+name+" is not running")
	case machine.OutcomeNotSent:
		return wire.OK{}, s.notSent(e, name)
	case machine.OutcomeShutdown:
		return wire.OK{}, s.AtEnd()
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
	answer.Outcome = OutcomeWords[o]
	if ok {
		st := s.wireState(view, id, e)
		answer.State, answer.Text = &st, s.causeText(view, id)
		if killed := time.Duration(e.Info.Killed); killed > 0 && o == machine.OutcomeDone {
			answer.KilledAfterMS = max(killed.Milliseconds(), 1)
		}
		for _, p := range e.Left {
			if now, err := proc.ReadProcess(p.PID); err == nil && now.Start == p.Start && !now.Dead() {
				answer.LeftRunning = append(answer.LeftRunning, wire.LeftProcess{PID: p.PID, Name: p.Comm})
			}
		}
	}
	return answer, nil
}

// notSent says why no process of a service took a signal: each with its pid, its user and the cause.
func (s *Reader) notSent(e *view.Entry, name string) *wire.Error {
	ps := []proc.Process{}
	if e != nil {
		ps = append(ps, s.tree(e)...)
	}
	why := proc.Obstacles(ps)
	if why == "" {
		why = "none of its processes is left"
	}
	left := []wire.LeftProcess{}
	for _, p := range ps {
		left = append(left, wire.LeftProcess{PID: p.PID, Name: p.Comm})
	}
	return wire.NewError(wire.CodeNotSent, "cannot signal "+name+": "+why).With("processes", left)
}

// Wait returns when every name has reached the goal.
func (s *Reader) Wait(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error) {
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
		view, changed := s.from.Views.Watch()
		pending, err := s.unreached(view, names, goal, reached)
		if err != nil {
			return wire.Waited{}, err
		}
		if len(pending) == 0 {
			return wire.Waited{States: s.rows(view, names)}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			text := fmt.Sprintf("timed out waiting for %s to be %s: %s", pending[0], goal, s.causeOf(view, pending[0]))
			return wire.Waited{}, wire.NewError(wire.CodeTimedOut, text).With("pending", pending)
		case <-s.from.Done:
			return wire.Waited{}, ErrStopping()
		}
	}
}

// goals say when a service has reached what service.wait waits for, and when it no longer can.
var goals = map[string]func(*view.Entry) (reached, hopeless bool){
	"running": func(e *view.Entry) (bool, bool) { return e.Info.State == machine.Running, over(e) },
	"ready":   func(e *view.Entry) (bool, bool) { return e.Standing&graph.Satisfied != 0, over(e) },
	"exited": func(e *view.Entry) (bool, bool) {
		return e.Info.State == machine.Exited, e.Info.State == machine.Failed && e.Info.ForGood
	},
	"failed": func(e *view.Entry) (bool, bool) {
		return e.Info.State == machine.Failed, e.Info.State == machine.Exited && e.Info.ForGood
	},
	"inactive": func(e *view.Entry) (bool, bool) { return e.Info.State == machine.Inactive || stoppedByHand(e), false },
	"gone":     func(*view.Entry) (bool, bool) { return false, false },
}

// over: ended for good, so that nothing but a new request can start it.
func over(e *view.Entry) bool {
	return (e.Info.State == machine.Failed || e.Info.State == machine.Exited) && e.Info.ForGood
}

// stoppedByHand: a stopped service shows how its process ended, and is as inactive as one that never ran.
func stoppedByHand(e *view.Entry) bool {
	return !e.Info.WantedUp && (e.Info.State == machine.Exited || e.Info.State == machine.Failed)
}

// unreached names the services that have not reached the goal.
func (s *Reader) unreached(v *view.View, names []string, goal string, reached func(*view.Entry) (bool, bool)) ([]string, error) {
	var pending []string
	for _, name := range names {
		e, _, ok := v.Lookup(name)
		switch {
		case !ok && goal == "gone":
			continue
		case !ok:
			return nil, s.NotFound(name)
		}
		done, hopeless := reached(e)
		if hopeless && !done {
			return nil, wire.NewError(wire.CodeNotRunning, fmt.Sprintf("%s will not be %s: %s", name, goal, s.causeOf(v, name)))
		}
		if !done {
			pending = append(pending, name)
		}
	}
	return pending, nil
}

// rows lists the named services that exist.
func (s *Reader) rows(v *view.View, names []string) []wire.Listed {
	out := []wire.Listed{}
	for _, name := range names {
		if e, id, ok := v.Lookup(name); ok {
			out = append(out, s.row(v, id, e))
		}
	}
	return out
}

// AtEnd is the refusal of what makes no sense any more while everything is being stopped: it says what is going on.
func (s *Reader) AtEnd() error {
	text := "the server is shutting down"
	if e := s.from.Views.Load().Ending(s.from.Clock.Now()); e != nil && e.Text != "" {
		text += ", " + e.Text
	}
	return wire.NewError(wire.CodeInternal, text+"; nothing was changed")
}

// ErrStopping is what those get whose question the end of the server has overtaken.
func ErrStopping() error {
	return wire.NewError(wire.CodeInternal, "the supervisor is stopping")
}
