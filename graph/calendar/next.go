package calendar

import "time"

// Next returns the first due time after a time; see Schedule.
func (c *Calendar) Next(after time.Time, loc *time.Location) (time.Time, bool) {
	if c.zone != nil {
		loc = c.zone
	}
	from := after.In(loc)
	y, mo, d := from.Date()
	for first := true; ; first = false {
		var ok bool
		if y, mo, d, ok = c.nextDay(y, mo, d); !ok {
			return time.Time{}, false
		}
		begin := 0
		if first && sameDay(from, y, mo, d) {
			begin = microOfDay(from) // what was shown before has been, whatever the clock does later on that day
		}
		if t, ok := c.onDay(after, y, mo, d, begin, loc); ok {
			return t, true
		}
		d++
	}
}

func sameDay(t time.Time, y int, mo time.Month, d int) bool {
	ty, tmo, td := t.Date()
	return ty == y && tmo == mo && td == d
}

func microOfDay(t time.Time) int {
	return (t.Hour()*3600+t.Minute()*60+t.Second())*second + t.Nanosecond()/1000
}

// nextDay finds the first day that matches, not before the one given; a day beyond the end of its month is the first
// of the next.
func (c *Calendar) nextDay(y int, mo time.Month, d int) (int, time.Month, int, bool) {
	for y <= MaxYear {
		year, ok := c.year.next(y)
		if !ok || year > MaxYear {
			return 0, 0, 0, false
		}
		if year != y {
			y, mo, d = year, time.January, 1
		}
		month, ok := c.month.next(int(mo))
		if !ok || month > 12 {
			y, mo, d = y+1, time.January, 1
			continue
		}
		if month != int(mo) {
			mo, d = time.Month(month), 1
		}
		n := daysIn(y, mo)
		days := c.day
		if c.fromEnd && c.day != nil {
			days = c.day.fromEndOf(n)
		}
		day, ok := days.next(d)
		if !ok || day > n {
			mo, d = mo+1, 1
			if mo > time.December {
				y, mo = y+1, time.January
			}
			continue
		}
		if d = day; c.week == 0 || c.week>>weekday(y, mo, d)&1 == 1 {
			return y, mo, d, true
		}
		d++
	}
	return 0, 0, 0, false
}

// onDay finds the first due time after a time on one local day, looking from a local time on.
func (c *Calendar) onDay(after time.Time, y int, mo time.Month, d, begin int, loc *time.Location) (time.Time, bool) {
	h, mi, us := begin/second/3600, begin/second/60%60, begin%(60*second)
	for {
		hour, ok := c.hour.next(h)
		if !ok || hour > 23 {
			return time.Time{}, false
		}
		if hour != h {
			h, mi, us = hour, 0, 0
		}
		minute, ok := c.minute.next(mi)
		if !ok || minute > 59 {
			h, mi, us = h+1, 0, 0
			continue
		}
		if minute != mi {
			mi, us = minute, 0
		}
		micro, ok := c.micro.next(us)
		if !ok || micro >= 60*second {
			mi, us = mi+1, 0
			continue
		}
		us = micro
		t, n := instants(y, mo, d, h, mi, us/second, us%second*1000, loc)
		if n > 0 && t.After(after) {
			return t, true
		}
		us++
	}
}

// possible reports whether any day matches.
func (c *Calendar) possible() bool {
	_, _, _, ok := c.nextDay(MinYear, time.January, 1)
	return ok
}
