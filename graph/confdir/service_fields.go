package confdir

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
)

var serviceSection = sync.OnceValue(func() *section {
	return &section{"service", "A service: a program that is kept running, or run once", append(legacy(
		nameField(),
		commandField("exec", "The command: a string, split or given to a shell as it needs, or an array that is executed as it is",
			func(c *graph.Config) *graph.Command { return &c.Exec }),
		stringField("dir", "Working directory; a relative one counts from this file",
			func(c *graph.Config) *string { return &c.Dir },
			(*reader).path),
		envField(),
		boolField("oneshot", "Runs once and is done when it exits 0", func(c *graph.Config) *bool { return &c.Oneshot }),
		wordField("status", "What happens at load: start it, leave it stopped, or leave it alone altogether",
			func(c *graph.Config) *graph.Status { return &c.Status }, graph.StatusWords(), graph.ParseStatus),
		wordField("class", "system: untouched by the bulk operations", func(c *graph.Config) *graph.Class { return &c.Class },
			graph.ClassWords(), graph.ParseClass),
		boolField("critical", "As PID 1: failing for good is shown on the console",
			func(c *graph.Config) *bool { return &c.Critical }),
		portsField(),
		boolField("kill_others", "End what holds the ports before the start",
			func(c *graph.Config) *bool { return &c.KillOthers }),
		listField("process_filters", "Names of processes that must not run, part of the name is enough",
			func(c *graph.Config) *[]string { return &c.ProcessFilters }, notEmpty),
	), slices.Concat(ourServiceFields(), identityFields(), dirFields(), hookFields())...)}
})

func ourServiceFields() []field {
	return []field{
		listField("profiles", "It is loaded only where one of these is chosen (--profile NAME)",
			func(c *graph.Config) *[]string { return &c.Profiles }, CheckName),
		readyField(),
		boolField("expand", "Replace $NAME, ${NAME} and $$ in commands that are arrays", func(c *graph.Config) *bool { return &c.Expand }),
		envFileField(),
		wordField("env_file_format", "How env_file is written: dotenv (as docker compose), sh, systemd (EnvironmentFile=)",
			func(c *graph.Config) *graph.EnvFormat { return &c.EnvFormat }, graph.EnvFormatWords(), graph.ParseEnvFormat),
		fileTableField("env_from_file", "Variables, and the files that hold their values, read at every start",
			func(c *graph.Config) *map[string]string { return &c.EnvFromFile }, checkVariable),
		fileTableField("credentials", "Files that are copied into $CREDENTIALS_DIRECTORY, private to the service's user",
			func(c *graph.Config) *map[string]string { return &c.Credentials }, checkCredential),
		stringField("tty", "Terminal that becomes stdin, stdout and stderr", func(c *graph.Config) *string { return &c.Tty },
			(*reader).path),
		reloadField(),
		stringField("pid_file", "File in which a daemonizing program writes its process id",
			func(c *graph.Config) *string { return &c.PIDFile }, (*reader).path),
		{key: "watchdog_ms", doc: "It must send WATCHDOG=1 at least so often; 0 = no watchdog", schema: ranged(0, maxMillis),
			read: func(r *reader, v any) {
				if d, ok := r.millis(v, 0); ok {
					r.cfg.Watchdog = d
				}
			},
			value: func(c *graph.Config) any {
				if c.Watchdog == 0 {
					return nil
				}
				return int64(c.Watchdog / time.Millisecond)
			}},
	}
}

