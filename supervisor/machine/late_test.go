package machine

import (
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

// TestLateExit: a run is judged by when it ended, not by when that was learned: after a crash of the server a short run
// must not count as a stable one.
func TestLateExit(t *testing.T) {
	for _, c := range []struct {
		name     string
		at       Time
		restarts int
	}{
		{"short, learned late", Time(2 * time.Second), 3},
		{"long", Time(50 * time.Second), 1},
		{"learned at once", 0, 1},
	} {
		m := New(graph.New([]*graph.Config{conf("a", func(c *graph.Config) {
			c.Lifecycle.RestartDelay, c.Lifecycle.RestartDelayMax, c.Lifecycle.MaxRestarts = time.Second, time.Second, 0
			c.Lifecycle.StabilityPeriod = 10 * time.Second
		})}, nil), Options{})
		now := Time(time.Second)
		step := func(ev Event) (gen Gen) {
			for _, a := range m.Step(now, ev) {
				if s, ok := a.(Spawn); ok {
					gen = s.Gen
				}
			}
			return gen
		}
		gen := step(Loaded{})
		for range 2 { // two short runs
			step(Spawned{Gen: gen, PID: 100})
			now += Time(time.Second)
			step(ProcessExited{Gen: gen, PID: 100, Status: Status{Code: 1}})
			now += Time(2 * time.Second)
			gen = step(Ticked{})
		}
		step(Spawned{Gen: gen, PID: 101})
		at := c.at
		if at != 0 {
			at += now
		}
		now += Time(100 * time.Second)
		step(ProcessExited{Gen: gen, PID: 101, Status: Status{Code: 1}, At: at})
		info := m.Info(0)
		if info.Restarts != c.restarts || info.LastExit.At != max(at, 0) && at != 0 {
			t.Errorf("%s: %d restarts, want %d; last exit at %d, want %d", c.name, info.Restarts, c.restarts, info.LastExit.At, at)
		}
	}
}
