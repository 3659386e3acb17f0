package sim

import (
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
)

// blueprint is the world as its seed draws it, before anything happens: a pure function of seed and mask.
type blueprint struct {
	seed    uint64
	swarm   swarm
	drawn   swarm // as drawn, without the mask
	mask    Mask
	names   []string // of all services, those that only a reload brings last
	place   []int    // place of a service in an order that all edges follow, so that there is no cycle
	reaches []uint64 // services <= 64: what a service requires or binds, transitively
	script  []op
	configs map[[2]int]*graph.Config
}

// draw makes the blueprint of one seed.
func draw(seed uint64, mask Mask) *blueprint {
	b := &blueprint{seed: seed, mask: mask, swarm: drawSwarm(seed), configs: map[[2]int]*graph.Config{}}
	total := b.swarm.services + b.swarm.extras
	r := newRng(seed, 2)
	b.place = r.shuffle(total)
	for _, k := range r.shuffle(total) {
		b.names = append(b.names, serviceName(k))
	}
	b.close()
	b.script = drawScript(b)
	b.drawn = b.swarm
	b.swarm.apply(&mask) // after the script is drawn, so that its numbering stays
	return b
}

// serviceName is a, b, … or s100: short, because people read them in traces.
func serviceName(k int) string {
	if k < 26 {
		return string(rune('a' + k))
	}
	return "s" + strconv.Itoa(k)
}

// total is the number of services that may ever exist.
func (b *blueprint) total() int { return len(b.names) }

// hasEdge draws whether service i names service j with one kind in one version of its definition.
func (b *blueprint) hasEdge(i, j int, kind graph.Kind, version int) bool {
	r := newRng(b.seed, 3, uint64(i), uint64(j), uint64(kind), uint64(version))
	return r.chance(b.swarm.density[kind])
}

// close computes what each service requires or binds transitively in its first version.
func (b *blueprint) close() {
	n := b.total()
	if n > 64 {
		return
	}
	b.reaches = make([]uint64, n)
	byPlace := make([]int, n)
	for i, p := range b.place {
		byPlace[p] = i
	}
	for _, i := range byPlace {
		for j := range n {
			if b.place[j] < b.place[i] && (b.hasEdge(i, j, graph.KindRequires, 0) || b.hasEdge(i, j, graph.KindBinds, 0)) {
				b.reaches[i] |= b.reaches[j] | 1<<j
			}
		}
	}
}

// config returns one version of a definition. Version 0 is the one at load.
func (b *blueprint) config(i, version int) *graph.Config {
	key := [2]int{i, version}
	if c, ok := b.configs[key]; ok {
		return c
	}
	r := newRng(b.seed, 4, uint64(i))
	c := b.kindOf(&r, i)
	if !c.Target {
		b.lifecycle(&r, c)
		b.checks(&r, c)
		b.rare(c, i)
	}
	edges := 0
	if version > 0 {
		edges = b.vary(c, i, version)
		b.flip(c, i, version)
	}
	b.schedule(c, i, version)
	b.deps(c, i, edges)
	b.configs[key] = c
	return c
}

// kindOf draws what a service is.
func (b *blueprint) kindOf(r *rng, i int) *graph.Config {
	s := &b.swarm
	c := &graph.Config{Name: b.names[i], Source: b.names[i] + ".toml"}
	target, oneshot := r.chance(s.targets), r.chance(s.oneshots)
	status := r.n(1000)
	if target {
		c.Target = true
		return c
	}
	c.Exec = graph.Command{Line: "run " + c.Name}
	c.Oneshot = oneshot || b.isJob(i)
	switch {
	case status < s.statusStop:
		c.Status = graph.StatusStop
	case status < s.statusStop+s.statusIgnore:
		c.Status = graph.StatusIgnore
	}
	if r.chance(s.system) {
		c.Class = graph.ClassSystem
	}
	if r.chance(s.ports) {
		c.Ports = []uint16{uint16(choose(r, 80, 81, 82))}
		c.KillOthers = r.chance(300)
	}
	if r.chance(s.onExit) {
		c.Lifecycle.OnExit = graph.OnExitShutdown
	}
	if r.chance(s.hooks) {
		c.PIDFile = "/run/" + c.Name + ".pid"
	}
	if r.chance(s.hooks) {
		c.PostStop = graph.Hook{Command: graph.Command{Line: "after " + c.Name}, Timeout: 5 * time.Second}
	}
	return c
}

// lifecycle draws timing and restart rules from one of three scales.
func (b *blueprint) lifecycle(r *rng, c *graph.Config) {
	ms := func(list ...int) time.Duration { return time.Duration(choose(r, list...)) * time.Millisecond }
	l := &c.Lifecycle
	l.Restart = choose(r, graph.RestartOnFailure, graph.RestartOnFailure, graph.RestartAlways, graph.RestartNever)
	l.RestartSet = r.chance(500)
	if c.Oneshot && l.RestartSet && l.Restart == graph.RestartAlways {
		l.Restart = graph.RestartOnFailure
	}
	l.RestartDelay = ms(0, 0, 10, 100, 1000)
	l.RestartDelayMax = max(l.RestartDelay, ms(100, 500, 4000))
	l.MaxRestarts = choose(r, 0, 1, 2, 3, 10)
	l.StabilityPeriod = ms(100, 1000, 5000, 30000)
	l.StartTimeout = ms(200, 2000, 10000)
	if c.Oneshot && r.chance(600) || r.chance(100) {
		l.StartTimeout = 0
	}
	l.StopTimeout = ms(50, 500, 3000)
	if b.swarm.timescale == 0 {
		l.StopTimeout = 10 * time.Second
	}
	l.StopSignal = 15
	if r.chance(100) {
		l.SuccessCodes = []int{0, 3}
	}
	if r.chance(30) {
		l.StabilityPeriod = 0
	}
}

