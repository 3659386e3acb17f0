package answer

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
)

// Names under which lines are kept that no service wrote.
const (
	ownLogName = "zinit"
	syslogName = "syslog"
)

var streamWords = [...]string{logring.Stdout: "stdout", logring.Stderr: "stderr", logring.Syslog: "syslog"}

// query turns what a client asks into what the rings understand.
func (s *Reader) query(q wire.LogQuery) (logring.Query, error) {
	out := logring.Query{Lines: q.Lines, From: q.Since}
	out.SinceMS, out.UntilMS = q.SinceMS, q.UntilMS
	if q.Stream != "" {
		i := slices.Index(streamWords[:], q.Stream)
		if i < 0 {
			return out, wire.NewError(wire.CodeParams, fmt.Sprintf("stream %q: want stdout, stderr or syslog", q.Stream))
		}
		out.Streams = 1 << i
	}
	if q.Grep != "" {
		re, err := regexp.Compile(q.Grep)
		if err != nil {
			return out, wire.NewError(wire.CodeParams, fmt.Sprintf("grep %q is no regular expression: %v", q.Grep, err))
		}
		out.Match = re.Match
	}
	if len(q.Names) > 0 {
		out.Names = q.Names
		return out, s.rejectUnknown(q.Names)
	}
	return out, nil
}

// wireLine turns a record into what clients get; bytes that are no UTF-8 are replaced.
func wireLine(service string, r *logring.Record) wire.LogLine {
	return wire.LogLine{Content: strings.ToValidUTF8(string(r.Text), "\uFFFD"), Service: service,
		Stream: streamWords[min(int(r.Stream), len(streamWords)-1)], TimestampMS: r.TimeMS, Seq: r.Seq, PID: int(r.PID),
		Continued: r.Continued, Severity: r.Priority.Severity(), Facility: r.Priority.Facility()}
}

func wireLines(lines []logring.Line) []wire.LogLine {
	out := make([]wire.LogLine, 0, len(lines))
	for i := range lines {
		out = append(out, wireLine(lines[i].Service, &lines[i].Record))
	}
	return out
}

// Logs answers from the rings: the last lines over all names together, merged by time.
func (s *Reader) Logs(q wire.LogQuery) ([]wire.LogLine, error) {
	query, err := s.query(q)
	if err != nil {
		return nil, err
	}
	return wireLines(s.from.Arena.Query(query)), nil
}

// lastLines is what status shows.
func (s *Reader) lastLines(name string, n int) []wire.LogLine {
	return wireLines(s.from.Arena.Query(logring.Query{Names: []string{name}, Lines: n}))
}

// FollowLogs sends every line from q on: first what is kept and asked for, then what comes.
func (s *Reader) FollowLogs(ctx context.Context, q wire.LogQuery, send func(wire.Follow) error) error {
	query, err := s.query(q)
	if err != nil {
		return err
	}
	from := map[string]uint64{}
	if q.Since > 0 && len(q.Names) == 1 {
		from[q.Names[0]] = q.Since
	}
	// The follower is made first and remembers where each ring ends: what the query returns beyond that is sent by it.
	f := s.from.Arena.Follow(query.Names, from)
	defer f.Close()
	if len(from) == 0 {
		backlog := s.from.Arena.Query(query)
		backlog = slices.DeleteFunc(backlog, func(l logring.Line) bool { return l.Seq >= f.Position(l.Service) })
		if err := send(wire.Follow{Lines: wireLines(backlog)}); err != nil {
			return err
		}
	}
	for {
		if err := sendNew(f, &query.Filter, send); err != nil {
			return err
		}
		select {
		case <-f.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.from.Done:
			return ErrStopping()
		}
	}
}

// sendNew sends what has come since the last look.
func sendNew(f *logring.Follower, filter *logring.Filter, send func(wire.Follow) error) error {
	for {
		b, ok := f.Next(readBatch)
		if !ok {
			return nil
		}
		out := wire.Follow{Lines: []wire.LogLine{}, Missed: b.Missed}
		if b.Missed > 0 {
			out.Service = b.Service
		}
		for i := range b.Records {
			if filter.Wants(&b.Records[i]) {
				out.Lines = append(out.Lines, wireLine(b.Service, &b.Records[i]))
			}
		}
		if len(out.Lines) > 0 || out.Missed > 0 {
			if err := send(out); err != nil {
				return err
			}
		}
	}
}

// FollowEvents sends every transition from a number on.
func (s *Reader) FollowEvents(ctx context.Context, since uint64, send func(wire.Event) error) error {
	next := since
	if next == 0 {
		next = s.from.Events.End()
	}
	for {
		evs, after, _, more := s.from.Events.Since(next, readBatch)
		for _, e := range evs {
			if err := send(e); err != nil {
				return err
			}
		}
		next = after
		if len(evs) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.from.Done:
			return ErrStopping()
		}
	}
}
