package graph

import (
	"maps"
	"slices"
)

// comparisons is every key of a file but the name, as docs/config.md, Reload, sorts them: with true, a running process
// depends on it.
var comparisons = []comparison{
	{"exec", true, func(a, b *Config) bool { return sameCommand(a.Exec, b.Exec) }},
	{"expand", true, by(func(c *Config) bool { return c.Expand })},
	{"dir", true, by(func(c *Config) string { return c.Dir })},
	{"env", true, func(a, b *Config) bool { return maps.Equal(a.Env, b.Env) }},
	{"env_file", true, list(func(c *Config) []string { return c.EnvFiles })},
	{"env_file_format", true, by(func(c *Config) EnvFormat { return c.EnvFormat })},
	{"env_from_file", true, func(a, b *Config) bool { return maps.Equal(a.EnvFromFile, b.EnvFromFile) }},
	{"credentials", true, func(a, b *Config) bool { return maps.Equal(a.Credentials, b.Credentials) }},
	sameDir(DirRuntime), sameDir(DirState), sameDir(DirCache), sameDir(DirLogs),
	{"oneshot", true, by(func(c *Config) bool { return c.Oneshot })},
	{"ready", true, by(func(c *Config) Ready { return c.Ready })},
	{"tty", true, by(func(c *Config) string { return c.Tty })},
	{"pre_start", true, func(a, b *Config) bool { return sameCommand(a.PreStart.Command, b.PreStart.Command) }},
	{"watchdog_ms", true, by(func(c *Config) int64 { return int64(c.Watchdog) })},
	{"user", true, by(func(c *Config) string { return c.Identity.User })},
	{"group", true, by(func(c *Config) string { return c.Identity.Group })},
	{"groups", true, list(func(c *Config) []string { return c.Identity.Groups })},
	{"umask", true, optional(func(c *Config) *int { return c.Identity.Umask })},
	{"nice", true, optional(func(c *Config) *int { return c.Identity.Nice })},
	{"oom_score_adj", true, optional(func(c *Config) *int { return c.Identity.OOMScoreAdj })},
	{"limits", true, list(func(c *Config) []Limit { return c.Identity.Limits })},
	{"no_new_privileges", true, by(func(c *Config) bool { return c.Identity.NoNewPrivileges })},
	{"capabilities", true,
		func(a, b *Config) bool { return sameCapabilities(a.Identity.Capabilities, b.Identity.Capabilities) }},
	{"cgroup", true, by(func(c *Config) Cgroup { return c.Cgroup })},

	{"after", false, list(func(c *Config) []string { return c.Deps.After })},
	{"requires", false, list(func(c *Config) []string { return c.Deps.Requires })},
	{"wants", false, list(func(c *Config) []string { return c.Deps.Wants })},
	{"conflicts", false, list(func(c *Config) []string { return c.Deps.Conflicts })},
	{"binds", false, list(func(c *Config) []string { return c.Deps.Binds })},
	{"status", false, by(func(c *Config) Status { return c.Status })},
	{"profiles", false, list(func(c *Config) []string { return c.Profiles })},
	{"class", false, by(func(c *Config) Class { return c.Class })},
	{"critical", false, by(func(c *Config) bool { return c.Critical })},
	{"ports", false, list(func(c *Config) []uint16 { return c.Ports })},
	{"kill_others", false, by(func(c *Config) bool { return c.KillOthers })},
	{"process_filters", false, list(func(c *Config) []string { return c.ProcessFilters })},
	{"reload", false, func(a, b *Config) bool {
		return a.Reload.Signal == b.Reload.Signal && sameCommand(a.Reload.Command, b.Reload.Command)
	}},
	{"pid_file", false, by(func(c *Config) string { return c.PIDFile })},
	{"pre_start_timeout_ms", false, by(func(c *Config) int64 { return int64(c.PreStart.Timeout) })},
	{"post_stop", false, func(a, b *Config) bool { return sameHook(a.PostStop, b.PostStop) }},
	{"stop_command", false, func(a, b *Config) bool { return sameHook(a.StopCommand, b.StopCommand) }},

	{"restart", false,
		by(func(c *Config) restartPolicy { return restartPolicy{c.Lifecycle.Restart, c.Lifecycle.RestartSet} })},
	{"restart_delay_ms", false, by(func(c *Config) int64 { return int64(c.Lifecycle.RestartDelay) })},
	{"restart_delay_max_ms", false, by(func(c *Config) int64 { return int64(c.Lifecycle.RestartDelayMax) })},
	{"max_restarts", false, by(func(c *Config) int { return c.Lifecycle.MaxRestarts })},
	{"stability_period_ms", false, by(func(c *Config) int64 { return int64(c.Lifecycle.StabilityPeriod) })},
	{"start_timeout_ms", false, by(func(c *Config) int64 { return int64(c.Lifecycle.StartTimeout) })},
	{"stop_timeout_ms", false, by(func(c *Config) int64 { return int64(c.Lifecycle.StopTimeout) })},
	{"stop_signal", false, by(func(c *Config) Signal { return c.Lifecycle.StopSignal })},
	{"success_codes", false, list(func(c *Config) []int { return c.Lifecycle.SuccessCodes })},
	{"kill_mode", false, by(func(c *Config) KillMode { return c.Lifecycle.KillMode })},
	{"on_exit", false, by(func(c *Config) OnExit { return c.Lifecycle.OnExit })},

	{"health", false, func(a, b *Config) bool { return sameHealth(a.Health, b.Health) }},
	{"schedule", false, func(a, b *Config) bool { return slices.EqualFunc(a.Schedules, b.Schedules, Schedule.Equal) }},
	{"logging", false, by(func(c *Config) Logging { return c.Logging })},
}

// sameDir compares the directories of one kind.
func sameDir(kind DirKind) comparison {
	return comparison{dirKeys[kind], true, func(a, b *Config) bool {
		return a.Dirs[kind].Mode == b.Dirs[kind].Mode && slices.Equal(a.Dirs[kind].Names, b.Dirs[kind].Names)
	}}
}

type restartPolicy struct {
	policy Restart
	set    bool
}

func sameCommand(a, b Command) bool { return a.Line == b.Line && slices.Equal(a.Argv, b.Argv) }

func sameHook(a, b Hook) bool { return a.Timeout == b.Timeout && sameCommand(a.Command, b.Command) }

func sameCapabilities(a, b *Capabilities) bool {
	if a == nil || b == nil {
		return a == b
	}
	return (a.Bounding == nil) == (b.Bounding == nil) && slices.Equal(a.Bounding, b.Bounding) &&
		slices.Equal(a.Ambient, b.Ambient)
}

func sameHealth(a, b *Health) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && a.Target == b.Target && a.Method == b.Method && sameCommand(a.Exec, b.Exec) &&
		slices.Equal(a.ExpectStatus, b.ExpectStatus) && a.Interval == b.Interval && a.Timeout == b.Timeout &&
		a.Retries == b.Retries && a.StartPeriod == b.StartPeriod && a.TLSVerify == b.TLSVerify
}
