package cli

import (
	"errors"
	"io/fs"
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/proc"
)

// lineProblems are the command lines that neither the server nor a shell could read, such as an open quote. They stop no
// definition from being loaded, but each of its starts fails.
func lineProblems(configs []*graph.Config) []graph.Problem {
	var problems []graph.Problem
	for _, c := range configs {
		commands := []struct {
			key  string
			line string
		}{
			{"service.exec", c.Exec.Line}, {"service.pre_start", c.PreStart.Command.Line}, {"service.post_stop", c.PostStop.Command.Line},
			{"service.stop_command", c.StopCommand.Command.Line}, {"service.reload", c.Reload.Command.Line},
		}
		if c.Health != nil {
			commands = append(commands, struct{ key, line string }{"health.target", c.Health.Exec.Line})
		}
		for _, command := range commands {
			if command.line == "" {
				continue
			}
			if _, _, err := proc.Split(command.line); err != nil {
				problems = append(problems, graph.Problem{File: c.Source, Service: c.Name, Severity: graph.SeverityError, Key: command.key,
					Message: command.key + ": " + err.Error()})
			}
		}
	}
	return problems
}

// envFileProblems reads the files of env_file as a start would. What cannot be read by this user may still be by the
// server. Nothing of what stands in the files is shown.
func envFileProblems(configs []*graph.Config) []graph.Problem {
	var problems []graph.Problem
	for _, c := range configs {
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
