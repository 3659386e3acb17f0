package machine

import (
	flags "flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
)

var jobSeeds = flags.Int("job-seeds", 2000, "how many worlds TestJobWorlds plays")

// jobBook is what a world knows of one job, from what happened and never from the machine's own fields.
type jobBook struct {
	config  *graph.Config
	slots   int  // times that were due while it was wanted up
	runs    int  // begun because of one
	left    int  // left out
	asked   int  // begun because an operator asked
	busy    bool // a process lives
	up      bool
	unsure  bool // steps of the clock or a reload came: slots cannot be counted
	lastDue time.Time
}

// jobWorld plays jobs alone: seeded definitions, runs of random length, stops and starts, crashes and steps of the clock.
type jobWorld struct {
	t     *testing.T
	seed  uint64
	r     *rand.Rand
	m     *Machine
	g     *graph.Graph
	now   Time
	wall  int64 // offset
	books map[string]*jobBook
	ends  map[Gen]Time // of living processes

	stops, crashes, steps bool // what happens in this world at all
}

var worldBegin = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func (w *jobWorld) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d at %v: %s", w.seed, time.Duration(w.now), fmt.Sprintf(format, args...))
}

// TestJobWorlds holds the invariants of jobs: never two runs at once, none while it is wanted down, and of every time that
// was due a run, a queued run or an entry that it was left out: under skip none doubled, under queue none lost.
func TestJobWorlds(t *testing.T) {
	for seed := range uint64(*jobSeeds) {
		w := &jobWorld{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), books: map[string]*jobBook{}, ends: map[Gen]Time{}}
		w.play()
	}
}

func (w *jobWorld) play() {
	w.stops, w.crashes, w.steps = w.r.IntN(3) == 0, w.r.IntN(2) == 0, w.r.IntN(4) == 0
	var configs []*graph.Config
	for n := range 1 + w.r.IntN(5) {
		c := conf(fmt.Sprintf("j%d", n), func(c *graph.Config) { c.Oneshot = true })
		c.Lifecycle.StartTimeout = 0
		text := []string{"* * * * * *", "*/5 * * * * *", "0 * * * * *", "7,9,11 */2 * * * *"}[w.r.IntN(4)]
		when, err := calendar.ParseCron(text)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Schedules = []graph.Schedule{{Text: text, When: when, Keep: 1, Overlap: graph.Overlap(w.r.IntN(3))}}
		configs = append(configs, c)
		w.books[c.Name] = &jobBook{config: c, up: true}
	}
	w.g = graph.New(configs, nil)
	w.m, w.now = New(w.g, Options{HostSeed: w.seed}), Time(second)
	w.wall = worldBegin.UnixNano() - int64(w.now)
	w.step(ClockSet{Wall: w.wallNow().UnixNano(), Local: time.UTC})
	for _, b := range w.books {
		b.lastDue = w.wallNow()
	}
	w.step(Loaded{})
	for range 60 {
		w.advance(Time(w.r.Int64N(40 * second)))
		w.trouble()
	}
	w.account()
}

func (w *jobWorld) wallNow() time.Time { return time.Unix(0, int64(w.now)+w.wall).UTC() }

// advance lets the world go on to a time: deadlines and ends of processes in their order.
func (w *jobWorld) advance(by Time) {
	for until := w.now + by; ; {
		next, what := until, Event(nil)
		if at, ok := w.m.Deadline(); ok && at < next {
			next, what = max(at, w.now), Ticked{}
		}
		for gen, at := range w.ends {
			if at < next || at == next && what == nil {
				next, what = max(at, w.now), ProcessExited{Gen: gen, Status: Status{Code: int32(w.r.IntN(2))}}
			}
		}
		w.now = next
		if what == nil {
			return
		}
		if e, ok := what.(ProcessExited); ok {
			w.gone(e.Gen)
		}
		w.step(what)
	}
}

func (w *jobWorld) gone(gen Gen) {
	delete(w.ends, gen)
	if id, ok := w.m.ByGen(gen); ok {
		w.books[w.g.Name(id)].busy = false
	}
}

// trouble does one thing that operators, clocks and kernels do.
func (w *jobWorld) trouble() {
	id := graph.ID(w.r.IntN(w.g.Len()))
	b := w.books[w.g.Name(id)]
	switch kind := w.r.IntN(12); {
	case kind == 0 && w.stops:
		w.countSlots()
		b.up = false
		w.step(Asked{Verb: VerbStop, IDs: []graph.ID{id}})
	case kind == 1 && w.stops:
		w.countSlots()
		if !b.up {
			b.lastDue = w.wallNow()
		}
		b.up = true
		w.step(Asked{Verb: VerbStart, IDs: []graph.ID{id}})
	case (kind == 2 || kind == 3) && w.crashes:
		w.crash()
	case kind == 4 && w.steps:
		w.wall += w.r.Int64N(2*3600*second) - 3600*second
		for _, b := range w.books {
			b.unsure = true
		}
		w.step(ClockSet{Wall: w.wallNow().UnixNano(), Local: time.UTC})
	}
}

