package cli

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// How many lines `logs` shows when -n does not say, and how long -f waits for a server that is away.
const (
	logLines       = 100
	logLinesFollow = 10
	reconnectLimit = 30 * time.Second
)

func logCommands(v *invocation) []*cli.Command {
	return []*cli.Command{logsCommand(v), eventsCommand(v)}
}

func logsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "logs", Aliases: []string{"log"}, Category: categoryLogs, Usage: "what services wrote", ArgsUsage: "[NAME...]",
		Description: "Lines of several services (or of all, without a name) are merged by time, each with its service's name.\n" +
			"zinit is the server's own log, syslog what came over /dev/log from nobody's service.\n" +
			"-f goes on over a restart of the server; lines that were overwritten unread are counted on stderr.\n" +
			"TIME is RFC 3339, \"2006-01-02 15:04\", HH:MM, today, yesterday, or how long ago: 10m, -10min, \"2 hours ago\".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lines", Aliases: []string{"n"}, Usage: "the last `N` lines, or all (default: 100; 10 with -f; all with --since)"},
			&cli.StringSliceFlag{Name: "unit", Aliases: []string{"u"}, Usage: "the same as `NAME` without the flag, for who comes from journalctl", Hidden: true},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what is written from now on"},
			&cli.StringFlag{Name: "since", Usage: "not before `TIME`"},
			&cli.StringFlag{Name: "until", Usage: "not after `TIME`"},
			&cli.StringFlag{Name: "stream", Usage: "only `STREAM`: stdout, stderr or syslog"},
			&cli.StringFlag{Name: "run", Usage: "of a job only its run `N`, as zinit history numbers them; -1 is the last, -2 the one before"},
			&cli.StringFlag{Name: "grep", Aliases: []string{"g"}, Usage: "only lines that match the regular expression `REGEX`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "print as `FORMAT`: short, cat (the line alone) or json (one object a line)"},
		},
		Action: v.named(0, -1, func(c *cli.Context, given []string) error {
			given = append(given, c.StringSlice("unit")...)
			q, err := v.logQuery(c)
			if err != nil {
				return err
			}
			p, err := v.logPrinter(c)
			if err != nil {
				return err
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			chosen, err := v.expand(client, given)
			if err != nil {
				return err
			}
			if len(given) > 0 && len(chosen.names) == 0 {
				return silent(exitCode(chosen.problem))
			}
			q.Names = chosen.names
			p.prefix(chosen.names)
			if c.IsSet("run") {
				return v.showRun(c, client, p, q)
			}
			return firstError(v.showKnown(client, p, q, c.Bool("follow")), silent(exitCode(chosen.problem)))
		}),
	}
}

