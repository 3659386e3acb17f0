package machine

// cell is what one state does with one input: a handler, or the reason why nothing happens. An impossible one is a bug of
// ours (a deadline that nobody armed) and panics, so that the driver starts again from the journal.
type cell struct {
	do         func(m *Machine, i int32, ev any)
	why        string
	impossible bool
}

func does(f func(m *Machine, i int32, ev any)) cell { return cell{do: f} }
func ignored(why string) cell                       { return cell{why: why} }
func never(why string) cell                         { return cell{why: why, impossible: true} }

// table is filled in init because its handlers refer to it.
var table [nStates][nInputs]cell

func init() { table = transitions() }

var (
	noProcess   = ignored("no process")
	noTimer     = never("nothing armed it")
	stopIgnores = ignored("stopping: ready, health and dependency events do not count")
	lateWord    = ignored("late or doubled")
	atRest      = ignored("nothing to do in this state")
	loadedOnce  = ignored("Loaded comes first and once")
	nothingDown = ignored("no process to stop")
)

func transitions() [nStates][nInputs]cell {
	return [nStates][nInputs]cell{
		Inactive: inactiveRow(), Blocked: blockedRow(), Starting: startingRow(), Running: runningRow(),
		Stopping: stoppingRow(), Exited: exitedRow(), Failed: failedRow(),
	}
}

func inactiveRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          does((*Machine).onLoad),
		inStart:         does((*Machine).onStartIdle),
		inPull:          does((*Machine).onStartIdle),
		inStop:          does((*Machine).onStopInactive),
		inRestart:       does((*Machine).onRestartIdle),
		inKill:          noProcess,
		inPrechecked:    ignored("stopped meanwhile"),
		inSpawned:       noProcess,
		inSpawnFailed:   noProcess,
		inReadied:       noProcess,
		inProbed:        noProcess,
		inExtended:      noProcess,
		inStoppingSelf:  noProcess,
		inMainChanged:   noProcess,
		inProcessExited: lateWord,
		inTreeEmpty:     lateWord,
		inHookDone:      lateWord,
		inVanished:      lateWord,
		inAdopted:       ignored("not one of ours: the record says it is gone"),
		inLifeTimer:     noTimer,
		inProbeTimer:    noTimer,
		inWatchdogTimer: noTimer,
		inDown:          nothingDown,
		inCycle:         ignored("takes the new definition as it is"),
		inChanged:       ignored("takes the new definition as it is"),
		inRemoved:       does((*Machine).onRemovedIdle),
		inShutdown:      does((*Machine).onShutdownInactive),
		inForce:         nothingDown,
		inResumed:       atRest,
		inDrain:         does((*Machine).onDrainIdle),
		inWake:          does((*Machine).onWakeIdle),
	}
}

func blockedRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartIdle),
		inPull:          does((*Machine).onPullBlocked),
		inStop:          does((*Machine).onStopBlocked),
		inRestart:       does((*Machine).onRestartIdle),
		inKill:          noProcess,
		inPrechecked:    does((*Machine).onPrechecked),
		inSpawned:       noProcess,
		inSpawnFailed:   noProcess,
		inReadied:       noProcess,
		inProbed:        noProcess,
		inExtended:      noProcess,
		inStoppingSelf:  noProcess,
		inMainChanged:   noProcess,
		inProcessExited: lateWord,
		inTreeEmpty:     lateWord,
		inHookDone:      lateWord,
		inVanished:      lateWord,
		inAdopted:       ignored("not one of ours: the record says it is gone"),
		inLifeTimer:     does((*Machine).onTimerBlocked),
		inProbeTimer:    noTimer,
		inWatchdogTimer: noTimer,
		inDown:          nothingDown,
		inCycle:         ignored("takes the new definition as it is"),
		inChanged:       ignored("takes the new definition as it is"),
		inRemoved:       does((*Machine).onRemovedIdle),
		inShutdown:      does((*Machine).onShutdownIdle),
		inForce:         nothingDown,
		inResumed:       does((*Machine).onResumedBlocked),
		inDrain:         does((*Machine).onDrainIdle),
		inWake:          does((*Machine).onWakeIdle),
	}
}

func startingRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartUp),
		inPull:          does((*Machine).onStartUp),
		inStop:          does((*Machine).onStopUp),
		inRestart:       does((*Machine).onRestartUp),
		inKill:          does((*Machine).onKill),
		inPrechecked:    lateWord,
		inSpawned:       does((*Machine).onSpawned),
		inSpawnFailed:   does((*Machine).onSpawnFailed),
		inReadied:       does((*Machine).onReadied),
		inProbed:        does((*Machine).onProbedStarting),
		inExtended:      does((*Machine).onExtendedUp),
		inStoppingSelf:  does((*Machine).onStoppingSelf),
		inMainChanged:   does((*Machine).onMainChanged),
		inProcessExited: does((*Machine).onExited),
		inTreeEmpty:     does((*Machine).onTreeEmptyUp),
		inHookDone:      lateWord,
		inVanished:      does((*Machine).onVanished),
		inAdopted:       does((*Machine).onAdopted),
		inLifeTimer:     does((*Machine).onTimerStarting),
		inProbeTimer:    does((*Machine).onProbeTimer),
		inWatchdogTimer: noTimer,
		inDown:          does((*Machine).onDown),
		inCycle:         does((*Machine).onCycle),
		inChanged:       does((*Machine).onChangedStarting),
		inRemoved:       does((*Machine).onRemovedUp),
		inShutdown:      does((*Machine).onShutdownUp),
		inForce:         never("a shutdown leaves nobody starting"),
		inResumed:       does((*Machine).onResumedUp),
		inDrain:         does((*Machine).onDrainStarting),
		inWake:          atRest,
	}
}

func runningRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartUp),
		inPull:          does((*Machine).onStartUp),
		inStop:          does((*Machine).onStopUp),
		inRestart:       does((*Machine).onRestartUp),
		inKill:          does((*Machine).onKill),
		inPrechecked:    lateWord,
		inSpawned:       lateWord,
		inSpawnFailed:   lateWord,
		inReadied:       ignored("ready already"),
		inProbed:        does((*Machine).onProbedRunning),
		inExtended:      does((*Machine).onExtendedUp),
		inStoppingSelf:  does((*Machine).onStoppingSelf),
		inMainChanged:   does((*Machine).onMainChanged),
		inProcessExited: does((*Machine).onExited),
		inTreeEmpty:     does((*Machine).onTreeEmptyUp),
		inHookDone:      lateWord,
		inVanished:      does((*Machine).onVanished),
		inAdopted:       does((*Machine).onAdopted),
		inLifeTimer:     does((*Machine).onTimerRunning),
		inProbeTimer:    does((*Machine).onProbeTimer),
		inWatchdogTimer: does((*Machine).onWatchdogTimer),
		inDown:          does((*Machine).onDownRunning),
		inCycle:         does((*Machine).onCycleRunning),
		inChanged:       does((*Machine).onChangedRunning),
		inRemoved:       does((*Machine).onRemovedUp),
		inShutdown:      does((*Machine).onShutdownUp),
		inForce:         does((*Machine).onForceRunning),
		inResumed:       does((*Machine).onResumedUp),
		inDrain:         does((*Machine).onDrainRunning),
		inWake:          does((*Machine).onWakeDown),
	}
}

func stoppingRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartStopping),
		inPull:          does((*Machine).onStartStopping),
		inStop:          does((*Machine).onStopStopping),
		inRestart:       does((*Machine).onRestartStopping),
		inKill:          does((*Machine).onKill),
		inPrechecked:    lateWord,
		inSpawned:       does((*Machine).onSpawnedStopping),
		inSpawnFailed:   does((*Machine).onSpawnFailedStopping),
		inReadied:       does((*Machine).onReadiedStopping),
		inProbed:        stopIgnores,
		inExtended:      does((*Machine).onExtendedStopping),
		inStoppingSelf:  does((*Machine).onStoppingSelf),
		inMainChanged:   does((*Machine).onMainChanged),
		inProcessExited: does((*Machine).onExitedStopping),
		inTreeEmpty:     does((*Machine).onTreeEmptyStopping),
		inHookDone:      does((*Machine).onHookDone),
		inVanished:      does((*Machine).onVanishedStopping),
		inAdopted:       does((*Machine).onAdoptedStopping),
		inLifeTimer:     does((*Machine).onTimerStopping),
		inProbeTimer:    noTimer,
		inWatchdogTimer: noTimer,
		inDown:          stopIgnores,
		inCycle:         does((*Machine).onCycleStopping),
		inChanged:       does((*Machine).onChangedStopping),
		inRemoved:       does((*Machine).onRemovedStopping),
		inShutdown:      does((*Machine).onShutdownStopping),
		inForce:         does((*Machine).onForceStopping),
		inResumed:       does((*Machine).onResumedStopping),
		inDrain:         does((*Machine).onDrainStopping),
		inWake:          does((*Machine).onWakeDown),
	}
}

func exitedRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartExited),
		inPull:          does((*Machine).onPullExited),
		inStop:          does((*Machine).onStopExited),
		inRestart:       does((*Machine).onRestartExited),
		inKill:          does((*Machine).onKill),
		inPrechecked:    lateWord,
		inSpawned:       ignored("its exit came before it"),
		inSpawnFailed:   lateWord,
		inReadied:       noProcess,
		inProbed:        noProcess,
		inExtended:      noProcess,
		inStoppingSelf:  noProcess,
		inMainChanged:   noProcess,
		inProcessExited: lateWord,
		inTreeEmpty:     does((*Machine).onTreeEmptyExited),
		inHookDone:      lateWord,
		inVanished:      lateWord,
		inAdopted:       ignored("what a oneshot left has no main process"),
		inLifeTimer:     does((*Machine).onTimerEnded),
		inProbeTimer:    noTimer,
		inWatchdogTimer: noTimer,
		inDown:          does((*Machine).onDownExited),
		inCycle:         does((*Machine).onCycleExited),
		inChanged:       does((*Machine).onChangedEnded),
		inRemoved:       does((*Machine).onRemovedExited),
		inShutdown:      does((*Machine).onShutdownExited),
		inForce:         nothingDown,
		inResumed:       atRest,
		inDrain:         does((*Machine).onDrainExited),
		inWake:          does((*Machine).onWakeIdle),
	}
}

func failedRow() [nInputs]cell {
	return [nInputs]cell{
		inLoad:          loadedOnce,
		inStart:         does((*Machine).onStartIdle),
		inPull:          does((*Machine).onStartIdle),
		inStop:          does((*Machine).onStopFailed),
		inRestart:       does((*Machine).onRestartIdle),
		inKill:          noProcess,
		inPrechecked:    lateWord,
		inSpawned:       ignored("its exit came before it"),
		inSpawnFailed:   lateWord,
		inReadied:       noProcess,
		inProbed:        noProcess,
		inExtended:      noProcess,
		inStoppingSelf:  noProcess,
		inMainChanged:   noProcess,
		inProcessExited: lateWord,
		inTreeEmpty:     lateWord,
		inHookDone:      lateWord,
		inVanished:      lateWord,
		inAdopted:       ignored("not one of ours: the record says it is gone"),
		inLifeTimer:     does((*Machine).onTimerEnded),
		inProbeTimer:    noTimer,
		inWatchdogTimer: noTimer,
		inDown:          nothingDown,
		inCycle:         nothingDown,
		inChanged:       does((*Machine).onChangedEnded),
		inRemoved:       does((*Machine).onRemovedIdle),
		inShutdown:      does((*Machine).onShutdownIdle),
		inForce:         nothingDown,
		inResumed:       atRest,
		inDrain:         does((*Machine).onDrainIdle),
		inWake:          does((*Machine).onWakeIdle),
	}
}
