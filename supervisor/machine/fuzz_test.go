package machine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

// FuzzMachine turns bytes into definitions and events, also such as no driver would send. Whatever comes, the machine
// must not panic, its books must be right after every Step, and its Notes must chain.
func FuzzMachine(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := playBytes(data); err != nil {
			t.Fatal(err)
		}
	})
}

// fuzzSeeds are the files of testdata/fuzz-machine: inputs that once failed and such that reach far.
func fuzzSeeds(f *testing.F) [][]byte {
	files, err := filepath.Glob("../../testdata/fuzz-machine/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatalf("cannot find the seeds: %v", err)
	}
	var seeds [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, data)
	}
	return seeds
}

// TestRandomBytes plays many random inputs, so that a plain test run is a short fuzzing too.
func TestRandomBytes(t *testing.T) {
	t.Parallel()
	count := 20_000
	if testing.Short() {
		count = 2_000
	}
	for seed := range uint64(count) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 20+r.IntN(400))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		if err := playBytes(data); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// bytes hands out the input; past its end everything is 0.
type source struct{ data []byte }

func (s *source) next() int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b)
}

func (s *source) one(n int) int     { return s.next() % n }
func (s *source) rarely(n int) bool { return s.next()%n == 1 }

var fuzzNames = [...]string{"a", "b", "c", "d", "e", "f"}

// playBytes plays one input.
func playBytes(data []byte) (err error) {
	src := &source{data}
	n := 1 + src.one(5)
	opt := Options{PID1: src.rarely(2)}
	if src.rarely(4) {
		opt.ShutdownTimeout = int64(src.one(8)) * second
	}
	p := newPlayer(bytesGraph(src, n), opt)
	p.trace, p.now = testing.Verbose(), Time(second)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if err != nil && p.trace {
			err = fmt.Errorf("%s%w", p.out.String(), err)
		}
	}()
	if err := p.step(Loaded{}); err != nil {
		return err
	}
	for len(src.data) > 0 {
		if err := bytesEvent(p, src); err != nil {
			return err
		}
		if p.m.Halted() {
			return nil
		}
	}
	return nil
}

func bytesGraph(src *source, n int) *graph.Graph {
	var configs []*graph.Config
	var broken []graph.Broken
	for i := range n {
		name := fuzzNames[i]
		if src.rarely(9) {
			continue
		}
		if src.rarely(20) {
			broken = append(broken, graph.Broken{Name: name})
			continue
		}
		configs = append(configs, conf(name, func(c *graph.Config) { bytesConfig(src, c, i) }))
	}
	return graph.New(configs, broken)
}

func bytesConfig(src *source, c *graph.Config, i int) {
	l := &c.Lifecycle
	c.Target, c.Oneshot = src.rarely(5), src.rarely(4)
	c.Status = graph.Status(max(0, src.one(8)-5))
	l.Restart, l.RestartSet = graph.Restart(src.one(3)), src.rarely(2)
	l.RestartDelay = time.Duration(src.one(3)) * time.Second
	l.RestartDelayMax = 3 * time.Second
	l.MaxRestarts = src.one(4)
	l.StabilityPeriod = time.Duration(src.one(3)) * 2 * time.Second
	l.StartTimeout = time.Duration(src.one(3)) * 3 * time.Second
	l.StopTimeout = 2 * time.Second
	if src.rarely(12) {
		l.OnExit = graph.OnExitShutdown
	}
	if src.rarely(5) && !c.Oneshot {
		c.Ready.Kind = graph.ReadyNotify
	}
	if src.rarely(4) && !c.Oneshot && !c.Target {
		c.Health = &graph.Health{Interval: time.Second, Timeout: time.Second, Retries: 1 + src.one(2), StartPeriod: time.Duration(src.one(2)) * time.Second}
	}
	if src.rarely(6) {
		c.PostStop = graph.Hook{Command: graph.Command{Line: "x"}, Timeout: time.Second}
	}
	if src.rarely(6) && !c.Target {
		c.Ports, c.KillOthers = []uint16{80}, src.rarely(2)
	}
	if src.rarely(8) {
		c.Watchdog = 2 * time.Second
	}
	c.Critical = src.rarely(4)
	for _, list := range []*[]string{&c.Deps.Requires, &c.Deps.Binds, &c.Deps.After, &c.Deps.Wants, &c.Deps.Conflicts} {
		if !src.rarely(2) {
			continue
		}
		to := src.one(6)
		if to >= i && !src.rarely(12) && list != &c.Deps.Conflicts {
			continue // mostly without cycles and missing names
		}
		*list = append(*list, fuzzNames[to])
	}
}

