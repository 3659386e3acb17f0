package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zinit/zinit/rpc/wire"
)

// fakeBackend serves a fixed set of services, all running. Its hooks let a test stand in for one method.
type fakeBackend struct {
	names  []string
	listed []wire.Listed
	lines  []wire.LogLine
	began  atomic.Int32 // how often a begin func was called
	calls  atomic.Int64

	start       func(ctx context.Context, name string, c Change) (wire.OK, error)
	wait        func(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error)
	set         func(ctx context.Context, config json.RawMessage, dryRun bool) (wire.Added, error)
	kill        func(name, signal string) (wire.OK, error)
	logs        func(q LogQuery) ([]wire.LogLine, error)
	followLogs  func(ctx context.Context, q LogQuery, send func(wire.Follow) error) error
	followEvent func(ctx context.Context, since uint64, send func(wire.Event) error) error
	xinetSet    func(c wire.XinetConfig) error
	ping        func() wire.Ping

	mu   sync.Mutex
	seen []string
}

func newFake(names ...string) *fakeBackend {
	f := &fakeBackend{names: names}
	slices.Sort(f.names)
	for i, name := range f.names {
		pid := 100 + i
		f.listed = append(f.listed, wire.Listed{Name: name, Class: "user", Wanted: "up",
			State: wire.State{State: "running", PID: &pid}})
	}
	return f
}

func (f *fakeBackend) note(format string, values ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, fmt.Sprintf(format, values...))
}

func (f *fakeBackend) notes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *fakeBackend) find(name string) (int, error) {
	i, ok := slices.BinarySearch(f.names, name)
	if !ok {
		return 0, wire.NewError(wire.CodeNotFound, fmt.Sprintf("service not found: %s", name))
	}
	return i, nil
}

func found[T any](f *fakeBackend, name string, v T) (T, error) {
	_, err := f.find(name)
	return v, err
}

func (f *fakeBackend) Ping() wire.Ping {
	if f.ping != nil {
		return f.ping()
	}
	return wire.Ping{Version: "0.4.0", PID: 1, Mode: "server"}
}
func (f *fakeBackend) SystemStatus() (wire.SystemStatus, error) { return wire.SystemStatus{}, nil }
func (f *fakeBackend) Boot() (wire.Boot, error)                 { return wire.Boot{}, nil }
func (f *fakeBackend) List() []string                           { return f.names }
func (f *fakeBackend) ListFull(bool) ([]wire.Listed, error)     { return f.listed, nil }

func (f *fakeBackend) Status(name string) (wire.Status, error) {
	f.calls.Add(1)
	i, err := f.find(name)
	return wire.Status{Name: name, State: "running", PID: 100 + i}, err
}
func (f *fakeBackend) StatusFull(name string) (wire.StatusFull, error) {
	return found(f, name, wire.StatusFull{Name: name, State: wire.State{State: "running"}, Log: []wire.LogLine{{Content: "secret"}}})
}
func (f *fakeBackend) Get(name string) (json.RawMessage, error) {
	return found(f, name, json.RawMessage(fmt.Sprintf("{\n \"service\": {\"name\": %q}}", name)))
}
func (f *fakeBackend) Stats(name string) (wire.Stats, error) { return found(f, name, wire.Stats{}) }
func (f *fakeBackend) Children(name string) (wire.Children, error) {
	return found(f, name, wire.Children{})
}
func (f *fakeBackend) IsRunning(name string) bool           { _, err := f.find(name); return err == nil }
func (f *fakeBackend) Why(name string) (wire.Why, error)    { return found(f, name, wire.Why{Name: name}) }
func (f *fakeBackend) Tree(string) (wire.Tree, error)       { return wire.Tree{}, nil }
func (f *fakeBackend) DebugState() (string, error)          { return "state\n", nil }
func (f *fakeBackend) ProcessTree(n string) (string, error) { return found(f, n, n+" is not running") }

