package system

import "time"

// Every bound of the world stands here, so that one look tells what it can be made to hold.
const (
	// spawners is how many workers fork at the same time; a second one gains a fifth on an idle machine.
	spawners = 2
	// sparePs is how many processors the Go scheduler has beyond the machine's own: a worker holds one from its vfork to
	// the exec without using it (ForkExec blocks its thread unknown to the scheduler), and one more is left over that waits
	// for clients. Without them a storm of restarts delays answers by the scheduler's 10 ms look at the network.
	sparePs = spawners + 1
	// jobsReady is how many starts are laid out for the workers at once.
	jobsReady = 64
	// spawnersMax bounds the workers that replace ones which hang in an exec (a program on a dead network mount).
	spawnersMax = 8
	// spawnStuck is how long a spawn may take before its worker gets a replacement.
	spawnStuck = 500 * time.Millisecond
	// spawnStuckLone is the same in a lone server, where what the replacement forks ends in an upgrade.
	spawnStuckLone = 10 * time.Second
	// sweepPatience is how long the end of a hook waits for what it left behind to have ended by SIGKILL, and sweepPause how
	// often it is looked for.
	sweepPatience = 2 * time.Second
	sweepPause    = 5 * time.Millisecond
	// strayGrace is how long what services have left gets at the end of a server without a keeper, after SIGTERM.
	strayGrace = time.Second
	// desertedShown is how many processes that a server on another socket has left are named.
	desertedShown = 8
	// leftoverGrace is how long what a server before has left gets after SIGTERM.
	leftoverGrace = 2 * time.Second
	// groupTries is how often a start makes its control group again when somebody has removed it before the fork.
	groupTries = 5
	// surviveLooks is how often what a main process has left is looked for again while processes come and go too fast.
	surviveLooks = 3
	// pidFileFirst and pidFileSlow bound the growing pauses after which the pid file of a start is looked at again.
	pidFileFirst = 10 * time.Millisecond
	pidFileSlow  = 500 * time.Millisecond
	// pidFilePatience is how long one look at a pid file is waited for.
	pidFilePatience = 2 * time.Second
	// sinkPatience is how long the end of the server waits for files and destinations to take the last lines.
	sinkPatience = 2 * time.Second
	// unbornPatience is how long a child that the server before was forking when it died may take to its exec.
	unbornPatience = 2 * time.Second
	// captureMax is how much of a captured command's output is kept, in bytes; the rest is read and dropped. captureGrace is
	// how long it is read after the command has ended.
	captureMax   = 64 << 10
	captureGrace = 100 * time.Millisecond
)
