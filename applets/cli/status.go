package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func statusCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "status", Category: categoryLook, Usage: "everything about a service, or an overview", ArgsUsage: "[NAME...]",
		Description: "Without a name: version, uptime, how many services are in which state, and what is failed or blocked.\n" +
			"With names: a page each. Exit code 0 when all are active, 3 when one is not, 4 when one does not exist.",
		Action: v.withClient(0, -1, func(_ *cli.Context, client *rpc.Client, names []string) error {
			if len(names) == 0 {
				return v.overview(client)
			}
			return v.statusPages(client, names)
		}),
	}
}

func (v *invocation) overview(client *rpc.Client) error {
	s, err := client.SystemStatus(v.ctx)
	if err != nil {
		return err
	}
	return v.print(s, nil, func() string { return overviewPage(s, v.out.style) })
}

func (v *invocation) statusPages(client *rpc.Client, given []string) error {
	chosen, err := v.expand(client, given)
	if err != nil {
		return err
	}
	code := exitCode(chosen.problem)
	var found []wire.StatusFull
	var names []string
	for _, name := range chosen.names {
		s, err := client.StatusFull(v.ctx, name)
		switch {
		case isCode(err, wire.CodeNotFound):
			v.complain(describe(v.explain(client, "show", name, err)))
			code = worst(code, exitStatusUnknown)
			continue
		case err != nil:
			return v.explain(client, "show", name, err)
		case !isActive(s):
			code = worst(code, exitNotActive)
		}
		found, names = append(found, s), append(names, name)
	}
	if len(found) > 0 {
		if err := v.print(oneOrAll(chosen.single, found), names, func() string { return v.pages(found) }); err != nil {
			return err
		}
	}
	return silent(code)
}

// oneOrAll is the JSON of a command with names: one object for one literal name, a list otherwise.
func oneOrAll[T any](single bool, all []T) any {
	if single && len(all) == 1 {
		return all[0]
	}
	return all
}

func (v *invocation) pages(found []wire.StatusFull) string {
	var pages []string
	for _, s := range found {
		pages = append(pages, statusPage(s, v.out.style, v.out.width, v.now()))
	}
	return strings.Join(pages, "\n")
}

// isActive: running, or a oneshot that has done its work and was not asked to stop.
func isActive(s wire.StatusFull) bool {
	switch s.State.State {
	case "running":
		return true
	case "exited":
		return s.Oneshot && s.State.ExitCode != nil && s.Wanted != "down"
	}
	return false
}

// page collects "label  value" lines.
type page struct {
	b     strings.Builder
	style style
	width int
}

// labelWidth is the width of the labels on a status page, in columns.
const labelWidth = 12

func (p *page) line(label, value string) {
	if value != "" {
		p.b.WriteString("  " + p.style.paint(dim, fmt.Sprintf("%-*s", labelWidth, label)) + " " + value + "\n")
	}
}

// block writes several lines below one label.
func (p *page) block(label string, lines []string) {
	for _, l := range lines {
		p.b.WriteString("  " + p.style.paint(dim, fmt.Sprintf("%-*s", labelWidth, label)) + " " + l + "\n")
		label = ""
	}
}

// statusPage renders service.status_full for people.
func statusPage(s wire.StatusFull, st style, width int, now time.Time) string {
	p := &page{style: st, width: width}
	p.b.WriteString(headline(s, st, now) + "\n")
	p.line("cause", causeText(s))
	p.line("says", terminal.Escape(saysText(s)))
	p.line("since", sinceText(s.Since, now))
	p.line("ready", readyText(s))
	p.line("last exit", lastExitText(s.LastExit, now))
	p.line("restarts", restartsText(s))
	p.line("health", healthText(s.Health, now))
	p.line("next run", nextRunText(s.Job))
	p.line("memory", memoryText(s))
	p.line("ports", portsText(s.Ports))
	p.line("kind", kindText(s))
	p.line("file", sourceText(s))
	if s.ChangedOnDisk != "" {
		p.line("", st.paint(yellow, "changed on disk: "+terminal.Escape(s.ChangedOnDisk))+" (zinit reload)")
	}
	p.line("tracking", terminal.Escape(trackingText(s)))
	for _, w := range s.Warnings {
		p.line("warning", st.paint(yellow, terminal.Escape(w)))
	}
	p.block("output to", sinkLines(s.Sinks, st))
	p.block("depends on", dependencyLines(s.Dependencies, st))
	p.block("processes", processLines(s.Processes, p.room()))
	p.block("log", logTail(s.Log, st, p.room()))
	return p.b.String()
}