func hookFields() []field {
	return []field{
		commandField("pre_start", "Command that runs before each start and must succeed",
			func(c *graph.Config) *graph.Command { return &c.PreStart.Command }),
		hookTimeout("pre_start_timeout_ms", "Time limit of pre_start",
			func(c *graph.Config) *graph.Hook { return &c.PreStart }),
		commandField("post_stop", "Command that runs after each end",
			func(c *graph.Config) *graph.Command { return &c.PostStop.Command }),
		hookTimeout("post_stop_timeout_ms", "Time limit of post_stop",
			func(c *graph.Config) *graph.Hook { return &c.PostStop }),
		commandField("stop_command", "Command that asks it to end, instead of the stop signal",
			func(c *graph.Config) *graph.Command { return &c.StopCommand.Command }),
		hookTimeout("stop_command_timeout_ms", "Time limit of stop_command; stop_timeout_ms unless set",
			func(c *graph.Config) *graph.Hook { return &c.StopCommand }),
	}
}

func envField() field {
	return field{key: "env", doc: "Variables added to the environment",
		schema: map[string]any{"type": "object", "additionalProperties": typed("string")},
		read: func(r *reader, v any) {
			env := map[string]string{}
			if r.each(v, "a table of strings", func(name string, value any) {
				text, ok := r.string(value)
				switch err := checkVariable(name); {
				case !ok:
				case err != nil:
					r.fail("%s", err)
				default:
					env[name] = text
				}
			}) && len(env) > 0 {
				r.cfg.Env = env
			}
		},
		value: func(c *graph.Config) any {
			t := table{}
			for _, name := range sortedKeys(c.Env) {
				t = append(t, pair{name, c.Env[name]})
			}
			return t
		},
	}
}

func portsField() field {
	return field{key: "ports", doc: "TCP ports that must be free before the start", schema: listOf(ranged(1, 65535)),
		read: func(r *reader, v any) {
			if list, ok := r.ints(v, 1, 65535); ok {
				r.cfg.Ports = nil
				for _, n := range list {
					r.cfg.Ports = append(r.cfg.Ports, uint16(n))
				}
			}
		},
		value: func(c *graph.Config) any { return intValues(c.Ports) },
	}
}

func readyField() field {
	return field{key: "ready",
		doc:    `How it tells that it is ready: "notify" (sd_notify) or "fd:N" (a newline on descriptor N)`,
		schema: map[string]any{"type": "string", "pattern": "^(notify|fd:[0-9]+)$"},
		read: func(r *reader, v any) {
			s, ok := r.string(v)
			if !ok {
				return
			}
			ready, err := graph.ParseReady(s)
			if err != nil {
				r.fail("%s", err)
				return
			}
			r.cfg.Ready = ready
		},
		value: func(c *graph.Config) any { return orNil(c.Ready.String()) },
	}
}

// envFileField takes one path or several; what it writes is one path where that is all.
func envFileField() field {
	return field{key: "env_file",
		doc:    "File with NAME=VALUE lines, or several, read at every start; a leading - means it may be missing",
		schema: stringOrList(),
		read: func(r *reader, v any) {
			given, isList := v.([]any)
			if !isList {
				given = []any{v}
			}
			var files []string
			for _, element := range given {
				s, ok := r.text(element)
				if !ok {
					return
				}
				path, optional := strings.CutPrefix(s, "-")
				if path, ok = r.path(path); !ok {
					return
				}
				if optional {
					path = "-" + path
				}
				files = append(files, path)
			}
			r.cfg.EnvFiles = files
		},
		value: func(c *graph.Config) any {
			switch len(c.EnvFiles) {
			case 0:
				return nil
			case 1:
				return c.EnvFiles[0]
			}
			return slices.Clone(c.EnvFiles)
		}}
}

// reloadField takes the name of a signal as a signal, and everything else as a command.
func reloadField() field {
	return field{key: "reload", doc: "What signal-reload does: a signal (SIGHUP unless set) or a command",
		schema: stringOrList(),
		read: func(r *reader, v any) {
			if _, isInt := integer(v); isInt {
				if s, ok := r.signal(v); ok {
					r.cfg.Reload = graph.Reload{Signal: s}
				}
				return
			}
			if text, ok := v.(string); ok {
				if s, err := graph.ParseSignal(text); err == nil {
					r.cfg.Reload = graph.Reload{Signal: s}
					return
				}
			}
			if command, ok := r.command(v); ok {
				r.cfg.Reload = graph.Reload{Command: command}
			}
		},
		value: func(c *graph.Config) any {
			if !c.Reload.Command.IsZero() {
				return commandValue(c.Reload.Command)
			}
			return c.Reload.Signal.Name()
		},
	}
}

