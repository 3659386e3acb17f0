package loop

import "github.com/zinit/zinit/supervisor/machine"

// booting finds out when every service that is wanted up at the start has come up, is done, or cannot go on by itself (failed,
// blocked, in a restart delay): what the keeper's own command waits for.
type booting struct {
	listed  bool     // waiting is filled
	waiting []string // a service leaves it for good once it was seen settled, from the end
	told    bool
}

// tellBooted looks after each batch whether that is so, and tells the keeper once.
func (d *driver) tellBooted() {
	b, v := &d.booting, d.views.Load()
	if !b.listed {
		b.listed = true
		for _, e := range v.Entries {
			if e.Info.WantedUp {
				b.waiting = append(b.waiting, e.Config.Name)
			}
		}
	}
	for n := len(b.waiting); n > 0; n = len(b.waiting) {
		if e, _, ok := v.Lookup(b.waiting[n-1]); ok && !settled(e.Info) {
			return
		}
		b.waiting = b.waiting[:n-1]
	}
	b.told = true
	_ = d.keeper.Booted()
}

// settled reports whether a service has come as far as it can without anything else happening.
func settled(i machine.Info) bool {
	switch i.State {
	case machine.Starting, machine.Stopping:
		return false
	case machine.Blocked:
		return !i.OnItsWay && !i.Checking
	}
	return true
}
