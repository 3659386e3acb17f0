package calendar

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

var cronLines = flag.Int("cron-lines", 40, "how many crontab lines TestDebianCron compares in each window")

// cronWindow is a span that cron(8) is led through, a minute at a time.
type cronWindow struct {
	zone    string
	from    string // UTC
	minutes int
}

var cronWindows = []cronWindow{
	{"America/New_York", "2027-03-14 06:30", 90},  // 02:00 becomes 03:00 at 07:00 UTC
	{"America/New_York", "2027-11-07 04:50", 200}, // 02:00 becomes 01:00 at 06:00 UTC
	{"Australia/Lord_Howe", "2027-10-02 15:10", 60},
	{"UTC", "2028-02-28 23:40", 45},
	{"Asia/Kathmandu", "2026-12-31 17:55", 45}, // midnight of a new year
}

// field writes one field of a crontab line.
func (r random) field(low, high int, names ...string) string {
	number := func() int { return low + r.Intn(high-low+1) }
	switch r.Intn(9) {
	case 0, 1, 2, 3:
		return "*"
	case 4:
		return fmt.Sprintf("*/%d", 1+r.Intn(high-low))
	case 5:
		from := low + r.Intn(high-low)
		return fmt.Sprintf("%d-%d/%d", from, from+1+r.Intn(high-from), 1+r.Intn(5))
	case 6:
		return fmt.Sprintf("%d,%d", number(), number())
	case 7:
		if len(names) > 0 {
			return r.pick(names...)
		}
	}
	return strconv.Itoa(number())
}

func (r random) crontab(base time.Time) string {
	minute, hour := r.field(0, 59), r.field(0, 23)
	if r.Intn(2) == 0 { // near the window, or most lines would never be due in it
		hour = strconv.Itoa((base.Hour() + r.Intn(4)) % 24)
	}
	day, month, week := "*", "*", "*"
	if r.Intn(3) == 0 {
		day = r.pick(r.field(1, 31), "1", "28-31", "29", "*/2", "7", "14")
	}
	if r.Intn(4) == 0 {
		month = r.pick(r.field(1, 12, "jan", "Mar", "NOV"), "1-3", "10-12")
	}
	if r.Intn(3) == 0 {
		week = r.pick(r.field(0, 7, "sun", "Mon", "fri"), "0", "7", "sat,sun", "1-5", "*/3")
	}
	return strings.Join([]string{minute, hour, day, month, week}, " ")
}

// TestDebianCron leads cron(8) of Debian through hours at changes of the clock and compares the minutes at which it runs each of
// many random lines. libfaketime gives it the time from a file, and SIGHUP ends its sleep, so that nothing depends on speed.
func TestDebianCron(t *testing.T) {
	need.Root(t)
	need.Program(t, "cron")
	need.Program(t, "unshare")
	lib, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	need.That(t, err == nil && len(lib) > 0, "libfaketime")
	for n, window := range cronWindows {
		t.Run(window.zone+" "+window.from, func(t *testing.T) { compareCron(t, lib[0], int64(n), window) })
	}
}

func compareCron(t *testing.T, lib string, seed int64, window cronWindow) {
	loc := zone(t, window.zone)
	base, err := time.ParseInLocation("2006-01-02 15:04", window.from, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	r := random{rand.New(rand.NewSource(seed))}
	lines := []string{"30 2 * * *", "15,45 2 * * *", "30 1 * * *", "*/20 * * * *", "0 * * * *", "10 1-2 * * *", "*/10 2 * * *"}
	for len(lines) < *cronLines {
		if line := r.crontab(base.In(loc)); len(strings.Fields(line)) == 5 {
			if _, err := ParseCron(line); err == nil {
				lines = append(lines, line)
			}
		}
	}
	dir := t.TempDir()
	out, clock := filepath.Join(dir, "out"), filepath.Join(dir, "clock")
	table := "* * * * * echo tick >>" + out + "\n"
	for i, line := range lines {
		table += fmt.Sprintf("%s echo %d >>%s\n", line, i, out)
	}
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	set := func(at time.Time) { put(clock, strconv.FormatInt(at.Unix(), 10)) }
	put(filepath.Join(dir, "table"), table)
	put(filepath.Join(dir, "empty"), "")
	put(out, "")
	set(base.Add(-30 * time.Second))
	// Its own view of the places where it looks, so that no job of this machine runs.
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec", `
		mount -t tmpfs none /var/spool/cron; mkdir /var/spool/cron/crontabs
		cp "$1/table" /var/spool/cron/crontabs/root; chmod 600 /var/spool/cron/crontabs/root
		mount -t tmpfs none /etc/cron.d; mount --bind "$1/empty" /etc/crontab; mount -t tmpfs none /run
		exec env -i PATH=/usr/sbin:/usr/bin:/bin "TZ=$2" FAKETIME_NO_CACHE=1 FAKETIME_FMT=%s "FAKETIME_TIMESTAMP_FILE=$1/clock" \
			"LD_PRELOAD=$3" cron -f`, "sh", dir, window.zone, lib)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pid := strconv.Itoa(cmd.Process.Pid)
	read := func(path string) string { data, _ := os.ReadFile(path); return string(data) }
	asleep := func() bool { return strings.Contains(read("/proc/"+pid+"/wchan"), "nanosleep") }
	wait.For(t, "cron to sleep", func() bool { return read("/proc/"+pid+"/comm") == "cron\n" && asleep() })

	ran := map[int][]string{}
	for m := range window.minutes {
		at := base.Add(time.Duration(m) * time.Minute)
		set(at)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		wait.For(t, "the jobs of a minute", func() bool {
			return strings.Contains(read(out), "tick") && read("/proc/"+pid+"/task/"+pid+"/children") == "" && asleep()
		})
		for word := range strings.FieldsSeq(read(out)) {
			if i, err := strconv.Atoi(word); err == nil {
				ran[i] = append(ran[i], at.Format("15:04"))
			}
		}
		put(out, "")
	}
	for i, line := range lines {
		c, err := ParseCron(line)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for at, ok := c.Next(base.Add(-time.Second), loc); ok && at.Before(base.Add(time.Duration(window.minutes)*time.Minute)); at, ok = c.Next(at, loc) {
			want = append(want, at.UTC().Format("15:04"))
		}
		// Of several times that the clock jumps over cron makes as many runs in the same moment; here they are one.
		if !slices.Equal(slices.Compact(ran[i]), want) {
			t.Errorf("%q in %s: cron runs it at %v UTC, we at %v", line, window.zone, ran[i], want)
		}
	}
}
