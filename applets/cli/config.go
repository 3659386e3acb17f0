package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/proc"
)

func configCommands(v *invocation) []*cli.Command {
	return []*cli.Command{
		checkCommand(v), planCommand(v), reloadCommand(v), addServiceCommand(v), removeCommand(v), getCommand(v), schemaCommand(v),
	}
}

func checkCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "check", Category: categoryConfig, Usage: "every problem of a configuration directory; needs no server", ArgsUsage: "[DIR...]",
		Description: "Prints each problem as FILE:LINE:COLUMN: SEVERITY: what, and exits 6 when there is an error.\n" +
			"DIR is a directory of files, or a root such as /etc/zinit with services/ in it; without one the project that this directory is in,\nelse the server's default.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "lenient", Usage: "unknown keys are warnings"},
			&cli.StringSliceFlag{Name: "profile", Usage: "with the services of profile `NAME`; repeatable"},
			&cli.BoolFlag{Name: "system", Usage: "read system/ of a root too, as process 1 does (--system=false: not)", Value: true},
		},
		Action: v.named(0, -1, func(c *cli.Context, dirs []string) error {
			if len(dirs) == 0 {
				var err error
				if dirs, err = v.ownDirs(); err != nil {
					return err
				}
			}
			for _, dir := range dirs {
				if _, err := os.Stat(dir); err != nil {
					return failf(exitBadConfig, "cannot check %s: %v", dir, cause(err))
				}
			}
			return v.check(dirs, confdir.Options{Lenient: c.Bool("lenient") || os.Getenv("ZINIT_LENIENT") == "1", System: c.Bool("system"), Trust: true,
				Profiles: c.StringSlice("profile")})
		}),
	}
}

// ownDirs are the directories that a server started here would load.
func (v *invocation) ownDirs() ([]string, error) {
	if !v.system && os.Getenv("ZINIT_CONFIG_DIR") == "" {
		p, err := v.findProject()
		if err != nil {
			return nil, err
		}
		if p != nil {
			return p.Configs, nil
		}
	}
	dir, _ := rpc.System().ConfigDir()
	return []string{dir}, nil
}

func (v *invocation) check(dirs []string, o confdir.Options) error {
	var found []graph.Problem
	o.Dirs, o.EnvFile = dirs, proc.EnvFileValues
	for _, dir := range dirs { // the server goes by the last one's
		settings, more := confdir.LoadSettings(confdir.SettingsFile(dir), o)
		found, o.Settings = append(found, more...), settings
	}
	loaded := confdir.Load(dirs, o)
	lines := slices.Concat(lineProblems(loaded.Configs), envFileProblems(loaded.Configs))
	loaded.Locate(lines)
	problems := append(append(loaded.Problems, lines...), found...)
	counts := map[graph.Severity]int{}
	report := []wire.Problem{}
	for _, p := range problems {
		counts[p.Severity]++
		report = append(report, wireProblem(p))
	}
	if v.format.machine() {
		v.out.document(v.format, report)
	} else {
		for _, p := range report {
			v.out.print(problemLine(p, v.out.style) + "\n")
		}
		v.note(checkSummary(len(loaded.Configs), counts))
	}
	if counts[graph.SeverityError] > 0 {
		return silent(exitBadConfig)
	}
	return nil
}

func wireProblem(p graph.Problem) wire.Problem {
	return wire.Problem{File: shortPath(p.File), Line: p.Line, Column: p.Column, Service: p.Service, Severity: p.Severity.String(), Message: shortPaths(p.Message)}
}

