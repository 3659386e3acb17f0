package machine

import (
	"strconv"

	"github.com/zinit/zinit/graph"
)

// onExited: starting, running: the main process ended.
func (m *Machine) onExited(i int32, ev any) {
	s, word := &m.services[i], ev.(ProcessExited)
	if s.unanswered() {
		s.signals, s.reload = 0, false
		m.spawned(i, word.PID) // the exit overtook its Spawned
	}
	if stale(s, word) || m.daemonized(i, word) {
		return
	}
	m.filed = word.PIDFile
	m.mainEnded(i, word.Status, word.Alive, word.At)
	m.filed = ""
}

// stale reports whether another process is the main one by now.
func stale(s *service, word ProcessExited) bool {
	return word.PID != 0 && s.pid != 0 && word.PID != s.pid
}

func exitedZero(status Status) bool { return status.Signal == 0 && status.Code == 0 && !status.Unknown }

// early reports whether the main process left so soon that it may have put itself into the background.
func (m *Machine) early(s *service) bool { return int64(m.now-s.spawnedAt) <= daemonWindow }

// daemonized takes over the process that a daemonizing program left, or that took over from a running one (a hot upgrade:
// then its pid_file names it, however late).
func (m *Machine) daemonized(i int32, word ProcessExited) bool {
	s := &m.services[i]
	heir, byFile := word.PIDFileMain, word.PIDFileMain > 0
	if !byFile && word.Alive == 1 {
		heir = word.Daemon
	}
	clean := exitedZero(word.Status)
	switch {
	case s.oneshot(), heir <= 0, s.is(flagEmptied),
		!byFile && (!clean || !m.early(s)),
		byFile && s.state == Starting && !clean: // the launcher failed; a running one may hand over as it likes
		return false
	}
	s.pid = heir
	m.touch(i)
	if byFile && s.state == Starting && s.has(traitFiled) {
		m.ready(i, CauseReady)
	}
	return true
}

// mainEnded notes how the main process of a Starting or Running service ended and goes on with what is left of the tree.
func (m *Machine) mainEnded(i int32, status Status, alive int, at Time) {
	s := &m.services[i]
	if s.is(flagEmptied) {
		alive = 0
	}
	m.noteExit(i, status, at)
	result, ok := m.judge(s, status, alive)
	switch {
	case s.oneshot() && ok:
		m.oneshotDone(i, alive > 0)
	case alive > 0:
		s.set(flagMainGone)
		m.leave(i, CauseExit, result, ok)
	default:
		s.result = result
		s.set(flagResult)
		s.put(flagResultOK, ok)
		m.treeGone(i, CauseExit)
	}
}

// noteExit keeps how and when a main process ended; at is 0 for just now.
func (m *Machine) noteExit(i int32, status Status, at Time) {
	s := &m.services[i]
	if at == 0 || at > m.now {
		at = m.now
	}
	s.pid = 0
	s.lastExit = LastExit{Valid: true, Status: status, At: at}
	m.touch(i)
}

// judge says what an end that nobody asked for means.
func (m *Machine) judge(s *service, status Status, alive int) (result Reason, ok bool) {
	switch {
	case status.Unknown:
		return Reason{Type: ReasonSignal, Signal: 9, Detail: "exit status unknown"}, false
	case status.OOM:
		return Reason{Type: ReasonSignal, Signal: 9, Kind: "oom", Detail: "out of memory"}, false
	case status.Signal != 0:
		return Reason{Type: ReasonSignal, Signal: status.Signal}, false
	}
	result = Reason{Type: ReasonExitCode, Code: status.Code}
	success := s.config.Lifecycle.Success(int(status.Code))
	switch {
	case !success || s.oneshot():
		return result, success
	case m.filed != "" && alive > 0 && exitedZero(status) && (m.early(s) || s.state == Starting):
		result.Kind = "daemon"
		result.Detail = "its main process exited and left " + strconv.Itoa(alive) + " processes; " + m.filed
		return result, false
	case alive > 0 && exitedZero(status) && m.early(s):
		result.Kind = "daemon"
		result.Detail = "its main process exited and left " + strconv.Itoa(alive) +
			" processes; use the program's foreground option or set pid_file"
		return result, false
	case s.state == Starting:
		result.Detail = "exited before it was ready"
		if m.filed != "" {
			result.Detail += "; " + m.filed
		}
		return result, false
	}
	return result, true
}

// oneshotDone: it satisfies from here on. What it left ends with its stop.
func (m *Machine) oneshotDone(i int32, left bool) {
	s := &m.services[i]
	s.set(flagDone)
	s.put(flagLeft, left)
	m.setState(i, Exited, CauseExit, "")
	m.quiet(i)
	m.endForGood(i)
}

