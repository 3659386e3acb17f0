package answer

import (
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

var reasonWords = map[machine.ReasonType]string{
	machine.ReasonExitCode: "exit_code", machine.ReasonSignal: "signal", machine.ReasonStartTimeout: "start_timeout",
	machine.ReasonStopTimeout: "stop_timeout", machine.ReasonHealthCheckFailed: "health_check_failed",
	machine.ReasonDependencyFailed: "dependency_failed", machine.ReasonSpawnError: "spawn_error",
	machine.ReasonMissingDependency: "missing_dependency",
}

// wireReason turns a reason into 0.3.9's tagged object with our finer members.
func wireReason(r machine.Reason) *wire.Reason {
	if r.Type == machine.ReasonNone {
		return nil
	}
	w := &wire.Reason{Type: reasonWords[r.Type], Kind: r.Kind, Detail: r.Detail}
	switch r.Type {
	case machine.ReasonExitCode:
		w.Code = new(int(r.Code))
	case machine.ReasonSignal:
		w.Signal = new(int(r.Signal))
	case machine.ReasonHealthCheckFailed:
		w.Attempts = new(int(r.Attempts))
	case machine.ReasonDependencyFailed:
		w.Service = r.Service
	case machine.ReasonMissingDependency:
		w.Dependency = r.Service
	case machine.ReasonSpawnError:
		w.Message = r.Detail
	}
	return w
}

// wireExit is the last exit for status, nil before the first.
func (s *Reader) wireExit(l machine.LastExit) *wire.Exit {
	if !l.Valid {
		return nil
	}
	e := &wire.Exit{Text: view.ExitText(l.Status), At: view.RFC3339(s.from.Clock.Wall(l.At))}
	switch {
	case l.Status.Unknown:
	case l.Status.Signal > 0:
		e.Signal = new(int(l.Status.Signal))
	default:
		e.Code = new(int(l.Status.Code))
	}
	return e
}

// wireState is a service's state as a tagged object.
func (s *Reader) wireState(v *view.View, id graph.ID, e *view.Entry) wire.State {
	w := wire.State{State: e.Info.State.String()}
	switch e.Info.State {
	case machine.Starting, machine.Running, machine.Stopping:
		w.PID = new(e.Info.PID)
	case machine.Exited:
		if l := e.Info.LastExit; l.Valid && l.Status.Signal == 0 && !l.Status.Unknown {
			w.ExitCode = new(int(l.Status.Code))
		}
	case machine.Blocked:
		w.WaitingOn, w.ConflictsWith = waitingOn(v, id)
	case machine.Failed:
		w.Reason = wireReason(e.Info.Reason)
	}
	return w
}

// waitingOn splits what is unmet into what must come up and what must go away.
func waitingOn(v *view.View, id graph.ID) (waiting, conflicts []string) {
	for _, u := range v.Unmet(id) {
		name := u.Name
		if u.On != graph.None {
			name = v.Graph.Name(u.On)
		}
		if u.Kind == graph.KindConflicts {
			conflicts = append(conflicts, name)
		} else {
			waiting = append(waiting, name)
		}
	}
	return waiting, conflicts
}

// joinAnd writes "a", "a and b", "a, b and c".
func joinAnd(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// wanted is the operator's wish as a word.
func wanted(i machine.Info) string {
	if i.WantedUp {
		return "up"
	}
	return "down"
}
