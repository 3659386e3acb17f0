package storm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// compare checks that nothing but the storm has happened to the steady services.
func (s *Storm) compare(c *rpc.Client) {
	for name, b := range s.before {
		a, err := c.StatusFull(ctx, name)
		if err != nil {
			s.complain("%v", err)
			continue
		}
		if a.State.State != b.State.State || a.PID != b.PID || a.Incarnation != b.Incarnation || a.Restarts != b.Restarts || a.Wanted != b.Wanted {
			s.complain("%s: %s pid %d incarnation %d restarts %d wanted %s, before the storm %s %d %d %d %s", name,
				a.State.State, a.PID, a.Incarnation, a.Restarts, a.Wanted, b.State.State, b.PID, b.Incarnation, b.Restarts, b.Wanted)
		}
		if name == "backoff" {
			s.compareDelay(a, b)
		}
	}
	for i := range 2 {
		b, _ := os.ReadFile(filepath.Join(s.Work, fmt.Sprintf("once%d", i)))
		if string(b) != "ran\n" {
			s.complain("oneshot once%d ran %d times", i, strings.Count(string(b), "\n"))
		}
	}
}

// compareDelay: the pending restart is due when it was. What is shown is in seconds.
func (s *Storm) compareDelay(after, before standing) {
	x, _ := time.Parse(time.RFC3339, after.NextRestartAt)
	y, _ := time.Parse(time.RFC3339, before.NextRestartAt)
	if x.IsZero() || x.Sub(y).Abs() > time.Second {
		s.complain("backoff: next attempt at %q, before the storm at %q", after.NextRestartAt, before.NextRestartAt)
	}
}

// checkLines reads every ring from its first line: each line once and in order, and no copy of a service wrote as well.
func (s *Storm) checkLines(c *rpc.Client) {
	for i := range liners {
		name := fmt.Sprintf("line%d", i)
		lines, err := ring(c, name)
		if err != nil || len(lines) == 0 {
			s.complain("%s: %d lines, %v", name, len(lines), err)
			continue
		}
		book := Lines{}
		for _, l := range lines {
			s.see(book, name, l.Content)
		}
		s.lines += len(lines)
	}
}

func ring(c *rpc.Client, name string) ([]wire.LogLine, error) {
	return c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 2000000})
}

// checkFiles: a log file has what the ring has, line by line.
func (s *Storm) checkFiles(c *rpc.Client) {
	for i := range filers {
		name := fmt.Sprintf("line%d", i)
		lines, err := ring(c, name)
		if err != nil {
			s.complain("%s: %v", name, err)
			continue
		}
		if err := SameAsFile(lines, s.logFile(name), s.Patience); err != nil {
			s.complain("%s: %v", name, err)
		}
	}
}

// SameAsFile compares lines with the beginning of a file, once it has as many of them.
func SameAsFile(lines []wire.LogLine, path string, patience time.Duration) error {
	var got []string
	if !wait.Until(patience, func() bool {
		b, _ := os.ReadFile(path)
		got = strings.Split(string(b), "\n")
		return len(got) > len(lines)
	}) {
		return fmt.Errorf("%s has %d lines, the ring %d", path, len(got)-1, len(lines))
	}
	for i, l := range lines {
		if got[i] != l.Content {
			return fmt.Errorf("line %d of %s is %q, in the ring it is %q", i+1, path, got[i], l.Content)
		}
	}
	return nil
}

// checkCrashes: every run was counted, none ran beside another.
func (s *Storm) checkCrashes(c *rpc.Client) {
	for i := range crashers {
		name := fmt.Sprintf("crash%d", i)
		full, err := c.StatusFull(ctx, name)
		if err != nil {
			s.complain("%v", err)
			continue
		}
		b, _ := os.ReadFile(filepath.Join(s.Work, name))
		runs := strings.Split(strings.TrimSpace(string(b)), "\n")
		ids := map[string]bool{}
		for n, run := range runs {
			var id string
			var code int
			if _, err := fmt.Sscanf(run, "%s %d", &id, &code); err != nil || code != exitCodeOf(n) || ids[id] {
				s.complain("%s: run %d is %q: two copies at once?", name, n, run)
			}
			ids[id] = true
		}
		if d := len(runs) - 1 - full.Restarts; d < -1 || d > 1 {
			s.complain("%s: %d runs, but %d restarts counted", name, len(runs), full.Restarts)
		}
	}
}
