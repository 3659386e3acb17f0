package cli

import (
	"flag"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// dispatch parses an arranged line and runs its command, as cli.App.Run would, without that method: it brings the library's
// help printer with it, and with text/template and reflection over all methods a seventh of the executable.
func (v *invocation) dispatch(line []string) error {
	set, err := parseFlags(v.app.Flags, line)
	if err != nil {
		return err
	}
	top := cli.NewContext(v.app, set, &cli.Context{Context: v.ctx})
	if err := v.readGlobals(top); err != nil {
		return err
	}
	command, path, rest := findPath(v.app.Commands, set.Args())
	command.HelpName = strings.Join(append([]string{"zinit"}, path...), " ")
	if command.SkipFlagParsing {
		rest = append([]string{"--"}, rest...)
	}
	if set, err = parseFlags(command.Flags, rest); err != nil {
		return err
	}
	c := cli.NewContext(v.app, set, top)
	c.Command = command
	return command.Action(c)
}

// findPath follows the words of a command, which arrange has found to be there.
func findPath(list []*cli.Command, words []string) (command *cli.Command, path, rest []string) {
	for rest = words; len(list) > 0; rest = rest[1:] {
		command = list[slices.IndexFunc(list, func(c *cli.Command) bool { return c.HasName(rest[0]) })]
		path, list = append(path, command.Name), command.Subcommands
	}
	return command, path, rest
}

// parseFlags reads flags up to the first word that is none.
func parseFlags(flags []cli.Flag, line []string) (*flag.FlagSet, error) {
	set := flag.NewFlagSet("zinit", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		if err := f.Apply(set); err != nil {
			return nil, err
		}
	}
	if err := set.Parse(gather(flags, line)); err != nil {
		return nil, usageError(flags, err)
	}
	return set, oneName(flags, set)
}

// gather makes one word of all values of a flag that may be repeated, in the form that the library writes lists in: a
// single value it would divide at its commas.
func gather(flags []cli.Flag, line []string) []string {
	var out []string
	values := map[cli.Flag][]string{}
	for i, word := range line {
		name, value, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		f, isList := findFlag(flags, name).(*cli.StringSliceFlag)
		switch {
		case word == "--" || word[:min(1, len(word))] != "-" || len(word) == 1:
			return append(out, line[i:]...)
		case !isList:
			out = append(out, word)
		default:
			values[f] = append(values[f], value)
			all := dashes(f.Name) + "=" + cli.NewStringSlice(values[f]...).Serialize()
			if at := slices.IndexFunc(out, func(w string) bool { return strings.HasPrefix(w, dashes(f.Name)+"=") }); at >= 0 {
				out[at] = all
			} else {
				out = append(out, all)
			}
		}
	}
	return out
}

// oneName gives flags that were called by a second name their first one, by which the commands ask for them.
func oneName(flags []cli.Flag, set *flag.FlagSet) error {
	given := map[string]string{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	for _, f := range flags {
		var first string
		for _, name := range f.Names() {
			value, ok := given[name]
			switch {
			case !ok:
			case first != "":
				return usagef("%s and %s are the same flag: give one of them", dashes(first), dashes(name))
			default:
				first = name
				if name != f.Names()[0] {
					_ = set.Set(f.Names()[0], value) // it was parsed once
				}
			}
		}
	}
	return nil
}
