package sim

import (
	"slices"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// crashed: the server is dead; nobody waits for an answer any more.
func (c *checker) crashed() {
	clear(c.requests)
	c.resuming, c.halts = false, 0
}

// restored compares the new machine with the journal: I17.
func (c *checker) restored() {
	w := c.w
	c.resuming = true
	seen := 0
	for _, s := range w.services {
		if !s.present {
			s.job = nil
		}
	}
	for id := range graph.ID(w.m.Len()) {
		r := w.m.Record(id)
		was, ok := w.journal.records[r.Name]
		if !ok {
			if r.Gen != 0 {
				w.fail("I17", r.Name+" has an incarnation that was never recorded")
			}
			continue
		}
		seen++
		if w.m.Forgotten(id) {
			continue // nothing of it was left
		}
		was.Gone = was.Gone || !w.byName[r.Name].present
		if !sameRecord(&r, &was) {
			w.fail("I17", r.Name+" is not restored as it was recorded: "+recordDiff(&was, &r))
		}
	}
	if seen != len(w.journal.records) {
		w.fail("I17", "a recorded service is not restored")
	}
	c.shutting = w.m.Globals().ShuttingDown
	c.lostSpawns()
	c.checkStrays()
}

// lostSpawns: a spawn that never came to its fork may be made again.
func (c *checker) lostSpawns() {
	for _, s := range c.w.byID {
		b := &s.book
		p := c.w.proc(b.gen)
		if b.state == machine.Starting && b.spawned == b.gen && b.gen != 0 && p.stage != stageForked && p.heard&heardFail == 0 && b.wish != wishDown {
			b.warrant |= byCrash
		}
	}
}

// checkStrays is I16: every process of the world belongs to an incarnation that is recorded.
func (c *checker) checkStrays() {
	for _, p := range c.w.procs {
		if p.alive() && !p.abandoned && c.w.journal.records[p.svc.name].Gen < p.gen {
			c.failf("I16", p.svc, "a process of incarnation "+gen(p.gen)+" lives and the journal does not know it")
		}
	}
}

// resumed is I16: each process that lives is the present one of its service, and is known.
func (c *checker) resumed() {
	for _, s := range c.w.byID {
		p := s.cur
		if p == nil || !p.main || p.stage != stageForked || p.abandoned {
			continue
		}
		info := c.w.m.Info(s.id)
		if info.Gen != p.gen || info.PID != p.pid {
			c.failf("I16", s, "its process lives and is not adopted")
		}
	}
}

// checkDirty is I17: what is recorded is what is, for every service after every Step.
func (c *checker) checkDirty() {
	w := c.w
	for id := range graph.ID(w.m.Len()) {
		if w.m.Forgotten(id) {
			continue
		}
		r := w.m.Record(id)
		was, ok := w.journal.records[r.Name]
		if ok && !sameRecord(&r, &was) {
			w.fail("I17", r.Name+" changed and is not dirty: "+recordDiff(&was, &r))
			return
		}
		if !ok && r.State != machine.Inactive {
			w.fail("I17", r.Name+" was never recorded")
			return
		}
	}
}

func sameRecord(a, b *machine.Record) bool { return recordDiff(a, b) == "" }

// recordDiff names the first field that differs.
func recordDiff(a, b *machine.Record) string {
	fields := []struct {
		name string
		same bool
	}{
		{"name", a.Name == b.Name}, {"gone", a.Gone == b.Gone}, {"state " + a.State.String() + " " + b.State.String(), a.State == b.State},
		{"wanted_up", a.WantedUp == b.WantedUp}, {"held_down", a.HeldDown == b.HeldDown}, {"due", a.Due == b.Due},
		{"gen", a.Gen == b.Gen}, {"pid", a.PID == b.PID}, {"phase", a.Phase == b.Phase}, {"result", a.Result == b.Result},
		{"result_ok", a.ResultOK == b.ResultOK}, {"reason", a.Reason == b.Reason}, {"since", a.Since == b.Since},
		{"ready_at", a.ReadyAt == b.ReadyAt}, {"spawned_at", a.SpawnedAt == b.SpawnedAt}, {"stop_at", a.StopAt == b.StopAt},
		{"restarts", a.Restarts == b.Restarts}, {"backoff", a.Backoff == b.Backoff}, {"next_restart", a.NextRestart == b.NextRestart},
		{"last_exit", a.LastExit == b.LastExit}, {"flags", a.Flags == b.Flags}, {"extra", slices.Equal(a.Extra, b.Extra)},
		{"job", slices.Equal(a.Job, b.Job)},
	}
	for _, f := range fields {
		if !f.same {
			return f.name
		}
	}
	return ""
}

// hashIfDeep is the machine's hash in worlds that are checked in the slow ways.
func (c *checker) hashIfDeep() uint64 {
	if !c.deep {
		return 0
	}
	return c.w.m.Hash()
}

// refused is I15: a refused reload changes nothing.
func (c *checker) refused(before uint64) {
	if c.deep && c.w.m.Hash() != before {
		c.w.fail("I15", "a refused reload changes the machine")
	}
}
