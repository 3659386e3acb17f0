package proc

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Needs are the paths that a start of a command of a service looks at, as far as the definition tells.
func Needs(c *graph.Config, cmd graph.Command) []string {
	var paths []string
	add := func(path string) {
		path = strings.TrimPrefix(path, "-")
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.Dir, path)
		}
		paths = append(paths, path)
	}
	program, _, _ := strings.Cut(strings.TrimSpace(cmd.Line), " ")
	if len(cmd.Argv) > 0 {
		program = cmd.Argv[0]
	}
	if filepath.IsAbs(program) {
		add(program)
	}
	if c.Dir != "" {
		add(c.Dir)
	}
	for _, path := range c.EnvFiles {
		add(path)
	}
	for _, path := range c.EnvFromFile {
		add(path)
	}
	for _, path := range c.Credentials {
		add(path)
	}
	return paths
}

// Reach returns when each of the paths has answered, whatever it said. On a mount that does not answer that is never.
func Reach(paths []string) {
	for _, path := range paths {
		var st unix.Stat_t
		_ = unix.Stat(path, &st)
	}
}
