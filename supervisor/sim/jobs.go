package sim

import (
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
	"github.com/zinit/zinit/supervisor/machine"
)

// wallClock is the truth about the wall clock of a world.
type wallClock struct {
	offset Time // since 1970, less the world's time
	zone   *time.Location
}

// wallBegins is what the wall clock may show when a world begins: at noon, before the clock goes forward and back in
// changingZone, before a 29 February.
var wallBegins = [...]time.Time{
	time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
	time.Date(2027, 3, 28, 0, 59, 20, 0, time.UTC),
	time.Date(2027, 10, 31, 0, 59, 20, 0, time.UTC),
	time.Date(2028, 2, 28, 23, 59, 20, 0, time.UTC),
}

// changingZone is a zone with summer time, as tzfile(5) has it: nothing but the rule that is in force for ever.
var changingZone = func() *time.Location {
	header := "TZif2" + string(make([]byte, 15)) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04"
	block := "\x00\x00\x0e\x10\x00\x00CET\x00"
	zone, err := time.LoadLocationFromTZData("Europe/Berlin", []byte(header+block+header+block+"\nCET-1CEST,M3.5.0,M10.5.0/3\n"))
	if err != nil {
		panic(err)
	}
	return zone
}()

var localZones = [...]*time.Location{time.UTC, changingZone, time.FixedZone("Asia/Kolkata", 5*3600+1800)}

func drawWall(b *blueprint) wallClock {
	r := newRng(b.seed, 26)
	begin := wallBegins[r.n(len(wallBegins))]
	return wallClock{Time(begin.UnixNano()) - loadedAt, localZones[r.n(len(localZones))]}
}

// setClock sets the wall clock or changes the zone. The driver hears of it a little later.
func (w *World) setClock(o *op) {
	if o.arg == 0 {
		w.wall.zone = localZones[o.number%len(localZones)]
	} else {
		w.wall.offset += o.length
	}
	w.tracer.line("  ~ the wall clock is set")
	w.push(item{at: w.now + Time(o.arg)*500*microsecond, what: hClock})
}

// drawStepOfClock draws by how much the wall clock is set.
func drawStepOfClock(r *rng) Time {
	const year = 365 * 24 * 60 * minute
	by := choose(r, r.between(0, second), r.between(0, 2*minute), r.between(0, 3*60*minute), year)
	return choose(r, by, -by)
}

// tellClock tells the machine what the wall clock shows.
func (w *World) tellClock() {
	if w.b.swarm.jobs > 0 {
		w.step(machine.ClockSet{Wall: int64(w.now + w.wall.offset), Local: w.wall.zone})
	}
}

// lastRuns is what a history of earlier days says of some jobs, nil without jobs.
func (w *World) lastRuns() map[string]int64 {
	var ran map[string]int64
	for _, s := range w.services {
		r := newRng(w.seed, 27, uint64(s.index))
		if !s.present || len(s.config.Schedules) == 0 || r.chance(400) {
			continue
		}
		if ran == nil {
			ran = map[string]int64{}
		}
		ran[s.name] = int64(loadedAt + w.wall.offset - choose(&r, r.between(0, 10*second), r.between(0, 5*60*minute), -r.between(1, 60*minute)))
	}
	return ran
}

// isJob reports whether a service has a schedule in its first version, unless it is a target.
func (b *blueprint) isJob(i int) bool {
	r := newRng(b.seed, 24, uint64(i))
	return r.chance(b.swarm.jobs)
}

// schedule gives a oneshot its schedules; later versions may change them, take them away or bring the first.
func (b *blueprint) schedule(c *graph.Config, i, version int) {
	if b.swarm.jobs == 0 || !c.Oneshot || c.Target {
		return
	}
	r := newRng(b.seed, 25, uint64(i), uint64(version))
	job := b.isJob(i)
	switch {
	case version == 0 || r.chance(700):
		r = newRng(b.seed, 25, uint64(i), 0)
	case job == r.chance(250):
		return
	default:
		job = true
	}
	for range 1 + r.n(5)/4 {
		if job {
			c.Schedules = append(c.Schedules, b.drawSchedule(&r))
		}
	}
}

// drawSchedule draws one, dense enough to be due some times while a world lasts.
func (b *blueprint) drawSchedule(r *rng) graph.Schedule {
	pace := 0 // 2 in worlds that last for minutes
	if length := b.swarm.tempo * Time(b.swarm.ops); length > 8*second {
		pace = 1 + int(min(length/(80*second), 1))
	}
	pick := pace + r.n(3)

	s := graph.Schedule{Keep: 1, Overlap: choose(r, graph.OverlapSkip, graph.OverlapQueue, graph.OverlapReplace), CatchUp: r.chance(500)}
	var err error
	switch s.Kind = choose(r, graph.ScheduleCron, graph.ScheduleCron, graph.ScheduleCalendar, graph.ScheduleEvery, graph.ScheduleBoot); s.Kind {
	case graph.ScheduleCron:
		s.Text = [...]string{"* * * * * *", "*/5 * * * * *", "7,9 * * * * *", "*/20 * 2 * * *", "* * * * *"}[pick]
		s.When, err = calendar.ParseCron(s.Text)
	case graph.ScheduleCalendar:
		s.Text = [...]string{"*:*:0/3", "*:*:5/10", "*:*:10/25", "*:0/1", "*-02-29 00:00:10"}[pick]
		s.When, err = calendar.ParseCalendar(s.Text, nil)
	case graph.ScheduleEvery:
		s.Interval = time.Duration([...]Time{900 * millisecond, 3 * second, 9 * second, 25 * second, 70 * second}[pick])
		s.FromEnd = r.chance(400)
	case graph.ScheduleBoot:
		s.Interval = time.Duration(choose(r, 0, 300*millisecond, 5*second))
	}
	if err != nil {
		panic(err)
	}
	if r.chance(300) {
		s.Jitter = time.Duration(choose(r, 200*millisecond, 4*second))
	}
	return s
}
