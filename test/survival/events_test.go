package survival

import (
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
)

// TestEventNumbers: no number is given out twice, whatever dies, and a client that asks from its number goes on.
func TestEventNumbers(t *testing.T) {
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1"})
	s.AwaitState(s.Client(), "one", "running")
	var next uint64
	seen := map[uint64]string{}
	for round := range 6 {
		c := s.Client()
		if _, err := c.Restart(ctx, "one", rpc.Change{Wait: true}); err != nil {
			t.Fatal(err)
		}
		evs, err := c.Events(ctx, next, 1000)
		if err != nil || len(evs.Events) == 0 {
			t.Fatalf("round %d: %d events, %v", round, len(evs.Events), err)
		}
		for _, e := range evs.Events {
			if e.Seq < next || seen[e.Seq] != "" {
				t.Errorf("round %d: event %d again, from %d", round, e.Seq, next)
			}
			seen[e.Seq] = e.Service
		}
		if evs.Next <= next {
			t.Errorf("round %d: next %d after %d", round, evs.Next, next)
		}
		next = evs.Next
		killServer(t, s, serverPIDOf(t, c))
	}
}
