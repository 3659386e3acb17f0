package survival

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/test/survival/storm"
)

var applets = []string{"pid1", "server"}

// sleeper is a configuration with one service that only lives.
const sleeper = "[service]\nname = \"one\"\nexec = \"sleep 100000\"\n"

// copyOf puts a copy of the binary, changed by change, where it can be executed.
func copyOf(t *testing.T, bin, name string, change func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		b = change(b)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// serverPIDOf is the process that serves.
func serverPIDOf(t *testing.T, c *rpc.Client) int {
	t.Helper()
	p, err := c.Ping(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return p.PID
}

// killServer kills the server that has this pid and waits until another one answers.
func killServer(t *testing.T, s *testkit.Server, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(s, "another server", func(c *rpc.Client) bool {
		p, err := c.Ping(ctx)
		return err == nil && p.PID != pid
	})
}

// awaitAnswer waits until a new connection gets the answer that is wanted; the server may come and go meanwhile.
func awaitAnswer(s *testkit.Server, what string, ok func(*rpc.Client) bool) {
	s.Await(what, func() bool {
		c, err := rpc.Dial(ctx, s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		return ok(c)
	})
}

// awaitRollback waits until the version before is back because the executable that goes by that name died three times.
func awaitRollback(s *testkit.Server, name string) {
	awaitAnswer(s, "the version before to be back", func(c *rpc.Client) bool {
		st, err := c.SystemStatus(ctx)
		return err == nil && strings.Contains(st.RolledBack, name) && strings.Contains(st.RolledBack, "3 times")
	})
}

func exeOf(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return path
}

// foreignProgram is an executable of another architecture.
func foreignProgram(t *testing.T) string {
	t.Helper()
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "amd64"
	}
	// Where the kernel runs it under an emulator it fails its self test.
	return program(t, "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(6) }\n", "GOARCH="+arch)
}

// program compiles a Go program.
func program(t *testing.T, text string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", out, source)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// badExecutables are files that cannot take over, by what is wrong with them.
func badExecutables(t *testing.T, bin string) map[string]string {
	t.Helper()
	script := func(text string) func([]byte) []byte {
		return func([]byte) []byte { return []byte("#!/bin/sh\n" + text + "\n") }
	}
	bad := map[string]string{
		"garbage":            copyOf(t, bin, "garbage", func(b []byte) []byte { return b[5000:9000] }),
		"zeros":              copyOf(t, bin, "zeros", func(b []byte) []byte { return make([]byte, len(b)) }),
		"other architecture": foreignProgram(t),
		"other machine": copyOf(t, bin, "machine", func(b []byte) []byte {
			const machineAt, arm64 = 18, 183 // e_machine, EM_AARCH64: what the kernel looks at
			binary.LittleEndian.PutUint16(b[machineAt:], arm64)
			return b
		}),
		"no zinit":         copyOf(t, bin, "true", script("exit 0")),
		"failing":          copyOf(t, bin, "failing", script("echo zinit 9; exit 6")),
		"older state":      copyOf(t, bin, "older", script("echo 'zinit 0.1'; echo 'cannot take over state version 1'; exit 6")),
		"killed":           copyOf(t, bin, "killed", script("kill -9 $$")),
		"missing":          filepath.Join(t.TempDir(), "missing"),
		"directory":        t.TempDir(),
		"no permission":    noPermission(t, bin),
		"not for us: pipe": "/dev/null",
	}
	st, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	size := int(st.Size())
	lengths := []int{0, 1, 4, 63, 64, 100, 4096, 65536, size - 65536, size - 4096, size - 100, size - 1}
	for part := 1; part < 16; part++ {
		lengths = append(lengths, size/16*part)
	}
	for _, n := range lengths {
		bad[fmt.Sprintf("the first %d of %d bytes", n, size)] = copyOf(t, bin, "cut", func(b []byte) []byte { return b[:n] })
	}
	return bad
}

// TestUpgradeRefused: what cannot take over is refused with the reason, and nothing else happens.
func TestUpgradeRefused(t *testing.T) {
	bin := testkit.Binary(t, "")
	bad := badExecutables(t, bin)
	for _, applet := range applets {
		s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: applet})
		c := s.Client()
		one := s.AwaitState(c, "one", "running")
		pid := serverPIDOf(t, c)
		for name, path := range bad {
			if _, err := c.Upgrade(ctx, path); err == nil || !strings.Contains(err.Error(), "cannot upgrade to "+path+": ") {
				t.Errorf("%s, %s: %v", applet, name, err)
			}
			now, err := c.StatusFull(ctx, "one")
			if err != nil || now.PID != one.PID || serverPIDOf(t, c) != pid || exeOf(pid) != bin {
				t.Fatalf("%s, %s: not as before: %+v %v", applet, name, now, err)
			}
		}
		good := copyOf(t, bin, "good", nil)
		if _, err := c.Upgrade(ctx, good); err != nil {
			t.Errorf("%s: after those the good one: %v", applet, err)
		}
		s.Await("the new executable", func() bool { return exeOf(pid) == good })
		if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
			t.Errorf("%s: %d.%d, before the upgrade %d.%d", applet, now.PID, now.Incarnation, one.PID, one.Incarnation)
		}
	}
}

