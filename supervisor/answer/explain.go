package answer

import (
	"fmt"
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// node is what the explanations of package graph may know of one service.
func (s *Reader) node(v *view.View, id graph.ID) graph.NodeView {
	e := v.Entries[id]
	i := e.Info
	now := s.from.Clock.Now()
	n := graph.NodeView{State: i.State.String(), Standing: e.Standing, WantedUp: i.WantedUp, HeldDown: i.HeldDown,
		ForGood: i.ForGood, PID: i.PID, Uptime: s.uptime(e), Since: time.Duration(now - i.Since), Restarts: i.Restarts,
		Unkillable: i.Unkillable}
	if e.Run != nil {
		n.Obstacle = e.Run.Stuck
	}
	if i.NextRestart > 0 {
		n.RestartDue, n.RestartIn = true, max(0, time.Duration(i.NextRestart-now))
	}
	if (i.State == machine.Starting || i.State == machine.Running) && e.Config.Health != nil && !i.LastProbeOK {
		n.CheckError, n.CheckRow = i.LastProbe, i.FailuresRow
	}
	switch {
	case i.Reason.Type == machine.ReasonDependencyFailed || i.Reason.Type == machine.ReasonMissingDependency:
		n.Failure, n.Other = view.ReasonText(i, e.Config), i.Reason.Service
	case i.Reason.Type != machine.ReasonNone:
		n.Failure = view.ReasonText(i, e.Config)
	case i.State == machine.Exited && i.LastExit.Valid:
		n.Failure = view.ExitText(i.LastExit.Status)
	}
	if n.Job = i.Job; n.Job {
		n.NextRun = -1
		if i.NextRun != 0 {
			n.NextRun = max(0, time.Duration(i.NextRun-now))
		}
		n.InLine, n.Jitter = i.InLine, time.Duration(i.NextJitter)
		n.LeftOut = s.from.Jobs.LeftOut(e.Config.Name)
	}
	if i.Conflict != nil && i.State == machine.Blocked {
		n.Conflict = conflictText(*i.Conflict)
	}
	return n
}

// conflictText says who is in the way.
func conflictText(c machine.Conflict) string {
	holder := "another process"
	switch {
	case c.Service != "":
		holder = "service " + c.Service
	case c.Process != "":
		holder = c.Process
	}
	if c.PID > 0 {
		holder += " (pid " + strconv.Itoa(c.PID) + ")"
	}
	if c.Port > 0 {
		return fmt.Sprintf("port %d is held by %s", c.Port, holder)
	}
	return fmt.Sprintf("process filter %q matches %s", c.Filter, holder)
}

func (s *Reader) nodes(v *view.View) graph.View {
	return func(id graph.ID) graph.NodeView { return s.node(v, id) }
}

// causeText is the chain of causes of one service as one line, without its own name.
func (s *Reader) causeText(v *view.View, id graph.ID) string {
	if int(id) >= v.Graph.Len() {
		return "was removed and is still ending"
	}
	chain := graph.Why(v.Graph, id, s.nodes(v))
	line := graph.WhyLine(chain)
	return line[min(len(line), len(v.Graph.Name(id))+1):]
}

// causeOf is causeText by name.
func (s *Reader) causeOf(v *view.View, name string) string {
	_, id, ok := v.Lookup(name)
	if !ok {
		return "does not exist"
	}
	return s.causeText(v, id)
}

// Why explains the state of one service down to the root cause.
func (s *Reader) Why(name string) (wire.Why, error) {
	v, e, id, err := s.find(name)
	if err != nil {
		return wire.Why{}, err
	}
	waiting, conflicts := waitingOn(v, id)
	w := wire.Why{Name: name, Blocked: e.Info.State == machine.Blocked, WaitingOn: list(waiting), ConflictsWith: list(conflicts),
		Cause: []wire.CauseLink{}}
	if !w.Blocked {
		w.WaitingOn, w.ConflictsWith = []string{}, []string{}
	}
	if c := e.Info.Conflict; c != nil && w.Blocked {
		p := &wire.PortConflict{Port: c.Port, Filter: c.Filter, PID: c.PID, Process: c.Process, Service: c.Service}
		if c.Port > 0 {
			w.PortConflict = p
		} else {
			w.ProcessConflict = p
		}
	}
	if int(id) >= v.Graph.Len() {
		text := s.causeText(v, id)
		w.ASCII = graph.Symbol(e.Info.State.String()) + " " + name + " " + text
		w.Cause = append(w.Cause, wire.CauseLink{Name: name, State: s.wireState(v, id, e), Text: text})
		return w, nil
	}
	w.ASCII = graph.WhyASCII(v.Graph, id, s.nodes(v))
	stranger := s.stranger(e, s.tree(e))
	if stranger != "" {
		w.ASCII += "\n    " + stranger
	}
	for _, l := range graph.Why(v.Graph, id, s.nodes(v)) {
		link := wire.CauseLink{Name: l.Name, Text: l.Text, State: wire.State{State: "inactive"}}
		if l.ID != graph.None {
			link.State = s.wireState(v, l.ID, v.Entries[l.ID])
		}
		w.Cause = append(w.Cause, link)
	}
	if stranger != "" && len(w.Cause) > 0 {
		w.Cause[0].Text += "; " + stranger
	}
	return w, nil
}

// Tree draws the dependencies of all services, or of one and what it needs.
func (s *Reader) Tree(name string) (wire.Tree, error) {
	v := s.from.Views.Load()
	var roots []graph.ID
	ids := v.Graph.Order()
	if name != "" {
		id, ok := v.Graph.Lookup(name)
		if !ok {
			return wire.Tree{}, s.NotFound(name)
		}
		roots = []graph.ID{id}
		ids = v.Graph.Closure(roots, false)
	}
	w := wire.Tree{ASCII: graph.TreeASCII(v.Graph, roots, s.nodes(v)), Nodes: []wire.TreeNode{}}
	for _, id := range ids {
		e := v.Entries[id]
		w.Nodes = append(w.Nodes, wire.TreeNode{Name: e.Config.Name, State: s.wireState(v, id, e), IsTarget: e.Config.Target,
			Dependencies: s.dependencies(v, id)})
	}
	return w, nil
}

// DebugState draws everything as 0.3.9's debug.state does.
func (s *Reader) DebugState() (string, error) {
	v := s.from.Views.Load()
	children := s.childLines(v)
	return graph.DebugState(v.Graph, func(id graph.ID) graph.NodeView {
		n := s.node(v, id)
		n.Children = children[v.Entries[id].Info.Gen]
		return n
	}), nil
}
