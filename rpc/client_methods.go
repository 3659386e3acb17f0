package rpc

import (
	"context"
	"encoding/json"

	"github.com/zinit/zinit/rpc/wire"
)

// The parameter objects of the methods; the server's table names the same members.
type (
	nameParams   struct{ Name string }
	changeParams struct {
		Name      string `json:"name"`
		Wait      bool   `json:"wait,omitempty"`
		TimeoutMS int64  `json:"timeout_ms,omitempty"`
		NoDeps    bool   `json:"no_deps,omitempty"`
		RunOnly   bool   `json:"run_only,omitempty"`
	}
	logParams struct {
		Names    []string `json:"names,omitempty"`
		Lines    *int     `json:"lines,omitempty"`
		Stream   string   `json:"stream,omitempty"`
		Since    int64    `json:"since,omitempty"`
		Until    int64    `json:"until,omitempty"`
		SinceSeq uint64   `json:"since_seq,omitempty"`
		Grep     string   `json:"grep,omitempty"`
	}
)

func (p nameParams) append(b []byte) []byte {
	b = append(b, `{"name":`...)
	return append(appendString(b, p.Name), '}')
}

// MarshalJSON writes {"name":…}.
func (p nameParams) MarshalJSON() ([]byte, error) { return p.append(nil), nil }

// call is Call with a typed result.
func call[T any](ctx context.Context, c *Client, method string, params any) (T, error) {
	var result T
	err := c.Call(ctx, method, params, &result)
	return result, err
}

// Ping asks who answers.
func (c *Client) Ping(ctx context.Context) (wire.Ping, error) {
	return call[wire.Ping](ctx, c, "system.ping", nil)
}

// SystemStatus returns the overview.
func (c *Client) SystemStatus(ctx context.Context) (wire.SystemStatus, error) {
	return call[wire.SystemStatus](ctx, c, "system.status", nil)
}

// Boot returns the time line of the start.
func (c *Client) Boot(ctx context.Context) (wire.Boot, error) {
	return call[wire.Boot](ctx, c, "system.boot", nil)
}

// Discover returns the OpenRPC document of what the server serves.
func (c *Client) Discover(ctx context.Context) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, "rpc.discover", nil)
}

// Shutdown ends the server (PowerStop) or the machine. The answer comes before anything is stopped.
func (c *Client) Shutdown(ctx context.Context, power Power) error {
	method := "system.shutdown"
	if power != PowerStop && power != "" {
		method = "system." + string(power)
	}
	return c.Call(ctx, method, nil, nil)
}

// Upgrade makes the server execute the file at path in place ("" = the file it was started from).
func (c *Client) Upgrade(ctx context.Context, path string) (wire.Upgrade, error) {
	if path == "" {
		return call[wire.Upgrade](ctx, c, "system.upgrade", nil)
	}
	return call[wire.Upgrade](ctx, c, "system.upgrade", map[string]string{"path": path})
}

// PrepareRestart is 0.3.9's: the server saves its state and ends without stopping anything.
func (c *Client) PrepareRestart(ctx context.Context) (wire.PrepareRestart, error) {
	return call[wire.PrepareRestart](ctx, c, "system.prepare_restart", nil)
}

// List returns all names in order.
func (c *Client) List(ctx context.Context) ([]string, error) {
	return call[[]string](ctx, c, "service.list", nil)
}

// ListFull returns one row a service, by name. stats asks for memory and CPU as well, which costs a look into /proc.
func (c *Client) ListFull(ctx context.Context, stats bool) ([]wire.Listed, error) {
	if !stats {
		return call[[]wire.Listed](ctx, c, "service.list_full", nil)
	}
	return call[[]wire.Listed](ctx, c, "service.list_full", map[string]bool{"stats": true})
}

// Status returns the short status.
func (c *Client) Status(ctx context.Context, name string) (wire.Status, error) {
	return call[wire.Status](ctx, c, "service.status", nameParams{name})
}

// StatusFull returns everything about one service.
func (c *Client) StatusFull(ctx context.Context, name string) (wire.StatusFull, error) {
	return call[wire.StatusFull](ctx, c, "service.status_full", nameParams{name})
}

// Get returns the definition with its defaults, as service.get gives it.
func (c *Client) Get(ctx context.Context, name string) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, "service.get", nameParams{name})
}

// Stats returns memory and CPU of the whole tree.
func (c *Client) Stats(ctx context.Context, name string) (wire.Stats, error) {
	return call[wire.Stats](ctx, c, "service.stats", nameParams{name})
}

// Children returns the processes below the main one.
func (c *Client) Children(ctx context.Context, name string) (wire.Children, error) {
	return call[wire.Children](ctx, c, "service.children", nameParams{name})
}

