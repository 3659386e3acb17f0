package graph

import "testing"

// TestTerminals: two services of one terminal are warned of if they can run at the same time, and only then.
func TestTerminals(t *testing.T) {
	const warning = "its terminal /dev/tty1 is that of a too: while one of them runs the other does not start; another tty, or conflicts"
	for _, c := range []struct {
		what  string
		lines []string
		warns int
	}{
		{"one terminal", []string{"a tty:/dev/tty1", "b tty:/dev/tty1"}, 1},
		{"one terminal, written in two ways", []string{"a tty:/dev/tty1", "b tty:/dev/../dev//tty1"}, 1},
		{"others only when asked for", []string{"a tty:/dev/tty1", "b tty:/dev/tty1 stop"}, 1},
		{"three", []string{"a tty:/dev/tty1", "b tty:/dev/tty1", "c tty:/dev/tty1"}, 2},
		{"two terminals", []string{"a tty:/dev/tty1", "b tty:/dev/tty2", "c", "d"}, 0},
		{"conflict", []string{"a tty:/dev/tty1", "b tty:/dev/tty1 conflicts:a"}, 0},
		{"conflict of what they need", []string{"a tty:/dev/tty1 requires:x", "b tty:/dev/tty1 binds:y", "x conflicts:z", "y requires:z", "z"}, 0},
		{"conflict of what one only wants", []string{"a tty:/dev/tty1 wants:x", "b tty:/dev/tty1 requires:y", "x conflicts:y", "y"}, 1},
		{"one after the other is done", []string{"a tty:/dev/tty1 oneshot", "b tty:/dev/tty1 after:a", "c"}, 0},
		{"one needs that the other is done", []string{"a tty:/dev/tty1 requires:x", "b tty:/dev/tty1 oneshot", "x requires:b"}, 0},
		{"one after the other is ready", []string{"a tty:/dev/tty1", "b tty:/dev/tty1 after:a"}, 1},
	} {
		got := 0
		for _, p := range New(services(c.lines...), nil).Problems() {
			if p.Key != "service.tty" {
				continue
			}
			got++
			if p.Severity != SeverityWarning || p.Message != warning {
				t.Errorf("%s: %+v", c.what, p)
			}
		}
		if got != c.warns {
			t.Errorf("%s: %d warnings, want %d", c.what, got, c.warns)
		}
	}
}
