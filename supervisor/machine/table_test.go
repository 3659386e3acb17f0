package machine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/zinit/zinit/graph"
)

// inputsOf says for every event kind which inputs it becomes. EvCancelled
// concerns a request only.
var inputsOf = [nEvents][]input{
	EvLoaded:        {inLoad},
	EvAsked:         {inStart, inPull, inStop, inRestart, inKill, inDown},
	EvCancelled:     {},
	EvPrechecked:    {inPrechecked},
	EvSpawned:       {inSpawned},
	EvSpawnFailed:   {inSpawnFailed},
	EvReadied:       {inReadied},
	EvProbed:        {inProbed},
	EvExtended:      {inExtended},
	EvStoppingSelf:  {inStoppingSelf},
	EvMainChanged:   {inMainChanged},
	EvProcessExited: {inProcessExited},
	EvTreeEmpty:     {inTreeEmpty},
	EvHookDone:      {inHookDone},
	EvVanished:      {inVanished},
	EvAdopted:       {inAdopted},
	EvResumed:       {inResumed},
	EvTicked:        {inLifeTimer, inProbeTimer, inWatchdogTimer, inForce, inStart, inRestart},
	EvReloaded:      {inCycle, inChanged, inRemoved, inLoad, inDown},
	EvShutdownAsked: {inShutdown, inForce},
	EvClockSet:      {}, // only the times at which jobs are due
}

// TestTable lists every cell of state x input: each must have a handler or a reason, and every event must reach one.
func TestTable(t *testing.T) {
	reached := map[input]bool{inDrain: true, inWake: true} // the work sets
	for kind, inputs := range inputsOf {
		if inputs == nil {
			t.Errorf("event kind %d: nobody decided which inputs it becomes", kind)
		}
		for _, in := range inputs {
			reached[in] = true
		}
	}
	for in := range nInputs {
		if inputNames[in] == "" || !reached[in] {
			t.Errorf("input %d (%s): no name, or no event becomes it", in, in)
		}
		for state := range nStates {
			c := &table[state][in]
			t.Run(state.String()+"/"+in.String(), func(t *testing.T) {
				switch {
				case c.do == nil && c.why == "":
					t.Error("nobody decided this cell")
				case c.do != nil && c.why != "":
					t.Error("a handler and a reason to ignore it")
				}
			})
		}
	}
}

// TestCells plays testdata/table/cells.txt: for each way of being in a state ("cells" with definitions, "--", and the
// events that lead there; the service is called s) what every input does. So a change of any cell is seen in review.
func TestCells(t *testing.T) {
	seen := map[State]bool{}
	datadriven.RunTest(t, "../../testdata/table/cells.txt", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for in := range nInputs {
			p := reachState(t, d)
			seen[p.m.services[p.s()].state] = true
			if in == 0 {
				fmt.Fprintf(&out, "%s\n", stateText(p.m, graph.ID(p.s())))
			}
			fmt.Fprintf(&out, "%-15s %s\n", in, p.poke(t, in))
		}
		return out.String()
	})
	if len(seen) != int(nStates) {
		t.Errorf("the file reaches %d of %d states", len(seen), nStates)
	}
}

// reachState brings a new machine to where the script wants it.
func reachState(t *testing.T, d *datadriven.TestData) *player {
	definitions, events, _ := strings.Cut(d.Input, "--\n")
	g, err := parseGraph(definitions)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	p := newPlayer(g, Options{})
	p.now = Time(second)
	if err := playLines(p, events); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return p
}

// s is the index of the service under test.
func (p *player) s() int32 {
	return int32(slices.IndexFunc(p.m.services, func(s service) bool { return s.name == "s" }))
}

var samples = [nInputs]any{
	inStart:         command{CauseAsked, ""},
	inPull:          command{CausePulledIn, "x"},
	inStop:          command{CauseAsked, ""},
	inRestart:       command{CauseAsked, ""},
	inKill:          Asked{Verb: VerbKill, Sig: 10},
	inPrechecked:    Prechecked{},
	inSpawned:       Spawned{PID: 100},
	inSpawnFailed:   SpawnFailed{Kind: "exec"},
	inReadied:       Readied{},
	inProbed:        Probed{OK: false, Detail: "refused"},
	inExtended:      Extended{By: 60 * second},
	inStoppingSelf:  StoppingSelf{},
	inMainChanged:   MainChanged{PID: 200},
	inProcessExited: ProcessExited{Status: Status{Code: 1}},
	inTreeEmpty:     TreeEmpty{},
	inHookDone:      HookDone{OK: true},
	inVanished:      Vanished{},
	inAdopted:       Adopted{PID: 300},
	inDown:          downBy{CauseDependency, "x"},
	inCycle:         command{CauseReload, ""},
	inChanged:       changedKeys{"health"},
}

// poke lets one input reach s and tells what came of it. An ignored one must change nothing.
func (p *player) poke(t *testing.T, in input) string {
	t.Helper()
	m, i := p.m, p.s()
	c := &table[m.services[i].state][in]
	if m.services[i].config.Target && in >= inPrechecked && in <= inWatchdogTimer {
		return "never: a target has no incarnation and no deadline"
	}
	before := m.Hash()
	name := m.services[i].name
	text, panicked := p.pokeMachine(in, i)
	if c.impossible != panicked {
		t.Errorf("%s: panics: %t, the table says %t", in, panicked, c.impossible)
	}
	if c.do == nil {
		if m.Hash() != before {
			t.Errorf("%s is ignored and changed something", in)
		}
		return "ignored: " + c.why
	}
	if err := verify(m); err != nil && !m.halted {
		t.Errorf("%s: %v", in, err)
	}
	after := "-"
	for at := range m.services {
		if m.services[at].name == name && !m.services[at].is(flagForgotten) {
			after = stateText(m, graph.ID(at))
		}
	}
	return text + after
}

// pokeMachine calls the cell as Step would.
func (p *player) pokeMachine(in input, i int32) (text string, panicked bool) {
	m := p.m
	defer func() {
		if r := recover(); r != nil {
			panicked = true
		}
	}()
	m.actions = m.actions[:0]
	names := p.names()
	if table[m.services[i].state][in].do == nil {
		m.dispatch(i, in, samples[in])
		return "", false
	}
	switch in {
	case inShutdown:
		m.receive(ShutdownAsked{})
	case inForce:
		m.receive(ShutdownAsked{Now: true})
	case inRemoved:
		rest := graph.New(nil, nil)
		m.receive(Reloaded{rest, graph.Diff(m.graph, rest, nil, nil)})
		names = p.names()
	case inLifeTimer, inProbeTimer, inWatchdogTimer:
		kind := timerKind(in - inLifeTimer)
		if at := m.timers.at(i, kind); at != 0 {
			m.now = max(m.now, at)
			m.timers.cancel(i, kind)
		} else if table[m.services[i].state][in].do != nil {
			return "not armed; ", false
		}
		m.dispatch(i, in, nil)
	default:
		m.dispatch(i, in, samples[in])
	}
	m.settle()
	for _, a := range m.actions {
		text += actionText(m, names, a) + "; "
	}
	return text, false
}
