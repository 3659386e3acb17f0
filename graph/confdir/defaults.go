package confdir

import (
	"time"

	"github.com/zinit/zinit/graph"
)

// The defaults of docs/config.md.
const (
	defaultRestartDelay     = time.Second
	defaultRestartDelayMax  = 300 * time.Second
	defaultMaxRestarts      = 10
	defaultStability        = 30 * time.Second
	defaultStartTimeout     = 30 * time.Second
	defaultStopTimeout      = 10 * time.Second
	defaultPreStartTimeout  = 30 * time.Second
	defaultPostStopTimeout  = 10 * time.Second
	defaultHealthInterval   = 10 * time.Second
	defaultHealthTimeout    = 5 * time.Second
	defaultHealthRetries    = 3
	defaultBufferLines      = 1000
	defaultBufferBytes      = 256 << 10
	defaultTotalBytes       = 128 << 20
	defaultRotateBytes      = 10 << 20
	defaultRotateKeep       = 5
	defaultExpectStatus     = 200
	defaultDirMode          = 0o755
	defaultReload           = graph.SIGHUP
	defaultStopSignal       = graph.SIGTERM
	unlimitedRestarts       = 0
	noStartTimeout          = 0
	noTimeout               = 0
	defaultRestartOfOneshot = graph.RestartNever
)

// New returns a service (or target) of which only the name is set, with the defaults that depend on nothing else.
func New(name string, target bool) *graph.Config {
	c := &graph.Config{Name: name, Target: target}
	if target {
		return c
	}
	c.Reload.Signal = defaultReload
	for kind := range c.Dirs {
		c.Dirs[kind].Mode = defaultDirMode
	}
	c.Lifecycle = graph.Lifecycle{RestartDelay: defaultRestartDelay, RestartDelayMax: defaultRestartDelayMax,
		MaxRestarts: defaultMaxRestarts, StabilityPeriod: defaultStability, StartTimeout: defaultStartTimeout,
		StopTimeout: defaultStopTimeout, StopSignal: defaultStopSignal, SuccessCodes: []int{0}}
	c.PreStart.Timeout = defaultPreStartTimeout
	c.PostStop.Timeout = defaultPostStopTimeout
	c.Logging = graph.Logging{BufferLines: defaultBufferLines, BufferBytes: defaultBufferBytes,
		RotateBytes: defaultRotateBytes, RotateKeep: defaultRotateKeep,
		SyslogMaxBytes: graph.DefaultSyslogBytes}
	return c
}

func newHealth() *graph.Health {
	return &graph.Health{Interval: defaultHealthInterval, Timeout: defaultHealthTimeout, Retries: defaultHealthRetries,
		ExpectStatus: []graph.StatusRange{{Low: defaultExpectStatus, High: defaultExpectStatus}}, TLSVerify: true}
}

// derive fills in the defaults that depend on other keys, for those that has says are not given.
func derive(c *graph.Config, has func(key string) bool) {
	l := &c.Lifecycle
	if c.Oneshot {
		if !has("lifecycle.restart") {
			l.Restart = defaultRestartOfOneshot
		}
		if !has("lifecycle.start_timeout_ms") {
			l.StartTimeout = noStartTimeout
		}
		// A oneshot is restarted only when the file says so; everywhere else the key says nothing new.
		l.RestartSet = l.Restart != defaultRestartOfOneshot
	}
	if !has("lifecycle.max_restarts") && (c.Class == graph.ClassSystem || c.Critical) {
		l.MaxRestarts = unlimitedRestarts
	}
	if !has("lifecycle.restart_delay_max_ms") {
		l.RestartDelayMax = max(defaultRestartDelayMax, l.RestartDelay)
	}
	if !has("service.stop_command_timeout_ms") {
		c.StopCommand.Timeout = l.StopTimeout
	}
	for _, hook := range []*graph.Hook{&c.PreStart, &c.PostStop, &c.StopCommand} {
		if hook.Command.IsZero() {
			hook.Timeout = noTimeout
		}
	}
}

// baseline returns the defaults that c's file does not have to repeat: those of New, and those that follow from the keys that
// derive looks at.
type baseline struct{ plain, derived *graph.Config }

func baselineOf(c *graph.Config) baseline {
	plain := New(c.Name, c.Target)
	if c.Target {
		return baseline{plain, plain}
	}
	d := New(c.Name, false)
	d.Oneshot, d.Class, d.Critical = c.Oneshot, c.Class, c.Critical
	d.Lifecycle.RestartDelay, d.Lifecycle.StopTimeout = c.Lifecycle.RestartDelay, c.Lifecycle.StopTimeout
	d.PreStart.Command, d.PostStop.Command, d.StopCommand.Command = c.PreStart.Command, c.PostStop.Command,
		c.StopCommand.Command
	if c.Health != nil {
		d.Health = newHealth()
		d.Health.Type = c.Health.Type
		plain.Health = d.Health
	}
	derive(d, func(string) bool { return false })
	return baseline{plain, d}
}

// value returns the default of a key. Those that derive looks at do not follow from themselves.
func (b baseline) value(f *field) any {
	switch f.key {
	case "oneshot", "class", "critical", "restart_delay_ms", "stop_timeout_ms", "pre_start", "post_stop", "stop_command":
		return f.value(b.plain)
	}
	return f.value(b.derived)
}
