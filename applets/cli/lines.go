package cli

import (
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
