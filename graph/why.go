package graph

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (g *Graph) sortedNames(ids map[ID]bool) []string {
	var names []string
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		names = append(names, g.Name(id))
	}
	return names
}

// debugText is the part after the dash in debug.state.
func debugText(v *NodeView) string {
	state := v.state()
	text := strings.ToUpper(state[:1]) + state[1:]
	switch {
	case v.hasProcess():
		uptime := "?"
		if v.Uptime >= 0 && v.PID != 0 {
			uptime = strconv.FormatInt(int64(v.Uptime.Seconds()), 10) + "s"
		}
		return text + " (pid=" + strconv.Itoa(v.PID) + ", uptime=" + uptime + ")"
	case v.Conflict != "":
		return text + " (" + v.Conflict + ")"
	case v.Failure != "":
		return text + " (" + v.Failure + ")"
	}
	return text
}

// Link is one step of a cause chain.
type Link struct {
	ID   ID     // None for a name that does not exist
	Name string // of the service
	Text string // what it is and why, beginning with a verb: "is blocked: requires db"
}

// maxLinks bounds a chain; what is longer ends in the middle.
const maxLinks = 64

// Why returns the chain of causes from id down to the root: each link is the reason of the one before. It is never
// empty, whatever the state, and ends: no service is in it twice.
func Why(g *Graph, id ID, view View) []Link {
	of := func(id ID) Standing { return view(id).Standing }
	seen := map[ID]bool{}
	var chain []Link
	for id != None && !seen[id] && len(chain) < maxLinks {
		seen[id] = true
		v := view(id)
		text, next, missing := g.because(id, &v, view, of)
		if v.Job && next == None && missing == "" {
			text = v.withSchedule(text)
		}
		chain = append(chain, Link{id, g.Name(id), text})
		if missing != "" {
			text := "does not exist"
			if near := g.nearest(missing); near != "" {
				text += "; did you mean " + near + "?"
			}
			chain = append(chain, Link{None, missing, text})
		}
		id = next
	}
	return chain
}

// WhyLine writes a chain as one sentence: "api is blocked: requires db, which failed: exited with code 1".
func WhyLine(chain []Link) string {
	var b strings.Builder
	for i, link := range chain {
		if i == 0 {
			b.WriteString(link.Name + " " + link.Text)
		} else {
			b.WriteString(", which " + link.Text)
		}
	}
	return b.String()
}

// WhyASCII draws the answer to why as zinit 0.3.9 does for what can start, and the cause, what it waits for and what it
// conflicts with for what cannot.
func WhyASCII(g *Graph, id ID, view View) string {
	v := view(id)
	lines := []string{Symbol(v.State) + " " + g.Name(id) + " (" + v.state() + ")"}
	unmet := CanStart(g, id, func(id ID) Standing { return view(id).Standing })
	if len(unmet) == 0 && v.State == "running" && v.CheckError == "" {
		return lines[0] + "\n  Can start: all dependencies satisfied"
	}
	lines = append(lines, "  "+WhyLine(Why(g, id, view)))
	if _, problem := g.Broken(id); len(unmet) == 0 && problem == "" && v.Conflict == "" {
		lines = append(lines, "  Can start: all dependencies satisfied")
	}
	for i, u := range unmet {
		if i == 0 {
			lines = append(lines, "  Cannot start:")
		}
		state := "does not exist"
		if u.On != None {
			other := view(u.On)
			state = other.state()
		}
		lines = append(lines, "    "+u.Kind.String()+" "+u.Name+" ("+state+")")
	}
	if v.Conflict != "" {
		lines = append(lines, "  Conflict: "+v.Conflict)
	}
	return strings.Join(lines, "\n")
}

// because returns why a service is as it is, and the service (or the missing name) that is the cause, if one is.
func (g *Graph) because(id ID, v *NodeView, view View, of func(ID) Standing) (text string, next ID, missing string) {
	switch v.state() {
	case "running":
		return g.whyRunning(id, v), None, ""
	case "starting":
		return "is starting: " + g.startingText(id, v), None, ""
	case "stopping":
		return g.whyStopping(id, v, view)
	case "blocked":
		return g.whyBlocked(id, v, of)
	case "exited":
		return g.whyExited(id, v), None, ""
	case "failed":
		return g.whyFailed(id, v)
	case "inactive":
		return g.whyInactive(id, v, of)
	}
	return "is " + v.state(), None, ""
}

