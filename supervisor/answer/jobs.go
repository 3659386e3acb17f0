package answer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/machine"
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
		// Two clocks are read one after the other, so a time is known to some milliseconds: 02:29:59.999 is no answer.
		j.LeftMS, j.NextAt = &left, view.RFC3339(s.from.Clock.Wall(i.NextRun).Round(10*time.Millisecond))
	}
	if i.RunBegan != 0 && i.RunEnded == 0 {
		running := int64(now-i.RunBegan) / 1e6
		j.RunningMS = &running
	}
	if last, ok := s.from.Jobs.Last(e.Config.Name, j.RunningMS != nil); ok {
		run := s.wireRun(last, e)
		j.Last = &run
	}
	return j
}

// findJob looks up a service with a schedule.
func (s *Reader) findJob(name string) (*view.Entry, error) {
	e, _, ok := s.from.Views.Load().Lookup(name)
	switch {
	case !ok:
		return nil, s.NotFound(name)
	case len(e.Config.Schedules) == 0:
		return nil, wire.NewError(wire.CodeParams, name+" has no schedule, so its runs are not remembered; its last exit stands in its "+
			"status, what it wrote in its log")
	}
	return e, nil
}

// JobHistory is what is remembered of a job's runs, oldest first.
func (s *Reader) JobHistory(name string) ([]wire.JobRun, error) {
	e, err := s.findJob(name)
	if err != nil {
		return nil, err
	}
	list := []wire.JobRun{}
	for _, r := range s.from.Jobs.Of(name) {
		list = append(list, s.wireRun(r, e))
	}
	return list, nil
}

func (s *Reader) wireRun(r jobs.Run, e *view.Entry) wire.JobRun {
	w := wire.JobRun{Incarnation: r.Gen, BeganAt: view.RFC3339(r.Began), EndedAt: view.RFC3339(r.Ended),
		TookMS: max(0, r.Ended.Sub(r.Began).Milliseconds()), Cause: r.Cause, Code: r.Code, Signal: r.Signal,
		Failed: r.Failed, LeftOut: r.Left}
	if r.Ended.IsZero() {
		w.EndedAt, w.TookMS = "", 0
		if view.Active(e.Info.State) && uint64(e.Info.Gen) == r.Gen {
			w.TookMS = max(0, time.Since(r.Began).Milliseconds())
		} else {
			w.Failed = "its end is not known: the server was gone"
		}
	}
	return w
}

// JobLog is what one run of a job has written, as far as it is kept.
func (s *Reader) JobLog(q wire.RunQuery) (wire.RunLog, error) {
	e, err := s.findJob(q.Name)
	if err != nil {
		return wire.RunLog{}, err
	}
	query, err := s.query(wire.LogQuery{Names: []string{q.Name}, Lines: q.Lines, Stream: q.Stream, Grep: q.Grep})
	if err != nil {
		return wire.RunLog{}, err
	}
	run, next, err := s.pickRun(q)
	if err != nil {
		return wire.RunLog{}, err
	}
	w := wire.RunLog{Run: s.wireRun(run, e), Lines: []wire.LogLine{}}
	ring := s.from.Arena.Find(q.Name)
	if run.Log != s.from.Arena.ID() {
		w.Missing = "nothing of its log is in memory any more: it ran before the server, or the machine, started anew"
		return w, nil
	}
	to := uint64(math.MaxUint64)
	if next.Log == run.Log && next.From != 0 {
		to = next.From
	}
	if ring == nil || to <= run.From {
		return w, nil // it has written nothing
	}
	if first := ring.First(); first > run.From {
		w.Missing = fmt.Sprintf("%d of its lines are not in memory any more", min(first, to)-run.From)
	}
	query.From, query.Lines = run.From, math.MaxInt32
	for _, l := range s.from.Arena.Query(query) {
		if l.Seq < to {
			w.Lines = append(w.Lines, wireLine(l.Service, &l.Record))
		}
	}
	w.Lines = w.Lines[max(0, len(w.Lines)-q.Lines):]
	if file := e.Config.Logging.File; w.Missing != "" && file != "" {
		w.Missing += "; its file is " + file
	}
	return w, nil
}

