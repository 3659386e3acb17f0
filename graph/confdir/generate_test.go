package confdir

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

// generator draws configurations in the form that reading gives them, over every field.
type generator struct{ *rand.Rand }

func (g generator) maybe() bool { return g.IntN(3) == 0 }

func (g generator) name() string { return "s" + strconv.Itoa(g.IntN(20)) }

// text draws strings with everything that writing has to escape.
func (g generator) text() string {
	alphabet := []rune("ab \"'\\\n\t\r#=[]{}$&<>;\x01\x1f\x7fäß漢😀\u2028é.,")
	var b strings.Builder
	b.WriteByte('x')
	for range g.IntN(12) {
		b.WriteRune(alphabet[g.IntN(len(alphabet))])
	}
	return b.String()
}

func (g generator) path() string { return "/" + g.text() }

func (g generator) list(element func() string) []string {
	var list []string
	for range g.IntN(4) {
		list = append(list, element())
	}
	return list
}

func (g generator) command() graph.Command {
	if g.maybe() {
		return graph.Command{Argv: append([]string{g.text()}, g.list(func() string { return g.text()[1:] })...)}
	}
	return graph.Command{Line: g.text()}
}

func (g generator) millis(low int) time.Duration {
	return time.Duration(low+g.IntN(100_000)) * time.Millisecond
}

func (g generator) hook(timeout time.Duration) graph.Hook {
	if !g.maybe() {
		return graph.Hook{}
	}
	if g.maybe() {
		timeout = g.millis(1)
	}
	return graph.Hook{Command: g.command(), Timeout: timeout}
}

func pointer[T any](v T) *T { return &v }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

func (g generator) config() *graph.Config {
	c := New(g.name(), g.IntN(6) == 0)
	c.Critical = g.maybe()
	c.Deps = graph.Deps{After: g.list(g.name), Requires: g.list(g.name), Wants: g.list(g.name), Conflicts: g.list(g.name),
		Binds: g.list(g.name)}
	if c.Target {
		return c
	}
	c.Class, c.Status = pick(g, graph.ClassUser, graph.ClassSystem), pick(g, graph.StatusStart, graph.StatusStop, graph.StatusIgnore)
	c.Exec, c.Oneshot = g.command(), g.maybe()
	if c.Oneshot && g.maybe() {
		c.Schedules = g.schedules()
	}
	g.service(c)
	g.lifecycle(&c.Lifecycle)
	c.PreStart, c.PostStop = g.hook(defaultPreStartTimeout), g.hook(defaultPostStopTimeout)
	c.StopCommand = g.hook(c.Lifecycle.StopTimeout)
	g.logging(&c.Logging)
	if !c.Oneshot && g.maybe() {
		c.Ready = pick(g, graph.Ready{Kind: graph.ReadyNotify}, graph.Ready{Kind: graph.ReadyFD, FD: 3 + g.IntN(10)})
	}
	if !c.Oneshot && g.maybe() {
		c.Health = g.health()
	}
	set := g.maybe()
	if c.Oneshot && set {
		c.Lifecycle.Restart = pick(g, graph.RestartOnFailure, graph.RestartNever)
	} else if !c.Oneshot && set {
		c.Lifecycle.Restart = pick(g, graph.RestartAlways, graph.RestartNever)
	}
	derive(c, func(key string) bool {
		return key != "lifecycle.restart_delay_max_ms" && key != "lifecycle.restart" || set
	})
	if g.maybe() {
		c.Lifecycle.RestartDelayMax = c.Lifecycle.RestartDelay + g.millis(1)
	}
	return c
}

func (g generator) service(c *graph.Config) {
	if g.maybe() {
		c.Dir, c.PIDFile, c.Tty = g.path(), g.path(), g.path()
	}
	if g.maybe() {
		for range 1 + g.IntN(2) {
			c.EnvFiles = append(c.EnvFiles, pick(g, "", "-")+g.path())
		}
		c.Expand = g.maybe()
		c.EnvFromFile = map[string]string{"SECRET": g.path(), "Ö\"": g.path()}
		c.Credentials = map[string]string{"db": g.path(), "a b": g.path()}
		for kind := range c.Dirs {
			if g.maybe() {
				c.Dirs[kind] = graph.Dir{Names: pick(g, []string{"web"}, []string{"web/a", "b c"}), Mode: pick[uint32](g, 0o750, 0o755, 0o700)}
			}
		}
		c.EnvFormat = pick(g, graph.EnvDotenv, graph.EnvSh, graph.EnvSystemd)
	}
	if g.maybe() {
		c.Env = map[string]string{"A": g.text(), "B C": "", "Ä\"": g.text(), "a.b": "1"}
	}
	for range g.IntN(3) {
		c.Ports = append(c.Ports, uint16(1+g.IntN(65535)))
	}
	c.KillOthers, c.ProcessFilters = g.maybe(), g.list(g.text)
	c.Profiles = g.list(g.name)
	if g.maybe() {
		c.Reload = pick(g, graph.Reload{Signal: 10}, graph.Reload{Command: g.command()}, graph.Reload{Signal: 40})
		if _, err := graph.ParseSignal(c.Reload.Command.Line); err == nil && c.Reload.Signal == 0 {
			c.Reload.Command.Line = "kill it"
		}
	}
	if g.maybe() {
		c.Watchdog = g.millis(1)
	}
	if g.maybe() {
		c.Cgroup = graph.Cgroup{MemoryMax: pick(g, "1048576", "512M", "max"), MemoryHigh: "1G",
			CPUMax: pick(g, "max", "max 100000", "50000 100000"), PidsMax: pick(g, "max", "12"), IOWeight: "100"}
	}
	g.identity(&c.Identity)
}

