package wire

// Change says how a start, stop or restart is to be answered.
type Change struct {
	Wait      bool  // answer when the outcome is known
	TimeoutMS int64 // with Wait: give up after so long; 0 = what the service's own timeouts allow
	NoDeps    bool  // start: pull in nothing
	RunOnly   bool  // stop: a job runs again when it is due
}

// RunRequest says how a oneshot is run.
type RunRequest struct {
	TimeoutMS int64 // give up waiting after so long; 0 = no bound
	NoDeps    bool  // pull in nothing
	Again     bool  // it was asked for before: a run of a later incarnation than After is the one that is meant
	After     uint64
}

// RunQuery selects lines of one run of a job.
type RunQuery struct {
	Name   string
	Run    int64  // its incarnation, or below 0 counted from the last one, which is -1
	Lines  int    // the last so many
	Stream string // "" = all
	Grep   string // RE2 pattern, "" = all
}

// LogQuery selects captured lines. The zero value means all services, all streams, no bound but Lines.
type LogQuery struct {
	Names   []string // empty = all services
	Lines   int      // the last so many, over all names together; <= 0 none
	Stream  string   // "" = all; stdout stderr syslog
	SinceMS int64    // wall clock, 0 = no bound
	UntilMS int64    // wall clock, 0 = no bound
	Since   uint64   // sequence number of the first line wanted, 0 = no bound; one name only
	Grep    string   // RE2 pattern, "" = all
}

// Power is how a machine ends.
type Power string

// The ways to end. PowerStop ends the server (in a container: the container).
const (
	PowerStop     Power = "stop"
	PowerReboot   Power = "reboot"
	PowerPoweroff Power = "poweroff"
	PowerHalt     Power = "halt"
)
