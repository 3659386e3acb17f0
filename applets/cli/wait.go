package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// goals are what `wait --for` can wait for.
var goals = []string{"running", "ready", "exited", "failed", "inactive", "gone"}

// waitDefault is how long `wait` waits when nothing is said.
const waitDefault = 30 * time.Second

func waitCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "wait", Category: categoryChange, Usage: "wait until services have reached a state", ArgsUsage: "NAME...",
		Description: "The server tells when it has happened; nothing is polled. Exit code 1 when the state can no longer come,\n" +
			"124 when the time is over. --timeout 0 waits without end. With --timeout it waits for the server to appear as well.\n" +
			"A pattern such as '*' stands for what is wanted up, and a oneshot that is done counts as running then.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "wait for `STATE`: running, ready, exited, failed, inactive or gone", Value: "running"},
			&cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "give up after `TIME`", Value: "30s"},
			&cli.BoolFlag{Name: "exit-code", Usage: "with --for exited: exit as the service did, 128 + n after a signal"},
		},
		Action: v.named(1, -1, func(c *cli.Context, given []string) error {
			goal, pattern := c.String("for"), slices.ContainsFunc(given, isGlob)
			switch {
			case !slices.Contains(goals, goal):
				return usagef("unknown state %q for --for: want one of %s", goal, strings.Join(goals, ", "))
			case c.Bool("exit-code") && (goal != "exited" || len(given) != 1 || pattern):
				return usagef("--exit-code goes with --for exited and one name")
			case pattern && !c.IsSet("for"):
				goal = "ready"
			}
			timeout, err := durationFlag(c, "timeout", waitDefault)
			if err != nil {
				return err
			}
			began := time.Now()
			client, err := v.clientWithin(c, timeout)
			if err != nil {
				return err
			}
			chosen, err := v.expand(client, given)
			if err == nil && pattern {
				err = v.onlyWanted(client, chosen, given, goal)
			}
			if err != nil || len(chosen.names) == 0 {
				return firstError(err, silent(exitCode(chosen.problem)))
			}
			err = v.wait(client, chosen, goal, timeout, began)
			if c.Bool("exit-code") {
				return v.exitAs(client, chosen.names[0], err)
			}
			return err
		}),
	}
}

// onlyWanted takes out what only a pattern names and nobody wants up: it would be waited for in vain.
func (v *invocation) onlyWanted(client *rpc.Client, chosen *selection, given []string, goal string) error {
	if goal == "inactive" || goal == "gone" {
		return nil
	}
	list, err := client.ListFull(v.ctx, false)
	if err != nil {
		return err
	}
	down := map[string]bool{}
	for _, s := range list {
		down[s.Name] = s.Wanted == "down"
	}
	chosen.names = slices.DeleteFunc(chosen.names, func(name string) bool { return down[name] && !slices.Contains(given, name) })
	return nil
}

// exitAs ends as the main process of a service did, which has been waited for with that result. What never had one, or did
// not end, is the error that it is.
func (v *invocation) exitAs(client *rpc.Client, name string, waited error) error {
	if waited != nil && exitCode(waited) != exitFailed {
		return waited
	}
	s, err := client.StatusFull(v.ctx, name)
	if err != nil || s.LastExit == nil || s.State.State != "exited" && s.State.State != "failed" {
		return firstError(waited, err)
	}
	if s.State.Reason != nil && s.State.Reason.Type != "exit_code" && s.State.Reason.Type != "signal" {
		return waited
	}
	switch {
	case s.LastExit.Code != nil:
		return silent(*s.LastExit.Code)
	case s.LastExit.Signal != nil:
		return silent(128 + *s.LastExit.Signal)
	}
	return waited
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wait waits until the time that began then is over.
func (v *invocation) wait(client *rpc.Client, chosen *selection, goal string, timeout time.Duration, began time.Time) error {
	names := strings.Join(chosen.names, ", ")
	waited, err := v.askWait(client, chosen.names, goal, timeout, began)
	switch {
	case err != nil && v.ctx.Err() != nil:
		return failf(exitInterrupted, "stopped waiting for %s; nothing is undone", names)
	case isCode(err, wire.CodeTimedOut):
		missing := pendingOf(err, chosen.names)
		return failf(exitTimedOut, "timed out after %s waiting for %s to be %s%s", durationText(timeout), strings.Join(missing, ", "),
			goal, whyHint(missing))
	case isCode(err, wire.CodeNotRunning):
		return failf(exitFailed, "%s (zinit why %s)", err, chosen.names[0])
	case isCode(err, wire.CodeNotFound):
		return v.explain(client, "wait for", v.unknownOf(client, chosen.names), err)
	case err != nil:
		return err
	}
	states := waited.States
	for _, name := range chosen.names { // what is gone has no row
		if !contains(listedNames(states), name) {
			states = append(states, wire.Listed{Name: name})
		}
	}
	return firstError(v.print(states, listedNames(states), func() string { return v.waitedText(states, goal) }),
		silent(exitCode(chosen.problem)))
}

// pendingOf are the services that a wait was still waiting for at its end, all of them where the server does not tell.
func pendingOf(err error, all []string) (names []string) {
	var answer *wire.Error
	if errors.As(err, &answer) {
		list, _ := answer.Data["pending"].([]any)
		for _, name := range list {
			names = append(names, fmt.Sprint(name))
		}
	}
	if len(names) == 0 {
		return all
	}
	return names
}

func whyHint(names []string) string {
	if len(names) == 1 {
		return " (zinit why " + names[0] + ")"
	}
	return ""
}

// unknownOf finds the name that the server does not know.
func (v *invocation) unknownOf(client *rpc.Client, names []string) string {
	known, err := client.List(v.ctx)
	for _, name := range names {
		if err == nil && !slices.Contains(known, name) {
			return name
		}
	}
	return names[0]
}

func (v *invocation) waitedText(states []wire.Listed, goal string) string {
	if v.quiet {
		return ""
	}
	var b strings.Builder
	for _, s := range states {
		word := v.out.style.stateWord(s.State)
		if s.State.State == "" {
			word = goal
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Name, word)
	}
	return b.String()
}

func isActiveCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "is-active", Category: categoryLook, Usage: "exit 0 when services run (or are oneshots that are done), else 3", ArgsUsage: "NAME...",
		Action: v.withClient(1, -1, func(_ *cli.Context, client *rpc.Client, given []string) error {
			return v.eachStatus(client, given, func(s wire.StatusFull) int {
				if isActive(s) {
					return exitOK
				}
				return exitNotActive
			})
		}),
	}
}

func isFailedCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "is-failed", Category: categoryLook, Usage: "exit 0 when services are failed, else 1", ArgsUsage: "NAME...",
		Action: v.withClient(1, -1, func(_ *cli.Context, client *rpc.Client, given []string) error {
			return v.eachStatus(client, given, func(s wire.StatusFull) int {
				if s.State.State == "failed" {
					return exitOK
				}
				return exitFailed
			})
		}),
	}
}

// eachStatus asks for every name and returns the worst of what judge says.
func (v *invocation) eachStatus(client *rpc.Client, given []string, judge func(wire.StatusFull) int) error {
	chosen, err := v.expand(client, given)
	if err != nil {
		return err
	}
	code := exitCode(chosen.problem)
	for _, name := range chosen.names {
		s, err := client.StatusFull(v.ctx, name)
		if err != nil {
			err = v.explain(client, "look at", name, err)
			v.complain(describe(err))
			code = worst(code, exitCode(err))
			continue
		}
		code = worst(code, judge(s))
	}
	return silent(code)
}
