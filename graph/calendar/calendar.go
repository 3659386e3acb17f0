package calendar

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Calendar is a calendar expression of systemd.time(7), as OnCalendar= of a timer takes it.
type Calendar struct {
	week             uint8 // one bit a weekday, Sunday first; 0 = every day
	year, month, day chain // nil = every
	fromEnd          bool  // days count from the end of the month: ~01 is the last one
	hour, minute     chain // nil = every
	micro            chain // seconds and their fractions, in microseconds
	zone             *time.Location
	zoneName         string // "" = the zone that Next is given
}

// chain is a list of alternatives for one component.
type chain []span

// span is a value, a range, or either with a step. Years, months, days, hours and minutes count in ones, seconds in
// microseconds.
type span struct {
	start int
	stop  int // -1 = none
	step  int // 0 = none
}

const second = 1_000_000 // in microseconds

// calendarWords are the names for whole expressions.
var calendarWords = map[string]string{
	"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "monthly": "*-*-01 00:00:00",
	"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00", "weekly": "Mon *-*-* 00:00:00",
	"quarterly": "*-01,04,07,10-01 00:00:00", "semiannually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00",
	"biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00",
}

var weekdayNames = [7]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// LoadZone finds a time zone by its IANA name; time.LoadLocation is one.
type LoadZone func(name string) (*time.Location, error)

// ParseCalendar reads an expression. zones finds the zone that may stand at its end; nil = only UTC may. The error names
// the part that is wrong. An expression that can never be due in MinYear to MaxYear is an error, too.
func ParseCalendar(text string, zones LoadZone) (*Calendar, error) {
	c := &Calendar{}
	rest, err := c.parseZone(strings.TrimSpace(text), zones)
	if err != nil {
		return nil, err
	}
	if rest == "" {
		return nil, errors.New("the expression is empty")
	}
	if line, ok := calendarWords[strings.ToLower(rest)]; ok {
		rest = line
	}
	if epoch, ok := strings.CutPrefix(rest, "@"); ok {
		return c.parseEpoch(epoch)
	}
	if rest, err = c.parseWeekdays(rest); err != nil {
		return nil, err
	}
	date, clock := "", rest
	if i := strings.IndexAny(rest, " T"); i >= 0 {
		date, clock = rest[:i], strings.TrimLeft(rest[i+1:], " ")
	} else if isDate(rest) {
		date, clock = rest, ""
	}
	if err := c.parseDate(date); err != nil {
		return nil, err
	}
	if err := c.parseClock(clock); err != nil {
		return nil, err
	}
	if !c.possible() {
		return nil, errors.New(strconv.Quote(c.String()) + " is never due: there is no such day from " + strconv.Itoa(MinYear) + " to " + strconv.Itoa(MaxYear))
	}
	return c, nil
}

// parseZone takes a zone off the end.
func (c *Calendar) parseZone(text string, zones LoadZone) (rest string, err error) {
	i := strings.LastIndexByte(text, ' ')
	if i < 0 {
		return text, nil
	}
	name := text[i+1:]
	if strings.EqualFold(name, "UTC") {
		c.zone, c.zoneName = time.UTC, "UTC"
		return strings.TrimRight(text[:i], " "), nil
	}
	if name == "" || !strings.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") || isWeekday(name) {
		return text, nil
	}
	if zones == nil {
		return "", errors.New(strconv.Quote(name) + ": no zone but UTC can stand here")
	}
	if c.zone, err = zones(name); err != nil {
		return "", errors.New(strconv.Quote(name) + " is no time zone: use a name such as Europe/Berlin, or UTC")
	}
	c.zoneName = name
	return strings.TrimRight(text[:i], " "), nil
}

func isWeekday(text string) bool {
	_, _, ok := cutWeekday(text)
	return ok
}

// cutWeekday takes the name of a weekday, whole or its first three letters, off the front.
func cutWeekday(text string) (day int, rest string, ok bool) {
	for i, name := range weekdayNames {
		for _, name := range []string{name, name[:3]} {
			if len(text) >= len(name) && strings.EqualFold(text[:len(name)], name) {
				return i, text[len(name):], true
			}
		}
	}
	return 0, text, false
}

