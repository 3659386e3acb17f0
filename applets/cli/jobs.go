package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph/calendar"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func jobsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "jobs", Category: categoryLook, Usage: "services with a schedule: when they run next, how they ended last",
		Description: "One line a job, in order of the next run. --calendar and --cron print when an expression is due, without a server.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "calendar", Usage: "print when `EXPR`, a calendar expression, is due"},
			&cli.StringFlag{Name: "cron", Usage: "print when `EXPR`, the fields of a crontab, is due"},
			&cli.StringFlag{Name: "timezone", Usage: "of --calendar and --cron: the zone `NAME`"},
			&cli.StringFlag{Name: "base-time", Usage: "of --calendar and --cron: begin after `TIME` instead of now, for example at a change of the clock"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 5, Usage: "of --calendar and --cron: `N` times"},
		},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			if c.IsSet("calendar") || c.IsSet("cron") {
				return v.showDue(c)
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			list, err := client.Jobs(v.ctx)
			if err != nil {
				return err
			}
			return v.showJobs(list)
		}),
	}
}

// due is one time of an expression, in JSON.
type due struct {
	At     string `json:"at"`
	LeftMS int64  `json:"left_ms"`
}

// showDue prints the next times of an expression.
func (v *invocation) showDue(c *cli.Context) error {
	if c.IsSet("calendar") && c.IsSet("cron") {
		return usagef("jobs takes one of --calendar and --cron")
	}
	n := c.Int("lines")
	if n < 1 || n > maxDue {
		return usagef("jobs prints 1 to %d times, not %d", maxDue, n)
	}
	loc := time.Local
	if name := c.String("timezone"); name != "" {
		var err error
		if loc, err = time.LoadLocation(name); err != nil {
			return usagef("%q is no time zone: use a name such as Europe/Berlin or UTC", name)
		}
	}
	var schedule calendar.Schedule
	var err error
	if c.IsSet("cron") {
		schedule, err = calendar.ParseCron(c.String("cron"))
	} else {
		schedule, err = calendar.ParseCalendar(c.String("calendar"), time.LoadLocation)
	}
	if err != nil {
		return failf(exitBadConfig, "cannot read the expression: %v", err)
	}
	now := v.now()
	if c.IsSet("base-time") {
		if now, err = parseTime(c.String("base-time"), now.In(loc)); err != nil {
			return usagef("cannot read --base-time %q: %v", c.String("base-time"), err)
		}
	}
	list, lines := []due{}, []string{}
	for at, ok := schedule.Next(now, loc); ok && len(list) < n; at, ok = schedule.Next(at, loc) {
		at = at.In(loc)
		list = append(list, due{at.Format(time.RFC3339), at.Sub(now).Milliseconds()})
		lines = append(lines, at.Format("Mon 2006-01-02 15:04:05 MST")+"  in "+durationText(at.Sub(now)))
	}
	return v.print(list, lines, func() string {
		if len(lines) == 0 {
			lines = append(lines, "it is not due any more")
		}
		return "normalized: " + schedule.String() + "\n" + strings.Join(lines, "\n") + "\n"
	})
}

// maxDue is how many times of an expression are printed at most.
const maxDue = 10000

func (v *invocation) showJobs(list []wire.Job) error {
	names := []string{}
	t := &table{style: v.out.style, width: v.out.width, columns: []column{
		{head: "NAME"}, {head: "NEXT"}, {head: "LEFT", right: true}, {head: "LAST"}, {head: "TOOK", right: true}, {head: "RESULT"}, {head: "SCHEDULE"},
	}}
	for _, j := range list {
		names = append(names, j.Name)
		next, left := cell{"-", dim}, cell{"-", dim}
		switch {
		case j.Wanted == "down":
			next = cell{"stopped", yellow}
		case j.LeftMS != nil:
			next, left = cell{localTime(j.NextAt), ""}, cell{msText(*j.LeftMS), ""}
		}
		last, took, result := cell{"-", dim}, cell{"-", dim}, cell{"-", dim}
		if j.Last != nil {
			last, took = cell{localTime(j.Last.BeganAt), ""}, cell{msText(j.Last.TookMS), ""}
			result = runResult(*j.Last)
		}
		if j.RunningMS != nil {
			result = cell{"running for " + msText(*j.RunningMS), green}
		}
		if j.Queued > 0 {
			result.text += fmt.Sprintf(", %d queued", j.Queued)
		}
		var when []string
		for _, s := range j.Schedules {
			when = append(when, strings.TrimSpace(s.Kind+" "+s.Text+" "+s.Timezone))
		}
		t.add(cell{j.Name, ""}, next, left, last, took, result, cell{strings.Join(when, "; "), dim})
	}
	return v.print(list, names, func() string {
		if len(list) == 0 {
			return "no service has a schedule\n"
		}
		return t.String()
	})
}

// localTime is a time of the server as people here read it.
func localTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return t.Local().Format("Mon 2006-01-02 15:04:05")
}

func runResult(r wire.JobRun) cell {
	switch {
	case r.LeftOut != "":
		return cell{"left out: " + r.LeftOut, yellow}
	case r.Failed != "":
		return cell{r.Failed, red}
	case r.EndedAt == "":
		return cell{"running", green}
	case r.Signal != nil:
		return cell{fmt.Sprintf("signal %d", *r.Signal), yellow}
	case r.Code != nil && *r.Code != 0:
		return cell{fmt.Sprintf("exit %d", *r.Code), yellow}
	case r.Code != nil:
		return cell{"ok", green}
	}
	return cell{"unknown", dim}
}

func historyCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "history", Category: categoryLook, Usage: "the last runs of a job", ArgsUsage: "NAME",
		Description: "One line a run, the newest last: when it began, how long it took, how it ended, and which runs were left out and why.\n" +
			"zinit logs NAME --run N shows what one has written; -1 is the last one.",
		Flags: []cli.Flag{&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Usage: "only the last `N`"}},
		Action: v.withClient(1, 1, func(c *cli.Context, client *rpc.Client, names []string) error {
			list, err := client.JobHistory(v.ctx, names[0])
			if err != nil {
				return v.explain(client, "show the history of", names[0], err)
			}
			if n := c.Int("lines"); c.IsSet("lines") && n >= 0 && n < len(list) {
				list = list[len(list)-n:]
			}
			return v.showHistory(list)
		}),
	}
}

func (v *invocation) showHistory(list []wire.JobRun) error {
	lines := []string{}
	t := &table{style: v.out.style, width: v.out.width, columns: []column{
		{head: "RUN", right: true}, {head: "BEGAN"}, {head: "TOOK", right: true}, {head: "BY"}, {head: "RESULT"},
	}}
	for _, r := range list {
		lines = append(lines, r.BeganAt)
		run := cell{"-", dim}
		if r.Incarnation != 0 {
			run = cell{strconv.FormatUint(r.Incarnation, 10), ""}
		}
		t.add(run, cell{localTime(r.BeganAt), ""}, cell{msText(r.TookMS), ""}, cell{r.Cause, dim}, runResult(r))
	}
	return v.print(list, lines, func() string {
		if len(list) == 0 {
			return "it has not run yet\n"
		}
		return t.String()
	})
}