func (g *Graph) whyRunning(id ID, v *NodeView) string {
	text := "is running"
	if g.configs[id].Target {
		text = "is reached: everything it requires is there"
	} else if v.PID != 0 {
		text += " (pid " + strconv.Itoa(v.PID) + ")"
	}
	if v.Since > 0 {
		text += " for " + Duration(v.Since)
	}
	c := g.configs[id]
	switch {
	case v.Phase != "":
		text += ": " + v.Phase
	case v.CheckError != "" && c.Health != nil && v.CheckRow == 0:
		text += ": its " + c.Health.Type.String() + " check fails, which does not count so soon after its start: " + v.CheckError
	case v.CheckError != "" && c.Health != nil:
		text += ": its " + c.Health.Type.String() + " check has failed " + strconv.Itoa(v.CheckRow) + " of " +
			strconv.Itoa(c.Health.Retries) + " times in a row: " + v.CheckError
	}
	return text
}

func (g *Graph) startingText(id ID, v *NodeView) string {
	c := g.configs[id]
	text := "it is being executed"
	switch {
	case v.Phase != "":
		text = v.Phase
	case v.Job:
		text = "its run goes on"
	case c.Oneshot:
		text = "it is a oneshot and counts once it exits 0"
	case v.PID == 0:
	case c.Ready.Kind == ReadyNotify:
		text = "its READY=1 has not come"
	case c.Ready.Kind == ReadyFD:
		text = "its newline on descriptor " + strconv.Itoa(c.Ready.FD) + " has not come"
	case c.Health != nil:
		text = "its " + c.Health.Type.String() + " check has not passed"
	}
	if v.Since > 0 {
		text += ", for " + Duration(v.Since)
	}
	if v.CheckError != "" && v.Phase == "" && c.Health != nil {
		text += ": " + v.CheckError
	}
	return text
}

func (g *Graph) whyStopping(id ID, v *NodeView, view View) (string, ID, string) {
	switch {
	case v.Unkillable && v.Obstacle != "":
		return "is stopping: still there after SIGKILL: " + v.Obstacle, None, ""
	case v.Unkillable:
		return "is stopping: a process is still there after SIGKILL", None, ""
	case v.Obstacle != "":
		return "is stopping: SIGKILL was sent: " + v.Obstacle, None, ""
	case v.Phase != "":
		return "is stopping: " + v.Phase, None, ""
	}
	for _, dependent := range g.Requirers(id) {
		if other := view(dependent); other.hasProcess() && !g.configs[dependent].Target {
			return "is stopping: waits for " + g.Name(dependent) + " to end first", dependent, ""
		}
	}
	text := "is stopping: its processes have not ended"
	if v.Failure != "" {
		text = "is stopping after it failed: " + v.Failure
	}
	if v.Since > 0 {
		text += ", for " + Duration(v.Since)
	}
	return text, None, ""
}

var kindClauses = [nKinds]string{"requires ", "binds ", "comes after ", "wants ", "conflicts with "}

func (g *Graph) whyBlocked(id ID, v *NodeView, of func(ID) Standing) (string, ID, string) {
	if v.Conflict != "" {
		return "is blocked: " + v.Conflict, None, ""
	}
	unmet := CanStart(g, id, of)
	if len(unmet) == 0 {
		return "is blocked: nothing is in its way any more, it starts next", None, ""
	}
	worst := worstUnmet(unmet)
	text := "is blocked: " + kindClauses[worst.Kind] + worst.Name
	if len(unmet) > 1 {
		text += " (and " + strconv.Itoa(len(unmet)-1) + " more)"
	}
	if worst.On == None {
		return text, None, worst.Name
	}
	return text, worst.On, ""
}

// worstUnmet picks the one to follow to the root: a missing name, then one that failed for good, then the first.
func worstUnmet(unmet []Unmet) Unmet {
	for _, u := range unmet {
		if u.On == None {
			return u
		}
	}
	for _, u := range unmet {
		if u.Failed {
			return u
		}
	}
	return unmet[0]
}

