package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func changeCommands(v *invocation) []*cli.Command {
	return []*cli.Command{
		startCommand(v), stopCommand(v), restartCommand(v), runCommand(v), killCommand(v), signalReloadCommand(v), waitCommand(v),
		bulkCommand(v, "start-all", "start every service of class user", "told to start", (*rpc.Client).StartAll),
		bulkCommand(v, "stop-all", "stop every service of class user", "told to stop", (*rpc.Client).StopAll),
		deleteAllCommand(v),
	}
}

// verb is one of start, stop, restart, with its words.
type verb struct {
	name string
	call func(*rpc.Client, context.Context, string, rpc.Change) (wire.OK, error)
	goes string // what the service does when nobody waits any more
}

var (
	verbStart   = verb{"start", (*rpc.Client).Start, "starting"}
	verbStop    = verb{"stop", (*rpc.Client).Stop, "stopping"}
	verbRestart = verb{"restart", (*rpc.Client).Restart, "restarting"}
)

func waitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "stop waiting after `TIME` (default: what the service's own timeouts allow)"},
		&cli.BoolFlag{Name: "no-wait", Usage: "return as soon as the server has taken it over"},
	}
}

func startCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "start", Category: categoryChange, Usage: "start services and what they need, and wait until they run", ArgsUsage: "NAME...",
		Description: "Waits until each service runs (a oneshot: has exited 0), fails, or is blocked by what is not on its way.\n" +
			"A service that is blocked stays wanted up and starts when it can. Starting one that runs is no error.",
		Flags: append(waitFlags(),
			&cli.BoolFlag{Name: "no-deps", Usage: "do not start what the services require or want"},
			&cli.BoolFlag{Name: "tree", Usage: "accepted for zinit 0.3.9: what is needed is started anyway"}),
		Action: v.changeAction(verbStart),
	}
}

func stopCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "stop", Category: categoryChange, Usage: "stop services and wait until nothing of them is left", ArgsUsage: "NAME...",
		Description: "What requires or binds a service is stopped before it, and comes back when it is started again.",
		Flags: append(waitFlags(),
			&cli.BoolFlag{Name: "run", Usage: "of a job end only the run that goes on: it runs again when it is due"}),
		Action: v.changeAction(verbStop),
	}
}

func restartCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "restart", Category: categoryChange, Usage: "stop services, start them again, and wait until they run", ArgsUsage: "NAME...",
		Flags: waitFlags(), Action: v.changeAction(verbRestart),
	}
}

func (v *invocation) changeAction(what verb) cli.ActionFunc {
	return v.named(1, -1, func(c *cli.Context, given []string) error {
		how := rpc.Change{Wait: !c.Bool("no-wait"), NoDeps: c.Bool("no-deps"), RunOnly: c.Bool("run")}
		timeout, err := durationFlag(c, "timeout", 0)
		if err != nil {
			return err
		}
		how.TimeoutMS = timeout.Milliseconds()
		client, err := v.client()
		if err != nil {
			return err
		}
		chosen, err := v.expand(client, given)
		if err != nil {
			return err
		}
		return v.changeAll(client, what, chosen, how)
	})
}

func durationFlag(c *cli.Context, name string, otherwise time.Duration) (time.Duration, error) {
	if !c.IsSet(name) {
		return otherwise, nil
	}
	d, err := parseDuration(c.String(name))
	if err != nil {
		return 0, usagef("cannot read --%s %q: %v", name, c.String(name), err)
	}
	return d, nil
}

// changed is the result of one name, as -o json prints it.
type changed struct {
	Name    string     `json:"name"`
	OK      bool       `json:"ok"`
	Code    int        `json:"code"`    // what the exit code would be for this one alone
	Outcome string     `json:"outcome"` // accepted done failed blocked timed_out superseded error interrupted
	State   wire.State `json:"state"`
	Text    string     `json:"text"`

	ChangedOnDisk string `json:"changed_on_disk,omitempty"` // start, restart: the definition that was loaded is not its file's any more

	KilledAfterMS int64 `json:"killed_after_ms,omitempty"` // stop: SIGKILL was needed, so long after the stop signal
	// stop: what it has left, as kill_mode = "process" says
	LeftRunning []wire.LeftProcess `json:"left_running,omitempty"`
}

// maxAtOnce bounds the connections one command opens.
const maxAtOnce = 64

// changeAll does it for all names at the same time and reports in the order given.
func (v *invocation) changeAll(client *rpc.Client, what verb, chosen *selection, how rpc.Change) error {
	results := make([]chan changed, len(chosen.names))
	slots := make(chan struct{}, maxAtOnce)
	for i, name := range chosen.names {
		results[i] = make(chan changed, 1)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] <- v.changeOne(client, what, name, how, len(chosen.names) == 1)
		}()
	}
	code := exitCode(chosen.problem)
	var all []changed
	for i := range results {
		one := v.await(results[i], what, chosen.names[i])
		if !v.format.machine() {
			v.reportChange(client, what, one)
		}
		all = append(all, one)
		code = worst(code, one.Code)
	}
	if v.format.machine() {
		v.out.document(v.format, oneOrAll(chosen.single, all))
	}
	return silent(code)
}

