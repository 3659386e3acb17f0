package machine

import (
	"time"

	"github.com/zinit/zinit/graph"
)

const (
	second      = int64(1e9)
	millisecond = int64(1e6)

	daemonWindow  = 5 * second // a main process that exits 0 so early after its spawn may leave a daemon
	killPatience  = 5 * second // after SIGKILL: unkillable
	gapPatience   = 1 * second // after a restore: for words that waited while no server was there
	hookPatience  = 5 * second // on top of a hook's own timeout
	forcePatience = 2 * second // after the forced kill of a shutdown: Halt, whatever is left
)

// Options are what a machine is told once.
type Options struct {
	PID1            bool   // act on critical = true
	Seq             Gen    // the first Gen is Seq + 1
	ShutdownTimeout int64  // ns after ShutdownAsked until what is left is killed, 0 = only the services' own timeouts
	HostSeed        uint64 // of jitter: the same for ever on one host
	JobsAtOnce      int    // how many jobs may run because they were due, 0 = no bound
	Bugs            Bugs   // tests only
}

// Machine holds the state of all services. It is not safe for concurrent use: one goroutine owns it.
type Machine struct {
	graph    *graph.Graph
	options  Options
	services []service
	byRank   []int32 // service of each rank
	gens     map[Gen]int32
	nextGen  Gen
	timers   timers

	starts, stops rankSet
	fifo          []int32 // BugRankOrderOff only
	stamp         uint32  // of the present walk
	walk, found   []int32 // scratch of walks
	held          []int32 // services blocked by a port
	extras        int     // services with extra edges

	now       Time
	actions   []Action
	dirty     []graph.ID
	active    int32 // services that a shutdown waits for
	loaded    bool
	restoring bool

	shutting    bool
	shutdownDue bool   // on_exit: begin after the present handler
	endedBy     string // on_exit: the service whose end is the end of everything, "" = asked for
	haltCode    int
	forceAt     Time // shutdown deadline, 0 = none
	forced      bool
	halted      bool

	wallOffset int64 // wall clock less Time, ns
	local      *time.Location
	zones      map[string]*time.Location
	jobs       []int32 // services of the present graph that run by a schedule
	jobAt      Time    // when the next job is due, 0 = none

	filed string // ProcessExited.PIDFile of the event under way

	requests  []request
	requestAt Time // earliest deadline of a request, 0 = none
	answerDue bool // some request may have its answer now
	replies   int
}

// New makes a machine over g with every service Inactive and wanted down. Its first event should be Loaded.
func New(g *graph.Graph, options Options) *Machine {
	m := &Machine{graph: g, options: options, nextGen: options.Seq, local: time.UTC}
	m.services = make([]service, g.Len())
	rest := make([]seldom, g.Len())
	for i := range m.services {
		s := &m.services[i]
		s.seldom = &rest[i]
		s.define(g.Config(graph.ID(i)))
	}
	for i := range m.services {
		m.adoptJob(int32(i), nil)
	}
	m.listJobs()
	m.timers = newTimers(len(m.services))
	m.gens = make(map[Gen]int32, len(m.services))
	m.rebuild()
	return m
}

// Step feeds one event in and returns what is to be done. now never decreases. The slice is valid until the next Step.
func (m *Machine) Step(now Time, event Event) []Action {
	if now < m.now {
		panic("machine: time went back")
	}
	m.now, m.actions = now, m.actions[:0]
	if m.halted {
		m.refuse(event)
		return m.actions
	}
	m.receive(event)
	for m.settle(); m.endJobs(); m.settle() {
	}
	if m.answerDue {
		m.answer()
	}
	m.finishShutdown()
	return m.actions
}

