package sim

import (
	"flag"
	"testing"
)

var flagModels = flag.Int("models", 3000, "how many worlds to compare with the reference model")

// TestReference compares the machine with the reference model wherever a world without faults comes to rest: after the
// load and after each request.
func TestReference(t *testing.T) {
	t.Parallel()
	rests := 0
	for seed := range uint64(*flagModels) {
		w := newWorld(Options{Seed: 1<<40 + seed})
		rests += compare(w)
		if w.failure != nil {
			o := w.Options
			o.Trace = true
			again := newWorld(o)
			compare(again)
			t.Fatalf("seed %d: %s: %s\n%s", o.Seed, w.failure.Check, w.failure.Detail, again.tracer.text)
		}
	}
	t.Logf("%d worlds agree at %d rests", *flagModels, rests)
}

// compare plays one world and returns how often it came to rest.
func compare(w *World) (rests int) {
	defer func() {
		if r := recover(); r != nil {
			w.fail("panic", panicText(r))
		}
	}()
	w.b.swarm.rate = [nFaults]int{}
	w.load()
	w.heal()
	for i := 0; i <= len(w.b.script) && w.failure == nil; i++ {
		w.settle()
		if w.failure != nil || w.halted {
			break
		}
		w.checker.goals()
		rests++
		if i == len(w.b.script) {
			break
		}
		if o := &w.b.script[i]; o.what <= opReload {
			w.now = max(w.now, o.at) + second
			w.do(o, i)
			w.commit()
		}
	}
	return rests
}
