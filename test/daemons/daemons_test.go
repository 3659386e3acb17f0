// Package daemons runs what docs/daemons.md says: the blocks of the page are the test's input.
package daemons

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// promised are the daemons that the page must have.
var promised = strings.Fields("unbound mosquitto haproxy php-fpm redis named sshd cupsd mariadb rsyslog dbus dovecot gunicorn postgres nginx")

const services = "/etc/zinit/services/"

// block is a fenced part of the page that begins with the path of a file.
var block = regexp.MustCompile("(?s)```\\w+\n# (/\\S+)\n(.*?)```")

// page returns the files of the page by their paths.
func page(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "docs/daemons.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		files[m[1]] = m[2]
	}
	if fences := strings.Count(string(text), "\n```") / 2; fences != len(files) {
		t.Errorf("the page has %d blocks, of which %d begin with a path and so are tried", fences, len(files))
	}
	return files
}

// world lets a server have the machine's files, network and devices to itself: what it changes is gone with it. $0 is the
// folder for what it writes.
const world = `
mount --make-rprivate /
mount -t tmpfs none "$0"
ip link set lo up
for dir in etc var srv; do
	mkdir -p "$0/$dir/upper" "$0/$dir/work"
	mount -t overlay none -o "lowerdir=/$dir,upperdir=$0/$dir/upper,workdir=$0/$dir/work" "/$dir"
done
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/lock "$0/dev/pts" "$0/dev/shm"
chmod 1777 /run/lock "$0/dev/shm"
for dev in null zero full random urandom tty; do cp -a /dev/$dev "$0/dev/"; done
ln -s /proc/self/fd "$0/dev/fd"
mount --bind "$0/dev" /dev
cp -a "$1/." /
shift
exec "$@"
`

// TestPage: every daemon of the page becomes ready beside all the others, and ends by its own stop signal, not by SIGKILL.
func TestPage(t *testing.T) {
	need.Root(t)
	files := page(t)
	for _, name := range promised {
		if files[services+name+".toml"] == "" {
			t.Errorf("the page has no definition of %s", name)
		}
	}
	for path, text := range files {
		if !strings.HasPrefix(path, services) {
			continue
		}
		if m := regexp.MustCompile(`exec = \["(/[^"]+)"`).FindStringSubmatch(text); m == nil {
			t.Errorf("%s names no program by its path", path)
		} else {
			need.Program(t, filepath.Base(m[1])) // its package must be installed
		}
	}
	s := testkit.Start(t, nil, testkit.Options{Bin: inWorld(t, files), Dir: services})
	c := s.Client()
	defer func() {
		if t.Failed() {
			lines, _, _ := s.Zinit("logs")
			t.Logf("what they wrote:\n%s", lines)
		}
	}()
	for _, name := range promised {
		if st := s.AwaitState(c, name, "running"); st.Restarts != 0 {
			t.Errorf("%s needed %d restarts to become ready: %s", name, st.Restarts, s.Logs())
		}
	}
	var all sync.WaitGroup
	for _, name := range promised {
		all.Go(func() {
			c, err := rpc.Dial(context.Background(), s.Socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			end(t, c, name)
		})
	}
	all.Wait()
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}

// end stops one of them and looks at how it ended.
func end(t *testing.T, c *rpc.Client, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	if _, err := c.Stop(ctx, name, rpc.Change{Wait: true}); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	st, err := c.StatusFull(ctx, name)
	switch {
	case err != nil || st.LastExit == nil:
		t.Errorf("%s: no end is told: %v", name, err)
	case st.LastExit.Code != nil && *st.LastExit.Code == 0:
	case st.LastExit.Signal != nil && *st.LastExit.Signal != int(syscall.SIGKILL):
	default:
		t.Errorf("%s did not end cleanly: %s", name, st.LastExit.Text)
	}
}

// inWorld writes the files of the page and returns a program that runs zinit among them.
func inWorld(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ztp") // not t.TempDir: every user must be able to pass through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		path = filepath.Join(dir, "files", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "world.sh")
	own := filepath.Join(dir, "own")
	program := filepath.Join(dir, "zinit")
	texts := map[string]string{
		script: "set -e\n" + world,
		program: fmt.Sprintf("#!/bin/sh\nexec unshare -mn sh -c '. %s' %s %s %s \"$@\"\n", script, own,
			filepath.Join(dir, "files"), testkit.Binary(t, "")),
	}
	for path, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "check", services).CombinedOutput(); err != nil {
		t.Fatalf("zinit check %s: %v\n%s", services, err, out)
	}
	return program
}