// IsRunning is false for an unknown name too.
func (c *Client) IsRunning(ctx context.Context, name string) (bool, error) {
	return call[bool](ctx, c, "service.is_running", nameParams{name})
}

// Why explains the state of one service.
func (c *Client) Why(ctx context.Context, name string) (wire.Why, error) {
	return call[wire.Why](ctx, c, "service.why", nameParams{name})
}

// Tree returns the dependency tree of one service, or of all ("").
func (c *Client) Tree(ctx context.Context, name string) (wire.Tree, error) {
	if name == "" {
		return call[wire.Tree](ctx, c, "service.tree", nil)
	}
	return call[wire.Tree](ctx, c, "service.tree", nameParams{name})
}

// DebugState returns 0.3.9's text of all states.
func (c *Client) DebugState(ctx context.Context) (string, error) {
	out, err := call[wire.Output](ctx, c, "debug.state", nil)
	return out.Output, err
}

// ProcessTree returns 0.3.9's text of a service's processes.
func (c *Client) ProcessTree(ctx context.Context, name string) (string, error) {
	out, err := call[wire.Output](ctx, c, "debug.process_tree", nameParams{name})
	return out.Output, err
}

func (c *Client) change(ctx context.Context, method, name string, how Change) (wire.OK, error) {
	return call[wire.OK](ctx, c, method, changeParams{name, how.Wait, how.TimeoutMS, how.NoDeps, how.RunOnly})
}

// Start makes a service wanted up, with what it needs.
func (c *Client) Start(ctx context.Context, name string, how Change) (wire.OK, error) {
	return c.change(ctx, "service.start", name, how)
}

// Stop makes a service wanted down, after what requires it has stopped.
func (c *Client) Stop(ctx context.Context, name string, how Change) (wire.OK, error) {
	how.NoDeps = false
	return c.change(ctx, "service.stop", name, how)
}

// Run runs a oneshot now, and returns when that run has ended. An answer that is pending comes from a server that another one
// takes over from: ask that one with how.Again.
func (c *Client) Run(ctx context.Context, name string, how RunRequest) (wire.Run, error) {
	params := map[string]any{"name": name, "no_deps": how.NoDeps, "timeout_ms": how.TimeoutMS}
	if how.Again {
		params["after"] = how.After
	}
	return call[wire.Run](ctx, c, "service.run", params)
}

// Restart stops a service and starts it again.
func (c *Client) Restart(ctx context.Context, name string, how Change) (wire.OK, error) {
	return c.change(ctx, "service.restart", name, how)
}

// Kill sends a signal, by name or number, to the service; "" is SIGTERM.
func (c *Client) Kill(ctx context.Context, name, signal string) (wire.OK, error) {
	params := map[string]string{"name": name}
	if signal != "" {
		params["signal"] = signal
	}
	return call[wire.OK](ctx, c, "service.kill", params)
}

// SignalReload makes a service read its configuration again, by its `reload` key.
func (c *Client) SignalReload(ctx context.Context, name string) (wire.OK, error) {
	return call[wire.OK](ctx, c, "service.signal_reload", nameParams{name})
}

// Set stores a definition (the document of Get) under its name, replacing one that exists. With dryRun it is only checked.
func (c *Client) Set(ctx context.Context, config any, dryRun bool) (wire.Added, error) {
	params := map[string]any{"config": config}
	if dryRun {
		params["dry_run"] = true
	}
	return call[wire.Added](ctx, c, "service.set", params)
}

// Add adds a new definition, not started; with persist it is written to the configuration directory.
func (c *Client) Add(ctx context.Context, config any, persist bool) (wire.Added, error) {
	return call[wire.Added](ctx, c, "service.add", map[string]any{"config": config, "persist": persist})
}

// Remove stops and forgets a service and deletes its file, with cascade those that require it too.
func (c *Client) Remove(ctx context.Context, name string, cascade bool) (wire.OK, error) {
	params := map[string]any{"name": name}
	if cascade {
		params["cascade"] = true
	}
	return call[wire.OK](ctx, c, "service.remove", params)
}

// Forget stops and forgets a service, as r says.
func (c *Client) Forget(ctx context.Context, name string, r wire.Removal) (wire.OK, error) {
	return call[wire.OK](ctx, c, "service.remove", map[string]any{"name": name, "cascade": r.Cascade, "files": r.Files})
}

// ForgetAll stops and forgets every service of class user, and deletes the files that files says.
func (c *Client) ForgetAll(ctx context.Context, files wire.FilesChoice) (wire.Bulk, error) {
	return call[wire.Bulk](ctx, c, "service.delete_all", map[string]any{"files": files})
}