func identityFields() []field {
	return []field{
		userField("user", "User it runs as, name or number", func(c *graph.Config) *string { return &c.Identity.User }),
		userField("group", "Group it runs as, name or number", func(c *graph.Config) *string { return &c.Identity.Group }),
		{key: "groups", doc: "Supplementary groups, names or numbers; those of the user unless set", schema: listOf(
			map[string]any{"type": []string{"string", "integer"}}),
			read: readGroups,
			value: func(c *graph.Config) any {
				if c.Identity.Groups == nil {
					return nil
				}
				return slices.Clone(c.Identity.Groups)
			}},
		{key: "umask", doc: `File mode creation mask: an octal string such as "022", or a number`,
			schema: map[string]any{"type": []string{"string", "integer"}}, read: readUmask,
			value: func(c *graph.Config) any {
				if c.Identity.Umask == nil {
					return nil
				}
				text := strconv.FormatInt(int64(*c.Identity.Umask), 8)
				return strings.Repeat("0", max(0, 3-len(text))) + text
			}},
		optionalField("nice", "Scheduling priority, -20 is the highest",
			func(c *graph.Config) **int { return &c.Identity.Nice }, -20, 19),
		optionalField("oom_score_adj", "How likely the kernel ends it when memory is short",
			func(c *graph.Config) **int { return &c.Identity.OOMScoreAdj }, -1000, 1000),
		limitsField(),
		boolField("no_new_privileges", "set-user-id programs and file capabilities gain nothing",
			func(c *graph.Config) *bool { return &c.Identity.NoNewPrivileges }),
		capabilitiesField(),
	}
}

// userField is a name or number of a user or group.
func userField(key, doc string, at at[string]) field {
	return field{key: key, doc: doc, schema: map[string]any{"type": []string{"string", "integer"}},
		read: func(r *reader, v any) {
			if s, ok := r.account(v); ok {
				*at(r.cfg) = s
			}
		},
		value: func(c *graph.Config) any { return orNil(*at(c)) },
	}
}

const maxAccount = 1<<32 - 2 // (uid_t)-1 means "no change"

func account(v any) (string, error) {
	if n, isInt := integer(v); isInt {
		if n < 0 || n > maxAccount {
			return "", errors.New("want a number from 0 to 4294967294, not " + strconv.FormatInt(n, 10))
		}
		return strconv.FormatInt(n, 10), nil
	}
	s, ok := v.(string)
	if !ok {
		return "", errors.New("want a name or a number, not " + describe(v))
	}
	if s == "" || strings.ContainsAny(s, ":\x00\n/ ") {
		return "", errors.New(strconv.Quote(s) + " cannot be the name of a user or group")
	}
	return s, nil
}

func (r *reader) account(v any) (string, bool) {
	s, err := account(v)
	if err != nil {
		r.fail("%s", err)
	}
	return s, err == nil
}

func readGroups(r *reader, v any) {
	list, ok := v.([]any)
	if !ok {
		r.fail("want an array of names or numbers, not %s", describe(v))
		return
	}
	groups := []string{}
	for i, element := range list {
		s, err := account(element)
		if err != nil {
			r.failAt(i, "%s", err)
		}
		groups = append(groups, s)
	}
	r.cfg.Identity.Groups = groups
}

func readUmask(r *reader, v any) {
	n, ok := integer(v)
	if s, isString := v.(string); isString {
		var err error
		n, err = strconv.ParseInt(strings.TrimPrefix(s, "0o"), 8, 32)
		ok = err == nil && s != "" && s[0] != '-' && s[0] != '+'
	}
	if !ok || n < 0 || n > 0o777 {
		r.fail(`want an octal string such as "022", up to "777", not %s`, describe(v))
		return
	}
	mask := int(n)
	r.cfg.Identity.Umask = &mask
}

