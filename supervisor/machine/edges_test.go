package machine

import (
	"slices"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

// told plays lines over definitions and returns the player.
func told(t *testing.T, definitions, lines string) *player {
	t.Helper()
	g, err := parseGraph(definitions)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlayer(g, Options{})
	if err := playLines(p, lines); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestExitTime: an end is dated by the word about it, but never later than now; a word without a time means now.
func TestExitTime(t *testing.T) {
	for at, want := range map[Time]Time{0: 100, 40: 40, 100: 100, 101: 100} {
		p := told(t, "a", "loaded\nspawned a")
		p.m.Step(100, ProcessExited{Gen: 1, At: at})
		if got := p.m.Info(0).LastExit.At; got != want {
			t.Errorf("at %d: %d, want %d", at, got, want)
		}
	}
}

// TestAskedOfNobody: an ID that is none is answered like a service that was removed.
func TestAskedOfNobody(t *testing.T) {
	p := told(t, "a", "loaded")
	for _, id := range []graph.ID{graph.None, -7, 1, 99} {
		if got := p.m.Step(0, Asked{Req: 5, Verb: VerbStart, IDs: []graph.ID{id}, Wait: true}); len(got) != 1 || got[0] != (Reply{Req: 5, ID: id, Outcome: OutcomeRemoved}) {
			t.Errorf("%d: %v", id, got)
		}
	}
	if got := p.m.Step(0, Asked{Req: 6, Verb: VerbStop, Wait: true}); len(got) != 1 || got[0] != (Reply{Req: 6, ID: graph.None, Outcome: OutcomeAccepted}) {
		t.Errorf("nobody: %v", got)
	}
	p = told(t, "a\nb", "loaded\nspawned a")
	g, _ := parseGraph("b")
	p.m.Step(0, Reloaded{Graph: g}) // a has been sent its stop signal
	p.m.Step(0, ProcessExited{Gen: 1})
	for _, verb := range []Verb{VerbStart, VerbStop, VerbRestart, VerbKill} {
		if got := p.m.Step(0, Asked{Req: 7, Verb: verb, IDs: []graph.ID{1}, Wait: true}); len(got) != 1 || got[0] != (Reply{Req: 7, ID: 1, Outcome: OutcomeRemoved}) {
			t.Errorf("%d of a forgotten one: %v", verb, got)
		}
	}
}

// TestQueueIsBounded: beyond maxQueued a run is left out, and that is said.
func TestQueueIsBounded(t *testing.T) {
	p := told(t, "j every=1h overlap=queue", "loaded\ntick\nspawned j\ntick")
	p.m.services[0].job.queued = maxQueued - 1
	for _, want := range []int{maxQueued, maxQueued} {
		left := len(p.m.Step(p.m.now+Time(time.Hour), Ticked{}))
		if got := p.m.Info(0).Queued; got != want {
			t.Errorf("%d are queued, want %d", got, want)
		}
		if p.m.now > Time(3*time.Hour) != (left == 1) {
			t.Errorf("at %v %d are left out", time.Duration(p.m.now), left)
		}
	}
}

// TestEndedBy: the first end for good is the one that counts, and what is left is killed in time.
func TestEndedBy(t *testing.T) {
	g, err := parseGraph("a\nb on_exit=shutdown broken\nc on_exit=shutdown broken")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlayer(g, Options{ShutdownTimeout: 5})
	if err := p.step(Loaded{}); err != nil || p.m.EndedBy() != "b" {
		t.Errorf("ended by %q: %v", p.m.EndedBy(), err)
	}
	p = newPlayer(g, Options{ShutdownTimeout: 5})
	if p.m.KillAt() != 0 {
		t.Errorf("killed at %d", p.m.KillAt())
	}
	p = told(t, "a", "loaded\nspawned a")
	p.m.options.ShutdownTimeout = 5
	if err := p.step(ShutdownAsked{}); err != nil || p.m.KillAt() != 5 || p.m.EndedBy() != "" {
		t.Errorf("killed at %d, ended by %q: %v", p.m.KillAt(), p.m.EndedBy(), err)
	}
}

// TestQuietReload: what is added quietly is not started, also when its name still stops or its definition was broken.
func TestQuietReload(t *testing.T) {
	p := told(t, "b broken\nc", "loaded\nspawned c")
	none, _ := parseGraph("b broken")
	p.m.Step(0, Reloaded{Graph: none})
	all, _ := parseGraph("a\nb\nc\nd")
	p.m.Step(0, Reloaded{Graph: all, Plan: &graph.Plan{Quiet: []string{"a", "b", "c"}}})
	p.m.Step(0, ProcessExited{Gen: 1})
	for id, want := range []State{Inactive, Inactive, Exited, Starting} {
		if got := p.m.Info(graph.ID(id)).State; got != want {
			t.Errorf("%s is %v, want %v", all.Name(graph.ID(id)), got, want)
		}
	}
}

// TestDirtyMoves: what was not recorded before a reload is to be recorded after it.
func TestDirtyMoves(t *testing.T) {
	g, _ := parseGraph("b")
	p := newPlayer(g, Options{})
	p.m.Step(0, Loaded{})
	p.m.Step(0, Spawned{Gen: 1, PID: 5})
	p.m.Step(0, MainChanged{Gen: 1, PID: 6})
	more, _ := parseGraph("a status=stop\nb")
	p.m.Step(0, Reloaded{Graph: more})
	if !slices.Contains(p.m.Dirty(), 1) {
		t.Errorf("of a and b are to be recorded %v", p.m.Dirty())
	}
}

// TestTargetHasNoTraits: what makes no sense for a target does not count.
func TestTargetHasNoTraits(t *testing.T) {
	var s service
	s.define(&graph.Config{Target: true, Oneshot: true, Health: &graph.Health{}, Watchdog: 5})
	if s.traits != traitTarget {
		t.Errorf("%b", s.traits)
	}
	s.define(&graph.Config{Oneshot: true, Health: &graph.Health{}, Watchdog: 5})
	if s.traits != traitOneshot|traitHealth|traitPings {
		t.Errorf("%b", s.traits)
	}
}

// TestRestoreRemoved: a record of a service that was removed stands beside one of the same name that came since, is not wanted
// up any more, and is forgotten where nothing is left of it.
func TestRestoreRemoved(t *testing.T) {
	g, _ := parseGraph("a")
	m := Restore(g, Options{}, []Record{
		{Name: "a", Gone: true, State: Stopping, Phase: uint8(PhaseTerm), Gen: 3, PID: 7, Flags: uint32(flagHadProcess)},
		{Name: "b", State: Stopping, Phase: uint8(PhaseTerm), Gen: 4, PID: 8, Flags: uint32(flagHadProcess), WantedUp: true, Due: true},
		{Name: "t", State: Running, WantedUp: true},
		{Name: "x", State: Exited, Gen: 2},
	}, Globals{}, nil, 50)
	if m.Len() != 5 || m.Info(0).State != Inactive || m.Gone(0) || m.Info(1).State != Stopping || !m.Gone(1) {
		t.Errorf("%d services, %+v, %+v", m.Len(), m.Info(0), m.Info(1))
	}
	if !m.Gone(2) || m.Info(2).WantedUp || m.Info(2).Due {
		t.Errorf("%+v", m.Info(2))
	}
	if !m.Forgotten(3) || !m.Forgotten(4) || m.Info(3).State != Inactive {
		t.Errorf("%v, %v, %+v", m.Forgotten(3), m.Forgotten(4), m.Info(3))
	}
	var forgets []string
	for _, a := range m.Step(60, Resumed{}) {
		if f, ok := a.(Forget); ok {
			forgets = append(forgets, f.Name)
		}
	}
	if !slices.Equal(forgets, []string{"t", "x"}) {
		t.Errorf("forgotten: %v", forgets)
	}
}

// TestShortExtra: a record of an older version that has fewer members keeps those it has.
func TestShortExtra(t *testing.T) {
	g, _ := parseGraph("a watchdog=1h")
	m := Restore(g, Options{}, []Record{{Name: "a", State: Running, Phase: uint8(PhaseUp), Gen: 3, PID: 7, Flags: uint32(flagHadProcess), Extra: []int64{0, 0, 99, 77}}},
		Globals{}, nil, 50)
	if at, ok := m.Deadline(); !ok || at != 99 || m.services[0].startBy != 77 {
		t.Errorf("%d, %d", at, m.services[0].startBy)
	}
}

// TestProbeIsCountedOnce: a check that was out when the server died is made again and is one check.
func TestProbeIsCountedOnce(t *testing.T) {
	p := told(t, "a health=10s", "loaded\nspawned a\ntick")
	if err := p.crash(nil); err != nil {
		t.Fatal(err)
	}
	if err := playLines(p, "adopted a\nresumed\ntick"); err != nil || p.m.Info(0).Probes != 1 {
		t.Errorf("%d checks: %v", p.m.Info(0).Probes, err)
	}
}

// TestConflictIsLost: who waits for a port, and does not know any more who held it, looks again whenever a service ends.
func TestConflictIsLost(t *testing.T) {
	p := told(t, "a\nb ports=80", "loaded\nspawned a\nprechecked b held=x service=c")
	p.m.services[1].conflict = nil
	if err := p.line("process_exited a signal=9"); err != nil || p.m.Info(1).Phase != PhaseChecking {
		t.Errorf("%v: %v", p.m.Info(1).Phase, err)
	}
}

// TestForGood: what is to run again after its dependents has not ended for good.
func TestForGood(t *testing.T) {
	p := told(t, "one oneshot\ndep requires=one", "loaded\nspawned one\nprocess_exited one\nspawned dep")
	one, err := p.find("one")
	if err != nil || !p.m.Info(one).ForGood {
		t.Errorf("%+v: %v", p.m.Info(one), err)
	}
	if err := p.line("restart one"); err != nil || p.m.Info(one).State != Exited || p.m.Info(one).ForGood {
		t.Errorf("%+v: %v", p.m.Info(one), err)
	}
}
