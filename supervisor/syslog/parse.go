package syslog

import (
	"bytes"
	"time"

	"github.com/zinit/zinit/logring"
)

// noPriority is what a message without a priority has: user.notice (RFC 3164, section 4.3.3).
var noPriority = logring.MakePriority(1, 5)

// parse takes the priority, time and host off a message of RFC 3164 or RFC 5424, and leaves what a reader wants:
// "tag[pid]: text" as the sender wrote it, for RFC 5424 put together from its fields. What is no syslog message stays as
// it is.
func parse(b []byte, host string) (text []byte, priority logring.Priority) {
	b = bytes.TrimRight(b, "\x00\n\r ")
	rest, priority := cutPriority(b)
	if priority == 0 {
		return b, noPriority
	}
	if after, ok := bytes.CutPrefix(rest, []byte("1 ")); ok {
		if text, ok := parse5424(after); ok {
			return text, priority
		}
	}
	return parse3164(rest, host), priority
}

// cutPriority takes <0> to <191> off; 0 when there is none.
func cutPriority(b []byte) ([]byte, logring.Priority) {
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 || b[0] != '<' {
		return b, 0
	}
	n := 0
	for _, c := range b[1:end] {
		if c < '0' || c > '9' {
			return b, 0
		}
		n = 10*n + int(c-'0')
	}
	priority := logring.MakePriority(n>>3, n&7)
	if priority == 0 {
		return b, 0
	}
	return b[end+1:], priority
}

// parse3164 takes off the time, and this machine's name, which senders over a local socket may or may not write.
func parse3164(b []byte, host string) []byte {
	const stamp = len(time.Stamp)
	if len(b) > stamp && b[stamp] == ' ' {
		if _, err := time.Parse(time.Stamp, string(b[:stamp])); err == nil {
			b = b[stamp+1:]
		}
	}
	if i := bytes.IndexByte(b, ' '); i > 0 && i <= len("2006-01-02T15:04:05.000000000+00:00") && b[0] >= '0' && b[0] <= '9' {
		if _, err := time.Parse(time.RFC3339Nano, string(b[:i])); err == nil {
			b = b[i+1:]
		}
	}
	if after, ok := bytes.CutPrefix(b, []byte(host+" ")); ok && host != "" {
		b = after
	}
	return b
}

// parse5424 reads TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA [MSG].
func parse5424(b []byte) ([]byte, bool) {
	var fields [5][]byte
	for i := range fields {
		field, rest, ok := bytes.Cut(b, []byte(" "))
		if !ok || len(field) == 0 {
			return nil, false
		}
		fields[i], b = field, rest
	}
	data, message, ok := cutStructuredData(b)
	if !ok {
		return nil, false
	}
	message = bytes.TrimPrefix(message, []byte("\xef\xbb\xbf"))
	var out []byte
	if app, pid := fields[2], fields[3]; string(app) != "-" {
		out = append(out, app...)
		if string(pid) != "-" {
			out = append(append(append(out, '['), pid...), ']')
		}
		out = append(out, ": "...)
	}
	if string(data) != "-" {
		out = append(append(out, data...), ' ')
	}
	return append(out, message...), true
}

// cutStructuredData cuts b after "-" or one or more [elements], in whose values \" \\ and \] stand for themselves.
func cutStructuredData(b []byte) (data, message []byte, ok bool) {
	end := 0
	switch {
	case len(b) > 0 && b[0] == '-':
		end = 1
	default:
		for end < len(b) && b[end] == '[' {
			n := elementLen(b[end:])
			if n == 0 {
				return nil, nil, false
			}
			end += n
		}
	}
	if end == 0 || (end < len(b) && b[end] != ' ') {
		return nil, nil, false
	}
	return b[:end], b[min(len(b), end+1):], true
}

// elementLen is the length of the element that b begins with, 0 when it does not end.
func elementLen(b []byte) int {
	quoted := false
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && quoted:
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == ']' && !quoted:
			return i + 1
		}
	}
	return 0
}