func (v *invocation) logQuery(c *cli.Context) (rpc.LogQuery, error) {
	q := rpc.LogQuery{Lines: logLines, Stream: c.String("stream"), Grep: c.String("grep")}
	switch {
	case c.Bool("follow") && c.IsSet("until"):
		return q, usagef("--follow and --until exclude each other")
	case c.Bool("follow"):
		q.Lines = logLinesFollow
	}
	if c.IsSet("since") || c.IsSet("until") {
		q.Lines = math.MaxInt32
	}
	if c.IsSet("lines") {
		n, err := strconv.Atoi(c.String("lines"))
		switch {
		case c.String("lines") == "all":
			n = math.MaxInt32
		case err != nil || n < 0:
			return q, usagef("cannot read --lines %q: want a number or all", c.String("lines"))
		}
		q.Lines = min(n, math.MaxInt32)
	}
	if q.Stream != "" && !slices.Contains([]string{"stdout", "stderr", "syslog"}, q.Stream) {
		return q, usagef("unknown stream %q: want stdout, stderr or syslog", q.Stream)
	}
	if _, err := regexp.Compile(q.Grep); err != nil {
		return q, usagef("cannot read the regular expression %q: %s", q.Grep, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	var err error
	if q.SinceMS, err = v.timeFlag(c, "since"); err != nil {
		return q, err
	}
	q.UntilMS, err = v.timeFlag(c, "until")
	return q, err
}

// showRun shows what one run of a job has written.
func (v *invocation) showRun(c *cli.Context, client *rpc.Client, p *logPrinter, q rpc.LogQuery) error {
	for _, other := range []string{"follow", "since", "until"} {
		if c.IsSet(other) {
			return usagef("--run and --%s exclude each other", other)
		}
	}
	n, err := strconv.ParseInt(c.String("run"), 10, 64)
	switch {
	case err != nil || n == 0:
		return usagef("cannot read --run %q: want the number of a run, or -1 for the last one, -2 for the one before", c.String("run"))
	case len(q.Names) != 1:
		return usagef("--run goes with one name")
	case !c.IsSet("lines"):
		q.Lines = math.MaxInt32
	}
	got, err := client.JobLog(v.ctx, rpc.RunQuery{Name: q.Names[0], Run: n, Lines: q.Lines, Stream: q.Stream, Grep: q.Grep})
	if err != nil {
		return v.explain(client, "show a run of", q.Names[0], err)
	}
	p.lines(got.Lines)
	if got.Missing != "" {
		v.note(q.Names[0] + ", run of " + localTime(got.Run.BeganAt) + ": " + got.Missing)
	}
	return nil
}

// timeFlag is a flag's point in time in ms of the wall clock, 0 when it is not set.
func (v *invocation) timeFlag(c *cli.Context, name string) (int64, error) {
	if !c.IsSet(name) {
		return 0, nil
	}
	t, err := parseTime(c.String(name), v.now())
	if err != nil {
		return 0, usagef("cannot read --%s %q: %v", name, c.String(name), err)
	}
	return max(t.UnixMilli(), 1), nil
}

// showKnown shows the logs of the names that the server knows; of the others it says that they are unknown, and the exit
// code tells of them.
func (v *invocation) showKnown(client *rpc.Client, p *logPrinter, q rpc.LogQuery, follow bool) error {
	var unknown error
	for {
		err := v.showLogs(client, p, q, follow)
		if !isCode(err, wire.CodeNotFound) || len(q.Names) == 0 {
			return firstError(err, silent(exitCode(unknown)))
		}
		name := v.unknownLog(client, q.Names)
		unknown = v.explain(client, "show the log of", name, err)
		if len(q.Names) == 1 {
			return unknown
		}
		v.complain(unknown.Error())
		q.Names = slices.DeleteFunc(slices.Clone(q.Names), func(n string) bool { return n == name })
	}
}

// unknownLog is the first name of which there is no log.
func (v *invocation) unknownLog(client *rpc.Client, names []string) string {
	known, err := client.List(v.ctx)
	known = append(known, "zinit", "syslog")
	i := slices.IndexFunc(names, func(n string) bool { return err == nil && !slices.Contains(known, n) })
	return names[max(i, 0)]
}

func (v *invocation) showLogs(client *rpc.Client, p *logPrinter, q rpc.LogQuery, follow bool) error {
	if follow {
		return v.followLogs(p, q)
	}
	lines, err := client.Logs(v.ctx, q)
	if err != nil {
		return err
	}
	sort.SliceStable(lines, func(i, j int) bool { return lines[i].TimestampMS < lines[j].TimestampMS })
	p.lines(lines)
	return nil
}

func (v *invocation) followLogs(p *logPrinter, q rpc.LogQuery) error {
	stream, err := v.another(rpc.WithReconnect(reconnectLimit))
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // nothing is left to send
	err = stream.FollowLogs(v.ctx, q, func(f wire.Follow) error {
		if f.Missed > 0 {
			p.endCut()
			v.complain(missedText(f))
		}
		p.lines(f.Lines)
		return v.out.flush()
	})
	switch {
	case v.out.closed:
		return nil
	case v.ctx.Err() != nil:
		return silent(exitInterrupted)
	}
	return err
}

func missedText(f wire.Follow) string {
	text := plural(int(f.Missed), "line") + " overwritten before they could be shown"
	if f.Missed == 1 {
		text = "1 line overwritten before it could be shown"
	}
	if f.Service != "" {
		return f.Service + ": " + text
	}
	return text
}

// logPrinter writes log lines in one of the formats of `logs -o`.
type logPrinter struct {
	out    *output
	format string        // short, cat, json
	names  bool          // each line has its service's name
	width  int           // of the name column so far
	cut    *wire.LogLine // with cat: the piece of a longer line that was written last
}

func (v *invocation) logPrinter(c *cli.Context) (*logPrinter, error) {
	p := &logPrinter{out: v.out, format: c.String("output")}
	switch p.format {
	case "short", "cat", "json":
	case "":
		p.format = "short"
		if v.format.machine() {
			p.format = "json"
		}
	case "jsonl":
		p.format = "json"
	case "table", "wide":
		p.format = "short"
	default:
		return nil, usagef("unknown output format %q: want short, cat or json", p.format)
	}
	return p, nil
}

// maxPrefix is the widest name column that one long name may cause.
const maxPrefix = 24

func (p *logPrinter) prefix(names []string) {
	p.names = len(names) != 1
	for _, name := range names {
		p.width = max(p.width, min(len(name), maxPrefix))
	}
}

// lines writes lines that came together, with one width of the names.
func (p *logPrinter) lines(lines []wire.LogLine) {
	for i := range lines {
		p.width = max(p.width, min(utf8.RuneCountInString(lines[i].Service), maxPrefix))
	}
	for _, l := range lines {
		p.line(l)
	}
}

func (p *logPrinter) line(l wire.LogLine) {
	switch p.format {
	case "json":
		p.out.print(string(document(l)) + "\n")
	case "cat":
		p.cat(l)
	default:
		p.out.print(p.short(l) + "\n")
	}
}

// cat writes the text alone. The pieces of a line that was cut become one line again; one whose next piece is missing is
// ended before another line.
func (p *logPrinter) cat(l wire.LogLine) {
	if c := p.cut; c != nil && (c.Service != l.Service || c.Stream != l.Stream || c.PID != l.PID) {
		p.endCut()
	}
	p.out.print(p.safe(l.Content))
	if p.cut = nil; l.Continued {
		p.cut = &l
	} else {
		p.out.print("\n")
	}
}

// endCut ends a line of which the next piece will not come.
func (p *logPrinter) endCut() {
	if p.cut != nil {
		p.out.print("\n")
		p.cut = nil
	}
}

func (p *logPrinter) short(l wire.LogLine) string {
	s := p.out.style
	head := s.paint(dim, time.UnixMilli(l.TimestampMS).Format("2006-01-02 15:04:05.000")) + " "
	if p.names {
		head += s.paint(nameColor(l.Service), fmt.Sprintf("%-*s", p.width, l.Service)) + " | "
	}
	return head + s.paintLine(&l, p.safe(l.Content))
}

// safe escapes what would steer a terminal, but for colours; a file or a pipe gets the line as it is.
func (p *logPrinter) safe(content string) string {
	switch {
	case p.out.terminal:
		return terminal.Show(content, p.out.style.on)
	case p.out.strip:
		return terminal.Strip(content)
	}
	return content
}

// paintLine gives a line of a log its colour, unless it has colours of its own.
func (s style) paintLine(l *wire.LogLine, shown string) string {
	if terminal.HasColor(shown) {
		return shown
	}
	return s.paint(lineColor(l), shown)
}

// lineColor follows the severity, as journalctl does, and where there is none the stream.
func lineColor(l *wire.LogLine) string {
	switch l.Severity {
	case "emerg", "alert", "crit", "err":
		return red
	case "warning":
		return yellow
	case "debug":
		return dim
	case "":
		if l.Stream == "stderr" {
			return yellow
		}
	}
	return ""
}

// nameColor gives each service a colour of its own, the same every time.
func nameColor(name string) string {
	colors := []string{"32", "34", "35", "36", "92", "94", "95", "96"}
	sum := 0
	for i := range len(name) {
		sum = sum*31 + int(name[i])
	}
	return colors[uint(sum)%uint(len(colors))]
}