// parseWeekdays takes "Mon", "Mon,Wed", "Mon..Fri" (or, as older versions wrote it, "Mon-Fri") off the front.
func (c *Calendar) parseWeekdays(text string) (rest string, err error) {
	day, rest, ok := cutWeekday(text)
	if !ok {
		return text, nil
	}
	from := -1
	for {
		monday := (day + 6) % 7 // weeks begin with Monday here
		if from > monday {
			return "", errors.New("the weekdays of " + strconv.Quote(text) + " run backward: list them with commas")
		}
		if from < 0 {
			from = monday
		}
		for d := from; d <= monday; d++ {
			c.week |= 1 << ((d + 1) % 7)
		}
		from = -1
		switch {
		case rest == "":
			return "", nil
		case rest[0] == ' ':
			return strings.TrimLeft(rest, " "), nil
		case rest[0] == ',':
			rest = strings.TrimLeft(rest[1:], " ")
			if _, _, more := cutWeekday(rest); !more {
				return rest, nil
			}
		case strings.HasPrefix(rest, ".."):
			from, rest = monday, rest[2:]
		case rest[0] == '-':
			from, rest = monday, rest[1:]
		default:
			return "", errors.New(strconv.Quote(text) + " begins with no weekday")
		}
		if day, rest, ok = cutWeekday(rest); !ok {
			return "", errors.New(strconv.Quote(text) + ": a weekday is missing at " + strconv.Quote(rest))
		}
	}
}

// isDate tells a date without a time from a time without a date.
func isDate(text string) bool {
	return strings.ContainsAny(text, "-~") && !strings.Contains(text, ":")
}

// parseDate reads YEAR-MONTH-DAY or MONTH-DAY, with ~ before a day that counts from the end of the month.
func (c *Calendar) parseDate(text string) (err error) {
	if text == "" {
		return nil
	}
	var parts []string
	for rest := text; ; {
		i := strings.IndexAny(rest, "-~")
		if i < 0 {
			parts = append(parts, rest)
			break
		}
		parts = append(parts, rest[:i])
		if rest[i] == '~' {
			if c.fromEnd = true; strings.ContainsAny(rest[i+1:], "-~") {
				return errors.New("date " + strconv.Quote(text) + ": ~ stands before the day only")
			}
		}
		rest = rest[i+1:]
	}
	if len(parts) < 2 || len(parts) > 3 {
		return errors.New("date " + strconv.Quote(text) + ": write YEAR-MONTH-DAY or MONTH-DAY")
	}
	if len(parts) == 3 {
		if c.year, err = parseChain("year", parts[0], MinYear, MaxYear, 1, false); err != nil {
			return err
		}
		parts = parts[1:]
	}
	if c.month, err = parseChain("month", parts[0], 1, 12, 1, false); err != nil {
		return err
	}
	last := 31
	if c.fromEnd = c.fromEnd && parts[1] != "*"; c.fromEnd {
		last = 28 // what every month has
	}
	c.day, err = parseChain("day", parts[1], 1, last, 1, c.fromEnd)
	return err
}

// parseClock reads HOUR:MINUTE or HOUR:MINUTE:SECOND. Without a time it is midnight.
func (c *Calendar) parseClock(text string) (err error) {
	if text == "" {
		c.hour, c.minute, c.micro = at(0), at(0), at(0)
		return nil
	}
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return errors.New("time " + strconv.Quote(text) + ": write HOUR:MINUTE or HOUR:MINUTE:SECOND")
	}
	if c.hour, err = parseChain("hour", parts[0], 0, 23, 1, false); err != nil {
		return err
	}
	if c.minute, err = parseChain("minute", parts[1], 0, 59, 1, false); err != nil {
		return err
	}
	if len(parts) == 2 {
		c.micro = at(0)
		return nil
	}
	if parts[2] == "*" {
		c.micro = chain{{0, -1, second}}
		return nil
	}
	c.micro, err = parseChain("second", parts[2], 0, 60*second-1, second, false)
	return err
}

// at is a chain of one value.
func at(v int) chain { return chain{{v, -1, 0}} }

// parseEpoch reads the seconds since 1970.
func (c *Calendar) parseEpoch(text string) (*Calendar, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	t := time.Unix(n, 0).UTC()
	if err != nil || t.Year() < MinYear || t.Year() > MaxYear {
		return nil, errors.New("@" + text + " is no number of seconds since 1970")
	}
	return &Calendar{year: at(t.Year()), month: at(int(t.Month())), day: at(t.Day()), hour: at(t.Hour()),
		minute: at(t.Minute()), micro: at(t.Second() * second), zone: time.UTC, zoneName: "UTC"}, nil
}