// crash restores the machine from its records while processes go on, and lets some time pass meanwhile.
func (w *jobWorld) crash() {
	var recs []Record
	for id := range graph.ID(w.g.Len()) {
		recs = append(recs, w.m.Record(id))
	}
	globals := w.m.Globals()
	w.countSlots()
	before := map[string]int{}
	for name, b := range w.books {
		before[name] = b.slots
	}
	w.now += Time(w.r.Int64N(second / 2))
	w.countSlots()
	w.m = Restore(w.g, Options{HostSeed: w.seed}, recs, globals, nil, w.now)
	w.step(ClockSet{Wall: w.wallNow().UnixNano(), Local: time.UTC})
	for gen := range w.ends {
		w.step(Adopted{Gen: gen, PID: int(100 + gen)})
	}
	for name, b := range w.books {
		b.unsure = b.unsure || b.slots > before[name]+1 // several times in the gap count as one
	}
	w.step(Resumed{})
}

// step feeds one event and judges what comes out.
func (w *jobWorld) step(ev Event) {
	began := map[string]Cause{}
	for _, a := range w.m.Step(w.now, ev) {
		switch a := a.(type) {
		case Note:
			if a.To == Starting {
				began[w.g.Name(a.ID)] = a.Cause
			}
		case LeftOut:
			w.books[w.g.Name(a.ID)].left++
		case Spawn:
			w.spawn(w.books[w.g.Name(a.ID)], w.g.Name(a.ID), a.Gen, began[w.g.Name(a.ID)])
		case Stop:
			if at, ok := w.ends[a.Gen]; ok { // it obeys
				w.ends[a.Gen] = min(at, w.now+Time(w.r.Int64N(second/10)))
			}
		case Kill:
			w.ends[a.Gen] = w.now
		}
	}
	w.m.ClearDirty()
	for gen := range w.ends {
		if id, ok := w.m.ByGen(gen); ok && w.m.Info(id).PID == 0 && w.m.Info(id).State == Starting {
			w.step(Spawned{Gen: gen, PID: int(100 + gen)})
			return
		}
	}
}

func (w *jobWorld) spawn(b *jobBook, name string, gen Gen, cause Cause) {
	switch {
	case b.busy:
		w.fail("%s is spawned beside itself", name)
	case !b.up:
		w.fail("%s is spawned although it is stopped", name)
	case cause == CauseSchedule:
		b.runs++
	default:
		b.asked++
	}
	b.busy = true
	w.ends[gen] = w.now + Time(w.r.Int64N([]int64{second / 2, 3 * second, 90 * second}[w.r.IntN(3)]))
}

// countSlots counts what was due since the last look.
func (w *jobWorld) countSlots() {
	for _, b := range w.books {
		if !b.up {
			continue
		}
		for {
			next, ok := b.config.Schedules[0].When.Next(b.lastDue, time.UTC)
			if !ok || next.After(w.wallNow()) {
				break
			}
			b.slots++
			b.lastDue = next
		}
	}
}

// account holds what became of the due times against their number.
func (w *jobWorld) account() {
	w.advance(Time(second / 2)) // a deadline that has been reached has spoken
	w.countSlots()
	for name, b := range w.books {
		id, _ := w.g.Lookup(name)
		queued := w.m.Info(id).Queued
		if b.unsure {
			continue
		}
		switch b.config.Schedules[0].Overlap {
		case graph.OverlapSkip:
			// A start by hand that found it waiting counts as the run that was due; stops leave out what is due meanwhile.
			if got := b.runs + b.left; got > b.slots+b.asked+b.left || b.runs > b.slots {
				w.fail("%s: %d runs, %d left out, of %d due", name, b.runs, b.left, b.slots)
			}
			if b.asked == 0 && b.up && b.runs+b.left < b.slots {
				w.fail("%s: %d runs and %d left out, but %d were due", name, b.runs, b.left, b.slots)
			}
		case graph.OverlapQueue:
			if b.asked == 0 && b.up && b.runs+queued+b.left < b.slots {
				w.fail("%s: %d runs, %d queued, %d left out, but %d were due", name, b.runs, queued, b.left, b.slots)
			}
		}
	}
}
