package confdir

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/zinit/zinit/graph"
)

// Settings are the server's own, with their defaults filled in.
type Settings struct {
	SocketMode      uint32 // permission bits of the control socket
	SocketGroup     string // group of the control socket, name or number; "" = the server's own
	Forward         graph.Forward
	Stdout          string        // how services' output goes to the server's stdout, one of StdoutFormats; "" = not
	BufferLines     int           // default of a service's buffer_lines
	BufferBytes     int           // default of a service's buffer_bytes
	SyslogMaxBytes  int           // default of a service's syslog_max_bytes
	TotalBytes      int64         // of all buffers together
	ShutdownTimeout time.Duration // 0 = as long as the services' own timeouts allow
	MaxServices     int           // 0 = no bound
	MaxConnections  int
	MaxRequestBytes int
	JobsAtOnce      int // how many jobs run at the same time because they were due, 0 = no bound
}

// DefaultSettings returns the settings without a file.
func DefaultSettings() *Settings {
	return &Settings{SocketMode: 0o660, BufferLines: defaultBufferLines, BufferBytes: defaultBufferBytes,
		SyslogMaxBytes: graph.DefaultSyslogBytes, TotalBytes: defaultTotalBytes, MaxConnections: 1024, MaxRequestBytes: 1 << 20}
}

// SettingsFile returns where the settings of a configuration directory stand: zinit.toml in a root, else beside the
// directory.
func SettingsFile(dir string) string {
	if isRoot(dir) {
		return filepath.Join(dir, ProjectFile)
	}
	return filepath.Join(filepath.Dir(absolute(dir)), ProjectFile)
}

// ProjectFile is the name of the file with the settings of the server, and in a project with its services.
const ProjectFile = "zinit.toml"

// StdoutFormats are the ways in which the output of services goes to the server's stdout: the line with the service's name
// before it, alone, or as JSON.
func StdoutFormats() []string { return []string{"prefix", "plain", "json"} }

type setting struct {
	key    string
	schema map[string]any
	read   func(r *reader, s *Settings, v any)
}

func settingInt[T ~int | ~int64](key string, low, high int64, at func(*Settings) *T) setting {
	return setting{key, ranged(low, high), func(r *reader, s *Settings, v any) {
		if n, ok := r.int(v, low, high); ok {
			*at(s) = T(n)
		}
	}}
}

var settingKeys = []setting{
	{"socket.mode", map[string]any{"type": []string{"string", "integer"}}, func(r *reader, s *Settings, v any) {
		if mode, ok := r.mode(v); ok {
			s.SocketMode = mode
		}
	}},
	{"socket.group", map[string]any{"type": []string{"string", "integer"}}, func(r *reader, s *Settings, v any) {
		if group, ok := r.account(v); ok {
			s.SocketGroup = group
		}
	}},
	{"logging.stdout", map[string]any{"enum": []any{true, false, "prefix", "plain", "json"}}, func(r *reader, s *Settings, v any) {
		word, isWord := v.(string)
		switch on, isBool := v.(bool); {
		case isBool && on:
			s.Stdout = StdoutFormats()[0]
		case isBool:
			s.Stdout = ""
		case isWord && slices.Contains(StdoutFormats(), word):
			s.Stdout = word
		default:
			r.fail(`want true, false, "prefix", "plain" or "json", not %s`, describe(v))
		}
	}},
	{"logging.forward", map[string]any{"type": []string{"string", "boolean"}}, func(r *reader, s *Settings, v any) { s.Forward = r.forward(v) }},
	settingInt("logging.buffer_lines", 1, math.MaxInt32, func(s *Settings) *int { return &s.BufferLines }),
	settingInt("logging.buffer_bytes", 1, math.MaxInt32, func(s *Settings) *int { return &s.BufferBytes }),
	settingInt("logging.syslog_max_bytes", graph.MinSyslogBytes, graph.MaxSyslogBytes,
		func(s *Settings) *int { return &s.SyslogMaxBytes }),
	settingInt("logging.total_bytes", 1<<20, 1<<30, func(s *Settings) *int64 { return &s.TotalBytes }),
	{"shutdown.timeout_ms", ranged(1, maxMillis), func(r *reader, s *Settings, v any) {
		if d, ok := r.millis(v, 1); ok {
			s.ShutdownTimeout = d
		}
	}},
	settingInt("limits.services", 1, math.MaxInt32, func(s *Settings) *int { return &s.MaxServices }),
	settingInt("limits.connections", 1, math.MaxInt32, func(s *Settings) *int { return &s.MaxConnections }),
	settingInt("jobs.concurrency", 0, math.MaxInt32, func(s *Settings) *int { return &s.JobsAtOnce }),
	settingInt("limits.request_bytes", 4096, math.MaxInt32, func(s *Settings) *int { return &s.MaxRequestBytes }),
}

