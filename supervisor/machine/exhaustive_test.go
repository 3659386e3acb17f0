package machine

import (
	flags "flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

var (
	flagDepth2 = flags.Int("depth2", 6, "length of the event sequences in worlds of one or two services")
	flagDepth3 = flags.Int("depth3", 3, "length of the event sequences in worlds of three services")
	flagAll    = flags.Bool("all-kinds", false, "every mixture of kinds in worlds of three services, not four of 64 for each graph")
)

// TestExhaustive plays every sequence of events, up to a length, in every world of up to three services: all kinds of edges
// between them, services, oneshots and targets. States seen before are not gone on from. After every Step the books must
// be right and the rules kept; every state found is then healed (spawns succeed, stops are obeyed, nobody asks for
// anything) and must come to rest with everyone where they belong; and a machine restored from its records must be the same.
func TestExhaustive(t *testing.T) {
	t.Parallel()
	var worlds []*smallWorld
	for kinds := range pow(smallKinds, 1) {
		worlds = append(worlds, newSmallWorld(1, 0, kinds, *flagDepth2))
	}
	for edges := range pow(smallEdges, 1) {
		for kinds := range pow(smallKinds, 2) {
			worlds = append(worlds, newSmallWorld(2, edges, kinds, *flagDepth2))
		}
	}
	for edges := range pow(smallEdges, 3) {
		for kinds := range pow(smallKinds, 3) {
			depth := *flagDepth3
			if (edges+kinds)%128 == 0 {
				depth++ // a sample goes deeper
			}
			if (edges+kinds)%16 == 0 || *flagAll { // every graph with four mixtures of services in a plain run
				worlds = append(worlds, newSmallWorld(3, edges, kinds, depth))
			}
		}
	}
	exploreAll(t, worlds)
}

func exploreAll(t *testing.T, worlds []*smallWorld) {
	t.Helper()
	began := time.Now()
	var next, states, steps atomic.Int64
	var failed atomic.Bool
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(worlds) {
					return
				}
				w := worlds[i]
				if err := w.explore(); err != nil {
					failed.Store(true)
					t.Errorf("world %d:\n%s%v", i, w.text, err)
				}
				states.Add(int64(len(w.seen)))
				steps.Add(w.steps)
			}
		})
	}
	group.Wait()
	t.Logf("%d worlds, %d states, %d steps in %s", len(worlds), states.Load(), steps.Load(), time.Since(began).Round(time.Millisecond))
}

// TestExhaustiveFindsBugs plants bugs and plays the smallest worlds: the rules above must be able to fail.
func TestExhaustiveFindsBugs(t *testing.T) {
	t.Parallel()
	for _, bug := range []Bugs{BugConflictsIgnored, BugStopOrderIgnored, BugTimersKept, BugStopInBackoff,
		BugRestartLost, BugFailureNotSpread, BugBindsIgnored, BugDoubleKill} {
		worlds, found := 0, error(nil)
		for edges := range pow(smallEdges, 1) {
			for kinds := range pow(smallKinds, 2) {
				if found == nil {
					w := newSmallWorld(2, edges, kinds, 4)
					w.bugs = bug
					found = w.explore()
					worlds++
				}
			}
		}
		if found == nil {
			t.Errorf("nobody noticed that %s", nameOf(bug))
		} else {
			t.Logf("%s: found in world %d", nameOf(bug), worlds)
		}
	}
}

func nameOf(bug Bugs) (name string) {
	bug.Each(func(b Bugs, n string) {
		if b == bug {
			name = n
		}
	})
	return name
}

func pow(base, n int) int {
	all := 1
	for range n {
		all *= base
	}
	return all
}

const (
	smallKinds = 4  // plain, ready, oneshot, target
	smallEdges = 10 // of a pair: nothing, requires, binds, after, wants; each with or without a conflict
)

