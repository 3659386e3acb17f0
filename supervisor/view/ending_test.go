package view

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// TestEndingNamesWhatIsCut: those that would be killed before their own timeout, also behind others, and nobody else.
func TestEndingNamesWhatIsCut(t *testing.T) {
	const second = machine.Time(time.Second)
	stopping := func(name string, phase machine.Phase, timeout, by machine.Time) *Entry {
		c := &graph.Config{Name: name}
		c.Lifecycle.StopTimeout = time.Duration(timeout)
		return &Entry{Config: c, Info: machine.Info{State: machine.Stopping, Phase: phase, StopBy: by}}
	}
	v := &View{Halting: true, KillAt: 106 * second, Entries: []*Entry{
		stopping("slow", machine.PhaseTerm, 90*second, 190*second),
		stopping("quick", machine.PhaseTerm, 5*second, 105*second),
		stopping("slow-behind", machine.PhaseDependents, 90*second, 0),
		stopping("quick-behind", machine.PhaseDependents, 5*second, 0),
	}}
	e := v.Ending(100 * second)
	if want := []string{"slow", "slow-behind"}; !slices.Equal(e.Cut, want) {
		t.Errorf("cut: %q, want %q", e.Cut, want)
	}
	if want := "what is left in 6 s is killed"; !strings.Contains(e.Text, want) ||
		!strings.HasSuffix(e.Text, "sooner than the stop_timeout of slow, slow-behind") {
		t.Errorf("%s", e.Text)
	}
	v.KillAt = 0
	if e := v.Ending(100 * second); len(e.Cut) != 0 || strings.Contains(e.Text, "killed") {
		t.Errorf("without a bound: %+v", e)
	}
}
