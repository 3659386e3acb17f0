package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// runTail is how many of the last lines are shown of a run that failed, where they were not followed.
const runTail = 10

func runCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "run", Category: categoryChange, Usage: "run a job or another oneshot now, and wait for its end", ArgsUsage: "NAME",
		Description: "The exit code is that of the run, 128 + n after signal n. What it writes is shown on a terminal, and its last lines when it\n" +
			"fails. It starts with what it needs, stands in the history, and a schedule that is due meanwhile treats it as any run.\n" +
			"Ctrl-C stops it (a job runs again when it is due); a second Ctrl-C leaves it to its end.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "stop it when it has not ended after `TIME`: exit code 124"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show what it writes where stdout is no terminal, too"},
			&cli.BoolFlag{Name: "no-deps", Usage: "do not start what it requires or wants"},
		},
		Action: v.named(1, 1, func(c *cli.Context, names []string) error {
			timeout, err := durationFlag(c, "timeout", 0)
			if err != nil {
				return err
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			r := &running{invocation: v, client: client, name: names[0], timeout: timeout, began: time.Now(),
				how: rpc.RunRequest{NoDeps: c.Bool("no-deps")}}
			r.follows = (v.out.terminal || c.Bool("follow")) && !v.quiet && !v.format.machine()
			return r.run()
		}),
	}
}

// running is one run that is waited for.
type running struct {
	*invocation
	client  *rpc.Client
	name    string
	how     rpc.RunRequest
	timeout time.Duration // 0 = none
	began   time.Time
	follows bool
	job     bool // it has a schedule

	first uint64      // the number of the first line that it can write
	shown chan uint64 // the number after each line that was shown
}

func (r *running) run() error {
	before, err := r.client.StatusFull(r.ctx, r.name)
	if err != nil {
		return r.explain(r.client, "run", r.name, err)
	}
	r.job = before.Job != nil
	last, err := r.client.Logs(r.ctx, rpc.LogQuery{Names: []string{r.name}, Lines: 1})
	if err != nil {
		return err
	}
	r.first = 1
	for _, l := range last {
		r.first = l.Seq + 1
	}
	endFollow := func(uint64) {}
	if r.follows {
		endFollow = r.follow()
	}
	result, err := r.ask(before.Incarnation)
	switch {
	case err != nil && r.ctx.Err() != nil && !r.out.closed:
		err = r.stop(exitInterrupted)
	case errors.Is(err, errOverdue):
		err = r.stop(exitTimedOut)
	case isCode(err, wire.CodeAlreadyRunning):
		err = failf(exitFailed, "cannot run %s: it %s; wait for its end with: zinit wait %s --for exited --timeout 0", r.name,
			strings.TrimPrefix(err.Error(), r.name+" "), r.name)
	case err != nil:
		err = r.explain(r.client, "run", r.name, err)
	}
	endFollow(result.LogNext)
	if err != nil {
		return err
	}
	return r.report(result)
}

// errOverdue says that the time of a run is over.
var errOverdue = errors.New("the time of the run is over")

// ask runs it, and asks again for the same run when the server went away over it.
func (r *running) ask(before uint64) (result wire.Run, err error) {
	err = r.goOn(r.timeout, func() error {
		r.how.TimeoutMS = left(r.timeout.Milliseconds(), r.began)
		result, err = r.client.Run(r.ctx, r.name, r.how)
		r.how.Again, r.how.After = true, before
		switch {
		case err == nil && result.Pending:
			return errUnfinished
		case err == nil && result.Outcome == "timed_out":
			return errOverdue
		}
		return err
	})
	return result, err
}

