package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	flagRaw   = flag.Bool("raw", false, "let panics pass, to see where they come from")
	flagSeeds = flag.Int("seeds", 4000, "how many worlds to try")
	flagSeed  = flag.Uint64("seed", 0, "the first seed; without -seeds only this one, with its trace")
)

// TestSeeds plays many worlds. On a failure it prints the seed, the smallest world that still fails, what happened in it,
// and the same as a script for supervisor/machine.
func TestSeeds(t *testing.T) {
	first, count := *flagSeed, *flagSeeds
	if first != 0 && !isSet("seeds") {
		replay(t, Options{Seed: first})
		return
	}
	began := time.Now()
	failed, steps := hunt(Options{}, max(first, 1), count)
	for _, seed := range failed {
		report(t, Options{Seed: seed})
	}
	elapsed := time.Since(began)
	t.Logf("%d worlds, %d steps, %.0f worlds/s, %.0f steps/s", count, steps, float64(count)/elapsed.Seconds(),
		float64(steps)/elapsed.Seconds())
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// hunt plays worlds on all processors and returns up to three seeds that fail, lowest first as far as known.
func hunt(o Options, first uint64, count int) (failed []uint64, steps int64) {
	var next, total atomic.Int64
	var mu sync.Mutex
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				mu.Lock()
				enough := len(failed) >= 3
				mu.Unlock()
				if i >= int64(count) || enough {
					return
				}
				mine := o
				mine.Seed = first + uint64(i)
				r := Run(mine)
				total.Add(int64(r.Steps))
				if r.Failure != nil {
					mu.Lock()
					failed = append(failed, mine.Seed)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return failed, total.Load()
}

// replay plays one world and prints it.
func replay(t *testing.T, o Options) {
	t.Helper()
	o.Trace, o.Raw = true, *flagRaw
	r := Run(o)
	t.Logf("seed %d:\n%s", o.Seed, r.Trace)
	if r.Failure != nil {
		report(t, o)
	}
}

// report shrinks a failing world and prints it.
func report(t *testing.T, o Options) {
	t.Helper()
	was := Run(o)
	small, r := Shrink(o, 3000)
	if r.Failure == nil {
		t.Errorf("seed %d fails: %s, and the smaller world does not fail again", o.Seed, describeFailure(was))
		return
	}
	t.Errorf("seed %d: %s\nsmallest world (%d things left out): %s\n%s\nas a script for testdata/machine:\n%s", o.Seed,
		describeFailure(was), small.Mask.count(), describeFailure(r), r.Trace, r.Script)
}

func describeFailure(r Result) string {
	if r.Failure == nil {
		return "no failure"
	}
	return fmt.Sprintf("%s: %s (step %d, at %s)", r.Failure.Check, r.Failure.Detail, r.Failure.Step, duration(r.Failure.At))
}

// TestRegressions plays the seeds that found a bug once.
func TestRegressions(t *testing.T) {
	t.Parallel()
	for _, seed := range regressionSeeds(t) {
		if r := Run(Options{Seed: seed}); r.Failure != nil {
			report(t, Options{Seed: seed})
		}
	}
}

// regressionSeeds reads testdata/seeds.txt of the module: a seed a line, # begins a comment.
func regressionSeeds(t *testing.T) (seeds []uint64) {
	t.Helper()
	data, err := os.ReadFile("../../testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		seed, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.txt:%d: not a seed: %s", n+1, line)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// TestSameSeedSameBytes is I14.
func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		a, b := Run(Options{Seed: seed, Trace: true}), Run(Options{Seed: seed, Trace: true})
		if string(a.Trace) != string(b.Trace) || a.Hash != b.Hash || string(a.Script) != string(b.Script) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
		if c := Run(Options{Seed: seed}); c.Hash != a.Hash || c.Steps != a.Steps {
			t.Fatalf("seed %d: tracing changes the run", seed)
		}
	}
}

// BenchmarkSeeds measures whole worlds with all checks.
func BenchmarkSeeds(b *testing.B) {
	seed, steps := uint64(1), 0
	for b.Loop() {
		steps += Run(Options{Seed: seed}).Steps
		seed++
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "worlds/s")
}
