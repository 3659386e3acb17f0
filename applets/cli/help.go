package cli

import (
	"embed"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/docs"
	"github.com/zinit/zinit/internal/version"
)

//go:embed topics/*.md
var topicFiles embed.FS

// topic is a page of `zinit help TOPIC`.
type topic struct{ name, about string }

var topics = []topic{
	{"states", "the seven states, their symbols, and how a service moves between them"},
	{"dependencies", "requires, binds, after, wants, conflicts"},
	{"exit-codes", "what each exit code means"},
	{"environment", "variables that are read, and that services get"},
	{"signals", "what the server, process 1 and this program do on a signal"},
	{"files", "where configuration, socket and links are"},
	{"migration", "for users of zinit 0.3.9: what is stricter, what waits, which names changed"},
}

func topicNames() []string {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

func topicText(name string) string {
	if name == "migration" {
		return docs.Migration
	}
	text, err := topicFiles.ReadFile("topics/" + name + ".md")
	if err != nil {
		return ""
	}
	return string(text)
}

func helpCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "help", Category: categoryProgram, Usage: "this overview, a command, or a topic", ArgsUsage: "[COMMAND | TOPIC]",
		Action: v.named(0, -1, func(_ *cli.Context, words []string) error { return v.printHelp(words) }),
	}
}

// printHelp shows the overview, a command (by its words), or a topic.
func (v *invocation) printHelp(words []string) error {
	if len(words) == 0 {
		v.out.print(v.overviewHelp())
		return nil
	}
	if command := findCommand(v.app.Commands, words); command != nil {
		v.out.print(v.commandHelp(command, words))
		return nil
	}
	if text := topicText(words[0]); text != "" && len(words) == 1 {
		v.out.print(readable(text, v.out.width, v.out.style))
		return nil
	}
	what := strings.Join(words, " ")
	if best := nearest(what, append(commandNames(v.app.Commands), topicNames()...)); best != "" {
		return usagef("no help for %q; did you mean: zinit help %s?", what, best)
	}
	return usagef("no help for %q; commands: zinit help, topics: %s", what, strings.Join(topicNames(), ", "))
}

func findCommand(list []*cli.Command, words []string) *cli.Command {
	for _, c := range list {
		if !c.HasName(words[0]) {
			continue
		}
		if len(words) == 1 {
			return c
		}
		return findCommand(c.Subcommands, words[1:])
	}
	return nil
}

// overviewHelp lists the commands by what they are for.
func (v *invocation) overviewHelp() string {
	var b strings.Builder
	s := v.out.style
	b.WriteString("zinit " + version.String() + ": supervises services, as process 1 or anywhere\n\nUsage: zinit [flags] COMMAND [NAME...] [flags]\n")
	for _, category := range categories {
		b.WriteString("\n" + s.paint(bold, category) + "\n")
		t := helpTable()
		for _, c := range v.app.Commands {
			if c.Category == category && !c.Hidden {
				t.add(cell{fmt.Sprintf("%-13s", c.Name), ""}, cell{c.Usage, ""})
			}
		}
		b.WriteString(t.String())
	}
	b.WriteString("\n" + s.paint(bold, "Flags, before or after the command") + "\n" + flagLines(v.app.Flags))
	b.WriteString("\n" + s.paint(bold, "Topics") + "\n")
	t := helpTable()
	for _, topic := range topics {
		t.add(cell{fmt.Sprintf("%-13s", topic.name), ""}, cell{topic.about, ""})
	}
	b.WriteString(t.String())
	b.WriteString("\nMore: zinit help COMMAND, zinit help TOPIC\n")
	return b.String()
}

func helpTable() *table {
	return &table{noHead: true, indent: "  ", columns: make([]column, 2)}
}

// commandHelp is the page of one command.
func (v *invocation) commandHelp(c *cli.Command, words []string) string {
	var b strings.Builder
	path := "zinit " + strings.Join(words[:len(words)-1], " ")
	path = strings.TrimSpace(path) + " " + c.Name
	switch {
	case len(c.Subcommands) > 0:
		fmt.Fprintf(&b, "Usage: %s COMMAND\n", path)
	default:
		fmt.Fprintf(&b, "Usage: %s\n", strings.TrimSpace(path+flagsWord(c)+" "+c.ArgsUsage))
	}
	b.WriteString("\n" + sentence(c.Usage) + "\n")
	if c.Description != "" {
		b.WriteString(c.Description + "\n")
	}
	if c.SkipFlagParsing {
		fmt.Fprintf(&b, "Its flags: %s --help\n", path)
	}
	if len(c.Aliases) > 0 {
		b.WriteString("Also called: " + strings.Join(c.Aliases, ", ") + "\n")
	}
	if len(c.Subcommands) > 0 {
		t := helpTable()
		for _, sub := range c.Subcommands {
			t.add(cell{sub.Name, ""}, cell{sub.Usage, ""})
		}
		b.WriteString("\n" + t.String() + "\nMore: zinit help " + c.Name + " COMMAND\n")
		return b.String()
	}
	if len(c.Flags) > 0 {
		b.WriteString("\n" + flagLines(c.Flags))
	}
	b.WriteString("\nFlags of all commands (-s, -o, --json, --color, -q): zinit help\n")
	return b.String()
}

func flagsWord(c *cli.Command) string {
	if len(c.Flags) == 0 {
		return ""
	}
	return " [flags]"
}

func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// flagLines lists flags: short and long name, the value's name, what it does.
func flagLines(flags []cli.Flag) string {
	t := helpTable()
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		value, usage := valueName(doc.GetUsage())
		short, long := "    ", ""
		for _, name := range f.Names() {
			if len(name) == 1 {
				short = "-" + name + ", "
			} else if long == "" {
				long = "--" + name
			}
		}
		if doc.TakesValue() && value != "" {
			long += " " + value
		}
		t.add(cell{short + long, ""}, cell{usage, ""})
	}
	return t.String()
}

// valueName takes the name of a flag's value out of its usage, where it stands between backquotes.
func valueName(usage string) (value, text string) {
	before, rest, found := strings.Cut(usage, "`")
	value, after, closed := strings.Cut(rest, "`")
	if !found || !closed {
		return "", usage
	}
	return value, before + value + after
}
