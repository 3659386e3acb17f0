package cli

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// deleteFileFlag is what remove and delete-all need to delete files that people wrote.
func deleteFileFlag() cli.Flag {
	return &cli.BoolFlag{Name: "delete-file", Usage: "delete their files too, whoever wrote them"}
}

const removeFiles = "A file that the server wrote itself (--persist) and nobody has changed is deleted; any other stays unless\n" +
	"--delete-file is given, and the next reload brings its service back."

func filesChoice(c *cli.Context) wire.FilesChoice {
	if c.Bool("delete-file") {
		return wire.FilesAll
	}
	return wire.FilesWritten
}

func removeCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "remove", Aliases: []string{"remove-service", "delete", "rm"}, Category: categoryConfig,
		Usage: "stop services and forget them", ArgsUsage: "NAME...",
		Description: "Refused while others require the service, unless --cascade removes them too.\n" + removeFiles,
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "cascade", Usage: "remove what requires it as well"}, deleteFileFlag()},
		Action: v.withClient(1, -1, func(c *cli.Context, client *rpc.Client, given []string) error {
			chosen, err := v.expand(client, given)
			if err != nil {
				return err
			}
			code := exitCode(chosen.problem)
			all, names := []removed{}, []string{}
			for _, name := range chosen.names {
				ok, err := client.Forget(v.ctx, name, wire.Removal{Cascade: c.Bool("cascade"), Files: filesChoice(c)})
				if err != nil {
					err = v.explain(client, "remove", name, err)
					v.complain(describe(err))
					code = worst(code, exitCode(err))
					continue
				}
				all, names = append(all, removed{name, ok.Pending, ok.Deleted, ok.Kept}), append(names, name)
				if !v.format.machine() && v.format != formatName {
					v.say(removedText(name, ok))
					v.tellFiles(ok.Removed)
				}
			}
			if v.format.machine() || v.format == formatName {
				_ = v.print(oneOrAll(chosen.single, all), names, nil)
			}
			return silent(code)
		}),
	}
}

// removed is the result of one name, as -o json prints it.
type removed struct {
	Name    string   `json:"name"`
	Pending bool     `json:"pending"`
	Deleted []string `json:"deleted_files"`
	Kept    []string `json:"kept_files"`
}

func removedText(name string, ok wire.OK) string {
	if ok.Pending {
		return name + ": being removed, its processes have not ended yet (zinit wait " + name + " --for gone)"
	}
	return name + ": removed"
}

// maxFiles is how many files are named in one line.
const maxFiles = 10

// tellFiles says which files are gone, and which stay and bring their services back.
func (v *invocation) tellFiles(files wire.Removed) {
	shared := func(file string) bool { return confdir.IsProjectFile(file) }
	for _, file := range files.Deleted {
		if shared(file) {
			v.note("taken out of " + file)
		}
	}
	if alone := slices.DeleteFunc(slices.Clone(files.Deleted), shared); len(alone) > 0 {
		v.note("deleted " + someFiles(alone))
	}
	switch n := len(files.Kept); {
	case n == 1 && shared(files.Kept[0]):
		v.note(files.Kept[0] + " stays as it is, and the next reload brings what it defines back (--delete-file takes it out of the file)")
	case n == 1:
		v.note(fmt.Sprintf("%s stays, and the next reload brings its service back (to prevent that: rm %[1]s)", files.Kept[0]))
	case n > 0:
		v.note(fmt.Sprintf("%d files stay, and the next reload brings their services back: %s", n, someFiles(files.Kept)))
	}
}

func someFiles(files []string) string {
	if len(files) > maxFiles {
		return strings.Join(files[:maxFiles], ", ") + fmt.Sprintf(" and %d more", len(files)-maxFiles)
	}
	return strings.Join(files, ", ")
}

func deleteAllCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "delete-all", Category: categoryChange, Usage: "stop and forget every service of class user",
		Description: "Services of class system are never touched. Asks on a terminal; elsewhere --yes must say that it is meant.\n" + removeFiles,
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}, deleteFileFlag()},
		Action: v.withClient(0, 0, func(c *cli.Context, client *rpc.Client, _ []string) error {
			if !c.Bool("yes") {
				if err := v.confirmDeleteAll(client, c.Bool("delete-file")); err != nil {
					return err
				}
			}
			bulk, err := client.ForgetAll(v.ctx, filesChoice(c))
			if err != nil {
				return err
			}
			err = v.printBulk(bulk, "deleted")
			if !v.format.machine() {
				v.tellFiles(bulk.Removed)
			}
			return err
		}),
	}
}

// confirmDeleteAll asks whether it is meant.
func (v *invocation) confirmDeleteAll(client *rpc.Client, files bool) error {
	if !terminal.Is(v.in) || !v.errTerminal {
		return usagef("delete-all stops and forgets every service of class user: say --yes")
	}
	rows, err := client.ListFull(v.ctx, false)
	if err != nil {
		return err
	}
	n := 0
	for _, row := range rows {
		if row.Class == "user" {
			n++
		}
	}
	question := "stop and forget " + plural(n, "service")
	if files {
		question += " and delete their files"
	}
	_, _ = io.WriteString(v.err, question+"? [y/N] ")
	answer, _ := bufio.NewReader(v.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failf(exitFailed, "nothing was deleted")
}
