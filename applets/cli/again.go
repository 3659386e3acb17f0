package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// How a command that waits goes on over a crash or an upgrade of the server.
const (
	awayFirst = 20 * time.Millisecond // the first pause before it is asked again; they double
	awayMax   = time.Second
)

// goOn asks, and asks again when the server went away over it, until there is an answer, the server was away for
// reconnectLimit, or the timeout is over (0 = none). It is for what may be asked twice: what changes nothing, and what only
// says how things shall be.
func (v *invocation) goOn(timeout time.Duration, ask func() error) error {
	began := time.Now()
	pause, until := awayFirst, began.Add(reconnectLimit)
	for told := false; ; {
		asked := time.Now()
		err := ask()
		if !away(err) || v.ctx.Err() != nil {
			return err
		}
		if now := time.Now(); now.Sub(asked) > awayMax { // it was there meanwhile
			pause, until, told = awayFirst, now.Add(reconnectLimit), false
		}
		if time.Now().After(until) || timeout > 0 && time.Since(began) > timeout {
			return err
		}
		if pause == awayMax && !told && !v.quiet {
			told = true
			v.note("the server is away; waiting for it, at most " + durationText(reconnectLimit))
		}
		if !sleep.For(v.ctx, pause) {
			return err
		}
		pause = min(2*pause, awayMax)
	}
}

// clientWithin connects, and where a timeout was given waits as long for a server to appear; 0 is without end.
func (v *invocation) clientWithin(c *cli.Context, timeout time.Duration) (*rpc.Client, error) {
	began := time.Now()
	for pause := awayFirst; ; pause = min(2*pause, awayMax/4) {
		client, err := v.client()
		if err == nil || !c.IsSet("timeout") || !away(err) {
			return client, err
		}
		if left := timeout - time.Since(began); timeout > 0 && left <= 0 {
			return nil, failf(exitTimedOut, "timed out after %s waiting for a server: %v", durationText(timeout), err)
		} else if timeout > 0 {
			pause = min(pause, left)
		}
		if !sleep.For(v.ctx, pause) {
			return nil, failf(exitInterrupted, "stopped waiting for a server")
		}
	}
}

// away reports whether err says that the server is gone or went away, which may pass.
func away(err error) bool {
	var lost *rpc.TransportError
	return errors.Is(err, errUnfinished) || errors.As(err, &lost) && !errors.Is(err, os.ErrPermission) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// left is a timeout in ms that began at a time, as it is now: at least 1, and 0, which is none, stays 0.
func left(timeoutMS int64, began time.Time) int64 {
	if timeoutMS == 0 {
		return 0
	}
	return max(timeoutMS-time.Since(began).Milliseconds(), 1)
}

// askChange asks for a change of one service until the server has answered. To stop can be asked for again, and so can to
// start where that has not begun; a restart that has begun ends as a start does.
func (v *invocation) askChange(client *rpc.Client, what verb, name string, how rpc.Change) (ok wire.OK, err error) {
	began, timeout, asked := time.Now(), how.TimeoutMS, false
	err = v.goOn(time.Duration(timeout)*time.Millisecond, func() error {
		call := what.call
		if asked && what.name != verbStop.name {
			s, err := client.StatusFull(v.ctx, name)
			switch {
			case err != nil:
				return err
			case after(s.StartedAt, began) && (s.State.State == "exited" || s.State.State == "failed"):
				ok = wire.OK{OK: true, Outcome: "done", State: &s.State, Text: s.Cause}
				return nil
			case after(s.StartedAt, began), s.LastExit != nil && after(s.LastExit.At, began), s.State.State == "stopping":
				call = verbStart.call
			}
		}
		asked = true
		how.TimeoutMS = left(timeout, began)
		ok, err = call(client, v.ctx, name, how)
		if err == nil && how.Wait && ok.Pending {
			return errUnfinished
		}
		return err
	})
	if errors.Is(err, errUnfinished) {
		err = nil
	}
	return ok, err
}

// errUnfinished is the answer of a server that stopped waiting because another one takes over from it.
var errUnfinished = errors.New("the server has not finished")

// askWait waits until services have reached a goal, as long after began as the timeout says, 0 = for ever.
func (v *invocation) askWait(client *rpc.Client, names []string, goal string, timeout time.Duration, began time.Time) (waited wire.Waited, err error) {
	err = v.goOn(timeout, func() error {
		waited, err = client.Wait(v.ctx, names, goal, left(timeout.Milliseconds(), began))
		return err
	})
	return waited, err
}

// after reports whether a time of the server is not before another; it has milliseconds.
func after(text string, than time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, text)
	return err == nil && !at.Before(than.Truncate(time.Millisecond))
}
