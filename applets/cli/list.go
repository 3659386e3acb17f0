package cli

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc/wire"
)

func lookCommands(v *invocation) []*cli.Command {
	return []*cli.Command{
		listCommand(v), statusCommand(v), whyCommand(v), treeCommand(v), jobsCommand(v), historyCommand(v), metricsCommand(v),
		isActiveCommand(v), isFailedCommand(v), debugStateCommand(v), debugProcsCommand(v),
	}
}

func listCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "list", Aliases: []string{"ls", "ps"}, Category: categoryLook,
		Usage: "one line a service", ArgsUsage: "[PATTERN...]",
		Description: "Shows every service and target: state, process, uptime, restarts, and what it waits for or why it failed.\n" +
			"-o wide adds memory, cpu, class and what is wanted. Patterns such as 'web*' choose by name, --state by state.",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "state", Usage: "only services in `STATE`; may be given several times"}},
		Action: v.named(0, -1, func(c *cli.Context, patterns []string) error {
			if _, err := choose(nil, nil, c.StringSlice("state")); err != nil {
				return err
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			rows, err := client.ListFull(v.ctx, v.format == formatWide || v.format.machine())
			if err != nil {
				return err
			}
			kept, err := choose(rows, patterns, c.StringSlice("state"))
			if err != nil {
				return err
			}
			if len(rows) == 0 && !v.format.machine() {
				v.note("no services are loaded (add one with: zinit add-service, or a file and: zinit reload)")
			}
			if err := v.print(kept, listedNames(kept), func() string {
				return listTable(kept, v.out.style, v.out.width, v.format == formatWide)
			}); err != nil {
				return err
			}
			if len(kept) == 0 && len(patterns) > 0 {
				return failf(exitNoService, "no service matches %s (zinit list shows all)", strings.Join(patterns, " "))
			}
			return nil
		}),
	}
}

func listedNames(rows []wire.Listed) []string {
	names := []string{}
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names
}

// choose keeps the rows whose name matches one of the patterns and whose state is one of states; none given = all.
func choose(rows []wire.Listed, patterns, states []string) ([]wire.Listed, error) {
	wanted := map[string]bool{}
	for _, state := range states {
		if markOf(state).symbol == "[ ]" {
			return nil, usagef("unknown state %q: want one of %s", state, strings.Join(stateNames(), ", "))
		}
		wanted[state] = true
	}
	kept := []wire.Listed{}
	for _, r := range rows {
		ok := len(patterns) == 0
		for _, pattern := range patterns {
			matched, err := match(pattern, []string{r.Name})
			if err != nil {
				return nil, err
			}
			ok = ok || len(matched) > 0
		}
		if ok && (len(states) == 0 || wanted[r.State.State]) {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

func stateNames() []string {
	var names []string
	for _, m := range stateMarks {
		names = append(names, m.state)
	}
	return names
}

// listTable renders service.list_full for people.
func listTable(rows []wire.Listed, s style, width int, wide bool) string {
	if len(rows) == 0 {
		return ""
	}
	t := &table{style: s, width: width, columns: []column{
		{}, {head: "NAME"}, {head: "STATE"}, {head: "PID", right: true}, {head: "UPTIME", right: true}, {head: "RESTARTS", right: true},
	}}
	if wide {
		t.columns = append(t.columns, column{head: "MEMORY", right: true}, column{head: "CPU", right: true}, column{head: "CLASS"}, column{head: "WANTED"})
	}
	t.columns = append(t.columns, column{head: "INFO"})
	for _, r := range rows {
		color := stateColor(r.State)
		row := []cell{
			{markOf(r.State.State).symbol, color}, {r.Name, ""}, {stateText(r.State), color},
			{pidText(r.State.PID), ""}, {optionalMS(r.UptimeMS), ""}, {itoa(int64(r.Restarts)), ""},
		}
		if wide {
			row = append(row, cell{optionalSize(r.MemoryBytes), ""}, cell{optionalPercent(r.CPUPercent), ""}, cell{r.Class, ""}, cell{r.Wanted, ""})
		}
		t.add(append(row, cell{listInfo(r), ""})...)
	}
	return t.String()
}

// listInfo is the last column: why a service is not simply up.
func listInfo(r wire.Listed) string {
	text := terminal.Escape(r.Text)
	for _, said := range []string{r.Name + " ", "is blocked: ", "is stopping: ", "is starting: ", "failed: "} {
		text = strings.TrimPrefix(text, said)
	}
	if r.State.State == "running" {
		_, text, _ = strings.Cut(text, ": ")
	}
	if r.IsTarget {
		text = strings.TrimSuffix("target, "+text, ", ")
	}
	if r.NextRestartMS != nil && !strings.Contains(text, "restart") {
		text = strings.TrimPrefix(text+"; restart in "+msText(*r.NextRestartMS), "; ")
	}
	return text
}

func pidText(pid *int) string {
	if pid == nil || *pid == 0 {
		return "-"
	}
	return itoa(int64(*pid))
}

func optionalMS(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return msText(*ms)
}

func optionalSize(n *uint64) string {
	if n == nil {
		return "-"
	}
	return sizeText(*n)
}

func optionalPercent(p *float64) string {
	if p == nil {
		return "-"
	}
	return percentText(*p)
}
