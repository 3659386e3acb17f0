package answer

import (
	"slices"
	"strings"
	"time"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/view"
)

// Jobs is every service with a schedule, in order of the next run; those that are not due again come last.
func (s *Reader) Jobs() ([]wire.Job, error) {
	list := []wire.Job{}
	for _, e := range s.from.Views.Load().Entries {
		if len(e.Config.Schedules) > 0 {
			list = append(list, s.job(e))
		}
	}
	slices.SortStableFunc(list, func(a, b wire.Job) int {
		if (a.LeftMS == nil) != (b.LeftMS == nil) {
			if a.LeftMS == nil {
				return 1
			}
			return -1
		}
		if a.LeftMS != nil && *a.LeftMS != *b.LeftMS {
			return int(*a.LeftMS - *b.LeftMS)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, nil
}

func (s *Reader) job(e *view.Entry) wire.Job {
	i := e.Info
	j := wire.Job{Name: e.Config.Name, State: i.State.String(), Wanted: wanted(i), Queued: i.Queued}
	for _, c := range e.Config.Schedules {
		j.Schedules = append(j.Schedules, wire.JobSchedule{Kind: c.Kind.String(), Text: c.Text, Timezone: c.Timezone,
			Overlap: c.Overlap.String(), CatchUp: c.CatchUp})
	}
	now := s.from.Clock.Now()
	if i.NextRun != 0 && i.WantedUp {
		left := max(0, int64(i.NextRun-now)/1e6)
		j.LeftMS, j.NextAt = &left, view.RFC3339(s.from.Clock.Wall(i.NextRun))
	}
	if i.RunBegan != 0 && i.RunEnded == 0 {
		running := int64(now-i.RunBegan) / 1e6
		j.RunningMS = &running
	}
	if last, ok := s.from.Jobs.Last(e.Config.Name); ok {
		run := wireRun(last)
		j.Last = &run
	}
	return j
}

// JobHistory is what is remembered of a job's runs, oldest first.
func (s *Reader) JobHistory(name string) ([]wire.JobRun, error) {
	e, _, ok := s.from.Views.Load().Lookup(name)
	switch {
	case !ok:
		return nil, s.NotFound(name)
	case len(e.Config.Schedules) == 0:
		return nil, wire.NewError(wire.CodeParams, name+" has no schedule; its last exit stands in its status")
	}
	list := []wire.JobRun{}
	for _, r := range s.from.Jobs.Of(name) {
		list = append(list, wireRun(r))
	}
	return list, nil
}

func wireRun(r jobs.Run) wire.JobRun {
	return wire.JobRun{Incarnation: r.Gen, BeganAt: view.RFC3339(r.Began), EndedAt: view.RFC3339(r.Ended),
		TookMS: max(0, int64(r.Ended.Sub(r.Began)/time.Millisecond)), Cause: r.Cause, Code: r.Code, Signal: r.Signal,
		Failed: r.Failed, LeftOut: r.Left}
}
