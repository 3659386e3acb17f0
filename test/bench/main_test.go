// Package bench measures the workloads of a supervisor beside floors that do the work and nothing else, in the same
// run, interleaved, and prints a table of medians with the targets. `go test ./test/bench -run TestWorkloads
// -bench-workloads` measures; without the flag a few services show that the benchmarks run and check what they ran.
//
// Absolute figures differ from machine to machine, so the ratio to the floor is what counts.
package bench

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	measure   = flag.Bool("bench-workloads", false, "measure; otherwise only a small run that checks the benchmarks")
	only      = flag.String("bench-only", "", "workloads to measure, by comma: W1,W3 (default all)")
	repeat    = flag.Int("bench-repeat", 5, "runs of each workload, of which the median is shown")
	idleFor   = flag.Duration("bench-idle", time.Minute, "how long W4 watches")
	zinitPath = flag.String("bench-binary", "", "zinit binary to measure (default: built from this tree)")
	cgroups   = flag.Bool("bench-cgroups", true, "measure starts with control groups too, where there are any")
	foreign   = flag.Float64("bench-foreign", 0.15, "share of the processors' time that others may take in a run that counts")
	jsonPath  = flag.String("bench-json", "", "file to write every sample to")
	peerPaths peerFlag
)

func init() {
	flag.Var(&peerPaths, "peer", "another supervisor to measure beside: NAME=PATH, NAME being dinit, s6, runit or supervisor; several times")
}

// roleEnv makes the test binary one of the floors.
const roleEnv = "ZINIT_BENCH_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(floorMain(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// sizes are how much is run; the small ones are for a run that only checks.
type sizes struct {
	many, some, few, chain, layer, idle, storm, kills int
	lines, talkers                                    int
	repeat                                            int
	idleFor, stormFor, rateFor                        time.Duration
}

func chosenSizes() sizes {
	if *measure {
		return sizes{many: 1000, some: 100, few: 10, chain: 200, layer: 100, idle: 100, storm: 200, kills: 100, lines: 2_000_000, talkers: 100,
			repeat:  *repeat,
			idleFor: *idleFor, stormFor: 3 * time.Second, rateFor: time.Second}
	}
	return sizes{many: 12, some: 5, few: 3, chain: 5, layer: 3, idle: 3, storm: 3, kills: 3, lines: 3000, talkers: 3, repeat: 1,
		idleFor: 200 * time.Millisecond, stormFor: 300 * time.Millisecond, rateFor: 100 * time.Millisecond}
}

// TestWorkloads runs all workloads and prints the table.
func TestWorkloads(t *testing.T) {
	b := newBench(t)
	b.addPeers(t)
	for _, w := range []struct {
		name string
		run  func(*bench, *testing.T)
	}{
		{"W9 size", (*bench).size}, {"W1 start", (*bench).start}, {"W2 dependencies", (*bench).dependencies},
		{"W3 restart", (*bench).restart}, {"W5 logs", (*bench).logs}, {"W6 queries", (*bench).queries}, {"W8 storm", (*bench).storm},
		{"W4 idle", (*bench).idle},
	} {
		if *only != "" && !strings.Contains(","+*only+",", ","+w.name[:2]+",") {
			continue
		}
		t.Run(w.name, func(t *testing.T) { w.run(b, t) })
	}
	b.print(t)
}
