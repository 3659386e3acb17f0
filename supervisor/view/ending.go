package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
)

// Ending is what the stop of everything waits for, nil when nothing is being stopped.
func (v *View) Ending(now machine.Time) *wire.Ending {
	if !v.Halting {
		return nil
	}
	e, behind, cut := &wire.Ending{Waiting: []string{}}, 0, false
	var parts []string
	for _, entry := range v.Entries {
		switch i := entry.Info; {
		case i.State != machine.Stopping || i.Unkillable:
		case i.Phase == machine.PhaseDependents:
			behind++
		default:
			e.Waiting = append(e.Waiting, entry.Config.Name)
			cut = cut || v.KillAt != 0 && i.StopBy > v.KillAt
			if len(parts) < waitingNames {
				parts = append(parts, entry.Config.Name+" ("+waitingFor(i, v.KillAt, now)+")")
			}
		}
	}
	if len(parts) == 0 {
		return e
	}
	e.Text = "waiting for " + strings.Join(parts, ", ")
	if more := len(e.Waiting) - len(parts); more > 0 {
		e.Text += fmt.Sprintf(" and %d more", more)
	}
	if behind > 0 {
		e.Text += fmt.Sprintf("; %d more after that", behind)
	}
	if cut {
		e.Text += "; what is left in " + secondsLeft(v.KillAt, now) + " is killed, sooner than asked for (--stop-budget, [shutdown] timeout_ms)"
	}
	return e
}

// waitingFor says what one service that is being stopped does, and how long it may.
func waitingFor(i machine.Info, killAt, now machine.Time) string {
	by := i.StopBy
	if killAt != 0 && killAt < by {
		by = killAt
	}
	switch i.Phase {
	case machine.PhaseAwaitSpawn:
		return "its start is called off"
	case machine.PhaseKill:
		return "killed"
	case machine.PhaseHook:
		return "post_stop, " + secondsLeft(by, now) + " left"
	}
	return secondsLeft(by, now) + " left"
}

// secondsLeft is the time until a point, in whole seconds.
func secondsLeft(at, now machine.Time) string {
	left := max(0, time.Duration(at-now))
	return fmt.Sprintf("%d s", int64((left+time.Second-1)/time.Second))
}