// stop ends the run, and leaves a job to its schedule. Another Ctrl-C ends only the waiting for that.
func (r *running) stop(code int) error {
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	why := "stopping " + r.name
	if code == exitTimedOut {
		why = r.name + " has not ended after " + durationText(r.timeout) + "; stopping it"
	}
	r.note(why + " (Ctrl-C leaves it)")
	client, err := rpc.Dial(ctx, r.client.Socket(), rpc.WithReconnect(reconnectLimit))
	if err == nil {
		defer client.Close() //nolint:errcheck // nothing is left to send
		_, err = client.Stop(ctx, r.name, rpc.Change{Wait: true, RunOnly: true})
	}
	switch {
	case ctx.Err() != nil:
		return failf(exitInterrupted, "no longer waiting: %s may still be stopping (zinit status %s)", r.name, r.name)
	case err != nil:
		return failf(code, "cannot stop %s, it may still run: %v (zinit status %s)", r.name, err, r.name)
	case code == exitTimedOut:
		return failf(code, "timed out after %s: %s was stopped", durationText(r.timeout), r.name)
	}
	return failf(code, "%s was stopped", r.name)
}

// follow shows what is written from now on. The result is called at the end, with the number after the last line if that is
// known, and returns when that was shown, or after a moment.
func (r *running) follow() func(next uint64) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx)) // what it writes while it is stopped, too
	r.shown = make(chan uint64, 1)
	done := make(chan struct{})
	p := &logPrinter{out: r.out, format: "cat"}
	go func() {
		defer close(done)
		stream, err := r.another(rpc.WithReconnect(reconnectLimit))
		if err != nil {
			return
		}
		defer stream.Close() //nolint:errcheck // nothing is left to send
		_ = stream.FollowLogs(ctx, rpc.LogQuery{Names: []string{r.name}, Since: r.first}, func(f wire.Follow) error {
			if f.Missed > 0 {
				p.endCut()
				r.complain(missedText(f))
			}
			p.lines(f.Lines)
			if n := len(f.Lines); n > 0 {
				select {
				case <-r.shown:
				default:
				}
				r.shown <- f.Lines[n-1].Seq + 1
			}
			return r.out.flush()
		})
	}()
	return func(next uint64) {
		patience := time.After(patience)
		for at := r.first; at < next; {
			select {
			case at = <-r.shown:
				continue
			case <-done:
			case <-patience:
			}
			break
		}
		cancel()
		<-done
		p.endCut()
	}
}

// report says how it ended.
func (r *running) report(result wire.Run) error {
	code := exitFailed
	switch {
	case result.OK:
		code = exitOK
	case result.Outcome != "done" && result.Outcome != "failed" && result.Outcome != "superseded":
	case result.Signal != nil:
		code = 128 + *result.Signal
	case result.Code != nil && *result.Code != 0:
		code = *result.Code
	}
	if r.format.machine() {
		r.out.document(r.format, result)
		return silent(code)
	}
	reason := strings.TrimPrefix(strings.TrimPrefix(result.Text, "is blocked: "), "failed: ")
	took := durationText(time.Duration(result.TookMS) * time.Millisecond)
	switch {
	case result.OK && r.follows:
		r.note(r.name + ": done, " + took)
		return nil
	case result.OK:
		r.say(r.name + ": done, " + took)
		return nil
	case result.Outcome == "blocked":
		return failf(code, "%s is blocked: %s; it stays wanted up, and runs when it can (zinit why %s)", r.name,
			reason, r.name)
	case result.Outcome == "superseded":
		return failf(code, "%s was stopped by another command, or another run has taken its place, after %s", r.name, took)
	case result.Outcome == "removed":
		return failf(code, "%s was removed", r.name)
	}
	if !r.follows && !r.quiet {
		r.showTail()
	}
	next := remedy(r.name, result.State)
	if r.job && result.Incarnation != 0 {
		next = fmt.Sprintf("zinit logs %s --run %d", r.name, result.Incarnation) // -1 may be another one by then
	}
	return failf(code, "%s failed after %s: %s (%s)", r.name, took, reason, next)
}

// showTail shows the last lines of the run on stderr.
func (r *running) showTail() {
	lines, err := r.client.Logs(r.ctx, rpc.LogQuery{Names: []string{r.name}, Lines: runTail, SinceMS: r.began.UnixMilli()})
	if err != nil {
		return
	}
	p := &logPrinter{out: r.out}
	for i := range lines {
		if lines[i].Seq >= r.first {
			r.note("  " + p.safe(lines[i].Content))
		}
	}
}
