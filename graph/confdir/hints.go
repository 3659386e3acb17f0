package confdir

import (
	"maps"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
)

// A foreign word is how another tool calls what a key or section of ours does. The words are those
// of systemd.service(5), systemd.exec(5), compose, supervisord, process-compose, OpenRC, dinit and
// runit, written small and without separators: see plainWord.

// foreignKeys maps them to our keys, "section.key".
var foreignKeys = map[string][]string{
	"service.exec": {"command", "cmd", "execstart", "entrypoint", "program", "run", "script", "args", "start",
		"commandline", "executable"},
	"service.dir":               {"workdir", "workingdir", "workingdirectory", "cwd", "chdir", "directory", "pwd"},
	"service.env":               {"environment", "environ", "envs", "envvars", "vars", "variables"},
	"service.env_file":          {"environmentfile", "envfiles", "dotenv", "loadenv"},
	"service.status":            {"autostart", "enabled", "enable", "disabled", "startonboot", "wantedby"},
	"service.ready":             {"readiness", "readinessnotification", "notify", "notificationfd", "readyfd", "sdnotify"},
	"service.user":              {"username", "runas", "runasuser", "uid", "commanduser"},
	"service.group":             {"gid", "runasgroup", "groupname"},
	"service.groups":            {"supplementarygroups", "groupadd"},
	"service.limits":            {"ulimit", "ulimits", "rlimits", "rlimit", "limitnofile", "limitcore", "limitnproc"},
	"service.capabilities":      {"capadd", "capdrop", "ambientcapabilities", "capabilityboundingset", "caps"},
	"service.no_new_privileges": {"nonewprivs", "securityopt"},
	"service.oom_score_adj":     {"oomscoreadjust"},
	"service.runtime_dir":       {"runtimedirectory"},
	"service.state_dir":         {"statedirectory"},
	"service.cache_dir":         {"cachedirectory"},
	"service.logs_dir":          {"logsdirectory"},
	"service.credentials":       {"loadcredential", "secrets"},
	"service.tty":               {"ttypath", "terminal"},
	"service.reload":            {"execreload", "reloadsignal", "reloadcommand"},
	"service.pid_file":          {"pidfilepath"},
	"service.pre_start":         {"execstartpre", "startpre", "preexec", "execcondition"},
	"service.post_stop":         {"execstoppost", "stoppost", "poststopcommand"},
	"service.stop_command":      {"execstop", "stopcmd", "stop"},
	"service.watchdog_ms":       {"watchdogsec", "watchdog"},
	"dependencies.requires": {"dependson", "depends", "dependencies", "deps", "needs", "need",
		"waitsfor"},
	"dependencies.binds":     {"bindsto", "partof"},
	"dependencies.conflicts": {"conflictswith"},
	"lifecycle.restart":      {"autorestart", "restartpolicy", "respawn", "smoothrecovery"},
	"lifecycle.restart_delay_ms": {"restartsec", "restartdelay", "respawndelay", "backoffdelay",
		"backoffseconds"},
	"lifecycle.restart_delay_max_ms": {"restartmaxdelaysec", "backofflimit"},
	"lifecycle.max_restarts": {"startretries", "startlimitburst", "respawnmax", "restartlimitcount",
		"maxretries", "retries"},
	"lifecycle.start_timeout_ms": {"timeoutstartsec", "starttimeout", "timeoutsec"},
	"lifecycle.stop_timeout_ms": {"timeoutstopsec", "stoptimeout", "stopgraceperiod", "stopwaitsecs",
		"killtimeout", "killdelay", "timeoutseconds"},
	"lifecycle.stability_period_ms": {"startsecs", "restartlimitinterval", "startlimitintervalsec"},
	"lifecycle.stop_signal":         {"killsignal", "termsignal"},
	"lifecycle.success_codes":       {"successexitstatus", "exitcodes"},
	"lifecycle.on_exit":             {"exitonend", "exitonfailure", "successaction", "failureaction"},
	"health.target":                 {"test", "url"},
	"health.interval_ms":            {"interval", "periodseconds"},
	"health.timeout_ms":             {"timeout"},
	"health.start_period_ms":        {"startperiod", "initialdelayseconds"},
	"schedule.calendar":             {"oncalendar"},
	"schedule.cron":                 {"crontab", "cronspec"},
	"schedule.every":                {"onunitactivesec", "onunitinactivesec", "period"},
	"schedule.jitter":               {"randomizeddelaysec"},
	"schedule.catch_up":             {"persistent"},
	"logging.file": {"stdoutlogfile", "stderrlogfile", "logfile", "loglocation", "standardoutput",
		"standarderror", "outputlog", "errorlog"},
	"logging.rotate_bytes": {"stdoutlogfilemaxbytes", "maxsize"},
	"logging.rotate_keep":  {"stdoutlogfilebackups", "maxbackups", "maxfile"},
	"cgroup.memory_max":    {"memlimit", "memorylimit", "memory"},
	"cgroup.cpu_max":       {"cpus", "cpuquota", "cpulimit"},
	"cgroup.pids_max":      {"tasksmax", "pidslimit"},
}

