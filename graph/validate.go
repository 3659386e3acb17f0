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
	maxListed      = 3  // names listed in one note, and notes of one kind
)

// review collects the problems, service by service.
func (g *Graph) review() {
	shown := map[string]bool{} // texts of cycles
	suggestions := 0
	var blind, idle remarks
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
		g.reviewRequires(id, &blind, &idle)
	}
	g.reviewTerminals()
	g.reportAll(&blind, "which declare neither ready nor health nor oneshot: they count as ready once executed")
	g.reportAll(&idle, "which do not start by themselves (status): they stay blocked until somebody starts these")
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

// reviewRequires collects the requirements that are ready as soon as they are executed and those that nobody
// starts.
func (g *Graph) reviewRequires(id ID, blind, idle *remarks) {
	if g.configs[id].Target || g.flaws[id].kind != "" {
		return
	}
	var names []string
	for _, kind := range [...]Kind{KindRequires, KindBinds} {
		for _, to := range g.out[kind].row(id) {
			c := g.configs[to]
			if g.flaws[to].kind != "" || c.Target {
				continue
			}
			blindly := c.Ready.Kind == ReadyNone && c.Health == nil && !c.Oneshot
			if blindly && len(names) <= maxListed && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
			if c.Status != StatusStart && g.configs[id].Status == StatusStart {
				idle.add(id, kind, c.Name, kind.String()+" "+c.Name+", which has status = "+c.Status.String()+
					": it stays blocked until somebody starts "+c.Name)
			}
		}
	}
	if len(names) > 0 {
		blind.add(id, KindRequires, names[0], blindText(names))
		blind.names = append(blind.names, names[1:]...)
	}
}

// remarks are notes that say the same about several services. Up to maxListed of them stand where they belong; more
// would only hide what else is wrong, and become one.
type remarks struct {
	notes []remark
	names []string // the services that they are about
}

type remark struct {
	id               ID
	key, value, text string
}

func (r *remarks) add(id ID, kind Kind, value, text string) {
	r.notes = append(r.notes, remark{id, kind.key(), value, text})
	r.names = append(r.names, value)
}

// reportAll reports the remarks, many as one that ends in what.
func (g *Graph) reportAll(r *remarks, what string) {
	if len(r.notes) <= maxListed {
		for _, n := range r.notes {
			g.report(n.id, SeverityNote, n.text, n.key, n.value)
		}
		return
	}
	slices.Sort(r.names)
	names := slices.Compact(r.names)
	g.problems = append(g.problems, Problem{Severity: SeverityNote, Message: strconv.Itoa(len(r.notes)) +
		" services require others, " + enumerate(names) + ", " + what})
}

// enumerate names the first maxListed.
func enumerate(names []string) string {
	switch {
	case len(names) == 1:
		return names[0]
	case len(names) > maxListed:
		return strings.Join(names[:maxListed], ", ") + " and others"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func blindText(names []string) string {
	verb, pronoun := "declares", "it counts"
	if len(names) > 1 {
		verb, pronoun = "declare", "they count"
	}
	return "requires " + enumerate(names) + ", which " + verb + " neither ready nor health nor oneshot: " + pronoun +
		" as ready once executed"
}
