package calendar

import (
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	good := map[string]time.Duration{
		"90s": 90 * time.Second, "10m": 10 * time.Minute, "1h 30min": 90 * time.Minute, "2d": 48 * time.Hour, "1w2d": 9 * 24 * time.Hour,
		"500ms": 500 * time.Millisecond, "1 hour 5 minutes 2 seconds": time.Hour + 5*time.Minute + 2*time.Second, "0s": 0,
	}
	for text, want := range good {
		got, err := ParseSpan(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseSpan(FormatSpan(got)); err != nil || again != got {
			t.Errorf("%q is written %q, which is read as %v, %v", text, FormatSpan(got), again, err)
		}
	}
	for _, text := range []string{"", "10", "m", "1x", "-5m", "1.5h", "200000000h", "99999999999999999999s"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