// patience is how long a wait is silent on a terminal.
const patience = 2 * time.Second

// await takes one result; on a terminal a wait that drags on says what it waits for.
func (v *invocation) await(result chan changed, what verb, name string) changed {
	if !v.errTerminal || v.quiet || v.format.machine() {
		return <-result
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case one := <-result:
		return one
	case <-timer.C:
		v.note(v.errStyle.paint(dim, fmt.Sprintf("%s is %s (Ctrl-C ends the waiting only)", name, what.goes)))
		return <-result
	}
}

func (v *invocation) changeOne(client *rpc.Client, what verb, name string, how rpc.Change, only bool) changed {
	if !only {
		var own *rpc.Client
		err := v.goOn(time.Duration(how.TimeoutMS)*time.Millisecond, func() (err error) {
			own, err = v.another()
			return err
		})
		if err != nil {
			return changeFailed(name, err)
		}
		defer own.Close() //nolint:errcheck // nothing is left to send
		client = own
	}
	ok, err := v.askChange(client, what, name, how)
	switch {
	case err != nil && v.ctx.Err() != nil:
		return changed{Name: name, Code: exitInterrupted, Outcome: "interrupted", Text: "no longer waiting"}
	case isCode(err, wire.CodeTimedOut):
		return changed{Name: name, Code: exitTimedOut, Outcome: "timed_out", Text: trimName(err.Error(), name)}
	case err != nil:
		return changeFailed(name, v.explain(client, what.name, name, err))
	}
	return settled(what, name, ok)
}

func changeFailed(name string, err error) changed {
	return changed{Name: name, Code: exitCode(err), Outcome: "error", Text: describe(err)}
}

// settled is what an answer of the server means.
func settled(what verb, name string, ok wire.OK) changed {
	r := changed{Name: name, OK: true, Outcome: ok.Outcome, Text: ok.Text, ChangedOnDisk: ok.ChangedOnDisk}
	if what.name == verbStop.name {
		r.KilledAfterMS, r.LeftRunning = ok.KilledAfterMS, ok.LeftRunning
	}
	if ok.State != nil {
		r.State = *ok.State
	}
	switch {
	case ok.Outcome == "":
		r.Outcome = "accepted"
	case ok.Outcome == "done" && r.State.State == "failed" && what.name != "stop": // it was up for an instant
		r.Outcome = "failed"
	}
	switch r.Outcome {
	case "done", "accepted":
	case "timed_out":
		r.OK, r.Code = false, exitTimedOut
	default:
		r.OK, r.Code = false, exitFailed
	}
	return r
}

// reportChange prints one result: success on stdout, anything else on stderr.
func (v *invocation) reportChange(client *rpc.Client, what verb, r changed) {
	if r.ChangedOnDisk != "" {
		defer v.note(r.Name + ": changed on disk: " + r.ChangedOnDisk + "; what was loaded before counts (apply it: zinit reload)")
	}
	switch {
	case r.OK && v.format == formatName:
		v.out.print(r.Name + "\n")
	case r.OK:
		v.say(r.Name + ": " + successText(what, r, v.out.style))
		_ = v.out.flush()
	case r.Outcome == "error":
		v.complain(r.Text)
	case r.Outcome == "interrupted":
		v.complain(fmt.Sprintf("stopped waiting, nothing is undone: %s may still be %s (zinit status %s)", r.Name, what.goes, r.Name))
	case r.Outcome == "blocked":
		v.complain(fmt.Sprintf("%s is blocked: %s; it stays wanted up (zinit why %s)", r.Name, bareReason(r), r.Name))
	case r.Outcome == "timed_out":
		v.complain(fmt.Sprintf("timed out waiting to %s %s, which is still %s; nothing is undone (zinit why %s)", what.name, r.Name, stillText(r, what), r.Name))
	case r.Outcome == "superseded":
		v.complain(fmt.Sprintf("cannot %s %s: a later command asked for the opposite", what.name, r.Name))
	default:
		v.complain(fmt.Sprintf("cannot %s %s: %s (%s)", what.name, r.Name, bareReason(r), v.remedyOf(client, r)))
	}
}

func stillText(r changed, what verb) string {
	if r.State.State != "" {
		return r.State.State
	}
	return what.goes
}

// bareReason is the server's text without the words that the line has already.
func bareReason(r changed) string {
	text := trimName(r.Text, r.Name)
	text = strings.TrimPrefix(text, r.Name+" ")
	text = strings.TrimPrefix(text, "is blocked: ")
	text = strings.TrimPrefix(text, "failed: ")
	text = strings.TrimPrefix(text, "cannot start: ")
	if text == "" {
		return orUnknown(r.State)
	}
	return text
}

// remedyOf is the remedy for the service that a failure comes from: the last of the requirements that failed.
func (v *invocation) remedyOf(client *rpc.Client, r changed) string {
	if r.State.Reason != nil && r.State.Reason.Service != "" {
		if why, err := client.Why(v.ctx, r.Name); err == nil && len(why.Cause) > 0 {
			root := why.Cause[len(why.Cause)-1]
			return remedy(root.Name, root.State)
		}
	}
	return remedy(r.Name, r.State)
}

