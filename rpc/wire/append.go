package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// The hot answers are written by hand: status, list_full, logs. What they write equals what encoding/json would write
// from the struct tags; a test compares the two. Nothing here fails or allocates beyond the growth of the slice.

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			b = appendEscaped(b, c)
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[from:i]...)
			b = append(b, "\ufffd"...)
			from = i + 1
		}
		i += size
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// AppendStrings appends list as a JSON array; a nil one is [].
func AppendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, s)
	}
	return append(b, ']')
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

func appendIntOrNull[T int | int64](b []byte, v *T) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return appendInt(b, int64(*v))
}

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// AppendJSON appends the state as 0.3.9's clients read it: the members that a state has are always there (pid of
// starting, running and stopping; exit_code of exited, null when signalled; waiting_on of blocked; reason of failed).
func (s State) AppendJSON(b []byte) []byte {
	b = append(b, `{"state":`...)
	b = AppendString(b, s.State)
	switch {
	case s.PID != nil:
		b = append(b, `,"pid":`...)
		b = appendInt(b, int64(*s.PID))
	case s.State == "starting" || s.State == "running" || s.State == "stopping":
		b = append(b, `,"pid":0`...)
	}
	if s.State == "exited" || s.ExitCode != nil {
		b = append(b, `,"exit_code":`...)
		b = appendIntOrNull(b, s.ExitCode)
	}
	if s.State == "blocked" || len(s.WaitingOn) > 0 {
		b = append(b, `,"waiting_on":`...)
		b = AppendStrings(b, s.WaitingOn)
	}
	if len(s.ConflictsWith) > 0 {
		b = append(b, `,"conflicts_with":`...)
		b = AppendStrings(b, s.ConflictsWith)
	}
	if s.Reason != nil {
		b = append(b, `,"reason":`...)
		b = s.Reason.AppendJSON(b)
	} else if s.State == "failed" {
		b = append(b, `,"reason":{"type":"spawn_error","message":""}`...)
	}
	return append(b, '}')
}

// AppendJSON appends the reason. The member that 0.3.9's clients need for the type is always there.
func (r Reason) AppendJSON(b []byte) []byte {
	b = append(b, `{"type":`...)
	b = AppendString(b, r.Type)
	b = appendNumber(b, "code", r.Code, r.Type == "exit_code")
	b = appendNumber(b, "signal", r.Signal, r.Type == "signal")
	b = appendNumber(b, "attempts", r.Attempts, r.Type == "health_check_failed")
	b = appendText(b, "service", r.Service, r.Type == "dependency_failed")
	b = appendText(b, "message", r.Message, r.Type == "spawn_error")
	b = appendText(b, "dependency", r.Dependency, r.Type == "missing_dependency")
	b = appendText(b, "kind", r.Kind, false)
	b = appendText(b, "detail", r.Detail, false)
	return append(b, '}')
}

// MarshalJSON is AppendJSON.
func (r Reason) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

func appendNumber(b []byte, key string, v *int, needed bool) []byte {
	if v == nil && !needed {
		return b
	}
	n := 0
	if v != nil {
		n = *v
	}
	return appendInt(appendKey(b, key), int64(n))
}

func appendText(b []byte, key, v string, needed bool) []byte {
	if v == "" && !needed {
		return b
	}
	return AppendString(appendKey(b, key), v)
}

// appendKey appends ,"key": with a key that needs no escapes.
func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// AppendJSON appends the row.
func (l Listed) AppendJSON(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = AppendString(b, l.Name)
	b = append(b, `,"state":`...)
	b = l.State.AppendJSON(b)
	b = append(b, `,"is_target":`...)
	b = appendBool(b, l.IsTarget)
	b = append(b, `,"uptime_ms":`...)
	b = appendIntOrNull(b, l.UptimeMS)
	b = append(b, `,"restarts":`...)
	b = appendInt(b, int64(l.Restarts))
	b = append(b, `,"next_restart_ms":`...)
	b = appendIntOrNull(b, l.NextRestartMS)
	b = AppendString(appendKey(b, "class"), l.Class)
	b = AppendString(appendKey(b, "wanted"), l.Wanted)
	b = AppendString(appendKey(b, "text"), l.Text)
	if l.MemoryBytes != nil {
		b = strconv.AppendUint(appendKey(b, "memory_bytes"), *l.MemoryBytes, 10)
	}
	if l.CPUPercent != nil {
		b = appendFloat(appendKey(b, "cpu_percent"), *l.CPUPercent)
	}
	return append(b, '}')
}