// TestKeeperRefusesBadSelf: SIGUSR2 while something that cannot take over stands where the keeper came from.
func TestKeeperRefusesBadSelf(t *testing.T) {
	bin := copyOf(t, testkit.Binary(t, ""), "zinit", nil)
	bad := badExecutables(t, bin)
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1", Bin: bin})
	one := s.AwaitState(s.Client(), "one", "running")
	refusals := 0
	for name, path := range bad {
		replaceBy(t, bin, path)
		if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		refusals++
		s.Await("the refusal of "+name, func() bool { return strings.Count(s.Logs(), "going on as before") >= refusals })
		if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
			t.Fatalf("%s: pid %d, was %d", name, now.PID, one.PID)
		}
	}
}

// replaceBy puts a copy of a file, or nothing where there is none, in the place of another.
func replaceBy(t *testing.T, path, by string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(by)
	switch {
	case err != nil:
		return
	case !st.Mode().IsRegular():
		err = os.Symlink(by, path)
	default:
		err = os.Link(by, path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func noPermission(t *testing.T, bin string) string {
	path := copyOf(t, bin, "plain", nil)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// badProgram passes every check and dies as soon as it is the server.
const badProgram = `package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--self-test" {
		fmt.Println("zinit 9.9.9 state 1")
		return
	}
	os.Exit(3)
}
`

// TestUpgradeRolledBack: an executable that passes its self test and dies is replaced by the one before.
func TestUpgradeRolledBack(t *testing.T) {
	bad := program(t, badProgram)
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1"})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	began := time.Now()
	if _, err := c.Upgrade(ctx, bad); err != nil {
		t.Fatal(err)
	}
	awaitRollback(s, bad)
	t.Logf("back after %v", time.Since(began))
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
		t.Errorf("%d.%d, before %d.%d", now.PID, now.Incarnation, one.PID, one.Incarnation)
	}
	if exe := exeOf(serverPIDOf(t, s.Client())); exe != s.Bin {
		t.Errorf("%s serves", exe)
	}
	if out, _, _ := s.Zinit("status"); !strings.Contains(out, bad) {
		t.Errorf("zinit status does not say it:\n%s", out)
	}
	if !strings.Contains(s.Logs(), "upgrade taken back") {
		t.Errorf("nor does the console:\n%s", s.Logs())
	}
}

// plainConn is a client that notices when its connection is another.
type plainConn struct {
	net.Conn
	in *bufio.Reader
}

func dialPlain(t *testing.T, socket string) *plainConn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * wait.Patience))
	return &plainConn{conn, bufio.NewReader(conn)}
}

const pingLine = `{"jsonrpc":"2.0","id":7,"method":"system.ping"}` + "\n"

