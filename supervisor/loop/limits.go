package loop

import "time"

// Every bound of the loop stands here, so that one look tells what it can be made to hold.
const (
	// inboxLen is how many words from other goroutines may wait for the driver; a sender blocks when it is full. The
	// driver itself never sends to it.
	inboxLen = 256
	// turnLimit is how long the loop takes words and carries out actions until it looks again who else wants something, and
	// lookEvery after how many of them it looks at the clock.
	turnLimit = 2 * time.Millisecond
	lookEvery = 8
	// exitsInTurn is of how many main processes that ended together the machine is told in one turn.
	exitsInTurn = 64
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
	// outputGrace is how long a log pipe that a stranger holds open is read after the tree is gone.
	outputGrace = 5 * time.Second
	// killPatience is how long a helper that was killed is waited for.
	killPatience = 2 * time.Second
	// sweepPatience is how long the end of a hook waits for what it left behind to have ended by SIGKILL.
	sweepPatience = 2 * time.Second
	// strayGrace is how long what services have left gets at the end of a server without a keeper, after SIGTERM.
	strayGrace = time.Second
	// obstacleFirst is how long after SIGKILL it is asked for the first time why something is still there, and obstacleSlow
	// how often in the end.
	obstacleFirst = time.Second
	obstacleSlow  = 30 * time.Second
	// leftoverGrace is how long what a server before has left gets after SIGTERM.
	leftoverGrace = 2 * time.Second
	// groupTries is how often a start makes its control group again when somebody has removed it before the fork.
	groupTries = 5
	// treePollFirst and treePollMax bound the back-off of looking for leftover processes where no cgroup tells.
	treePollFirst = 5 * time.Millisecond
	treePollMax   = 250 * time.Millisecond
	// treePollIdle bounds it for a tree that nobody ends, such as what a oneshot has left.
	treePollIdle = 30 * time.Second
	// surviveLooks is how often what a main process has left is looked for again while processes come and go too fast.
	surviveLooks = 3
	// daemonizeWindow is how long after its start a main process may exit 0 and leave a daemon behind.
	daemonizeWindow = 5 * time.Second
	// daemonizeSettle is how long after that exit several processes may be there before it is told that there is no daemon
	// among them; every daemonizeLook they are looked at.
	daemonizeSettle = 2 * time.Second
	daemonizeLook   = 20 * time.Millisecond
	// pidFilePatience is how long the file with the pid of a daemon may take to be read, and pidFileWait how long after the
	// end of a main process it may take until it names another one. In a start it is looked at from pidFileFirst on, at longer
	// and longer times up to pidFileSlow.
	pidFilePatience = time.Second
	pidFileWait     = 5 * time.Second
	pidFileFirst    = 10 * time.Millisecond
	pidFileSlow     = 500 * time.Millisecond
	// restAfter is how long nothing must have happened until memory is given back; restWork is how many changes of
	// services it takes after the first time until that is worth it again.
	restAfter = 2 * time.Second
	restWork  = 100
	// waitingPause is the least time between two lines about what a stop of everything waits for, and waitingLong after how
	// long they are warnings.
	waitingPause = time.Second
	waitingLong  = 2 * time.Second
	// sinkPatience is how long the end of the server waits for files and destinations to take the last lines.
	sinkPatience = 2 * time.Second
	// exitPatience is how long the keeper may take to tell of a process that is gone.
	exitPatience = 2 * time.Second
	// historyPatience is how long the end waits for the history of jobs to be written.
	historyPatience = 2 * time.Second
	// forkPatience is how long an upgrade waits for forks under way; one that hangs is told by its intent afterwards.
	forkPatience = 2 * time.Second
)
