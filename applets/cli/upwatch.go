package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/zinit/zinit/internal/sleep"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// upShow is `up` in the foreground: what the services write, and what becomes of them.
type upShow struct {
	*invocation
	*started
	timeout  time.Duration   // 0 = none
	exitFrom string          // the service whose end is the end of all, "" = none
	abort    bool            // a service that failed for good is
	silent   map[string]bool // services whose lines are not shown

	writing  sync.Mutex // of stdout and stderr
	width    int        // of the column of names
	stopping atomic.Bool
	look     chan struct{} // something has ended: what follows from it?
	verdict  chan verdict
	gone     chan struct{} // closed when the server does not answer any more
	goneOnce sync.Once
}

// verdict is why everything shall be stopped, and the exit code then.
type verdict struct {
	text string
	code int
}

func newUp(v *invocation, s *started, timeout time.Duration) *upShow {
	return &upShow{invocation: v, started: s, timeout: timeout, silent: map[string]bool{}, look: make(chan struct{}, 1),
		verdict: make(chan verdict, 1), gone: make(chan struct{})}
}

// What a terminal's end, and a second Ctrl-C, do.
var upSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

func (u *upShow) run() error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, upSignals...)
	defer signal.Stop(signals)
	if u.ctx.Err() != nil {
		signals <- os.Interrupt // it came while the server was being started
	}
	known, err := u.server.List(u.ctx)
	if err != nil {
		return err
	}
	for _, name := range known {
		u.width = max(u.width, min(utf8.RuneCountInString(name), maxPrefix))
	}
	show, end := context.WithCancel(context.WithoutCancel(u.ctx))
	defer end()
	var streams sync.WaitGroup
	streams.Go(func() { u.follow(show, u.followLogs(show)) })
	streams.Go(func() { u.follow(show, u.followEvents(show)) })
	go u.tellProgress(show, u.server.Socket(), u.say)
	go u.judge(show)
	if err := u.startNamed(); err != nil {
		return u.endAll(verdict{code: exitCode(err), text: describe(err)}, signals, &streams)
	}
	return u.await(signals, &streams)
}

// startNamed starts what a fresh server has not started by itself.
func (u *upShow) startNamed() error {
	rest := u.names
	switch {
	case u.ours == nil && len(rest) == 0:
		_, err := u.server.StartAll(u.ctx)
		return err
	case u.ours != nil && len(rest) > 0:
		rest = rest[1:]
	}
	for _, name := range rest {
		if _, err := u.server.Start(u.ctx, name, rpc.Change{}); err != nil {
			return u.explain(u.server, "start", name, err)
		}
	}
	return nil
}

// await waits for what ends the showing.
func (u *upShow) await(signals <-chan os.Signal, streams *sync.WaitGroup) error {
	var late <-chan time.Time
	if u.timeout > 0 {
		late = time.After(u.timeout)
	}
	over := u.ctx.Done()
	var ended <-chan struct{}
	if u.ours != nil {
		ended = u.ours.ended
	}
	for {
		select {
		case <-signals:
			return u.interrupted(signals, streams)
		case <-over:
			if over = nil; u.readerGone() { // else it is a signal, which comes there as well
				return u.interrupted(signals, streams)
			}
		case why := <-u.verdict:
			return u.endAll(why, signals, streams)
		case <-late:
			late = nil
			if waiting := u.notUp(); waiting != "" {
				return u.endAll(verdict{fmt.Sprintf("timed out after %s: %s", durationText(u.timeout), waiting), exitTimedOut}, signals, streams)
			}
		case <-ended:
			u.drain(streams)
			u.say("the project has stopped")
			return silent(u.ours.code)
		case <-u.gone:
			u.drain(streams)
			u.say("the project has stopped")
			return nil
		}
	}
}

// interrupted is Ctrl-C: it ends what this command has begun.
func (u *upShow) interrupted(signals <-chan os.Signal, streams *sync.WaitGroup) error {
	if u.ours == nil {
		u.say("no longer showing; the services go on (stop them: zinit down)")
		return silent(exitInterrupted)
	}
	return u.endAll(verdict{code: exitInterrupted}, signals, streams)
}

// sameSignal is how soon after the first one a second signal is the same: timeout(1), and shells that end, signal a process and
// then its whole group.
const sameSignal = 100 * time.Millisecond

