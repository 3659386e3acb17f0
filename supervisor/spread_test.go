package supervisor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
	"github.com/zinit/zinit/supervisor/machine"
)

// TestJitterSpreadsHosts: a job that all hosts have, such as certbot's twice a day, is spread evenly over its jitter: of 100 hosts,
// by their machine ids, and of one host's 100 jobs. A chi-square test in ten classes, of which 1 in 1,000 even spreads would fail.
func TestJitterSpreadsHosts(t *testing.T) {
	const n, classes, critical = 100, 10, 27.88 // of 9 degrees of freedom
	const jitter = 12 * time.Hour
	when, err := calendar.ParseCalendar("*-*-* 00,12:00:00", time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	at := func(seed uint64, name string) time.Duration {
		c := &graph.Config{Name: name, Oneshot: true, Schedules: []graph.Schedule{{Kind: graph.ScheduleCalendar, When: when, Jitter: jitter, Keep: 1}}}
		m := machine.New(graph.New([]*graph.Config{c}, nil), machine.Options{HostSeed: seed})
		m.Step(1, machine.ClockSet{Wall: begin.Add(-time.Second).UnixNano(), Local: time.UTC})
		m.Step(1, machine.Loaded{})
		return time.Duration(m.Info(0).NextRun-1) - time.Second
	}
	spread := func(what string, late func(i int) time.Duration) {
		t.Helper()
		var counts [classes]int
		for i := range n {
			d := late(i)
			if d < 0 || d >= jitter {
				t.Fatalf("%s: %v late, with a jitter of %v", what, d, jitter)
			}
			counts[int(d*classes/jitter)]++
		}
		sum := 0.0
		for _, k := range counts {
			sum += (float64(k) - n/classes) * (float64(k) - n/classes) / (n / classes)
		}
		if sum > critical {
			t.Errorf("%s: chi-square %.1f, %v", what, sum, counts)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x%016x\n", r.Uint64(), r.Uint64())
	}
	spread("hosts", func(i int) time.Duration { return at(textHash(ids[i]), "certbot") })
	spread("jobs", func(i int) time.Duration { return at(textHash(ids[0]), fmt.Sprintf("job%d", i)) })
	// Ids that were given out one after the other must not come close together either.
	spread("hosts by number", func(i int) time.Duration { return at(textHash(fmt.Sprintf("%032x\n", i)), "certbot") })
	if first, again := at(textHash(ids[3]), "certbot"), at(textHash(ids[3]), "certbot"); first != again {
		t.Error("not the same each time")
	}
}