func (g generator) identity(i *graph.Identity) {
	if g.maybe() {
		i.User, i.Group, i.Groups = pick(g, "www-data", "1000"), "0", []string{}
	}
	if g.maybe() {
		i.Groups = []string{"a", "12"}
	}
	if g.maybe() {
		i.Umask, i.Nice, i.OOMScoreAdj = pointer(g.IntN(0o1000)), pointer(g.IntN(40)-20), pointer(g.IntN(2001)-1000)
	}
	i.NoNewPrivileges = g.maybe()
	for _, name := range limitNames {
		if g.maybe() {
			soft := pick[uint64](g, 0, 1, g.Uint64()>>1, 1<<63, infinity)
			i.Limits = append(i.Limits, graph.Limit{Name: name, Soft: soft, Hard: max(soft, pick[uint64](g, 0, 1<<63, infinity))})
		}
	}
	if g.maybe() {
		i.Capabilities = &graph.Capabilities{Bounding: []string{}, Ambient: pick(g, nil, []string{"CAP_NET_BIND_SERVICE"})}
	}
	if g.maybe() {
		i.Capabilities = &graph.Capabilities{Ambient: []string{"CAP_KILL", "CAP_BPF"}, Bounding: pick(g, nil, []string{"CAP_KILL"})}
	}
}

func (g generator) lifecycle(l *graph.Lifecycle) {
	if g.maybe() {
		l.RestartDelay = g.millis(0)
	}
	if g.maybe() {
		l.MaxRestarts, l.StabilityPeriod = g.IntN(100), g.millis(0)
		l.StartTimeout, l.StopTimeout = g.millis(0), g.millis(1)
	}
	if g.maybe() {
		l.StopSignal = graph.Signal(1 + g.IntN(64))
	}
	if g.maybe() {
		l.SuccessCodes = []int{0, 1 + g.IntN(10), 100 + g.IntN(100)}
	}
	l.KillMode = pick(g, graph.KillControlGroup, graph.KillMixed, graph.KillProcess)
	l.OnExit = pick(g, graph.OnExitContinue, graph.OnExitShutdown)
}

func (g generator) logging(l *graph.Logging) {
	if g.maybe() {
		l.BufferLines, l.BufferBytes, l.File = 1+g.IntN(5000), 1+g.IntN(1<<30), g.path()
	}
	if g.maybe() {
		l.RotateBytes, l.RotateKeep, l.RotateGzip = 1+g.Int64N(1<<40), g.IntN(10), true
		l.FileFormat = pick(g, graph.FilePlain, graph.FileTime, graph.FileJSON)
	}
	if g.maybe() {
		l.SyslogMaxBytes = graph.MinSyslogBytes + g.IntN(graph.MaxSyslogBytes-graph.MinSyslogBytes+1)
	}
	l.Forward = pick(g, graph.Forward{}, graph.Forward{Set: true}, graph.Forward{Set: true, On: true},
		graph.Forward{Set: true, On: true, URL: "syslog+tcp://log.example:514"})
}

// schedules draws schedules as reading gives them.
func (g generator) schedules() []graph.Schedule {
	var list []graph.Schedule
	for range 1 + g.IntN(3) {
		s := graph.Schedule{Kind: graph.ScheduleKind(g.IntN(4)), Keep: 1 + g.IntN(40), CatchUp: g.maybe(), FromEnd: g.maybe(),
			Overlap: pick(g, graph.OverlapSkip, graph.OverlapQueue, graph.OverlapReplace), Jitter: g.millis(0)}
		s.Text = map[graph.ScheduleKind]string{graph.ScheduleCron: "*/5 2 * * mon-fri", graph.ScheduleCalendar: "Mon..Fri 02:30 UTC",
			graph.ScheduleEvery: "90m", graph.ScheduleBoot: "5m"}[s.Kind]
		if err := resolve(&s); err != nil {
			panic(err)
		}
		if g.maybe() {
			s.Timezone = pick(g, "UTC", "Europe/Berlin")
			s.Zone, _ = time.LoadLocation(s.Timezone)
		}
		list = append(list, s)
	}
	return list
}

func (g generator) health() *graph.Health {
	h := newHealth()
	h.Type = pick(g, graph.HealthTCP, graph.HealthHTTP, graph.HealthExec)
	switch h.Type {
	case graph.HealthTCP:
		h.Target, h.ExpectStatus = pick(g, "127.0.0.1:80", "[::1]:6379", ":1"), nil
	case graph.HealthHTTP:
		h.Target, h.TLSVerify = "https://localhost:8443/ok?a=b&c", g.maybe()
		h.Method = pick(g, graph.MethodGet, graph.MethodHead)
		h.ExpectStatus = pick(g, h.ExpectStatus, []graph.StatusRange{{Low: 200, High: 299}},
			[]graph.StatusRange{{Low: 204, High: 204}, {Low: 300, High: 304}})
	case graph.HealthExec:
		h.Exec, h.ExpectStatus = g.command(), nil
		h.Target = commandText(h.Exec)
	}
	if g.maybe() {
		h.Interval, h.Timeout, h.Retries, h.StartPeriod = g.millis(1), g.millis(1), 1+g.IntN(9), g.millis(0)
	}
	return h
}