// room is how wide a value may be, 0 = as it likes.
func (p *page) room() int {
	if p.width == 0 {
		return 0
	}
	return max(p.width-labelWidth-3, 20)
}

// saysText is what the service says of itself by sd_notify.
func saysText(s wire.StatusFull) string {
	if s.Announced == "" || s.StatusText == "" {
		return s.Announced + s.StatusText
	}
	return s.Announced + ": " + s.StatusText
}

// causeText is why a service is as it is, where the headline does not say it already.
func causeText(s wire.StatusFull) string {
	text := strings.TrimPrefix(terminal.Escape(s.Cause), s.Name+" ")
	if _, more, found := strings.Cut(text, ": "); found && (s.State.State == "running" || strings.HasPrefix(text, "is ")) {
		return more
	}
	if s.State.State == "running" || text == s.State.State {
		return ""
	}
	return strings.TrimPrefix(text, "failed: ")
}

func headline(s wire.StatusFull, st style, now time.Time) string {
	text := st.symbol(s.State.State) + " " + st.paint(bold, s.Name) + "  " + st.stateWord(s.State)
	if s.IsTarget {
		text += " target"
	}
	if since, ok := ago(s.Since, now); ok {
		text += " for " + durationText(since)
	}
	if s.PID > 0 {
		text += ", pid " + itoa(int64(s.PID))
	}
	if s.Unkillable {
		text += ", " + st.paint(red, "a process survives SIGKILL")
	}
	if s.State.State == "failed" && s.OOM {
		text += ", out of memory"
	}
	return text
}

// ago is how long before now an RFC 3339 time was.
func ago(at string, now time.Time) (time.Duration, bool) {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil || t.IsZero() {
		return 0, false
	}
	return max(now.Sub(t), 0), true
}

const clockLayout = "2006-01-02 15:04:05"

func clockText(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.In(now.Location()).Format(clockLayout)
}

func sinceText(at string, now time.Time) string {
	if _, ok := ago(at, now); !ok {
		return ""
	}
	return clockText(at, now)
}

func readyText(s wire.StatusFull) string {
	ready, err := time.Parse(time.RFC3339Nano, s.ReadyAt)
	if err != nil || s.State.State != "running" {
		return ""
	}
	if s.StartedAt == "" {
		return ""
	}
	started, err := time.Parse(time.RFC3339Nano, s.StartedAt)
	if err != nil {
		return ""
	}
	return "after " + durationText(ready.Sub(started))
}

func lastExitText(e *wire.Exit, now time.Time) string {
	if e == nil {
		return ""
	}
	text := terminal.Escape(e.Text)
	if d, ok := ago(e.At, now); ok {
		text += ", " + durationText(d) + " ago (" + clockText(e.At, now) + ")"
	}
	return text
}

func restartsText(s wire.StatusFull) string {
	if s.IsTarget || s.Restarts == 0 && s.NextRestartMS == nil {
		return ""
	}
	text := itoa(int64(s.Restarts))
	if s.MaxRestarts > 0 {
		text += " of " + itoa(int64(s.MaxRestarts))
	}
	if s.NextRestartMS != nil {
		return text + ", next in " + msText(*s.NextRestartMS)
	}
	if s.MaxRestarts > 0 && s.Restarts >= s.MaxRestarts {
		return text
	}
	return text + ", delay of the next " + msText(s.BackoffMS)
}

func healthText(h *wire.HealthStatus, now time.Time) string {
	if h == nil {
		return ""
	}
	text := h.Type + " " + terminal.Escape(h.Target) + ": "
	switch {
	case h.LastOK == nil:
		return text + "not checked yet"
	case *h.LastOK:
		text += "passed"
	case h.FailuresRow == 0: // before ready, and in the start period, failures do not count
		text += "failed"
	default:
		text += fmt.Sprintf("failed %d in a row", h.FailuresRow)
	}
	if d, ok := ago(h.LastAt, now); ok {
		text += " " + durationText(d) + " ago"
	}
	text += ", " + plural(h.Checks, "check")
	detail := terminal.Escape(h.LastDetail)
	for _, method := range graph.MethodWords() {
		detail = strings.TrimPrefix(detail, method+" "+terminal.Escape(h.Target)+" ")
	}
	if detail != "" {
		text += ", last: " + detail
	}
	return text
}