// bytesEvent plays one event. Words name the present incarnation, one in eight an older or unknown one.
func bytesEvent(p *player, src *source) error {
	p.now += Time(src.one(4)) * Time(src.one(5)) * Time(100*millisecond)
	if p.m.Len() == 0 {
		return bytesReload(p, src)
	}
	kind := src.one(32)
	id := graph.ID(src.one(p.m.Len()))
	gen := p.m.Info(id).Gen
	if src.rarely(8) {
		gen -= Gen(src.one(3))
	}
	switch kind {
	case 0, 1, 2, 3, 4, 5:
		return p.step(bytesAsked(p, src, id))
	case 6, 7, 8, 9:
		at, ok := p.m.Deadline()
		if !ok {
			return p.step(Ticked{})
		}
		p.now = max(p.now, at)
		return p.step(Ticked{})
	case 10:
		return bytesReload(p, src)
	case 11:
		return bytesCrash(p, src)
	case 12:
		if src.rarely(6) {
			return p.step(ShutdownAsked{Code: 3, Now: src.rarely(2)})
		}
	}
	return p.step(bytesWord(src, gen))
}

func bytesAsked(p *player, src *source, id graph.ID) Event {
	ev := Asked{Req: ReqID(src.one(20)), Verb: Verb(src.one(5)), IDs: []graph.ID{id}, Sig: graph.Signal(src.one(70)), NoDeps: src.rarely(5), Wait: src.rarely(2)}
	if src.rarely(3) {
		ev.Deadline = p.now + Time(src.one(4))*Time(second)
	}
	if src.rarely(10) {
		ev.IDs = append(ev.IDs, graph.ID(src.one(9)))
	}
	if src.rarely(10) {
		return Cancelled{ev.Req}
	}
	return ev
}

func bytesWord(src *source, gen Gen) Event {
	switch src.one(16) {
	case 0, 1, 2:
		return Spawned{gen, 100 + int(gen)}
	case 3:
		return SpawnFailed{Gen: gen, Kind: "exec", Aborted: src.rarely(2)}
	case 4:
		return Readied{gen}
	case 5:
		return Probed{Gen: gen, OK: src.rarely(2)}
	case 6:
		return Extended{Gen: gen, By: int64(src.one(3)) * second, Watchdog: src.rarely(2), SetWatchdog: int64(src.one(2)) * second, Trigger: src.rarely(6)}
	case 7:
		return MainChanged{gen, 500}
	case 8:
		return TreeEmpty{gen}
	case 9:
		return HookDone{Gen: gen}
	case 10:
		return Vanished{Gen: gen, NeverWas: src.rarely(3), Alive: src.one(2)}
	case 11:
		var c *Conflict
		if src.rarely(3) {
			c = &Conflict{Port: 80, Service: fuzzNames[src.one(6)]}
		}
		return Prechecked{gen, c}
	case 12:
		return Adopted{gen, 600}
	}
	ev := ProcessExited{Gen: gen, Status: Status{Code: int32(src.one(2)), Signal: int32(max(0, src.one(12)-9))}, Alive: max(0, src.one(5)-2)}
	if ev.Alive == 1 && src.rarely(2) {
		ev.Daemon = 700
	}
	return ev
}

func bytesReload(p *player, src *source) error {
	return p.reload(bytesGraph(src, 1+src.one(5)))
}

// bytesCrash restores the machine and says a word, or none, about every incarnation that may have a process.
func bytesCrash(p *player, src *source) error {
	if err := p.crash([]string{p.m.services[0].name}); err != nil {
		return err
	}
	for i := range p.m.services {
		if gen := p.m.services[i].gen; gen != 0 && !src.rarely(3) {
			if err := p.step(bytesWord(src, gen)); err != nil {
				return err
			}
		}
	}
	return p.step(Resumed{})
}

// TestFuzzSeeds: the committed seeds are those of the format that playBytes reads. ZINIT_WRITE_SEEDS=1 makes them anew.
func TestFuzzSeeds(t *testing.T) {
	dir := "../../testdata/fuzz-machine"
	write := os.Getenv("ZINIT_WRITE_SEEDS") != ""
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 120+20*seed)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		file := filepath.Join(dir, "seed"+strconv.Itoa(int(seed))+".bin")
		if write {
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if committed, err := os.ReadFile(file); err != nil || !bytes.Equal(committed, data) {
			t.Errorf("%s is not what seed %d makes (%v); make it anew with ZINIT_WRITE_SEEDS=1", file, seed, err)
		}
	}
}
