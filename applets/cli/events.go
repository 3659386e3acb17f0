package cli

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func eventsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "events", Category: categoryLogs, Usage: "every change of a service's state, with its cause", ArgsUsage: "[NAME...]",
		Description: "Shows the transitions the server still keeps, each with its number; -f goes on with new ones.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens from now on"},
			&cli.Uint64Flag{Name: "since", Usage: "begin with number `SEQ`"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Usage: "only the last `N` of those kept"},
		},
		Action: v.withClient(0, -1, func(c *cli.Context, client *rpc.Client, given []string) error {
			chosen, err := v.expand(client, given)
			if err != nil {
				return err
			}
			only := map[string]bool{}
			for _, name := range chosen.names {
				only[name] = true
			}
			if len(given) > 0 && len(only) == 0 {
				return silent(exitCode(chosen.problem))
			}
			return v.showEvents(c, client, only)
		}),
	}
}

func (v *invocation) showEvents(c *cli.Context, client *rpc.Client, only map[string]bool) error {
	kept, err := client.Events(v.ctx, c.Uint64("since"), 0)
	if err != nil {
		return err
	}
	if kept.Missed > 0 && c.IsSet("since") {
		v.complain(fmt.Sprintf("%s before number %d not kept any more", plural(int(kept.Missed), "event"), c.Uint64("since")+kept.Missed))
	}
	var list []wire.Event
	happened := map[string]bool{}
	for _, e := range kept.Events {
		if len(only) == 0 || only[e.Service] {
			list = append(list, e)
			happened[e.Service] = true
		}
	}
	unknown := v.unknownEvents(client, only, happened)
	if unknown != nil && len(unknown) == len(only) {
		return silent(exitNoService)
	}
	if n := c.Int("lines"); c.IsSet("lines") && n >= 0 && n < len(list) {
		list = list[len(list)-n:]
	}
	if v.format == formatJSON && !c.Bool("follow") {
		if list == nil {
			list = []wire.Event{}
		}
		v.out.document(formatJSON, list)
		return silent(codeOf(unknown))
	}
	for _, e := range list {
		v.printEvent(e)
	}
	if !c.Bool("follow") {
		return silent(codeOf(unknown))
	}
	return v.followEvents(kept.Next, only)
}

// unknownEvents says which of the names there are no events of because there is no such service, and returns them. A service
// that was removed has its events as long as they are kept.
func (v *invocation) unknownEvents(client *rpc.Client, only, happened map[string]bool) []string {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(only)) {
		if happened[name] {
			continue
		}
		if known, err := client.List(v.ctx); err == nil && !slices.Contains(known, name) {
			unknown = append(unknown, name)
			v.complain(describe(v.explain(client, "show the events of", name, wire.NewError(wire.CodeNotFound, ""))))
		}
	}
	return unknown
}

func codeOf(unknown []string) int {
	if len(unknown) > 0 {
		return exitNoService
	}
	return exitOK
}

func (v *invocation) followEvents(since uint64, only map[string]bool) error {
	stream, err := v.another(rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // nothing is left to send
	if err := v.out.flush(); err != nil {
		return err
	}
	err = stream.FollowEvents(v.ctx, since, func(e wire.Event) error {
		if len(only) == 0 || only[e.Service] {
			v.printEvent(e)
		}
		return v.out.flush()
	})
	if v.ctx.Err() != nil && !v.out.closed {
		return silent(exitInterrupted)
	}
	return err
}

func (v *invocation) printEvent(e wire.Event) {
	if v.format.machine() {
		v.out.print(string(document(e)) + "\n")
		return
	}
	v.out.print(eventLine(e, v.out.style, v.now()) + "\n")
}

func eventLine(e wire.Event, st style, now time.Time) string {
	text := terminal.Escape(e.Text)
	if text == "" {
		text = e.Service + ": " + e.From + " -> " + e.To + " (" + e.Cause + ")"
	}
	return fmt.Sprintf("%s  %5d  %s %s", st.paint(dim, clockText(e.Time, now)), e.Seq, st.symbol(e.To), text)
}