// AppendJSON appends the short status.
func (s Status) AppendJSON(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = AppendString(b, s.Name)
	b = AppendString(appendKey(b, "state"), s.State)
	b = appendInt(appendKey(b, "pid"), int64(s.PID))
	b = appendNumber(b, "exit_code", s.ExitCode, false)
	b = appendText(b, "error", s.Error, false)
	return append(b, '}')
}

// AppendJSON appends the line.
func (l LogLine) AppendJSON(b []byte) []byte {
	b = append(b, `{"content":`...)
	b = AppendString(b, l.Content)
	b = AppendString(appendKey(b, "service"), l.Service)
	b = AppendString(appendKey(b, "stream"), l.Stream)
	b = appendInt(appendKey(b, "timestamp_ms"), l.TimestampMS)
	b = strconv.AppendUint(appendKey(b, "seq"), l.Seq, 10)
	b = appendInt(appendKey(b, "pid"), int64(l.PID))
	if l.Continued {
		b = append(b, `,"continued":true`...)
	}
	b = appendText(b, "severity", l.Severity, false)
	b = appendText(b, "facility", l.Facility, false)
	return append(b, '}')
}

// AppendText appends the line as logs.get gives it: "1795503119523 [stdout] hello", as a JSON string.
func (l LogLine) AppendText(b []byte) []byte {
	b = append(b, '"')
	b = appendInt(b, l.TimestampMS)
	b = append(b, ' ', '[')
	b = append(b, l.Stream...)
	b = append(b, ']', ' ')
	mark := len(b)
	b = AppendString(b, l.Content)
	return append(b[:mark], b[mark+1:]...) // without its opening quote
}

// AppendJSON appends the notification's parameters.
func (f Follow) AppendJSON(b []byte) []byte {
	b = append(b, `{"lines":[`...)
	for i, line := range f.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = line.AppendJSON(b)
	}
	b = append(b, ']')
	b = strconv.AppendUint(appendKey(b, "missed"), f.Missed, 10)
	b = appendText(b, "service", f.Service, false)
	return append(b, '}')
}

// AppendJSON appends the metrics.
func (m Metrics) AppendJSON(b []byte) []byte {
	b = AppendString(append(b, `{"content_type":`...), m.ContentType)
	return append(AppendString(appendKey(b, "text"), m.Text), '}')
}

// AppendJSON appends the answer of a plain change.
func (o OK) AppendJSON(b []byte) []byte {
	b = append(b, `{"ok":`...)
	b = appendBool(b, o.OK)
	if o.Pending {
		b = append(b, `,"pending":true`...)
	}
	if o.State != nil {
		b = o.State.AppendJSON(appendKey(b, "state"))
	}
	b = appendText(b, "outcome", o.Outcome, false)
	b = appendText(b, "text", o.Text, false)
	if o.KilledAfterMS != 0 {
		b = strconv.AppendInt(appendKey(b, "killed_after_ms"), o.KilledAfterMS, 10)
	}
	b = appendText(b, "changed_on_disk", o.ChangedOnDisk, false)
	for i, p := range o.LeftRunning {
		if i == 0 {
			b = append(appendKey(b, "left_running"), '[')
		} else {
			b = append(b, ',')
		}
		b = appendText(appendInt(append(b, `{"pid":`...), int64(p.PID)), "name", p.Name, true)
		b = append(b, '}')
		if i == len(o.LeftRunning)-1 {
			b = append(b, ']')
		}
	}
	b = o.AppendMembers(b)
	return append(b, '}')
}

// AppendMembers appends what is there, after a comma.
func (r Removed) AppendMembers(b []byte) []byte {
	if len(r.Deleted) > 0 {
		b = AppendStrings(appendKey(b, "deleted_files"), r.Deleted)
	}
	if len(r.Kept) > 0 {
		b = AppendStrings(appendKey(b, "kept_files"), r.Kept)
	}
	return b
}

var _ json.Marshaler = State{}
