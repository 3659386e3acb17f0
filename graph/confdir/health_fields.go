package confdir

import (
	"errors"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zinit/zinit/graph"
)

var healthSection = sync.OnceValue(func() *section {
	return &section{"health", "A health check: before it is ready and while it runs", append(legacy(
		wordField("type", "tcp: connect, http: a request, exec: a command that exits 0",
			func(c *graph.Config) *graph.HealthType { return &c.Health.Type }, graph.HealthWords(), graph.ParseHealthType),
		field{key: "target", doc: "HOST:PORT, a URL, or a command", schema: stringOrList(),
			read: func(r *reader, v any) {
				if command, ok := r.command(v); ok {
					r.cfg.Health.Exec = command // sorted out by type in checkHealth, when the type is known
				}
			},
			value: func(c *graph.Config) any {
				if c.Health.Type == graph.HealthExec {
					return commandValue(c.Health.Exec)
				}
				return c.Health.Target
			}},
		millisField("interval_ms", "Time between checks while it runs",
			func(c *graph.Config) *time.Duration { return &c.Health.Interval }, 1),
		millisField("timeout_ms", "Time limit of one check",
			func(c *graph.Config) *time.Duration { return &c.Health.Timeout }, 1),
		intField("retries", "Failures in a row that count as a failure of the service",
			func(c *graph.Config) *int { return &c.Health.Retries }, 1, math.MaxInt32),
		millisField("start_period_ms", "Failures so soon after the start do not count",
			func(c *graph.Config) *time.Duration { return &c.Health.StartPeriod }, 0),
	), wordField("method", "http: the request; HEAD asks for no page",
		func(c *graph.Config) *graph.HealthMethod { return &c.Health.Method }, graph.MethodWords(),
		graph.ParseHealthMethod), expectStatusField(),
		boolField("tls_verify", "https: refuse certificates that cannot be verified",
			func(c *graph.Config) *bool { return &c.Health.TLSVerify }))}
})

func expectStatusField() field {
	return field{key: "expect_status",
		doc:    `http: the answers that are good: 200, "2xx", "200-299", or a list`,
		schema: map[string]any{"type": []string{"integer", "string", "array"}},
		read: func(r *reader, v any) {
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			if len(list) == 0 {
				r.fail("may not be empty")
			}
			var ranges []graph.StatusRange
			for i, element := range list {
				s, err := parseStatus(element)
				if err != nil && isList {
					r.failAt(i, "%s", err)
				} else if err != nil {
					r.fail("%s", err)
				}
				ranges = append(ranges, s)
			}
			r.cfg.Health.ExpectStatus = ranges
		},
		value: func(c *graph.Config) any {
			if c.Health.Type != graph.HealthHTTP {
				return nil
			}
			if len(c.Health.ExpectStatus) == 1 {
				return statusValue(c.Health.ExpectStatus[0])
			}
			list := []any{}
			for _, s := range c.Health.ExpectStatus {
				list = append(list, statusValue(s))
			}
			return list
		},
	}
}

// parseStatus reads 200, "200", "2xx" or "200-299".
func parseStatus(v any) (graph.StatusRange, error) {
	bad := errors.New(`want a status from 100 to 599, "2xx" or "200-299", not ` + describe(v))
	n, isInt := integer(v)
	text, isString := v.(string)
	var low, high int
	switch {
	case isInt:
		low, high = int(n), int(n)
		if n < 0 || n > 999 {
			return graph.StatusRange{}, bad
		}
	case !isString:
		return graph.StatusRange{}, bad
	case len(text) == 3 && strings.HasSuffix(text, "xx"):
		low = int(text[0]-'0') * 100
		high = low + 99
	default:
		first, second, both := strings.Cut(text, "-")
		if !both {
			second = first
		}
		var errLow, errHigh error
		low, errLow = strconv.Atoi(first)
		high, errHigh = strconv.Atoi(second)
		if errLow != nil || errHigh != nil {
			return graph.StatusRange{}, bad
		}
	}
	if low < 100 || high > 599 || low > high {
		return graph.StatusRange{}, bad
	}
	return graph.StatusRange{Low: low, High: high}, nil
}

func statusValue(s graph.StatusRange) any {
	switch {
	case s.Low == s.High:
		return int64(s.Low)
	case s.Low%100 == 0 && s.High == s.Low+99:
		return strconv.Itoa(s.Low/100) + "xx"
	}
	return strconv.Itoa(s.Low) + "-" + strconv.Itoa(s.High)
}

