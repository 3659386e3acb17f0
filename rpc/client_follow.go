package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

// errStreamOver marks an orderly end of a stream by the server (it is shutting down).
var errStreamOver = errors.New("the server ended the stream")

// FollowLogs calls fn for every captured line from q on, in order, as it comes: first the last q.Lines of what is kept
// (or everything from q.Since or q.SinceMS on), then what is written from now on. It returns the error of ctx when that
// ends, that of fn when it returns one, or the server's or the connection's. With WithReconnect it survives a
// restart of the server without a line lost or doubled; what was overwritten while there was no connection is told as
// Missed, where q has no filter that leaves lines out.
func (c *Client) FollowLogs(ctx context.Context, q LogQuery, fn func(wire.Follow) error) error {
	last := map[string]delivered{} // by service
	began, newest := time.Now().UnixMilli(), int64(0)
	deliver := func(raw json.RawMessage) error {
		var follow wire.Follow
		if err := json.Unmarshal(raw, &follow); err != nil {
			return fmt.Errorf("cannot read a line of logs.follow: %w", err)
		}
		if before, seen := last[follow.Service]; seen && follow.Missed > 0 {
			before.seq += follow.Missed
			last[follow.Service] = before
		}
		var gaps []wire.Follow
		follow.Lines, gaps = dropSeen(follow.Lines, last)
		if q.Stream != "" || q.Grep != "" {
			gaps = nil // who knows what was in them
		}
		for _, gap := range gaps {
			if err := fn(gap); err != nil {
				return err
			}
		}
		for _, line := range follow.Lines {
			newest = max(newest, line.TimestampMS)
		}
		if len(follow.Lines) == 0 && follow.Missed == 0 {
			return nil
		}
		return fn(follow)
	}
	resume := func() any {
		if len(last) == 0 {
			return paramsOf(q)
		}
		again := LogQuery{Names: q.Names, Stream: q.Stream, Grep: q.Grep, Lines: allLines, UntilMS: q.UntilMS}
		again.SinceMS = resumeAt(newest, began)
		return paramsOf(again)
	}
	return c.follow(ctx, "logs.follow", resume, deliver)
}

// followSlack is how far apart the lines of several services may come out of the order of their times, in ms.
const followSlack = 2000

// resumeAt is the time from which on a stream asks for lines again; what it has seen already is dropped by its number.
func resumeAt(newest, began int64) int64 {
	if newest < began {
		return newest
	}
	return max(began, newest-followSlack)
}

// delivered is the last line of one service that was delivered.
type delivered struct {
	seq uint64
	ms  int64
}

// dropSeen removes lines delivered before a reconnection and notes the others. A lower number with a later time is a new
// line: a server without a keeper begins to count anew. Numbers that are passed over are gaps.
func dropSeen(lines []wire.LogLine, last map[string]delivered) (kept []wire.LogLine, gaps []wire.Follow) {
	kept = lines[:0]
	for _, line := range lines {
		before, seen := last[line.Service]
		if seen && line.Seq <= before.seq && line.TimestampMS <= before.ms {
			continue
		}
		if seen && line.Seq > before.seq+1 {
			gaps = append(gaps, wire.Follow{Lines: []wire.LogLine{}, Service: line.Service, Missed: line.Seq - before.seq - 1})
		}
		last[line.Service] = delivered{line.Seq, line.TimestampMS}
		kept = append(kept, line)
	}
	return kept, gaps
}

// FollowEvents calls fn for every transition with a sequence number from since on (0 = only new ones). It ends as
// FollowLogs does.
func (c *Client) FollowEvents(ctx context.Context, since uint64, fn func(wire.Event) error) error {
	deliver := func(raw json.RawMessage) error {
		var event wire.Event
		if err := json.Unmarshal(raw, &event); err != nil {
			return fmt.Errorf("cannot read an event: %w", err)
		}
		since = event.Seq + 1
		return fn(event)
	}
	return c.follow(ctx, "events.subscribe", func() any { return map[string]uint64{"since": since} }, deliver)
}

// follow runs one stream over connections of its own until it ends.
func (c *Client) follow(ctx context.Context, method string, params func() any, deliver func(json.RawMessage) error) error {
	until, pause := time.Now().Add(c.reconnect), retryFirst
	for {
		began, err := c.followOnce(ctx, method, params(), deliver)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var lost *TransportError
		if c.reconnect == 0 || !errors.As(err, &lost) {
			return err
		}
		if began {
			until, pause = time.Now().Add(c.reconnect), retryFirst
		}
		if !sleepUntil(ctx, pause, until) {
			return err
		}
		pause = min(2*pause, retryMax)
	}
}

// endOf is what the server's last notification says.
func endOf(params json.RawMessage, path string) error {
	var end streamEnd
	if json.Unmarshal(params, &end) == nil && end.Error != nil {
		return end.Error
	}
	return &TransportError{Socket: path, Op: "receive", Err: errStreamOver}
}

// followOnce runs a stream over one connection. began: the server had accepted it.
func (c *Client) followOnce(ctx context.Context, method string, params any, deliver func(json.RawMessage) error) (began bool, err error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to send
	defer conn.watch(ctx)()
	encoded, err := encodeParams(params)
	if err != nil {
		return false, fmt.Errorf("cannot encode the parameters of %s: %w", method, err)
	}
	line, err := conn.roundTrip(appendRequest(nil, 1, method, encoded), c.path)
	if err != nil {
		return false, err
	}
	if _, err := openReply(line, 1); err != nil {
		return false, err
	}
	for {
		line, err := conn.readLine()
		if err != nil {
			return true, &TransportError{Socket: c.path, Op: "receive", Err: err}
		}
		var note struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(line, &note); err != nil {
			return true, &TransportError{Socket: c.path, Op: "receive", Err: fmt.Errorf("not a JSON-RPC notification: %w", err)}
		}
		if note.Method == endNotification {
			return true, endOf(note.Params, c.path)
		}
		if err := deliver(note.Params); err != nil {
			return true, err
		}
	}
}
