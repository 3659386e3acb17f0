package rpc

import (
	"context"

	"github.com/zinit/zinit/rpc/wire"
)

// logLinesDefault is how many lines are answered when the request does not say.
const logLinesDefault = "100"

// allLines stands for every line that is kept.
const allLines = 1<<31 - 1

// The parameters of the log methods.
var (
	logName   = param{name: "name", kind: kindString, doc: "name of a service; absent: all"}
	logStream = param{name: "stream", kind: kindString, doc: "stdout, stderr or syslog; absent: all"}
	logSince  = param{name: "since", kind: kindInt, preset: "0", doc: "not older than this time, in ms since 1970"}
	logUntil  = param{name: "until", kind: kindInt, preset: "0", doc: "not younger than this time, in ms since 1970; 0: no bound"}
	logSeq    = param{name: "since_seq", kind: kindSeq, preset: "0", doc: "from this sequence number on; one service only"}
	logGrep   = param{name: "grep", kind: kindString, doc: "only lines that match this RE2 pattern"}
	logNames  = param{name: "names", kind: kindStrings, doc: "several services"}
)

func logLinesParam(preset, doc string) param {
	return param{name: "lines", kind: kindCount, preset: preset, doc: doc}
}

func logMethods() []method {
	last := logLinesParam(logLinesDefault, "the last so many, over all services together")
	read := []param{logName, last, logStream, logSince, logUntil, logSeq, logGrep, logNames}
	return []method{
		{name: "logs.get", summary: "Captured lines as text: time in ms, [stream], content.", access: accessLogs,
			params: read, result: []string(nil),
			call: func(_ context.Context, b Backend, a *args) (any, error) {
				lines, err := readLogs(b, a)
				return answer(logTexts(lines), err)
			}},
		{name: "logs.tail", summary: "Captured lines with their members.", access: accessLogs,
			params: read, result: []wire.LogLine(nil),
			call: func(_ context.Context, b Backend, a *args) (any, error) { return answer(readLogs(b, a)) }},
		filterMethod(),
		followMethod(),
	}
}

// filterMethod is logs.filter: 0.3.9's order of parameters, and `service` as another word for `name`.
func filterMethod() method {
	name, service := logName, logName
	name.doc = "name of the service"
	service.name, service.doc = "service", "the same as name"
	lines := logLinesParam("", "the last so many; absent: all that is kept")
	return method{name: "logs.filter", summary: "As logs.get, of one service.", access: accessLogs, result: []string(nil),
		params: []param{name, logStream, logSince, lines, logUntil, logSeq, logGrep, service},
		call: func(_ context.Context, b Backend, a *args) (any, error) {
			if a.text(0) == "" && a.text(7) == "" {
				return nil, invalid("missing 'service' parameter")
			}
			lines, err := readLogs(b, a)
			return answer(logTexts(lines), err)
		}}
}

func followMethod() method {
	lines := logLinesParam("0", "first the last so many of what is kept")
	return method{name: "logs.follow", summary: "Answer, then a notification for every line, from since_seq or the last `lines` on.",
		access: accessLogs, result: wire.OK{}, note: "log", item: wire.Follow{},
		params: []param{logNames, logSeq, lines, logStream, logSince, logUntil, logGrep, logName},
		open: func(b Backend, a *args) error {
			q, err := logQuery(a)
			if err != nil {
				return err
			}
			q.Lines, q.Since = 0, 0
			_, err = b.Logs(q)
			return err
		},
		stream: func(ctx context.Context, b Backend, a *args, send func(notification) error) error {
			q, err := logQuery(a)
			if err != nil {
				return err
			}
			return b.FollowLogs(ctx, q, func(f wire.Follow) error { return send(f) })
		}}
}

// logTexts are lines that are answered as text.
type logTexts []wire.LogLine

func readLogs(b Backend, a *args) ([]wire.LogLine, error) {
	q, err := logQuery(a)
	if err != nil {
		return nil, err
	}
	return b.Logs(q)
}

// logQuery reads the parameters of a log method, whatever their order.
func logQuery(a *args) (LogQuery, error) {
	q := LogQuery{Lines: allLines}
	for i, p := range a.method.params {
		switch p.name {
		case "name", "service":
			if a.given(i) {
				q.Names = append(q.Names, a.text(i))
			}
		case "names":
			q.Names = append(q.Names, a.strings(i)...)
		case "lines":
			if a.given(i) || p.preset != "" {
				q.Lines = a.count(i)
			}
		case "stream":
			q.Stream = a.text(i)
		case "since":
			q.SinceMS = a.integer(i)
		case "until":
			q.UntilMS = a.integer(i)
		case "since_seq":
			q.Since = a.seq(i)
		case "grep":
			q.Grep = a.text(i)
		}
	}
	switch q.Stream {
	case "", "stdout", "stderr", "syslog":
		return q, nil
	}
	return q, invalid("%s: 'stream' must be stdout, stderr or syslog, not %q", a.method.name, q.Stream)
}
