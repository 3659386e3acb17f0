package cli

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/proc"
)

// lineProblems are the commands that neither the server nor a shell could read, such as an open quote or a $ that cannot
// be replaced. They stop no definition from being loaded, but each of its starts fails.
func lineProblems(configs []*graph.Config) []graph.Problem {
	var problems []graph.Problem
	for _, c := range configs {
		commands := map[string]graph.Command{"service.exec": c.Exec, "service.pre_start": c.PreStart.Command,
			"service.post_stop": c.PostStop.Command, "service.stop_command": c.StopCommand.Command,
			"service.reload": c.Reload.Command}
		if c.Health != nil {
			commands["health.target"] = c.Health.Exec
		}
		for _, key := range slices.Sorted(maps.Keys(commands)) {
			if p := lineProblem(key, commands[key], c.Expand); p != nil {
				p.File, p.Service, p.Key = c.Source, c.Name, key
				problems = append(problems, *p)
			}
		}
	}
	return problems
}

// lineProblem tells what is wrong with one command, nil when nothing is known to be.
func lineProblem(key string, command graph.Command, expand bool) *graph.Problem {
	switch {
	case command.Argv == nil && command.Line != "":
		if _, _, err := proc.Split(command.Line); err != nil {
			return &graph.Problem{Severity: graph.SeverityError, Message: key + ": " + err.Error()}
		}
	case expand:
		if i, err := proc.CheckExpand(command.Argv); err != nil {
			return &graph.Problem{Severity: graph.SeverityError, Value: "#" + strconv.Itoa(i), Message: key + ": " + err.Error()}
		}
	case !slices.Contains(command.Argv, "-c"): // a shell takes the variable from its own environment
		for i, word := range command.Argv {
			if isVariable(word) {
				return &graph.Problem{Severity: graph.SeverityNote, Value: "#" + strconv.Itoa(i),
					Message: key + ": " + word + " is passed as it stands; expand = true would replace it"}
			}
		}
	}
	return nil
}

// isVariable reports whether a word is nothing but a variable of sh(1).
func isVariable(word string) bool {
	name, ok := strings.CutPrefix(word, "$")
	if inner, braced := strings.CutPrefix(name, "{"); braced {
		name, ok = strings.CutSuffix(inner, "}")
	}
	other := func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	return ok && name != "" && !strings.ContainsFunc(name, other)
}

// envFileProblems reads the files of env_file as a start would, and looks whether those of env_from_file and credentials are
// there. What cannot be read by this user may still be by the server. Nothing of what stands in the files is shown.
func envFileProblems(configs []*graph.Config) []graph.Problem {
	var problems []graph.Problem
	for _, c := range configs {
		for key, files := range map[string]map[string]string{"env_from_file": c.EnvFromFile, "credentials": c.Credentials} {
			for name, path := range files {
				if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
					problems = append(problems, graph.Problem{File: c.Source, Service: c.Name, Key: "service." + key + "." + name,
						Message: "cannot read " + key + " " + name + " from " + path + ": no such file or directory"})
				}
			}
		}
		for i, path := range c.EnvFiles {
			file, err := proc.ReadEnvFile(path, c)
			p := graph.Problem{File: c.Source, Service: c.Name, Key: "service.env_file", Value: "#" + strconv.Itoa(i)}
			for _, line := range file.Ignored {
				problems = append(problems, graph.Problem{File: file.Path, Line: line, Service: c.Name, Severity: graph.SeverityWarning,
					Message: "passed over, as systemd does: want NAME=VALUE with a name of letters, digits and _"})
			}
			if err == nil {
				continue
			}
			if p.Message = err.Detail; errors.Is(err, fs.ErrPermission) {
				p.Severity = graph.SeverityWarning
			}
			if file.Line > 0 {
				p.File, p.Line, p.Key, p.Message = file.Path, file.Line, "", file.Problem+" (env_file of "+c.Name+")"
			}
			problems = append(problems, p)
		}
	}
	return problems
}
