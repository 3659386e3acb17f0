package view

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/machine"
)

// Clock reads CLOCK_MONOTONIC for the machine and the wall clock for people. Durations must not expire because a
// laptop slept or somebody set the date, so the machine never sees wall time; the offset between the two is taken
// anew at each conversion.
type Clock struct {
	base     time.Time
	baseMono machine.Time
	told     func() time.Time // nil: the machine's own clock
}

// NewClock ties the two clocks together, once in the life of a server.
func NewClock() Clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return Clock{base: time.Now(), baseMono: machine.Time(ts.Nano())}
}

// ToldClock is a clock that shows what it is told: for worlds whose time is made up.
func ToldClock(mono machine.Time, told func() time.Time) Clock {
	return Clock{base: told(), baseMono: mono, told: told}
}

// Time is the wall clock's time, which also tells spans from a later one as time.Now's does.
func (c Clock) Time() time.Time {
	if c.told != nil {
		return c.told()
	}
	return time.Now()
}

// Now is CLOCK_MONOTONIC in nanoseconds, by way of the vDSO.
func (c Clock) Now() machine.Time {
	if c.told != nil {
		return c.baseMono + machine.Time(c.told().Sub(c.base))
	}
	return c.baseMono + machine.Time(time.Since(c.base))
}

// Wall turns a machine time into wall-clock time as of now; the zero Time gives the zero time.Time.
func (c Clock) Wall(t machine.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return c.Time().Add(-time.Duration(c.Now() - t))
}

// RFC3339 writes a time with milliseconds, "" for none.
func RFC3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02T15:04:05.000Z07:00")
}