// parseChain reads a list for one component; "*" is nil.
func parseChain(what, text string, low, high, unit int, fromEnd bool) (chain, error) {
	if text == "*" {
		return nil, nil
	}
	var out chain
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseSpan(part, unit)
		if err != nil {
			return nil, errors.New(what + " " + strconv.Quote(text) + ": " + err.Error())
		}
		if what == "year" {
			s.start, s.stop = wholeYear(s.start), wholeYear(s.stop)
		}
		s.normalize()
		if err := s.check(low, high, unit, fromEnd); err != nil {
			return nil, errors.New(what + " " + strconv.Quote(text) + ": " + err.Error())
		}
		out = append(out, s)
	}
	return out.sorted(), nil
}

// wholeYear completes a year of two digits as systemd does: 70 to 99 are of the last century.
func wholeYear(y int) int {
	switch {
	case y >= 0 && y < 70:
		return y + 2000
	case y >= 70 && y < 100:
		return y + 1900
	}
	return y
}

// parseSpan reads V, V..W, V/S, V..W/S or */S.
func parseSpan(text string, unit int) (span, error) {
	s := span{stop: -1}
	body, step, stepped := strings.Cut(text, "/")
	low, high, ranged := strings.Cut(body, "..")
	if unit == 1 && ranged && low == "" || text == "" {
		return s, errors.New("a number is missing")
	}
	var err error
	if body == "*" && stepped {
		low = "0"
	}
	if s.start, err = number(low, unit); err != nil {
		return s, err
	}
	if ranged {
		if s.stop, err = number(high, unit); err != nil {
			return s, err
		}
		s.step = unit
		if s.start > s.stop {
			return s, errors.New("the range " + body + " runs backward")
		}
	}
	if stepped {
		if s.step, err = number(step, unit); err != nil {
			return s, err
		}
		if s.step == 0 {
			return s, errors.New("the step is 0")
		}
	}
	return s, nil
}

// number reads a value; seconds may have six digits behind a point.
func number(text string, unit int) (int, error) {
	whole, fraction, pointed := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole, 10, 31)
	if err != nil || pointed && (unit == 1 || fraction == "" || len(fraction) > 6) {
		return 0, errors.New(strconv.Quote(text) + " is no number")
	}
	value := int(n) * unit
	if pointed {
		f, err := strconv.ParseUint((fraction + "000000")[:6], 10, 31)
		if err != nil {
			return 0, errors.New(strconv.Quote(text) + " is no number")
		}
		value += int(f)
	}
	return value, nil
}

// check holds a span against the bounds of its component, and refuses a step that is never taken.
func (s span) check(low, high, unit int, fromEnd bool) error {
	inside := func(v int) bool { return v >= low && v <= high }
	switch {
	case !inside(s.start) || s.stop >= 0 && !inside(s.stop):
		return errors.New("only " + strconv.Itoa(low/unit) + " to " + strconv.Itoa(high/unit) + " are possible")
	case s.stop < 0 && fromEnd && s.start-s.step < low, s.stop < 0 && !fromEnd && s.start+s.step > high:
		return errors.New("the step leads out of the range at once")
	}
	return nil
}

// normalize cuts a range to a multiple of its step and drops a step that is never taken.
func (s *span) normalize() {
	if s.stop > s.start && s.step > 0 {
		s.stop -= (s.stop - s.start) % s.step
	}
	if s.stop > 0 && s.start+s.step > s.stop || s.start == s.stop {
		s.step, s.stop = 0, -1
	}
}

// sorted sorts a chain and drops what stands twice.
func (c chain) sorted() chain {
	slices.SortFunc(c, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.stop, b.stop), cmp.Compare(a.step, b.step))
	})
	return slices.Compact(c)
}

// next is the smallest value of a chain that is not below v.
func (c chain) next(v int) (int, bool) {
	if c == nil {
		return v, true
	}
	best, found := 0, false
	for _, s := range c {
		k := s.start
		if v > s.start {
			if s.step == 0 {
				continue
			}
			k = s.start + (v-s.start+s.step-1)/s.step*s.step
			if s.stop >= 0 && k > s.stop {
				continue
			}
		}
		if !found || k < best {
			best, found = k, true
		}
	}
	return best, found
}

// fromEndOf turns days that count from the end into days of a month with n days.
func (c chain) fromEndOf(n int) chain {
	out := make(chain, 0, len(c))
	for _, s := range c {
		start, stop := n+1-s.start, -1
		if s.stop >= 0 {
			start, stop = n+1-s.stop, n+1-s.start
		}
		if start < 1 && stop < 1 {
			continue // the month is too short
		}
		out = append(out, span{start, stop, s.step})
	}
	return out
}
