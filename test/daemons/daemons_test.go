// Package daemons runs what docs/daemons.md says: the blocks of the page are the test's input.
package daemons

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// TestPage: every daemon of the page becomes ready beside all the others, reloads with the same process, says what the table
// of the page tells, and ends by its own stop signal, not by SIGKILL.
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
	s := testkit.Start(t, nil, testkit.Options{Bin: inWorld(t, files), Dir: services, Args: []string{"--log-level", "debug"}})
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
	told := words(t)
	before := len(s.Logs())
	for _, name := range promised {
		reload(t, s, c, name)
	}
	for _, name := range promised {
		s.Await(name+" to say what it says at a reload", func() bool { return len(said(s.Logs()[before:], name)) >= len(told[name].reload) })
	}
	after := len(s.Logs())
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
	logs := s.Logs()
	for _, name := range promised {
		if got := said(logs[before:after], name); !slices.Equal(got, told[name].reload) {
			t.Errorf("%s says %q at a reload, the page %q", name, got, told[name].reload)
		}
		if got := said(logs[after:], name); !slices.Equal(got, told[name].end) {
			t.Errorf("%s says %q at its end, the page %q", name, got, told[name].end)
		}
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}

// spoken is what a daemon says by the table of the page.
type spoken struct{ reload, end []string }

// words reads the table.
func words(t *testing.T) map[string]spoken {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "docs/daemons.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := func(cell string) []string {
		var out []string
		for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(cell, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	rows := map[string]spoken{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			rows[strings.TrimSpace(cells[1])] = spoken{list(cells[3]), list(cells[4])}
		}
	}
	for _, name := range promised {
		if _, ok := rows[name]; !ok {
			t.Errorf("the table has no row of %s", name)
		}
	}
	return rows
}

// said are the kinds of words of a service in a part of the server's log, without those of its watchdog.
func said(logs, name string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)debug: `+name+` says (.*) service=`).FindAllStringSubmatch(logs, -1) {
		for _, w := range regexp.MustCompile(`(?:^| )([A-Z_]+)=`).FindAllStringSubmatch(m[1], -1) {
			if !strings.HasPrefix(w[1], "WATCHDOG") {
				out = append(out, w[1])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// signs tell that a daemon has read its configuration again: how often a text stands in what it has written, or in a file
// of its world. Of redis there is none: it has no reload.
var signs = map[string]struct{ file, text string }{
	"unbound":   {"", "Restart of unbound"},
	"mosquitto": {"/var/log/mosquitto/mosquitto.log", "Reloading config."},
	"haproxy":   {"", "Loading success."},
	"php-fpm":   {"/var/log/php8.2-fpm.log", "Reloading in progress"},
	"named":     {"server", "named says READY=1 STATUS=reload command finished: success"},
	"sshd":      {"server", "sshd says READY=1"},
	"mariadb":   {"", "Status information:"},
	"rsyslog":   {"/var/log/syslog", "rsyslogd was HUPed"},
	"dbus":      {"server", "dbus says READY=1"},
	"dovecot":   {"server", "dovecot says READY=1"},
	"gunicorn":  {"", "Hang up: Master"},
	"postgres":  {"", "received SIGHUP, reloading configuration files"},
}

// sign is something that a reload changes.
func sign(s *testkit.Server, name string, pid int) string {
	root := fmt.Sprintf("/proc/%d/root", pid)
	switch sign := signs[name]; {
	case name == "nginx": // other workers
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
		return string(children)
	case name == "cupsd": // another socket
		st, err := os.Stat(root + "/run/cups/cups.sock")
		if err != nil {
			return ""
		}
		return fmt.Sprint(st.Sys().(*syscall.Stat_t).Ino, st.ModTime())
	case sign.file == "server":
		return fmt.Sprint(strings.Count(s.Logs(), sign.text))
	case sign.file != "":
		text, _ := os.ReadFile(root + sign.file)
		return fmt.Sprint(strings.Count(string(text), sign.text))
	default:
		text, _, _ := s.Zinit("logs", name, "-n", "10000")
		return fmt.Sprint(strings.Count(text, sign.text))
	}
}

// reload lets one of them read its configuration again, and sees that it did and goes on with the same process.
func reload(t *testing.T, s *testkit.Server, c *rpc.Client, name string) {
	t.Helper()
	before := s.AwaitState(c, name, "running")
	was := sign(s, name, before.PID)
	if out, stderr, code := s.Zinit("signal-reload", name); code != 0 {
		t.Errorf("reload of %s: %d %s %s", name, code, out, stderr)
		return
	}
	if name != "redis" {
		s.Await(name+" to reload", func() bool { now := sign(s, name, before.PID); return now != was && now != "" })
	}
	if st := s.AwaitState(c, name, "running"); st.PID != before.PID || st.Restarts != 0 {
		t.Errorf("%s was restarted: pid %d after %d, %d restarts", name, st.PID, before.PID, st.Restarts)
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