// Reload reads the configuration directories again. allowRemoval lets it remove what running services require.
func (c *Client) Reload(ctx context.Context, allowRemoval bool) (wire.Plan, error) {
	if !allowRemoval {
		return call[wire.Plan](ctx, c, "service.reload", nil)
	}
	return call[wire.Plan](ctx, c, "service.reload", map[string]bool{"allow_removal": true})
}

// Plan tells what Reload would do.
func (c *Client) Plan(ctx context.Context) (wire.Plan, error) {
	return call[wire.Plan](ctx, c, "service.plan", nil)
}

// StartAll starts every service of class user.
func (c *Client) StartAll(ctx context.Context) (wire.Bulk, error) {
	return call[wire.Bulk](ctx, c, "service.start_all", nil)
}

// StopAll stops every service of class user.
func (c *Client) StopAll(ctx context.Context) (wire.Bulk, error) {
	return call[wire.Bulk](ctx, c, "service.stop_all", nil)
}

// DeleteAll removes every service of class user.
func (c *Client) DeleteAll(ctx context.Context) (wire.Bulk, error) {
	return call[wire.Bulk](ctx, c, "service.delete_all", nil)
}

// Wait waits until every name has reached goal: running, ready, exited, failed, inactive or gone. timeoutMS 0 = no bound.
// The error is -32031 when the time is over, -32002 when the goal can no longer come.
func (c *Client) Wait(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error) {
	return call[wire.Waited](ctx, c, "service.wait", map[string]any{"names": names, "for": goal, "timeout_ms": timeoutMS})
}

func paramsOf(q LogQuery) logParams {
	return logParams{
		Names: q.Names, Lines: &q.Lines, Stream: q.Stream, Since: q.SinceMS, Until: q.UntilMS, SinceSeq: q.Since, Grep: q.Grep,
	}
}

// Logs returns captured lines, oldest first.
func (c *Client) Logs(ctx context.Context, q LogQuery) ([]wire.LogLine, error) {
	return call[[]wire.LogLine](ctx, c, "logs.tail", paramsOf(q))
}

// Events returns the transitions that are kept, from sequence number since on, at most limit (0 = the server's bound).
func (c *Client) Events(ctx context.Context, since uint64, limit int) (wire.Events, error) {
	return call[wire.Events](ctx, c, "events.get", map[string]any{"since": since, "limit": limit})
}

// XinetSet defines or replaces a socket proxy.
func (c *Client) XinetSet(ctx context.Context, config wire.XinetConfig) error {
	return c.Call(ctx, "xinet.set", map[string]any{"config": config}, nil)
}

// XinetDelete removes a socket proxy.
func (c *Client) XinetDelete(ctx context.Context, name string) error {
	return c.Call(ctx, "xinet.delete", nameParams{name}, nil)
}

// XinetList returns the names of all proxies.
func (c *Client) XinetList(ctx context.Context) ([]string, error) {
	return call[[]string](ctx, c, "xinet.list", nil)
}

// XinetStatus returns the state of one proxy.
func (c *Client) XinetStatus(ctx context.Context, name string) (wire.XinetStatus, error) {
	return call[wire.XinetStatus](ctx, c, "xinet.status", nameParams{name})
}

// Jobs returns every service with a schedule.
func (c *Client) Jobs(ctx context.Context) ([]wire.Job, error) {
	return call[[]wire.Job](ctx, c, "jobs.list", nil)
}

// JobHistory returns the runs of a job that are remembered, oldest first.
func (c *Client) JobHistory(ctx context.Context, name string) ([]wire.JobRun, error) {
	return call[[]wire.JobRun](ctx, c, "jobs.history", nameParams{name})
}

// JobLog returns the lines of one run of a job that are kept.
func (c *Client) JobLog(ctx context.Context, q RunQuery) (wire.RunLog, error) {
	params := map[string]any{"name": q.Name, "run": q.Run, "lines": q.Lines}
	if q.Stream != "" {
		params["stream"] = q.Stream
	}
	if q.Grep != "" {
		params["grep"] = q.Grep
	}
	return call[wire.RunLog](ctx, c, "jobs.log", params)
}

// Metrics returns everything that is counted and measured, in a format: openmetrics or prometheus.
func (c *Client) Metrics(ctx context.Context, format string) (wire.Metrics, error) {
	return call[wire.Metrics](ctx, c, "metrics.get", map[string]string{"format": format})
}

// XinetStatusAll returns the states of all proxies.
func (c *Client) XinetStatusAll(ctx context.Context) ([]wire.XinetStatus, error) {
	return call[[]wire.XinetStatus](ctx, c, "xinet.status_all", nil)
}
