package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

// durationText writes a duration as people say it: 412ms, 4.2s, 42s, 3m12s, 5h03m, 12d04h. It never shows more than
// two units, so that a column of them stays narrow.
func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "0ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + "s"
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// msText is durationText for milliseconds.
func msText(ms int64) string { return durationText(time.Duration(ms) * time.Millisecond) }

// sizeText writes a number of bytes with a binary unit: 512B, 12.3M, 1.5G.
func sizeText(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 999.95 && unit < len("KMGTPE")-1 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f%c", f, "KMGTPE"[unit])
}

// percentText writes a share of one processor: 0.4%, 12%.
func percentText(p float64) string {
	if p < 9.95 {
		return fmt.Sprintf("%.1f%%", p)
	}
	return fmt.Sprintf("%.0f%%", p)
}

// plural writes a count with its noun: "1 service", "3 services".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// parseDuration reads a length of time: Go's form (1m30s, 1500ms), days (2d, 1d12h), or a bare number of seconds.
func parseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("want a duration such as 30s, 10m or 2d")
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return checkDuration(time.Duration(n*float64(time.Second)), n, bad)
	}
	days, rest, found := strings.Cut(text, "d")
	if text == "" {
		return 0, bad
	}
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, bad
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 {
		return 0, bad
	}
	return d + more, nil
}

func checkDuration(d time.Duration, seconds float64, bad error) (time.Duration, error) {
	if !(seconds >= 0 && seconds < 1e9) {
		return 0, bad
	}
	return d, nil
}

// parseTime reads a point in time as people write it: RFC 3339, "2006-01-02 15:04[:05]", "2006-01-02", a time of day
// HH:MM[:SS] (the latest such moment that is not in the future), how long ago (10m), or what parseHabit knows.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return timeOfDay(t, now), nil
		}
	}
	if text == "now" {
		return now, nil
	}
	if t, ok := parseHabit(text, now); ok {
		return t, nil
	}
	if d, err := parseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("want 10m (ago), HH:MM, today, yesterday, \"2006-01-02 15:04\" or RFC 3339")
}

func timeOfDay(t, now time.Time) time.Time {
	y, m, d := now.Date()
	day := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
	if day.After(now) {
		return day.AddDate(0, 0, -1)
	}
	return day
}

// nearest returns the candidate that text was most likely meant to be, "" when none is near: a small edit distance for
// the length, or the only one that begins with it.
func nearest(text string, candidates []string) string {
	if best := graph.Nearest(text, slices.Values(candidates)); best != "" {
		return best
	}
	found := ""
	for _, c := range candidates {
		if len(text) < 2 || !strings.HasPrefix(c, text) {
			continue
		}
		if found != "" {
			return ""
		}
		found = c
	}
	return found
}
