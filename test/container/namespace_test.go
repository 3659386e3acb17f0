// Package container runs the binary as process 1 of a pid namespace, as a container's runtime would.
package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// box is a pid and mount namespace with a process 1.
type box struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *buffer
	done chan struct{}
	dir  string // of a zinit in it: configuration in cfg, socket s
}

// buffer collects output while others read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// needNamespaces checks that namespaces can be made here.
func needNamespaces(t *testing.T) {
	t.Helper()
	need.Root(t)
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	need.That(t, cmd.Run() == nil, "pid and mount namespaces")
}

// enter runs argv as process 1 of new namespaces with their own /proc. before is shell code that runs first in there.
func enter(t *testing.T, before string, argv []string, change func(*exec.Cmd)) *box {
	t.Helper()
	return launch(t, "mount -t proc proc /proc && "+before, argv, change)
}

// launch is enter with the /proc that is there.
func launch(t *testing.T, before string, argv []string, change func(*exec.Cmd)) *box {
	t.Helper()
	needNamespaces(t)
	script := "mount --make-rprivate / && " + before + ` exec "$@"`
	b := &box{t: t, out: &buffer{}, done: make(chan struct{})}
	b.cmd = exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, argv...)...)
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.out
	b.cmd.WaitDelay = time.Second
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setpgid: true}
	if change != nil {
		change(b.cmd)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait()
		close(b.done)
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.done
		if t.Failed() {
			t.Logf("%s: %v\n%s", argv[0], b.cmd.ProcessState, b.out)
		}
	})
	return b
}

// shim is the name of the binary as process 1.
func shim(t *testing.T, bin string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zinit-pid1")
	if err := os.Symlink(bin, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// boxDir makes the directory of a container, which every user may write: cfg has the files, in which DIR stands for it.
func boxDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "box")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/cfg", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, "cfg", name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// start runs a container of zinit on the files of a configuration; without a command it waits until the server answers.
func start(t *testing.T, files map[string]string, args ...string) *box {
	t.Helper()
	return startWith(t, files, testkit.Binary(t, ""), args...)
}

func startWith(t *testing.T, files map[string]string, bin string, args ...string) *box {
	t.Helper()
	dir := boxDir(t, files)
	argv := append([]string{shim(t, bin), "--config", dir + "/cfg", "--socket", dir + "/s"}, args...)
	b := enter(t, "", argv, nil)
	b.dir = dir
	for _, a := range args {
		if a == "--" {
			return b
		}
	}
	b.await("the server to answer", func() bool { return b.ping() == nil })
	return b
}

func (b *box) ping() error {
	c, err := rpc.Dial(context.Background(), b.dir+"/s")
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Ping(context.Background())
	return err
}

// zinit runs the client and returns its output.
func (b *box) zinit(args ...string) string {
	b.t.Helper()
	cmd := exec.Command(testkit.Binary(b.t, ""), args...)
	cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+b.dir+"/s")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	return string(out)
}

func (b *box) await(what string, ok func() bool) {
	b.t.Helper()
	if !wait.Until(wait.Patience, ok) {
		b.t.Fatalf("timed out waiting for %s\n%s", what, b.out)
	}
}

func (b *box) says(text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("%q", text), func() bool { return strings.Contains(b.out.String(), text) })
}

func (b *box) signal(sig syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
}

// wait returns the exit status of process 1, as a container's runtime sees it.
func (b *box) wait() int {
	b.t.Helper()
	select {
	case <-b.done:
	case <-time.After(wait.Patience):
		b.t.Fatalf("the container does not end\n%s", b.out)
	}
	if ws := b.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 1000 + int(ws.Signal())
	}
	return b.cmd.ProcessState.ExitCode()
}

// members lists the processes of the namespace, by their pids outside, with their names.
func (b *box) members() map[int]string {
	b.t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.cmd.Process.Pid))
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	list := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || link != ns {
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		list[pid] = strings.TrimSpace(string(comm))
	}
	return list
}

// pidOf finds the process of that name.
func (b *box) pidOf(name string) int {
	for pid, comm := range b.members() {
		if comm == name {
			return pid
		}
	}
	return 0
}

// killServer kills the server and waits for the process of the next one.
func (b *box) killServer() {
	b.t.Helper()
	server := b.pidOf("zinit-server")
	if err := unix.Kill(server, unix.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	b.await("another server", func() bool { pid := b.pidOf("zinit-server"); return pid != 0 && pid != server })
}

// answers waits until the server answers.
func (b *box) answers() {
	b.t.Helper()
	b.await("the server to answer", func() bool { return b.ping() == nil })
}

// status reads a field of /proc/PID/status.
func status(pid int, field string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
