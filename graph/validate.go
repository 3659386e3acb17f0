package graph

import (
	"slices"
	"strconv"
	"strings"
)

// Severity is how bad a Problem is.
type Severity uint8

// The severities. An error means that at least one service cannot run as written.
const (
	SeverityError Severity = iota
	SeverityWarning
	SeverityNote
)

// String returns the word that check and RPC print.
func (s Severity) String() string {
	switch s {
	case SeverityError:
		return "error"
	case SeverityWarning:
		return "warning"
	}
	return "note"
}

// Problem is one thing wrong with a configuration. Key and Value say what in the file it is about, so that confdir, which
// knows the positions, can fill in Line and Column of what the graph found.
type Problem struct {
	File         string // "" = added over RPC
	Line, Column int    // from 1, 0 = unknown
	Service      string // "" = unknown
	Severity     Severity
	Message      string
	Key          string // as in the file, with its section: "dependencies.requires"; "" = the whole file
	Value        string // the array element it is about, "" = the whole value
}

// Where returns "FILE:LINE:COLUMN: " as far as that is known, "" when nothing is.
func (p Problem) Where() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File + ": "
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column) + ": "
}

// String returns "FILE:LINE:COLUMN: SEVERITY: MESSAGE", leaving out what is not known.
func (p Problem) String() string { return p.Where() + p.Severity.String() + ": " + p.Message }

// classify derives the classes that count: see Class. Dependents come before what they need in the reverse order.
func (g *Graph) classify() {
	g.class = make([]Class, len(g.configs))
	for id, c := range g.configs {
		g.class[id] = c.Class
	}
	for _, id := range slices.Backward(g.order) {
		if g.class[id] != ClassSystem {
			continue
		}
		for _, kind := range [...]Kind{KindRequires, KindBinds} {
			for _, to := range g.out[kind].row(id) {
				switch {
				case g.configs[to].Target:
					g.class[to] = ClassSystem
				case g.class[to] != ClassSystem && g.flaws[to].kind != BrokenFile:
					g.flawed(id, flaw{BrokenClass, g.classText(id, kind, to), kind.key(), g.Name(to)})
				}
			}
		}
	}
}

func (g *Graph) classText(id ID, kind Kind, to ID) string {
	what := "a system service"
	if g.configs[id].Target {
		what = "a target that a system service needs"
	}
	return what + " may not " + kindVerbs[kind] + " " + g.Name(to) + ", which is of class user"
}

var kindVerbs = [nKinds]string{"require", "bind", "follow", "want", "conflict with"}

// contradict marks services that require, directly or through others, what they conflict with. For 64 services with
// conflicts at a time it passes once over the requirements in order, with one bit for each.
func (g *Graph) contradict() {
	var subjects []ID
	for id := range ID(len(g.configs)) {
		if len(g.Conflicts(id)) > 0 {
			subjects = append(subjects, id)
		}
	}
	if len(subjects) == 0 {
		return
	}
	reach := make([]uint64, len(g.configs))
	bit := make([]int8, len(g.configs))
	for batch := range slices.Chunk(subjects, 64) {
		for i := range bit {
			bit[i] = -1
		}
		for i, id := range batch {
			bit[id] = int8(i)
		}
		g.reach(reach, bit)
		g.contradictBatch(reach, bit, subjects)
	}
}

// reach sets for every service the bits of what it requires or binds, directly or through others.
func (g *Graph) reach(reach []uint64, bit []int8) {
	for _, id := range g.order {
		reach[id] = 0
		for _, kind := range [...]Kind{KindRequires, KindBinds} {
			for _, to := range g.out[kind].row(id) {
				reach[id] |= reach[to]
				if bit[to] >= 0 {
					reach[id] |= 1 << bit[to]
				}
			}
		}
	}
}

