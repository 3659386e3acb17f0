package machine

import "github.com/zinit/zinit/graph"

// service is everything the machine knows of one service. Its index is its graph.ID; services removed by a reload that
// still have processes stand behind those of the graph until they are forgotten. What a start and its neighbours touch stands
// here, in a few cache lines; the rest in seldom.
type service struct {
	config *graph.Config
	traits trait
	name   string

	// What it is and what is wanted. flags holds wanted and due among others.
	flags flag
	state State
	phase Phase

	standing graph.Standing // as last told to the neighbours
	wokenFor Cause          // how wokenBy matters: dependency or conflict
	wokenBy  int32          // who changed last among those it waits for

	// Counters over its edges, kept by standing.go. The first five are zero when graph.CanStart says nothing.
	unsat    int32 // requirements (requires, binds) that are not satisfied
	stuck    int32 // of those: not on their way either
	failed   int32 // of those: failed for good
	waits    int32 // predecessors (after) that are pending
	rivals   int32 // conflicts that others hold
	occupied int32 // direct dependents that are still there
	rank     int32
	mark     uint32 // stamp of the last walk that saw it
	waiters  int32  // pending requests
	restarts int32

	gen         Gen
	pid         int
	startLimit  int64 // ns, how long a start may take by config, 0 = for ever
	nextRestart Time
	since       Time
	spawnedAt   Time
	readyAt     Time
	startBy     Time   // start deadline, or that of the end it has announced, 0 = none; kept while a stop may still be cancelled
	signals     uint64 // operators' signals that wait for Spawned, bit n-1 for signal n

	dueCause Cause // why a start is owed
	reload   bool  // a reload signal waits for Spawned
	dueBy    string

	*seldom
}

// seldom is what only failures, stops, checks and reloads touch.
type seldom struct {
	backoff   int64 // ns, the delay of the next restart; counts only when restarts > 0
	stopAt    Time
	killed    int64 // ns between the stop signal and SIGKILL of the last stop, 0 = that was not needed; not recorded
	lastExit  LastExit
	reason    Reason
	result    Reason // carried while Stopping
	conflict  *Conflict
	portDelay int64 // ns, the delay before the next Precheck
	probe     probeState
	watchdog  int64   // ns between pings, 0 = as configured
	job       *job    // nil = it has no schedule
	extra     []int32 // dependencies by edges that the present graph no longer has (reload.go)
}

type probeState struct {
	delay  int64 // ns, before ready: the delay before the next probe
	sentAt Time
	lastAt Time
	count  int32
	row    int32 // failures in a row
	detail string
}

// trait is what a definition says about how a service is treated, as bits beside the service.
type trait uint8

const (
	traitTarget  trait = 1 << iota
	traitOneshot       // readiness is its exit
	traitIgnored       // status = ignore
	traitPorts         // ports or process filters are looked at before a start
	traitNotify        // says itself that it is ready
	traitHealth        // has a health check
	traitPings         // has a watchdog
	traitFiled         // is ready when its pid_file names the main process
)

// define gives a service its definition.
func (s *service) define(c *graph.Config) {
	s.config, s.name = c, c.Name
	s.traits = 0
	for t, on := range [...]bool{c.Target, c.Oneshot && !c.Target, c.Status == graph.StatusIgnore,
		len(c.Ports)+len(c.ProcessFilters) > 0, c.Ready.Kind != graph.ReadyNone, c.Health != nil && !c.Target, c.Watchdog > 0 && !c.Target, ReadyByFile(c)} {
		if on {
			s.traits |= 1 << t
		}
	}
	s.startLimit = startLimit(c)
}

// startLimit is max(start_timeout, start_period + timeout + 5 s), and what pre_start may take on top.
func startLimit(c *graph.Config) int64 {
	limit := int64(c.Lifecycle.StartTimeout)
	if limit == 0 {
		return 0
	}
	if h := c.Health; h != nil {
		limit = max(limit, int64(h.StartPeriod+h.Timeout)+5*second)
	}
	return limit + int64(c.PreStart.Timeout)
}

func (s *service) has(t trait) bool { return s.traits&t != 0 }

// target reports whether it has no process.
func (s *service) target() bool { return s.has(traitTarget) }

// oneshot reports whether readiness is its exit.
func (s *service) oneshot() bool { return s.has(traitOneshot) }

// readyAtOnce reports whether the exec is readiness.
func (s *service) readyAtOnce() bool {
	return !s.has(traitOneshot | traitNotify | traitHealth | traitFiled)
}

// ReadyByFile reports whether readiness is that pid_file names the main process: the one that was started, or after its end
// another one. Where the service says itself that it is ready, or is checked, that decides.
func ReadyByFile(c *graph.Config) bool {
	return c.PIDFile != "" && c.Ready.Kind == graph.ReadyNone && c.Health == nil && !c.Oneshot && !c.Target
}

// probedReady reports whether the first check that passes is readiness.
func (s *service) probedReady() bool { return s.traits&(traitHealth|traitNotify) == traitHealth }

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
		return s.target()
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

// goesOn reports whether its process is to go on, so that a start changes nothing.
func (s *service) goesOn() bool {
	return s.state == Starting || s.state == Running && !s.target()
}

// finished reports whether it is a oneshot that is done and satisfies.
func (s *service) finished() bool { return s.state == Exited && s.is(flagDone) && s.has(traitOneshot) }

// remains reports whether a finished oneshot needs a stop sequence: processes are left or post_stop is owed.
func (s *service) remains() bool {
	return s.is(flagLeft) || s.is(flagHadProcess) && !s.config.PostStop.Command.IsZero()
}

// unanswered reports whether a Spawn is out (Starting, Stopping).
func (s *service) unanswered() bool { return !s.is(flagHadProcess) }

// owe records that a start is due and why.
func (s *service) owe(cause Cause, by string) {
	s.set(flagDue)
	s.dueCause, s.dueBy = cause, by
	if s.job != nil {
		s.job.waiting = false // this is its turn, whoever gave it
	}
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
