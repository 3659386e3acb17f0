package pid1

import "github.com/zinit/zinit/supervisor/keeper"

// Delays before the next start of the server.
const (
	firstRetry  = 10 * millisecond
	longRetry   = 5 * second
	killedRetry = 100 * millisecond // at most, when it was SIGKILL: an act from outside, no fault of its own
	manyKills   = 50                // after so many in a row it may be the kernel's out-of-memory killer
	shellAfter  = 3                 // deaths in a row that open the emergency shell
)

// retryDelay is how long to wait after the death of a server; streak counts those in a row that did not get as far as
// serving. The first one is replaced at once.
func retryDelay(streak int, killed bool) int64 {
	if streak <= 1 {
		return 0
	}
	delay := firstRetry << min(streak-2, 12)
	if killed && streak < manyKills {
		return min(delay, killedRetry)
	}
	return min(delay, longRetry)
}

// upgradeWindow is how long a new executable has to prove itself, upgradeDeaths how often it may die meanwhile.
const (
	upgradeWindow = int64(keeper.UpgradeWindow)
	upgradeDeaths = 3
)
