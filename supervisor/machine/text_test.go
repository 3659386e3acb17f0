package machine

import (
	"fmt"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

func seconds(t Time) string { return time.Duration(t).String() }

var outcomeNames = [...]string{"accepted", "done", "failed", "blocked", "timed_out", "superseded", "not_running", "shutdown", "removed", "missing", "busy"}

// actionText writes an action as the scripts expect it.
func actionText(m *Machine, names []string, a Action) string {
	name := func(id graph.ID) string {
		if id == graph.None {
			return "-"
		}
		return names[id]
	}
	switch a := a.(type) {
	case Note:
		by := ""
		if a.By != "" {
			by = " " + a.By
		}
		return fmt.Sprintf("note %s %s -> %s (%s%s)", name(a.ID), a.From, a.To, a.Cause, by)
	case Precheck:
		if a.Kill {
			return fmt.Sprintf("precheck %s gen=%d kill", name(a.ID), a.Gen)
		}
		return fmt.Sprintf("precheck %s gen=%d", name(a.ID), a.Gen)
	case Spawn:
		return fmt.Sprintf("spawn %s gen=%d", name(a.ID), a.Gen)
	case Abort:
		return fmt.Sprintf("abort gen=%d", a.Gen)
	case Stop:
		return fmt.Sprintf("stop %s gen=%d", name(a.ID), a.Gen)
	case Kill:
		return fmt.Sprintf("kill %s gen=%d", name(a.ID), a.Gen)
	case Signal:
		if a.Reload {
			return fmt.Sprintf("reload %s gen=%d sig=%d", name(a.ID), a.Gen, a.Sig)
		}
		return fmt.Sprintf("signal %s gen=%d sig=%d", name(a.ID), a.Gen, a.Sig)
	case Probe:
		return fmt.Sprintf("probe %s gen=%d", name(a.ID), a.Gen)
	case CancelProbe:
		return fmt.Sprintf("cancel_probe gen=%d", a.Gen)
	case Hook:
		return fmt.Sprintf("hook %s gen=%d", name(a.ID), a.Gen)
	case Reply:
		return fmt.Sprintf("reply req=%d %s", a.Req, outcomeNames[a.Outcome])
	case Forget:
		return "forget " + a.Name
	case Critical:
		return "critical " + name(a.ID)
	case LeftOut:
		if a.Runs > 1 {
			return fmt.Sprintf("left_out %s: %d runs, %s", name(a.ID), a.Runs, a.Rule)
		}
		return fmt.Sprintf("left_out %s: %s", name(a.ID), a.Rule)
	case Halt:
		return fmt.Sprintf("halt %d", a.Code)
	}
	return fmt.Sprintf("%T", a)
}

// stateText writes a service in one line: state, incarnation, what is wanted, and what explains the state.
func stateText(m *Machine, id graph.ID) string {
	info, s := m.Info(id), &m.services[id]
	words := []string{s.name, info.State.String()}
	add := func(on bool, format string, args ...any) {
		if on {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(info.Phase != PhaseNone && info.Phase != PhaseUp, "%s", info.Phase)
	add(info.Gen != 0 && !s.idle(), "gen=%d", info.Gen)
	add(info.PID != 0, "pid=%d", info.PID)
	add(!info.WantedUp, "down")
	add(info.HeldDown, "held")
	add(info.Due, "due")
	add(m.Gone(id), "gone")
	add(info.Unkillable, "unkillable")
	add(info.Leftovers, "leftovers")
	add(info.SelfStop, "stops_itself")
	add(info.Reason.Type != ReasonNone, "reason=%s", reasonText(info.Reason))
	add(info.Restarts > 0, "restarts=%d", info.Restarts)
	add(info.NextRestart != 0, "next=%s", seconds(info.NextRestart))
	if info.Job && info.NextRun != 0 {
		add(true, "due_at=%s", time.Unix(0, int64(info.NextRun)+m.wallOffset).UTC().Format(wallLayout))
	}
	add(info.Queued > 0, "queued=%d", info.Queued)
	add(info.FailuresRow > 0, "bad_probes=%d", info.FailuresRow)
	add(info.Conflict != nil, "port_conflict=%v", portText(info.Conflict))
	if info.State == Blocked {
		for _, u := range m.Unmet(id) {
			add(true, "<%s %s>", u.Kind, u.Name)
		}
	}
	return strings.Join(words, " ")
}

func portText(c *Conflict) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%d:%s%s", c.Port, c.Process, c.Service)
}

var reasonNames = [...]string{"none", "exit_code", "signal", "start_timeout", "stop_timeout", "health_check_failed", "dependency_failed",
	"spawn_error", "missing_dependency"}

func reasonText(r Reason) string {
	text := reasonNames[r.Type]
	switch r.Type {
	case ReasonExitCode:
		text += fmt.Sprintf("{%d}", r.Code)
	case ReasonSignal:
		text += fmt.Sprintf("{%d}", r.Signal)
	case ReasonHealthCheckFailed:
		text += fmt.Sprintf("{%d}", r.Attempts)
	case ReasonDependencyFailed, ReasonMissingDependency:
		text += "{" + r.Service + "}"
	}
	if r.Kind != "" {
		text += "," + r.Kind
	}
	if r.Detail != "" {
		text += fmt.Sprintf(",%q", r.Detail)
	}
	return text
}
