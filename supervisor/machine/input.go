package machine

// input is one column of the transition table: a word that reaches one service.
type input uint8

const (
	inLoad          input = iota // Loaded: a start is owed
	inStart                      // Asked
	inPull                       // another one's start needs it
	inStop                       // Asked
	inRestart                    // Asked
	inKill                       // Asked: VerbKill, VerbReloadSignal
	inPrechecked                 // events, by Gen, from here on
	inSpawned                    //
	inSpawnFailed                //
	inReadied                    //
	inProbed                     //
	inExtended                   //
	inStoppingSelf               //
	inMainChanged                //
	inProcessExited              //
	inTreeEmpty                  //
	inHookDone                   //
	inVanished                   //
	inAdopted                    //
	inLifeTimer                  // Ticked: the state's own deadline
	inProbeTimer                 // Ticked: the next probe
	inWatchdogTimer              // Ticked: no ping in time
	inDown                       // the cascade of a stop reaches it
	inCycle                      // Reloaded: must restart
	inChanged                    // Reloaded: its definition changed
	inRemoved                    // Reloaded: it is no longer there
	inShutdown                   // ShutdownAsked
	inForce                      // ShutdownAsked with Now, or the shutdown deadline: kill at once
	inResumed                    // Resumed: emit again what may not have been done
	inDrain                      // work: go on with a stop, look for losses
	inWake                       // work: counts have settled, start if owed and possible
	nInputs
)

var inputNames = [nInputs]string{"load", "start", "pull", "stop", "restart", "kill", "prechecked", "spawned", "spawn_failed",
	"readied", "probed", "extended", "stopping_self", "main_changed", "process_exited", "tree_empty", "hook_done", "vanished",
	"adopted", "life_timer", "probe_timer", "watchdog_timer", "down", "cycle", "changed", "removed", "shutdown", "force",
	"resumed", "drain", "wake"}

func (in input) String() string {
	if in < nInputs {
		return inputNames[in]
	}
	return "?"
}