func (g *Graph) whyExited(id ID, v *NodeView) string {
	c := g.configs[id]
	text := v.Failure
	switch {
	case text == "":
		text = "exited"
	case strings.HasPrefix(text, "killed"):
		text = "was " + text
	}
	switch {
	case v.RestartDue:
		return text + g.restartText(id, v)
	case v.HeldDown || !v.WantedUp:
		return "was stopped" + g.sinceText(v) + ": " + text
	case c.Oneshot:
		return "is done: " + text
	}
	if since := g.sinceText(v); since != "" {
		text += "," + since
	}
	return text + ", and restart = " + c.Lifecycle.Restart.String() + " does not start it again"
}

func (g *Graph) sinceText(v *NodeView) string {
	if v.Since <= 0 {
		return ""
	}
	return " " + Duration(v.Since) + " ago"
}

// restartText is ", restart 3 of 10 in 4 s".
func (g *Graph) restartText(id ID, v *NodeView) string {
	text := ", restart " + strconv.Itoa(max(v.Restarts, 1))
	if limit := g.configs[id].Lifecycle.MaxRestarts; limit > 0 {
		text += " of " + strconv.Itoa(limit)
	}
	return text + " in " + Duration(v.RestartIn)
}

func (g *Graph) whyFailed(id ID, v *NodeView) (string, ID, string) {
	if _, problem := g.Broken(id); problem != "" {
		return "failed: " + problem, None, ""
	}
	if v.Other != "" {
		to, ok := g.Lookup(v.Other)
		if !ok {
			return "failed: requires " + v.Other, None, v.Other
		}
		clause := kindClauses[KindRequires]
		if g.out[KindBinds].has(id, to) && !g.out[KindRequires].has(id, to) {
			clause = kindClauses[KindBinds]
		}
		return "failed: " + clause + v.Other, to, ""
	}
	text := "failed"
	if v.Failure != "" {
		text += ": " + v.Failure
	}
	limit := g.configs[id].Lifecycle.MaxRestarts
	switch {
	case v.RestartDue:
		return text + g.restartText(id, v), None, ""
	case limit > 0 && v.Restarts >= limit:
		text += ", gave up after " + strconv.Itoa(v.Restarts) + " restart"
		if v.Restarts != 1 {
			text += "s"
		}
	}
	if ago := g.sinceText(v); ago != "" {
		text += "," + ago
	}
	return text, None, ""
}

func (g *Graph) whyInactive(id ID, v *NodeView, of func(ID) Standing) (string, ID, string) {
	c := g.configs[id]
	_, problem := g.Broken(id)
	switch {
	case problem != "":
		return "is inactive: " + problem, None, ""
	case v.Phase != "":
		return "is inactive: " + v.Phase, None, ""
	case v.HeldDown:
		return "is inactive: an operator stopped it" + g.sinceText(v), None, ""
	case v.Job && v.WantedUp:
		return "is inactive", None, "" // the schedule follows
	case v.WantedUp:
		if u, ok := FirstUnmet(g, id, of); ok && u.On != None {
			return "is inactive: " + kindClauses[u.Kind] + u.Name, u.On, ""
		}
		return "is inactive: it is about to start", None, ""
	case c.Status != StatusStart:
		return "has status = " + c.Status.String() + ": only an explicit start starts it", None, ""
	}
	return "is inactive: nobody has started it", None, ""
}

// withSchedule adds what is to come of a job, and which rule left its last due run out, to why it is as it is.
func (v *NodeView) withSchedule(text string) string {
	add := func(more string) {
		sep := "; "
		if text == "is inactive" {
			sep = ": "
		}
		text += sep + more
	}
	switch {
	case v.HeldDown || !v.WantedUp:
		if v.HeldDown {
			add("runs that are due are left out until it is started or run")
		}
		return text
	case v.InLine:
		add("it is due and waits for its turn, [jobs] concurrency jobs run")
	case v.NextRun >= 0 && v.Jitter > 0:
		add("its next run is due in " + Duration(v.NextRun) + ", " + Duration(v.Jitter) + " of it jitter")
	case v.NextRun >= 0:
		add("its next run is due in " + Duration(v.NextRun))
	case v.State != "starting" && v.State != "running" && v.State != "stopping":
		add("its schedule has no further run")
	}
	if v.LeftOut != "" {
		add("the last one that was due was left out: " + v.LeftOut)
	}
	return text
}
