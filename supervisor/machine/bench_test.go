package machine

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

const benchServices = 10_000

func numbered(n int) string {
	s := strconv.Itoa(n)
	return "s00000"[:6-len(s)] + s
}

// chainGraph: every service requires the one before.
func chainGraph() *graph.Graph {
	var list []*graph.Config
	for i := range benchServices {
		c := conf(numbered(i), nil)
		if i > 0 {
			c.Deps.Requires = []string{numbered(i - 1)}
		}
		list = append(list, c)
	}
	return graph.New(list, nil)
}

// layersGraph: ten layers, three edges each to the layer before.
func layersGraph() *graph.Graph {
	const width = benchServices / 10
	var list []*graph.Config
	for i := range benchServices {
		c := conf(numbered(i), nil)
		if layer := i / width; layer > 0 {
			for k := range 3 {
				c.Deps.Requires = append(c.Deps.Requires, numbered((layer-1)*width+(i*7+k*13)%width))
			}
		}
		list = append(list, c)
	}
	return graph.New(list, nil)
}

// fanGraph: one target requires all.
func fanGraph() *graph.Graph {
	list := []*graph.Config{conf("all", func(c *graph.Config) { c.Target = true })}
	for i := range benchServices {
		list = append(list, conf(numbered(i), nil))
		list[0].Deps.Requires = append(list[0].Deps.Requires, numbered(i))
	}
	return graph.New(list, nil)
}

// boot starts everything, answering each Spawn with the next event, and returns the number of steps.
func boot(b testing.TB, m *Machine) int {
	var queue []Gen
	take := func(actions []Action) {
		for _, a := range actions {
			if s, ok := a.(Spawn); ok {
				queue = append(queue, s.Gen)
			}
		}
	}
	steps := 1
	take(m.Step(1, Loaded{}))
	for at := 0; at < len(queue); at++ {
		take(m.Step(Time(at+2), Spawned{queue[at], at + 2}))
		steps++
	}
	for i := range m.services {
		if s := &m.services[i]; s.state != Running {
			b.Fatalf("%s is %s", s.name, s.state)
		}
	}
	return steps
}

// benchmarkBoot starts all services of g from New to the last Spawned. cpu-ms is what counts on a busy machine: the
// time of this process, garbage collection included.
func benchmarkBoot(b *testing.B, g *graph.Graph) {
	b.ReportAllocs()
	began := cpuTime(b)
	for b.Loop() {
		boot(b, New(g, Options{}))
	}
	b.ReportMetric(float64(cpuTime(b)-began)/1e6/float64(b.N), "cpu-ms/op")
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkStartChain(b *testing.B)  { benchmarkBoot(b, chainGraph()) }
func BenchmarkStartLayers(b *testing.B) { benchmarkBoot(b, layersGraph()) }
func BenchmarkStartFan(b *testing.B)    { benchmarkBoot(b, fanGraph()) }

// BenchmarkSteps: a service that crashes and is restarted among 100: exit, deadline, spawn answer.
func BenchmarkSteps(b *testing.B) {
	var list []*graph.Config
	for i := range 100 {
		list = append(list, conf(numbered(i), func(c *graph.Config) { c.Lifecycle.MaxRestarts = 0 }))
	}
	m := New(graph.New(list, nil), Options{})
	boot(b, m)
	now, steps, at := Time(1e6), 0, graph.ID(0)
	b.ReportAllocs()
	for b.Loop() {
		at = (at + 1) % 100
		m.Step(now, ProcessExited{Gen: m.Info(at).Gen, Status: Status{Code: 1}})
		deadline, ok := m.Deadline()
		if !ok {
			b.Fatal("no restart deadline")
		}
		now = deadline
		m.Step(now, Ticked{})
		now += 40e9 // a stable run
		m.Step(now, Spawned{m.Info(at).Gen, 7})
		now += 40e9
		m.ClearDirty()
		steps += 3
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkStopFan: shutdown of everything, answered at once.
func BenchmarkShutdownLayers(b *testing.B) {
	g := layersGraph()
	for b.Loop() {
		b.StopTimer()
		m := New(g, Options{})
		boot(b, m)
		b.StartTimer()
		var queue []Gen
		take := func(actions []Action) {
			for _, a := range actions {
				if s, ok := a.(Stop); ok {
					queue = append(queue, s.Gen)
				}
			}
		}
		take(m.Step(1e9, ShutdownAsked{}))
		for at := 0; at < len(queue); at++ {
			take(m.Step(1e9, ProcessExited{Gen: queue[at], Status: Status{Signal: 15}}))
		}
		if !m.Halted() {
			b.Fatal("not halted")
		}
	}
}
