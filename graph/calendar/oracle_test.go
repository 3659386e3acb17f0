package calendar

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/need"
)

var expressions = flag.Int("expressions", 1500, "how many random expressions TestSystemd compares")

// zones have clocks that are put forward and back, at odd hours, by half an hour, at midnight, and over a whole day.
var zones = []string{"UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tehran",
	"Pacific/Apia", "Asia/Kathmandu", "America/St_Johns", "Africa/Casablanca"}

// random writes calendar expressions.
type random struct{ *rand.Rand }

func (r random) pick(words ...string) string { return words[r.Intn(len(words))] }

func (r random) value(low, high, width int) string {
	return fmt.Sprintf("%0*d", width, low+r.Intn(high-low+1))
}

func (r random) component(low, high, width int) string {
	switch r.Intn(8) {
	case 0, 1, 2:
		return "*"
	case 3:
		from := low + r.Intn(high-low)
		return fmt.Sprintf("%d..%d", from, from+1+r.Intn(high-from))
	case 4:
		from := low + r.Intn(high-low)
		return fmt.Sprintf("%d..%d/%d", from, from+1+r.Intn(high-from), 1+r.Intn(5))
	case 5:
		return fmt.Sprintf("%d/%d", low+r.Intn((high-low)/2+1), 1+r.Intn((high-low)/2+1))
	case 6:
		return r.value(low, high, width) + "," + r.value(low, high, width)
	}
	return r.value(low, high, width)
}

func (r random) expression() string {
	var out []string
	if r.Intn(3) == 0 {
		out = append(out, r.pick("Mon", "sun", "Tue,Thu", "Mon..Fri", "Wednesday", "Sat,Sun", "Mon..Wed,Fri", "Thu-Sat"))
	}
	if r.Intn(3) > 0 {
		year := ""
		if r.Intn(2) == 0 {
			year = r.pick("*", "*", "2024..2030", "2026/2", "27", "2028") + "-"
		}
		out = append(out, year+r.component(1, 12, 2)+r.pick("-", "-", "-", "~")+r.component(1, 31, 2))
	}
	if r.Intn(4) > 0 || len(out) == 0 {
		clock := r.component(0, 23, 2) + ":" + r.component(0, 59, 2)
		if r.Intn(2) == 0 {
			clock += ":" + r.pick(r.component(0, 59, 2), "00", "0/30", "15.5", "0/7.25")
		}
		out = append(out, clock)
	}
	if r.Intn(6) == 0 {
		out = append(out, r.pick("UTC", "Europe/Paris", "America/New_York"))
	}
	if r.Intn(20) == 0 {
		return r.pick("hourly", "daily", "weekly", "monthly", "yearly", "quarterly", "semiannually", "minutely", "@1900000000")
	}
	return strings.Join(out, " ")
}

// said is what systemd-analyze says of one expression.
type said struct {
	failed bool
	gaveUp bool // it ended the search for a time with an error
	normal string
	next   []string
}

var (
	normalLine = regexp.MustCompile(`(?m)^Normalized form: (.*)$`)
	nextLine   = regexp.MustCompile(`(?m)^ *(?:Next elapse|Iter\. #\d+|\(in UTC\)): (.*)$`)
	failLine   = regexp.MustCompile(`(?m)^Failed to (parse calendar specification|determine next elapse for) '(.*)':`)
)

// askSystemd asks for all expressions in one call.
func askSystemd(t *testing.T, zone string, base time.Time, n int, list []string) []said {
	t.Helper()
	if len(list) == 0 {
		return nil
	}
	args := append([]string{"calendar", fmt.Sprintf("--iterations=%d", n), "--base-time=" + base.UTC().Format("2006-01-02 15:04:05 UTC")}, list...)
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Env = append(os.Environ(), "TZ="+zone, "LC_ALL=C", "SYSTEMD_COLORS=0")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // it fails when one of them does
	refused, gaveUp := map[string]bool{}, map[string]bool{}
	for _, m := range failLine.FindAllStringSubmatch(errs.String(), -1) {
		if m[1] == "parse calendar specification" {
			refused[m[2]] = true
		} else {
			gaveUp[m[2]] = true
		}
	}
	starts := normalLine.FindAllStringIndex(out.String(), -1)
	answers := make([]said, len(list))
	for i, text := range list {
		if answers[i].failed = refused[text]; answers[i].failed {
			continue
		}
		if answers[i].gaveUp = gaveUp[text]; answers[i].gaveUp { // nothing is said of it, nor of those behind it
			return append(answers[:i+1], askSystemd(t, zone, base, n, list[i+1:])...)
		}
		if len(starts) == 0 {
			t.Fatalf("no answer for %q\n%s%s", text, out.String(), errs.String())
		}
		block := out.String()[starts[0][0]:]
		if len(starts) > 1 {
			block = out.String()[starts[0][0]:starts[1][0]]
		}
		answers[i].normal = normalLine.FindStringSubmatch(block)[1]
		utc := zone == "UTC"
		for _, m := range nextLine.FindAllStringSubmatch(block, -1) {
			if strings.HasSuffix(m[1], " UTC") && (utc || strings.Contains(m[0], "in UTC")) {
				answers[i].next = append(answers[i].next, m[1])
			}
		}
		starts = starts[1:]
	}
	return answers
}

