package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
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
		w.Code = intPtr(int(r.Code))
	case machine.ReasonSignal:
		w.Signal = intPtr(int(r.Signal))
	case machine.ReasonHealthCheckFailed:
		w.Attempts = intPtr(int(r.Attempts))
	case machine.ReasonDependencyFailed:
		w.Service = r.Service
	case machine.ReasonMissingDependency:
		w.Dependency = r.Service
	case machine.ReasonSpawnError:
		w.Message = r.Detail
	}
	return w
}

// reasonPhrase is the reason as 0.3.9's service.status says it, with what is finer behind it.
func reasonPhrase(r machine.Reason) string {
	switch r.Type {
	case machine.ReasonExitCode:
		return fmt.Sprintf("exited with code %d", r.Code) + finer(r)
	case machine.ReasonSignal:
		return fmt.Sprintf("killed by signal %d", r.Signal) + finer(r)
	case machine.ReasonStartTimeout:
		return "start timed out" + finer(r)
	case machine.ReasonStopTimeout:
		return "stop timed out" + finer(r)
	case machine.ReasonHealthCheckFailed:
		if r.Kind == "watchdog" {
			return "watchdog: no sign of life in time" + finer(machine.Reason{Detail: r.Detail})
		}
		return fmt.Sprintf("health check failed %d times", r.Attempts) + finer(r)
	case machine.ReasonDependencyFailed:
		return "requires " + r.Service + ", which failed"
	case machine.ReasonSpawnError:
		return "cannot start: " + r.Detail
	case machine.ReasonMissingDependency:
		return "requires " + r.Service + ", which does not exist"
	}
	return ""
}

func finer(r machine.Reason) string {
	switch {
	case r.Kind == "oom" && r.Detail == "":
		return " (out of memory)"
	case r.Detail != "":
		return " (" + r.Detail + ")"
	}
	return ""
}

// reasonText is why a service is in its failed state; signals by name, where reasonPhrase has 0.3.9's numbers, and what
// did not come, or what the last check got, where a start took too long.
func reasonText(i machine.Info, c *graph.Config) string {
	switch r := i.Reason; {
	case r.Type == machine.ReasonSignal:
		return "killed by " + graph.Signal(r.Signal).Name() + finer(r)
	case r.Type == machine.ReasonDependencyFailed && slices.Contains(c.Deps.Binds, r.Service) && !slices.Contains(c.Deps.Requires, r.Service):
		return "binds " + r.Service + ", which failed"
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && c.Ready.Kind == graph.ReadyNotify:
		return "start timed out (its READY=1 did not come)"
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && c.Ready.Kind == graph.ReadyFD:
		return fmt.Sprintf("start timed out (its newline on descriptor %d did not come)", c.Ready.FD)
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && i.Probes > 0 && !i.LastProbeOK:
		return "start timed out (" + i.LastProbe + ")"
	}
	return reasonPhrase(i.Reason)
}

// exitText says how a process ended.
func exitText(st machine.Status) string {
	switch {
	case st.Unknown:
		return "ended while nobody could wait for it, exit status unknown"
	case st.OOM:
		return "killed by " + graph.Signal(st.Signal).Name() + " (out of memory)"
	case st.Signal > 0 && st.Core:
		return "killed by " + graph.Signal(st.Signal).Name() + ", core dumped"
	case st.Signal > 0:
		return "killed by " + graph.Signal(st.Signal).Name()
	}
	return fmt.Sprintf("exited with code %d", st.Code)
}

// wireExit is the last exit for status, nil before the first.
func (s *Supervisor) wireExit(l machine.LastExit) *wire.Exit {
	if !l.Valid {
		return nil
	}
	e := &wire.Exit{Text: exitText(l.Status), At: rfc3339(s.driver.clock.wall(l.At))}
	switch {
	case l.Status.Unknown:
	case l.Status.Signal > 0:
		e.Signal = intPtr(int(l.Status.Signal))
	default:
		e.Code = intPtr(int(l.Status.Code))
	}
	return e
}

// wireState is a service's state as a tagged object.
func (s *Supervisor) wireState(v *View, id graph.ID, e *Entry) wire.State {
	w := wire.State{State: e.Info.State.String()}
	switch e.Info.State {
	case machine.Starting, machine.Running, machine.Stopping:
		w.PID = intPtr(e.Info.PID)
	case machine.Exited:
		if l := e.Info.LastExit; l.Valid && l.Status.Signal == 0 && !l.Status.Unknown {
			w.ExitCode = intPtr(int(l.Status.Code))
		}
	case machine.Blocked:
		w.WaitingOn, w.ConflictsWith = waitingOn(v, id)
	case machine.Failed:
		w.Reason = wireReason(e.Info.Reason)
	}
	return w
}

// waitingOn splits what is unmet into what must come up and what must go away.
func waitingOn(v *View, id graph.ID) (waiting, conflicts []string) {
	for _, u := range v.unmet(id) {
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

func intPtr(i int) *int { return &i }

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

// problemLine is a problem of the configuration as one line: where, then what.
func problemLine(p wire.Problem) string {
	where := p.File
	if p.Line > 0 {
		where += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	switch {
	case where != "":
		return where + ": " + p.Message
	case p.Service != "":
		return p.Service + ": " + p.Message
	}
	return p.Message
}