var cgroupSection = sync.OnceValue(func() *section {
	return &section{"cgroup", "Limits that need a writable cgroup v2 hierarchy", []field{
		cgroupField("memory_max", "Memory above which the kernel ends it: bytes, with K, M, G, or max",
			func(c *graph.Config) *string { return &c.Cgroup.MemoryMax }, checkSize),
		cgroupField("memory_high", "Memory above which it is slowed: bytes, with K, M, G, or max",
			func(c *graph.Config) *string { return &c.Cgroup.MemoryHigh }, checkSize),
		cgroupField("cpu_max", `"QUOTA PERIOD" in microseconds, "max PERIOD", or a percentage of one processor such as "50%"`,
			func(c *graph.Config) *string { return &c.Cgroup.CPUMax }, checkCPU),
		cgroupField("pids_max", "Number of processes and threads, or max",
			func(c *graph.Config) *string { return &c.Cgroup.PidsMax },
			checkCount),
		cgroupField("io_weight", "Share of the disks, from 1 to 10000",
			func(c *graph.Config) *string { return &c.Cgroup.IOWeight },
			checkWeight),
	}}
})

// cgroupField takes a number or a string; check returns the string that the kernel's file takes.
func cgroupField(key, doc string, at at[string], check func(string) (string, error)) field {
	return field{key: key, doc: doc, schema: map[string]any{"type": []string{"string", "integer"}},
		read: func(r *reader, v any) {
			text, isString := v.(string)
			if n, isInt := integer(v); isInt {
				text = strconv.FormatInt(n, 10)
			} else if !isString {
				r.fail("want a number or a string, not %s", describe(v))
				return
			}
			kernel, err := check(text)
			if err != nil {
				r.fail("%s", err)
				return
			}
			*at(r.cfg) = kernel
		},
		value: func(c *graph.Config) any { return orNil(*at(c)) },
	}
}

func checkSize(s string) (string, error) {
	digits := strings.TrimRight(s, "kKmMgGtT")
	n, err := strconv.ParseUint(digits, 10, 63)
	if s != "max" && (err != nil || n == 0 || len(s)-len(digits) > 1) {
		return "", errors.New(`want bytes, a size such as "512M", or "max", not ` + strconv.Quote(s))
	}
	return s, nil
}

func checkCount(s string) (string, error) {
	if n, err := strconv.ParseUint(s, 10, 31); s != "max" && (err != nil || n == 0) {
		return "", errors.New(`want a number of at least 1, or "max", not ` + strconv.Quote(s))
	}
	return s, nil
}

func checkWeight(s string) (string, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err != nil || n < 1 || n > 10_000 {
		return "", errors.New("want a number from 1 to 10000, not " + strconv.Quote(s))
	}
	return s, nil
}

const cpuPeriod = 100_000 // µs, the kernel's default

func checkCPU(s string) (string, error) {
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		if n, err := strconv.ParseUint(percent, 10, 31); err == nil && n > 0 {
			return strconv.FormatUint(n*cpuPeriod/100, 10) + " " + strconv.Itoa(cpuPeriod), nil
		}
	}
	words := strings.Fields(s)
	good := len(words) == 1 || len(words) == 2
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 31)
		// The kernel's bounds: a quota of at least 1 ms, a period from 1 ms to 1 s.
		good = good && (i == 0 && w == "max" || err == nil && n >= 1000 && (i == 0 || n <= 1_000_000))
	}
	if !good {
		return "", errors.New(`want "50%", "QUOTA PERIOD" in µs, or "max", not ` + strconv.Quote(s))
	}
	return strings.Join(words, " "), nil
}

// absolute makes a path absolute where that is possible.
func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
