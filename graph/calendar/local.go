package calendar

import "time"

// instants returns the moments at which the clocks of loc show a local time: none where it is jumped over, two where it
// comes twice. The first is the earlier one.
func instants(y int, mo time.Month, d, h, mi, s, ns int, loc *time.Location) (first time.Time, n int) {
	guess := time.Date(y, mo, d, h, mi, s, ns, loc)
	shown := func(t time.Time) bool {
		return t.Hour() == h && t.Minute() == mi && t.Second() == s && t.Day() == d
	}
	// time.Date does not say which of two offsets it took, so those before and after the nearest transitions are tried.
	wall := time.Date(y, mo, d, h, mi, s, ns, time.UTC)
	var offsets [3]int
	_, offsets[0] = guess.Zone()
	begin, end := guess.ZoneBounds()
	offsets[1], offsets[2] = offsets[0], offsets[0]
	if !begin.IsZero() {
		_, offsets[1] = begin.Add(-time.Nanosecond).Zone()
	}
	if !end.IsZero() {
		_, offsets[2] = end.Zone()
	}
	for i, offset := range offsets {
		if i > 0 && offset == offsets[0] {
			continue
		}
		t := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if !shown(t) {
			continue
		}
		if n == 0 || t.Before(first) {
			first = t
		}
		n++
	}
	return first, n
}

// afterGap is the first moment after the jump over a local time that does not exist.
func afterGap(y int, mo time.Month, d, h, mi, s int, loc *time.Location) time.Time {
	t := time.Date(y, mo, d, h, mi, s, 0, loc) // one side of the jump, at most its length away
	begin, end := t.ZoneBounds()
	wall := time.Date(y, mo, d, h, mi, s, 0, time.UTC)
	_, offset := t.Zone()
	if shown := t.UTC().Add(time.Duration(offset) * time.Second); shown.After(wall) {
		return begin // it shows a later time, so it lies behind the jump
	}
	return end
}

// daysIn is how many days a month has.
func daysIn(y int, mo time.Month) int { return time.Date(y, mo+1, 0, 0, 0, 0, 0, time.UTC).Day() }

func weekday(y int, mo time.Month, d int) time.Weekday {
	return time.Date(y, mo, d, 0, 0, 0, 0, time.UTC).Weekday()
}
