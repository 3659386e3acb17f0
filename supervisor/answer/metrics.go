package answer

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/openmetrics"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// metrics is one answer being written.
type metrics struct {
	*Reader
	*openmetrics.Text
	v      *view.View
	order  []*view.Entry // by name
	counts []view.Counts // of each
	use    map[machine.Gen]use
}

// Metrics is everything that is counted and measured, as text.
func (s *Reader) Metrics(format string) (wire.Metrics, error) {
	f := openmetrics.Format(format)
	switch f {
	case "":
		f = openmetrics.OpenMetrics
	case openmetrics.OpenMetrics, openmetrics.Prometheus:
	default:
		return wire.Metrics{}, wire.NewError(wire.CodeParams, fmt.Sprintf("format %q: want openmetrics or prometheus", format))
	}
	v := s.from.Views.Load()
	m := &metrics{Reader: s, Text: openmetrics.New(f, metricsSize*(len(v.Entries)+4)), v: v}
	m.order = slices.SortedFunc(slices.Values(m.v.Entries), func(a, b *view.Entry) int {
		if a.Config.Name < b.Config.Name {
			return -1
		}
		return 1
	})
	for _, e := range m.order {
		m.counts = append(m.counts, s.from.Tally.Of(e.Config.Name))
	}
	m.use = s.used(m.v)
	m.server()
	m.states()
	m.lives()
	m.health()
	m.logs()
	m.resources()
	m.jobs()
	return wire.Metrics{ContentType: f.ContentType(), Text: m.String()}, nil
}

// seconds is a time of the machine since 1970.
func (m *metrics) seconds(t machine.Time) float64 { return unixSeconds(m.from.Clock.Wall(t)) }

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// number is a flag as metrics have it.
func number(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// each writes a sample a service, where value has one.
func (m *metrics) each(value func(e *view.Entry) (float64, bool)) {
	for _, e := range m.order {
		if n, ok := value(e); ok {
			m.Sample(n, "service", e.Config.Name)
		}
	}
}

// server is what the server says of itself.
func (m *metrics) server() {
	m.Family("zinit_build", openmetrics.Info, "", "The version of the server.")
	m.Sample(1, "version", m.from.Version, "goversion", runtime.Version(), "mode", m.from.Mode)
	m.Family("zinit_server_starts", openmetrics.Counter, "", "Servers since the keeper began.")
	m.Sample(float64(m.from.Starts))
	m.Family("zinit_events", openmetrics.Counter, "", "Changes of states, as zinit events numbers them.")
	m.Sample(float64(m.from.Events.End() - 1))
	m.Family("zinit_log_memory_bytes", openmetrics.Gauge, "bytes", "Memory in use for captured lines.")
	m.Sample(float64(m.from.Arena.Bytes()))
	m.Family("go_goroutines", openmetrics.Gauge, "", "Goroutines of the server.")
	m.Sample(float64(runtime.NumGoroutine()))
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		m.Family("process_cpu_seconds", openmetrics.Counter, "seconds", "CPU time of the server.")
		m.Sample(float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9)
	}
	if p, err := proc.ReadProcess(os.Getpid()); err == nil {
		m.Family("process_resident_memory_bytes", openmetrics.Gauge, "bytes", "Resident memory of the server.")
		m.Sample(float64(p.RSSBytes))
	}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		m.Family("process_open_fds", openmetrics.Gauge, "", "Open descriptors of the server.")
		m.Sample(float64(len(list) - 1))
	}
	m.Family("process_start_time_seconds", openmetrics.Gauge, "seconds", "When the server began; its counters count from here.")
	m.Sample(unixSeconds(m.started))
}

var allStates = []machine.State{machine.Inactive, machine.Blocked, machine.Starting, machine.Running, machine.Stopping, machine.Exited,
	machine.Failed}

func (m *metrics) states() {
	m.Family("zinit_service_state", openmetrics.StateSet, "", "The state of each service.")
	for _, e := range m.order {
		for _, st := range allStates {
			m.Sample(number(e.Info.State == st), "service", e.Config.Name, "zinit_service_state", st.String())
		}
	}
	m.Family("zinit_service_wanted", openmetrics.Gauge, "", "Whether it is wanted up.")
	m.each(func(e *view.Entry) (float64, bool) { return number(e.Info.WantedUp), true })
	m.Family("zinit_service_ready", openmetrics.Gauge, "", "Whether what requires it may start.")
	m.each(func(e *view.Entry) (float64, bool) { return number(e.Standing&graph.Satisfied != 0), true })
}

