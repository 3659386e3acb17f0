package sim

import (
	"testing"

	"github.com/zinit/zinit/supervisor/machine"
)

// mutantSeeds is within how many worlds a planted bug must be found.
const mutantSeeds = 10000

// TestMutants plants bugs in the machine and in the driver's stand-in. Each must be found.
func TestMutants(t *testing.T) {
	t.Parallel()
	machine.Bugs(0).Each(func(bug machine.Bugs, name string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectFound(t, Options{Bugs: bug})
		})
	})
	slips := map[string]Slip{
		"journal after act": SlipJournalLate, "adoption by pid alone": SlipAdoptByPID, "exit lost in a crash": SlipLoseExit,
		"dirty record forgotten": SlipForgetDirty, "request lost in an upgrade": SlipLoseKept,
		"request done by both images": SlipAskTwice,
	}
	for name, slip := range slips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectFound(t, Options{Slips: slip})
		})
	}
}

func expectFound(t *testing.T, o Options) {
	t.Helper()
	for seed := uint64(1); seed <= mutantSeeds; seed++ {
		o.Seed = seed
		if r := Run(o); r.Failure != nil {
			t.Logf("found at seed %d: %s: %s", seed, r.Failure.Check, r.Failure.Detail)
			return
		}
	}
	t.Errorf("not found within %d worlds", mutantSeeds)
}
