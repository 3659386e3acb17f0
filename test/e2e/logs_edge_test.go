package e2e

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// TestBytesOfAllKinds: NUL, bytes that are no UTF-8, carriage returns and escapes, through a pipe as they are but for
// what JSON cannot carry, and on a terminal as text that steers nothing.
func TestBytesOfAllKinds(t *testing.T) {
	script := need.Program(t, "script")
	s := testkit.Start(t, map[string]string{
		"bytes.toml": service("bytes", `exec = 'printf "nul a\000b\nesc \033[31mred\nbad \377.\ncr x\ry\r\nlast"'`+"\noneshot = true\n"),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "bytes", "exited")
	want := []string{"nul a\x00b", "esc \x1b[31mred", "bad \ufffd.", "cr x\ry", "last"}
	if out, _, _ := s.Zinit("logs", "bytes", "-o", "cat"); out != strings.Join(want, "\n")+"\n" {
		t.Errorf("piped: %q", out)
	}
	out, _, _ := s.Zinit("logs", "bytes", "-o", "json")
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var l struct{ Content string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Content != want[i] {
			t.Errorf("JSON line %d: %v %s", i, err, line)
		}
	}
	cmd := exec.Command(script, "-qec", s.Bin+" logs bytes -o cat", "/dev/null")
	cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+s.Socket, "TERM=xterm")
	shown, err := cmd.CombinedOutput()
	if err != nil || strings.ReplaceAll(string(shown), "\r\n", "\n") != "nul a\\x00b\nesc \x1b[31mred\x1b[0m\nbad \ufffd.\ncr x\\ry\nlast\n" {
		t.Errorf("on a terminal: %v %q", err, shown)
	}
}