// smallWorld is one graph of up to three services. An edge always points from a later name to an earlier one; the other
// direction is the same world under other names.
type smallWorld struct {
	text  string
	g     *graph.Graph
	n     int
	depth int
	bugs  Bugs
	seen  map[uint64]int8 // state -> longest rest of a sequence tried from it
	steps int64
	trail []Event
	spare []*node // one for each length of a sequence, used again and again
}

func newSmallWorld(n, edges, kinds, depth int) *smallWorld {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fuzzNames[i] + [...]string{"", " ready", " oneshot", " target"}[kinds%smallKinds]
		if kinds%smallKinds != 3 {
			lines[i] += " max=1 delay=1s..1s stop=2s start=3s stable=30s"
		}
		kinds /= smallKinds
	}
	for b := 1; b < n; b++ {
		for a := range b {
			pair := edges % smallEdges
			edges /= smallEdges
			lines[b] += [...]string{"", " requires=", " binds=", " after=", " wants="}[pair%5]
			if pair%5 != 0 {
				lines[b] += fuzzNames[a]
			}
			if pair >= 5 {
				lines[b] += " conflicts=" + fuzzNames[a]
			}
		}
	}
	text := strings.Join(lines, "\n") + "\n"
	g, err := parseGraph(text)
	if err != nil {
		panic(err)
	}
	return &smallWorld{text: text, g: g, n: n, depth: depth, seen: map[uint64]int8{}}
}

// node is a machine together with what exists in its world.
type node struct {
	m    *Machine
	now  Time
	gens [3]Gen  // the last incarnation spawned of each service
	out  [3]bool // a Spawn is not answered
	main [3]bool // its main process lives
	rest [3]bool // other processes of the tree live
	told [3]bool // a stop signal was sent
	kill [3]bool // a SIGKILL was sent
	gave [3]bool // it was given up as unkillable
}

func (w *smallWorld) explore() error {
	root := &node{m: New(w.g, Options{Bugs: w.bugs}), now: Time(second)}
	if err := w.step(root, Loaded{}); err != nil {
		return err
	}
	return w.visit(root, w.depth)
}

// visit tries every event in a state, then what follows. The recursion is as deep as the sequences are long.
func (w *smallWorld) visit(n *node, left int) error {
	key := n.key()
	if before, ok := w.seen[key]; ok && int(before) >= left {
		return nil
	} else if !ok {
		if err := w.checkState(n); err != nil {
			return err
		}
	}
	w.seen[key] = int8(left)
	if left == 0 {
		return nil
	}
	for at := 0; ; at++ {
		ev, now, ok, more := n.choice(at, w.n)
		if !more {
			return nil
		}
		if !ok {
			continue
		}
		next := w.copyOf(n, left)
		next.now = now
		w.trail = append(w.trail, ev)
		if err := w.step(next, ev); err != nil {
			return err
		}
		if err := w.visit(next, left-1); err != nil {
			return err
		}
		w.trail = w.trail[:len(w.trail)-1]
	}
}

// choice returns the at-th event that could happen now: ok says that it can, more that there are others.
func (n *node) choice(at, services int) (ev Event, now Time, ok, more bool) {
	const each = 9
	i := at / each
	if i >= services {
		deadline, ok := n.m.Deadline()
		return Ticked{}, max(n.now, deadline), ok, at == services*each
	}
	ev, ok = n.choiceOf(i, at%each)
	return ev, n.now, ok, true
}

func (n *node) choiceOf(i, which int) (ev Event, ok bool) {
	id, gen, s := []graph.ID{graph.ID(i)}, n.gens[i], &n.m.services[i]
	switch which {
	case 0:
		return Asked{Verb: VerbStart, IDs: id}, true
	case 1:
		return Asked{Verb: VerbStop, IDs: id}, true
	case 2:
		return Asked{Verb: VerbRestart, IDs: id}, true
	case 3:
		return Spawned{gen, 7}, n.out[i]
	case 4:
		return SpawnFailed{Gen: gen}, n.out[i]
	case 5:
		return Readied{gen}, n.main[i] && s.config.Ready.Kind != graph.ReadyNone && s.state == Starting
	case 6:
		return ProcessExited{Gen: gen}, n.main[i] && !n.rest[i]
	case 7:
		return ProcessExited{Gen: gen, Status: Status{Code: 1}, Alive: 1}, n.main[i]
	}
	return TreeEmpty{gen}, n.rest[i] && !n.main[i]
}

