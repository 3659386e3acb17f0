package machine

// Bugs is a set of planted bugs. They exist so that the simulator's and the exhaustive tests can prove that they find
// them; nothing but a test sets any. Each is one `if m.bug(…)` at the place that a real bug of the kind would have.
type Bugs uint32

// The planted bugs.
const (
	BugGenCheckOff      Bugs = 1 << iota // words about older incarnations are believed
	BugBackoffHalves                     // the restart delay halves instead of doubling
	BugConflictsIgnored                  // a start does not look at conflicts
	BugStopOrderIgnored                  // a stop does not wait for dependents
	BugTimersKept                        // timers are not cancelled with what armed them
	BugRankOrderOff                      // starts are looked at in the order of their coming, before stops
	BugReplyDropped                      // every fourth waiting request is never answered
	BugStopInBackoff                     // a stop during the restart delay is forgotten: it starts again
	BugRestartLost                       // a start or restart asked while stopping is forgotten
	BugFailureNotSpread                  // a requirement's failure for good does not fail its blocked dependents
	BugStabilityIgnored                  // every run resets the restart count
	BugBindsIgnored                      // the loss of a bound service stops nobody
	BugDoubleKill                        // the stop timeout is armed again after Kill: a second Kill
	BugShutdownEarly                     // Halt does not wait for services in their stop sequence
	BugJobOverRetry                      // a job that is due runs although a retry of the run before waits
	BugJobThoughStopped                  // a job that is due runs although it is stopped
	BugJobPerMissed                      // each time that was passed over is a run
	BugQueueLost                         // a run that waited for the one before is forgotten
	BugClockIgnored                      // jobs go by the wall clock as it was at load
	BugCatchUpEach                       // what was missed is made up for by each schedule, not by one run
	BugsAll             = 1<<iota - 1
)

var bugNames = [...]string{"gen check off", "backoff halves", "conflicts ignored", "stop order ignored", "timers kept",
	"rank order off", "reply dropped", "stop in backoff forgotten", "restart lost while stopping", "failure not spread",
	"stability ignored", "binds ignored", "double kill", "shutdown early", "job over a retry", "job though stopped", "job per missed time",
	"queue lost", "clock ignored", "catch-up by each schedule"}

// Each calls yield for every single bug with its name.
func (Bugs) Each(yield func(Bugs, string)) {
	for i, name := range bugNames {
		yield(1<<i, name)
	}
}

func (m *Machine) bug(b Bugs) bool { return m.options.Bugs&b != 0 }
