package calendar

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// spanUnits are the units of a time span with their names in systemd.time(7), longest name first where one begins another.
var spanUnits = []struct {
	name string
	unit time.Duration
}{
	{"msec", time.Millisecond}, {"ms", time.Millisecond},
	{"minutes", time.Minute}, {"minute", time.Minute}, {"min", time.Minute}, {"m", time.Minute},
	{"seconds", time.Second}, {"second", time.Second}, {"sec", time.Second}, {"s", time.Second},
	{"hours", time.Hour}, {"hour", time.Hour}, {"hr", time.Hour}, {"h", time.Hour},
	{"days", 24 * time.Hour}, {"day", 24 * time.Hour}, {"d", 24 * time.Hour},
	{"weeks", 7 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
}

// maxSpan is the longest span: far from the end of a time.Duration.
const maxSpan = 100 * 366 * 24 * time.Hour

// ParseSpan reads a time span such as "90s", "1h 30min" or "2d". Every number has its unit: a bare one could mean anything.
// It is at most 100 years.
func ParseSpan(text string) (time.Duration, error) {
	total, rest := time.Duration(0), strings.TrimSpace(text)
	if rest == "" {
		return 0, errors.New("a time span such as 90s, 10m or 1h 30m is missing")
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, errors.New(strconv.Quote(text) + " is no time span: write it as 90s, 10m or 1h 30m")
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		unit := time.Duration(0)
		for _, u := range spanUnits {
			if strings.HasPrefix(rest, u.name) {
				unit, rest = u.unit, strings.TrimLeft(rest[len(u.name):], " ")
				break
			}
		}
		switch {
		case unit == 0:
			return 0, errors.New(strconv.Quote(text) + " is no time span: after " + strconv.FormatInt(n, 10) +
				" a unit must follow: ms, s, m, h, d or w")
		case n > int64(maxSpan/unit) || total+time.Duration(n)*unit > maxSpan:
			return 0, errors.New(strconv.Quote(text) + " is longer than 100 years")
		}
		total += time.Duration(n) * unit
	}
	return total, nil
}

// FormatSpan writes a span so that ParseSpan reads it again: "1h30m".
func FormatSpan(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	out := ""
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.unit; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + u.name
			d %= u.unit
		}
	}
	return out
}
