package pid1

import (
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
)

// stopping is the state of an ordered stop.
type stopping struct {
	phase   phase
	action  act
	status  int   // container: exit status
	fixed   bool  // status is decided
	longest int64 // ns: what the server says its stop may take
	until   int64 // end of the present phase
	crashes int   // servers that died meanwhile
	presses burst
	asked   int64  // when it was asked for
	root    string // switch-root
	init    []string
	disks   disks
}

// How long a stop takes at most.
const (
	ordinaryBudget  = 30 * second // and the longest chain of stop timeouts
	containerBudget = 8 * second  // docker stop waits 10 s
	termGrace       = 3 * second  // machine: what the server left, after TERM
	quickGrace      = 1 * second  // container: the same
	killGrace       = 2 * second  // after KILL
	sweepEvery      = 50 * millisecond
	stopCrashes     = 3
	doubled         = 100 * millisecond // a second request that comes so soon is the same one
)

// bounded reports whether a stop may be shorter than what the services ask for: somebody waits for our end, or has said so.
func (s *shim) bounded() bool { return s.mode == keeper.Container || s.opt.shutdownMS > 0 }

// budget is the time from the request to the end of the server.
func (s *shim) budget() int64 {
	if s.opt.shutdownMS > 0 {
		return int64(s.opt.shutdownMS) * millisecond
	}
	if s.mode == keeper.Container {
		return containerBudget
	}
	return ordinaryBudget + min(s.stop.longest, 24*3600*second)
}

// killAfter is when what is left of a bounded stop is killed, so that there is time for the rest of it.
func (s *shim) killAfter() int64 { return s.budget() * 3 / 4 }

// ask begins a stop, or answers a second request during one; sure is one that cannot be the first again.
func (s *shim) ask(a act, sure bool) {
	if a == actSwitchRoot && !s.readSwitchRoot() {
		return
	}
	switch {
	case s.stop.phase == phaseRun:
		s.stop.asked = monotonic()
		s.beginStop(a)
	case !sure && a == s.stop.action && monotonic()-s.stop.asked < doubled:
		// timeout(1), and shells that end, signal a process and then its whole group.
	case s.mode != keeper.Machine:
		s.askedAgain()
	case a != s.stop.action && s.stop.phase < phaseFinal:
		s.stop.action = a
		s.con.warn("now ", a.String(), " after the stop under way")
	default:
		s.con.warn("already ", s.stop.action.String())
	}
}

// askedAgain kills what is left of a stop outside of a machine.
func (s *shim) askedAgain() {
	switch s.stop.phase {
	case phaseStop:
		s.con.warn("asked again: killing what is left")
		s.killNow()
	case phaseTerm:
		s.con.warn("asked again: killing what is left")
		s.kill()
	}
}

// beginStop asks the server to stop everything, and sets the deadlines.
func (s *shim) beginStop(a act) {
	s.stop.phase, s.stop.action = phaseStop, a
	budget := s.budget()
	if s.bounded() {
		s.arm(timerKill, s.killAfter())
		s.arm(timerDeadline, budget*7/8)
	} else {
		s.arm(timerDeadline, budget)
	}
	if s.mode == keeper.Machine && s.server.bye == keeper.ByeNone {
		s.con.warn(a.String(), ", at most ", seconds(budget))
	}
	switch {
	case s.server.bye != keeper.ByeNone:
		// It is on its way out already.
	case !s.server.greeted || s.server.pid == 0 && !s.server.ever:
		// No server has got so far as to start anything.
		s.afterServer()
	case s.server.pid == 0:
		s.arm(timerRespawn, 0)
	default:
		s.store.Ask(orderOf(a))
	}
}

// killNow tells the server to kill what is left.
func (s *shim) killNow() { s.store.Ask(keeper.OrderKill) }

// serverStopped goes on after a server that said goodbye.
func (s *shim) serverStopped(a act, code int) {
	if s.stop.phase == phaseRun {
		s.beginStop(a)
	}
	if s.stop.action != actSwitchRoot {
		s.stop.action = a
	}
	if !s.stop.fixed {
		s.stop.status, s.stop.fixed = code, true
	}
	s.afterServer()
}

