package machine

import (
	"time"

	"github.com/zinit/zinit/graph"
)

// Event is one word from the world. Events are past tense. Those about a process carry its Gen; one with a Gen that
// is not the service's current one is dropped in one place and causes nothing.
type Event interface{ kind() EventKind }

// EventKind numbers the events; the transition table is keyed by it.
type EventKind uint8

// The event kinds.
const (
	EvLoaded EventKind = iota
	EvAsked
	EvCancelled
	EvPrechecked
	EvSpawned
	EvSpawnFailed
	EvReadied
	EvProbed
	EvExtended
	EvStoppingSelf
	EvMainChanged
	EvProcessExited
	EvTreeEmpty
	EvHookDone
	EvVanished
	EvAdopted
	EvResumed
	EvTicked
	EvReloaded
	EvShutdownAsked
	EvClockSet
	nEvents
)

// Verb is what a request asks for.
type Verb uint8

// The verbs.
const (
	VerbStart Verb = iota
	VerbStop
	VerbRestart
	VerbKill         // send Sig to the service, state unchanged
	VerbReloadSignal // run the reload signal or command
	VerbRun          // run a oneshot now, and judge by the end of that run
)

type (
	// Loaded is the first event of a new machine: everything with status = start becomes wanted up and due, with
	// what it pulls in. Only names a target or service that alone is loaded (kernel word zinit.target=), "" = all.
	// LastRuns says when jobs ran last (ns since 1970), by name, so that what was missed is known; one without is new.
	Loaded struct {
		Only     string
		LastRuns map[string]int64
	}

	// Asked is an operator's request for one or several services; it is answered by exactly one Reply when Req != 0.
	// With Wait (one ID only) the Reply comes when the outcome is known or at Deadline (0 = none).
	Asked struct {
		Req      ReqID
		Verb     Verb
		IDs      []graph.ID
		Sig      graph.Signal // VerbKill
		NoDeps   bool         // VerbStart, VerbRun: pull in nothing
		RunOnly  bool         // VerbStop: a job stays wanted up, and runs again when it is due
		Again    bool         // VerbRun: it was asked for before; a run of a later incarnation than After is the one
		After    Gen
		Wait     bool
		Deadline Time
	}

	// Cancelled withdraws the interest in a Reply (the client is gone); what was asked goes on.
	Cancelled struct{ Req ReqID }

	// Prechecked answers Precheck. Conflict nil = nothing holds the ports and filters.
	Prechecked struct {
		Gen      Gen
		Conflict *Conflict
	}

	// Spawned answers Spawn: the exec succeeded.
	Spawned struct {
		Gen Gen
		PID int
	}

	// SpawnFailed answers Spawn (or follows an Abort): there is no process of this Gen.
	SpawnFailed struct {
		Gen          Gen
		Kind, Detail string // the step that failed and the one-line reason
		Aborted      bool   // because of Abort
	}

	// Readied is a READY=1 or the newline on a readiness descriptor.
	Readied struct{ Gen Gen }

	// Probed answers Probe.
	Probed struct {
		Gen    Gen
		OK     bool
		Detail string // what was got and what was wanted, or the output's last line
	}

	// Extended is EXTEND_TIMEOUT_USEC (By > 0) or a watchdog ping (Watchdog) or WATCHDOG_USEC (SetWatchdog > 0) or
	// WATCHDOG=trigger (Trigger). Durations in nanoseconds.
	Extended struct {
		Gen         Gen
		By          int64
		Watchdog    bool
		SetWatchdog int64
		Trigger     bool
	}

	// StoppingSelf is STOPPING=1: the service ends itself. Its checks and its watchdog do not count any more, its stop timeout does.
	StoppingSelf struct{ Gen Gen }

	// MainChanged says that another process of the tree is the main process now (MAINPID, pid_file, daemonizing).
	MainChanged struct {
		Gen Gen
		PID int
	}

	// ProcessExited says that the main process is gone. Alive counts the other processes of the tree seen right after.
	// Daemon is a sole survivor that may become the main process; PIDFileMain is the verified pid of pid_file. PID, when
	// not 0, makes the word harmless if another process is the main one by now.
	ProcessExited struct {
		Gen         Gen
		PID         int
		Status      Status
		Alive       int
		Daemon      int // pid of the only remaining process when Alive == 1, else 0
		PIDFileMain int // > 0: the pid of pid_file, verified to be in the tree
		// PIDFile is why pid_file, if there is one, names no other main process: one line for people.
		PIDFile string
		// At is when it ended, if that was before this Step: a keeper reaped it while no server was there. 0 = now. Whether
		// the run was long enough is judged by it.
		At Time
	}

	// TreeEmpty says that no process of this Gen is left (after a ProcessExited with Alive > 0).
	TreeEmpty struct{ Gen Gen }

	// HookDone answers Hook.
	HookDone struct {
		Gen    Gen
		OK     bool
		Detail string
	}

	// Vanished says that an adopted main process is gone and nobody knows its status, or that none was ever forked.
	Vanished struct {
		Gen      Gen
		NeverWas bool // the intent was recorded but no process of this Gen exists
		Alive    int  // other processes of the tree still there
	}

	// Adopted says after a Restore that the process of this Gen lives.
	Adopted struct {
		Gen Gen
		PID int
	}

	// Resumed ends a restore: all Adopted, ProcessExited and Vanished words of the gap were given. The machine emits again
	// what it cannot know to have been done (stop signals, kills, prechecks, spawns without a process) and goes on.
	Resumed struct{}

	// Ticked says that Deadline has been reached.
	Ticked struct{}

	// Reloaded swaps the graph. Survivors by name keep their state; Plan names what must restart.
	Reloaded struct {
		Graph *graph.Graph
		Plan  *graph.Plan
	}

	// ClockSet tells the wall clock (ns since 1970), the local time zone and, by IANA name, what others are now; one that is
	// missing is as it was when the definition was read. It comes before Loaded and before Resumed, and whenever one was changed.
	// Between two of them the wall clock goes as the Steps' times do.
	ClockSet struct {
		Wall  int64
		Local *time.Location
		Zones map[string]*time.Location
	}

	// ShutdownAsked stops everything in order and then emits Halt. Code is the exit code to pass on; that of the first
	// one counts. Now (a second SIGTERM) sends SIGKILL to what is left, whatever the order.
	ShutdownAsked struct {
		Code int
		Now  bool
	}
)

