package supervisor

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// clock reads CLOCK_MONOTONIC for the machine and the wall clock for people. Durations must not expire because a
// laptop slept or somebody set the date, so the machine never sees wall time; the offset between the two is taken
// anew at each conversion.
type clock struct {
	base     time.Time
	baseMono machine.Time
}

func newClock() clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return clock{base: time.Now(), baseMono: machine.Time(ts.Nano())}
}

// now is CLOCK_MONOTONIC in nanoseconds, by way of the vDSO.
func (c clock) now() machine.Time {
	return c.baseMono + machine.Time(time.Since(c.base))
}

// wall turns a machine time into wall-clock time as of now; the zero Time gives the zero time.Time.
func (c clock) wall(t machine.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(c.now() - t))
}

// rfc3339 writes a time with milliseconds, "" for none.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02T15:04:05.000Z07:00")
}