// shortPath writes a path below the working directory relative to it.
func shortPath(path string) string {
	here, err := os.Getwd()
	if err != nil || path == "" {
		return path
	}
	rel, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

// shortPaths does the same to the paths within a message.
func shortPaths(text string) string {
	here, err := os.Getwd()
	if err != nil || here == "/" {
		return text
	}
	return strings.ReplaceAll(text, here+"/", "")
}

// problemLine is FILE:LINE:COLUMN: SEVERITY: MESSAGE, as compilers write it, so that editors can jump there.
func problemLine(p wire.Problem, st style) string {
	where := p.File
	if p.Line > 0 {
		where += fmt.Sprintf(":%d", p.Line)
		if p.Column > 0 {
			where += fmt.Sprintf(":%d", p.Column)
		}
	}
	if where == "" {
		where = p.Service
	}
	color := map[string]string{"error": red, "warning": yellow, "note": cyan}[p.Severity]
	text := st.paint(color, p.Severity+":") + " " + terminal.Escape(p.Message)
	if where == "" {
		return text
	}
	return terminal.Escape(where) + ": " + text
}

func checkSummary(services int, counts map[graph.Severity]int) string {
	var parts []string
	for s := graph.SeverityError; s <= graph.SeverityNote; s++ {
		if counts[s] > 0 {
			parts = append(parts, plural(counts[s], s.String()))
		}
	}
	if len(parts) == 0 {
		parts = []string{"no problems"}
	}
	return plural(services, "definition") + " loaded, " + strings.Join(parts, ", ")
}

func planCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "plan", Category: categoryConfig, Usage: "what a reload would do, service by service, and why",
		Action: v.withClient(0, 0, func(_ *cli.Context, client *rpc.Client, _ []string) error {
			plan, err := client.Plan(v.ctx)
			if err != nil {
				return v.explainConfig("plan", err)
			}
			return v.showPlan(plan, false)
		}),
	}
}

func reloadCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "reload", Category: categoryConfig, Usage: "read the configuration again and apply the difference",
		Description: "Only services that changed in a way that a running process depends on are restarted; zinit plan shows which.\n" +
			"A cycle refuses the whole reload; a broken file keeps the definition that runs.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "allow-removal", Usage: "remove services even if running ones require them"}},
		Action: v.withClient(0, 0, func(c *cli.Context, client *rpc.Client, _ []string) error {
			plan, err := client.Reload(v.ctx, c.Bool("allow-removal"))
			if err != nil {
				return v.explainConfig("reload", err)
			}
			return v.showPlan(plan, true)
		}),
	}
}

// explainConfig words the refusals that concern the whole configuration.
func (v *invocation) explainConfig(verb string, err error) error {
	var answer *wire.Error
	if !errors.As(err, &answer) {
		return err
	}
	text := answer.Message
	if !strings.HasPrefix(text, "cannot "+verb) {
		text = "cannot " + verb + ": " + text
	}
	switch {
	case answer.Code == wire.CodeUnsafeRemoval && !strings.Contains(text, "--allow-removal"):
		text += " (to do it anyway: zinit reload --allow-removal)"
	case answer.Code == wire.CodeCycle && !strings.Contains(text, "nothing was changed"):
		text += "; nothing was changed"
	}
	return failf(exitCode(err), "%s", text)
}

// showPlan prints what a reload does or did; configuration errors go to stderr and make the exit code 6.
func (v *invocation) showPlan(plan wire.Plan, done bool) error {
	for _, p := range plan.ConfigErrors {
		p.File, p.Message = shortPath(p.File), shortPaths(p.Message)
		if !v.format.machine() {
			_ = v.out.flush()
			fmt.Fprintln(v.err, problemLine(p, v.errStyle)) //nolint:errcheck // there is nowhere to tell it
		}
	}
	var names []string
	for _, a := range plan.Actions {
		names = append(names, a.Name)
	}
	if err := v.print(plan, names, func() string { return v.planText(plan, done) }); err != nil {
		return err
	}
	if plan.Refused != "" && !v.format.machine() {
		_ = v.out.flush()
		v.complain("a reload would be refused: " + strings.TrimSuffix(plan.Refused, ", nothing was changed"))
	}
	if hasErrors(plan) || plan.Refused != "" {
		return silent(exitBadConfig)
	}
	return nil
}

// planMarks are the signs of what a reload does to a service.
var planMarks = map[string]cell{
	"add": {"+", green}, "start": {"+", green}, "restart": {"~", yellow}, "update": {"~", cyan},
	"stop": {"-", red}, "remove": {"-", red}, "keep": {" ", dim},
}

