package view

import (
	"fmt"
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// ReasonPhrase is the reason as 0.3.9's service.status says it, with what is finer behind it.
func ReasonPhrase(r machine.Reason) string {
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
			return r.Detail
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

// ReasonText is why a service is in its failed state; signals by name, where reasonPhrase has 0.3.9's numbers, and what
// did not come, or what the last check got, where a start took too long.
func ReasonText(i machine.Info, c *graph.Config) string {
	switch r := i.Reason; {
	case r.Type == machine.ReasonSignal:
		return "killed by " + graph.Signal(r.Signal).Name() + finer(r)
	case r.Type == machine.ReasonDependencyFailed && slices.Contains(c.Deps.Binds, r.Service) && !slices.Contains(c.Deps.Requires, r.Service):
		return "binds " + r.Service + ", which failed"
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && c.Oneshot:
		return "did not end within " + graph.Duration(c.Lifecycle.StartTimeout)
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && c.Ready.Kind == graph.ReadyNotify:
		return "start timed out (its READY=1 did not come)"
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && c.Ready.Kind == graph.ReadyFD:
		return fmt.Sprintf("start timed out (its newline on descriptor %d did not come)", c.Ready.FD)
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && machine.ReadyByFile(c):
		return "start timed out (its pid_file " + c.PIDFile + " did not name its main process)"
	case r.Type == machine.ReasonStartTimeout && r.Detail == "" && i.Probes > 0 && !i.LastProbeOK:
		return "start timed out (" + i.LastProbe + ")"
	}
	return ReasonPhrase(i.Reason)
}

// ExitText says how a process ended.
func ExitText(st machine.Status) string {
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
