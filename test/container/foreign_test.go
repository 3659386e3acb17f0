package container

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
)

// without runs argv as process 1 of a new pid namespace whose /proc is the one above, or where there is none.
func without(t *testing.T, proc bool, files map[string]string, argv ...string) *box {
	t.Helper()
	dir, before := boxDir(t, files), ""
	if !proc {
		before = "umount -l /proc && "
	}
	argv = append(argv, "--config", dir+"/cfg", "--socket", dir+"/s")
	b := launch(t, before, argv, func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "ZINIT_CONTAINER=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	})
	b.dir = dir
	b.await("the server to answer", func() bool { _, code := b.command(0, "ping"); return code == 0 })
	return b
}

// TestNumbersOfAnotherNamespace: where /proc names other processes, or is missing, nothing is signalled by what it says: a
// stop ends its own service, with its group, and no other.
func TestNumbersOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for _, name := range []string{"t00", "t01", "t02", "t03", "t04"} {
		files[name+".toml"] = "[service]\nname = \"" + name + "\"\nexec = [\"sh\", \"-c\", \"trap '' TERM; sleep 10" + name[1:] +
			" & exec sleep 10" + name[1:] + "\"]\n[lifecycle]\nstop_timeout_ms = 200\n"
	}
	bin := testkit.Binary(t, "")
	for name, argv := range map[string][]string{"server": {bin, "server"}, "keeper": {bin, "pid1"}, "keeper found in PATH": {"zinit", "pid1"}} {
		for _, proc := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", foreign /proc", false: ", no /proc"}[proc], func(t *testing.T) {
				t.Parallel()
				argv := argv
				if argv[0] == "zinit" {
					dir := t.TempDir()
					if err := os.Symlink(bin, dir+"/zinit"); err != nil {
						t.Fatal(err)
					}
					argv = append([]string{"env", "PATH=" + dir + ":/usr/bin:/bin"}, argv...)
				}
				b := without(t, proc, files, argv...)
				b.says("processes are known by their control groups and as children only")
				for _, seconds := range []string{"1000", "1001", "1002", "1003", "1004"} {
					b.await("both processes of "+seconds, func() bool { return len(b.sleepers(seconds)) == 2 })
				}
				if out, code := b.command(0, "stop", "t03"); code != 0 || len(b.sleepers("1003")) > 0 {
					t.Errorf("exit code %d, left %v\n%s", code, b.sleepers("1003"), out)
				}
				for _, seconds := range []string{"1000", "1001", "1002", "1004"} {
					if len(b.sleepers(seconds)) != 2 {
						t.Errorf("the processes of %s: %v", seconds, b.sleepers(seconds))
					}
				}
				list, _ := b.command(0, "list")
				if strings.Count(list, "running") != 4 {
					t.Errorf("list:\n%s", list)
				}
				b.signal(unix.SIGTERM)
				if code := b.wait(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			})
		}
	}
}
