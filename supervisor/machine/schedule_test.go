package machine

import (
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
)

// job is a oneshot with one schedule.
func jobConf(name string, s graph.Schedule) *graph.Config {
	return conf(name, func(c *graph.Config) {
		c.Oneshot, c.Schedules = true, []graph.Schedule{s}
		c.Lifecycle.StartTimeout = 0
	})
}

// TestZonesThatChange: a zone that is replaced while the server runs counts at once, the machine's and those that are named.
func TestZonesThatChange(t *testing.T) {
	t.Parallel()
	daily, err := calendar.ParseCron("30 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	own, err := calendar.ParseCalendar("02:30 Asia/Tokyo", time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	zone := func(hours int) *time.Location { return time.FixedZone("X", hours*3600) }
	g := graph.New([]*graph.Config{
		jobConf("local", graph.Schedule{When: daily}),
		jobConf("named", graph.Schedule{When: daily, Timezone: "Europe/Paris", Zone: zone(1)}),
		jobConf("own", graph.Schedule{Kind: graph.ScheduleCalendar, When: own}),
		jobConf("utc", graph.Schedule{When: daily, Timezone: "UTC", Zone: time.UTC}),
	}, nil)
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	m := New(g, Options{})
	check := func(what string, hours ...int) {
		t.Helper()
		for id, h := range hours {
			local := time.Date(2026, 12, 1, 2, 30, 0, 0, zone(h))
			if local.Sub(begin) > 24*time.Hour {
				local = local.AddDate(0, 0, -1)
			}
			if got, want := m.Info(graph.ID(id)).NextRun, Time(second)+Time(local.Sub(begin)); got != want {
				t.Errorf("%s: %s is due after %s, want %s", what, g.Name(graph.ID(id)), time.Duration(got), time.Duration(want))
			}
		}
	}
	m.Step(Time(second), ClockSet{Wall: begin.UnixNano(), Local: zone(0)})
	m.Step(Time(second), Loaded{})
	check("as they were read", 0, 1, 9, 0)
	m.Step(Time(second), ClockSet{Wall: begin.UnixNano(), Local: zone(3),
		Zones: map[string]*time.Location{"Europe/Paris": zone(2), "Asia/Tokyo": zone(8)}})
	check("all were replaced", 3, 2, 8, 0)
}

// TestJobsOfOneSecond: of a thousand jobs that are due at once no more than [jobs] concurrency run, in order of their names.
func TestJobsOfOneSecond(t *testing.T) {
	t.Parallel()
	when, err := calendar.ParseCron("* * * * *")
	if err != nil {
		t.Fatal(err)
	}
	const jobs, limit = 1000, 10
	var configs []*graph.Config
	for n := range jobs {
		configs = append(configs, jobConf("job"+string(rune('0'+n/100))+string(rune('0'+n/10%10))+string(rune('0'+n%10)), graph.Schedule{When: when}))
	}
	g := graph.New(configs, nil)
	m, now := New(g, Options{JobsAtOnce: limit}), Time(second)
	begin := time.Date(2026, 11, 30, 12, 0, 30, 0, time.UTC)
	m.Step(now, ClockSet{Wall: begin.UnixNano(), Local: time.UTC})
	m.Step(now, Loaded{})
	now, _ = m.Deadline()
	var started []string
	var running []Gen
	take := func(actions []Action) {
		for _, a := range actions {
			if a, ok := a.(Spawn); ok {
				started, running = append(started, g.Name(a.ID)), append(running, a.Gen)
			}
		}
	}
	take(m.Step(now, Ticked{}))
	for len(running) > 0 {
		if len(running) > limit {
			t.Fatalf("%d jobs run at once", len(running))
		}
		now += Time(millisecond)
		gen := running[0]
		running = running[1:]
		m.Step(now, Spawned{Gen: gen, PID: int(gen)})
		take(m.Step(now, ProcessExited{Gen: gen}))
	}
	if len(started) != jobs {
		t.Fatalf("%d of %d jobs ran", len(started), jobs)
	}
	for n, name := range started {
		if want := g.Name(graph.ID(n)); name != want {
			t.Fatalf("run %d is of %s, want %s", n, name, want)
		}
	}
}
