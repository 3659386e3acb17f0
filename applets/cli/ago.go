package cli

import (
	"strconv"
	"strings"
	"time"
)

// units are those of systemd.time(7) up to weeks.
var units = map[string]time.Duration{
	"ms": time.Millisecond, "msec": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseHabit reads the points in time that people know from journalctl: today, yesterday, @SECONDS since 1970, -10min, "10
// minutes ago", "1h 30min ago".
func parseHabit(text string, now time.Time) (t time.Time, ok bool) {
	y, m, d := now.Date()
	switch text {
	case "today":
		return time.Date(y, m, d, 0, 0, 0, 0, now.Location()), true
	case "yesterday":
		return time.Date(y, m, d-1, 0, 0, 0, 0, now.Location()), true
	}
	if digits, found := strings.CutPrefix(text, "@"); found {
		n, err := strconv.ParseInt(digits, 10, 48)
		return time.Unix(n, 0), err == nil && n > 0
	}
	length, isAgo := strings.CutSuffix(text, " ago")
	length, isMinus := strings.CutPrefix(length, "-")
	if isAgo == isMinus {
		return t, false
	}
	ago, ok := parseUnits(length)
	return now.Add(-ago), ok
}

// parseUnits reads a sum of numbers with units, with or without spaces: 1h 30min.
func parseUnits(text string) (sum time.Duration, ok bool) {
	for text = strings.TrimSpace(text); text != ""; ok = true {
		digits := strings.TrimLeft(text, "0123456789")
		n, err := strconv.ParseUint(text[:len(text)-len(digits)], 10, 24)
		digits = strings.TrimLeft(digits, " ")
		after := strings.TrimLeft(digits, "abcdefghijklmnopqrstuvwxyz")
		unit := units[digits[:len(digits)-len(after)]]
		if err != nil || unit == 0 {
			return 0, false
		}
		sum += time.Duration(n) * unit
		text = strings.TrimLeft(after, " ")
	}
	return sum, ok && sum >= 0
}