// TestUpgradeKeeps: over many upgrades services, their exit codes, connections, half a request, and calls that wait.
func TestUpgradeKeeps(t *testing.T) {
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) { upgradeKeeps(t, applet) })
	}
}

func upgradeKeeps(t *testing.T, applet string) {
	st, s := startStorm(t, testkit.Options{Applet: applet})
	c := s.Client()
	pid := serverPIDOf(t, c)
	images := [2]string{copyOf(t, s.Bin, "a", nil), copyOf(t, s.Bin, "b", nil)}
	idle, half := dialPlain(t, s.Socket), dialPlain(t, s.Socket)
	waited := make(chan error, 1)
	go func() {
		w, err := rpc.Dial(ctx, s.Socket)
		if err == nil {
			defer w.Close()
			_, err = w.Wait(ctx, []string{"guest"}, "gone", 60000)
		}
		waited <- err
	}()
	for i := range 10 {
		fmt.Fprint(half, pingLine[:20])
		if _, err := c.Upgrade(ctx, images[i%2]); err != nil {
			t.Fatal(err)
		}
		s.Await("the new executable", func() bool { return exeOf(pid) == images[i%2] })
		fmt.Fprint(half, pingLine[20:])
		fmt.Fprint(idle, pingLine)
		for _, conn := range []*plainConn{idle, half} {
			if line, err := conn.in.ReadString('\n'); err != nil || !strings.Contains(line, fmt.Sprintf(`"pid":%d`, pid)) {
				t.Fatalf("upgrade %d: a connection was not kept: %q, %v\n%s", i, line, err, s.Logs())
			}
		}
	}
	for _, bad := range st.Finish() {
		t.Error(bad)
	}
	if _, err := s.Client().Remove(ctx, "guest", true); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("a call that waited: %v", err)
	}
	t.Log(st.Summary())
}

// TestUpgradeUnderLoad: 10 MB/s of lines and 100 clients.
func TestUpgradeUnderLoad(t *testing.T) {
	files := map[string]string{}
	const floods = 4
	for i := range floods {
		files[fmt.Sprintf("flood%d.toml", i)] = fmt.Sprintf("[service]\nname = \"flood%d\"\nexec = [%q]\nenv = {ZT_ROLE = \"flood\", ZT_RATE = \"2600000\"}\n", i, self(t))
	}
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) { upgradeUnderLoad(t, applet, files, floods) })
	}
}

func upgradeUnderLoad(t *testing.T, applet string, files map[string]string, floods int) {
	s := testkit.Start(t, files, testkit.Options{Applet: applet})
	pid := serverPIDOf(t, s.Client())
	images := [2]string{copyOf(t, s.Bin, "a", nil), copyOf(t, s.Bin, "b", nil)}
	within, stop := context.WithCancel(ctx)
	defer stop()
	var calls, failed atomic.Int64
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			if err := callForEver(within, s.Socket, i, &calls); err != nil {
				failed.Add(1)
				t.Errorf("client %d: %v", i, err)
			}
		}()
	}
	began := time.Now()
	for i := range 6 {
		c := s.Client()
		if _, err := c.Upgrade(ctx, images[i%2]); err != nil {
			t.Fatal(err)
		}
		s.Await("the new executable", func() bool { return exeOf(pid) == images[i%2] })
		mark := calls.Load()
		s.Await("the clients to go on", func() bool { return calls.Load() > mark+200 })
	}
	for time.Since(began) < 3*time.Second {
		mark := calls.Load()
		s.Await("the clients to go on", func() bool { return calls.Load() > mark+100 })
	}
	stop()
	clients.Wait()
	written := 0
	for i := range floods {
		written += checkFlood(t, s.Client(), fmt.Sprintf("flood%d", i))
	}
	t.Logf("%d calls answered, %.1f MB/s of lines", calls.Load(), float64(written)/time.Since(began).Seconds()/1e6)
	if n := failed.Load(); n > 0 {
		t.Errorf("%d calls failed\n%s", n, s.Logs())
	}
}