// step feeds an event in, keeps the book of what exists, and checks the rules action by action.
func (w *smallWorld) step(n *node, ev Event) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		if err != nil {
			err = fmt.Errorf("%s\n%w", w.story(), err)
		}
	}()
	w.steps++
	n.happens(ev)
	for _, a := range n.m.Step(n.now, ev) {
		if err := n.acts(w, a); err != nil {
			return err
		}
	}
	if asked, ok := ev.(Asked); ok {
		s := &n.m.services[asked.IDs[0]]
		if up := asked.Verb != VerbStop; !s.is(flagBroken) && s.is(flagWanted) != up || !up && (s.is(flagDue) || s.nextRestart != 0) {
			return fmt.Errorf("%s: what was asked last does not count: wanted up %t", s.name, s.is(flagWanted))
		}
	}
	for i := range n.m.services {
		n.gave[i] = n.gave[i] || n.m.services[i].is(flagStuck)
	}
	n.m.ClearDirty()
	return nil
}

// happens notes what an event says of the world.
func (n *node) happens(ev Event) {
	for i := range n.gens {
		switch ev := ev.(type) {
		case Spawned:
			if ev.Gen == n.gens[i] {
				n.out[i], n.main[i] = false, true
			}
		case SpawnFailed:
			if ev.Gen == n.gens[i] {
				n.out[i] = false
			}
		case ProcessExited:
			if ev.Gen == n.gens[i] {
				n.main[i], n.rest[i] = false, ev.Alive > 0
			}
		case TreeEmpty:
			if ev.Gen == n.gens[i] {
				n.rest[i] = false
			}
		}
	}
}

func (n *node) alive(i int) bool { return n.out[i] || n.main[i] || n.rest[i] }

// acts checks one action against the rules (I1, I2, I4, I5, I8, I11 of docs/design/invariants.md) and notes it.
func (n *node) acts(w *smallWorld, a Action) error {
	switch a := a.(type) {
	case Spawn:
		i := int(a.ID)
		if n.alive(i) {
			return fmt.Errorf("%s is spawned beside an old process", fuzzNames[i])
		}
		for _, d := range append(w.g.Requires(a.ID), w.g.Binds(a.ID)...) {
			s := &n.m.services[d]
			if s.state != Running && !s.finished() {
				return fmt.Errorf("%s is spawned although %s is %s", fuzzNames[i], s.name, s.state)
			}
		}
		for _, c := range w.g.Conflicts(a.ID) {
			if n.alive(int(c)) {
				return fmt.Errorf("%s is spawned beside %s", fuzzNames[i], fuzzNames[c])
			}
		}
		n.gens[i], n.out[i], n.told[i], n.kill[i], n.gave[i] = a.Gen, true, false, false, false
	case Stop:
		i := int(a.ID)
		if a.Gen != n.gens[i] || n.told[i] || !n.main[i] && !n.rest[i] {
			return fmt.Errorf("%s: a stop signal for nobody, or a second one", fuzzNames[i])
		}
		n.told[i] = true
		if n.m.services[i].is(flagResult) {
			return nil // it goes down for a reason of its own and waits for nobody
		}
		for _, r := range w.g.Requirers(a.ID) {
			if n.alive(int(r)) && !n.gave[r] && !n.m.services[r].is(flagStuck) {
				return fmt.Errorf("%s is stopped before %s is gone", fuzzNames[i], fuzzNames[r])
			}
		}
	case Kill:
		i := int(a.ID)
		if a.Gen != n.gens[i] || !n.told[i] || n.kill[i] || !n.main[i] && !n.rest[i] {
			return fmt.Errorf("%s: a SIGKILL for nobody, before the stop signal, or a second one", fuzzNames[i])
		}
		n.kill[i] = true
	}
	return nil
}

