package graph

import (
	"strings"
	"testing"
)

// TestDiffOfDrift: a file that a running process has read says something else now; one that does
// not run will read it.
func TestDiffOfDrift(t *testing.T) {
	old, new := New(services("api requires:db", "db", "idle"), nil), New(services("api requires:db", "db", "idle critical:"), nil)
	plan := Diff(old, new, func(name string) bool { return name != "idle" }, func(name string) []string {
		return map[string][]string{"db": {"env_file", "credentials"}, "idle": {"env_file"}}[name]
	})
	want := "restart api: requires db, credentials, env_file changed\nrestart db: credentials env_file\nupdate idle: critical"
	if got := planText(plan); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.Join(Changes(services("a")[0], services("a critical: exec:x")[0]), " "); got != "critical exec" {
		t.Errorf("changes: %s", got)
	}
}