// callForEver asks over one connection, which the client makes anew where it must; no call may fail.
func callForEver(within context.Context, socket string, i int, calls *atomic.Int64) error {
	c, err := rpc.Dial(within, socket, rpc.WithReconnect(wait.Patience))
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for within.Err() == nil {
		if i%2 == 0 {
			_, err = c.Ping(within)
		} else {
			_, err = c.ListFull(within, false)
		}
		switch {
		case within.Err() != nil:
		case err != nil:
			return err
		default:
			calls.Add(1)
		}
		<-tick.C
	}
	return nil
}

// checkFlood compares the numbers in the last lines with the ring's own: were one lost or doubled, they would differ. It
// returns how many bytes were written.
func checkFlood(t *testing.T, c *rpc.Client, name string) int {
	lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 1000})
	if err != nil || len(lines) == 0 {
		t.Errorf("%s: %d lines, %v", name, len(lines), err)
		return 0
	}
	for _, l := range lines {
		var n uint64
		if _, err := fmt.Sscanf(l.Content, "%d", &n); err != nil || n != l.Seq || len(l.Content) != storm.FloodLine {
			t.Errorf("%s: line %d is %q", name, l.Seq, l.Content)
			return 0
		}
	}
	return int(lines[len(lines)-1].Seq) * (storm.FloodLine + 1)
}

// TestUpgradeBySignal: SIGUSR1, to the keeper and to a lone server, takes what stands where the executable stood.
func TestUpgradeBySignal(t *testing.T) {
	for _, applet := range applets {
		bin := copyOf(t, testkit.Binary(t, ""), "zinit", nil)
		s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: applet, Bin: bin})
		c := s.Client()
		one := s.AwaitState(c, "one", "running")
		pid := serverPIDOf(t, c)
		replaceFile(t, bin, nil)
		if err := s.Command.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		s.Await("the new executable", func() bool { return exeOf(pid) == bin })
		if now := s.AwaitState(c, "one", "running"); now.PID != one.PID {
			t.Errorf("%s: pid %d, was %d", applet, now.PID, one.PID)
		}
		replaceFile(t, bin, []byte("garbage"))
		if err := s.Command.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		s.Await("the refusal", func() bool { return strings.Contains(s.Logs(), "cannot upgrade") })
		if serverPIDOf(t, c) != pid {
			t.Errorf("%s: another server", applet)
		}
	}
}

