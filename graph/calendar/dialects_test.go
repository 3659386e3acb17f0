package calendar

import (
	"strings"
	"testing"
	"time"
)

// TestCronDialects: lines that cron programs read differently, tried on cron 3.0pl1-212 of Debian, cronie 1.7.2 and
// busybox 1.38.0, and how they are read here. docs/jobs.md has the kinds; TestDebianCron compares with Debian's for real.
func TestCronDialects(t *testing.T) {
	const never, daily, unknown = "accepted, never due", "every day", "not tried"
	tests := []struct {
		text, debian, cronie, busybox string
		want                          string // the first days after 30 November, or a part of the error
	}{
		{"0 0 * * 7", "Sunday", "Sunday", daily, "12-06 12-13 12-20"},
		{"0 0 * * 5-7", "Friday to Sunday", "Friday to Sunday", daily, "12-04 12-05 12-06 12-11"},
		{"0 0 * * mon-7", daily, daily, unknown, "12-01 12-02 12-03 12-04 12-05 12-06 12-07"},
		{"0 0 * * sun-sat", daily, daily, unknown, "12-01 12-02 12-03 12-04 12-05 12-06 12-07"},
		{"0 0 * * mon-sun", never, never, "wraps", "12-01 12-02 12-03 12-04 12-05 12-06 12-07"}, // the end can only be day 7
		{"0 0 * * fri-mon", never, never, "wraps", "write fri-7,0-mon"},
		{"0 22-2 * * *", never, never, "wraps", "write 22-23,0-2"},
		{"0 0 */2 * *", "odd days", "odd days", "even days", "12-01 12-03 12-05"},
		{"0 0 */5 * *", "1, 6, 11, …", "1, 6, 11, …", "5, 10, 15, …", "12-01 12-06 12-11"},
		{"0 0 */2 * 1", "odd Mondays", "odd Mondays", "even days and Mondays", "12-07 12-21 01-11"},
		{"0 0 32 * *", unknown, unknown, daily, `"32" is no number from 1 to 31`},
		{"0 0 * * 1#2", "every Monday", "refused", unknown, `day of week "1#2"`},
		{"0~30 * * * *", "some minute", unknown, unknown, `minute "0~30"`},
	}
	base := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, test := range tests {
		var got string
		if s, err := ParseCron(test.text); err != nil {
			got = err.Error()
		} else {
			var days []string
			for at := base; len(days) < strings.Count(test.want, " ")+1; {
				next, ok := s.Next(at, time.UTC)
				if !ok {
					break
				}
				days, at = append(days, next.Format("01-02")), next
			}
			got = strings.Join(days, " ")
		}
		if got != test.want && !strings.Contains(got, test.want) {
			t.Errorf("%q: got %s, want %s (Debian: %s; cronie: %s; busybox: %s)", test.text, got, test.want, test.debian, test.cronie, test.busybox)
		}
	}
}
