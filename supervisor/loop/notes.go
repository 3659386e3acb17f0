package loop

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/ownlog"
	"github.com/zinit/zinit/supervisor/view"
)

var ctxNone = context.Background()

// noteLevel is how loud a transition is: what went wrong is a warning, the steps in between are for debugging.
func noteLevel(n machine.Note) slog.Level {
	switch n.To {
	case machine.Failed:
		return slog.LevelWarn
	case machine.Running, machine.Exited:
		return slog.LevelInfo
	case machine.Blocked:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// note turns a transition into an event and a line of the server's own log.
func (d *driver) note(n machine.Note, o *order) {
	c, i := o.config, o.info
	e := wire.Event{Time: view.RFC3339(o.at), Service: c.Name, From: n.From.String(), To: n.To.String(), Cause: n.Cause.String(),
		By: n.By, PID: i.PID, Text: noteText(n, c, i)}
	d.notes = append(d.notes, e)
	if d.boot.Note(c.Name, n) {
		d.diary.note(view.BootServiceNote+c.Name, d.boot.KeptService(c.Name))
	}
	level := noteLevel(n)
	attrs := []any{"service", c.Name, "cause", e.Cause, ownlog.Transition(e.From, e.To, n.To == machine.Failed)}
	if i.PID > 0 {
		attrs = append(attrs, "pid", i.PID)
	}
	d.log.Log(ctxNone, level, e.Text, attrs...)
	d.clearBelongings(n, c)
	exit := exitOf(n, i)
	d.tally.Noted(c.Name, n, exit)
	d.noteJob(n, o, exit)
}

// exitOf is how the main process of a service ended that has gone down with a transition, nil = there was none, or nobody knows.
func exitOf(n machine.Note, i machine.Info) *view.Exit {
	up := n.From == machine.Starting || n.From == machine.Running || n.From == machine.Stopping
	down := n.To == machine.Exited || n.To == machine.Failed || n.To == machine.Blocked
	spawned := n.Reason.Type != machine.ReasonSpawnError && (i.SpawnedAt != 0 || i.Gen != n.Gen) // else the exit is an older one's
	l := i.LastExit
	if !up || !down || !spawned || !l.Valid || l.At < i.SpawnedAt || l.Status.Unknown {
		return nil
	}
	return &view.Exit{Code: l.Status.Code, Signal: int32(l.Status.Signal)}
}

// clearBelongings takes away what does not outlive a service that has ended. A oneshot that is done counts as there until
// it is stopped, and what it has put into its runtime directory is for others.
func (d *driver) clearBelongings(n machine.Note, c *graph.Config) {
	had := n.From == machine.Starting || n.From == machine.Running || n.From == machine.Stopping || n.From == machine.Exited
	has := n.To == machine.Starting || n.To == machine.Running || n.To == machine.Stopping
	if !had || has {
		return
	}
	d.world.ClearBelongings(c, c.Oneshot && d.m.Standing(n.ID)&graph.Satisfied != 0)
}

// noteText is a transition in words.
func noteText(n machine.Note, c *graph.Config, i machine.Info) string {
	text := c.Name + ": " + n.From.String() + " -> " + n.To.String()
	switch {
	case n.To == machine.Failed:
		i.Reason = n.Reason // its own: the service may have gone on in the same step
		text += " (" + view.ReasonText(i, c) + ")"
		if i.NextRestart > 0 {
			text += fmt.Sprintf(", restart in %s", graph.Duration(time.Duration(i.NextRestart-i.Since)))
		} else if i.ForGood && n.Cause != machine.CauseDependency {
			text += ", not restarted"
		}
	case n.To == machine.Exited && i.LastExit.Valid:
		text += " (" + view.ExitText(i.LastExit.Status) + ")"
	case n.To == machine.Running && n.Cause == machine.CauseSpawned:
		text += fmt.Sprintf(" (pid %d)", i.PID)
	case n.By != "":
		text += " (" + causePhrase(n.Cause) + " " + n.By + ")"
	case n.To == machine.Blocked && n.Cause == machine.CausePort:
		text += " (its ports and process_filters are looked at)"
	case n.To == machine.Stopping && stoppingPhrases[n.Cause] != "":
		text += " (" + stoppingPhrases[n.Cause] + ")"
	}
	return text
}

// stoppingPhrases say why a service is ended where nobody else is named.
var stoppingPhrases = map[machine.Cause]string{
	machine.CauseAsked: "asked for", machine.CauseExit: "its main process has ended, the rest follows", machine.CauseHealth: "its health check failed",
	machine.CauseWatchdog: "by its watchdog",
	machine.CauseTimeout:  "its time to start is over", machine.CauseReload: "changed by a reload",
	machine.CauseShutdown: "everything is stopped",
}

func causePhrase(c machine.Cause) string {
	switch c {
	case machine.CauseDependency:
		return "because of"
	case machine.CausePulledIn:
		return "needed by"
	case machine.CauseConflict:
		return "conflict with"
	case machine.CauseMissing:
		return "missing"
	case machine.CauseShutdown:
		return "everything is stopped by on_exit of"
	}
	return c.String()
}