// remedy is what to look at when a service failed: its definition where that cannot be used, else what it wrote.
func remedy(name string, st wire.State) string {
	if badDefinition(st) && strings.Contains(st.Reason.Message, "limits.services") {
		return "raise it in zinit.toml, then start the server again"
	}
	if badDefinition(st) {
		return "correct its file, then: zinit reload"
	}
	return "zinit logs " + name
}

// badDefinitions are the finer words of reasons that only another definition removes.
var badDefinitions = []string{"broken_file", "cycle", "self", "contradiction", "class"}

func badDefinition(st wire.State) bool {
	return st.Reason != nil && slices.Contains(badDefinitions, st.Reason.Kind)
}

func orUnknown(st wire.State) string {
	if len(st.WaitingOn) > 0 {
		return "waits for " + strings.Join(st.WaitingOn, ", ")
	}
	if st.State != "" {
		return "it is " + st.State
	}
	return "the server gave no reason"
}

func successText(what verb, r changed, st style) string {
	switch {
	case r.Outcome == "accepted" && r.State.State == "":
		return what.goes + ", not waited for"
	case what.name == "stop": // what it is now, exited or failed with a broken file, is no matter of the stop
		return stoppedText(r)
	case r.State.State == "":
		return "done"
	case r.State.PID != nil && *r.State.PID > 0:
		return st.stateWord(r.State) + ", pid " + itoa(int64(*r.State.PID))
	}
	return st.stateWord(r.State)
}

// stoppedText tells whether SIGKILL was needed, and what was left.
func stoppedText(r changed) string {
	text := "stopped"
	if r.KilledAfterMS > 0 {
		text += " (killed after " + graph.Duration((time.Duration(r.KilledAfterMS) * time.Millisecond).Round(100*time.Millisecond)) + ")"
	}
	var left []string
	for _, p := range r.LeftRunning {
		left = append(left, fmt.Sprintf("%d (%s)", p.PID, p.Name))
	}
	if len(left) > 0 {
		text += ", left running: " + strings.Join(left, ", ")
	}
	return text
}

func killCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "kill", Category: categoryChange, Usage: "send a signal to a service", ArgsUsage: "NAME [SIGNAL]",
		Description: "SIGNAL is a name of signal(7) with or without SIG, or a number; SIGTERM without one. kill(1)'s -9 and -HUP work too.\n" +
			"The restart policy of the service applies to what follows; to end a service use: zinit stop.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "the `SIGNAL` to send"}},
		Action: v.named(1, 2, func(c *cli.Context, args []string) error {
			text := c.String("signal")
			if len(args) == 2 {
				if text != "" {
					return usagef("two signals: %s and %s", text, args[1])
				}
				text = args[1]
			}
			if text == "" {
				text = "SIGTERM"
			}
			sig, err := graph.ParseSignal(text)
			if err != nil {
				return usagef("%v", err)
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			if _, err := client.Kill(v.ctx, args[0], sig.Name()); err != nil {
				return v.explain(client, "signal", args[0], err)
			}
			v.say(args[0] + ": sent " + sig.Name())
			return nil
		}),
	}
}

func signalReloadCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "signal-reload", Category: categoryChange, Usage: "make services read their own configuration again", ArgsUsage: "NAME...",
		Description: "Sends the signal, or runs the command, that the service's `reload` key names (default SIGHUP).",
		Action: v.withClient(1, -1, func(_ *cli.Context, client *rpc.Client, given []string) error {
			chosen, err := v.expand(client, given)
			if err != nil {
				return err
			}
			code := exitCode(chosen.problem)
			for _, name := range chosen.names {
				if _, err := client.SignalReload(v.ctx, name); err != nil {
					err = v.explain(client, "reload", name, err)
					v.complain(describe(err))
					code = worst(code, exitCode(err))
					continue
				}
				v.say(name + ": asked to reload")
			}
			return silent(code)
		}),
	}
}

func bulkCommand(v *invocation, name, usage, done string, call func(*rpc.Client, context.Context) (wire.Bulk, error)) *cli.Command {
	return &cli.Command{
		Name: name, Category: categoryChange, Usage: usage,
		Description: "Services of class system are never touched.",
		Action: v.withClient(0, 0, func(_ *cli.Context, client *rpc.Client, _ []string) error {
			bulk, err := call(client, v.ctx)
			if err != nil {
				return err
			}
			return v.printBulk(bulk, done)
		}),
	}
}

func (v *invocation) printBulk(bulk wire.Bulk, done string) error {
	names := append(append(append([]string{}, bulk.Started...), bulk.Stopped...), bulk.Deleted...)
	return v.print(bulk, names, func() string {
		if v.quiet {
			return ""
		}
		return strings.TrimSuffix(fmt.Sprintf("%s %s: %s", plural(bulk.Count, "service"), done, strings.Join(names, ", ")), ": ") + "\n"
	})
}
