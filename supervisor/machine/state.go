package machine

// Time is a point on CLOCK_MONOTONIC in nanoseconds. The machine never reads a clock: every Step is told the time.
type Time int64

// Gen is an incarnation number: every attempt to start any service takes the next one. It is unique in the
// machine's whole life, over crashes and reloads, so a word about a process names only its Gen. 0 = none yet.
type Gen uint64

// ReqID names a request that waits for a Reply. 0 = nobody waits.
type ReqID uint64

// State is one of the seven states of a service.
type State uint8

// The states.
const (
	Inactive State = iota
	Blocked
	Starting
	Running
	Stopping
	Exited
	Failed
	nStates
)

var stateNames = [nStates]string{"inactive", "blocked", "starting", "running", "stopping", "exited", "failed"}

// String returns the state's name as RPC and CLI write it.
func (s State) String() string {
	if s < nStates {
		return stateNames[s]
	}
	return "?"
}

// Status is how a process ended: an exit code, a signal, or unknown (it vanished while nobody could wait for it).
type Status struct {
	Code    int32 // exit code, valid when Signal == 0 and !Unknown
	Signal  int32 // > 0: killed by this signal
	Core    bool  // a core was dumped
	OOM     bool  // the kernel's out-of-memory killer did it
	Unknown bool
}

// ReasonType is why a service failed: the eight types of 0.3.9's clients.
type ReasonType uint8

// The failure reasons.
const (
	ReasonNone ReasonType = iota
	ReasonExitCode
	ReasonSignal
	ReasonStartTimeout
	ReasonStopTimeout
	ReasonHealthCheckFailed
	ReasonDependencyFailed
	ReasonSpawnError
	ReasonMissingDependency
)

// Reason is why a service is failed, machine readable.
type Reason struct {
	Type     ReasonType
	Code     int32  // ReasonExitCode
	Signal   int32  // ReasonSignal
	Attempts int32  // ReasonHealthCheckFailed
	Service  string // ReasonDependencyFailed, ReasonMissingDependency: the other one's name
	Kind     string // finer word: "oom", "watchdog", "pre_start", "exec", "dir", "user", "cycle", "broken_file", …
	Detail   string // one line for people; the message of a spawn_error
}

// LastExit is how and when the last process of a service ended.
type LastExit struct {
	Valid  bool
	Status Status
	At     Time
}

// Record is everything about one service that must outlive the server process. The journal writes one for each
// service that a Step touched, before the Step's actions are carried out; Restore takes them back.
type Record struct {
	Name        string
	Gone        bool // removed by a reload and only waiting for its processes to end
	State       State
	WantedUp    bool
	HeldDown    bool // an operator stopped it
	Due         bool
	Gen         Gen
	PID         int // main process, 0 = none or not known yet
	Phase       uint8
	Result      Reason // carried while stopping
	ResultOK    bool   // the carried result is a success
	Reason      Reason
	Since       Time // of State
	ReadyAt     Time
	SpawnedAt   Time
	StopAt      Time // when the stop signal was sent
	Restarts    int
	Backoff     int64 // ns, the delay the next restart will use
	NextRestart Time  // 0 = none pending
	LastExit    LastExit
	Flags       uint32 // internal, versioned by the journal
	Extra       []int64
	Job         []int64   // of a service with schedules: when it ran, and what they count from
	LastProbe   string    // Info.LastProbe; may be lost
	Conflict    *Conflict // Info.Conflict; may be lost, the next Precheck finds it again
}

// Globals is what the machine keeps beside the records of its services; the journal writes it with every batch.
type Globals struct {
	NextGen      Gen // the number that the next attempt takes
	ShuttingDown bool
	HaltCode     int // the exit code of the shutdown under way
}
