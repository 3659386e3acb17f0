package pid1

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/supervisor/keeper"
)

// The test binary is pid1, and the server below it: a puppet that does over a socket what the test says.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "zinit-pid1":
		os.Exit(Main(os.Args))
	case "zinit-server":
		os.Exit(puppet())
	}
	os.Exit(m.Run())
}

// order is one thing for the puppet to do.
type puppetOrder struct {
	Do     string
	Text   string
	N      int
	Code   int
	Reason keeper.Reason
}

type puppetAnswer struct {
	Handover *keeper.Handover
	Event    keeper.Event
	PID      int
	Err      string
}

func puppet() int {
	mode, _ := os.ReadFile(os.Getenv("PUPPET_MODE"))
	if code, found := strings.CutPrefix(string(mode), "exit "); found {
		return number(code)
	}
	c, h, err := keeper.Dial(3)
	if err != nil {
		fmt.Fprintln(os.Stderr, "puppet:", err)
		return 90
	}
	conn, err := net.Dial("unix", os.Getenv("PUPPET_SOCKET"))
	if err != nil {
		return 91
	}
	enc, lines := json.NewEncoder(conn), bufio.NewScanner(conn)
	_ = enc.Encode(puppetAnswer{Handover: h, PID: os.Getpid()})
	for lines.Scan() {
		var o puppetOrder
		if json.Unmarshal(lines.Bytes(), &o) != nil {
			return 92
		}
		a := puppetDo(c, h, o)
		_ = enc.Encode(a)
	}
	return 93
}

func puppetDo(c *keeper.Client, h *keeper.Handover, o puppetOrder) (a puppetAnswer) {
	var err error
	switch o.Do {
	case "settled":
		err = c.Settled()
	case "bye":
		_ = c.Bye(o.Reason, o.Code)
		os.Exit(o.Code)
	case "exit":
		os.Exit(o.Code)
	case "pipes":
		err = puppetPipes(c, o.N)
	case "child":
		a.PID, err = puppetChild(o.Text)
		if err == nil {
			err = c.Track(a.PID, uint64(o.N))
		}
	case "zombies":
		a.PID, err = puppetZombies(c, o.N)
	case "booted":
		err = c.Booted()
	case "listener":
		err = c.StoreListener(3, o.Text)
	case "budget":
		err = c.Budget(time.Duration(o.N) * time.Millisecond)
	case "event?":
		a.Event, _, err = c.Receive()
	case "event":
		a.Event, err = puppetEvent(c)
	case "read":
		a.Event.Exits = nil
		buf := make([]byte, 64)
		n, rerr := unix.Read(h.Pipes[o.N].FD, buf)
		a.Err, err = string(buf[:max(n, 0)]), rerr
		if err == nil {
			return a
		}
	case "exec":
		fd, oerr := unix.Open(o.Text, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err = oerr; err == nil {
			_ = c.Upgrade(fd, o.Text)
			_, _ = unix.FcntlInt(3, unix.F_SETFD, 0)
			err = syscall.Exec(o.Text, os.Args, os.Environ())
			_ = c.CancelUpgrade()
		}
	case "garbage":
		for i := range o.N {
			_ = unix.Sendmsg(3, []byte(strings.Repeat("x", i%300)), nil, nil, unix.MSG_NOSIGNAL)
		}
	case "emergency":
		err = c.Emergency("db", o.Text)
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}

// puppetPipes stores pipes that have a word in them, and dies before it could do anything else with them.
func puppetPipes(c *keeper.Client, n int) error {
	for i := range n {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		_, _ = unix.Write(p[1], fmt.Appendf(nil, "line %d", i))
		if err := c.StorePipes([]keeper.Pipe{{Service: fmt.Sprint("s", i), Gen: uint64(i), Stream: 1, FD: p[0]}}); err != nil {
			return err
		}
		closeFD(p[0])
		closeFD(p[1])
	}
	return nil
}

func puppetChild(script string) (int, error) {
	return syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true}})
}

// puppetZombies starts n children that end with known codes, and does not reap them. It returns how many have ended.
func puppetZombies(c *keeper.Client, n int) (ended int, err error) {
	var pids []int
	for i := range n {
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", fmt.Sprint("exit ", zombieCode(uint64(i)))}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			return 0, err
		}
		if err := c.Track(pid, uint64(i)); err != nil {
			return 0, err
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}

// zombieCode is the exit code of a child by its incarnation.
func zombieCode(gen uint64) int32 { return int32(gen*7%250) + 1 }

func puppetEvent(c *keeper.Client) (keeper.Event, error) {
	for {
		if ev, ok, err := c.Receive(); ok || err != nil {
			return ev, err
		}
		set := []unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}
		if n, err := unix.Poll(set, 10000); err != nil && err != unix.EINTR || err == nil && n == 0 {
			return keeper.Event{}, fmt.Errorf("no event: %w", err)
		}
	}
}

