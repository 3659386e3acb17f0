package machine

import "github.com/zinit/zinit/graph"

// service is everything the machine knows of one service. Its index is its graph.ID; services removed by a reload that
// still have processes stand behind those of the graph until they are forgotten.
type service struct {
	config *graph.Config
	name   string

	// What it is and what is wanted. flags holds wanted and due among others.
	state State
	phase Phase
	flags flag
	gen   Gen
	pid   int

	// Counters over its edges, kept by standing.go. The first five are zero when graph.CanStart says nothing.
	unsat    int32 // requirements (requires, binds) that are not satisfied
	stuck    int32 // of those: not on their way either
	failed   int32 // of those: failed for good
	waits    int32 // predecessors (after) that are pending
	rivals   int32 // conflicts that others hold
	occupied int32 // direct dependents that are still there
	rank     int32
	standing graph.Standing // as last told to the neighbours
	mark     uint32         // stamp of the last walk that saw it
	wokenBy  int32          // who changed last among those it waits for
	wokenFor Cause          // how it matters: dependency or conflict
	waiters  int32          // pending requests

	restarts    int32
	backoff     int64 // ns, the delay of the next restart; counts only when restarts > 0
	nextRestart Time
	since       Time
	spawnedAt   Time
	readyAt     Time
	stopAt      Time
	startBy     Time // start deadline, 0 = none; kept while a stop may still be cancelled
	lastExit    LastExit
	reason      Reason
	result      Reason // carried while Stopping

	dueCause Cause // why a start is owed
	dueBy    string

	conflict  *Conflict
	portDelay int64 // ns, the delay before the next Precheck

	probe    probeState
	watchdog int64  // ns between pings, 0 = as configured
	signals  uint64 // operators' signals that wait for Spawned, bit n-1 for signal n; bit 63 of real-time signal 64
	reload   bool   // a reload signal that waits for Spawned

	extra []int32 // dependencies by edges that the present graph no longer has (reload.go)
}

type probeState struct {
	delay  int64 // ns, before ready: the delay before the next probe
	sentAt Time
	lastAt Time
	count  int32
	row    int32 // failures in a row
	detail string
}

func (s *service) is(f flag) bool { return s.flags&f != 0 }
func (s *service) set(f flag)     { s.flags |= f }
func (s *service) clear(f flag)   { s.flags &^= f }

func (s *service) put(f flag, on bool) {
	if on {
		s.flags |= f
	} else {
		s.flags &^= f
	}
}

// idle reports whether no process of the service can exist and none is about to.
func (s *service) idle() bool {
	switch s.state {
	case Inactive, Blocked, Failed:
		return true
	case Exited:
		return !s.is(flagLeft)
	case Running:
		return s.config.Target
	}
	return false
}

// active reports whether dependencies must wait for it when they stop: it has, or may have, processes that can be
// ended, or is a reached target.
func (s *service) active() bool {
	switch s.state {
	case Starting, Running:
		return true
	case Stopping:
		return !s.is(flagStuck)
	case Exited:
		return s.is(flagLeft)
	}
	return false
}

// finished reports whether it is a oneshot that is done and satisfies.
func (s *service) finished() bool { return s.state == Exited && s.is(flagDone) && s.config.Oneshot }

// remains reports whether a finished oneshot needs a stop sequence: processes are left or post_stop is owed.
func (s *service) remains() bool {
	return s.is(flagLeft) || s.is(flagHadProcess) && !s.config.PostStop.Command.IsZero()
}

// oneshot reports whether readiness is its exit.
func (s *service) oneshot() bool { return s.config.Oneshot && !s.config.Target }

// unanswered reports whether a Spawn is out (Starting, Stopping).
func (s *service) unanswered() bool { return !s.is(flagHadProcess) }

// owe records that a start is due and why.
func (s *service) owe(cause Cause, by string) {
	s.set(flagDue)
	s.dueCause, s.dueBy = cause, by
}

// forgetCounts resets restart count and delay, as every start that somebody asked for does.
func (s *service) forgetCounts() { s.restarts, s.backoff, s.portDelay = 0, 0, 0 }

// delay returns the delay that the next restart will use.
func (s *service) delay() int64 {
	if s.restarts == 0 {
		return int64(s.config.Lifecycle.RestartDelay)
	}
	return min(s.backoff, int64(s.config.Lifecycle.RestartDelayMax))
}
