package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph"
)

// helpRequest is a -h or --help somewhere on the line: show help for this command path, empty = the overview.
type helpRequest struct{ path []string }

// arranger sorts a command line into the order the library can parse: global flags, command, its flags, --, names.
// So flags may stand after names, global flags anywhere, and short flags may be joined (-fn20).
type arranger struct {
	app     *cli.App
	global  []string
	path    []string
	command *cli.Command // nil before the first command word
	flags   []string
	names   []string
	help    bool
}

// arrange returns the sorted line, or a request for help, or a usage error that names what is not known.
func arrange(app *cli.App, args []string) ([]string, *helpRequest, error) {
	a := &arranger{app: app}
	for i := 0; i < len(args); {
		if args[i] == "--" && a.command != nil {
			a.names = append(a.names, args[i+1:]...)
			break
		}
		if a.command != nil && a.command.SkipFlagParsing {
			a.names = append(a.names, args[i:]...)
			break
		}
		used, err := a.take(args[i:])
		if err != nil {
			return nil, nil, err
		}
		i += used
	}
	return a.finish()
}

func (a *arranger) finish() ([]string, *helpRequest, error) {
	if a.help {
		return nil, &helpRequest{a.path}, nil
	}
	if a.command == nil {
		if len(a.global) > 0 && a.global[len(a.global)-1] == "--version" {
			return append(a.global, "version"), nil, nil
		}
		return nil, &helpRequest{}, nil
	}
	if len(a.command.Subcommands) > 0 {
		return nil, nil, usagef("%s needs one of: %s", strings.Join(a.path, " "), strings.Join(commandNames(a.command.Subcommands), ", "))
	}
	line := append(a.global, a.path...)
	line = append(line, a.flags...)
	if a.command.SkipFlagParsing {
		return append(line, a.names...), nil, nil
	}
	return append(append(line, "--"), a.names...), nil, nil
}

// take handles the first word and returns how many words it used.
func (a *arranger) take(args []string) (int, error) {
	word := args[0]
	switch {
	case len(word) > 1 && word[0] == '-' && word != "--":
		return a.takeFlag(args)
	case a.command == nil || len(a.command.Subcommands) > 0:
		return 1, a.takeCommand(word)
	}
	a.names = append(a.names, word)
	return 1, nil
}

func (a *arranger) takeCommand(word string) error {
	list := a.app.Commands
	if a.command != nil {
		list = a.command.Subcommands
	}
	for _, c := range list {
		if c.HasName(word) {
			a.command = c
			a.path = append(a.path, c.Name)
			return nil
		}
	}
	what := strings.Join(append(append([]string{}, a.path...), word), " ")
	if a.command == nil && slices.Contains(topicNames(), word) {
		return usagef("unknown command %q; did you mean help %s?", what, word)
	}
	if best := nearest(word, commandNames(list)); best != "" {
		return usagef("unknown command %q; did you mean %s? (zinit help lists all)", what, strings.Join(append(a.path, best), " "))
	}
	return usagef("unknown command %q (zinit help lists all)", what)
}

func commandNames(list []*cli.Command) []string {
	var names []string
	for _, c := range list {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// takeFlag handles a word that begins with -, and its value.
func (a *arranger) takeFlag(args []string) (int, error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	if name == "h" || name == "help" {
		a.help = true
		return 1, nil
	}
	flag, own := a.lookup(name)
	if flag == nil {
		return a.takeUnknown(args)
	}
	dashed := dashes(name)
	switch {
	case !takesValue(flag):
		if hasValue {
			dashed += "=" + value
		}
		a.put(own, dashed)
		return 1, nil
	case hasValue:
		a.put(own, dashed+"="+value)
		return 1, nil
	case len(args) == 1:
		return 0, usagef("flag %s needs a value%s", dashed, a.seeHelp())
	}
	a.put(own, dashed+"="+args[1])
	return 2, nil
}

func (a *arranger) put(own bool, words ...string) {
	if own {
		a.flags = append(a.flags, words...)
	} else {
		a.global = append(a.global, words...)
	}
}

// lookup finds a flag of the command, else a global one.
func (a *arranger) lookup(name string) (flag cli.Flag, own bool) {
	if a.command != nil {
		if f := findFlag(a.command.Flags, name); f != nil {
			return f, true
		}
	}
	return findFlag(a.app.Flags, name), false
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// takeUnknown handles joined short flags (-fn20), signals as kill(1) takes them (-9, -HUP), and what is left is an error.
func (a *arranger) takeUnknown(args []string) (int, error) {
	word := args[0]
	if a.command != nil && a.command.Name == "kill" {
		if _, err := graph.ParseSignal(word[1:]); err == nil {
			a.put(true, "--signal="+word[1:])
			return 1, nil
		}
	}
	if first, own := a.lookup(word[1:2]); first != nil && word[1] != '-' && len(word) > 2 {
		if takesValue(first) {
			a.put(own, "-"+word[1:2]+"="+word[2:])
			return 1, nil
		}
		a.put(own, "-"+word[1:2])
		rest := append([]string{"-" + word[2:]}, args[1:]...)
		return a.takeFlag(rest)
	}
	return 0, a.unknownFlag(word)
}

func (a *arranger) unknownFlag(word string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	var known []string
	for _, f := range a.flagsHere() {
		known = append(known, f.Names()...)
	}
	if best := nearest(name, known); best != "" && len(best) > 1 {
		return usagef("unknown flag %s; did you mean %s?%s", word, dashes(best), a.seeHelp())
	}
	return usagef("unknown flag %s%s", word, a.seeHelp())
}

func (a *arranger) flagsHere() []cli.Flag {
	if a.command == nil {
		return a.app.Flags
	}
	return append(append([]cli.Flag{}, a.command.Flags...), a.app.Flags...)
}

func (a *arranger) seeHelp() string {
	return " (see: zinit help" + strings.Join(append([]string{""}, a.path...), " ") + ")"
}
