package sim

import (
	"math/bits"

	"github.com/zinit/zinit/supervisor/machine"
)

// Time is the machine's time, nanoseconds.
type Time = machine.Time

// Gen is the machine's incarnation number.
type Gen = machine.Gen

const (
	microsecond Time = 1000
	millisecond Time = 1000 * microsecond
	second      Time = 1000 * millisecond
	minute      Time = 60 * second
)

// Fault is one kind of trouble that a world may have.
type Fault uint8

// The faults. Each seed draws a rate for each; most are off in most seeds, so that rare combinations are met as often as
// common ones (swarm testing).
const (
	FaultSpawn    Fault = iota // a spawn fails
	FaultSlowExec              // an exec takes long, or hangs until it is aborted
	FaultExit                  // a process ends by itself, with success or without
	FaultStubborn              // TERM is ignored
	FaultLinger                // a process is slow to obey
	FaultKids                  // processes are left behind
	FaultDaemon                // the main process exits 0 and leaves one behind
	FaultUnready               // readiness never comes, or late
	FaultSick                  // health checks fail
	FaultUndead                // a process outlives SIGKILL for a while
	FaultLate                  // reports come late
	FaultTwice                 // reports come twice, or long after
	FaultSwapped               // the exit is reported before the spawn
	FaultJump                  // the clock jumps
	FaultPort                  // foreign processes hold ports
	FaultCrash                 // the server dies
	FaultTorn                  // … while a record is written
	FaultVanish                // … and nobody knows how a process ended meanwhile
	FaultReload                // the configuration changes
	FaultShutdown              // everything is stopped at any time
	FaultOutside               // somebody else kills a process
	FaultBatch                 // the driver takes several words before it acts
	FaultLaggard               // the timer fires late
	FaultTalk                  // notify messages: more time, another watchdog, its trigger, stopping
	FaultKind                  // a reload makes a target of a service, or a oneshot of a daemon, or back
	FaultUpgrade               // the server executes another image in place
	FaultClock                 // the wall clock is set, the time zone changes
	nFaults
)

var faultNames = [nFaults]string{"spawn", "slow_exec", "exit", "stubborn", "linger", "kids", "daemon", "unready", "sick", "undead",
	"late", "twice", "swapped", "jump", "port", "crash", "torn", "vanish", "reload", "shutdown", "outside", "batch", "laggard",
	"talk", "kind", "upgrade", "clock"}

// String names the fault.
func (f Fault) String() string { return faultNames[f] }

// swarm is what a seed draws for its whole world before anything happens.
type swarm struct {
	services int          // at load
	extras   int          // that only a reload may bring
	density  [5]int       // permille, by kind of edge
	rate     [nFaults]int // permille

	// shares of the services, permille
	oneshots, targets, probes, readyKinds, ports, hooks, statusStop, statusIgnore, system, broken, onExit, watchdogs int
	critical, filters, preStarts                                                                                     int
	jobs                                                                                                             int // have a schedule
	jobsAtOnce                                                                                                       int // 0 = no bound

	ops             int  // requests of operators
	tempo           Time // longest pause between two requests
	burst           int  // permille of requests that come right after the one before
	timescale       int  // index into the choices of timeouts
	doomed          int  // permille of services that fail for good
	hurry           int  // permille of requests that wait for their outcome
	only            bool // only one name is loaded (kernel word zinit.target)
	shutdownTimeout Time // 0 = none
	simple          bool // no faults at all: only the rules of dependencies
}

// drawSwarm draws the sizes, shares and fault rates of one world.
func drawSwarm(seed uint64) swarm {
	r := newRng(seed, 1)
	s := swarm{}
	switch k := r.n(1024); {
	case k < 2:
		s.services = 200
	case k < 460:
		s.services = 1 + r.n(3)
	default:
		s.services = 4 + r.n(9)
	}
	if r.chance(300) {
		s.extras = 1 + r.n(3)
	}
	for k := range s.density {
		s.density[k] = drawDensity(&r, s.services)
	}
	drawShares(&r, &s)
	drawRates(&r, &s)
	s.ops = choose(&r, 0, 4, 8, 12, 16, 24, 32, 48)
	s.tempo = choose(&r, 5*millisecond, 200*millisecond, 2*second, 8*second)
	s.burst = choose(&r, 0, 300, 600, 850)
	s.timescale = r.n(3)
	s.doomed = choose(&r, 0, 0, 150, 400)
	s.hurry = choose(&r, 0, 300, 800)
	s.drawRare(seed)
	return s
}

