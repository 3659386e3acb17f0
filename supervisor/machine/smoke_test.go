package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

func conf(name string, f func(*graph.Config)) *graph.Config {
	c := &graph.Config{Name: name}
	c.Lifecycle = graph.Lifecycle{RestartDelay: time.Second, RestartDelayMax: 300 * time.Second, MaxRestarts: 10, StabilityPeriod: 30 * time.Second, StartTimeout: 30 * time.Second, StopTimeout: 10 * time.Second, StopSignal: 15}
	if f != nil {
		f(c)
	}
	return c
}

func TestSmoke(t *testing.T) {
	g := graph.New([]*graph.Config{conf("a", nil), conf("b", func(c *graph.Config) { c.Deps.Requires = []string{"a"} })}, nil)
	m := New(g, Options{})
	show := func(a []Action) {
		for _, x := range a {
			t.Logf("%s", fmt.Sprintf("%T %+v", x, x))
		}
	}
	show(m.Step(1, Loaded{}))
	show(m.Step(2, Spawned{1, 100}))
	show(m.Step(3, Spawned{2, 101}))
	show(m.Step(4, Asked{Req: 1, Verb: VerbRestart, IDs: []graph.ID{0}, Wait: true}))
	show(m.Step(5, ProcessExited{Gen: 2, Status: Status{Signal: 15}}))
	show(m.Step(6, ProcessExited{Gen: 1, Status: Status{Signal: 15}}))
	show(m.Step(7, Spawned{3, 103}))
	show(m.Step(8, Spawned{4, 104}))
	show(m.Step(9, ProcessExited{Gen: 3, Status: Status{Code: 1}}))
	show(m.Step(1e9+9, Ticked{}))
	show(m.Step(2e9, ShutdownAsked{}))
	show(m.Step(2e9, ProcessExited{Gen: 4, Status: Status{Signal: 15}}))
	show(m.Step(2e9, Spawned{Gen: 5, PID: 4}))
	show(m.Step(2e9, ProcessExited{Gen: 5, Status: Status{Signal: 15}}))
}
