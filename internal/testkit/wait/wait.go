// Package wait is how tests wait: for a condition, with a deadline, never for a time. Programs that take part in a test and
// have no package testing use it as well.
package wait

import "time"

// Patience is how long a test waits for a condition before it fails: much longer than anything takes on a busy machine.
const Patience = 60 * time.Second

// look is the time between two looks at a condition.
const look = 2 * time.Millisecond

// Until polls a condition until it holds, which it reports, or the time is over.
func Until(limit time.Duration, ok func() bool) bool {
	end := time.Now().Add(limit)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}

// TB is what For needs of testing.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// For polls a condition until it holds; after Patience the test fails.
func For(t TB, what string, ok func() bool) {
	t.Helper()
	if !Until(Patience, ok) {
		t.Fatalf("timed out waiting for %s", what)
	}
}
