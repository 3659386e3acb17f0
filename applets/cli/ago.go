package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph/calendar"
)

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
func parseUnits(text string) (time.Duration, bool) {
	sum, err := calendar.ParseSpan(text)
	return sum, err == nil
}