// nextRunText is when a job runs next.
func nextRunText(j *wire.Job) string {
	switch {
	case j == nil:
		return ""
	case j.Wanted == "down":
		return "none: it is stopped"
	case j.LeftMS == nil:
		return "none before the present run has ended"
	}
	text := localTime(j.NextAt) + ", in " + msText(*j.LeftMS)
	if j.Queued > 0 {
		text += fmt.Sprintf(", %d queued", j.Queued)
	}
	return text
}

func memoryText(s wire.StatusFull) string {
	if len(s.Processes) == 0 {
		return ""
	}
	return fmt.Sprintf("%s in %s, cpu %s", sizeText(s.MemoryBytes), plural(len(s.Processes), "process"), percentText(s.CPUPercent))
}

func portsText(ports []int) string {
	var texts []string
	for _, p := range ports {
		texts = append(texts, itoa(int64(p)))
	}
	return strings.Join(texts, ", ")
}

// kindText names only what is out of the ordinary.
func kindText(s wire.StatusFull) string {
	var parts []string
	if s.Oneshot {
		parts = append(parts, "oneshot")
	}
	if s.Class == "system" {
		parts = append(parts, "system class")
	}
	if s.Critical {
		parts = append(parts, "critical")
	}
	if s.StatusKey != "" && s.StatusKey != "start" {
		parts = append(parts, "status = "+s.StatusKey)
	}
	if s.Wanted == "down" {
		parts = append(parts, "wanted down")
	}
	return strings.Join(parts, ", ")
}

func sourceText(s wire.StatusFull) string {
	switch {
	case s.Source != "":
		return terminal.Escape(s.Source)
	case s.Ephemeral:
		return "none: added at run time, lost when the server ends, not touched by reload"
	}
	return ""
}

func trackingText(s wire.StatusFull) string {
	if s.Cgroup != "" {
		return "cgroup " + s.Cgroup
	}
	if len(s.Processes) == 0 {
		return ""
	}
	return s.Tracking
}

func sinkLines(sinks []wire.Sink, st style) []string {
	var lines []string
	for _, s := range sinks {
		text := terminal.Escape(s.Target) + ": " + plural(int(s.Written), "line")
		if s.Delivery != "" { // a server of before there was one says nothing
			text += " " + s.Delivery
		}
		if s.Queued > 0 {
			text += fmt.Sprintf(", %d waiting", s.Queued)
		}
		if s.Lost > 0 {
			text += ", " + st.paint(red, fmt.Sprintf("%d lost", s.Lost))
		}
		if s.Errors > 0 {
			text += ", " + st.paint(errorColor(s), errorsText(s))
		}
		lines = append(lines, text)
	}
	return lines
}

// errorsText tells the last error; where writing works again there is none, and the count is history.
func errorsText(s wire.Sink) string {
	if s.Last == "" {
		return plural(int(s.Errors), "error") + " before, works again"
	}
	return plural(int(s.Errors), "error") + ", the last: " + terminal.Escape(s.Last)
}

func errorColor(s wire.Sink) string {
	if s.Last == "" {
		return dim
	}
	return yellow
}

func dependencyLines(deps []wire.Dependency, st style) []string {
	if len(deps) == 0 {
		return nil
	}
	t := &table{style: st, noHead: true, columns: make([]column, 5)}
	for _, d := range deps {
		color := stateColor(d.State)
		mark, word, unmet := markOf(d.State.State).symbol, stateText(d.State), ""
		if d.Missing {
			mark, word, color = "[ ]", "does not exist", red
		}
		if !d.Satisfied && d.DepType != "wants" {
			unmet = "not met"
		}
		t.add(cell{edgeWord(d), ""}, cell{mark, color}, cell{d.Name, ""}, cell{word, color}, cell{unmet, yellow})
	}
	return strings.Split(strings.TrimSuffix(t.String(), "\n"), "\n")
}