// receive takes the event apart: the words of the whole machine here, those about a process by Gen.
func (m *Machine) receive(event Event) {
	switch ev := event.(type) {
	case Loaded:
		m.load(ev)
	case Asked:
		m.ask(ev)
	case Cancelled:
		m.cancelRequest(ev.Req)
	case Ticked:
		m.tick()
	case Reloaded:
		m.reloadGraph(ev)
	case Resumed:
		m.resume()
	case ShutdownAsked:
		m.shutdownAsked(ev)
	case ClockSet:
		m.clockSet(ev)
	case Prechecked:
		m.word(ev.Gen, inPrechecked, ev)
	case Spawned:
		m.word(ev.Gen, inSpawned, ev)
	case SpawnFailed:
		m.word(ev.Gen, inSpawnFailed, ev)
	case Readied:
		m.word(ev.Gen, inReadied, ev)
	case Probed:
		m.word(ev.Gen, inProbed, ev)
	case Extended:
		m.word(ev.Gen, inExtended, ev)
	case StoppingSelf:
		m.word(ev.Gen, inStoppingSelf, ev)
	case MainChanged:
		m.word(ev.Gen, inMainChanged, ev)
	case ProcessExited:
		m.word(ev.Gen, inProcessExited, ev)
	case TreeEmpty:
		m.word(ev.Gen, inTreeEmpty, ev)
	case HookDone:
		m.word(ev.Gen, inHookDone, ev)
	case Vanished:
		m.word(ev.Gen, inVanished, ev)
	case Adopted:
		m.word(ev.Gen, inAdopted, ev)
	default:
		panic("machine: unknown event")
	}
}

// word is the one place where words about older incarnations are dropped.
func (m *Machine) word(gen Gen, in input, event Event) {
	i, ok := m.gens[gen]
	if !ok || m.services[i].gen != gen && !m.bug(BugGenCheckOff) {
		return
	}
	m.dispatch(i, in, event)
}

// dispatch looks up the cell, lets it act, and tells the neighbours what they may know now.
func (m *Machine) dispatch(i int32, in input, event any) {
	if m.services[i].is(flagForgotten) {
		return
	}
	c := &table[m.services[i].state][in]
	if c.do != nil {
		c.do(m, i, event)
		m.refresh(i)
	} else if c.impossible {
		panic("machine: " + m.services[i].name + " " + m.services[i].state.String() + ": " + in.String() + ": " + c.why)
	}
}

// id is the ID under which the outside knows a service.
func (m *Machine) id(i int32) graph.ID { return graph.ID(i) }

// touch notes that a service's record has changed.
func (m *Machine) touch(i int32) {
	if s := &m.services[i]; !s.is(flagDirty) {
		s.set(flagDirty)
		m.dirty = append(m.dirty, graph.ID(i))
	}
}

// say emits an action that tells: Note, Reply, Forget, Critical, Halt.
func (m *Machine) say(a Action) { m.actions = append(m.actions, a) }

// do emits an action that acts on processes. Between Restore and Resumed nothing is known well enough for that; Resumed makes
// up for it from the phases.
func (m *Machine) do(a Action) {
	if !m.restoring {
		m.actions = append(m.actions, a)
	}
}

// takeGen gives a service its next incarnation; words about the one before are dropped from here on.
func (m *Machine) takeGen(i int32) {
	s := &m.services[i]
	if s.gen != 0 && !m.bug(BugGenCheckOff) {
		delete(m.gens, s.gen)
	}
	m.nextGen++
	s.gen = m.nextGen
	m.gens[s.gen] = i
}

// tick lets every deadline that has been reached speak.
func (m *Machine) tick() {
	for {
		i, kind, ok := m.timers.pop(m.now)
		if !ok {
			break
		}
		m.touch(i)
		m.dispatch(i, inLifeTimer+input(kind), nil)
	}
	if m.requestAt != 0 && m.requestAt <= m.now {
		m.answerDue = true
	}
	if m.forceAt != 0 && m.forceAt <= m.now {
		m.force()
	}
	if m.jobAt != 0 && m.jobAt <= m.now {
		m.runJobs()
	}
}

// Deadline returns when Ticked is due next, false when nothing is waited for.
func (m *Machine) Deadline() (Time, bool) {
	at := Time(0)
	if len(m.timers.heap) > 0 {
		at = m.timers.heap[0].at
	}
	for _, other := range [...]Time{m.requestAt, m.forceAt, m.jobAt} {
		if other != 0 && (at == 0 || other < at) {
			at = other
		}
	}
	return at, at != 0 && !m.halted
}