// onExitedStopping: the main process of a stopping service is gone.
func (m *Machine) onExitedStopping(i int32, ev any) {
	word := ev.(ProcessExited)
	if !stale(&m.services[i], word) {
		m.mainEndedStopping(i, word.Status, word.Alive, word.At)
	}
}

func (m *Machine) mainEndedStopping(i int32, status Status, alive int, at Time) {
	s := &m.services[i]
	if s.is(flagMainGone|flagDone) || s.phase == PhaseHook {
		return
	}
	if s.unanswered() {
		s.signals, s.reload = 0, false // nobody is left to get them
		m.known(i, 0)
	}
	m.noteExit(i, status, at)
	if alive == 0 || s.is(flagEmptied) {
		m.treeGone(i, CauseExit)
		return
	}
	s.set(flagMainGone)
	if s.phase == PhaseAwaitSpawn {
		m.terminate(i)
	}
}

// onTreeEmptyUp: it overtook the word about the main process.
func (m *Machine) onTreeEmptyUp(i int32, _ any) {
	m.services[i].set(flagEmptied)
	m.touch(i)
}

func (m *Machine) onTreeEmptyStopping(i int32, _ any) {
	s := &m.services[i]
	switch {
	case s.phase == PhaseHook:
	case s.is(flagMainGone) || s.is(flagDone) && s.is(flagLeft):
		s.clear(flagLeft)
		m.treeGone(i, CauseExit)
	default:
		m.onTreeEmptyUp(i, nil)
	}
}

// onTreeEmptyExited: what a finished oneshot left has ended by itself.
func (m *Machine) onTreeEmptyExited(i int32, _ any) {
	m.services[i].clear(flagLeft)
	m.touch(i)
	m.freePorts(i)
}

// treeGone runs post_stop, if any, when no process of a run is left.
func (m *Machine) treeGone(i int32, cause Cause) {
	s := &m.services[i]
	hook := s.config.PostStop
	if hook.Command.IsZero() || !s.is(flagHadProcess) || m.forced {
		m.finish(i, cause)
		return
	}
	if s.state != Stopping {
		m.setState(i, Stopping, cause, "")
	}
	m.quiet(i)
	s.phase, s.pid = PhaseHook, 0
	s.set(flagMainGone)
	s.clear(flagStuck)
	m.runHook(i)
}

func (m *Machine) runHook(i int32) {
	s := &m.services[i]
	m.arm(i, timerLife, m.now+Time(s.config.PostStop.Timeout)+Time(hookPatience))
	m.do(Hook{ID: m.id(i), Gen: s.gen})
}

func (m *Machine) onHookDone(i int32, _ any) {
	if m.services[i].phase == PhaseHook {
		m.finish(i, CauseExit)
	}
}

// finish takes a service whose processes are gone to the state it was bound for, and decides about what comes next.
func (m *Machine) finish(i int32, cause Cause) {
	s := &m.services[i]
	carried, ok, forDep := s.is(flagResult), s.is(flagResultOK), s.is(flagForDep) && s.is(flagDue)
	s.clear(flagResult | flagResultOK | flagForDep | flagMainGone | flagEmptied | flagStuck | flagHadProcess | flagDone |
		flagLeft | flagBackRunning | flagSelfStopping | flagReadyEarly | flagOutdated)
	s.pid, s.signals, s.reload, s.startBy = 0, 0, false, 0
	switch {
	case carried && !ok:
		s.reason = s.result
		m.setState(i, Failed, cause, "")
	case !carried && forDep && !s.is(flagGone):
		m.setState(i, Blocked, CauseDependency, s.dueBy)
	default:
		m.setState(i, Exited, cause, "")
	}
	s.result = Reason{}
	m.quiet(i)
	m.freePorts(i)
	if s.is(flagGone) {
		m.forget(i)
		return
	}
	m.adoptConfig(i)
	m.decide(i, carried, ok)
}

// decide: due again, a restart by policy, or the end for good.
func (m *Machine) decide(i int32, carried, ok bool) {
	s := &m.services[i]
	switch {
	case m.shutting:
		return
	case s.is(flagDue):
		m.wake(i)
	case carried && s.is(flagWanted) && m.mayRestart(s, ok):
		m.scheduleRestart(i)
	default:
		m.endForGood(i)
	}
}

