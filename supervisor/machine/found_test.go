package machine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/sim"
)

// TestReports plants each bug and looks at what a failure prints: something is left out, the rest
// fails in the same way and is printed alike each time, and its script leads a machine with that bug to where the world ended.
func TestReports(t *testing.T) {
	t.Parallel()
	machine.Bugs(0).Each(func(bug machine.Bugs, name string) {
		o := sim.Options{Bugs: bug, Trace: true, Seed: 1}
		was := sim.Run(o)
		for ; was.Failure == nil && o.Seed < 10000; was = sim.Run(o) {
			o.Seed++
		}
		small, r := sim.Shrink(o, 400)
		if was.Failure == nil || r.Failure == nil || r.Failure.Check != was.Failure.Check {
			t.Errorf("%s: seed %d fails with %v, its smallest world with %v", name, o.Seed, was.Failure, r.Failure)
			return
		}
		if small.Mask == (sim.Mask{}) || len(r.Trace) == 0 {
			t.Errorf("%s: nothing of world %d is left out, or it has no trace", name, o.Seed)
		}
		if again := sim.Run(small); string(again.Trace) != string(r.Trace) || string(again.Script) != string(r.Script) {
			t.Errorf("%s: the smallest world differs from run to run", name)
		}
		got, err := machine.PlayScript(string(r.Script), bug)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, r.Script)
		} else if a, b := essence(got), essence(r.Records); !slices.Equal(a, b) {
			t.Errorf("%s: the script ends with\n%s\nthe world with\n%s\n%s", name, strings.Join(a, "\n"), strings.Join(b, "\n"), r.Script)
		}
	})
}

// TestFoundScripts plays the scripts that the simulator prints for a world: what the machine is told there must lead to the
// very states of the world, or a failure that was found could not be looked at again.
func TestFoundScripts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(600) {
		r := sim.Run(sim.Options{Seed: seed, Trace: true})
		got, err := machine.PlayScript(string(r.Script), 0)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		if r.Records == nil {
			continue
		}
		a, b := essence(got), essence(r.Records)
		if !slices.Equal(a, b) {
			t.Errorf("seed %d: the script ends with\n%s\nthe world with\n%s", seed, strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	}
}

// essence is what must be the same, by name.
func essence(recs []machine.Record) (lines []string) {
	for _, r := range recs {
		lines = append(lines, fmt.Sprintf("%s %v gen=%d pid=%d wanted=%t held=%t due=%t restarts=%d backoff=%d since=%d next=%d", r.Name, r.State,
			r.Gen, r.PID, r.WantedUp, r.HeldDown, r.Due, r.Restarts, r.Backoff, r.Since, r.NextRestart))
	}
	slices.Sort(lines)
	return lines
}
