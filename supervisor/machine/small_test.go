package machine

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

// TestEventKinds: each event has a kind of its own, and every kind has its event.
func TestEventKinds(t *testing.T) {
	events := []Event{Loaded{}, Asked{}, Cancelled{}, Prechecked{}, Spawned{}, SpawnFailed{}, Readied{}, Probed{}, Extended{}, StoppingSelf{}, MainChanged{},
		ProcessExited{}, TreeEmpty{}, HookDone{}, Vanished{}, Adopted{}, Resumed{}, Ticked{}, Reloaded{}, ShutdownAsked{}, ClockSet{}}
	if len(events) != int(nEvents) {
		t.Errorf("%d events, %d kinds", len(events), nEvents)
	}
	for i, ev := range events {
		if ev.kind() != EventKind(i) {
			t.Errorf("%T is of kind %d, want %d", ev, ev.kind(), i)
		}
	}
}

// TestUnknownNumbers are question marks, not a panic: a record may be of a newer version.
func TestUnknownNumbers(t *testing.T) {
	for what, text := range map[string]string{"state": State(250).String(), "phase": Phase(250).String(), "cause": Cause(len(causeNames)).String(),
		"input": nInputs.String()} {
		if text != "?" {
			t.Errorf("an unknown %s is %s", what, text)
		}
	}
	if Cause(len(causeNames)-1).String() == "?" || (nInputs-1).String() == "?" {
		t.Error("the last one is unknown")
	}
	names := map[string]Bugs{}
	Bugs(0).Each(func(b Bugs, name string) { names[name] = b })
	all := Bugs(0)
	for _, b := range names {
		all |= b
	}
	if all != BugsAll || names["double kill"] != BugDoubleKill {
		t.Errorf("%d bugs, all together %b", len(names), all)
	}
}

// TestHashTellsApart: every member of a record counts, but what only explains.
func TestHashTellsApart(t *testing.T) {
	hash := func(r Record) uint64 {
		h := hasher(1)
		h.record(r)
		return uint64(h)
	}
	full := Record{Name: "ab", Job: []int64{1, 2}, Extra: []int64{1, 2, 3, 4, 5, 6}}
	seen := map[uint64]string{hash(full): "nothing"}
	var visit func(v reflect.Value, path string)
	visit = func(v reflect.Value, path string) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		defer func() { v.Set(was) }()
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Slice:
			v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)) // its own memory
			for i := range v.Len() {
				visit(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
			}
			return
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int32, reflect.Int64:
			v.SetInt(v.Int() + 256)
		case reflect.Uint8:
			v.SetUint(v.Uint() + 100)
		case reflect.Uint32, reflect.Uint64:
			v.SetUint(v.Uint() + 1<<20)
		default:
			return
		}
		explains := path == ".LastProbe" || path == fmt.Sprintf(".Extra[%d]", extraDueCause)
		if same := seen[hash(full)]; (same == "nothing") != explains || same != "" && same != "nothing" {
			t.Errorf("%s: its hash is that of %q", path, same)
		}
		if !explains {
			seen[hash(full)] = path
		}
	}
	visit(reflect.ValueOf(&full).Elem(), "")
	if len(seen) < 45 {
		t.Errorf("only %d members were tried", len(seen))
	}
	for a, b := range map[string]string{"ab": "ba", "a": "a\x00", "": "\x00"} {
		x, y := hasher(1), hasher(1)
		if x.text(a); true {
			y.text(b)
		}
		if x == y {
			t.Errorf("%q and %q are the same", a, b)
		}
	}
	// And the whole machine: what is asked, and the globals.
	m := New(graph.New([]*graph.Config{{Name: "a"}, {Name: "b"}}, nil), Options{})
	hashes := map[uint64]bool{m.Hash(): true}
	for what, change := range map[string]func(){
		"a service": func() { m.services[0].restarts++ }, "a request": func() { m.requests = append(m.requests, request{}) },
		"its number": func() { m.requests[0].req++ }, "its service": func() { m.requests[0].service++ }, "its verb": func() { m.requests[0].verb++ },
		"whether it waits": func() { m.requests[0].wait = true }, "its deadline": func() { m.requests[0].deadline++ }, "the generation": func() { m.nextGen++ },
		"the shutdown": func() { m.shutting = true }, "its end": func() { m.halted = true }, "its force": func() { m.forced = true }, "the code": func() { m.haltCode++ },
	} {
		if len(m.requests) == 0 {
			m.requests = append(m.requests, request{req: 9})
			hashes[m.Hash()] = true
		}
		change()
		if h := m.Hash(); hashes[h] {
			t.Errorf("%s does not count", what)
		} else {
			hashes[h] = true
		}
	}
}

// TestRecordFlags are the bits that are recorded.
func TestRecordFlags(t *testing.T) {
	for f, want := range map[flag][3]bool{0: {}, flagHadProcess: {true, false, false}, flagMainGone: {false, true, false}, flagLeft: {false, false, true},
		flagsRecorded: {true, true, true}, flagsRecorded &^ (flagHadProcess | flagMainGone | flagLeft): {}} {
		r := Record{Flags: uint32(f)}
		if got := [3]bool{r.HadProcess(), r.MainGone(), r.Leftovers()}; got != want {
			t.Errorf("%b: %v, want %v", f, got, want)
		}
	}
}

