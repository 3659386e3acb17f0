package rpc

import (
	"context"
	"encoding/json"

	"github.com/zinit/zinit/rpc/wire"
)

// The arguments of the methods stand in package wire, so that the supervisor does not import this package.
type (
	// Change says how a start, stop or restart is to be answered.
	Change = wire.Change
	// LogQuery selects captured lines.
	LogQuery = wire.LogQuery
	// RunRequest says how a oneshot is run.
	RunRequest = wire.RunRequest
	// RunQuery selects lines of one run of a job.
	RunQuery = wire.RunQuery
	// Power is how a machine ends.
	Power = wire.Power
)

// The ways to end.
const (
	PowerStop     = wire.PowerStop
	PowerReboot   = wire.PowerReboot
	PowerPoweroff = wire.PowerPoweroff
	PowerHalt     = wire.PowerHalt
)

// Backend is what the RPC server asks of the supervisor. Every error is a *wire.Error (others become -32603).
// Queries answer from a snapshot and never wait for the supervisor's loop. Methods are safe for concurrent use.
type Backend interface {
	Ping() wire.Ping
	SystemStatus() (wire.SystemStatus, error)
	Boot() (wire.Boot, error)

	List() []string
	ListFull(stats bool) ([]wire.Listed, error)
	Status(name string) (wire.Status, error)
	StatusFull(name string) (wire.StatusFull, error)
	Get(name string) (json.RawMessage, error)
	Stats(name string) (wire.Stats, error)
	Children(name string) (wire.Children, error)
	IsRunning(name string) bool
	Why(name string) (wire.Why, error)
	Tree(name string) (wire.Tree, error) // "" = all
	DebugState() (string, error)
	ProcessTree(name string) (string, error)

	Start(ctx context.Context, name string, c Change) (wire.OK, error)
	Stop(ctx context.Context, name string, c Change) (wire.OK, error)
	Restart(ctx context.Context, name string, c Change) (wire.OK, error)
	// RunOneshot runs a oneshot now and returns when that run has ended.
	RunOneshot(ctx context.Context, name string, r RunRequest) (wire.Run, error)
	Kill(name, signal string) (wire.OK, error)
	SignalReload(name string) (wire.OK, error)
	Set(ctx context.Context, config json.RawMessage, dryRun bool) (wire.Added, error)
	Add(ctx context.Context, config json.RawMessage, persist bool) (wire.Added, error)
	Remove(ctx context.Context, name string, r wire.Removal) (wire.OK, error)
	Reload(ctx context.Context, allowRemoval bool) (wire.Plan, error)
	Plan() (wire.Plan, error)
	StartAll(ctx context.Context) ([]string, error)
	StopAll(ctx context.Context) ([]string, error)
	DeleteAll(ctx context.Context, files wire.FilesChoice) (wire.Bulk, error)
	// Wait returns when every name has reached goal (running ready exited failed inactive gone).
	// An error -32031 is the time-out, -32002 says that the goal can no longer come.
	Wait(ctx context.Context, names []string, goal string, timeoutMS int64) (wire.Waited, error)

	Logs(q LogQuery) ([]wire.LogLine, error)
	// FollowLogs calls send for every line from q on, in order, until ctx ends or send fails.
	FollowLogs(ctx context.Context, q LogQuery, send func(wire.Follow) error) error
	Events(since uint64, limit int) (wire.Events, error)
	// FollowEvents calls send for every transition with Seq >= since (0 = only new ones) until ctx ends or send fails.
	FollowEvents(ctx context.Context, since uint64, send func(wire.Event) error) error

	// Shutdown is accepted here and begins after the answer has been written: the server calls the returned func then.
	Shutdown(p Power) (begin func(), err error)
	// Of two upgrades the second waits until the first has failed, or for the end of ctx. A handover waits for the return of
	// begin, so that of an upgrade must not wait for the handover.
	Upgrade(ctx context.Context, path string) (res wire.Upgrade, begin func(), err error)
	PrepareRestart(ctx context.Context) (res wire.PrepareRestart, begin func(), err error)

	XinetSet(c wire.XinetConfig) error
	XinetDelete(name string) error
	XinetList() []string
	XinetStatus(name string) (wire.XinetStatus, error)
	XinetStatusAll() []wire.XinetStatus

	Jobs() ([]wire.Job, error)
	JobHistory(name string) ([]wire.JobRun, error)
	JobLog(q RunQuery) (wire.RunLog, error)
	// Metrics is text in a format: openmetrics (also "") or prometheus.
	Metrics(format string) (wire.Metrics, error)
}
