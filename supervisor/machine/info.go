package machine

// Info is what the outside may see of one service; the driver copies it into the View after each batch.
type Info struct {
	State       State
	WantedUp    bool
	Due         bool
	HeldDown    bool // an operator stopped it
	Gen         Gen
	PID         int // main process, 0 = none (targets: 0)
	Since       Time
	ReadyAt     Time // of the present run, 0 = not ready
	SpawnedAt   Time // of the present or last run
	Restarts    int
	Backoff     int64 // ns, the delay the next restart will use
	NextRestart Time  // 0 = none pending
	LastExit    LastExit
	Reason      Reason    // Failed (or carried while Stopping)
	Conflict    *Conflict // Blocked by a port or filter
	Unkillable  bool
	Forgotten   bool // removed, and nothing of it is left: it is not to be shown any more
	ForGood     bool // failed or exited and no restart is due
	Phase       Phase
	Killed      int64 // ns between the stop signal and SIGKILL of the last stop, 0 = that was not needed
	StopBy      Time  // Stopping: when what the phase waits for is given up (SIGKILL, unkillable), 0 = it has no end of its own
	Checking    bool  // Blocked: the answer to a Precheck is awaited, nothing is known to be in the way
	OnItsWay    bool  // due, and nothing but services on their way keep it
	Leftovers   bool  // Exited oneshot: processes are left
	SelfStop    bool  // STOPPING=1 was said
	Job         bool  // it has a schedule; the next six count then
	NextRun     Time  // 0 = it is never due again, or not until the present run has ended
	RunBegan    Time  // of the present or last run, 0 = none
	RunEnded    Time  // of the last run, 0 = none or it goes on
	NextJitter  int64 // ns, the part of NextRun by which jitter puts it off
	InLine      bool  // a run is due, and waits for one of Options.JobsAtOnce
	Queued      int   // runs that wait for the present one, or for their turn
	// Health, zero without a check
	Probes      int // run in this incarnation
	FailuresRow int // failures in a row
	LastProbeOK bool
	LastProbe   string
	LastProbeAt Time
}
