package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
)

// linkNames are the names `install` makes; the program behaves as each when called by it. It makes powerNames, which belong
// to whatever is process 1, only where that is zinit or shall be.
var (
	linkNames  = []string{"zinit", "zinit-pid1", "zinit-server"}
	powerNames = []string{"reboot", "poweroff", "halt", "shutdown"}
)

func programCommands(v *invocation) []*cli.Command {
	return []*cli.Command{
		helpCommand(v), installCommand(v), completionCommand(v), completeCommand(v),
		elsewhere("server", "run the server: zinit server --config DIR"),
		elsewhere("pid1", "run as process 1, or as the keeper of a server"),
		elsewhere("switch-root", "from an initramfs: move to NEWROOT and execute its init"),
	}
}

// elsewhere lists a command that another applet carries out: main dispatches it before the client is asked.
func elsewhere(name, usage string, aliases ...string) *cli.Command {
	return &cli.Command{
		Name: name, Aliases: aliases, Category: categorySystem, Usage: usage, SkipFlagParsing: true,
		Action: func(*cli.Context) error {
			return failf(exitFailed, "this program was built without %s", name)
		},
	}
}

func installCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "install", Category: categoryProgram, Usage: "make the links that this program answers to", ArgsUsage: "DIR",
		Description: "Makes zinit, zinit-pid1 and zinit-server in DIR as relative links to this file; with --power or --init, and\n" +
			"where zinit is process 1, also reboot, poweroff, halt and shutdown, which act on process 1.\n" +
			"Doing it again changes nothing. What stands there already is kept, and named, unless --force replaces it.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "init", Usage: "make init as well, and what --power makes"},
			&cli.BoolFlag{Name: "power", Usage: "make reboot, poweroff, halt and shutdown as well"},
			&cli.BoolFlag{Name: "no-power", Usage: "leave them out"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace what stands there"},
		},
		Action: v.named(1, 1, func(c *cli.Context, args []string) error {
			target, err := os.Executable()
			if err != nil {
				return failf(exitFailed, "cannot find the file of this program: %v", cause(err))
			}
			if c.Bool("power") && c.Bool("no-power") {
				return usagef("--power and --no-power exclude each other")
			}
			names := slices.Clone(linkNames)
			switch {
			case c.Bool("no-power"):
			case c.Bool("power"), c.Bool("init"), isZinit("/proc/1", "/proc/self"):
				names = append(names, powerNames...)
			}
			if c.Bool("init") {
				names = append(names, "init")
			}
			return v.install(args[0], target, names, c.Bool("force"))
		}),
	}
}

func (v *invocation) install(dir, target string, names []string, force bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failf(exitCode(err), "cannot create %s: %v", dir, cause(err))
	}
	destination, err := linkDestination(dir, target)
	if err != nil {
		return failf(exitFailed, "cannot install into %s: %v", dir, cause(err))
	}
	made, code := 0, exitOK
	for _, name := range names {
		changed, err := link(filepath.Join(dir, name), destination, target, force)
		if err != nil {
			v.complain(err.Error())
			code = worst(code, exitCode(err))
		}
		if changed {
			made++
			v.say(filepath.Join(dir, name) + " -> " + destination)
		}
	}
	if made == 0 && code == exitOK {
		v.say(dir + ": all links are there already")
	}
	return silent(code)
}

// linkDestination is the path from the real directory to the real file, so that a tree can be moved as a whole.
func linkDestination(dir, target string) (string, error) {
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	realTarget, err := filepath.EvalSymlinks(target)
	if err != nil {
		return "", err
	}
	if realDir, err = filepath.Abs(realDir); err != nil {
		return "", err
	}
	return filepath.Rel(realDir, realTarget)
}

// link makes one link, by renaming a new one into place, and reports whether anything changed.
func link(path, destination, target string, force bool) (bool, error) {
	old, err := os.Readlink(path)
	switch {
	case err == nil && old == destination:
		return false, nil
	case sameFile(path, target) && err != nil:
		return false, nil // the program itself
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return false, failf(exitFailed, "%s stands there already and is kept (replace it: zinit install --force)", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, failf(exitCode(err), "cannot look at %s: %v", path, cause(err))
	}
	fresh := path + fmt.Sprintf(".new%d", os.Getpid())
	if err := os.Symlink(destination, fresh); err != nil {
		return false, failf(exitCode(err), "cannot link %s: %v", path, cause(err))
	}
	if err := os.Rename(fresh, path); err != nil {
		_ = os.Remove(fresh)
		return false, failf(exitCode(err), "cannot link %s: %v", path, cause(err))
	}
	return true, nil
}

// completionNames asks the server for service names; without one those of the project count, if there is one, and nothing is said.
func (v *invocation) completionNames() []string {
	where, err := v.where()
	if err != nil {
		return nil
	}
	client, err := rpc.DialDefault(v.ctx, where)
	if err != nil {
		return v.projectNames()
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	names, _ := client.List(v.ctx)
	return names
}