// Conflict is who holds a port or matches a process filter.
type Conflict struct {
	Port    int    // 0 = a process filter
	Filter  string // the filter that matched
	PID     int    // 0 = unknown
	Process string // its name
	Service string // set when the holder belongs to one of our services
}

func (Loaded) kind() EventKind        { return EvLoaded }
func (Asked) kind() EventKind         { return EvAsked }
func (Cancelled) kind() EventKind     { return EvCancelled }
func (Prechecked) kind() EventKind    { return EvPrechecked }
func (Spawned) kind() EventKind       { return EvSpawned }
func (SpawnFailed) kind() EventKind   { return EvSpawnFailed }
func (Readied) kind() EventKind       { return EvReadied }
func (Probed) kind() EventKind        { return EvProbed }
func (Extended) kind() EventKind      { return EvExtended }
func (StoppingSelf) kind() EventKind  { return EvStoppingSelf }
func (MainChanged) kind() EventKind   { return EvMainChanged }
func (ProcessExited) kind() EventKind { return EvProcessExited }
func (TreeEmpty) kind() EventKind     { return EvTreeEmpty }
func (HookDone) kind() EventKind      { return EvHookDone }
func (Vanished) kind() EventKind      { return EvVanished }
func (Adopted) kind() EventKind       { return EvAdopted }
func (Resumed) kind() EventKind       { return EvResumed }
func (Ticked) kind() EventKind        { return EvTicked }
func (Reloaded) kind() EventKind      { return EvReloaded }
func (ClockSet) kind() EventKind      { return EvClockSet }
func (ShutdownAsked) kind() EventKind { return EvShutdownAsked }