// pickRun is the run that is asked for, and the one after it.
func (s *Reader) pickRun(q wire.RunQuery) (run, next jobs.Run, err error) {
	runs := slices.DeleteFunc(s.from.Jobs.Of(q.Name), func(r jobs.Run) bool { return r.Gen == 0 })
	at := len(runs) + int(max(q.Run, -1<<30))
	if q.Run >= 0 {
		for at = len(runs) - 1; at >= 0 && runs[at].Gen != uint64(q.Run); at-- {
		}
	}
	switch {
	case len(runs) == 0:
		return run, next, wire.NewError(wire.CodeParams, q.Name+" has not run yet")
	case at < 0 && q.Run < 0:
		return run, next, wire.NewError(wire.CodeParams, fmt.Sprintf("of %s only the last %d runs are remembered ([schedule] keep); "+
			"the oldest is %d", q.Name, len(runs), -len(runs)))
	case at < 0:
		return run, next, wire.NewError(wire.CodeParams, fmt.Sprintf("no run %d of %s is remembered; `zinit history %s` names those that are",
			q.Run, q.Name, q.Name))
	}
	if at+1 < len(runs) {
		next = runs[at+1]
	}
	return runs[at], next, nil
}

// MayRun tells whether a service is one that can be run, and waited for until it ends.
func (s *Reader) MayRun(name string) error {
	e, _, ok := s.from.Views.Load().Lookup(name)
	switch {
	case !ok:
		return s.NotFound(name)
	case e.Config.Target:
		return wire.NewError(wire.CodeParams, name+" is a target, which does not run: zinit start "+name)
	case !e.Config.Oneshot:
		return wire.NewError(wire.CodeParams, name+" is no oneshot, so its run has no end to wait for: zinit start "+name+
			", or set oneshot = true in its [service]")
	}
	return nil
}

// RunEnded is the answer to who waited for the end of a run.
func (s *Reader) RunEnded(name string, o machine.Outcome, i machine.Info, gen machine.Gen) (wire.Run, error) {
	v := s.from.Views.Load()
	e, id, ok := v.Lookup(name)
	if o == machine.OutcomeBusy {
		return wire.Run{}, wire.NewError(wire.CodeAlreadyRunning, name+" runs already"+s.runningFor(e)).With("name", name)
	}
	if ended, err := s.Outcome(name, o, true); err != nil {
		return wire.Run{}, err
	} else if !ok {
		return wire.Run{Outcome: ended.Outcome, Text: "was removed"}, nil
	}
	w := wire.Run{Outcome: OutcomeWords[o], State: s.wireState(v, id, e), Text: s.causeText(v, id), LogNext: 1}
	if ring := s.from.Arena.Find(name); ring != nil {
		w.LogNext = ring.Next()
	}
	if gen == 0 {
		return w, nil
	}
	r := s.runOf(e, i, gen)
	w.Incarnation, w.BeganAt, w.TookMS = uint64(gen), view.RFC3339(r.Began), max(0, r.Ended.Sub(r.Began).Milliseconds())
	w.Code, w.Signal = r.Code, r.Signal
	if w.OK = o == machine.OutcomeDone && r.Code != nil && *r.Code == 0; w.OK {
		w.Text = ""
	} else if r.Failed != "" {
		w.Text = r.Failed
	}
	return w, nil
}

func (s *Reader) runningFor(e *view.Entry) string {
	if up := s.uptime(e); up >= 0 && e.Info.PID > 0 {
		return fmt.Sprintf(", for %s (pid %d)", graph.Duration(up.Round(100*time.Millisecond)), e.Info.PID)
	}
	return ""
}

// runOf is what is known of a run that has ended just now: of a job from its history, else from what the step has left.
func (s *Reader) runOf(e *view.Entry, i machine.Info, gen machine.Gen) jobs.Run {
	for _, r := range slices.Backward(s.from.Jobs.Of(e.Config.Name)) {
		if r.Gen == uint64(gen) && !r.Ended.IsZero() {
			return r
		}
	}
	r := jobs.Run{Began: s.from.Clock.Wall(i.SpawnedAt), Ended: s.from.Clock.Wall(max(i.LastExit.At, i.SpawnedAt))}
	if i.State == machine.Failed {
		r.Failed = view.ReasonText(i, e.Config)
	}
	if i.Gen == gen && i.SpawnedAt != 0 && i.LastExit.Valid && i.LastExit.At >= i.SpawnedAt && !i.LastExit.Status.Unknown {
		number := int(i.LastExit.Status.Code)
		if r.Code = &number; i.LastExit.Status.Signal != 0 {
			number = int(i.LastExit.Status.Signal)
			r.Code, r.Signal = nil, &number
		}
	}
	return r
}
