package confdir

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
	_ "time/tzdata" // for systems without zone files; those that have them are asked first

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
)

// schedule is the schedule that is being read or written: the last one; one with the defaults where there is none.
func schedule(c *graph.Config) *graph.Schedule {
	if n := len(c.Schedules); n > 0 {
		return &c.Schedules[n-1]
	}
	return &graph.Schedule{Keep: graph.DefaultKeep}
}

var scheduleSection = sync.OnceValue(func() *section {
	return &section{"schedule", "When a oneshot runs by itself; [[schedule]] for several", []field{
		whenField(graph.ScheduleCron, "Five fields of crontab(5), or six with seconds in front: \"*/5 * * * *\""),
		whenField(graph.ScheduleCalendar, "An expression of systemd.time(7): \"Mon..Fri 02:30\""),
		whenField(graph.ScheduleEvery, "An interval, from start to start: \"10m\""),
		whenField(graph.ScheduleBoot, "Once, so long after the server's start: \"5m\""),
		{key: "from", doc: "every counts from the start or from the end of a run",
			schema: map[string]any{"enum": []string{"start", "end"}},
			read: func(r *reader, v any) {
				s, ok := r.string(v)
				if ok && s != "start" && s != "end" {
					r.fail(`want "start" or "end", not %s`, strconv.Quote(s))
				}
				schedule(r.cfg).FromEnd = s == "end"
			},
			value: func(c *graph.Config) any {
				if schedule(c).FromEnd {
					return "end"
				}
				return "start"
			}},
		stringField("timezone", "IANA name of the zone of cron and calendar; the system's unless set",
			func(c *graph.Config) *string { return &schedule(c).Timezone }, (*reader).zone),
		spanField("jitter", "Each run is late by a part of it, the same for one service on one host",
			func(c *graph.Config) *time.Duration { return &schedule(c).Jitter }),
		boolField("catch_up", "Runs missed while no server was there are made up by one",
			func(c *graph.Config) *bool { return &schedule(c).CatchUp }),
		wordField("overlap", "What is done when a run is due and the one before has not ended",
			func(c *graph.Config) *graph.Overlap { return &schedule(c).Overlap }, graph.OverlapWords(), graph.ParseOverlap),
		timeoutField(),
		intField("keep", "How many runs are remembered",
			func(c *graph.Config) *int { return &schedule(c).Keep }, 1, maxKeep),
	}}
})

// whenField is one of the keys that say when.
func whenField(kind graph.ScheduleKind, doc string) field {
	return field{key: kind.String(), doc: doc, schema: typed("string"),
		read: func(r *reader, v any) {
			text, ok := r.text(v)
			if !ok {
				return
			}
			s := schedule(r.cfg)
			if s.Text != "" {
				r.fail("a schedule has one of cron, calendar, every and boot; write a second [[schedule]]")
				return
			}
			s.Kind, s.Text = kind, text
			if err := resolve(s); err != nil {
				r.fail("%s", err)
			}
		},
		value: func(c *graph.Config) any {
			if s := schedule(c); s.Kind == kind {
				return orNil(s.Text)
			}
			return nil
		},
	}
}

// resolve fills in what the text of a schedule means.
func resolve(s *graph.Schedule) (err error) {
	switch s.Kind {
	case graph.ScheduleCron:
		s.When, err = calendar.ParseCron(s.Text)
	case graph.ScheduleCalendar:
		s.When, err = calendar.ParseCalendar(s.Text, time.LoadLocation)
	case graph.ScheduleEvery, graph.ScheduleBoot:
		s.Interval, err = calendar.ParseSpan(s.Text)
		if err == nil && s.Kind == graph.ScheduleEvery && s.Interval < minEvery {
			err = errors.New("want at least " + calendar.FormatSpan(minEvery) + ", not " + s.Text)
		}
	}
	return err
}

// zone reads the name of a time zone.
func (r *reader) zone(v any) (string, bool) {
	name, ok := r.text(v)
	if !ok {
		return "", false
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		r.fail("%s is no time zone: want a name such as Europe/Berlin or UTC", strconv.Quote(name))
		return "", false
	}
	schedule(r.cfg).Zone = zone
	return name, true
}

// spanField is a time span such as "10m".
func spanField(key, doc string, at at[time.Duration]) field {
	return field{key: key, doc: doc, schema: typed("string"),
		read: func(r *reader, v any) {
			text, ok := r.text(v)
			if !ok {
				return
			}
			d, err := calendar.ParseSpan(text)
			if err != nil {
				r.fail("%s", err)
				return
			}
			*at(r.cfg) = d
		},
		value: func(c *graph.Config) any {
			if d := *at(c); d > 0 {
				return calendar.FormatSpan(d)
			}
			return nil
		},
	}
}

// timeoutField is start_timeout_ms under a shorter name; it is written under that one.
func timeoutField() field {
	f := spanField("timeout", "How long a run may take: start_timeout_ms under a shorter name",
		func(c *graph.Config) *time.Duration { return &c.Lifecycle.StartTimeout })
	f.value = func(*graph.Config) any { return nil }
	return f
}

// The bounds of a service's schedules.
const (
	maxSchedules = 64
	maxKeep      = 10000
	minEvery     = time.Second
)

// schedules reads [schedule], or each [[schedule]].
func (r *reader) schedules(v any) {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	for i, element := range list {
		r.key = "schedule"
		values, isTable := element.(map[string]any)
		if !isTable {
			r.fail("want a [schedule] section, not %s", describe(element))
			continue
		}
		if i >= maxSchedules {
			r.fail("a service has at most %d schedules", maxSchedules)
			return
		}
		r.cfg.Schedules = append(r.cfg.Schedules, graph.Schedule{Keep: graph.DefaultKeep})
		r.values(scheduleSection(), values)
	}
}

// checkSchedules looks at what concerns more than one key of a schedule. A service with one is a oneshot.
func (r *reader) checkSchedules() {
	c := r.cfg
	if len(c.Schedules) == 0 {
		return
	}
	if r.key = "service.oneshot"; r.has(r.key) && !c.Oneshot {
		r.fail("a service with a [schedule] is a oneshot: it runs, ends, and runs again when it is due")
	}
	c.Oneshot = true
	if r.has("schedule.timeout") {
		if r.key = "schedule.timeout"; r.has("lifecycle.start_timeout_ms") {
			r.fail("is another name of lifecycle.start_timeout_ms, which is there as well")
		}
		r.set = append(r.set, "lifecycle.start_timeout_ms")
	}
	for i := range c.Schedules {
		s := &c.Schedules[i]
		r.key = "schedule"
		switch {
		case s.Text == "" && !r.failed():
			r.fail("want one of cron, calendar, every and boot")
		case s.FromEnd && s.Kind != graph.ScheduleEvery:
			r.warn("schedule.from", "schedule.from has no effect without every")
		case s.Timezone != "" && s.When == nil:
			r.warn("schedule.timezone", "schedule.timezone has no effect without cron or calendar")
		}
	}
}

// eachSchedule calls f with a copy of c for each schedule, which alone stands in it.
func eachSchedule(c *graph.Config, f func(one *graph.Config)) {
	for i := range c.Schedules {
		one := *c
		one.Schedules = slices.Clone(c.Schedules[i : i+1])
		f(&one)
	}
}
