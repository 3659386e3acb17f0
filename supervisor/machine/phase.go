package machine

// Phase is what the machine waits for inside a state.
type Phase uint8

// The phases. The comment names the states in which each can stand.
const (
	PhaseNone       Phase = iota
	PhaseChecking         // Blocked: a Precheck is out
	PhaseSpawning         // Starting: a Spawn is out
	PhaseUp               // Starting, Running: the process is known
	PhaseDependents       // Stopping: nothing sent yet; Running target, finished oneshot: to go down when dependents are gone
	PhaseAwaitSpawn       // Stopping: Abort was sent, the answer to the Spawn is awaited
	PhaseTerm             // Stopping: Stop was sent
	PhaseKill             // Stopping: Kill was sent
	PhaseStuck            // Stopping: still there 5 s after Kill: unkillable
	PhaseHook             // Stopping: post_stop runs
	nPhases
)

var phaseNames = [nPhases]string{"", "checking", "spawning", "up", "dependents", "await_spawn", "term", "kill", "stuck", "hook"}

// String returns the phase as scripts and debug output write it.
func (p Phase) String() string {
	if p < nPhases {
		return phaseNames[p]
	}
	return "?"
}

// flag is one bit of a service's memory. The first group is recorded in Record.Flags, so the order is part of the journal's
// format: add at the end of the group.
type flag uint32

const (
	flagClaim        flag = 1 << iota // holds its conflicts while it waits for its own return (doc.go)
	flagDone                          // oneshot: exited with success, nobody asked it to stop
	flagLeft                          // finished oneshot: processes are left
	flagKillOthers                    // the next Precheck may end foreign holders
	flagReadyEarly                    // READY came while it could not count: before Spawned, or in PhaseDependents
	flagEmptied                       // TreeEmpty came before ProcessExited
	flagMainGone                      // Stopping: the main process is gone, others are alive
	flagForDep                        // Stopping for a dependency: Blocked afterwards
	flagProbing                       // a Probe is out
	flagChecked                       // Blocked: the Precheck found nothing, spawn if still possible
	flagPortHeld                      // Blocked by a port or process filter
	flagResult                        // Stopping: an end of its own is carried
	flagResultOK                      // … a success
	flagSelfStopping                  // STOPPING=1 was said
	flagProbeOK                       // the last probe passed
	flagHadProcess                    // the incarnation had a process: post_stop is owed at its end
	flagBackRunning                   // Stopping, PhaseDependents: it was Running (else Starting, or with flagDone Exited)
	flagPings                         // the service has set its watchdog itself
	flagOutdated                      // its process runs by a definition that a reload has replaced: its stop is not taken back

	flagWanted // own fields in Record from here on
	flagHeld
	flagDue
	flagGone // removed by a reload, waits for its processes
	flagStuck

	flagForgotten // derived or transient from here on: not recorded
	flagBroken
	flagMissing
	flagDirty
	flagOccupied // counted with what it needs
	flagActive   // counted with what a shutdown waits for
	flagLost     // something it may depend on is no longer satisfied: look in the stop phase
	flagStopSent // between Restore and Resumed: the stop signal was sent, its timeout goes on

	flagsRecorded = flagWanted - 1
)
