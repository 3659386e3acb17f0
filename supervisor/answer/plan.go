package answer

import (
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/view"
)

// WirePlan turns a plan into what service.plan and service.reload answer.
func WirePlan(p *graph.Plan, next *graph.Graph, v *view.View, problems []wire.Problem) wire.Plan {
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
		if e, _, ok := v.Lookup(name); ok && view.Active(e.Info.State) {
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

func planAction(ch graph.Change, v *view.View, next *graph.Graph) wire.PlanAction {
	reason := ch.Because
	if len(ch.Fields) > 0 {
		reason = strings.Join(ch.Fields, ", ") + " changed"
	}
	e, old, ok := v.Lookup(ch.Name)
	if id, stays := next.Lookup(ch.Name); stays && ok && isBroken(v.Graph, old) && !isBroken(next, id) {
		a := wire.PlanAction{Name: ch.Name, Action: "update", Reason: "its definition has no errors any more"}
		if next.Config(id).Status == graph.StatusStart && !view.Active(e.Info.State) {
			a.Action = "start"
		}
		return a
	}
	if ch.Restart && ok && view.Active(e.Info.State) {
		return wire.PlanAction{Name: ch.Name, Action: "restart", Reason: reason}
	}
	return wire.PlanAction{Name: ch.Name, Action: "update", Reason: reason}
}

func isBroken(g *graph.Graph, id graph.ID) bool {
	kind, _ := g.Broken(id)
	return kind != ""
}

// list makes a nil slice an empty one: JSON never omits a key or says null for a list.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