// TestPipeHeldByGrandchild: what a process that outlives its service writes into the old pipe is kept too, under the pid of the
// incarnation that it came from, and the service has its state meanwhile.
func TestPipeHeldByGrandchild(t *testing.T) {
	held := filepath.Join(t.TempDir(), "go")
	s := testkit.Start(t, map[string]string{
		"parent.toml": service("parent", fmt.Sprintf("oneshot = true\nexec = '(while [ ! -e %s ]; do sleep 0.02; done; echo late) & echo early'\n", held)),
	}, testkit.Options{})
	c := s.Client()
	lines := func() (texts []string) {
		got, err := c.Logs(ctx, rpc.LogQuery{Names: []string{"parent"}, Lines: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range got {
			texts = append(texts, l.Content)
		}
		return texts
	}
	s.AwaitState(c, "parent", "exited")
	if got := lines(); !slices.Equal(got, []string{"early"}) { // the state is told after what was written before
		t.Errorf("at the end of the main process: %q", got)
	}
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Await("the line of the one that lives on", func() bool { return slices.Equal(lines(), []string{"early", "late"}) })
}

// TestFollowOverRotation: a follower that cannot keep up with a small ring gets a run of lines and the exact number of
// those that it missed before each; also when the server is killed again and again meanwhile.
func TestFollowOverRotation(t *testing.T) {
	t.Run("server", func(t *testing.T) { followOverRotation(t, "server") })
	t.Run("pid1", func(t *testing.T) { followOverRotation(t, "pid1") })
}

func followOverRotation(t *testing.T, applet string) {
	const total = 200_000
	release := filepath.Join(t.TempDir(), "go")
	s := testkit.Start(t, map[string]string{
		"fast.toml": service("fast", fmt.Sprintf("exec = 'echo 1; while [ ! -e %s ]; do sleep 0.02; done; seq 2 %d; exec sleep 100000'\n", release, total)+
			"[logging]\nbuffer_lines = 50\nbuffer_bytes = 8192\n"),
	}, testkit.Options{Applet: applet})
	kill := func() {}
	if applet == "pid1" {
		kill = func() {
			c, err := rpc.Dial(ctx, s.Socket)
			if err != nil {
				return // it is dead at this moment
			}
			defer c.Close()
			if ping, err := c.Ping(ctx); err == nil && ping.PID != s.PID() {
				_ = syscall.Kill(ping.PID, syscall.SIGKILL)
			}
		}
	}
	reader, writer := io.Pipe()
	follow := exec.Command(s.Bin, "logs", "-f", "fast", "-o", "json")
	follow.Env = append(os.Environ(), "ZINIT_SOCKET="+s.Socket)
	var missed strings.Builder
	follow.Stdout, follow.Stderr = writer, &missed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(reader)
	lines := make(chan uint64)
	go func() {
		for scan.Scan() {
			var l struct {
				Content string
				Seq     uint64
			}
			if json.Unmarshal(scan.Bytes(), &l) == nil && l.Content == fmt.Sprint(l.Seq) {
				lines <- l.Seq
			}
		}
		close(lines)
	}()
	got, last := 0, uint64(0)
	late := time.After(wait.Patience)
	for last < total {
		select {
		case seq := <-lines:
			if seq <= last {
				t.Fatalf("line %d after %d", seq, last)
			}
			got, last = got+1, seq
			if got%50 == 0 && got <= 250 {
				kill()
			}
			if got == 1 { // it follows
				if err := os.WriteFile(release, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		case <-late:
			t.Fatalf("the last line is %d", last)
		}
	}
	_ = follow.Process.Signal(syscall.SIGINT)
	go func() {
		for range lines {
		}
	}()
	_ = follow.Wait()
	writer.Close()
	gone := 0
	for line := range strings.Lines(missed.String()) {
		var n int
		if _, err := fmt.Sscanf(line, "zinit: fast: %d line", &n); err != nil {
			t.Errorf("stderr: %s", line)
		}
		gone += n
	}
	if got+gone != total {
		t.Errorf("%d lines came and %d are told to be missed, of %d", got, gone, total)
	}
	t.Logf("%d lines came, %d were missed", got, gone)
}

// TestLogDiskIsFull: a file on a tiny disk that fills up, is read-only, or whose directory is not there: the service runs on, status
// tells what happened, and the lines that the ring has are written when the disk takes them again.
func TestLogDiskIsFull(t *testing.T) {
	nsenter := need.Program(t, "nsenter")
	dir := t.TempDir()
	more := filepath.Join(t.TempDir(), "more")
	s := testkit.Start(t, map[string]string{
		"full.toml": service("full", fmt.Sprintf("exec = 'seq -f %%099g 3000; while [ ! -e %s ]; do sleep 0.02; done; echo after; exec sleep 100000'\n", more)+
			fmt.Sprintf("[logging]\nfile = \"%s/full.log\"\nbuffer_lines = 10000\nbuffer_bytes = 1000000\n", dir)),
		"nowhere.toml": service("nowhere", fmt.Sprintf("exec = 'echo one; exec sleep 100000'\n[logging]\nfile = \"%s/no/such/x.log\"\n", dir)),
	}, testkit.Options{Bin: inMounts(t, "mount -t tmpfs -o size=64k none "+dir)})
	s.Bin = testkit.Binary(t, "")
	c := s.Client()
	inside := func(args ...string) error {
		out, err := exec.Command(nsenter, append([]string{"-t", fmt.Sprint(s.PID()), "-m", "--"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
		return nil
	}
	tells := func(name string, words ...string) func() bool {
		return func() bool {
			out, _, _ := s.Zinit("status", name)
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(out, w) })
		}
	}
	s.Await("ENOSPC in status", tells("full", "full.log", "waiting", "error", "no space left on device"))
	s.Await("ENOENT in status", tells("nowhere", "1 waiting", "no such file or directory"))
	for _, name := range []string{"full", "nowhere"} {
		if st := s.AwaitState(c, name, "running"); st.Restarts != 0 {
			t.Errorf("%s was restarted", name)
		}
	}
	if err := inside("mount", "-o", "remount,size=8m", dir); err != nil {
		t.Fatal(err)
	}
	s.Await("the lines on the disk", tells("full", "3000 lines"))
	var err error
	s.Await("a remount", func() bool { err = inside("mount", "-o", "remount,ro", dir); return err == nil })
	if err := os.WriteFile(more, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Await("EROFS in status", tells("full", "1 waiting", "read-only file system"))
	if err := inside("mount", "-o", "remount,rw", dir); err != nil {
		t.Fatal(err)
	}
	s.Await("the last line on the disk", tells("full", "3001 lines"))
	if err := inside("sh", "-c", fmt.Sprintf("test $(wc -l <%[1]s/full.log) = 3001 && test $(sort -u %[1]s/full.log | wc -l) = 3001", dir)); err != nil {
		t.Error(err)
	}
	if err := inside("mkdir", "-p", dir+"/no/such"); err != nil {
		t.Fatal(err)
	}
	s.Await("the directory that came", tells("nowhere", "1 line"))
	if n := strings.Count(s.Logs(), "cannot write a log file"); n < 3 || n > 4 {
		t.Errorf("three failures are told %d times\n%s", n, s.Logs())
	}
}

// sloppyReceiver is an HTTP endpoint for the default destination of all services; behaviour says what the n-th request gets.
type sloppyReceiver struct {
	behaviour func(n int, w http.ResponseWriter) int

	mu    sync.Mutex
	n     int
	at    []time.Time // of each request
	lines []string    // acknowledged
}

func (r *sloppyReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	z, err := gzip.NewReader(req.Body)
	if err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	var lines []string
	for scan := bufio.NewScanner(z); scan.Scan(); {
		var l struct{ Message, Service string }
		if json.Unmarshal(scan.Bytes(), &l) == nil {
			lines = append(lines, l.Service+" "+l.Message)
		}
	}
	r.mu.Lock()
	n := r.n
	r.n++
	r.at = append(r.at, time.Now())
	r.mu.Unlock()
	status := r.behaviour(n, w)
	if status/100 == 2 {
		r.mu.Lock()
		r.lines = append(r.lines, lines...)
		r.mu.Unlock()
	}
	w.WriteHeader(status)
}

// TestForwardToASloppyReceiver: down at first, then 500, 429 with Retry-After, and slow: every line comes once, in order;
// zinit status tells how it stands.
func TestForwardToASloppyReceiver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	settings := filepath.Join(t.TempDir(), "zinit.toml")
	if err := os.WriteFile(settings, []byte(fmt.Sprintf("[logging]\nforward = \"http://%s/in\"\nbuffer_lines = 10000\n", address)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, map[string]string{
		"n.toml": service("n", "exec = 'seq 500; exec sleep 100000'\n"),
	}, testkit.Options{Args: []string{"--settings", settings}})
	s.Await("the failure in status", func() bool {
		all, _, _ := s.Zinit("status")
		one, _, _ := s.Zinit("status", "n")
		return strings.Contains(all, "connection refused") && strings.Contains(one, "500 waiting") && strings.Contains(one, address)
	})
	r := &sloppyReceiver{behaviour: func(n int, w http.ResponseWriter) int {
		switch n {
		case 0:
			return http.StatusInternalServerError
		case 1:
			w.Header().Set("Retry-After", "2")
			return http.StatusTooManyRequests
		case 2:
			time.Sleep(200 * time.Millisecond) // a slow receiver
		}
		return http.StatusNoContent
	}}
	if !wait.Until(wait.Patience, func() bool { l, err = net.Listen("tcp", address); return err == nil }) {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	s.Await("the counters of success", func() bool {
		out, _, _ := s.Zinit("status", "n")
		return strings.Contains(out, address+"/in: 500 lines") && !strings.Contains(out, "waiting")
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) != 500 {
		t.Fatalf("%d lines came", len(r.lines))
	}
	for i, line := range r.lines {
		if line != fmt.Sprintf("n %d", i+1) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if waited := r.at[2].Sub(r.at[1]); waited < 2*time.Second {
		t.Errorf("tried again after %s although Retry-After said 2 s", waited)
	}
}