// lives is how services began and ended.
func (m *metrics) lives() {
	m.Family("zinit_service_start_time_seconds", openmetrics.Gauge, "seconds", "When the present main process began.")
	m.each(func(e *view.Entry) (float64, bool) {
		return m.seconds(e.Info.SpawnedAt), e.Info.SpawnedAt != 0 && view.Active(e.Info.State)
	})
	m.Family("zinit_service_ready_duration_seconds", openmetrics.Gauge, "seconds", "How long the present run took to be ready.")
	m.each(func(e *view.Entry) (float64, bool) {
		return float64(e.Info.ReadyAt-e.Info.SpawnedAt) / 1e9, e.Info.SpawnedAt != 0 && e.Info.ReadyAt >= e.Info.SpawnedAt
	})
	m.Family("zinit_service_starts", openmetrics.Counter, "", "Starts, by cause.")
	for i, e := range m.order {
		for cause, n := range m.counts[i].Starts {
			if n > 0 {
				m.Sample(float64(n), "service", e.Config.Name, "cause", machine.Cause(cause).String())
			}
		}
	}
	m.Family("zinit_service_restarts", openmetrics.Counter, "", "Restarts by policy, by how the run before ended.")
	for i, e := range m.order {
		for reason, n := range m.counts[i].Restarts {
			word := reasonWords[machine.ReasonType(reason)]
			if word == "" {
				word = "exited"
			}
			if n > 0 {
				m.Sample(float64(n), "service", e.Config.Name, "reason", word)
			}
		}
	}
	m.Family("zinit_service_exits", openmetrics.Counter, "", "Ends of main processes, by exit code or signal.")
	for i, e := range m.order {
		exits := m.counts[i].Exits
		for _, x := range slices.SortedFunc(maps.Keys(exits), func(a, b view.Exit) int {
			return int(a.Signal-b.Signal)*1000 + int(a.Code-b.Code)
		}) {
			code, signal := strconv.Itoa(int(x.Code)), ""
			if x.Signal != 0 {
				code, signal = "", graph.Signal(x.Signal).Name()
			}
			m.Sample(float64(exits[x]), "service", e.Config.Name, "code", code, "signal", signal)
		}
	}
}

func (m *metrics) health() {
	checked := func(e *view.Entry) bool { return e.Config.Health != nil }
	m.Family("zinit_service_health_checks", openmetrics.Counter, "", "Health checks, by result.")
	for i, e := range m.order {
		if checked(e) {
			m.Sample(float64(m.counts[i].Passed), "service", e.Config.Name, "result", "passed")
			m.Sample(float64(m.counts[i].Failed), "service", e.Config.Name, "result", "failed")
		}
	}
	m.Family("zinit_service_health_check_duration_seconds", openmetrics.Counter, "seconds", "Time that health checks took together.")
	for i, e := range m.order {
		if checked(e) {
			m.Sample(m.counts[i].ProbeTime.Seconds(), "service", e.Config.Name)
		}
	}
	m.Family("zinit_service_health_check_passed", openmetrics.Gauge, "", "Whether the last health check passed.")
	m.each(func(e *view.Entry) (float64, bool) {
		return number(e.Info.LastProbeOK), checked(e) && e.Info.Probes > 0
	})
}

func (m *metrics) logs() {
	ring := func(name, unit, help string, kind openmetrics.Kind, value func(name string) (float64, bool)) {
		m.Family(name, kind, unit, help)
		for _, e := range m.order {
			if n, ok := value(e.Config.Name); ok {
				m.Sample(n, "service", e.Config.Name)
			}
		}
	}
	ring("zinit_service_log_lines", "", "Lines that it wrote.", openmetrics.Counter, func(name string) (float64, bool) {
		r := m.from.Arena.Find(name)
		return lineCount(r != nil, func() uint64 { return r.Next() - 1 })
	})
	ring("zinit_service_log_overwritten_lines", "", "Lines that are not in memory any more.", openmetrics.Counter, func(name string) (float64, bool) {
		r := m.from.Arena.Find(name)
		return lineCount(r != nil, func() uint64 { return r.First() - 1 })
	})
	ring("zinit_service_log_dropped_lines", "", "Lines for which there was no memory at all.", openmetrics.Counter, func(name string) (float64, bool) {
		r := m.from.Arena.Find(name)
		return lineCount(r != nil, func() uint64 { return r.Lost() })
	})
	ring("zinit_service_log_held_bytes", "bytes", "Memory that its lines take.", openmetrics.Gauge, func(name string) (float64, bool) {
		r := m.from.Arena.Find(name)
		return lineCount(r != nil, func() uint64 { return uint64(r.Bytes()) })
	})
	sinks := map[string][]wire.Sink{}
	for _, e := range m.order {
		sinks[e.Config.Name] = m.sinksOf(e.Config.Name)
	}
	sink := func(name, help string, kind openmetrics.Kind, value func(wire.Sink) uint64) {
		m.Family(name, kind, "", help)
		for _, e := range m.order {
			for _, one := range sinks[e.Config.Name] {
				to := "destination"
				if one.Delivery == wire.Written {
					to = "file"
				}
				m.Sample(float64(value(one)), "service", e.Config.Name, "to", to)
			}
		}
	}
	sink("zinit_service_sink_lines", "Lines that its log file or destination has got.", openmetrics.Counter, func(s wire.Sink) uint64 { return s.Written })
	sink("zinit_service_sink_lost_lines", "Lines that it has not got, and will not.", openmetrics.Counter, func(s wire.Sink) uint64 { return s.Lost })
	sink("zinit_service_sink_errors", "Attempts that failed.", openmetrics.Counter, func(s wire.Sink) uint64 { return s.Errors })
	sink("zinit_service_sink_queued_lines", "Lines that wait for it.", openmetrics.Gauge, func(s wire.Sink) uint64 { return s.Queued })
}