var settingSections = []string{"socket", "logging", "shutdown", "limits", "jobs"}

// LoadSettings reads the settings file. What is wrong in it keeps its default and is reported; a file that does not
// exist is no problem.
func LoadSettings(path string, o Options) (*Settings, []graph.Problem) {
	settings := DefaultSettings()
	data, problem := readFile(path, trustOf(o))
	if problem != nil {
		if errors.Is(problem.err, fs.ErrNotExist) {
			return settings, nil
		}
		if problem.severity == graph.SeverityError {
			return settings, []graph.Problem{{File: path, Severity: problem.severity, Message: problem.err.Error()}}
		}
	}
	r := &reader{file: path, lenient: o.Lenient || o.UnknownWarns}
	if problem != nil {
		r.report(problem.severity, "", "", problem.err.Error())
	}
	data = bytes.TrimPrefix(data, byteOrderMark)
	if len(bytes.TrimSpace(data)) == 0 {
		return settings, r.problems
	}
	if problem := unreadable(path, data); problem != nil {
		return settings, append(r.problems, *problem)
	}
	document := map[string]any{}
	if err := toml.Unmarshal(data, &document); err != nil {
		if o.Dirs != nil && len(guessNames(data)) > 0 {
			return settings, r.problems // Load tells it
		}
		problem := syntaxProblem(path, data, "", err)
		problem.Service = ""
		return settings, append(r.problems, problem)
	}
	r.projectDocument(document, o)
	r.settingsDocument(settings, document)
	locate(data, r.problems)
	return settings, r.problems
}

// projectDocument takes out what defines services: Load reads it, where the directory of the file is one of those that are
// loaded.
func (r *reader) projectDocument(document map[string]any, o Options) {
	kind := projectServices
	if document[kind] == nil {
		kind = projectTargets
	}
	if document[kind] == nil {
		for _, key := range projectKeys {
			if document[key] != nil {
				r.unknownText(key, key+" counts for the [services.NAME] of this file, and it has none")
				delete(document, key)
			}
		}
		return
	}
	dir := filepath.Dir(absolute(r.file))
	if o.Dirs != nil && !slices.ContainsFunc(o.Dirs, func(d string) bool { return absolute(d) == dir }) {
		r.warn(kind, "the "+kind+" of this file are not loaded: that needs --config "+dir)
	}
	for _, key := range projectKeys {
		delete(document, key)
	}
}

func (r *reader) settingsDocument(settings *Settings, document map[string]any) {
	for _, name := range sortedKeys(document) {
		values, isTable := document[name].(map[string]any)
		r.key = name
		switch {
		case !slices.Contains(settingSections, name):
			text := "unknown section [" + name + "]"
			if near := graph.Nearest(name, slices.Values(settingSections)); near != "" {
				text += "; did you mean [" + near + "]?"
			}
			r.unknownText(name, text)
		case !isTable:
			r.fail("want a [%s] section, not %s", name, describe(document[name]))
		default:
			r.settingValues(settings, name, values)
		}
	}
}

func (r *reader) settingValues(settings *Settings, section string, values map[string]any) {
	var known []string
	for _, s := range settingKeys {
		if key, ok := strings.CutPrefix(s.key, section+"."); ok {
			known = append(known, key)
			if v, there := values[key]; there {
				r.key = s.key
				s.read(r, settings, v)
			}
		}
	}
	for _, key := range sortedKeys(values) {
		if !slices.Contains(known, key) {
			r.unknown(section, key, known)
		}
	}
}

// mode reads permission bits: an octal string such as "0660", or a number.
func (r *reader) mode(v any) (uint32, bool) {
	n, ok := integer(v)
	if s, isString := v.(string); isString {
		parsed, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
		n, ok = int64(parsed), err == nil
	}
	if !ok || n < 0 || n > int64(os.ModePerm) {
		r.fail(`want an octal string such as "0660", not %s`, describe(v))
		return 0, false
	}
	return uint32(n), true
}