// mayRestart asks the policy.
func (m *Machine) mayRestart(s *service, ok bool) bool {
	rules := &s.config.Lifecycle
	switch {
	case s.has(traitIgnored),
		rules.Restart == graph.RestartNever,
		s.oneshot() && (ok || !rules.RestartSet),
		rules.Restart == graph.RestartOnFailure && ok:
		return false
	}
	return rules.MaxRestarts == 0 || int(s.restarts) < rules.MaxRestarts
}

// scheduleRestart counts the restart and waits for its deadline; a delay of 0 is due at once.
func (m *Machine) scheduleRestart(i int32) {
	s := &m.services[i]
	delay := s.delay()
	next := 2 * delay
	if delay == 0 {
		next = 100 * millisecond
	}
	if m.bug(BugBackoffHalves) {
		next = delay / 2
	}
	s.backoff = min(next, int64(s.config.Lifecycle.RestartDelayMax))
	s.restarts++
	if delay == 0 {
		m.restartDue(i)
		return
	}
	s.nextRestart = m.now + Time(delay)
	m.arm(i, timerLife, s.nextRestart)
}

func (m *Machine) restartDue(i int32) {
	s := &m.services[i]
	s.nextRestart = 0
	s.set(flagClaim)
	s.owe(CauseRestart, "")
	m.touch(i)
	m.wake(i)
}

// onTimerEnded: exited, failed: restart deadline -> due.
func (m *Machine) onTimerEnded(i int32, _ any) {
	if s := &m.services[i]; s.nextRestart == 0 && !m.bug(BugTimersKept) {
		panic("machine: " + s.name + ": a restart deadline without a restart")
	}
	m.restartDue(i)
}

// endForGood: no restart is due. Critical services say so, and with on_exit = "shutdown" the whole stack ends.
func (m *Machine) endForGood(i int32) {
	s := &m.services[i]
	if s.state == Failed && s.config.Critical && m.options.PID1 {
		m.say(Critical{ID: m.id(i)})
	}
	m.endOnExit(i)
}

func (m *Machine) endOnExit(i int32) {
	s := &m.services[i]
	if s.config.Lifecycle.OnExit != graph.OnExitShutdown || m.shutting || m.shutdownDue || s.is(flagGone) {
		return
	}
	m.shutdownDue, m.haltCode, m.endedBy = true, exitCode(s), s.name
}

// exitCode is what a service passes on when its end ends everything.
func exitCode(s *service) int {
	status := s.lastExit.Status
	switch {
	case s.state == Failed && (!s.lastExit.Valid || s.reason.Type != ReasonExitCode && s.reason.Type != ReasonSignal):
		return 1
	case status.Unknown:
		return 1
	case status.Signal != 0:
		return 128 + int(status.Signal)
	}
	return int(status.Code)
}

// onVanished: nobody knows how it ended, or it never was.
func (m *Machine) onVanished(i int32, ev any) {
	s, word := &m.services[i], ev.(Vanished)
	if word.NeverWas {
		if s.unanswered() && !m.restoring {
			m.neverForked(i)
		}
		return
	}
	if s.unanswered() {
		m.spawned(i, 0)
	}
	m.mainEnded(i, Status{Unknown: true}, word.Alive, 0)
}

func (m *Machine) onVanishedStopping(i int32, ev any) {
	s, word := &m.services[i], ev.(Vanished)
	if !word.NeverWas {
		m.mainEndedStopping(i, Status{Unknown: true}, word.Alive, 0)
	} else if s.unanswered() {
		m.finish(i, CauseRestore)
	}
}

// neverForked owes a start again whose Spawn the crash of the server swallowed.
func (m *Machine) neverForked(i int32) {
	s := &m.services[i]
	m.quiet(i)
	s.owe(CauseRestore, "")
	s.wokenBy, s.wokenFor = i, CauseRestore
	m.setState(i, Blocked, CauseRestore, "")
	m.wake(i)
}

// onAdopted: the process lives.
func (m *Machine) onAdopted(i int32, ev any) {
	s, pid := &m.services[i], ev.(Adopted).PID
	if s.unanswered() {
		m.spawned(i, pid)
		return
	}
	s.pid = pid
	m.touch(i)
}

func (m *Machine) onAdoptedStopping(i int32, ev any) {
	s, pid := &m.services[i], ev.(Adopted).PID
	switch {
	case s.unanswered():
		m.onSpawnedStopping(i, Spawned{PID: pid})
	case !s.is(flagMainGone | flagDone):
		s.pid = pid
		m.touch(i)
	}
}

func (m *Machine) onMainChanged(i int32, ev any) {
	if s := &m.services[i]; !s.unanswered() && !s.is(flagMainGone|flagDone) {
		s.pid = ev.(MainChanged).PID
		m.touch(i)
	}
}