func (v *invocation) planText(plan wire.Plan, done bool) string {
	switch {
	case v.quiet, len(plan.Actions) == 0 && plan.Refused != "":
		return ""
	case len(plan.Actions) == 0 && hasErrors(plan):
		return "nothing to do: services with errors stay as they are, the others are what the files say\n"
	case len(plan.Actions) == 0:
		return "nothing to do: what is loaded is what the files say\n"
	}
	t := &table{style: v.out.style, width: v.out.width, noHead: true, columns: make([]column, 4)}
	counts := map[string]int{}
	for _, a := range plan.Actions {
		mark := planMarks[a.Action]
		counts[a.Action]++
		t.add(mark, cell{a.Name, ""}, cell{a.Action, mark.color}, cell{terminal.Escape(a.Reason), ""})
	}
	return t.String() + planSummary(counts, done, plan) + "\n"
}

func hasErrors(plan wire.Plan) bool {
	return slices.ContainsFunc(plan.ConfigErrors, func(p wire.Problem) bool { return p.Severity == "error" })
}

// planWords are the actions in the order of the sum, before and after they are done.
var planWords = [][2]string{
	{"add", "added"}, {"start", "started"}, {"restart", "restarted"}, {"update", "updated"}, {"stop", "stopped"}, {"remove", "removed"}, {"keep", "kept"},
}

func planSummary(counts map[string]int, done bool, plan wire.Plan) string {
	var todo, did []string
	for _, words := range planWords {
		if n := counts[words[0]]; n > 0 {
			todo = append(todo, fmt.Sprintf("%d to %s", n, words[0]))
			did = append(did, fmt.Sprintf("%d %s", n, words[1]))
		}
	}
	switch {
	case plan.Refused != "":
		return strings.Join(todo, ", ") + "; nothing was changed"
	case !done:
		return strings.Join(todo, ", ") + "; nothing was changed (do it: zinit reload)"
	case plan.Pending:
		return strings.Join(todo, ", ") + "; under way (watch it: zinit events -f)"
	}
	return strings.Join(did, ", ")
}

func addServiceCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "add-service", Aliases: []string{"add"}, Category: categoryConfig, Usage: "add a service from a file or from flags",
		ArgsUsage: "FILE | NAME --exec COMMAND",
		Description: "FILE is a service file as in the configuration directory, - is stdin. The service is neither saved nor started\n" +
			"unless --persist and --start say so.",
		Flags: addFlags(),
		Action: v.named(0, 1, func(c *cli.Context, args []string) error {
			config, err := v.newService(c, args)
			if err != nil {
				return err
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			added, err := client.Add(v.ctx, config.document, c.Bool("persist"))
			if err != nil {
				return v.explainAdd(config.name, err)
			}
			return v.reportAdded(client, added, c.Bool("start"))
		}),
	}
}

func addFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the service's `NAME`"},
		&cli.StringFlag{Name: "exec", Usage: "the `COMMAND` to run"},
		&cli.StringFlag{Name: "dir", Usage: "its working `DIRECTORY`"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for its environment; repeatable"},
		&cli.BoolFlag{Name: "oneshot", Usage: "it runs once and ends"},
	}
	for _, kind := range dependencyKinds {
		flags = append(flags, &cli.StringSliceFlag{Name: kind, Usage: "`NAME` of a service it " + kindUsage[kind] + "; repeatable"})
	}
	return append(flags,
		&cli.StringFlag{Name: "restart", Usage: "`POLICY`: always, on-failure or never"},
		&cli.StringFlag{Name: "restart-delay", Usage: "`TIME` before the first restart, in ms or as 2s"},
		&cli.StringFlag{Name: "restart-delay-max", Usage: "`TIME` that the growing delay stops at"},
		&cli.IntFlag{Name: "max-restarts", Usage: "give up after `N` restarts, 0 = never"},
		&cli.StringFlag{Name: "status", Usage: "`STATUS` at load: start, stop or ignore"},
		&cli.StringFlag{Name: "user", Usage: "the `USER` it runs as"},
		&cli.BoolFlag{Name: "persist", Usage: "write it to the configuration directory"},
		&cli.BoolFlag{Name: "ephemeral", Usage: "do not write it (the default)"},
		&cli.BoolFlag{Name: "start", Usage: "start it and wait until it runs"},
	)
}

var dependencyKinds = []string{"after", "requires", "wants", "conflicts", "binds"}

