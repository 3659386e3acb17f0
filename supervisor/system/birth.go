package system

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// birthClock tells the start time of a fresh child (field 22 of proc_pid_stat(5)) without reading /proc: the kernel takes
// it from CLOCK_BOOTTIME at the fork and shows it in whole ticks, so when the clock stands in the same tick before and after
// the fork, that tick is it. Whether the kernel at hand does so is proved by the first children; if it ever does not,
// /proc is read for all.
type birthClock struct {
	proved atomic.Int32
	wrong  atomic.Bool
}

// birthProofs is how many children must have had the time that was expected before /proc is no longer read.
const birthProofs = 3

// tickNS is the length of a tick of proc_pid_stat(5) in ns: USER_HZ is 100 everywhere we run.
const tickNS = 10_000_000

// begin is the tick before the fork.
func (b *birthClock) begin() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano()) / tickNS
}

// of is the start time of a child that was forked since began.
func (b *birthClock) of(pid int, began uint64) uint64 {
	same := began != 0 && b.begin() == began
	if same && b.proved.Load() >= birthProofs && !b.wrong.Load() {
		return began
	}
	start := startTime(pid)
	switch {
	case !same || start == 0:
	case start == began:
		b.proved.Add(1)
	default:
		b.wrong.Store(true)
	}
	return start
}
