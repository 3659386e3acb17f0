package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
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

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// compile makes the tiny service and the C floor. Without a C compiler there is no measuring: a service that costs more than
// its supervisor would hide what it costs.
func (b *bench) compile(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	need.That(t, err == nil, "gcc")
	dir := t.TempDir()
	b.service, b.floorC = filepath.Join(dir, "service"), filepath.Join(dir, "floor")
	build := func(args ...string) error {
		out, err := exec.Command(gcc, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("gcc %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	bare := []string{"-O2", "-static", "-nostdlib", "-DNOLIBC", "-fno-stack-protector", "-o", b.service, "testdata/service.c"}
	if build(bare...) != nil {
		if err := build("-O2", "-static", "-o", b.service, "testdata/service.c"); err != nil {
			t.Fatal(err)
		}
	}
	if err := build("-O2", "-o", b.floorC, "testdata/floor.c"); err != nil {
		t.Fatal(err)
	}
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of the services' stamps.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// stamps receives what services say at their first instruction.
type stamps struct {
	path string
	conn *net.UnixConn
	ch   chan stamp
	once sync.Once
}

type stamp struct {
	ns    int64
	index int
	pid   int
}

func listen(t *testing.T) *stamps {
	t.Helper()
	dir, err := os.MkdirTemp("", "zb")
	if err != nil {
		t.Fatal(err)
	}
	s := &stamps{path: filepath.Join(dir, "d"), ch: make(chan stamp, 1<<14)}
	if s.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	_ = s.conn.SetReadBuffer(4 << 20)
	_ = os.Chmod(s.path, 0o666)
	go func() {
		var buf [64]byte
		for {
			n, err := s.conn.Read(buf[:])
			if err != nil {
				close(s.ch)
				return
			}
			if n == 16 {
				s.ch <- stamp{int64(binary.NativeEndian.Uint64(buf[:])), int(binary.NativeEndian.Uint32(buf[8:])), int(binary.NativeEndian.Uint32(buf[12:]))}
			}
		}
	}()
	t.Cleanup(func() { s.once.Do(func() { s.conn.Close(); os.RemoveAll(dir) }) })
	return s
}

// take waits for the stamps of n different services and returns them by index.
func (s *stamps) take(t *testing.T, n int) []stamp {
	t.Helper()
	got := make([]stamp, n)
	late := time.After(30 * time.Second)
	for have := 0; have < n; {
		select {
		case st := <-s.ch:
			if st.index < 0 || st.index >= n {
				t.Fatalf("a stamp of service %d of %d", st.index, n)
			}
			if got[st.index].pid == 0 {
				have++
			}
			got[st.index] = st
		case <-late:
			t.Fatalf("only %d of %d services started", have, n)
		}
	}
	return got
}

// last is the latest stamp.
func last(st []stamp) (ns int64) {
	for _, s := range st {
		ns = max(ns, s.ns)
	}
	return ns
}

// program is a supervisor or a floor at work.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	began  int64 // just before its execve
	socket string
	out    bytes.Buffer
	log    string

	control string         // a peer's socket
	end     syscall.Signal // asks for the ordered end, 0 = SIGTERM
	code    int            // with which that succeeds
	busy    usage          // before it
	foreign float64        // share of the processors' time that others took meanwhile, once it has ended
}

// floor starts one of the floors: n times a command whose last argument is its index.
func (b *bench) floor(t *testing.T, which, mode string, n int, command ...string) *program {
	args := append([]string{mode, strconv.Itoa(n)}, command...)
	p := &program{t: t}
	switch which {
	case floorC:
		p.cmd = exec.Command(b.floorC, args...)
	case floorGo:
		p.cmd = exec.Command(b.self, args...)
		p.cmd.Env = append(os.Environ(), roleEnv+"=1")
	case floorGo2:
		p.cmd = exec.Command(b.self, args...)
		p.cmd.Env = append(os.Environ(), roleEnv+"=2")
	}
	p.begin()
	return p
}

// server starts zinit on a directory of services.
func (b *bench) server(t *testing.T, which, dir string, env ...string) *program {
	p := &program{t: t, socket: filepath.Join(shortDir(t), "s")}
	p.cmd = exec.Command(b.zinit, "server", "--config", dir, "--socket", p.socket)
	p.cmd.Env = append(append(os.Environ(), env...), "ZINIT_CGROUP="+map[bool]string{true: "1", false: "0"}[which == oursCg])
	p.begin()
	return p
}

func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "zb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (p *program) begin() {
	p.t.Helper()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout = &p.out
	log, err := os.CreateTemp(shortDir(p.t), "log")
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr, p.log = log, log.Name()
	p.busy = usageNow()
	p.began = monotonic()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// stop asks for the ordered end with SIGTERM, and returns how long it took in ms.
func (p *program) stop() float64 {
	p.t.Helper()
	began := monotonic()
	_ = p.cmd.Process.Signal(cmp.Or(p.end, syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		took := float64(monotonic()-began) / 1e6
		p.foreign = p.busy.foreignSince()
		if err != nil && (p.code == 0 || p.cmd.ProcessState.ExitCode() != p.code) {
			log, _ := os.ReadFile(p.log)
			p.t.Errorf("%s: %v\n%s", p.cmd.Path, err, tail(log))
		}
		return took
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		p.t.Fatalf("%s did not end", p.cmd.Path)
	}
	return 0
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// client connects as soon as the server listens.
func (p *program) client() *rpc.Client {
	p.t.Helper()
	var c *rpc.Client
	ok := wait.Until(wait.Patience, func() bool {
		var err error
		c, err = rpc.Dial(context.Background(), p.socket)
		return err == nil
	})
	if !ok {
		p.t.Fatal("the server does not listen")
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// services writes n definitions; more may add lines to the i-th one.
func (b *bench) services(t *testing.T, n int, command []string, more func(i int) string) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		text := fmt.Sprintf("[service]\nname = %q\nexec = %s\n", name(i), tomlList(append(command, strconv.Itoa(i))))
		if more != nil {
			text += more(i)
		}
		if err := os.WriteFile(filepath.Join(dir, name(i)+".toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func name(i int) string { return fmt.Sprintf("s%04d", i) }

func tomlList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
