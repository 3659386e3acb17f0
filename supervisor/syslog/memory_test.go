package syslog

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemory: an owner, or that there is none, is asked for once in half a second, and no more is kept than there is room for.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m := memory[uint64]{}
		ask := func(key uint64, name string) string {
			return m.of(key, func() string { asked++; return name })
		}
		for range 3 {
			if got := ask(1, "a"); got != "a" {
				t.Errorf("got %q", got)
			}
			if got := ask(2, ""); got != "" {
				t.Errorf("got %q", got)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times for two", asked)
		}
		time.Sleep(cacheFor) // of the bubble's clock
		if got := ask(1, "b"); got != "b" || asked != 3 {
			t.Errorf("half a second later: %q, asked %d times", got, asked)
		}
		for key := range uint64(3 * cacheSize) {
			ask(key, strconv.FormatUint(key, 10))
			if len(m) > cacheSize {
				t.Fatalf("%d answers are kept", len(m))
			}
		}
	})
}
