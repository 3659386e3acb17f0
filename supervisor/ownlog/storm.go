package ownlog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Bounds of what is told of transitions one by one.
const (
	transitionsAtOnce = 50               // so many, then
	transitionsEach   = 200              // ms for each further one, as long as none is held back
	summaryFirst      = time.Second      // after the first that is held back; doubled while it goes on, up to
	summaryMost       = 10 * time.Second // so that a storm of a day costs a line in ten seconds
	failuresAtOnce    = 50               // in a window, after which each service's first one is told
	namesTold         = 5                // in a summary of failures
)

// transition is the value of the attribute that marks a message as the change of a service's state. It is never shown.
type transition struct {
	from, to string
	failure  bool
}

// LogValue makes every handler leave it out: a group without members.
func (transition) LogValue() slog.Value { return slog.GroupValue() }

// Transition marks a message as a transition of the service that its attribute "service" names, so that in a storm many
// of different services are told in one line. A failure is told one by one until its own service has had its share.
func Transition(from, to string, failure bool) slog.Attr {
	return slog.Any("", transition{from, to, failure})
}

// told is what a service has a share of.
type told struct{ service, from, to string }

// storm holds back transitions. Its user has the core's mutex.
type storm struct {
	tokens    float64
	at        time.Time // of tokens
	period    time.Duration
	began     time.Time // of what is held
	held      map[string]int
	heldOf    map[string]bool // services
	heldTotal int

	// of the window:
	told     map[told]int
	failures int            // told
	missed   map[string]int // failures held back, by service
}

func newStorm() storm {
	s := storm{tokens: transitionsAtOnce, period: summaryFirst, held: map[string]int{}, heldOf: map[string]bool{}, missed: map[string]int{}}
	s.reset()
	return s
}

// reset begins a new window.
func (s *storm) reset() { s.told, s.failures = map[told]int{}, 0 }

// admit reports whether a transition is told by itself; else it is counted for the summary.
func (s *storm) admit(now time.Time, t transition, service string, burst int) bool {
	key := told{service, t.from, t.to}
	before := s.told[key]
	if t.failure {
		if before < burst && (s.failures < failuresAtOnce || before == 0) {
			s.told[key]++
			s.failures++
			return true
		}
		s.missed[service]++
		s.hold(now)
		return false
	}
	if before < burst && s.take(now) {
		s.told[key]++
		return true
	}
	s.held[t.from+" -> "+t.to]++
	s.heldOf[service] = true
	s.heldTotal++
	s.hold(now)
	return false
}

// take takes a token; while something is held there is none, so that lines stay in order.
func (s *storm) take(now time.Time) bool {
	earned := float64(now.Sub(s.at).Milliseconds()) / transitionsEach
	s.tokens, s.at = min(transitionsAtOnce, s.tokens+earned), now
	if s.heldTotal > 0 || s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

func (s *storm) hold(now time.Time) {
	if s.began.IsZero() {
		s.began = now
	}
}

// holds reports whether there is something for a summary.
func (s *storm) holds() bool { return !s.began.IsZero() }

// summaries are what is told of what was held back; then there is nothing any more.
func (s *storm) summaries(now time.Time) (records []slog.Record) {
	within := slog.Duration("within", now.Sub(s.began).Round(100*time.Millisecond))
	if s.heldTotal > 0 {
		text := fmt.Sprintf("and %d more transitions of %s: %s; `zinit events` has them", s.heldTotal, plural(len(s.heldOf), "service"),
			list(s.held, len(s.held)))
		r := slog.NewRecord(now, slog.LevelInfo, text, 0)
		r.AddAttrs(within)
		records = append(records, r)
	}
	if len(s.missed) > 0 {
		total := 0
		for _, n := range s.missed {
			total += n
		}
		text := fmt.Sprintf("and %d more failures of %s: %s; `zinit events` has them", total, plural(len(s.missed), "service"),
			list(s.missed, namesTold))
		r := slog.NewRecord(now, slog.LevelWarn, text, 0)
		r.AddAttrs(within)
		records = append(records, r)
	}
	s.held, s.heldOf, s.missed = map[string]int{}, map[string]bool{}, map[string]int{}
	s.heldTotal, s.began = 0, time.Time{}
	return records
}

// list is "3 of this, 2 of that", the most first, at most so many.
func list(counts map[string]int, most int) string {
	type entry struct {
		name string
		n    int
	}
	var all []entry
	for name, n := range counts {
		all = append(all, entry{name, n})
	}
	slices.SortFunc(all, func(x, y entry) int { return cmp.Or(y.n-x.n, strings.Compare(x.name, y.name)) })
	var words []string
	for _, e := range all[:min(len(all), most)] {
		words = append(words, fmt.Sprintf("%d %s", e.n, e.name))
	}
	if len(all) > most {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// stormTick tells what was held back, and waits longer for the next summary when there was one just before. The caller
// has the lock.
func (c *core) stormTick() {
	if c.stormTimer != nil {
		c.stormTimer.Stop()
		c.stormTimer = nil
	}
	if !c.storm.holds() {
		return
	}
	now := time.Now()
	h := c.bare()
	for _, r := range c.storm.summaries(now) {
		_ = c.write(context.Background(), h, r)
	}
	c.stormLast = now
}

// stormHolds arranges the summary.
func (c *core) stormHolds(now time.Time) {
	if c.stormTimer != nil {
		return
	}
	if c.stormLast.IsZero() || now.Sub(c.stormLast) > 2*c.storm.period {
		c.storm.period = summaryFirst
	} else {
		c.storm.period = min(2*c.storm.period, summaryMost)
	}
	c.stormTimer = time.AfterFunc(c.storm.period, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stormTick()
	})
}