// TestKeeperReexec: SIGUSR2 replaces the keeper below a server that notices nothing; garbage changes nothing.
func TestKeeperReexec(t *testing.T) {
	bin := copyOf(t, testkit.Binary(t, ""), "zinit", nil)
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1", Bin: bin})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	pid, keeper := serverPIDOf(t, c), s.Command.Process.Pid
	replaceFile(t, bin, []byte("garbage"))
	if err := syscall.Kill(keeper, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.Await("the refusal", func() bool { return strings.Contains(s.Logs(), "going on as before") })
	replaceFile(t, bin, nil)
	if err := syscall.Kill(keeper, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.Await("the new keeper", func() bool { return exeOf(keeper) == bin })
	if serverPIDOf(t, c) != pid {
		t.Error("another server")
	}
	// the new image keeps what the one before kept
	killServer(t, s, pid)
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
		t.Errorf("pid %d incarnation %d, were %d %d", now.PID, now.Incarnation, one.PID, one.Incarnation)
	}
}

// replaceFile puts other contents where an executable is, as a package manager does; nil = the same.
func replaceFile(t *testing.T, path string, contents []byte) {
	t.Helper()
	if contents == nil {
		b, err := os.ReadFile(testkit.Binary(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		contents = b
	}
	if err := os.WriteFile(path+".new", contents, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestLoneServer: without a keeper the main processes end with a server that is killed.
func TestLoneServer(t *testing.T) {
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "server"})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	pid := serverPIDOf(t, c)
	images := [2]string{copyOf(t, s.Bin, "a", nil), copyOf(t, s.Bin, "b", nil)}
	for i := range 4 { // the parent-death signal fires at the end of a thread, and an exec ends all but one
		if _, err := c.Upgrade(ctx, images[i%2]); err != nil {
			t.Fatal(err)
		}
		s.Await("the new executable", func() bool { return exeOf(pid) == images[i%2] })
		if now := s.AwaitState(c, "one", "running"); now.PID != one.PID {
			t.Fatalf("upgrade %d has cost the service its life: pid %d, was %d", i, now.PID, one.PID)
		}
		if i == 1 {
			if _, err := c.Restart(ctx, "one", rpc.Change{Wait: true}); err != nil {
				t.Fatal(err)
			}
			one = s.AwaitState(c, "one", "running")
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the service to end", func() bool { return errors.Is(syscall.Kill(one.PID, 0), syscall.ESRCH) })
}

// TestUpgradeRunFull: nothing of an upgrade needs room on /run.
func TestUpgradeRunFull(t *testing.T) {
	need.Root(t)
	unshare := need.Program(t, "unshare")
	bin, dir, run := testkit.Binary(t, ""), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "one.toml"), []byte(sleeper), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, applet := range applets {
		cmd := exec.Command(unshare, "-m", "sh", "-c", fmt.Sprintf("mount -t tmpfs -o size=64k none %s && exec %s %s --config %s --socket %s/s", run, bin, applet, dir, run))
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		inside := fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, run)
		c := dialWithin(t, inside+"/s", log.Name())
		var one wire.StatusFull
		until(t, log.Name(), "the service", func() bool {
			one, err = c.StatusFull(ctx, "one")
			return err == nil && one.State.State == "running"
		})
		fill(t, inside+"/fill")
		pid, other := serverPIDOf(t, c), copyOf(t, bin, "other", nil)
		if _, err := c.Upgrade(ctx, other); err != nil {
			t.Error(err)
		}
		until(t, log.Name(), "the new executable", func() bool { return exeOf(pid) == other })
		c = dialWithin(t, inside+"/s", log.Name())
		if now, err := c.StatusFull(ctx, "one"); err != nil || now.PID != one.PID || now.Incarnation != one.Incarnation {
			t.Errorf("%s: %+v %v", applet, now, err)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b, _ := os.ReadFile(log.Name())
			t.Errorf("%s: %v\n%s", applet, err, b)
		}
	}
}

func dialWithin(t *testing.T, socket, log string) *rpc.Client {
	var c *rpc.Client
	until(t, log, "the socket", func() bool {
		var err error
		if c, err = rpc.Dial(ctx, socket); err != nil {
			return false
		}
		_, err = c.Ping(ctx)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func until(t *testing.T, log, what string, ok func() bool) {
	t.Helper()
	if !wait.Until(wait.Patience, ok) {
		b, _ := os.ReadFile(log)
		t.Fatalf("timed out waiting for %s\n%s", what, b)
	}
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// TestKeeperKilled: a keeper that is a plain process can be killed. Its server and the services live on.
func TestKeeperKilled(t *testing.T) {
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1"})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	killServer(t, s, serverPIDOf(t, c)) // so that the service is the keeper's child
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the server to notice", func() bool { return strings.Contains(s.Logs(), "the keeper is gone") })
	c = s.Client()
	if now := s.AwaitState(c, "one", "running"); now.PID != one.PID {
		t.Errorf("pid %d, was %d", now.PID, one.PID)
	}
	if err := syscall.Kill(one.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.Await("the end of the service to be noticed", func() bool {
		now, err := c.StatusFull(ctx, "one")
		return err == nil && now.LastExit != nil && now.PID != one.PID
	})
	pid := serverPIDOf(t, c)
	if err := c.Shutdown(ctx, rpc.PowerStop); err != nil {
		t.Fatal(err)
	}
	s.Await("the end", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}