// foreignTexts answers words for which there is no single key.
var foreignTexts = map[string]string{
	"type": `here it is oneshot = true (a command that ends), ready = "notify" or pid_file (a daemon); ` +
		"without any of them the program stays in the foreground",
	"remainafterexit": "a oneshot counts as there once it has exited 0, without any key",
	"description":     "here it is a comment: # …",
	"before":          `write after in the [dependencies] of the other service`,
	"numprocs":        "write one file for each process",
	"replicas":        "write one file for each process",
	"image":           "zinit runs programs, no images",
	"healthcheck":     "here it is the section [health]",
	"readinessprobe":  "here it is the section [health]",
	"livenessprobe":   "here it is the section [health]",
}

// foreignSections maps the sections of other tools to ours.
var foreignSections = map[string]string{
	"unit": "[dependencies]", "install": `status = "start" in [service]`, "healthcheck": "[health]",
	"readinessprobe": "[health]", "livenessprobe": "[health]", "environment": "[service.env]",
	"env": "[service.env]", "deps": "[dependencies]", "dependson": "[dependencies]", "depends": "[dependencies]",
	"log": "[logging]", "logs": "[logging]", "resources": "[cgroup]", "limits": "[service.limits]",
	"services": "one file a service, with a [service] section", "program": "[service]", "process": "[service]",
	"processes": "one file a service, with a [service] section", "socket": "the program opens its own sockets",
	"timer": "[schedule]", "cron": "[schedule]",
}

// plainWord writes WorkingDirectory, working_directory and working-directory alike.
func plainWord(s string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// foreignKey returns how the key of another tool is written here, for one that stands in section;
// "" when it is none.
func foreignKey(section, key string) string {
	word := plainWord(key)
	if text := foreignTexts[word]; text != "" {
		return text
	}
	for _, ours := range slices.Sorted(maps.Keys(foreignKeys)) {
		in, name, _ := strings.Cut(ours, ".")
		if !slices.Contains(foreignKeys[ours], word) && plainWord(name) != word {
			continue
		}
		return didYouMean(name, in, section)
	}
	return ""
}

// nearestElsewhere is the nearest key that another section has, with the section.
func nearestElsewhere(s *section, key string) string {
	owner := map[string]string{}
	var names []string
	for _, other := range serviceSections() {
		for _, f := range other.fields {
			if other != s && f.key != "name" && owner[f.key] == "" {
				owner[f.key] = other.name
				names = append(names, f.key)
			}
		}
	}
	near := graph.Nearest(key, slices.Values(names))
	if near == "" {
		return ""
	}
	return didYouMean(near, owner[near], s.name)
}

// didYouMean proposes the key of section in to somebody who wrote in section here.
func didYouMean(key, in, here string) string {
	if in == here {
		return "did you mean " + quoted(key) + "?"
	}
	return "did you mean " + quoted(key) + " in [" + in + "]?"
}