// story is the sequence of events that led here.
func (w *smallWorld) story() string {
	text := ""
	for _, ev := range w.trail {
		text += fmt.Sprintf("%T%+v\n", ev, ev)
	}
	return text
}

// copyOf returns a copy of a node in the place of an earlier copy that is done with.
func (w *smallWorld) copyOf(n *node, place int) *node {
	for len(w.spare) <= place {
		w.spare = append(w.spare, &node{m: &Machine{}})
	}
	c := w.spare[place]
	m := c.m
	*c = *n
	c.m = m
	n.m.copyTo(m)
	return c
}

// copyTo copies a machine into another, whose memory it uses.
func (m *Machine) copyTo(c *Machine) {
	old := *c
	*c = *m
	c.services = old.services
	for len(c.services) < len(m.services) {
		c.services = append(c.services, service{seldom: &seldom{}})
	}
	for i := range m.services {
		own := c.services[i].seldom
		c.services[i] = m.services[i]
		*own = *m.services[i].seldom
		c.services[i].seldom = own
	}
	c.byRank = append(old.byRank[:0], m.byRank...)
	c.gens = old.gens
	if c.gens == nil {
		c.gens = map[Gen]int32{}
	}
	clear(c.gens)
	for i := range m.services {
		if s := &m.services[i]; s.gen != 0 {
			c.gens[s.gen] = int32(i)
		}
	}
	c.timers = timers{append(old.timers.heap[:0], m.timers.heap...), append(old.timers.pos[:0], m.timers.pos...)}
	c.starts, c.stops = m.starts.copyTo(old.starts), m.stops.copyTo(old.stops)
	c.walk, c.found, c.actions, c.fifo = old.walk, old.found, old.actions, nil
	c.held = append(old.held[:0], m.held...)
	c.dirty = append(old.dirty[:0], m.dirty...)
	c.requests = append(old.requests[:0], m.requests...)
}

func (s *rankSet) copyTo(old rankSet) rankSet {
	return rankSet{append(old.words[:0], s.words...), append(old.summary[:0], s.summary...), s.count}
}

// key tells states apart by what can matter later: not by incarnation numbers and absolute times.
func (n *node) key() uint64 {
	h := hasher(14695981039346656037)
	for i := range n.m.services {
		s := &n.m.services[i]
		h.word(uint64(s.state) | uint64(s.phase)<<8 | uint64(s.flags&^flagDirty)<<16)
		h.word(uint64(s.restarts) | uint64(s.reason.Type)<<8 | uint64(s.result.Type)<<16)
		h.word(uint64(s.backoff))
		for _, at := range [...]Time{n.m.timers.at(int32(i), timerLife), s.nextRestart, s.startBy} {
			if at != 0 {
				at -= n.now
			}
			h.word(uint64(at))
		}
		h.bit(int64(n.now-s.spawnedAt) <= daemonWindow)
		for _, b := range [...]bool{n.out[i], n.main[i], n.rest[i], n.told[i], n.kill[i], n.gave[i]} {
			h.bit(b)
		}
	}
	return uint64(h)
}

// checkState looks at a state found for the first time: it must heal, and it must survive a crash of the server.
func (w *smallWorld) checkState(n *node) error {
	if err := verify(n.m); err != nil {
		return fmt.Errorf("%s\n%w", w.story(), err)
	}
	if err := w.checkHeals(w.copyOf(n, w.depth+1)); err != nil {
		return err
	}
	return w.checkRestores(n)
}