// endAll stops the project, says what that waits for, and returns the exit code. A signal meanwhile kills what is left.
func (u *upShow) endAll(why verdict, signals <-chan os.Signal, streams *sync.WaitGroup) error {
	if why.text != "" {
		u.say(why.text)
	}
	u.stopping.Store(true)
	began := time.Now()
	ctx, done := context.WithCancel(context.WithoutCancel(u.ctx))
	defer done()
	u.ctx = ctx // the one before may be over
	ended, err := u.waitForEnd(u.server.Socket())
	if err == nil {
		err = u.askToEnd(ctx)
	}
	if err != nil {
		return failf(exitFailed, "cannot stop the project: %v (zinit down)", err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = ended()
		if u.ours != nil {
			<-u.ours.ended
		}
	}()
	for ticker, last := time.NewTicker(endingPace/4), ""; ; {
		select {
		case <-over:
			ticker.Stop()
			u.drain(streams)
			return silent(why.code)
		case <-signals:
			if time.Since(began) > sameSignal {
				u.say("killing what is left")
				u.killAll(ctx)
			}
		case <-ticker.C:
			last = u.tellStop(ctx, last)
		}
	}
}

// askToEnd asks over a connection of its own: the first one may be in the middle of a call.
func (u *upShow) askToEnd(ctx context.Context) error {
	client, err := rpc.Dial(ctx, u.server.Socket(), rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	return client.Shutdown(ctx, rpc.PowerStop)
}

// tellStop says what the end waits for where that has changed; it returns what was said last.
func (u *upShow) tellStop(ctx context.Context, last string) string {
	client, err := rpc.Dial(ctx, u.server.Socket())
	if err != nil {
		return last
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	p, err := client.Ping(ctx)
	if err != nil || p.Ending == nil || p.Ending.Text == "" {
		return last
	}
	if names := strings.Join(p.Ending.Waiting, " "); names != last {
		u.say(p.Ending.Text)
		return names
	}
	return last
}

// killAll lets the server kill what is left: the second SIGQUIT does, and the first one may come before it knows of the stop.
func (u *upShow) killAll(ctx context.Context) {
	client, err := rpc.Dial(ctx, u.server.Socket())
	if err != nil {
		return
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	p, err := client.Ping(ctx)
	if err != nil || p.PID <= 1 {
		return
	}
	_ = syscall.Kill(p.PID, syscall.SIGQUIT)
	sleep.For(ctx, awayFirst) // two that are pending at once would be one
	_ = syscall.Kill(p.PID, syscall.SIGQUIT)
}

// drain waits until the last lines are shown: the streams end with the server.
func (u *upShow) drain(streams *sync.WaitGroup) {
	u.stopping.Store(true)
	shown := make(chan struct{})
	go func() { defer close(shown); streams.Wait() }()
	select {
	case <-shown:
	case <-time.After(patience):
	}
}

// say writes a line for people, between those of the services.
func (u *upShow) say(text string) {
	u.writing.Lock()
	defer u.writing.Unlock()
	if !u.quiet {
		_ = u.out.flush()
		_, _ = io.WriteString(u.err, u.errStyle.paint(dim, "zinit:")+" "+terminal.Escape(text)+"\n")
	}
}

// readerGone reports whether nobody reads what is shown any more.
func (u *upShow) readerGone() bool {
	u.writing.Lock()
	defer u.writing.Unlock()
	return u.out.closed
}

// upAway is how long the server may be away before the showing ends: its keeper brings one back that crashed.
const upAway = 5 * time.Second

// follow runs a stream, and again after a crash of the server, until the server has ended.
func (u *upShow) follow(ctx context.Context, stream func(*rpc.Client) error) {
	for seen := time.Now(); ; {
		client, err := rpc.Dial(ctx, u.server.Socket())
		if err == nil {
			err = stream(client)
			_ = client.Close()
			seen = time.Now()
		}
		if ctx.Err() != nil || u.stopping.Load() || u.readerGone() {
			return
		}
		if time.Since(seen) > upAway || err != nil && !notReachable(err) {
			u.goneOnce.Do(func() { close(u.gone) })
			return
		}
		if !sleep.For(ctx, 5*awayFirst) {
			return
		}
	}
}

// followLogs shows what the services write: of a server that was there before from now on.
func (u *upShow) followLogs(ctx context.Context) func(*rpc.Client) error {
	q := rpc.LogQuery{Lines: math.MaxInt32}
	if u.ours == nil {
		q.Lines = 0
	}
	return func(client *rpc.Client) error {
		err := client.FollowLogs(ctx, q, func(f wire.Follow) error {
			u.writing.Lock()
			defer u.writing.Unlock()
			for i := range f.Lines {
				u.line(&f.Lines[i])
				q = rpc.LogQuery{Lines: math.MaxInt32, SinceMS: f.Lines[i].TimestampMS + 1} // after a crash of the server
			}
			return u.out.flush()
		})
		return err
	}
}

func (u *upShow) line(l *wire.LogLine) {
	if l.Service == "zinit" || u.silent[l.Service] {
		return
	}
	p := &logPrinter{out: u.out}
	u.out.print(u.head(l.Service, "|") + u.out.style.paintLine(l, p.safe(l.Content)) + "\n")
}

// head is the name of a service, in its colour and as wide as all of them.
func (u *upShow) head(name, mark string) string {
	u.width = max(u.width, min(utf8.RuneCountInString(name), maxPrefix))
	return u.out.style.paint(nameColor(name), fmt.Sprintf("%-*s", u.width, name)) + u.out.style.paint(dim, " "+mark+" ")
}

// followEvents shows what becomes of the services.
func (u *upShow) followEvents(ctx context.Context) func(*rpc.Client) error {
	since := uint64(0)
	if u.ours != nil {
		since = 1
	}
	return func(client *rpc.Client) error {
		return client.FollowEvents(ctx, since, func(e wire.Event) error {
			since = e.Seq + 1
			if e.To == "exited" || e.To == "failed" {
				select {
				case u.look <- struct{}{}:
				default:
				}
			}
			u.writing.Lock()
			defer u.writing.Unlock()
			text := strings.TrimPrefix(terminal.Escape(e.Text), e.Service+": ")
			if _, after, ok := strings.Cut(text, " -> "); ok {
				text = after
			}
			st := u.out.style
			u.out.print(u.head(e.Service, "*") + st.paint(markOf(e.To).color, text) + "\n")
			return u.out.flush()
		})
	}
}

// notUp says what is not up yet, "" when all is.
func (u *upShow) notUp() string {
	rows, err := u.rows(u.ctx)
	if err != nil {
		return ""
	}
	var waiting []string
	for _, row := range rows {
		if row.Wanted == "up" && (row.State.State == "starting" || row.State.State == "blocked") {
			waiting = append(waiting, row.Name+" is "+row.State.State)
		}
	}
	return someOf(waiting)
}

func (u *upShow) rows(ctx context.Context) ([]wire.Listed, error) {
	client, err := rpc.Dial(ctx, u.server.Socket(), rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	return client.ListFull(ctx, false)
}

// idleFor is how long nothing may be left to run before that is the end: what is due next may be about to start.
const idleFor = 300 * time.Millisecond

// judge looks, whenever something has ended, whether that is the end of all.
func (u *upShow) judge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.look:
		}
		rows, err := u.rows(ctx)
		if err != nil || u.stopping.Load() {
			continue
		}
		why, over := u.decide(ctx, rows)
		if !over && idle(rows) && sleep.For(ctx, idleFor) {
			if rows, err = u.rows(ctx); err == nil && idle(rows) {
				why, over = u.allEnded(ctx, rows)
			}
		}
		if over {
			u.verdict <- why
			return
		}
	}
}

// endedForGood reports whether a service has ended and nothing brings it back.
func endedForGood(row wire.Listed) bool {
	return (row.State.State == "exited" || row.State.State == "failed") && row.NextRestartMS == nil
}

// decide says whether the end of a service is that of all.
func (u *upShow) decide(ctx context.Context, rows []wire.Listed) (verdict, bool) {
	for _, row := range rows {
		if !endedForGood(row) {
			continue
		}
		switch {
		case row.Name == u.exitFrom:
			code := u.codeOf(ctx, row)
			return verdict{fmt.Sprintf("%s has ended with %d; stopping everything", row.Name, code), code}, true
		case u.abort && row.State.State == "failed":
			return verdict{fmt.Sprintf("%s has failed (%s); stopping everything", row.Name, strings.TrimPrefix(row.Text, "failed: ")), exitFailed}, true
		}
	}
	return verdict{}, false
}

// codeOf is how a service ended: its exit code, 128 + n after signal n, 1 where it had no process.
func (u *upShow) codeOf(ctx context.Context, row wire.Listed) int {
	client, err := rpc.Dial(ctx, u.server.Socket(), rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return exitFailed
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	s, err := client.StatusFull(ctx, row.Name)
	switch {
	case err != nil:
	case row.State.State == "exited" && row.State.ExitCode != nil:
		return *row.State.ExitCode
	case s.LastExit == nil:
	case s.LastExit.Code != nil && *s.LastExit.Code != 0:
		return *s.LastExit.Code
	case s.LastExit.Signal != nil:
		return 128 + *s.LastExit.Signal
	}
	return exitFailed
}

// idle reports whether nothing runs and nothing will.
func idle(rows []wire.Listed) bool {
	for _, row := range rows {
		switch {
		case row.IsTarget:
		case row.NextRestartMS != nil, row.State.State == "running", row.State.State == "starting", row.State.State == "stopping":
			return false
		}
	}
	return len(rows) > 0
}

// allEnded is the end of a project in which nothing is left to run, unless something is due later.
func (u *upShow) allEnded(ctx context.Context, rows []wire.Listed) (verdict, bool) {
	client, err := rpc.Dial(ctx, u.server.Socket(), rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return verdict{}, false
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	if jobs, err := client.Jobs(ctx); err != nil || len(jobs) > 0 {
		return verdict{}, false
	}
	var failed []string
	for _, row := range rows {
		if row.State.State == "failed" || row.State.State == "blocked" {
			failed = append(failed, row.Name+" is "+row.State.State)
		}
	}
	if len(failed) > 0 {
		return verdict{"nothing is left to run: " + someOf(failed), exitFailed}, true
	}
	return verdict{"nothing is left to run", exitOK}, true
}
