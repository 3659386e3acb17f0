package answer

import (
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// NotFound names a service that does not exist, with the nearest that does.
func (s *Reader) NotFound(name string) *wire.Error {
	return wire.NewError(wire.CodeNotFound, "service not found: "+name+s.didYouMean(name)).With("name", name)
}

// didYouMean is "; did you mean NAME?" with the nearest name that is loaded, "" when none is near.
func (s *Reader) didYouMean(name string) string {
	if near := graph.Nearest(name, slices.Values(s.List())); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// find looks a service up in the current View.
func (s *Reader) find(name string) (*view.View, *view.Entry, graph.ID, error) {
	v := s.from.Views.Load()
	e, id, ok := v.Lookup(name)
	if !ok {
		return nil, nil, 0, s.NotFound(name)
	}
	return v, e, id, nil
}

// Ping answers with who is there.
func (s *Reader) Ping() wire.Ping {
	return wire.Ping{Version: s.from.Version, PID: os.Getpid(), UptimeMS: time.Since(s.started).Milliseconds(),
		Mode: s.from.Mode, Features: s.features(), Ending: s.from.Views.Load().Ending(s.from.Clock.Now())}
}

// List names all services, sorted.
func (s *Reader) List() []string {
	v := s.from.Views.Load()
	out := make([]string, 0, len(v.Entries))
	for _, e := range v.Entries {
		out = append(out, e.Config.Name)
	}
	slices.Sort(out)
	return out
}

// ListFull is one row a service, by name.
func (s *Reader) ListFull(stats bool) ([]wire.Listed, error) {
	v := s.from.Views.Load()
	out := make([]wire.Listed, 0, len(v.Entries))
	for id, e := range v.Entries {
		out = append(out, s.row(v, graph.ID(id), e))
	}
	if stats {
		s.addStats(v, out)
	}
	return out, nil
}

func (s *Reader) row(v *view.View, id graph.ID, e *view.Entry) wire.Listed {
	r := wire.Listed{Name: e.Config.Name, State: s.wireState(v, id, e), IsTarget: e.Config.Target,
		Restarts: e.Info.Restarts, Class: e.Config.Class.String(), Wanted: wanted(e.Info)}
	if up := s.uptime(e); up >= 0 {
		ms := up.Milliseconds()
		r.UptimeMS = &ms
	}
	if n := e.Info.NextRestart; n > 0 {
		ms := max(0, time.Duration(n-s.from.Clock.Now()).Milliseconds())
		r.NextRestartMS = &ms
	}
	switch e.Info.State {
	case machine.Blocked, machine.Failed, machine.Stopping, machine.Starting:
		r.Text = s.causeText(v, id)
	case machine.Running:
		if e.Config.Health != nil && e.Info.FailuresRow > 0 {
			r.Text = s.causeText(v, id)
		}
	}
	return r
}

// uptime is how long the present run lasts, -1 without one.
func (s *Reader) uptime(e *view.Entry) time.Duration {
	if !view.Active(e.Info.State) || e.Info.SpawnedAt == 0 && !e.Config.Target {
		return -1
	}
	from := e.Info.SpawnedAt
	if e.Config.Target {
		from = e.Info.Since
	}
	return time.Duration(s.from.Clock.Now() - from)
}

// Status is the short answer of 0.3.9.
func (s *Reader) Status(name string) (wire.Status, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return wire.Status{}, err
	}
	w := wire.Status{Name: name, State: e.Info.State.String(), PID: e.Info.PID}
	switch l := e.Info.LastExit; {
	case e.Info.State == machine.Failed:
		w.Error = view.ReasonPhrase(e.Info.Reason)
	case e.Info.State == machine.Exited && l.Valid && l.Status.Signal == 0 && !l.Status.Unknown:
		w.ExitCode = new(int(l.Status.Code))
	}
	return w, nil
}

// IsRunning is false for an unknown name, as in 0.3.9.
func (s *Reader) IsRunning(name string) bool {
	e, _, ok := s.from.Views.Load().Lookup(name)
	return ok && e.Info.State == machine.Running
}

// Get is the whole definition with defaults.
func (s *Reader) Get(name string) (json.RawMessage, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if _, problem := s.brokenText(name); problem != "" && e.Config.Exec.IsZero() && !e.Config.Target {
		return nil, wire.NewError(wire.CodeInvalidConfig, name+" has no usable definition: "+problem)
	}
	return confdir.JSON(e.Config), nil
}

func (s *Reader) brokenText(name string) (kind, problem string) {
	v := s.from.Views.Load()
	id, ok := v.Graph.Lookup(name)
	if !ok {
		return "", ""
	}
	return v.Graph.Broken(id)
}

// dependencies lists the edges of a service with the state at their other end.
func (s *Reader) dependencies(v *view.View, id graph.ID) []wire.Dependency {
	out := []wire.Dependency{}
	if int(id) >= v.Graph.Len() {
		return out
	}
	unmet := map[graph.ID]bool{}
	for _, u := range v.Unmet(id) {
		if u.On != graph.None {
			unmet[u.On] = true
		}
	}
	add := func(kind string, ids []graph.ID, binds bool) {
		for _, o := range ids {
			out = append(out, wire.Dependency{Name: v.Graph.Name(o), DepType: kind, Binds: binds,
				State: s.wireState(v, o, v.Entries[o]), Satisfied: s.satisfied(v, kind, o, unmet[o])})
		}
	}
	add("requires", v.Graph.Requires(id), false)
	add("requires", v.Graph.Binds(id), true)
	add("after", v.Graph.After(id), false)
	add("wants", v.Graph.Wants(id), false)
	add("conflicts", v.Graph.Conflicts(id), false)
	for _, name := range v.Graph.Missing(id) {
		out = append(out, wire.Dependency{Name: name, DepType: "requires", State: wire.State{State: "inactive"}, Missing: true})
	}
	return out
}

// satisfied says whether an edge stands in nobody's way: for requires the state counts, for the others what is unmet.
func (s *Reader) satisfied(v *view.View, kind string, o graph.ID, unmet bool) bool {
	switch kind {
	case "requires":
		return v.Standing(o)&graph.Satisfied != 0
	case "conflicts":
		return v.Standing(o)&graph.Holds == 0
	}
	return !unmet
}

// StatusFull is everything about one service.
func (s *Reader) StatusFull(name string) (wire.StatusFull, error) {
	v, e, id, err := s.find(name)
	if err != nil {
		return wire.StatusFull{}, err
	}
	c, i := e.Config, e.Info
	w := wire.StatusFull{Name: c.Name, State: s.wireState(v, id, e), IsTarget: c.Target, Dependencies: s.dependencies(v, id),
		Since: view.RFC3339(s.from.Clock.Wall(i.Since)), Wanted: wanted(i), Due: i.Due, Class: c.Class.String(), Critical: c.Critical,
		Oneshot: c.Oneshot, StatusKey: c.Status.String(), Incarnation: uint64(i.Gen), PID: i.PID,
		ReadyAt: view.RFC3339(s.from.Clock.Wall(i.ReadyAt)), Restarts: i.Restarts, MaxRestarts: c.Lifecycle.MaxRestarts,
		BackoffMS: time.Duration(i.Backoff).Milliseconds(), LastExit: s.wireExit(i.LastExit), Cause: s.causeText(v, id),
		Ports: ports(c), Source: c.Source, Ephemeral: c.Ephemeral, Unkillable: i.Unkillable,
		OOM: i.Reason.Kind == "oom", Health: s.health(c, i), Processes: []wire.Process{}, Warnings: s.warnings(v, id)}
	if len(c.Schedules) > 0 {
		j := s.job(e)
		w.Job = &j
	}
	if up := s.uptime(e); up >= 0 {
		secs, ms := uint64(up/time.Second), up.Milliseconds()
		w.UptimeSecs, w.UptimeMS = &secs, &ms
	}
	w.StartedAt = view.RFC3339(s.from.Clock.Wall(i.SpawnedAt))
	if n := i.NextRestart; n > 0 {
		ms := max(0, time.Duration(n-s.from.Clock.Now()).Milliseconds())
		w.NextRestartMS, w.NextRestartAt = &ms, view.RFC3339(s.from.Clock.Wall(n))
	}
	if e.Run != nil {
		w.StatusText, w.Announced, w.Cgroup = e.Run.StatusText, e.Run.Announced, e.Run.Cgroup
		if e.Run.Warning != "" {
			w.Warnings = append(w.Warnings, e.Run.Warning)
		}
	}
	w.Tracking = s.trackingOf(e)
	tree := s.tree(e)
	w.Processes = wireProcesses(tree)
	markOutside(w.Processes, w.Cgroup)
	if text := s.stranger(e, tree); text != "" {
		w.Warnings = append(w.Warnings, text)
	}
	var ok bool
	if w.MemoryBytes, w.CPUPercent, ok = s.grouped(e); !ok {
		w.MemoryBytes, w.CPUPercent = s.measured(e, tree)
	}
	w.Sinks = s.sinksOf(c.Name)
	w.Log = s.lastLines(c.Name, logLinesStatus)
	return w, nil
}

func ports(c *graph.Config) []int {
	out := []int{}
	for _, p := range c.Ports {
		out = append(out, int(p))
	}
	return out
}

// warnings of the configuration that concern one service.
func (s *Reader) warnings(v *view.View, id graph.ID) []string {
	out := []string{}
	name := v.Entries[id].Config.Name
	for _, p := range slices.Concat(s.from.Defs.Load().Problems, v.Graph.Problems()) {
		if p.Service == name && p.Severity != graph.SeverityNote && !slices.Contains(out, p.Message) {
			out = append(out, p.Message)
		}
	}
	return out
}

// health is the state of the check, nil without one.
func (s *Reader) health(c *graph.Config, i machine.Info) *wire.HealthStatus {
	if c.Health == nil {
		return nil
	}
	h := &wire.HealthStatus{Type: c.Health.Type.String(), Target: c.Health.Target, Checks: i.Probes, FailuresRow: i.FailuresRow,
		LastDetail: i.LastProbe, LastAt: view.RFC3339(s.from.Clock.Wall(i.LastProbeAt))}
	if i.Probes > 0 {
		h.LastOK = &i.LastProbeOK
	}
	return h
}

// SystemStatus is the overview.
func (s *Reader) SystemStatus() (wire.SystemStatus, error) {
	v := s.from.Views.Load()
	w := wire.SystemStatus{Version: s.from.Version, PID: os.Getpid(), UptimeMS: time.Since(s.started).Milliseconds(), Mode: s.from.Mode,
		ConfigDirs: list(s.from.ConfigDirs), Socket: s.from.Socket, Tracking: s.tracking(), Counts: map[string]int{},
		Failed: []wire.CauseLink{}, Blocked: []wire.CauseLink{}, Problems: view.AllProblems(s.from.Defs.Load(), v.Graph), Strays: s.strays(),
		ServerStarts: s.from.Starts, LastCrash: s.from.LastCrash, RolledBack: s.from.RolledBack,
		LastUpgrade: s.from.LastUpgrade.Load(), ShuttingDown: v.Halting,
		LogArenaBytes: uint64(s.from.Arena.Bytes()), Sinks: s.sinksOf("")}
	for _, st := range []machine.State{machine.Inactive, machine.Blocked, machine.Starting, machine.Running, machine.Stopping, machine.Exited, machine.Failed} {
		w.Counts[st.String()] = 0
	}
	for i, e := range v.Entries {
		w.Counts[e.Info.State.String()]++
		link := func() wire.CauseLink {
			return wire.CauseLink{Name: e.Config.Name, State: s.wireState(v, graph.ID(i), e), Text: s.causeText(v, graph.ID(i))}
		}
		switch e.Info.State {
		case machine.Failed:
			w.Failed = append(w.Failed, link())
		case machine.Blocked:
			w.Blocked = append(w.Blocked, link())
		}
	}
	return w, nil
}

// Events answers from the kept transitions.
func (s *Reader) Events(since uint64, limit int) (wire.Events, error) {
	if limit <= 0 {
		limit = view.EventsKept
	}
	evs, next, missed, _ := s.from.Events.Since(since, limit)
	if evs == nil {
		evs = []wire.Event{}
	}
	return wire.Events{Events: evs, Next: next, Missed: missed}, nil
}

// rejectUnknown is the error for a name in a query about several services.
func (s *Reader) rejectUnknown(names []string) error {
	v := s.from.Views.Load()
	for _, n := range names {
		if _, _, ok := v.Lookup(n); !ok && n != ownLogName && n != syslogName {
			return s.NotFound(n)
		}
	}
	return nil
}