// checkHeals answers everything in the best way and nobody asks for anything more.
func (w *smallWorld) checkHeals(n *node) error {
	for range 200 {
		ev, ok := n.best()
		if !ok {
			return n.atRest(w)
		}
		if err := w.step(n, ev); err != nil {
			return fmt.Errorf("… then healing up to %T%+v: %w", ev, ev, err)
		}
	}
	return fmt.Errorf("%s\nno rest", w.story())
}

// best is the next thing that happens in a healthy world.
func (n *node) best() (Event, bool) {
	for i := range n.m.services {
		s, gen := &n.m.services[i], n.gens[i]
		switch {
		case n.out[i]:
			return Spawned{gen, 7}, true
		case n.main[i] && n.told[i]:
			return ProcessExited{Gen: gen, Status: Status{Signal: 15}}, true
		case n.rest[i] && n.told[i]:
			return TreeEmpty{gen}, true
		case n.main[i] && s.state == Starting && s.config.Oneshot:
			return ProcessExited{Gen: gen}, true
		case n.main[i] && s.state == Starting:
			return Readied{gen}, true
		}
	}
	at, ok := n.m.Deadline()
	n.now = max(n.now, at)
	return Ticked{}, ok
}

// atRest checks where everyone is when nothing happens any more (L1, L2).
func (n *node) atRest(w *smallWorld) error {
	for i := range n.m.services {
		s := &n.m.services[i]
		switch {
		case s.state == Starting, s.state == Stopping:
			return fmt.Errorf("%s\nat rest %s is %s", w.story(), s.name, s.state)
		case s.state == Blocked && n.m.Unmet(graph.ID(i)) == nil:
			return fmt.Errorf("%s\nat rest %s is blocked by nothing", w.story(), s.name)
		case s.is(flagWanted) && s.state == Inactive, !s.is(flagWanted) && (s.state == Running || s.state == Blocked):
			return fmt.Errorf("%s\nat rest %s is %s, wanted up: %t", w.story(), s.name, s.state, s.is(flagWanted))
		case s.state == Failed && s.reason.Type == ReasonDependencyFailed && s.failed == 0:
			return fmt.Errorf("%s\nat rest %s has failed for nobody", w.story(), s.name)
		}
	}
	return n.blockedTruly(w)
}

// blockedTruly looks for two services that keep each other from starting.
func (n *node) blockedTruly(w *smallWorld) error {
	for i := range n.m.services {
		if n.m.services[i].state != Blocked {
			continue
		}
		for _, u := range n.m.Unmet(graph.ID(i)) {
			other := &n.m.services[u.On]
			if u.Kind == graph.KindConflicts && other.idle() && other.state != Running && !other.is(flagClaim) {
				return fmt.Errorf("%s\nat rest %s is blocked by %s, which is %s", w.story(), fuzzNames[i], other.name, other.state)
			}
		}
	}
	return nil
}

// checkRestores compares a machine with one restored from its records. What is sent again begins anew, so only
// states in which nothing is out are compared.
func (w *smallWorld) checkRestores(n *node) error {
	var recs []Record
	for i := range n.m.services {
		if s := &n.m.services[i]; s.phase > PhaseUp && s.phase != PhaseDependents || n.out[i] {
			return nil
		}
		recs = append(recs, n.m.Record(graph.ID(i)))
	}
	m := Restore(w.g, Options{}, recs, n.m.Globals(), nil, n.now)
	for i := range m.services {
		if n.main[i] {
			m.Step(n.now, Adopted{n.gens[i], 7})
		}
	}
	actions := m.Step(n.now, Resumed{})
	if len(actions) > 0 || m.Hash() != n.m.Hash() {
		return fmt.Errorf("%s\nrestored, it is not the same; actions %v\n%s\n%s", w.story(), actions, dump(n.m), dump(m))
	}
	return verify(m)
}

func dump(m *Machine) string {
	text := ""
	for id := range graph.ID(m.Len()) {
		text += fmt.Sprintf("%s  %+v\n", stateText(m, id), m.Record(id))
	}
	return text
}
