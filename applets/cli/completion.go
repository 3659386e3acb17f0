package cli

import (
	_ "embed"
	"strings"

	"github.com/urfave/cli/v2"
)

//go:embed completion.bash
var completionBash string

//go:embed completion.zsh
var completionZsh string

//go:embed completion.fish
var completionFish string

func completionCommand(v *invocation) *cli.Command {
	scripts := map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}
	return &cli.Command{
		Name: "completion", Category: categoryProgram, Usage: "completion for a shell: bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(zinit completion bash)\n" +
			"zsh:  zinit completion zsh > \"${fpath[1]}/_zinit\"\n" +
			"fish: zinit completion fish > ~/.config/fish/completions/zinit.fish\n" +
			"Names of services come from the server; without one there are none.",
		Action: v.named(1, 1, func(_ *cli.Context, args []string) error {
			script, ok := scripts[args[0]]
			if !ok {
				return usagef("no completion for %q: want bash, zsh or fish", args[0])
			}
			v.out.print(script)
			return nil
		}),
	}
}

// completeCommand is what the shells' scripts call: __complete WORDS..., the last word being the one that is typed.
func completeCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "__complete", Hidden: true, SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				words = []string{""}
			}
			for _, candidate := range v.complete(words) {
				v.out.print(candidate + "\n")
			}
			return nil
		},
	}
}

// complete returns what the last word may become.
func (v *invocation) complete(words []string) []string {
	last := words[len(words)-1]
	state := v.walk(words[:len(words)-1])
	var candidates []string
	switch {
	case state.value != "":
		candidates = v.valuesOf(state.value, state.path)
	case strings.HasPrefix(last, "-") && !state.onlyNames:
		for _, f := range append(state.flags, v.app.Flags...) {
			candidates = append(candidates, "--"+f.Names()[0])
		}
		candidates = append(candidates, "--help")
	case state.commands != nil:
		candidates = commandNames(state.commands)
	default:
		candidates = v.argumentsOf(state)
	}
	return withPrefix(candidates, last)
}

func withPrefix(candidates []string, prefix string) []string {
	var kept []string
	for _, c := range candidates {
		if strings.HasPrefix(c, prefix) && !contains(kept, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// completing is where on the line the typed word stands.
type completing struct {
	commands  []*cli.Command // a command is wanted
	path      []string
	flags     []cli.Flag // of the command
	value     string     // the flag whose value is wanted
	names     []string   // arguments so far
	onlyNames bool       // after --
}

func (v *invocation) walk(words []string) *completing {
	at := &completing{commands: v.app.Commands}
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "--":
			at.onlyNames = true
		case strings.HasPrefix(word, "-") && !at.onlyNames:
			name, _, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
			f := findFlag(append(at.flags[:len(at.flags):len(at.flags)], v.app.Flags...), name)
			if f == nil || inline || !takesValue(f) {
				continue
			}
			if i++; i == len(words) {
				at.value = f.Names()[0]
			} else if f.Names()[0] == "socket" {
				v.socket = words[i]
			}
		case at.commands != nil:
			at.step(word)
		default:
			at.names = append(at.names, word)
		}
	}
	return at
}

func (at *completing) step(word string) {
	command := findCommand(at.commands, []string{word})
	at.commands = nil
	if command == nil {
		return
	}
	at.path = append(at.path, command.Name)
	at.flags = command.Flags
	if len(command.Subcommands) > 0 {
		at.commands = command.Subcommands
	}
}

var signalWords = []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGSTOP"}

// valuesOf are the values of a flag, none where the shell's own completion of files serves better.
func (v *invocation) valuesOf(flag string, path []string) []string {
	switch flag {
	case "output":
		switch strings.Join(path, " ") {
		case "logs":
			return []string{"short", "json", "cat"}
		case "image initramfs":
			return nil
		}
		return formats
	case "color":
		return []string{"auto", "always", "never"}
	case "for":
		return goals
	case "state":
		return stateNames()
	case "stream":
		return []string{"stdout", "stderr", "syslog"}
	case "signal":
		return signalWords
	case "restart":
		return []string{"always", "on-failure", "never"}
	case "status":
		return []string{"start", "stop", "ignore"}
	case "profile":
		return v.profileNames()
	case "exit-code-from", "no-log", "service", "after", "requires", "wants", "conflicts", "binds":
		return v.completionNames()
	}
	return nil
}

// withServices are the commands whose arguments are names of services; the value bounds how many.
var withServices = map[string]int{
	"list": -1, "status": -1, "start": -1, "stop": -1, "restart": -1, "why": -1, "tree": 1, "logs": -1, "events": -1, "wait": -1,
	"is-active": -1, "is-failed": -1, "kill": 1, "signal-reload": -1, "remove": -1, "get": 1, "debug-procs": 1, "up": -1,
}

func (v *invocation) argumentsOf(at *completing) []string {
	command := strings.Join(at.path, " ")
	switch command {
	case "help":
		return append(commandNames(v.app.Commands), topicNames()...)
	case "completion":
		return []string{"bash", "zsh", "fish"}
	case "kill":
		if len(at.names) == 1 {
			return signalWords
		}
	}
	most, ok := withServices[command]
	if !ok || most >= 0 && len(at.names) >= most {
		return nil
	}
	var fresh []string
	for _, name := range v.completionNames() {
		if !contains(at.names, name) {
			fresh = append(fresh, name)
		}
	}
	return fresh
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}
