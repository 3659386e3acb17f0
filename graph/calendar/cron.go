package calendar

import (
	"errors"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Cron is a schedule of crontab(5): five fields (minute, hour, day of month, month, day of week), six with seconds in
// front, or one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly.
type Cron struct {
	text                                 string
	second, minute, hour, day, mon, week uint64 // one bit a value
	anyDay, anyWeek                      bool   // the field begins with *
	fixed                                bool   // neither minute nor hour begins with *
}

// cronField is what one field may hold.
type cronField struct {
	name     string
	min, max int
	names    []string // of min, min+1, …
}

var cronFields = [6]cronField{
	{"second", 0, 59, nil},
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// cronWords are the names for whole schedules.
var cronWords = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// ParseCron reads a schedule. Its error names the field, what is wrong and what would be right. What can never be due,
// such as 30 February, is an error too, and so is a range that runs backward: cron itself accepts both and never runs.
func ParseCron(text string) (*Cron, error) {
	fields := strings.Fields(text)
	if len(fields) == 1 && strings.HasPrefix(fields[0], "@") {
		line, ok := cronWords[strings.ToLower(fields[0])]
		if !ok {
			return nil, errors.New("unknown word " + strconv.Quote(fields[0]) + ": use @yearly, @monthly, @weekly, @daily, @hourly or five fields")
		}
		fields = strings.Fields(line)
	}
	switch len(fields) {
	case 5:
		fields = append([]string{"0"}, fields...)
	case 6:
	default:
		return nil, errors.New(strconv.Itoa(len(fields)) + " fields: there must be five (minute, hour, day of month, month, day of week), or six with seconds in front")
	}
	c := &Cron{text: strings.Join(strings.Fields(text), " ")}
	for i, set := range []*uint64{&c.second, &c.minute, &c.hour, &c.day, &c.mon, &c.week} {
		var err error
		if *set, err = cronFields[i].parse(fields[i]); err != nil {
			return nil, errors.New(cronFields[i].name + " " + strconv.Quote(fields[i]) + ": " + err.Error())
		}
	}
	if c.week>>7&1 == 1 { // 7 is Sunday too
		c.week = c.week&^(1<<7) | 1
	}
	star := func(i int) bool { return strings.HasPrefix(fields[i], "*") }
	c.anyDay, c.anyWeek = star(3), star(5)
	c.fixed = !star(1) && !star(2)
	if !c.possible() {
		return nil, errors.New(strconv.Quote(c.text) + " is never due: none of the months has such a day")
	}
	return c, nil
}

// parse reads a list of values, ranges and steps into a set.
func (f *cronField) parse(text string) (uint64, error) {
	var set uint64
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 || n > f.max {
				return 0, errors.New("the step " + strconv.Quote(stepText) + " must be a number from 1 to " + strconv.Itoa(f.max))
			}
			step = n
		}
		from, to, err := f.span(span, stepped)
		if err != nil {
			return 0, err
		}
		for v := from; v <= to; v += step {
			set |= 1 << v
		}
	}
	return set, nil
}

// span reads *, a value, or a range.
func (f *cronField) span(text string, stepped bool) (from, to int, err error) {
	if text == "*" {
		to = f.max
		if f.max == 7 {
			to = 6 // Sunday once
		}
		return f.min, to, nil
	}
	low, high, ranged := strings.Cut(text, "-")
	if from, err = f.value(low); err != nil {
		return 0, 0, err
	}
	switch {
	case ranged:
		if to, err = f.value(high); err != nil {
			return 0, 0, err
		}
		if to == 0 && f.max == 7 && from > 0 {
			to = 7 // a week may end with Sunday: fri-sun
		}
	case stepped:
		return 0, 0, errors.New("a step needs * or a range: " + low + "-" + strconv.Itoa(f.max) + "/…")
	default:
		to = from
	}
	if from > to {
		return 0, 0, errors.New("the range " + text + " runs backward: write " + low + "-" + strconv.Itoa(f.max) + "," + strconv.Itoa(f.min) + "-" + high)
	}
	return from, to, nil
}