// TestReadyByFile only where nothing else says when it is ready.
func TestReadyByFile(t *testing.T) {
	for what, c := range map[string]struct {
		config graph.Config
		want   bool
	}{
		"a pid file": {graph.Config{PIDFile: "/x"}, true}, "none": {graph.Config{}, false},
		"notify": {graph.Config{PIDFile: "/x", Ready: graph.Ready{Kind: graph.ReadyNotify}}, false},
		"check":  {graph.Config{PIDFile: "/x", Health: &graph.Health{}}, false}, "oneshot": {graph.Config{PIDFile: "/x", Oneshot: true}, false},
		"target": {graph.Config{PIDFile: "/x", Target: true}, false},
	} {
		if ReadyByFile(&c.config) != c.want {
			t.Errorf("%s: %v", what, !c.want)
		}
	}
}

// TestStatuses: what counts as a success, and what a service passes on when its end ends everything.
func TestStatuses(t *testing.T) {
	for status, want := range map[Status]bool{{}: true, {Code: 1}: false, {Signal: 9}: false, {Unknown: true}: false, {Core: true}: true} {
		if exitedZero(status) != want {
			t.Errorf("%+v: %v", status, !want)
		}
	}
	for _, c := range []struct {
		state  State
		ran    bool
		status Status
		reason ReasonType
		want   int
	}{
		{Exited, true, Status{}, 0, 0}, {Exited, true, Status{Code: 7}, 0, 7}, {Exited, true, Status{Signal: 15}, 0, 143}, {Exited, true, Status{Unknown: true}, 0, 1},
		{Failed, false, Status{}, 0, 1}, {Failed, true, Status{Code: 3}, ReasonExitCode, 3}, {Failed, true, Status{Signal: 6}, ReasonSignal, 134},
		{Failed, true, Status{Code: 3}, ReasonDependencyFailed, 1}, {Failed, false, Status{Code: 3}, ReasonExitCode, 1},
	} {
		s := New(graph.New([]*graph.Config{{Name: "a"}}, nil), Options{}).services[0]
		s.state, s.lastExit, s.reason = c.state, LastExit{Valid: c.ran, Status: c.status}, Reason{Type: c.reason}
		if got := exitCode(&s); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	for _, c := range []struct {
		pid, word int
		want      bool
	}{{5, 5, false}, {5, 6, true}, {0, 6, false}, {5, 0, false}} {
		if got := stale(&service{pid: c.pid}, ProcessExited{PID: c.word}); got != c.want {
			t.Errorf("main %d, the word names %d: %v", c.pid, c.word, got)
		}
	}
	m := &Machine{now: 100 + Time(daemonWindow)}
	for at, want := range map[Time]bool{99: false, 100: true, 101: true} {
		if m.early(&service{spawnedAt: at}) != want {
			t.Errorf("from %d: %v", at, !want)
		}
	}
}

// TestViewOfAJob: what is queued, what is next, and whose incarnation is whose.
func TestViewOfAJob(t *testing.T) {
	c := &graph.Config{Name: "j", Oneshot: true, Schedules: []graph.Schedule{{Kind: graph.ScheduleEvery, Interval: time.Hour, Jitter: time.Minute},
		{Kind: graph.ScheduleEvery, Interval: time.Hour}}}
	m := New(graph.New([]*graph.Config{c}, nil), Options{})
	s := &m.services[0]
	if s.job == nil {
		t.Fatal("no job")
	}
	s.job.queued = 2
	s.job.at = []Time{500, 400}
	if info := m.Info(0); !info.Job || info.Queued != 2 || info.InLine || info.NextRun != 400 || info.NextJitter != 0 {
		t.Errorf("%+v", info)
	}
	s.job.waiting, s.job.at[0] = true, 400
	if info := m.Info(0); info.Queued != 3 || !info.InLine || info.NextRun != 400 || info.NextJitter != m.jitter(s, &c.Schedules[0]) || info.NextJitter == 0 {
		t.Errorf("%+v", info)
	}
	s.job.at[1] = 0
	if info := m.Info(0); info.NextRun != 400 {
		t.Errorf("%+v", info)
	}
	if j := m.jitter(s, &c.Schedules[0]); j < 0 || j >= int64(time.Minute) {
		t.Errorf("jitter %d", j)
	}
	m.shutting = true
	if info := m.Info(0); info.NextRun != 0 {
		t.Error("a run after the end")
	}
	if m.Config(0) != c || m.Len() != 1 {
		t.Error("another definition")
	}
	s.gen = 7
	m.gens[7], m.gens[8] = 0, 0
	for gen, want := range map[Gen]bool{7: true, 8: false, 9: false} {
		id, ok := m.ByGen(gen)
		if ok != want || want && id != 0 || !want && id != graph.None {
			t.Errorf("%d is of %d, %v", gen, id, ok)
		}
	}
}