func (g *Graph) contradictBatch(reach []uint64, bit []int8, subjects []ID) {
	for _, id := range subjects {
		for _, other := range g.Conflicts(id) {
			if bit[other] < 0 || reach[id]&(1<<bit[other]) == 0 {
				continue
			}
			text := "requires " + g.Name(other) + " and conflicts with it"
			if !g.needs(id, other) {
				text = "requires " + g.Name(other) + " through others and conflicts with it"
			}
			g.flawed(id, flaw{BrokenContradiction, text, KindConflicts.key(), g.Name(other)})
		}
	}
}

const (
	maxSuggestions = 32 // names searched for a near one in one graph: each looks at all names
	maxListed      = 3  // names listed in one note
)

// review collects the problems, service by service.
func (g *Graph) review() {
	shown := map[string]bool{} // texts of cycles
	suggestions := 0
	for id := range ID(len(g.configs)) {
		if f, ok := g.flaws[id]; ok && f.kind != BrokenFile && !shown[f.problem] {
			shown[f.problem] = f.kind == BrokenCycle
			g.report(id, SeverityError, f.problem, f.key, f.value)
		}
		for _, m := range g.missing[id] {
			near := ""
			if suggestions < maxSuggestions {
				near = g.nearest(m.name)
				suggestions++
			}
			g.reportMissing(id, m, near)
		}
		g.reviewRequires(id)
	}
}

func (g *Graph) report(id ID, severity Severity, message, key, value string) {
	c := g.configs[id]
	g.problems = append(g.problems, Problem{File: c.Source, Service: c.Name, Severity: severity, Message: message, Key: key,
		Value: value})
}

func (g *Graph) reportMissing(id ID, m missing, near string) {
	severity, message := SeverityWarning, m.kind.String()+" "+m.name+", which does not exist"
	switch {
	case m.kind <= KindBinds:
		severity = SeverityError
	case m.kind == KindConflicts:
		message = "conflicts with " + m.name + ", which does not exist"
	case m.kind == KindAfter:
		message = "comes after " + m.name + ", which does not exist"
	}
	if near != "" {
		message += "; did you mean " + near + "?"
	}
	g.report(id, severity, message, m.kind.key(), m.name)
}

// nearest returns the existing name that is nearest to a missing one, "" when none is near.
func (g *Graph) nearest(name string) string {
	return Nearest(name, func(yield func(string) bool) {
		for _, c := range g.configs {
			if !yield(c.Name) {
				return
			}
		}
	})
}

// reviewRequires notes requirements that are ready as soon as they are executed and those that nobody starts.
func (g *Graph) reviewRequires(id ID) {
	if g.configs[id].Target || g.flaws[id].kind != "" {
		return
	}
	var blind []string
	for _, kind := range [...]Kind{KindRequires, KindBinds} {
		for _, to := range g.out[kind].row(id) {
			c := g.configs[to]
			if g.flaws[to].kind != "" {
				continue
			}
			if !c.Target && c.Ready.Kind == ReadyNone && c.Health == nil && !c.Oneshot && !slices.Contains(blind, c.Name) {
				blind = append(blind, c.Name)
			}
			if !c.Target && c.Status != StatusStart && g.configs[id].Status == StatusStart {
				g.report(id, SeverityNote, kind.String()+" "+c.Name+", which has status = "+c.Status.String()+
					": it stays blocked until somebody starts "+c.Name, kind.key(), c.Name)
			}
			if len(blind) > maxListed {
				break
			}
		}
	}
	if len(blind) > 0 {
		g.report(id, SeverityNote, blindText(blind), KindRequires.key(), blind[0])
	}
}

func blindText(names []string) string {
	list, verb, pronoun := names[0], "declares", "it counts"
	if len(names) > 1 {
		verb, pronoun = "declare", "they count"
	}
	switch {
	case len(names) > maxListed:
		list = strings.Join(names[:maxListed], ", ") + " and others"
	case len(names) > 1:
		list = strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	return "requires " + list + ", which " + verb + " neither ready nor health nor oneshot: " + pronoun +
		" as ready once executed"
}