func (f *cronField) value(text string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(name, text) {
			return f.min + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max || text[0] == '+' {
		if len(f.names) > 0 {
			return 0, errors.New(strconv.Quote(text) + " is neither a name such as " + f.names[0] + " nor a number from " + strconv.Itoa(f.min) + " to " + strconv.Itoa(f.max))
		}
		return 0, errors.New(strconv.Quote(text) + " is no number from " + strconv.Itoa(f.min) + " to " + strconv.Itoa(f.max))
	}
	return n, nil
}

// String returns the text as it was written, blanks folded.
func (c *Cron) String() string { return c.text }

// possible reports whether any day can match.
func (c *Cron) possible() bool {
	if !c.anyDay && !c.anyWeek {
		return true // either of the two is enough, and every week has its days
	}
	for y := 2000; y < 2400; y++ { // the calendar repeats after 400 years
		for mo := time.January; mo <= time.December; mo++ {
			if c.mon>>mo&1 == 0 {
				continue
			}
			for d := 1; d <= daysIn(y, mo); d++ {
				if c.matchesDay(y, mo, d) {
					return true
				}
			}
		}
	}
	return false
}

// matchesDay follows crontab(5): where both day fields are restricted either is enough; where one of them begins with *
// both must match, also when it has a step.
func (c *Cron) matchesDay(y int, mo time.Month, d int) bool {
	if c.mon>>mo&1 == 0 {
		return false
	}
	day, week := c.day>>d&1 == 1, c.week>>weekday(y, mo, d)&1 == 1
	if c.anyDay || c.anyWeek {
		return day && week
	}
	return day || week
}

// Next returns the first due time after a time; see Schedule.
func (c *Cron) Next(after time.Time, loc *time.Location) (time.Time, bool) {
	t := after.In(loc)
	y, mo, d := t.Date()
	if c.fixed {
		// What was jumped over on the day before may be due now.
		y, mo, d = time.Date(y, mo, d-1, 0, 0, 0, 0, time.UTC).Date()
	}
	for y <= MaxYear {
		if c.mon>>mo&1 == 0 {
			y, mo, d = time.Date(y, mo+1, 1, 0, 0, 0, 0, time.UTC).Date()
			continue
		}
		if c.matchesDay(y, mo, d) {
			if next, ok := c.onDay(after, y, mo, d, loc); ok {
				return next, true
			}
		}
		y, mo, d = time.Date(y, mo, d+1, 0, 0, 0, 0, time.UTC).Date()
	}
	return time.Time{}, false
}

// onDay finds the first due time after a time on one local day.
func (c *Cron) onDay(after time.Time, y int, mo time.Month, d int, loc *time.Location) (time.Time, bool) {
	if !c.fixed {
		return c.running(after, y, mo, d, loc)
	}
	for h := bits.TrailingZeros64(c.hour); h < 24; h = nextBit(c.hour, h) {
		for mi := bits.TrailingZeros64(c.minute); mi < 60; mi = nextBit(c.minute, mi) {
			for s := bits.TrailingZeros64(c.second); s < 60; s = nextBit(c.second, s) {
				t, n := instants(y, mo, d, h, mi, s, 0, loc)
				if n == 0 {
					t = afterGap(y, mo, d, h, mi, s, loc)
				}
				if t.After(after) {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// running follows the clock as it runs over one local day.
func (c *Cron) running(after time.Time, y int, mo time.Month, d int, loc *time.Location) (time.Time, bool) {
	t := startOfDay(y, mo, d, loc)
	if !t.After(after) {
		t = after.In(loc).Truncate(time.Second).Add(time.Second)
	}
	for t.Day() == d && t.Month() == mo {
		switch {
		case c.hour>>t.Hour()&1 == 0:
			t = step(t, time.Duration(59-t.Minute())*time.Minute+time.Duration(60-t.Second())*time.Second)
		case c.minute>>t.Minute()&1 == 0:
			t = step(t, time.Duration(60-t.Second())*time.Second)
		case c.second>>t.Second()&1 == 0:
			t = step(t, time.Second)
		default:
			return t, true
		}
	}
	return time.Time{}, false
}

// step goes on by a time, but not beyond a change of the clock.
func step(t time.Time, by time.Duration) time.Time {
	next := t.Add(by)
	if _, end := t.ZoneBounds(); !end.IsZero() && next.After(end) {
		return end
	}
	return next
}

// startOfDay is the first moment of a local day.
func startOfDay(y int, mo time.Month, d int, loc *time.Location) time.Time {
	if t, n := instants(y, mo, d, 0, 0, 0, 0, loc); n > 0 {
		return t
	}
	return afterGap(y, mo, d, 0, 0, 0, loc)
}

// nextBit is the next value of a set after v, 64 when there is none.
func nextBit(set uint64, v int) int {
	if v >= 63 {
		return 64
	}
	return bits.TrailingZeros64(set &^ (1<<(v+1) - 1))
}
