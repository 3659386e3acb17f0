package machine

import "github.com/zinit/zinit/graph"

// Action is one thing the driver must do. Actions are imperative and are carried out in order. ID is valid in the
// machine's current graph until the next Step; Gen names the incarnation for ever.
type Action interface{ act() }

type (
	// Precheck asks whether ports and process filters are free; Kill lets the driver end foreign holders first
	// (TERM, 5 s, KILL). Answered by one Prechecked, from any state of affairs.
	Precheck struct {
		ID   graph.ID
		Gen  Gen
		Kill bool
	}

	// Spawn runs the pre_start hook, then starts the main process. Answered by exactly one Spawned or SpawnFailed.
	Spawn struct {
		ID  graph.ID
		Gen Gen
	}

	// Abort asks to end a Spawn that has not been answered yet (a hook that runs, a spawn that hangs). The answer is
	// still exactly one Spawned or SpawnFailed; after a Spawned the machine stops the process itself.
	Abort struct{ Gen Gen }

	// Stop begins the graceful stop: stop_command, or stop_signal to the process group followed by SIGCONT.
	Stop struct {
		ID  graph.ID
		Gen Gen
	}

	// Kill sends SIGKILL to everything that belongs to the incarnation and goes on until nothing is left; the driver
	// then says ProcessExited and TreeEmpty as they happen.
	Kill struct {
		ID  graph.ID
		Gen Gen
	}

	// Signal sends one signal to the service's process group (an operator's kill, or reload with Reload set, which
	// may be a command).
	Signal struct {
		ID     graph.ID
		Gen    Gen
		Sig    graph.Signal
		Reload bool
		Req    ReqID // of the request whose Reply follows, 0 = nobody waits for it
	}

	// Probe runs one health check. Answered by one Probed unless CancelProbe or the end of the incarnation comes first.
	Probe struct {
		ID  graph.ID
		Gen Gen
	}

	// CancelProbe ends a check that is under way; its answer, if it still comes, is dropped by Gen.
	CancelProbe struct{ Gen Gen }

	// Hook runs post_stop. Answered by one HookDone.
	Hook struct {
		ID  graph.ID
		Gen Gen
	}

	// Note publishes a transition. Notes of one service chain without gaps: From is the To before it.
	Note struct {
		ID       graph.ID
		Gen      Gen
		From, To State
		Cause    Cause
		By       string // the service, request or rule behind the cause: a name or ""
		Reason   Reason // To Failed: why; the service may have gone on in the same Step
	}

	// Reply answers a request, once.
	Reply struct {
		Req     ReqID
		ID      graph.ID
		Outcome Outcome
		Gen     Gen // VerbRun: the incarnation that the run ended with, 0 = none
	}

	// Forget says that a removed service is gone: everything kept under its name may go.
	Forget struct{ Name string }

	// Critical says that a critical service has failed for good.
	Critical struct{ ID graph.ID }

	// LeftOut says that runs of a job were due and a rule kept them from running.
	LeftOut struct {
		ID   graph.ID
		Rule string // "the run before has not ended", …
		Runs int    // how many: those that wait are left out together
	}

	// Halt says that everything is stopped; the server exits with Code.
	Halt struct{ Code int }
)

// Cause is why a transition happened.
type Cause uint8

// The causes.
const (
	CauseLoad       Cause = iota // first load, status = start
	CauseAsked                   // an operator asked
	CausePulledIn                // another service needs it (By)
	CauseDependency              // a dependency became satisfied, or is not any more (By)
	CauseConflict                // a conflict began or ended (By)
	CausePort                    // a port or a process filter
	CauseSpawned                 // exec succeeded and that is ready
	CauseReady                   // readiness was reported
	CauseHealth                  // a health check
	CauseExit                    // the process ended
	CauseTimeout                 // a start or stop deadline
	CauseRestart                 // the restart deadline
	CauseSpawnError              // the start failed
	CauseReload                  // a reload changed it
	CauseShutdown                // everything stops
	CauseRestore                 // after a crash or an upgrade of the server
	CauseTarget                  // a target's requirements are met
	CauseMissing                 // a required name does not exist
	CauseWatchdog                // no ping in time, or the service asked to be failed
	CauseSchedule                // a job is due
)

var causeNames = [...]string{"load", "asked", "pulled_in", "dependency", "conflict", "port", "spawned", "ready", "health", "exit",
	"timeout", "restart", "spawn_error", "reload", "shutdown", "restore", "target", "missing", "watchdog", "schedule"}

// String returns the cause as events and logs write it.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "?"
}

// Outcome is how a request ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeAccepted   Outcome = iota // without Wait: it was taken over
	OutcomeDone                      // the state asked for is reached (start: running, or exited 0)
	OutcomeFailed                    // the service failed (its Info says why)
	OutcomeBlocked                   // waits for what is not on its way; stays wanted up
	OutcomeTimedOut                  // Deadline came first
	OutcomeSuperseded                // a later command asked for the opposite
	OutcomeNotRunning                // kill, reload: no process
	OutcomeShutdown                  // the supervisor stops
	OutcomeRemoved                   // the service was removed
	OutcomeMissing                   // start: a required name does not exist
	OutcomeBusy                      // run: it runs already
	OutcomeNotSent                   // kill, reload: no process took the signal; the driver says it instead of OutcomeDone
)

func (Precheck) act()    {}
func (Spawn) act()       {}
func (Abort) act()       {}
func (Stop) act()        {}
func (Kill) act()        {}
func (Signal) act()      {}
func (Probe) act()       {}
func (CancelProbe) act() {}
func (Hook) act()        {}
func (Note) act()        {}
func (Reply) act()       {}
func (Forget) act()      {}
func (Critical) act()    {}
func (Halt) act()        {}
func (LeftOut) act()     {}