// checks draws readiness and health.
func (b *blueprint) checks(r *rng, c *graph.Config) {
	ready, health, dog := r.chance(b.swarm.readyKinds), r.chance(b.swarm.probes), r.chance(b.swarm.watchdogs)
	kind := choose(r, graph.ReadyNotify, graph.ReadyFD)
	ms := func(list ...int) time.Duration { return time.Duration(choose(r, list...)) * time.Millisecond }
	h := &graph.Health{Type: graph.HealthTCP, Target: "127.0.0.1:1", Interval: ms(300, 1000, 5000), Timeout: ms(50, 200),
		Retries: 1 + r.n(3), StartPeriod: ms(0, 0, 500)}
	if c.Oneshot {
		return
	}
	if health {
		c.Health = h
	}
	if ready {
		c.Ready = graph.Ready{Kind: kind}
		if kind == graph.ReadyFD {
			c.Ready.FD = 3
		}
	}
	if dog && kind == graph.ReadyNotify && ready {
		c.Watchdog = ms(200, 1000)
	}
}

// rare draws what few services have.
func (b *blueprint) rare(c *graph.Config, i int) {
	r := newRng(b.seed, 21, uint64(i))
	c.Critical = r.chance(b.swarm.critical)
	if r.chance(b.swarm.filters) {
		c.ProcessFilters = []string{"stranger"}
	}
	if r.chance(b.swarm.preStarts) {
		c.PreStart = graph.Hook{Command: graph.Command{Line: "before " + c.Name}, Timeout: 2 * time.Second}
	}
	if c.Health != nil && r.chance(300) {
		c.Health.Type, c.Health.Exec = graph.HealthExec, graph.Command{Line: "check " + c.Name}
	}
}

// flip makes a target of a service, or the other way round, or turns oneshot over.
func (b *blueprint) flip(c *graph.Config, i, version int) {
	r := newRng(b.seed, 22, uint64(i), uint64(version))
	switch {
	case !r.chance(b.drawn.rate[FaultKind] / 2):
	case c.Target:
		c.Target, c.Exec = false, graph.Command{Line: "run " + c.Name}
		b.lifecycle(&r, c)
	case r.chance(500):
		*c = graph.Config{Name: c.Name, Source: c.Source, Target: true}
	case c.Health == nil && c.Ready.Kind == graph.ReadyNone:
		c.Oneshot = !c.Oneshot
		if c.Oneshot && c.Lifecycle.Restart == graph.RestartAlways {
			c.Lifecycle.Restart = graph.RestartOnFailure
		}
	}
}

// vary changes some of a definition and returns the version of its edges.
func (b *blueprint) vary(c *graph.Config, i, version int) int {
	r := newRng(b.seed, 5, uint64(i), uint64(version))
	edges := 0
	if r.chance(400) {
		edges = version
	}
	if c.Target {
		return edges
	}
	if r.chance(350) {
		c.Exec.Line += " v" + strconv.Itoa(version)
	}
	if r.chance(150) {
		c.Status = choose(&r, graph.StatusStart, graph.StatusStop, graph.StatusIgnore)
	}
	if r.chance(250) {
		oneshot, set := c.Oneshot, c.Lifecycle.RestartSet
		b.lifecycle(&r, c)
		if c.Oneshot = oneshot; !oneshot {
			c.Lifecycle.RestartSet = set
		}
	}
	if r.chance(100) {
		c.Health = nil
	}
	return edges
}

// deps draws the edges of one version of a service. All but conflicts go to earlier places only.
func (b *blueprint) deps(c *graph.Config, i, version int) {
	for j, name := range b.names {
		if i == j || b.mask.lacksService(j) {
			continue
		}
		if b.place[j] < b.place[i] {
			for kind, list := range [...]*[]string{&c.Deps.Requires, &c.Deps.Binds, &c.Deps.After, &c.Deps.Wants} {
				if b.hasEdge(i, j, graph.Kind(kind), version) {
					*list = append(*list, name)
				}
			}
		}
		if b.mayConflict(i, j) && b.hasEdge(i, j, graph.KindConflicts, version) {
			c.Deps.Conflicts = append(c.Deps.Conflicts, name)
		}
	}
	r := newRng(b.seed, 6, uint64(i), uint64(version))
	if r.chance(b.swarm.broken) {
		c.Deps.After = append(c.Deps.After, c.Name)
	}
}

// mayConflict keeps pairs that require each other from conflicting (those would only be broken).
func (b *blueprint) mayConflict(i, j int) bool {
	if b.reaches == nil {
		return b.place[i]%7 == 0 && b.place[j]%7 == 0
	}
	return b.reaches[i]&(1<<j) == 0 && b.reaches[j]&(1<<i) == 0
}