// drawRare draws what few worlds have.
func (s *swarm) drawRare(seed uint64) {
	r := newRng(seed, 20)
	s.critical = choose(&r, 0, 0, 0, 200)
	s.filters = choose(&r, 0, 0, 0, 0, 0, 200)
	s.preStarts = choose(&r, 0, 0, 0, 200)
	s.only = r.chance(60)
	if u := newRng(seed, 23); !s.simple && u.chance(250) {
		s.rate[FaultUpgrade] = 1000
	}
	if j := newRng(seed, 24); s.services <= 20 && j.chance(80) {
		s.jobs, s.jobsAtOnce = choose(&j, 150, 400, 900), choose(&j, 0, 0, 0, 1, 2, 3)
		if !s.simple && j.chance(600) {
			s.rate[FaultClock] = 1000
		}
	}
	if r.chance(150) {
		s.shutdownTimeout = choose(&r, 300*millisecond, 2*second, 8*second)
	}
}

// drawDensity is the chance of an edge between two services, permille: on average up to two edges a service.
func drawDensity(r *rng, services int) int {
	if r.chance(350) {
		return 0
	}
	return choose(r, 300, 1000, 2500, 4500) / max(services, 3)
}

// drawShares draws how many services are of which kind.
func drawShares(r *rng, s *swarm) {
	some := func(list ...int) int { return choose(r, list...) }
	s.oneshots = some(0, 100, 300, 600)
	s.targets = some(0, 0, 100, 300)
	s.probes = some(0, 0, 200, 600)
	s.readyKinds = some(0, 0, 200, 500)
	s.ports = some(0, 0, 0, 250)
	s.hooks = some(0, 0, 0, 200)
	s.statusStop = some(0, 50, 200)
	s.statusIgnore = some(0, 0, 100)
	s.system = some(0, 0, 0, 0, 0, 100)
	s.broken = some(0, 0, 0, 0, 0, 0, 0, 60)
	s.onExit = some(0, 0, 0, 0, 0, 0, 0, 60)
	s.watchdogs = some(0, 0, 0, 150)
}

// drawRates draws a rate for each fault; one world in eight has none.
func drawRates(r *rng, s *swarm) {
	if s.simple = r.chance(125); s.simple {
		return
	}
	for f := range FaultUpgrade { // which is drawn with what is rare: the other worlds stay what they were
		if r.chance(450) {
			s.rate[f] = choose(r, 20, 80, 200, 450)
		}
	}
	s.rate[FaultUndead] /= 4
	s.rate[FaultSwapped] /= 2
}

// Mask is what shrinking has left out of a world. The zero Mask leaves out nothing.
type Mask struct {
	Services [4]uint64 // bit i: service i does not exist
	Ops      [4]uint64 // bit i: request i is not made
	Faults   uint32    // bit f: fault f does not happen
}

func (m *Mask) lacksService(i int) bool { return m.Services[i>>6]&(1<<(i&63)) != 0 }
func (m *Mask) lacksOp(i int) bool      { return m.Ops[i>>6]&(1<<(i&63)) != 0 }

// count returns how much is left out.
func (m *Mask) count() int {
	n := bits.OnesCount32(m.Faults)
	for i := range m.Services {
		n += bits.OnesCount64(m.Services[i]) + bits.OnesCount64(m.Ops[i])
	}
	return n
}

// apply removes what the mask leaves out from the rates.
func (s *swarm) apply(m *Mask) {
	for f := range nFaults {
		if m.Faults&(1<<f) != 0 {
			s.rate[f] = 0
		}
	}
}