func (f *fakeBackend) change(ctx context.Context, verb, name string, c Change) (wire.OK, error) {
	f.note("%s %s %+v", verb, name, c)
	if _, err := f.find(name); err != nil {
		return wire.OK{}, err
	}
	if f.start != nil {
		return f.start(ctx, name, c)
	}
	return wire.OK{OK: true}, nil
}
func (f *fakeBackend) Start(ctx context.Context, name string, c Change) (wire.OK, error) {
	return f.change(ctx, "start", name, c)
}
func (f *fakeBackend) Stop(ctx context.Context, name string, c Change) (wire.OK, error) {
	return f.change(ctx, "stop", name, c)
}
func (f *fakeBackend) Restart(ctx context.Context, name string, c Change) (wire.OK, error) {
	return f.change(ctx, "restart", name, c)
}
func (f *fakeBackend) Kill(name, signal string) (wire.OK, error) {
	f.note("kill %s %s", name, signal)
	if f.kill != nil {
		return f.kill(name, signal)
	}
	return found(f, name, wire.OK{OK: true})
}
func (f *fakeBackend) SignalReload(name string) (wire.OK, error) {
	return found(f, name, wire.OK{OK: true})
}
func (f *fakeBackend) Set(ctx context.Context, config json.RawMessage, dryRun bool) (wire.Added, error) {
	f.note("set %s %v", config, dryRun)
	if f.set != nil {
		return f.set(ctx, config, dryRun)
	}
	return wire.Added{Name: "x"}, nil
}
func (f *fakeBackend) Add(_ context.Context, config json.RawMessage, persist bool) (wire.Added, error) {
	f.note("add %s %v", config, persist)
	if string(config) == "{}" {
		return wire.Added{}, wire.NewError(wire.CodeInvalidConfig, "missing [service] or [target]")
	}
	return wire.Added{Name: "x"}, nil
}
func (f *fakeBackend) Remove(_ context.Context, name string, r wire.Removal) (wire.OK, error) {
	f.note("remove %s %v", name, r.Cascade)
	return found(f, name, wire.OK{OK: true})
}
func (f *fakeBackend) Reload(context.Context, bool) (wire.Plan, error) { return wire.Plan{}, nil }
func (f *fakeBackend) Plan() (wire.Plan, error)                        { return wire.Plan{}, nil }
func (f *fakeBackend) StartAll(context.Context) ([]string, error)      { return f.names, nil }
func (f *fakeBackend) StopAll(context.Context) ([]string, error)       { return nil, nil }
func (f *fakeBackend) DeleteAll(context.Context, wire.FilesChoice) (wire.Bulk, error) {
	return wire.Bulk{Deleted: f.names}, nil
}
func (f *fakeBackend) Events(since uint64, n int) (wire.Events, error) {
	f.note("events %d %d", since, n)
	return wire.Events{Next: since}, nil
}

func (f *fakeBackend) Wait(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error) {
	f.note("wait %v %s %d", names, goal, timeoutMS)
	if f.wait != nil {
		return f.wait(ctx, names, goal, timeoutMS)
	}
	return wire.Waited{}, nil
}
func (f *fakeBackend) Logs(q LogQuery) ([]wire.LogLine, error) {
	f.note("logs %+v", q)
	if f.logs != nil {
		return f.logs(q)
	}
	for _, name := range q.Names {
		if _, err := f.find(name); err != nil {
			return nil, err
		}
	}
	return f.lines, nil
}
func (f *fakeBackend) FollowLogs(ctx context.Context, q LogQuery, send func(wire.Follow) error) error {
	if f.followLogs != nil {
		return f.followLogs(ctx, q, send)
	}
	<-ctx.Done()
	return ctx.Err()
}
func (f *fakeBackend) FollowEvents(ctx context.Context, since uint64, send func(wire.Event) error) error {
	if f.followEvent != nil {
		return f.followEvent(ctx, since, send)
	}
	<-ctx.Done()
	return ctx.Err()
}
func (f *fakeBackend) Shutdown(p Power) (func(), error) {
	if p != PowerStop {
		return nil, wire.NewError(wire.CodeInternal, "only available when running as PID 1")
	}
	return func() { f.began.Add(1) }, nil
}
func (f *fakeBackend) Upgrade(_ context.Context, path string) (wire.Upgrade, func(), error) {
	return wire.Upgrade{OK: true, To: path}, func() { f.began.Add(1) }, nil
}
func (f *fakeBackend) PrepareRestart(context.Context) (wire.PrepareRestart, func(), error) {
	return wire.PrepareRestart{Ready: true}, func() { f.began.Add(1) }, nil
}
func (f *fakeBackend) XinetSet(c wire.XinetConfig) error {
	f.note("xinet %+v", c)
	if f.xinetSet != nil {
		return f.xinetSet(c)
	}
	return nil
}
func (f *fakeBackend) XinetDelete(name string) error {
	return wire.NewError(wire.CodeInternal, fmt.Sprintf("Proxy '%s' not found", name))
}
func (f *fakeBackend) XinetList() []string { return nil }
func (f *fakeBackend) XinetStatus(name string) (wire.XinetStatus, error) {
	return wire.XinetStatus{}, wire.NewError(wire.CodeNotFound, "proxy not found")
}
func (f *fakeBackend) XinetStatusAll() []wire.XinetStatus { return nil }
func (f *fakeBackend) Jobs() ([]wire.Job, error)          { return []wire.Job{}, nil }
func (f *fakeBackend) Metrics(string) (wire.Metrics, error) {
	return wire.Metrics{ContentType: "text/plain", Text: "# EOF\n"}, nil
}
func (f *fakeBackend) JobLog(q RunQuery) (wire.RunLog, error) {
	return found(f, q.Name, wire.RunLog{Lines: []wire.LogLine{}})
}
func (f *fakeBackend) RunOneshot(_ context.Context, name string, _ RunRequest) (wire.Run, error) {
	return found(f, name, wire.Run{OK: true, Outcome: "done", State: wire.State{State: "exited"}})
}
func (f *fakeBackend) JobHistory(name string) ([]wire.JobRun, error) {
	return found(f, name, []wire.JobRun{})
}
