package e2e

import (
	"bufio"
	"fmt"
	"net"
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
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

func init() { helpers["echo"] = helpEcho }

// helpEcho answers every line on a socket with itself: the floor of what a query costs on this machine at this moment.
func helpEcho(args []string) {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if _, err := c.Write(line); err != nil {
					return
				}
			}
		}()
	}
}

// TestChattyServices: a thousand services that all write (fewer where nothing says that every test must run whole). Their
// start is some lines of the server's own log and not two for each; control calls are answered within 10 ms in 99 of
// 100 cases, or three times what an echo needs at the same moment; the memory of the rings stays within its bound.
func TestChattyServices(t *testing.T) {
	n := 200
	if os.Getenv("ZINIT_TEST_STRICT") == "1" {
		n = 1000
	}
	said := filepath.Join(t.TempDir(), "said")
	if err := os.WriteFile(said, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("chat%d", i)
		files[name+".toml"] = service(name, fmt.Sprintf("exec = [\"tail\", \"---disable-inotify\", \"-s\", \"0.2\", \"-n\", \"0\", \"-f\", %q]\n", said))
	}
	s := testkit.Start(t, files, testkit.Options{})
	c := s.Client()
	s.Await("all to run", func() bool {
		st, err := c.SystemStatus(ctx)
		return err == nil && st.Counts["running"] == n
	})
	checkStartIsSummarised(t, s, n)
	stop := keepSaying(t, said)
	quick := answersQuickly(t, c, "chat7", 3*time.Second)
	lines := stop()
	if !quick {
		t.Errorf("status is slow beside %d services that wrote %d lines each", n, lines)
	}
	for i := range n { // every line has arrived, once
		name := fmt.Sprintf("chat%d", i)
		s.Await("the lines of "+name, func() bool {
			last, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 1})
			return err == nil && len(last) == 1 && last[0].Seq == uint64(lines) && last[0].Content == fmt.Sprintf("line %d of a service that says a lot", lines)
		})
	}
	st, err := c.SystemStatus(ctx)
	if err != nil || st.LogArenaBytes > 64<<20 {
		t.Errorf("log memory: %d bytes, %v", st.LogArenaBytes, err)
	}
}

// checkStartIsSummarised: every start is told, by itself or in the line that counts them.
func checkStartIsSummarised(t *testing.T, s *testkit.Server, n int) {
	t.Helper()
	var told, more int
	s.Await("the summary of the start", func() bool {
		told, more = 0, 0
		for line := range strings.Lines(s.Logs()) {
			if strings.Contains(line, "`zinit events` has them") {
				for _, part := range strings.Split(line, ":") {
					var k int
					for _, word := range strings.Split(part, ", ") {
						if _, err := fmt.Sscanf(strings.TrimSpace(word), "%d starting -> running", &k); err == nil {
							more += k
						}
					}
				}
			} else if strings.Contains(line, "starting -> running") {
				told++
			}
		}
		return told+more >= n
	})
	if told+more != n || told > n/2 || more == 0 {
		t.Errorf("%d starts are told one by one and %d in summaries, of %d\n%s", told, more, n, s.Logs())
	}
}

// keepSaying appends lines to the file that all services show, until the function that it returns is called; that tells how many.
func keepSaying(t *testing.T, path string) (stop func() int) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	done, n := make(chan struct{}), 0
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		defer ended.Done()
		defer f.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			var text []byte
			for range 5 {
				n++
				text = fmt.Appendf(text, "line %d of a service that says a lot\n", n)
			}
			_, _ = f.Write(text)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() int {
		close(done)
		ended.Wait()
		return n
	}
}

func startEcho(t *testing.T) net.Conn {
	t.Helper()
	dir, err := os.MkdirTemp("", "zte")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVariable+"=echo "+dir+"/e")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var conn net.Conn
	if !wait.Until(wait.Patience, func() bool { conn, err = net.Dial("unix", dir+"/e"); return err == nil }) {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// answersQuickly reports whether 99 of 100 status calls take at most 10 ms, or three times as long as an echo at the same
// time. It tries up to three times: others may be at work on this machine.
func answersQuickly(t *testing.T, c *rpc.Client, name string, length time.Duration) bool {
	t.Helper()
	conn := startEcho(t)
	for range 3 {
		status, echo := latencies(t, c, name, conn, length)
		t.Logf("p99 of status %s, of an echo %s", status, echo)
		if status <= max(10*time.Millisecond, 3*echo) {
			return true
		}
	}
	return false
}

// latencies asks for a status and an echo in turn, and returns the 99th percentile of each.
func latencies(t *testing.T, c *rpc.Client, name string, echo net.Conn, length time.Duration) (status, floor time.Duration) {
	t.Helper()
	var ours, theirs []time.Duration
	answers := bufio.NewReader(echo)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		t0 := time.Now()
		if _, err := c.Status(ctx, name); err != nil {
			t.Fatal(err)
		}
		t1 := time.Now()
		_, _ = echo.Write([]byte("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.status\",\"params\":{\"name\":\"chat7\"}}\n"))
		if _, err := answers.ReadSlice('\n'); err != nil {
			t.Fatal(err)
		}
		ours, theirs = append(ours, t1.Sub(t0)), append(theirs, time.Since(t1))
	}
	return percentile99(ours), percentile99(theirs)
}

func percentile99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)*99/100]
}

// TestRestartStorm: services that fail again and again, thousands of times, are some lines of the server's own log: every one
// is named with its failure, the rest is counted.
func TestRestartStorm(t *testing.T) {
	const n = 60
	files := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("storm%d", i)
		files[name+".toml"] = service(name, "exec = \"exit 3\"\n[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 20\nrestart_delay_max_ms = 20\nmax_restarts = 0\n")
	}
	began := time.Now()
	s := testkit.Start(t, files, testkit.Options{Env: []string{"ZINIT_CGROUP=0"}})
	c := s.Client()
	s.Await("thousands of transitions", func() bool {
		events, err := c.Events(ctx, 3000, 1)
		return err == nil && len(events.Events) > 0
	})
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	named, lines, more := map[string]int{}, 0, 0
	for line := range strings.Lines(s.Logs()) {
		lines++
		var k int
		switch {
		case strings.Contains(line, "`zinit events` has them"):
			if _, err := fmt.Sscanf(line[strings.Index(line, "and "):], "and %d more", &k); err != nil {
				t.Error(line)
			}
			more += k
		case strings.Contains(line, "-> failed (exited with code 3)"):
			named[strings.Fields(line)[2]]++
		}
	}
	windows := 2 + int(time.Since(began)/(10*time.Second))
	t.Logf("%d lines, %d transitions in summaries, in at most %d windows", lines, more, windows)
	if len(named) != n || more < 500 {
		t.Errorf("%d services are named, %d transitions summarised\n%s", len(named), more, s.Logs())
	}
	for name, times := range named {
		if times > 5*windows {
			t.Errorf("%s is told %d times", name, times)
		}
	}
}