// theatre is a pid1 as a plain keeper, whose servers are puppets.
type theatre struct {
	t        *testing.T
	dir      string
	cmd      *exec.Cmd
	listener *net.UnixListener
	done     chan struct{}
}

// actor is one puppet.
type actor struct {
	t    *testing.T
	conn net.Conn
	in   *json.Decoder
	h    *keeper.Handover
	pid  int
}

func open(t *testing.T, args ...string) *theatre { return openWith(t, "", args...) }

func openWith(t *testing.T, mode string, args ...string) *theatre {
	t.Helper()
	dir, err := os.MkdirTemp("", "pid1-")
	if err != nil {
		t.Fatal(err)
	}
	th := &theatre{t: t, dir: dir, done: make(chan struct{})}
	th.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s"})
	if err != nil {
		t.Fatal(err)
	}
	th.mode(mode)
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A link of its own, which tests may replace.
	if err := os.Link(self, dir+"/pid1"); err != nil {
		copyFile(t, self, dir+"/pid1")
	}
	th.cmd = &exec.Cmd{Path: dir + "/pid1", Args: append([]string{"zinit-pid1"}, args...), Stdout: log, Stderr: log,
		Env: append(os.Environ(), "PUPPET_SOCKET="+dir+"/s", "PUPPET_MODE="+dir+"/mode", "PUPPET_RUN="+dir)}
	if err := th.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = th.cmd.Wait()
		close(th.done)
	}()
	t.Cleanup(th.close)
	return th
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func (th *theatre) mode(text string) {
	if err := os.WriteFile(th.dir+"/mode", []byte(text), 0o644); err != nil {
		th.t.Fatal(err)
	}
}

func (th *theatre) close() {
	select {
	case <-th.done:
	default:
		th.t.Errorf("pid1 still runs at the end of the test")
		_ = th.cmd.Process.Kill()
		<-th.done
	}
	for _, pid := range th.members() {
		th.t.Errorf("process %d was left behind", pid)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if th.t.Failed() {
		th.t.Log(th.cmd.ProcessState, th.log())
	}
	_ = th.listener.Close()
	_ = os.RemoveAll(th.dir)
}

// members are the living processes of this theatre.
func (th *theatre) members() (list []int) {
	pids, _ := processes()
	for _, pid := range pids {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && strings.Contains(string(env), "PUPPET_RUN="+th.dir+"\x00") {
			list = append(list, pid)
		}
	}
	return list
}

func (th *theatre) log() string {
	b, _ := os.ReadFile(th.dir + "/log")
	return string(b)
}

// next waits for the next puppet.
func (th *theatre) next() *actor {
	th.t.Helper()
	_ = th.listener.SetDeadline(time.Now().Add(60 * time.Second))
	conn, err := th.listener.Accept()
	if err != nil {
		th.t.Fatalf("no server: %v\n%s", err, th.log())
	}
	a := &actor{t: th.t, conn: conn, in: json.NewDecoder(conn)}
	answer := a.answer()
	a.h, a.pid = answer.Handover, answer.PID
	return a
}

func (a *actor) answer() (answer puppetAnswer) {
	a.t.Helper()
	_ = a.conn.SetDeadline(time.Now().Add(60 * time.Second))
	if err := a.in.Decode(&answer); err != nil {
		a.t.Fatalf("the puppet does not answer: %v", err)
	}
	return answer
}

func (a *actor) tell(o puppetOrder) {
	a.t.Helper()
	if err := json.NewEncoder(a.conn).Encode(o); err != nil {
		a.t.Fatal(err)
	}
}

func (a *actor) do(o puppetOrder) puppetAnswer {
	a.t.Helper()
	a.tell(o)
	answer := a.answer()
	if answer.Err != "" && o.Do != "read" {
		a.t.Fatalf("%s: %s", o.Do, answer.Err)
	}
	return answer
}

func (a *actor) kill() {
	_ = unix.Kill(a.pid, unix.SIGKILL)
	_ = a.conn.Close()
}

func (th *theatre) signal(sig syscall.Signal) {
	th.t.Helper()
	if err := th.cmd.Process.Signal(sig); err != nil {
		th.t.Fatal(err)
	}
}

// wait returns pid1's exit status.
func (th *theatre) wait() int {
	th.t.Helper()
	select {
	case <-th.done:
		return th.cmd.ProcessState.ExitCode()
	case <-time.After(60 * time.Second):
		th.t.Fatalf("pid1 does not end\n%s", th.log())
		return -1
	}
}

func (th *theatre) await(what string, ok func() bool) {
	th.t.Helper()
	if !wait.Until(wait.Patience, ok) {
		th.t.Fatalf("timed out waiting for %s\n%s", what, th.log())
	}
}

func (th *theatre) says(text string) {
	th.t.Helper()
	th.await(fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(th.log(), text) })
}
