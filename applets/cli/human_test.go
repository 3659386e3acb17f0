package cli

import (
	"testing"
	"time"

	"github.com/zinit/zinit/internal/terminal"
)

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 0: "0ms", 412 * time.Millisecond: "412ms", time.Second: "1s", 4200 * time.Millisecond: "4.2s",
		9949 * time.Millisecond: "9.9s", 9950 * time.Millisecond: "10s", 59600 * time.Millisecond: "1m00s", 192 * time.Second: "3m12s",
		time.Hour: "1h00m", 5*time.Hour + 3*time.Minute: "5h03m", 24 * time.Hour: "1d00h", 300 * time.Hour: "12d12h",
	} {
		if got := durationText(d); got != want {
			t.Errorf("durationText(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1.0K", 12_900_000: "12.3M", 1023 << 10: "1.0M", 1 << 40: "1.0T", 1<<64 - 1: "16.0E"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext": "plain\ttext", "a\nb\rc": `a\nb\rc`, "\x1b[31m\x07": `\x1b[31m\x07`, "ünïcode 日本": "ünïcode 日本",
		"\xff\xfe": `\xff\xfe`, "c1 \u0085": `c1 \u0085`, "bidi \u202e": `bidi \u202e`, "del\x7f": `del\x7f`, "": "", "nul\x00": `nul\x00`,
	} {
		if got := terminal.Escape(in); got != want {
			t.Errorf("terminal.Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30": 30 * time.Second, "1.5": 1500 * time.Millisecond, "30s": 30 * time.Second, "1500ms": 1500 * time.Millisecond,
		"2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1m30s": 90 * time.Second, "0": 0,
	} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "-5", "-5s", "d", "5 s", "1e300", "NaN", "99999999d", "Inf", "2d-1h"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	day := func(d, h, m, s int) time.Time { return time.Date(2026, 3, d, h, m, s, 0, time.UTC) }
	for in, want := range map[string]time.Time{
		"2026-02-03T04:05:06Z": time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), "2026-03-01 11:30": day(1, 11, 30, 0), "2026-03-01": day(1, 0, 0, 0),
		"11:30": day(1, 11, 30, 0), "11:30:15": day(1, 11, 30, 15), "12:01": day(0, 12, 1, 0), "10m": day(1, 11, 50, 0), "now": noon, "90": day(1, 11, 58, 30),
		"today": day(1, 0, 0, 0), "yesterday": day(0, 0, 0, 0), "-10min": day(1, 11, 50, 0), "10min ago": day(1, 11, 50, 0), "-1h 30min": day(1, 10, 30, 0),
		"2 hours ago": day(1, 10, 0, 0), "-90s": day(1, 11, 58, 30), "1week ago": day(-6, 12, 0, 0), "@1772366400": noon, "-1h30m": day(1, 10, 30, 0),
	} {
		if got, err := parseTime(in, noon); err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "tomorrow", "25:00", "2026-13-01", "-", "ago", " ago", "-10", "-10min ago", "10 ago", "-5x", "@", "@x", "-min", "-99999999999d"} {
		if got, err := parseTime(in, noon); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", in, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"web", "worker", "database", "database-backup", "redis"}
	for in, want := range map[string]string{"wbe": "web", "workr": "worker", "datbase": "database", "red": "redis", "zzz": "", "datab": "", "": ""} {
		if got := nearest(in, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{{"abcdef", 4, "abc…"}, {"abc", 3, "abc"}, {"äöüß", 3, "äö…"}, {"abc", 0, "abc"}} {
		if got := terminal.Cut(c.text, c.width); got != c.want {
			t.Errorf("terminal.Cut(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
