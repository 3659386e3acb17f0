// Package testkit is what tests with the real binary share: building it once, starting servers, waiting for states, and
// the rule that a missing prerequisite is never skipped silently in CI.
package testkit

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// Root is the repository's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

var builds sync.Map // tags -> *build

type build struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the static binary as it is shipped, once for the test process, and returns its path. Tags are build
// tags beside the usual one, separated by commas. With ZINIT_TEST_RACE=1 it is built with the race detector instead; a
// race is then a failure of the server that found it.
func Binary(t testing.TB, tags string) string {
	t.Helper()
	v, _ := builds.LoadOrStore(tags, &build{})
	b := v.(*build)
	b.once.Do(func() { b.path, b.err = compile(tags) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

func compile(tags string) (string, error) {
	// One folder for each checkout and kind of build, so that nothing piles up; test processes that run beside each
	// other put the file in place whole.
	race := os.Getenv("ZINIT_TEST_RACE") == "1"
	key := fnv.New64a()
	fmt.Fprint(key, Root(), tags, race)
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("zinit-bin-%d-%x", os.Getuid(), key.Sum64()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "zinit")
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	if tags != "" {
		tags = "," + tags
	}
	args, cgo := []string{"build", "-buildvcs=false", "-trimpath", "-tags", "urfave_cli_no_docs" + tags, "-ldflags", "-s -w", "-o", fresh}, "0"
	if race {
		args, cgo = append(args, "-race"), "1"
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the binary: %w\n%s", err, out)
	}
	return path, os.Rename(fresh, path)
}

// Server is a zinit server, or a keeper with a server, that a test started.
type Server struct {
	t       testing.TB
	Bin     string
	Dir     string // configuration
	Socket  string
	Log     string // file with its stderr
	Command *exec.Cmd
	done    chan error
	pid     int
}

// Options change how Start begins a server.
type Options struct {
	Bin    string   // "" = Binary(t, "")
	Applet string   // "server" (default) or "pid1"
	Args   []string // more arguments
	Env    []string // more variables
	Dir    string   // configuration directory, "" = a new one
	Brief  bool     // it may end by itself before it answers: Start does not wait
	Stderr *os.File // instead of the file Log
	Under  []string // a program that starts the server as its only child, such as unshare with its flags
}

// Start runs a server on the files of a configuration (name -> TOML) and waits until it answers. It is stopped, and what
// it left is a failure, at the end of the test.
func Start(t testing.TB, files map[string]string, o Options) *Server {
	t.Helper()
	if o.Bin == "" {
		o.Bin = Binary(t, "")
	}
	if o.Applet == "" {
		o.Applet = "server"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	run, err := os.MkdirTemp("", "zt") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	s := &Server{t: t, Bin: o.Bin, Dir: o.Dir, Socket: filepath.Join(run, "s"), Log: filepath.Join(run, "log"), done: make(chan error, 1)}
	s.Write(files)
	log, err := os.Create(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{o.Applet, "--config", o.Dir, "--socket", s.Socket}, o.Args...)
	args = append(append(append([]string{}, o.Under...), o.Bin), args...)
	s.Command = exec.Command(args[0], args[1:]...)
	s.Command.Stdout, s.Command.Stderr = log, log
	if o.Stderr != nil {
		s.Command.Stderr = o.Stderr
	}
	s.Command.Env = append(append(os.Environ(), "ZT_RUN="+run), o.Env...)
	s.Command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.Command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.Command.Wait() }()
	s.pid = s.Command.Process.Pid
	t.Cleanup(s.cleanup)
	if len(o.Under) > 0 {
		s.Await("a child of "+o.Under[0], func() bool { s.pid = onlyChild(s.Command.Process.Pid); return s.pid > 0 })
	}
	if o.Brief {
		return s
	}
	s.Await("the server to answer", func() bool {
		c, err := rpc.Dial(context.Background(), s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Ping(context.Background())
		return err == nil
	})
	return s
}

// PID is the process that was started, as seen from here: the server, or the keeper.
func (s *Server) PID() int { return s.pid }

func onlyChild(parent int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// Write puts files into the configuration directory; an empty text removes one.
func (s *Server) Write(files map[string]string) {
	s.t.Helper()
	for name, text := range files {
		path := filepath.Join(s.Dir, name)
		if text == "" {
			os.Remove(path)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Client connects to the server; the connection is closed at the end of the test.
func (s *Server) Client() *rpc.Client {
	s.t.Helper()
	c, err := rpc.Dial(context.Background(), s.Socket)
	if err != nil {
		s.t.Fatalf("cannot connect: %v\n%s", err, s.Logs())
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Zinit runs the client and returns its output and exit code.
func (s *Server) Zinit(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.Command(s.Bin, args...)
	cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+s.Socket)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Await polls a condition until it holds; after wait.Patience the test fails with the server's log.
func (s *Server) Await(what string, ok func() bool) {
	s.t.Helper()
	if !wait.Until(wait.Patience, ok) {
		s.t.Fatalf("timed out waiting for %s\n%s", what, s.Logs())
	}
}

// AwaitState waits until a service is in a state and returns its status.
func (s *Server) AwaitState(c *rpc.Client, name, state string) wire.StatusFull {
	s.t.Helper()
	var st wire.StatusFull
	var err error
	ok := wait.Until(wait.Patience, func() bool {
		st, err = c.StatusFull(context.Background(), name)
		return err == nil && st.State.State == state
	})
	if !ok {
		s.t.Fatalf("%s is %s (%s, %v), want %s\n%s", name, st.State.State, st.Cause, err, state, s.Logs())
	}
	return st
}

// Logs is what the server wrote so far.
func (s *Server) Logs() string {
	b, _ := os.ReadFile(s.Log)
	return "--- server log\n" + string(b)
}

// Stop asks for an ordered end by signal and waits for it; it returns the exit code.
func (s *Server) Stop(sig syscall.Signal) int {
	s.t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.t.Fatal(err)
	}
	return s.Wait()
}

// Wait waits for the end of the process and returns its exit code.
func (s *Server) Wait() int {
	s.t.Helper()
	select {
	case err := <-s.done:
		s.done <- err
		return s.Command.ProcessState.ExitCode()
	case <-time.After(wait.Patience):
		s.t.Fatalf("the server did not end\n%s", s.Logs())
		return -1
	}
}

// cleanup ends the server and everything that carries this test's run directory in its environment.
func (s *Server) cleanup() {
	select {
	case <-s.done:
	default:
		_ = syscall.Kill(s.pid, syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(wait.Patience):
			s.t.Errorf("the server did not end on SIGTERM\n%s", s.Logs())
			_ = s.Command.Process.Kill()
			<-s.done
		}
	}
	if left := s.Leftovers(); len(left) > 0 {
		s.t.Errorf("processes left behind: %v\n%s", left, s.Logs())
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if logs := s.Logs(); strings.Contains(logs, "WARNING: DATA RACE") {
		s.t.Error("the race detector found something")
	}
	if s.t.Failed() {
		s.t.Logf("%s, %v\n%s", s.Command.Path, s.Command.ProcessState, s.Logs())
	}
}

// Leftovers are the living processes, other than the server itself, that were started under this server.
func (s *Server) Leftovers() []int {
	mark := "ZT_RUN=" + filepath.Dir(s.Socket) + "\x00"
	entries, _ := os.ReadDir("/proc")
	var left []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil || pid == s.Command.Process.Pid {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && strings.Contains(string(env)+"\x00", mark) {
			left = append(left, pid)
		}
	}
	return left
}
