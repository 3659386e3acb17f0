package machine

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
)

// conf returns a definition with the defaults of docs/config.md.
func conf(name string, change func(*graph.Config)) *graph.Config {
	c := &graph.Config{Name: name, Lifecycle: graph.Lifecycle{
		RestartDelay: time.Second, RestartDelayMax: 5 * time.Minute, MaxRestarts: 10, StabilityPeriod: 30 * time.Second,
		StartTimeout: 30 * time.Second, StopTimeout: 10 * time.Second, StopSignal: 15,
	}}
	if change != nil {
		change(c)
	}
	return c
}

// parseGraph reads one definition a line: "name word…". The words are those that the simulator writes:
//
//	target oneshot set ready critical kill_others post_stop=2s pre_start=1s pid_file broken exec=v2
//	status=stop class=system requires=a,b binds= after= wants= conflicts=
//	restart=always delay=1s..5m max=10 stable=30s start=30s stop=10s success=2,3 on_exit=shutdown
//	cron=*/5_*_*_*_* calendar=Mon_02:30 every=10m boot=5m (blanks as _), each with the words behind it:
//	from_end jitter=1m catch_up overlap=queue
//	health=10s/3 check=exec timeout=5s period=0s watchdog=5s ports=80 filter=name
func parseGraph(text string) (*graph.Graph, error) {
	var configs []*graph.Config
	var broken []graph.Broken
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		c := conf(words[0], nil)
		for _, word := range words[1:] {
			if word == "broken" {
				broken = append(broken, graph.Broken{Name: c.Name, Problem: "line 3: expected a value", OnExit: c.Lifecycle.OnExit})
				c = nil
				break
			}
			if err := configWord(c, word); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", words[0], word, err)
			}
		}
		if c != nil {
			if c.Oneshot && !strings.Contains(line, " start=") {
				c.Lifecycle.StartTimeout = 0
			}
			configs = append(configs, c)
		}
	}
	return graph.New(configs, broken), nil
}

func configWord(c *graph.Config, word string) (err error) {
	key, value, _ := strings.Cut(word, "=")
	l := &c.Lifecycle
	names := strings.Split(value, ",")
	switch key {
	case "target":
		c.Target = true
	case "oneshot":
		c.Oneshot = true
	case "set":
		l.RestartSet = true
	case "ready":
		c.Ready.Kind = graph.ReadyNotify
	case "critical":
		c.Critical = true
	case "kill_others":
		c.KillOthers = true
	case "exec":
		c.Exec.Line = value
	case "post_stop":
		c.PostStop = graph.Hook{Command: graph.Command{Line: "true"}, Timeout: 2 * time.Second}
		if value != "" {
			c.PostStop.Timeout, err = time.ParseDuration(value)
		}
	case "pid_file":
		c.PIDFile = "/run/pid"
	case "status":
		c.Status, err = graph.ParseStatus(value)
	case "class":
		c.Class, err = graph.ParseClass(value)
	case "requires":
		c.Deps.Requires = append(c.Deps.Requires, names...)
	case "binds":
		c.Deps.Binds = append(c.Deps.Binds, names...)
	case "after":
		c.Deps.After = append(c.Deps.After, names...)
	case "wants":
		c.Deps.Wants = append(c.Deps.Wants, names...)
	case "conflicts":
		c.Deps.Conflicts = append(c.Deps.Conflicts, names...)
	case "restart":
		l.Restart, err = graph.ParseRestart(value)
		l.RestartSet = l.RestartSet || !c.Oneshot
	case "on_exit":
		l.OnExit, err = graph.ParseOnExit(value)
	case "filter":
		c.ProcessFilters = names
	case "cron", "calendar", "every", "boot", "jitter", "catch_up", "from_end", "overlap":
		return configSchedule(c, key, strings.ReplaceAll(value, "_", " "))
	default:
		return configNumber(c, key, value)
	}
	return err
}

func configSchedule(c *graph.Config, key, value string) (err error) {
	c.Oneshot = true
	if n := len(c.Schedules); n > 0 {
		s := &c.Schedules[n-1]
		switch key {
		case "jitter":
			s.Jitter, err = calendar.ParseSpan(value)
			return err
		case "catch_up":
			s.CatchUp = true
			return nil
		case "from_end":
			s.FromEnd = true
			return nil
		case "overlap":
			s.Overlap, err = graph.ParseOverlap(value)
			return err
		}
	}
	s := graph.Schedule{Text: value, Keep: graph.DefaultKeep}
	switch key {
	case "cron":
		s.When, err = calendar.ParseCron(value)
	case "calendar":
		s.Kind = graph.ScheduleCalendar
		s.When, err = calendar.ParseCalendar(value, time.LoadLocation)
	case "every":
		s.Kind = graph.ScheduleEvery
		s.Interval, err = calendar.ParseSpan(value)
	default:
		s.Kind = graph.ScheduleBoot
		s.Interval, err = calendar.ParseSpan(value)
	}
	c.Schedules = append(c.Schedules, s)
	return err
}

func configNumber(c *graph.Config, key, value string) (err error) {
	l := &c.Lifecycle
	switch key {
	case "delay":
		low, high, both := strings.Cut(value, "..")
		if l.RestartDelay, err = time.ParseDuration(low); err == nil && both {
			l.RestartDelayMax, err = time.ParseDuration(high)
		}
	case "max":
		l.MaxRestarts, err = strconv.Atoi(value)
	case "stable":
		l.StabilityPeriod, err = time.ParseDuration(value)
	case "start":
		l.StartTimeout, err = time.ParseDuration(value)
	case "stop":
		l.StopTimeout, err = time.ParseDuration(value)
	case "watchdog":
		c.Watchdog, err = time.ParseDuration(value)
	case "pre_start":
		c.PreStart.Command.Line = "true"
		c.PreStart.Timeout, err = time.ParseDuration(value)
	case "success":
		for _, code := range strings.Split(value, ",") {
			n, _ := strconv.Atoi(code)
			l.SuccessCodes = append(l.SuccessCodes, n)
		}
	case "ports":
		c.Ports = []uint16{80}
		if n, e := strconv.Atoi(value); e == nil {
			c.Ports[0] = uint16(n)
		}
	default:
		return configHealth(c, key, value)
	}
	return err
}

func configHealth(c *graph.Config, key, value string) (err error) {
	if c.Health == nil {
		c.Health = &graph.Health{Interval: 10 * time.Second, Timeout: 5 * time.Second, Retries: 3}
	}
	switch key {
	case "health":
		interval, retries, _ := strings.Cut(value, "/")
		if c.Health.Interval, err = time.ParseDuration(interval); err == nil && retries != "" {
			c.Health.Retries, err = strconv.Atoi(retries)
		}
	case "check":
		c.Health.Type, err = graph.ParseHealthType(value)
	case "timeout":
		c.Health.Timeout, err = time.ParseDuration(value)
	case "period":
		c.Health.StartPeriod, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("unknown word")
	}
	return err
}
