package confdir

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
)

// limitNames are the resources of getrlimit(2), without RLIMIT_.
var limitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
	"rtprio", "rttime", "sigpending", "stack"}

// capabilityNames are those of capabilities(7), without CAP_, by number.
var capabilityNames = []string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE",
	"SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN",
	"SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"}

const infinity = math.MaxUint64

func limitsField() field {
	return field{key: "limits",
		doc:    `Resource limits of getrlimit(2): nofile = "SOFT:HARD", core = 0, stack = "infinity"`,
		schema: limitsSchema(),
		read: func(r *reader, v any) {
			whole := r.key
			var limits []graph.Limit
			if r.each(v, "a table of limits", func(name string, value any) {
				if !slices.Contains(limitNames, name) {
					r.unknown(whole, name, limitNames)
					return
				}
				soft, hard, err := parseLimit(value)
				if err != nil {
					r.fail("%s", err)
					return
				}
				limits = append(limits, graph.Limit{Name: name, Soft: soft, Hard: hard})
			}) {
				r.cfg.Identity.Limits = limits
			}
		},
		value: func(c *graph.Config) any {
			if len(c.Identity.Limits) == 0 {
				return nil
			}
			t := table{}
			sorted := slices.Clone(c.Identity.Limits)
			slices.SortFunc(sorted, func(a, b graph.Limit) int { return cmp.Compare(a.Name, b.Name) })
			for _, limit := range sorted {
				t = append(t, pair{limit.Name, limitValue(limit)})
			}
			return t
		},
	}
}

func limitsSchema() map[string]any {
	properties := map[string]any{}
	for _, name := range limitNames {
		properties[name] = map[string]any{"type": []string{"integer", "string"}}
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// parseLimit reads N, "N", "SOFT:HARD", each N also "infinity" or "unlimited".
func parseLimit(v any) (soft, hard uint64, err error) {
	if n, isInt := integer(v); isInt && n >= 0 {
		return uint64(n), uint64(n), nil
	}
	bad := errors.New(`want a number, "SOFT:HARD" or "infinity", not ` + describe(v))
	text, isString := v.(string)
	if !isString {
		return 0, 0, bad
	}
	first, second, both := strings.Cut(text, ":")
	if !both {
		second = first
	}
	soft, okSoft := parseLimitWord(first)
	hard, okHard := parseLimitWord(second)
	switch {
	case !okSoft || !okHard:
		return 0, 0, bad
	case soft > hard:
		return 0, 0, errors.New("the soft limit may not be above the hard one in " + describe(v))
	}
	return soft, hard, nil
}

func parseLimitWord(s string) (uint64, bool) {
	if s == "infinity" || s == "unlimited" {
		return infinity, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func limitValue(l graph.Limit) any {
	word := func(n uint64) string {
		if n == infinity {
			return "infinity"
		}
		return strconv.FormatUint(n, 10)
	}
	switch {
	case l.Soft != l.Hard:
		return word(l.Soft) + ":" + word(l.Hard)
	case l.Soft <= math.MaxInt64:
		return int64(l.Soft)
	}
	return word(l.Soft)
}

func capabilitiesField() field {
	return field{key: "capabilities",
		doc: "Capabilities: bounding = those it may ever have, ambient = those it has",
		schema: map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
			"bounding": listOf(typed("string")), "ambient": listOf(typed("string"))}},
		read: func(r *reader, v any) {
			whole := r.key
			c := &graph.Capabilities{}
			r.each(v, "a table with bounding and ambient", func(name string, value any) {
				switch name {
				case "bounding":
					if c.Bounding = r.capabilities(value); c.Bounding == nil {
						c.Bounding = []string{}
					}
				case "ambient":
					c.Ambient = r.capabilities(value)
				default:
					r.unknown(whole, name, []string{"bounding", "ambient"})
				}
			})
			if c.Bounding != nil || c.Ambient != nil {
				r.cfg.Identity.Capabilities = c
			}
		},
		value: func(c *graph.Config) any {
			caps := c.Identity.Capabilities
			if caps == nil {
				return nil
			}
			t := table{}
			if caps.Bounding != nil {
				t = append(t, pair{"bounding", slices.Clone(caps.Bounding)})
			}
			if len(caps.Ambient) > 0 {
				t = append(t, pair{"ambient", slices.Clone(caps.Ambient)})
			}
			return t
		},
	}
}

// capabilities reads names, with or without CAP_, in any case.
func (r *reader) capabilities(v any) []string {
	names, _ := r.strings(v, func(s string) error {
		name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
		if slices.Contains(capabilityNames, name) {
			return nil
		}
		text := "unknown capability " + strconv.Quote(s)
		if near := graph.Nearest(name, slices.Values(capabilityNames)); near != "" {
			text += "; did you mean CAP_" + near + "?"
		}
		return errors.New(text)
	})
	for i, s := range names {
		names[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	}
	return names
}
