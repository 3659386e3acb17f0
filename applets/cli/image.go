package cli

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/applets/cli/initramfs"
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/supervisor/proc"
)

func imageCommands(v *invocation) []*cli.Command {
	return []*cli.Command{{
		Name: "image", Category: categoryProgram, Usage: "make a bootable image of this program and a configuration",
		Subcommands: []*cli.Command{initramfsCommand(v)},
	}}
}

func initramfsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "initramfs", Usage: "write an initramfs with this program as /init",
		Description: "The archive (newc) holds this program as /init, device nodes, mount points, --config as /etc/zinit, and what\n" +
			"--add names; a dynamically linked program brings its loader and libraries. Two runs give the same bytes.\n" +
			"A file name that ends in .gz is compressed. Boot it: qemu-system-x86_64 -kernel VMLINUZ -initrd FILE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, - is stdout"},
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "`DIR` that becomes /etc/zinit"},
			&cli.StringSliceFlag{Name: "add", Aliases: []string{"a"}, Usage: "`SRC[:DST]`, a file, link or directory; repeatable"},
			&cli.BoolFlag{Name: "gzip", Aliases: []string{"z"}, Usage: "compress"},
			&cli.StringFlag{Name: "init", Usage: "`FILE` to be /init (default: this program)"},
			&cli.BoolFlag{Name: "no-check", Usage: "accept a configuration with errors"},
		},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			target := c.String("output")
			if target == "" {
				return usagef("image initramfs needs -o FILE")
			}
			tree, err := v.imageTree(c)
			if err != nil {
				return err
			}
			for _, w := range tree.Warnings {
				v.note("warning: " + w)
			}
			return v.writeImage(tree, target, c.Bool("gzip") || strings.HasSuffix(target, ".gz"))
		}),
	}
}

// imageLinks are the names that lead to /init in an image, so that services and people can call it.
var imageLinks = []string{"bin/zinit", "sbin/reboot", "sbin/poweroff", "sbin/halt", "sbin/shutdown"}

func (v *invocation) imageTree(c *cli.Context) (*initramfs.Tree, error) {
	if err := v.checkImageConfig(c.String("config"), c.Bool("no-check")); err != nil {
		return nil, err
	}
	program := c.String("init")
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, failf(exitFailed, "cannot find the file of this program: %v", cause(err))
		}
		program = self
	}
	tree := initramfs.New()
	err := firstError(tree.Base(), tree.File("init", program), tree.Dir("etc/zinit", 0o755))
	if err == nil && c.String("config") != "" {
		err = tree.AddConfig(c.String("config"), "etc/zinit")
	}
	for _, add := range c.StringSlice("add") {
		source, destination := splitAdd(add)
		err = firstError(err, tree.Add(source, destination))
	}
	for _, name := range imageLinks {
		err = firstError(err, tree.Symlink(name, "../init"))
	}
	if err != nil {
		return nil, failf(exitFailed, "%v", err)
	}
	tree.Finish()
	return tree, nil
}

// checkImageConfig refuses a configuration that would not come up as written: on the machine it is harder to see.
func (v *invocation) checkImageConfig(dir string, accept bool) error {
	if dir == "" {
		return nil
	}
	bad := 0
	for _, p := range confdir.Load([]string{dir}, confdir.Options{System: true, EnvFile: proc.EnvFileValues}).Problems {
		if p.Severity == graph.SeverityError {
			bad++
			v.note(problemLine(wireProblem(p), v.errStyle))
		}
	}
	if bad == 0 || accept {
		return nil
	}
	return failf(exitBadConfig, "no image was made: %s in %s (make it anyway: --no-check)", plural(bad, "error"), dir)
}

// splitAdd splits SRC:DST at the last colon before an absolute path; a path that has such a colon itself and exists is
// taken as a whole.
func splitAdd(add string) (source, destination string) {
	if _, err := os.Lstat(add); err == nil {
		return add, ""
	}
	if i := strings.LastIndex(add, ":/"); i > 0 {
		return add[:i], add[i+1:]
	}
	return add, ""
}

// writeImage writes beside the file and renames, so that a failed run leaves the old image.
func (v *invocation) writeImage(tree *initramfs.Tree, target string, compress bool) error {
	if target == "-" {
		return writeArchive(tree, v.out.w, compress)
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".zinit-image-*")
	if err != nil {
		return failf(exitCode(err), "cannot write %s: %v", target, cause(err))
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after the rename it is gone already
	err = firstError(writeArchive(tree, f, compress), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return failf(exitCode(err), "cannot write %s: %v", target, cause(err))
	}
	if info, err := os.Stat(target); err == nil {
		v.say(fmt.Sprintf("%s: %d entries, %s", target, tree.Len(), sizeText(uint64(info.Size()))))
	}
	return nil
}

func writeArchive(tree *initramfs.Tree, w io.Writer, compress bool) error {
	if !compress {
		return tree.Write(w)
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	z, err := gzip.NewWriterLevel(buffered, gzip.BestCompression)
	if err != nil {
		return err
	}
	return firstError(tree.Write(z), z.Close(), buffered.Flush())
}
