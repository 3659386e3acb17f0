package supervisor

import (
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
)

// wirePlan turns a plan into what service.plan and service.reload answer.
func wirePlan(p *graph.Plan, next *graph.Graph, v *View, problems []wire.Problem) wire.Plan {
	out := wire.Plan{Added: list(p.Added), Removed: list(p.Removed), Changed: []string{}, ConfigErrors: problems, Actions: []wire.PlanAction{}}
	for _, name := range p.Added {
		a := wire.PlanAction{Name: name, Action: "add", Reason: "new, not started"}
		switch id, ok := next.Lookup(name); {
		case !ok:
		case isBroken(next, id):
			a.Reason = "new, cannot start: its definition has errors"
		case next.Config(id).Status == graph.StatusStart:
			a = wire.PlanAction{Name: name, Action: "start", Reason: "new, status = start"}
		}
		out.Actions = append(out.Actions, a)
	}
	for _, name := range p.Removed {
		a := wire.PlanAction{Name: name, Action: "remove", Reason: "its file is gone"}
		if e, _, ok := v.lookup(name); ok && active(e.Info.State) {
			a = wire.PlanAction{Name: name, Action: "stop", Reason: "its file is gone; removed when it has ended"}
		}
		out.Actions = append(out.Actions, a)
	}
	for _, ch := range p.Changed {
		if len(ch.Fields) > 0 {
			out.Changed = append(out.Changed, ch.Name)
		}
		out.Actions = append(out.Actions, planAction(ch, v, next))
	}
	slices.SortFunc(out.Actions, func(a, b wire.PlanAction) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func planAction(ch graph.Change, v *View, next *graph.Graph) wire.PlanAction {
	reason := ch.Because
	if len(ch.Fields) > 0 {
		reason = strings.Join(ch.Fields, ", ") + " changed"
	}
	e, old, ok := v.lookup(ch.Name)
	if id, stays := next.Lookup(ch.Name); stays && ok && isBroken(v.Graph, old) && !isBroken(next, id) {
		a := wire.PlanAction{Name: ch.Name, Action: "update", Reason: "its definition has no errors any more"}
		if next.Config(id).Status == graph.StatusStart && !active(e.Info.State) {
			a.Action = "start"
		}
		return a
	}
	if ch.Restart && ok && active(e.Info.State) {
		return wire.PlanAction{Name: ch.Name, Action: "restart", Reason: reason}
	}
	return wire.PlanAction{Name: ch.Name, Action: "update", Reason: reason}
}

func isBroken(g *graph.Graph, id graph.ID) bool {
	kind, _ := g.Broken(id)
	return kind != ""
}

// allProblems lists what is wrong with a configuration, of the files and of the graph.
func allProblems(ds *definitions, g *graph.Graph) []wire.Problem {
	out := []wire.Problem{}
	told := map[[2]string]bool{} // what was read from files comes first: it knows the place
	for _, p := range slices.Concat(ds.problems, g.Problems()) {
		key := [2]string{p.Service, p.Message}
		if !told[key] && p.Severity != graph.SeverityNote {
			told[key] = true
			out = append(out, wireProblem(p))
		}
	}
	return out
}

func wireProblem(p graph.Problem) wire.Problem {
	return wire.Problem{File: p.File, Line: p.Line, Column: p.Column, Service: p.Service, Severity: p.Severity.String(), Message: p.Message}
}

// list makes a nil slice an empty one: JSON never omits a key or says null for a list.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