// checkHealth sorts out the target by type and checks it.
func (r *reader) checkHealth() {
	h := r.cfg.Health
	r.key = "health"
	if !r.has("health.type") {
		r.fail(`want type = "tcp", "http" or "exec"`)
		return
	}
	if !r.has("health.target") {
		r.fail("want a target to check")
		return
	}
	r.checkUnused(h)
	if h.Exec.IsZero() {
		return // already reported
	}
	if h.Type == graph.HealthExec {
		h.Target = commandText(h.Exec)
		return
	}
	r.key = "health.target"
	target := h.Exec.Line
	h.Exec, h.Target = graph.Command{}, target
	if target == "" {
		r.fail("want a string for type = %q", h.Type)
		return
	}
	check := checkAddress
	if h.Type == graph.HealthHTTP {
		check = checkURL
	}
	if err := check(target); err != nil {
		r.fail("%s", err)
	}
}

// checkUnused warns of keys that mean nothing for the type, and drops them.
func (r *reader) checkUnused(h *graph.Health) {
	if h.Type == graph.HealthHTTP {
		return
	}
	for _, key := range []string{"health.method", "health.expect_status", "health.tls_verify"} {
		if r.has(key) {
			r.warn(key, key+` has no effect: it is for type = "http"`)
		}
	}
	h.Method, h.ExpectStatus, h.TLSVerify = graph.MethodGet, nil, true
}

func checkAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if n, atoi := strconv.Atoi(port); err != nil || atoi != nil || n < 1 || n > 65535 {
		return errors.New("want HOST:PORT with a port from 1 to 65535, not " + strconv.Quote(s))
	}
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("want a URL such as http://127.0.0.1:8080/health, not " + strconv.Quote(s))
	}
	return nil
}

var loggingSection = sync.OnceValue(func() *section {
	return &section{"logging", "Where the output goes", []field{
		legacy(intField("buffer_lines", "Lines kept in memory", func(c *graph.Config) *int { return &c.Logging.BufferLines },
			1, math.MaxInt32))[0],
		intField("buffer_bytes", "Bytes kept in memory",
			func(c *graph.Config) *int { return &c.Logging.BufferBytes }, 1, math.MaxInt32),
		legacy(stringField("file", "File to which every line is appended",
			func(c *graph.Config) *string { return &c.Logging.File },
			(*reader).path))[0],
		wordField("file_format", "Lines of the file: plain, with the time before them, or as JSON",
			func(c *graph.Config) *graph.FileFormat { return &c.Logging.FileFormat }, graph.FileFormatWords(), graph.ParseFileFormat),
		intField("rotate_bytes", "The file is rotated at this size",
			func(c *graph.Config) *int64 { return &c.Logging.RotateBytes },
			1, math.MaxInt64),
		intField("rotate_keep", "Rotated files that are kept",
			func(c *graph.Config) *int { return &c.Logging.RotateKeep }, 0, 10_000),
		boolField("rotate_gzip", "Compress rotated files", func(c *graph.Config) *bool { return &c.Logging.RotateGzip }),
		forwardField(),
		intField("syslog_max_bytes", "Longest syslog message of forward, header included; longer lines go in several",
			func(c *graph.Config) *int { return &c.Logging.SyslogMaxBytes }, graph.MinSyslogBytes, graph.MaxSyslogBytes),
	}}
})

func forwardField() field {
	return field{key: "forward",
		doc:    "Where else lines go: a URL, true for the server's default, false for nowhere",
		legacy: true, schema: map[string]any{"type": []string{"string", "boolean"}},
		read: func(r *reader, v any) { r.cfg.Logging.Forward = r.forward(v) },
		value: func(c *graph.Config) any {
			switch f := c.Logging.Forward; {
			case !f.Set:
				return nil
			case f.URL != "":
				return f.URL
			default:
				return f.On
			}
		},
	}
}

var forwardSchemes = []string{"http", "https", "tcp", "unix", "syslog+tcp", "syslog+udp", "syslog+unix"}

// forward reads where lines go. zinit 0.3.9 took any string and did nothing with it, so that one that cannot be used
// is a warning.
func (r *reader) forward(v any) graph.Forward {
	if on, ok := v.(bool); ok {
		return graph.Forward{Set: true, On: on}
	}
	s, ok := v.(string)
	if !ok {
		r.fail("want a URL, true or false, not %s", describe(v))
		return graph.Forward{}
	}
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(forwardSchemes, u.Scheme) || u.Host == "" && u.Path == "" || strings.ContainsRune(s, 0) {
		r.warn(r.key, r.key+": "+strconv.Quote(s)+" is no URL with one of the schemes "+strings.Join(forwardSchemes, ", ")+
			": nothing is forwarded there")
		return graph.Forward{}
	}
	return graph.Forward{Set: true, On: true, URL: s}
}