func lineCount(there bool, count func() uint64) (float64, bool) {
	if !there {
		return 0, false
	}
	return float64(count()), true
}

func (m *metrics) resources() {
	m.Family("zinit_service_memory_bytes", openmetrics.Gauge, "bytes", "Memory of its control group, or resident memory of its processes.")
	m.each(func(e *view.Entry) (float64, bool) { u, ok := m.use[e.Info.Gen]; return float64(u.memory), ok })
	m.Family("zinit_service_cpu_seconds", openmetrics.Counter, "seconds", "CPU time of its control group since its present start.")
	m.each(func(e *view.Entry) (float64, bool) { u, ok := m.use[e.Info.Gen]; return u.cpu.Seconds(), ok && u.group })
	m.Family("zinit_service_tasks", openmetrics.Gauge, "", "Tasks of its control group, or its processes.")
	m.each(func(e *view.Entry) (float64, bool) { u, ok := m.use[e.Info.Gen]; return float64(u.tasks), ok })
}

func (m *metrics) jobs() {
	jobs := map[*view.Entry]wire.Job{}
	for _, e := range m.order {
		if len(e.Config.Schedules) > 0 {
			jobs[e] = m.job(e)
		}
	}
	job := func(name, unit, help string, value func(*view.Entry, wire.Job) (float64, bool)) {
		m.Family(name, openmetrics.Gauge, unit, help)
		m.each(func(e *view.Entry) (float64, bool) {
			j, ok := jobs[e]
			if !ok {
				return 0, false
			}
			return value(e, j)
		})
	}
	last := func(value func(wire.JobRun) (float64, bool)) func(*view.Entry, wire.Job) (float64, bool) {
		return func(_ *view.Entry, j wire.Job) (float64, bool) {
			if j.Last == nil {
				return 0, false
			}
			return value(*j.Last)
		}
	}
	job("zinit_job_next_run_timestamp_seconds", "seconds", "When it runs next.", func(e *view.Entry, j wire.Job) (float64, bool) {
		return m.seconds(e.Info.NextRun), j.LeftMS != nil
	})
	job("zinit_job_last_run_timestamp_seconds", "seconds", "When its last run that has ended began.", last(func(r wire.JobRun) (float64, bool) {
		at, err := time.Parse(time.RFC3339Nano, r.BeganAt)
		return unixSeconds(at), err == nil
	}))
	job("zinit_job_last_run_duration_seconds", "seconds", "How long that run took.", last(func(r wire.JobRun) (float64, bool) {
		return float64(r.TookMS) / 1000, r.EndedAt != ""
	}))
	job("zinit_job_last_run_success", "", "Whether that run exited with 0.", last(func(r wire.JobRun) (float64, bool) {
		return number(r.Code != nil && *r.Code == 0), true
	}))
	job("zinit_job_running", "", "Whether it runs.", func(_ *view.Entry, j wire.Job) (float64, bool) { return number(j.RunningMS != nil), true })
	job("zinit_job_queued_runs", "", "Runs that wait for the present one, or for their turn.", func(_ *view.Entry, j wire.Job) (float64, bool) {
		return float64(j.Queued), true
	})
	m.Family("zinit_job_left_out_runs", openmetrics.Counter, "", "Runs that were due and left out, by the rule that did.")
	for i, e := range m.order {
		for _, rule := range slices.Sorted(maps.Keys(m.counts[i].LeftOut)) {
			m.Sample(float64(m.counts[i].LeftOut[rule]), "service", e.Config.Name, "rule", rule)
		}
	}
}

// use is what one incarnation uses.
type use struct {
	memory uint64
	cpu    time.Duration
	tasks  int
	group  bool // by its control group
}

// usageCache keeps what the services used when it was measured last: it costs some files a service.
type usageCache struct {
	mu sync.Mutex
	at time.Time
	of map[machine.Gen]use
}

// used is what all services use, not older than usageAge.
func (s *Reader) used(v *view.View) map[machine.Gen]use {
	c := &s.usage
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != nil && time.Since(c.at) < usageAge {
		return c.of
	}
	of := map[machine.Gen]use{}
	var others []*view.Entry
	for _, e := range v.Entries {
		if e.Run == nil || e.Run.PID == 0 {
			continue
		}
		if memory, cpu, ok := proc.GroupUsage(e.Run.Cgroup); e.Run.Cgroup != "" && ok {
			of[e.Run.Gen] = use{memory, cpu, proc.GroupCount(e.Run.Cgroup), true}
		} else {
			others = append(others, e)
		}
	}
	for gen, ps := range s.trees(others) {
		memory, cpu := usage(ps)
		of[gen] = use{memory, cpu, len(ps), false}
	}
	c.at, c.of = time.Now(), of
	return of
}