// ours is our answer in the same words.
func ours(text string, base time.Time, loc *time.Location, n int) said {
	c, err := ParseCalendar(text, time.LoadLocation)
	if err != nil {
		return said{failed: true, normal: err.Error()}
	}
	s := said{normal: c.String()}
	for t := base; len(s.next) < n; {
		next, ok := c.Next(t, loc)
		if !ok {
			break
		}
		t = next
		s.next = append(s.next, t.UTC().Format("Mon 2006-01-02 15:04:05 UTC"))
	}
	return s
}

// differs names the known reasons for another answer than systemd's; docs/jobs.md lists them.
func differs(text string, got, want said) string {
	switch {
	case got.failed && !want.failed && len(want.next) == 0:
		return "what is never due is an error here, when it is read"
	case !got.failed && want.failed && regexp.MustCompile(`~\d+(,\d+)+`).MatchString(got.normal):
		return "systemd lowers the bound of 28 by three with each further day of a list that counts from the end"
	case !got.failed && got.normal == want.normal && openStep.MatchString(text) && leavesOut(text, want.next):
		return "systemd leaves out the first value behind midnight or the end of a month where an open step ran over it"
	case want.gaveUp:
		return "systemd ends the search after a number of steps"
	case strings.Contains(text, "0/7.25") && got.normal == want.normal:
		return "systemd carries the fraction into the next minute and leaves out its first second"
	}
	return ""
}

var openStep = regexp.MustCompile(`(^|[ :,~-])\d+/\d+`)

// leavesOut reports whether all times of a list are due for us, too, in a schedule that has no zone of its own or one.
func leavesOut(text string, times []string) bool {
	c, err := ParseCalendar(text, time.LoadLocation)
	if err != nil || len(times) == 0 {
		return false
	}
	for _, zone := range zones {
		loc, _ := time.LoadLocation(zone)
		all := true
		for _, text := range times {
			at, _ := time.Parse("Mon 2006-01-02 15:04:05 UTC", text)
			next, ok := c.Next(at.Add(-time.Microsecond), loc)
			all = all && ok && next.Sub(at) < time.Second
		}
		if all {
			return true
		}
	}
	return false
}

// TestSystemd compares random expressions, at times near changes of the clock, with systemd-analyze(1).
func TestSystemd(t *testing.T) {
	need.Program(t, "systemd-analyze")
	const batch, iterations = 60, 4
	compared := 0
	for seed := int64(0); compared < *expressions; seed++ {
		r := random{rand.New(rand.NewSource(seed))}
		zone := zones[seed%int64(len(zones))]
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int63n(int64(3 * 365 * 24 * time.Hour)))).Truncate(time.Second)
		if _, end := base.In(loc).ZoneBounds(); r.Intn(2) == 0 && !end.IsZero() {
			base = end.Add(-time.Duration(r.Intn(3*3600)) * time.Second)
		}
		list := make([]string, batch)
		for i := range list {
			list[i] = r.expression()
		}
		for i, want := range askSystemd(t, zone, base, iterations, list) {
			got := ours(list[i], base, loc, iterations)
			compared++
			switch {
			case differs(list[i], got, want) != "":
			case got.failed != want.failed:
				t.Errorf("seed %d %q: failed %v (%s), systemd %v", seed, list[i], got.failed, got.normal, want.failed)
			case got.failed:
			case got.normal != want.normal:
				t.Errorf("seed %d %q: normalized %q, systemd %q", seed, list[i], got.normal, want.normal)
			case fmt.Sprint(got.next) != fmt.Sprint(want.next):
				t.Errorf("seed %d %q in %s after %s:\n got %q\nwant %q", seed, list[i], zone, base.UTC(), got.next, want.next)
			}
		}
	}
}