// crashWhileStopping lets another server go on with the stop, a few times.
func (s *shim) crashWhileStopping() {
	if s.stop.crashes++; s.stop.crashes > stopCrashes {
		s.giveUpServer()
		return
	}
	s.arm(timerRespawn, retryDelay(s.stop.crashes, false))
}

// giveUpServer goes on without the server: its time is over.
func (s *shim) giveUpServer() {
	if s.stop.phase != phaseStop {
		return
	}
	if s.server.bye == keeper.ByeNone {
		s.con.warn("the server did not stop everything in time, killing what is left")
		if !s.stop.fixed {
			s.stop.status, s.stop.fixed = 1, true
		}
	}
	if s.mode != keeper.Machine {
		s.kill()
		return
	}
	s.afterServer()
}

// afterServer ends what the server left: TERM, then KILL.
func (s *shim) afterServer() {
	for _, t := range []timer{timerKill, timerDeadline, timerRespawn, timerUpgrade} {
		s.disarm(t)
	}
	s.stop.phase = phaseTerm
	s.stop.until = monotonic() + termGrace
	if s.mode != keeper.Machine {
		s.stop.until = monotonic() + quickGrace
	}
	if s.server.pid > 0 {
		// A server that is still there has nothing more to do.
		_ = unix.Kill(s.server.pid, unix.SIGKILL)
	}
	if s.shell.pid > 0 {
		_ = unix.Kill(-s.shell.pid, unix.SIGHUP) // an interactive shell ignores TERM
	}
	s.signalRest(unix.SIGTERM)
	s.signalRest(unix.SIGCONT)
	s.arm(timerSweep, millisecond)
}

func (s *shim) kill() {
	s.stop.phase = phaseKill
	s.stop.until = monotonic() + killGrace
	s.signalRest(unix.SIGKILL)
	s.arm(timerSweep, millisecond)
}

// sweep looks whether anything is left and goes on when not, or when it is time.
func (s *shim) sweep() {
	if s.stop.phase != phaseTerm && s.stop.phase != phaseKill {
		return
	}
	left := s.left()
	switch {
	case left == 0:
		s.afterProcesses()
	case monotonic() < s.stop.until:
		if s.stop.phase == phaseKill {
			s.signalRest(unix.SIGKILL)
		}
		s.arm(timerSweep, sweepEvery)
	case s.stop.phase == phaseTerm:
		s.kill()
	default:
		s.con.warn("processes that cannot be killed: ", itoa(left))
		s.afterProcesses()
	}
}

// afterProcesses ends a container; a machine has its disks left.
func (s *shim) afterProcesses() {
	s.disarm(timerSweep)
	switch {
	case s.mode != keeper.Machine:
		s.stop.phase = phaseDone
	case s.stop.action == actSwitchRoot:
		s.switchRoot()
	default:
		s.closeDisks()
	}
}

// signalRest signals every process that is to end before us. Only process 1 may use kill(-1), which then reaches exactly
// its own pid namespace.
func (s *shim) signalRest(sig unix.Signal) {
	if s.mode != keeper.Plain && unix.Getpid() == 1 {
		_ = unix.Kill(-1, sig)
		return
	}
	for _, pid := range descendants() {
		_ = unix.Kill(pid, sig)
	}
}

// left counts the processes that are still there: no kernel threads, no zombies.
func (s *shim) left() int {
	if s.mode == keeper.Plain {
		return len(descendants())
	}
	if unix.Kill(-1, 0) == unix.ESRCH {
		return 0
	}
	const kernelThread = 0x00200000 // PF_KTHREAD
	n := 0
	pids, ok := processes()
	for _, pid := range pids {
		st, alive := readStat(pid)
		if pid != unix.Getpid() && alive && st.flags&kernelThread == 0 && !st.dead() {
			n++
		}
	}
	if !ok {
		return 1 // without /proc nobody knows
	}
	return n
}

// descendants returns the living processes below this one.
func descendants() []int {
	pids, _ := processes()
	children := map[int][]int{}
	for _, pid := range pids {
		if st, ok := readStat(pid); ok && !st.dead() {
			children[st.ppid] = append(children[st.ppid], pid)
		}
	}
	found := children[unix.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// processes lists the numbers in /proc.
func processes() (pids []int, ok bool) {
	if !procIsOurs() {
		return nil, false
	}
	for _, name := range dirNames("/proc") {
		if pid := number(name); pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, len(pids) > 0
}