var kindUsage = map[string]string{
	"after": "starts after", "requires": "requires", "wants": "wants", "conflicts": "cannot run together with", "binds": "lives and dies with",
}

// definition is a service to be added: its name and the document for service.add.
type definition struct {
	name     string
	document json.RawMessage
}

func (v *invocation) newService(c *cli.Context, args []string) (*definition, error) {
	if c.Bool("persist") && c.Bool("ephemeral") {
		return nil, usagef("--persist and --ephemeral exclude each other")
	}
	if c.IsSet("exec") {
		return v.serviceFromFlags(c, args)
	}
	if len(args) == 0 {
		return nil, usagef("add-service needs FILE, or NAME and --exec COMMAND (see: zinit add-service --help)")
	}
	for _, f := range addFlags() {
		name := f.Names()[0]
		if c.IsSet(name) && !slices.Contains([]string{"persist", "ephemeral", "start"}, name) {
			return nil, usagef("--%s belongs to --exec; with a file it stands in the file", name)
		}
	}
	return v.serviceFromFile(args[0])
}

func (v *invocation) reject(problems []graph.Problem) bool {
	bad := false
	for _, p := range problems {
		bad = bad || p.Severity == graph.SeverityError
		_ = v.out.flush()
		fmt.Fprintln(v.err, problemLine(wireProblem(p), v.errStyle)) //nolint:errcheck // there is nowhere to tell it
	}
	return bad
}

func (v *invocation) reportAdded(client *rpc.Client, added wire.Added, start bool) error {
	for _, w := range added.Warnings {
		v.note("warning: " + w)
	}
	saved := "not saved: it is gone when the server ends"
	if added.Path != nil {
		saved = "saved as " + *added.Path
	}
	if !start {
		return v.print(added, []string{added.Name}, func() string {
			if v.quiet {
				return ""
			}
			return fmt.Sprintf("%s: added, %s; not started (start it: zinit start %s)\n", added.Name, saved, added.Name)
		})
	}
	if !v.format.machine() {
		v.say(added.Name + ": added, " + saved)
	}
	return v.changeAll(client, verbStart, &selection{names: []string{added.Name}, single: true}, rpc.Change{Wait: true})
}

// explainAdd words the refusals of service.add.
func (v *invocation) explainAdd(name string, err error) error {
	var answer *wire.Error
	if !errors.As(err, &answer) {
		return err
	}
	text := trimName(answer.Message, name)
	if answer.Code == wire.CodeExists {
		return failf(exitFailed, "cannot add %s: it exists (change its file and: zinit reload; or first: zinit remove %s)", name, name)
	}
	if list, ok := answer.Data["errors"].([]any); ok && len(list) > 0 {
		if text = fmt.Sprint(list[0]); len(list) > 1 {
			text += fmt.Sprintf(" (and %d more)", len(list)-1)
		}
	}
	return failf(exitCode(err), "cannot add %s: %s", name, text)
}

func getCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "get", Aliases: []string{"show"}, Category: categoryConfig, Usage: "the definition of a service as the server has it", ArgsUsage: "NAME",
		Description: "Prints what differs from the defaults as a service file; -o json prints all keys.",
		Action: v.withClient(1, 1, func(_ *cli.Context, client *rpc.Client, names []string) error {
			raw, err := client.Get(v.ctx, names[0])
			if err != nil {
				return v.explain(client, "show", names[0], err)
			}
			return v.print(raw, names, func() string { return definitionText(raw) })
		}),
	}
}

// definitionText is the service file that means what raw means; where it cannot be read, raw itself.
func definitionText(raw []byte) string {
	if config, _ := confdir.ParseJSON(raw, confdir.Options{Lenient: true}); config != nil {
		return string(confdir.TOML(config))
	}
	return string(raw) + "\n"
}

func schemaCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "schema", Category: categoryConfig, Usage: "JSON Schema of a service file, for editors; needs no server",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "project", Usage: "of a zinit.toml with services in it instead"}},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			text := confdir.Schema()
			if c.Bool("project") {
				text = confdir.ProjectSchema()
			}
			v.out.print(strings.TrimRight(string(text), "\n") + "\n")
			return nil
		}),
	}
}