func edgeWord(d wire.Dependency) string {
	if d.Binds {
		return "binds"
	}
	return d.DepType
}

func processLines(list []wire.Process, room int) []string {
	if len(list) == 0 {
		return nil
	}
	depth := depths(list)
	t := &table{width: room, columns: []column{{head: "PID", right: true}, {head: "MEMORY", right: true}, {head: "CPU TIME", right: true}, {head: "COMMAND"}}}
	for _, p := range list {
		text := p.Cmdline
		if text == "" {
			text = "[" + p.Name + "]"
		}
		text = strings.Repeat("  ", depth[p.PID]) + terminal.Escape(text)
		if p.State == "zombie" || p.State == "stopped" || p.State == "disk-sleep" {
			text += " (" + p.State + ")"
		}
		if p.Stray {
			text += " (stray)"
		}
		if p.Outside {
			text += " (outside its control group)"
		}
		t.add(cell{itoa(int64(p.PID)), ""}, cell{sizeText(p.MemoryBytes), ""}, cell{msText(p.CPUMS), ""}, cell{text, ""})
	}
	return strings.Split(strings.TrimSuffix(t.String(), "\n"), "\n")
}

// depths tells how far each process is below the ones of the tree that have no parent in it.
func depths(list []wire.Process) map[int]int {
	parent := map[int]int{}
	for _, p := range list {
		parent[p.PID] = p.PPID
	}
	depth := map[int]int{}
	for _, p := range list {
		n := 0
		for up, ok := parent[p.PID]; ok && n <= 8; up, ok = parent[up] {
			if _, inside := parent[up]; !inside {
				break
			}
			n++
		}
		depth[p.PID] = n
	}
	return depth
}

func logTail(lines []wire.LogLine, st style, room int) []string {
	var texts []string
	for _, l := range lines {
		text := time.UnixMilli(l.TimestampMS).Format("15:04:05.000") + "  " + terminal.Show(l.Content, st.on)
		if room > 0 {
			text = terminal.Cut(text, room)
		}
		texts = append(texts, st.paintLine(&l, text))
	}
	return texts
}

// overviewPage renders system.status for people.
func overviewPage(s wire.SystemStatus, st style) string {
	p := &page{style: st}
	head := fmt.Sprintf("%s %s, pid %d, up %s", st.paint(bold, "zinit"), s.Version, s.PID, msText(s.UptimeMS))
	if s.ShuttingDown {
		head += ", " + st.paint(yellow, "shutting down")
	}
	p.b.WriteString(head + "\n")
	p.line("services", countsText(s.Counts, st))
	p.line("mode", s.Mode)
	p.line("config", terminal.Escape(strings.Join(s.ConfigDirs, ", ")))
	p.line("socket", terminal.Escape(s.Socket))
	p.line("tracking", terminal.Escape(s.Tracking))
	if s.ServerStarts > 1 {
		p.line("server", plural(s.ServerStarts, "start"))
	}
	p.line("crashed", terminal.Escape(s.LastCrash))
	p.line("rolled back", terminal.Escape(s.RolledBack))
	if s.LogArenaBytes > 0 {
		p.line("log memory", sizeText(s.LogArenaBytes))
	}
	p.block("forwarding", sinkLines(s.Sinks, st))
	p.block("failed", causeLines(s.Failed, st))
	p.block("blocked", causeLines(s.Blocked, st))
	var problems []string
	for _, x := range s.Problems {
		problems = append(problems, problemLine(x, st))
	}
	p.block("problems", problems)
	p.block("strays", processLines(s.Strays, 0))
	return p.b.String()
}

func countsText(counts map[string]int, st style) string {
	var parts []string
	total := 0
	for _, m := range stateMarks {
		if n := counts[m.state]; n > 0 {
			total += n
			parts = append(parts, st.paint(m.color, fmt.Sprintf("%d %s", n, m.state)))
		}
	}
	if total == 0 {
		return "none"
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

func causeLines(links []wire.CauseLink, st style) []string {
	var lines []string
	for _, l := range links {
		lines = append(lines, st.symbol(l.State.State)+" "+l.Name+" "+terminal.Escape(l.Text))
	}
	return lines
}
