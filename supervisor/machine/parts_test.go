package machine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zinit/zinit/graph"
)

// TestTimers compares the heap with a plain list.
func TestTimers(t *testing.T) {
	t.Parallel()
	const services = 7
	r := rand.New(rand.NewPCG(1, 2))
	heap, plain := newTimers(services), map[int32]Time{}
	for range 20_000 {
		i, kind := r.Int32N(services), timerKind(r.IntN(int(nTimers)))
		key := i*int32(nTimers) + int32(kind)
		switch r.IntN(4) {
		case 0, 1:
			at := Time(1 + r.IntN(50))
			heap.arm(i, kind, at)
			plain[key] = at
		case 2:
			heap.cancel(i, kind)
			delete(plain, key)
		case 3:
			checkPop(t, &heap, plain, Time(r.IntN(50)))
		}
		if got := heap.at(i, kind); got != plain[key] {
			t.Fatalf("timer %d ends at %d, should be %d", key, got, plain[key])
		}
	}
}

// checkPop compares the earliest timer: the lowest key among those that end first.
func checkPop(t *testing.T, heap *timers, plain map[int32]Time, now Time) {
	t.Helper()
	best := int32(-1)
	for key, at := range plain {
		if best < 0 || at < plain[best] || at == plain[best] && key < best {
			best = key
		}
	}
	i, kind, ok := heap.pop(now)
	if want := best >= 0 && plain[best] <= now; ok != want {
		t.Fatalf("pop says %t, should be %t", ok, want)
	}
	if !ok {
		return
	}
	if got := i*int32(nTimers) + int32(kind); got != best {
		t.Fatalf("pop gives %d, should be %d", got, best)
	}
	delete(plain, best)
}

// TestRankSet compares the bitset with a plain set, over the bounds of its words.
func TestRankSet(t *testing.T) {
	t.Parallel()
	const n = 64*64 + 130
	r := rand.New(rand.NewPCG(3, 4))
	set, plain := newRankSet(n), map[int32]bool{}
	for range 20_000 {
		rank := r.Int32N(n)
		if r.IntN(3) == 0 {
			rank = []int32{0, 63, 64, 4095, 4096, n - 1}[r.IntN(6)]
		}
		switch r.IntN(5) {
		case 0, 1:
			set.add(rank)
			plain[rank] = true
		case 2:
			set.remove(rank)
			delete(plain, rank)
		case 3:
			checkEnd(t, set.popLowest(), plain, slices.Min)
		case 4:
			checkEnd(t, set.popHighest(), plain, slices.Max)
		}
		if set.count != len(plain) {
			t.Fatalf("%d members, should be %d", set.count, len(plain))
		}
	}
}

func checkEnd(t *testing.T, got int32, plain map[int32]bool, end func([]int32) int32) {
	t.Helper()
	var ranks []int32
	for rank := range plain {
		ranks = append(ranks, rank)
	}
	want := int32(-1)
	if len(ranks) > 0 {
		want = end(ranks)
	}
	if got != want {
		t.Fatalf("took out %d, should be %d", got, want)
	}
	delete(plain, want)
}

// TestTenThousand boots, restarts the bottom of, and shuts down 10,000 services as a chain, in layers and as a fan: no queue
// overflows, nothing is left (0.3.9 hangs with more than 256 dependents and with a chain of 300).
func TestTenThousand(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*graph.Graph{"chain": chainGraph(), "layers": layersGraph(), "fan": fanGraph()} {
		t.Run(name, func(t *testing.T) {
			m := New(g, Options{})
			boot(t, m)
			bottom, _ := g.Lookup(numbered(0))
			obey(m, m.Step(1e9, Asked{Verb: VerbRestart, IDs: []graph.ID{bottom}}))
			for i := range m.services {
				if s := &m.services[i]; s.state != Running {
					t.Fatalf("after the restart of %s %s is %s", numbered(0), s.name, s.state)
				}
			}
			if err := verify(m); err != nil {
				t.Fatal(err)
			}
			obey(m, m.Step(2e9, ShutdownAsked{}))
			if !m.Halted() {
				t.Error("no end")
			}
		})
	}
}

// obey answers every Spawn and Stop at once.
func obey(m *Machine, actions []Action) {
	var queue []Event
	take := func(actions []Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case Spawn:
				queue = append(queue, Spawned{a.Gen, 7})
			case Stop:
				queue = append(queue, ProcessExited{Gen: a.Gen, Status: Status{Signal: 15}})
			}
		}
	}
	take(actions)
	for at := 0; at < len(queue); at++ {
		take(m.Step(m.now, queue[at]))
	}
}

// TestRefusedReloadChangesNothing: RefuseReload only looks.
func TestRefusedReloadChangesNothing(t *testing.T) {
	t.Parallel()
	g := graph.New([]*graph.Config{conf("a", nil), conf("b", nil)}, nil)
	m := New(g, Options{})
	boot(t, m)
	before := m.Hash()
	rivals := graph.New([]*graph.Config{conf("a", func(c *graph.Config) { c.Deps.Conflicts = []string{"b"} }), conf("b", nil)}, nil)
	if m.RefuseReload(rivals) == nil {
		t.Error("two running services that would conflict must refuse the reload")
	}
	if m.RefuseReload(g) != nil {
		t.Error("the same definitions are fine")
	}
	if m.Hash() != before {
		t.Error("asking changed something")
	}
}

// TestTimeGoesBack: a driver that lets time go back is broken, and the machine says so instead of guessing.
func TestTimeGoesBack(t *testing.T) {
	t.Parallel()
	m := New(graph.New(nil, nil), Options{})
	m.Step(5, Loaded{})
	defer func() {
		if recover() == nil {
			t.Error("nobody noticed")
		}
	}()
	m.Step(4, Ticked{})
}
