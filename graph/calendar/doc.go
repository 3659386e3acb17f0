// Package calendar computes when schedules are due: calendar expressions as systemd.time(7) has them and the fields of
// crontab(5). It is pure: the time and the zone are arguments, so that a simulator can play years in a moment.
//
// # What happens where clocks are wrong
//
// A calendar expression names local times, each once. A local time that does not exist, because the clock was put
// forward over it, is skipped; one that comes twice is due the first time only. That is what systemd does.
//
// A cron schedule follows cron(8) of Debian. One that names its time (neither the minute nor the hour begins with *)
// is due once a day: where the clock jumps over it, at the first moment after the jump; where the time comes twice, the
// first time. One with * in the minute or the hour follows the clock as it runs, so it is due in both of two equal
// hours and not in one that is left out.
//
// Both agree with the programs themselves: oracle_test.go asks systemd-analyze(1).
package calendar

import "time"

// A Schedule tells when something is due.
type Schedule interface {
	// Next returns the first due time after a time, and false when there is none before MaxYear is over. Local times
	// are those of loc, unless the schedule names a zone of its own.
	Next(after time.Time, loc *time.Location) (time.Time, bool)
	// String is the normalized form, which parses to an equal schedule.
	String() string
}

// MinYear and MaxYear bound the years of a schedule, as in systemd.
const (
	MinYear = 1970
	MaxYear = 2199
)
