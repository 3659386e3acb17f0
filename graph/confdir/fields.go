package confdir

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
)

// field is one key of the file.
type field struct {
	key    string
	doc    string         // one line, for the schema
	schema map[string]any // of the value
	legacy bool           // zinit 0.3.9 has it: always in the JSON document, null or empty when not set
	read   func(r *reader, v any)
	value  func(c *graph.Config) any // as the file has it: string, bool, int64, []string, []any, table; nil = not set
}

// section is one table of the file.
type section struct {
	name   string
	doc    string
	fields []field
}

func (s *section) field(key string) *field {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	return nil
}

func sectionOf(list []*section, name string) *section {
	for _, s := range list {
		if s.name == name {
			return s
		}
	}
	return nil
}

var (
	serviceSections = sync.OnceValue(func() []*section {
		return []*section{serviceSection(), dependenciesSection(), lifecycleSection(), scheduleSection(), healthSection(), loggingSection(), cgroupSection()}
	})
	targetSections = sync.OnceValue(func() []*section { return []*section{targetSection(), dependenciesSection()} })
)

type at[T any] = func(*graph.Config) *T

// stringField is a key with a string that may not be empty; nil check = any.
func stringField(key, doc string, at at[string], read func(*reader, any) (string, bool)) field {
	return field{key: key, doc: doc, schema: typed("string"),
		read: func(r *reader, v any) {
			if s, ok := read(r, v); ok {
				*at(r.cfg) = s
			}
		},
		value: func(c *graph.Config) any { return orNil(*at(c)) },
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func boolField(key, doc string, at at[bool]) field {
	return field{key: key, doc: doc, schema: typed("boolean"),
		read: func(r *reader, v any) {
			if b, ok := r.bool(v); ok {
				*at(r.cfg) = b
			}
		},
		value: func(c *graph.Config) any { return *at(c) },
	}
}

func intField[T ~int | ~int64](key, doc string, at at[T], low, high int64) field {
	return field{key: key, doc: doc, schema: ranged(low, high),
		read: func(r *reader, v any) {
			if n, ok := r.int(v, low, high); ok {
				*at(r.cfg) = T(n)
			}
		},
		value: func(c *graph.Config) any { return int64(*at(c)) },
	}
}

// optionalField is a whole number that may be absent.
func optionalField(key, doc string, at at[*int], low, high int64) field {
	return field{key: key, doc: doc, schema: ranged(low, high),
		read: func(r *reader, v any) {
			if n, ok := r.int(v, low, high); ok {
				value := int(n)
				*at(r.cfg) = &value
			}
		},
		value: func(c *graph.Config) any {
			if p := *at(c); p != nil {
				return int64(*p)
			}
			return nil
		},
	}
}

func millisField(key, doc string, at at[time.Duration], low int64) field {
	return field{key: key, doc: doc, schema: ranged(low, maxMillis),
		read: func(r *reader, v any) {
			if d, ok := r.millis(v, low); ok {
				*at(r.cfg) = d
			}
		},
		value: func(c *graph.Config) any { return int64(*at(c) / time.Millisecond) },
	}
}

func listField(key, doc string, at at[[]string], check func(string) error) field {
	return field{key: key, doc: doc, schema: listOf(typed("string")),
		read: func(r *reader, v any) {
			if list, ok := r.strings(v, check); ok {
				*at(r.cfg) = list
			}
		},
		value: func(c *graph.Config) any { return slices.Clone(*at(c)) },
	}
}

// wordField is a key whose value is one of several words.
func wordField[T interface{ String() string }](key, doc string, at at[T], words []string, parse func(string) (T, error)) field {
	return field{key: key, doc: doc, schema: map[string]any{"enum": words},
		read: func(r *reader, v any) {
			s, ok := r.string(v)
			if !ok {
				return
			}
			value, err := parse(s)
			if err != nil {
				r.fail("%s", err)
				return
			}
			*at(r.cfg) = value
		},
		value: func(c *graph.Config) any { return (*at(c)).String() },
	}
}

func commandField(key, doc string, at at[graph.Command]) field {
	return field{key: key, doc: doc, schema: stringOrList(),
		read: func(r *reader, v any) {
			if command, ok := r.command(v); ok {
				*at(r.cfg) = command
			}
		},
		value: func(c *graph.Config) any { return commandValue(*at(c)) },
	}
}

func commandValue(c graph.Command) any {
	if c.Argv != nil {
		return slices.Clone(c.Argv)
	}
	return orNil(c.Line)
}

// hookTimeout is the time limit of a hook, which counts only together with the hook.
func hookTimeout(key, doc string, hook at[graph.Hook]) field {
	f := millisField(key, doc, func(c *graph.Config) *time.Duration { return &hook(c).Timeout }, 1)
	value := f.value
	f.value = func(c *graph.Config) any {
		if hook(c).Command.IsZero() {
			return nil
		}
		return value(c)
	}
	return f
}

// legacy marks fields that zinit 0.3.9 has.
func legacy(fields ...field) []field {
	for i := range fields {
		fields[i].legacy = true
	}
	return fields
}

func nameField() field {
	return field{key: "name", doc: "The name; the file should be called NAME.toml", legacy: true,
		schema: map[string]any{"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": maxName},
		read: func(r *reader, v any) {
			if name, ok := r.name(v); ok {
				r.cfg.Name, r.service = name, name
			}
		},
		value: func(c *graph.Config) any { return c.Name },
	}
}

var targetSection = sync.OnceValue(func() *section {
	return &section{"target", "A target: it has no process and is reached when what it requires is there", []field{
		nameField(),
		boolField("critical", "As PID 1: failing for good is shown on the console",
			func(c *graph.Config) *bool { return &c.Critical }),
	}}
})

var dependenciesSection = sync.OnceValue(func() *section {
	return &section{"dependencies", "The services and targets this one depends on, by name", append(legacy(
		dependency("after", "Start after their start was attempted", func(c *graph.Config) *[]string { return &c.Deps.After }),
		dependency("requires", "Start when they are satisfied", func(c *graph.Config) *[]string { return &c.Deps.Requires }),
		dependency("wants", "Start them as well", func(c *graph.Config) *[]string { return &c.Deps.Wants }),
		dependency("conflicts", "Never run together with them", func(c *graph.Config) *[]string { return &c.Deps.Conflicts }),
	), dependency("binds", "As requires, and stop when they are no longer satisfied",
		func(c *graph.Config) *[]string { return &c.Deps.Binds }))}
})

func dependency(key, doc string, at at[[]string]) field { return listField(key, doc, at, CheckName) }

var lifecycleSection = sync.OnceValue(func() *section {
	return &section{"lifecycle", "Restarts, timeouts and signals", append(legacy(
		wordField("restart", "When to start it again after it ended; a oneshot: never unless set",
			func(c *graph.Config) *graph.Restart { return &c.Lifecycle.Restart }, graph.RestartWords(), graph.ParseRestart),
		millisField("restart_delay_ms", "Delay of the first restart, doubled each time; 0 = the first at once, then from 100 ms",
			func(c *graph.Config) *time.Duration { return &c.Lifecycle.RestartDelay }, 0),
		millisField("restart_delay_max_ms", "The longest delay",
			func(c *graph.Config) *time.Duration { return &c.Lifecycle.RestartDelayMax }, 1),
		intField("max_restarts", "Restarts without a stable run before it has failed for good; 0 = unlimited",
			func(c *graph.Config) *int { return &c.Lifecycle.MaxRestarts }, 0, math.MaxUint32),
		millisField("stability_period_ms", "A run of this length resets the count of restarts; 0 = every run does",
			func(c *graph.Config) *time.Duration { return &c.Lifecycle.StabilityPeriod }, 0),
		millisField("start_timeout_ms", "Time to become ready; 0 = none, as for a oneshot unless set",
			func(c *graph.Config) *time.Duration { return &c.Lifecycle.StartTimeout }, 0),
		millisField("stop_timeout_ms", "Time between the stop signal and SIGKILL",
			func(c *graph.Config) *time.Duration { return &c.Lifecycle.StopTimeout }, 1),
		stopSignalField(),
	), wordField("kill_mode", "control-group: a stop signals all processes; mixed: the main one, and SIGKILL for the rest; process: the main one",
		func(c *graph.Config) *graph.KillMode { return &c.Lifecycle.KillMode }, graph.KillModeWords(), graph.ParseKillMode),
		successCodesField(),
		wordField("on_exit", "shutdown: when this service ends for good, stop everything and exit with its code",
			func(c *graph.Config) *graph.OnExit { return &c.Lifecycle.OnExit }, graph.OnExitWords(), graph.ParseOnExit))}
})

func stopSignalField() field {
	return field{key: "stop_signal", doc: "The signal that asks it to end: a name of signal(7) or a number",
		schema: map[string]any{"type": []string{"string", "integer"}},
		read: func(r *reader, v any) {
			if s, ok := r.signal(v); ok {
				r.cfg.Lifecycle.StopSignal = s
			}
		},
		value: func(c *graph.Config) any { return c.Lifecycle.StopSignal.Name() },
	}
}

func (r *reader) signal(v any) (graph.Signal, bool) {
	if n, isInt := integer(v); isInt {
		if n < 1 || n > 64 {
			r.fail("want a signal from 1 to 64, not %d", n)
			return 0, false
		}
		return graph.Signal(n), true
	}
	text, ok := r.string(v)
	if !ok {
		return 0, false
	}
	s, err := graph.ParseSignal(text)
	if err != nil {
		r.fail("%s", err)
		return 0, false
	}
	return s, true
}

func successCodesField() field {
	return field{key: "success_codes", doc: "Exit codes that count as 0, which is always one of them",
		schema: listOf(ranged(0, 255)),
		read: func(r *reader, v any) {
			if list, ok := r.ints(v, 0, 255); ok {
				codes := []int{0}
				for _, n := range list {
					codes = append(codes, int(n))
				}
				slices.Sort(codes)
				r.cfg.Lifecycle.SuccessCodes = slices.Compact(codes)
			}
		},
		value: func(c *graph.Config) any { return intValues(c.Lifecycle.SuccessCodes) },
	}
}

func intValues[T ~int | ~uint16](list []T) any {
	values := make([]any, len(list))
	for i, n := range list {
		values[i] = int64(n)
	}
	return values
}
