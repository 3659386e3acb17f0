package graph

import (
	"errors"
	"time"

	"github.com/zinit/zinit/graph/calendar"
)

// ScheduleKind is what a schedule goes by.
type ScheduleKind uint8

// The kinds of schedule.
const (
	ScheduleCron     ScheduleKind = iota // the fields of crontab(5)
	ScheduleCalendar                     // an expression of systemd.time(7)
	ScheduleEvery                        // an interval
	ScheduleBoot                         // once, some time after the server's start
)

var scheduleWords = []string{"cron", "calendar", "every", "boot"}

// String is the key that a file has for it.
func (k ScheduleKind) String() string { return scheduleWords[k] }

// Overlap says what happens when a run is due while the one before has not ended.
type Overlap uint8

// The ways to treat an overlap.
const (
	OverlapSkip    Overlap = iota // the due run is left out
	OverlapQueue                  // it follows when the one before has ended
	OverlapReplace                // the one before is stopped, then it starts
)

var overlapWords = []string{"skip", "queue", "replace"}

// OverlapWords are the words of ParseOverlap.
func OverlapWords() []string { return overlapWords }

// String is the word that a file has for it.
func (o Overlap) String() string { return overlapWords[o] }

// ParseOverlap reads such a word.
func ParseOverlap(s string) (Overlap, error) {
	for i, word := range overlapWords {
		if s == word {
			return Overlap(i), nil
		}
	}
	return 0, errors.New(`want "skip", "queue" or "replace", not "` + s + `"`)
}

// Schedule is one [[schedule]] of a service: when it runs by itself.
type Schedule struct {
	Kind     ScheduleKind
	Text     string            // the expression of cron and calendar, as written
	When     calendar.Schedule // what Text means; nil for the other kinds
	Interval time.Duration     // every: > 0, boot: >= 0
	FromEnd  bool              // every counts from the end of a run, not from its start
	Timezone string            // IANA name, "" = the system's
	Zone     *time.Location    // of Timezone; nil = the system's
	Jitter   time.Duration     // each run is late by a part of it that is the same for one service on one host
	CatchUp  bool              // runs that were missed while no server was there are made up by one
	Overlap  Overlap
	Keep     int // how many runs are remembered, > 0
}

// ZoneName is the zone that its times are in, "" = the system's, or UTC, which never changes.
func (s *Schedule) ZoneName() string {
	if c, ok := s.When.(*calendar.Calendar); ok && c.ZoneName() != "" {
		return c.ZoneName()
	}
	if s.When == nil || s.Zone == time.UTC {
		return ""
	}
	return s.Timezone
}

// DefaultKeep is how many runs of a job are remembered.
const DefaultKeep = 20

// Equal reports whether two schedules are due at the same times and treated alike.
func (s Schedule) Equal(o Schedule) bool {
	s.When, o.When, s.Zone, o.Zone = nil, nil, nil, nil // both follow from the rest
	return s == o
}
