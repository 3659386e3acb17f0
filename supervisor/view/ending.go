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
	e, behind := &wire.Ending{Waiting: []string{}, Cut: []string{}}, 0
	var parts []string
	for _, entry := range v.Entries {
		switch i := entry.Info; {
		case i.State != machine.Stopping || i.Unkillable:
		case i.Phase == machine.PhaseDependents:
			behind++
			if v.KillAt != 0 && now+machine.Time(entry.Config.Lifecycle.StopTimeout) > v.KillAt {
				e.Cut = append(e.Cut, entry.Config.Name) // even if its turn came now
			}
		default:
			e.Waiting = append(e.Waiting, entry.Config.Name)
			if v.KillAt != 0 && i.StopBy > v.KillAt {
				e.Cut = append(e.Cut, entry.Config.Name)
			}
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
	if len(e.Cut) > 0 {
		e.Text += "; what is left in " + secondsLeft(v.KillAt, now) +
			" is killed (--stop-budget, zinit.shutdown_ms, [shutdown] timeout_ms), sooner than the stop_timeout of " + someOf(e.Cut)
	}
	return e
}

// someOf names the first services of a list, and how many more there are.
func someOf(names []string) string {
	if more := len(names) - waitingNames; more > 0 {
		return strings.Join(names[:waitingNames], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
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
