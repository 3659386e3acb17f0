package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
)

// The categories of the overview, in the order they are shown.
const (
	categoryLook    = "Looking"
	categoryChange  = "Starting and stopping"
	categoryProject = "A project"
	categoryLogs    = "Logs and events"
	categoryConfig  = "Configuration"
	categorySystem  = "The server and the machine"
	categoryProgram = "This program"
)

var categories = []string{categoryProject, categoryLook, categoryChange, categoryLogs, categoryConfig, categorySystem, categoryProgram}

// newApp builds the tables of flags and commands.
func newApp(v *invocation) *cli.App {
	app := &cli.App{Name: "zinit", Flags: globalFlags()}
	groups := [][]*cli.Command{
		lookCommands(v), changeCommands(v), logCommands(v), configCommands(v), systemCommands(v), xinetCommands(v), projectCommands(v),
		bootCommands(v), imageCommands(v), programCommands(v),
	}
	for _, group := range groups {
		app.Commands = append(app.Commands, group...)
	}
	return app
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "talk to the server at `PATH` (default: $ZINIT_SOCKET, the project's, else the user's own)"},
		&cli.BoolFlag{Name: "system", Usage: "talk to the server of the machine or the user, not to that of the project this directory is in"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "print as `FORMAT`: table, wide, json, jsonl or name"},
		&cli.BoolFlag{Name: "json", Usage: "the same as -o json"},
		&cli.StringFlag{Name: "color", Usage: "colour: `WHEN` is auto, always or never ($NO_COLOR is honoured)"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing that is not asked for"},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}
}

// usageError turns the library's words about a value into ours.
func usageError(flags []cli.Flag, err error) error {
	text := err.Error()
	var value, flag string
	for _, form := range []string{"invalid value %q for flag -%s", "invalid boolean value %q for -%s"} {
		if n, _ := fmt.Sscanf(text, form, &value, &flag); n == 2 {
			flag = strings.TrimRight(flag, ":")
			return usagef("cannot read %q as the value of %s%s", value, dashes(flag), wanted(flags, flag))
		}
	}
	return usagef("%s", text)
}

// wanted says what a flag takes.
func wanted(flags []cli.Flag, name string) string {
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		switch f.(type) {
		case *cli.Uint64Flag, *cli.UintFlag:
			return ": want a whole number, not below 0"
		case *cli.IntFlag, *cli.Int64Flag:
			return ": want a whole number"
		case *cli.BoolFlag:
			return ": want true or false"
		}
	}
	return ""
}

// readGlobals takes over the global flags before a command runs.
func (v *invocation) readGlobals(c *cli.Context) error {
	v.socket = c.String("socket")
	v.quiet = c.Bool("quiet")
	if c.Bool("system") {
		if v.socket != "" {
			return usagef("--system and --socket exclude each other")
		}
		v.notProject()
	}
	switch chosen := c.String("output"); {
	case c.Bool("json") && chosen != "" && chosen != "json":
		return usagef("--json and -o %s exclude each other", chosen)
	case c.Bool("json"):
		v.format = formatJSON
	case chosen == "":
	case slices.Contains(formats, chosen):
		v.format = format(chosen)
	default:
		return usagef("unknown output format %q: want one of %s", chosen, strings.Join(formats, ", "))
	}
	when := c.String("color")
	switch when {
	case "", "auto", "always", "never":
	default:
		return usagef("unknown --color %q: want auto, always or never", when)
	}
	v.out.strip = when == "never"
	v.out.style.on = terminal.WantColor(when, v.out.terminal)
	v.errStyle.on = terminal.WantColor(when, v.errTerminal)
	return nil
}

// named wraps an action that takes between least and most names (most < 0: any number).
func (v *invocation) named(least, most int, action func(c *cli.Context, names []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		names := c.Args().Slice()
		what := c.Command.HelpName
		switch {
		case len(names) < least:
			return usagef("%s needs %s (see: %s --help)", strings.TrimPrefix(what, "zinit "), orArgument(c.Command.ArgsUsage), what)
		case most >= 0 && len(names) > most && most == 0:
			return usagef("%s takes no arguments, got %q", strings.TrimPrefix(what, "zinit "), names[0])
		case most >= 0 && len(names) > most:
			return usagef("%s takes at most %s, got %d (see: %s --help)", strings.TrimPrefix(what, "zinit "), plural(most, "argument"), len(names), what)
		}
		return action(c, names)
	}
}

func orArgument(usage string) string {
	if usage == "" {
		return "an argument"
	}
	return usage
}

// withClient wraps an action that needs the server.
func (v *invocation) withClient(least, most int, action func(c *cli.Context, client *rpc.Client, names []string) error) cli.ActionFunc {
	return v.named(least, most, func(c *cli.Context, names []string) error {
		client, err := v.client()
		if err != nil {
			return err
		}
		return action(c, client, names)
	})
}
