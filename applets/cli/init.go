package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph/confdir"
)

func initCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "init", Category: categoryProject, Usage: "write a zinit.toml for the project in this directory",
		Description: "From a Procfile, or the scripts of a package.json, where there is one; else one to begin with. A file that is there is kept.\n" +
			"zinit 0.3.9's `zinit init` was pid1: as process 1, or with any flag but --help, it still is.",
		Action: v.named(0, 0, func(*cli.Context, []string) error {
			text, from, err := projectText(".")
			if err != nil {
				return err
			}
			f, err := os.OpenFile(confdir.ProjectFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			switch {
			case errors.Is(err, os.ErrExist):
				return failf(exitFailed, "%s exists already and is kept (look at it with: zinit check)", confdir.ProjectFile)
			case err != nil:
				return failf(exitCode(err), "cannot write %s: %v", confdir.ProjectFile, cause(err))
			}
			_, err = f.WriteString(text)
			if err = errors.Join(err, f.Close()); err != nil {
				return failf(exitFailed, "cannot write %s: %v", confdir.ProjectFile, cause(err))
			}
			v.say("wrote " + confdir.ProjectFile + from + "; read it, then: zinit up")
			return nil
		}),
	}
}

const projectHead = `# The services of this project. Start them: zinit up    Every problem of this file: zinit check
# Keys: [services.NAME] takes those of a service file, see docs/config.md or: zinit schema --project

`

const projectBegin = `# [env]                             # for all services
# LOG_LEVEL = "info"

# [services.db]
# exec = "postgres -D data"
# health = { type = "tcp", target = "127.0.0.1:5432" }

[services.app]
exec = "echo replace this by your program; exec sleep infinity"
# port = "auto"                     # a free one, as $PORT
# requires = ["db"]                 # starts when that is ready
# restart = "always"
`

// command is one line of a Procfile, or one script of a package.json.
type command struct{ name, line string }

// projectText is the text of a zinit.toml for a directory, and what it was made from.
func projectText(dir string) (text, from string, err error) {
	commands, from, err := foundCommands(dir)
	if err != nil || len(commands) == 0 {
		return projectHead + projectBegin, "", err
	}
	var b strings.Builder
	b.WriteString(projectHead)
	if _, err := os.Stat(dir + "/.env"); err == nil {
		b.WriteString("env_file = \".env\"\n\n")
	}
	b.WriteString("[defaults]\nrestart = \"on-failure\"\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "\n[services.%s]\nexec = %s\n", confdir.TOMLKey(c.name), confdir.TOMLString(c.line))
		if strings.Contains(c.line, "$PORT") || strings.Contains(c.line, "${PORT") {
			b.WriteString("port = \"auto\"  # a free one, as $PORT; a number for one that stays\n")
		}
	}
	return b.String(), " from " + from, nil
}

// foundCommands reads what other tools would start here.
func foundCommands(dir string) (commands []command, from string, err error) {
	data, err := os.ReadFile(dir + "/Procfile")
	if err == nil {
		commands, err = procfile(string(data))
		return commands, "Procfile", err
	}
	if data, err = os.ReadFile(dir + "/package.json"); err == nil {
		commands, err = scripts(data, runner(dir))
		return commands, "package.json", err
	}
	return nil, "", nil
}

// procfile reads lines of NAME: COMMAND.
func procfile(text string) (commands []command, err error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		c := command{strings.TrimSpace(name), strings.TrimSpace(rest)}
		switch {
		case !ok || c.line == "":
			return nil, failf(exitBadConfig, "Procfile:%d: want NAME: COMMAND", i+1)
		case confdir.CheckName(c.name) != nil:
			return nil, failf(exitBadConfig, "Procfile:%d: %v", i+1, confdir.CheckName(c.name))
		case slices.ContainsFunc(commands, func(other command) bool { return other.name == c.name }):
			return nil, failf(exitBadConfig, "Procfile:%d: %s is defined twice", i+1, c.name)
		}
		commands = append(commands, c)
	}
	return commands, nil
}

// scripts takes those of a package.json that keep running: dev, else start, and what is called serve, watch or worker.
func scripts(data []byte, run string) (commands []command, err error) {
	var manifest struct {
		Scripts map[string]string `json:"scripts"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, failf(exitBadConfig, "cannot read package.json: %v", err)
	}
	names := []string{"dev"}
	if manifest.Scripts["dev"] == "" {
		names = []string{"start"}
	}
	for _, name := range append(names, "serve", "watch", "worker") {
		if manifest.Scripts[name] != "" {
			commands = append(commands, command{name, run + " " + name})
		}
	}
	return commands, nil
}

// runner is how the scripts of a package.json are started here: its lock file tells.
func runner(dir string) string {
	for _, r := range []struct{ lock, run string }{{"pnpm-lock.yaml", "pnpm run"}, {"yarn.lock", "yarn run"}, {"bun.lock", "bun run"}, {"bun.lockb", "bun run"}} {
		if _, err := os.Stat(dir + "/" + r.lock); err == nil {
			return r.run
		}
	}
	return "npm run"
}
