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
	// outputGrace is how long a log pipe that a stranger holds open is read after the tree is gone.
	outputGrace = 5 * time.Second
	// killPatience is how long a helper that was killed is waited for.
	killPatience = 2 * time.Second
	// obstacleFirst is how long after SIGKILL it is asked for the first time why something is still there, and obstacleSlow
	// how often in the end.
	obstacleFirst = time.Second
	obstacleSlow  = 30 * time.Second
	// treePollFirst and treePollMax bound the back-off of looking for leftover processes where no cgroup tells.
	treePollFirst = 5 * time.Millisecond
	treePollMax   = 250 * time.Millisecond
	// treePollIdle bounds it for a tree that nobody ends, such as what a oneshot has left.
	treePollIdle = 30 * time.Second
	// daemonizeWindow is how long after its start a main process may exit 0 and leave a daemon behind.
	daemonizeWindow = 5 * time.Second
	// daemonizeSettle is how long after that exit several processes may be there before it is told that there is no daemon
	// among them; every daemonizeLook they are looked at.
	daemonizeSettle = 2 * time.Second
	daemonizeLook   = 20 * time.Millisecond
	// pidFilePatience is how long the file with the pid of a daemon may take to be read, and pidFileWait how long after the
	// end of a main process it may take until it names another one.
	pidFilePatience = time.Second
	pidFileWait     = 5 * time.Second
	// restAfter is how long nothing must have happened until memory is given back; restWork is how many changes of
	// services it takes after the first time until that is worth it again.
	restAfter = 2 * time.Second
	restWork  = 100
	// waitingPause is the least time between two lines about what a stop of everything waits for, and waitingLong after how
	// long they are warnings.
	waitingPause = time.Second
	waitingLong  = 2 * time.Second
	// exitPatience is how long the keeper may take to tell of a process that is gone.
	exitPatience = 2 * time.Second
	// historyPatience is how long the end waits for the history of jobs to be written.
	historyPatience = 2 * time.Second
	// forkPatience is how long an upgrade waits for forks under way; one that hangs is told by its intent afterwards.
	forkPatience = 2 * time.Second
)
