package calendar

import (
	"strings"
	"testing"
	"time"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// due lists the next times of a schedule in its zone.
func due(s Schedule, after time.Time, loc *time.Location, n int) string {
	var out []string
	for t, ok := s.Next(after, loc); ok && len(out) < n; t, ok = s.Next(t, loc) {
		out = append(out, t.In(loc).Format("01-02 15:04:05.99 MST"))
	}
	return strings.Join(out, ", ")
}

// TestChangesOfTheClock holds the table of docs/jobs.md.
func TestChangesOfTheClock(t *testing.T) {
	ny := zone(t, "America/New_York") // 2027: forward on 14 March at 02:00, back on 7 November at 02:00
	spring, autumn := time.Date(2027, 3, 13, 12, 0, 0, 0, ny), time.Date(2027, 11, 7, 0, 10, 0, 0, ny)
	tests := []struct {
		kind, text string
		after      time.Time
		want       string
	}{
		{"cron", "30 2 * * *", spring, "03-14 03:00:00 EDT, 03-15 02:30:00 EDT"},
		{"cron", "15,45 2 * * *", spring, "03-14 03:00:00 EDT, 03-15 02:15:00 EDT, 03-15 02:45:00 EDT"},
		{"cron", "30 1 * * *", autumn, "11-07 01:30:00 EDT, 11-08 01:30:00 EST"},
		{"cron", "30 * * * *", autumn, "11-07 00:30:00 EDT, 11-07 01:30:00 EDT, 11-07 01:30:00 EST, 11-07 02:30:00 EST"},
		{"cron", "*/30 1-2 * * *", autumn, "11-07 01:00:00 EDT, 11-07 01:30:00 EDT, 11-07 01:00:00 EST, 11-07 01:30:00 EST, 11-07 02:00:00 EST"},
		{"cron", "*/30 * 14 3 *", spring.Add(14 * time.Hour).Add(-90 * time.Minute), "03-14 01:00:00 EST, 03-14 01:30:00 EST, 03-14 03:00:00 EDT"},
		{"calendar", "02:30", spring, "03-15 02:30:00 EDT, 03-16 02:30:00 EDT"},
		{"calendar", "01:30", autumn, "11-07 01:30:00 EDT, 11-08 01:30:00 EST"},
		{"calendar", "*:0/30", autumn.Add(time.Hour), "11-07 01:30:00 EDT, 11-07 02:00:00 EST, 11-07 02:30:00 EST"},
	}
	for _, test := range tests {
		if got := due(parse(t, test.kind, test.text), test.after, ny, strings.Count(test.want, ",")+1); got != test.want {
			t.Errorf("%s %q:\n got %s\nwant %s", test.kind, test.text, got, test.want)
		}
	}
}

func parse(t *testing.T, kind, text string) Schedule {
	t.Helper()
	var s Schedule
	var err error
	if kind == "cron" {
		s, err = ParseCron(text)
	} else {
		s, err = ParseCalendar(text, time.LoadLocation)
	}
	if err != nil {
		t.Fatalf("%s %q: %v", kind, text, err)
	}
	return s
}

func TestCron(t *testing.T) {
	monday := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	tests := map[string]string{
		"*/5 * * * *":      "11-30 12:05:00 UTC, 11-30 12:10:00 UTC",
		"*/20 5 * * * *":   "11-30 12:05:00 UTC, 11-30 12:05:20 UTC, 11-30 12:05:40 UTC, 11-30 13:05:00 UTC",
		"@hourly":          "11-30 13:00:00 UTC",
		"@weekly":          "12-06 00:00:00 UTC",
		"0 0 1 * mon":      "12-01 00:00:00 UTC, 12-07 00:00:00 UTC", // either day is enough
		"0 0 */10 * mon":   "12-21 00:00:00 UTC, 01-11 00:00:00 UTC", // * counts as unrestricted, also with a step
		"0 0 1-7 * */7":    "12-06 00:00:00 UTC, 01-03 00:00:00 UTC",
		"0 0 31 */2 *":     "01-31 00:00:00 UTC, 03-31 00:00:00 UTC, 05-31 00:00:00 UTC, 07-31 00:00:00 UTC, 01-31 00:00:00 UTC",
		"0 0 29 2 *":       "02-29 00:00:00 UTC",
		"0 12 * * 7":       "12-06 12:00:00 UTC",
		"0 12 * * fri-sun": "12-04 12:00:00 UTC, 12-05 12:00:00 UTC, 12-06 12:00:00 UTC, 12-11 12:00:00 UTC",
		"0 12 * * 5-7":     "12-04 12:00:00 UTC, 12-05 12:00:00 UTC, 12-06 12:00:00 UTC, 12-11 12:00:00 UTC",
	}
	for text, want := range tests {
		if got := due(parse(t, "cron", text), monday, time.UTC, strings.Count(want, ",")+1); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ kind, text, want string }{
		{"cron", "* * * *", "4 fields"},
		{"cron", "60 * * * *", `minute "60": "60" is no number from 0 to 59`},
		{"cron", "0 22-2 * * *", `hour "22-2": the range 22-2 runs backward: write 22-23,0-2`},
		{"cron", "0 0 * * fri-mon", `day of week "fri-mon": the range fri-mon runs backward: write fri-7,0-mon`},
		{"cron", "0 0 30 2 *", `"0 0 30 2 *" is never due`},
		{"cron", "5/10 * * * *", `minute "5/10": a step needs * or a range: 5-59/…`},
		{"cron", "*/0 * * * *", `the step "0" must be`},
		{"cron", "@reboot", `unknown word "@reboot"`},
		{"cron", "0 0 * jan-foo *", `"foo" is neither a name such as jan nor a number from 1 to 12`},
		{"calendar", "", "empty"},
		{"calendar", "*-02-30", "never due"},
		{"calendar", "Sat..Mon", "run backward"},
		{"calendar", "*:70", `minute "70": only 0 to 59 are possible`},
		{"calendar", "12:00 Mars/Olympus", "no time zone"},
		{"calendar", "*:0/0", "the step is 0"},
		{"calendar", "noon", "time"},
	}
	for _, test := range tests {
		var err error
		if test.kind == "cron" {
			_, err = ParseCron(test.text)
		} else {
			_, err = ParseCalendar(test.text, time.LoadLocation)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %q: got %v, want %s", test.kind, test.text, err, test.want)
		}
	}
}

// TestFractions: a step with a fraction begins anew in each minute.
func TestFractions(t *testing.T) {
	s := parse(t, "calendar", "*:*:0/20.5")
	after := time.Date(2026, 11, 30, 12, 0, 30, 0, time.UTC)
	if got, want := due(s, after, time.UTC, 3), "11-30 12:00:41 UTC, 11-30 12:01:00 UTC, 11-30 12:01:20.5 UTC"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzSchedules: what parses has a normalized form that is a fixed point, and due times that only go forward.
func FuzzSchedules(f *testing.F) {
	for _, text := range []string{"*/5 * * * *", "Mon..Fri 02:30", "*-*~1..3 10:00 UTC", "@daily", "0 0 29 2 */7", "*:*:0/0.5"} {
		f.Add(text, int64(1_800_000_000))
	}
	loc, err := time.LoadLocation("Australia/Lord_Howe")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		if len(text) > 200 {
			return
		}
		after := time.Unix(at%4_000_000_000, 0)
		if c, err := ParseCron(text); err == nil {
			checkForward(t, c, after, loc)
		}
		if c, err := ParseCalendar(text, time.LoadLocation); err == nil {
			again, err := ParseCalendar(c.String(), time.LoadLocation)
			if err != nil || again.String() != c.String() {
				t.Fatalf("%q: %q becomes %v, %v", text, c, again, err)
			}
			checkForward(t, c, after, loc)
		}
	})
}

func checkForward(t *testing.T, s Schedule, after time.Time, loc *time.Location) {
	t.Helper()
	for range 5 {
		next, ok := s.Next(after, loc)
		if !ok {
			return
		}
		if !next.After(after) {
			t.Fatalf("%s: %v does not come after %v", s, next, after)
		}
		after = next
	}
}
