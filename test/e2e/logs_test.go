package e2e

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// TestFloodLeavesTheServerAnswering: a flood, a line of 10 MB and many chatty services beside each other; control calls
// go on answering, and memory stays within the caps.
func TestFloodLeavesTheServerAnswering(t *testing.T) {
	megabytes, chatty := 200, 50
	if os.Getenv("ZINIT_TEST_STRICT") == "1" {
		megabytes, chatty = 2000, 100
	}
	done := filepath.Join(t.TempDir(), "done")
	files := map[string]string{
		"flood.toml": service("flood", fmt.Sprintf("exec = 'yes abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz | head -c %dM; echo >%s; exec sleep 100000'\n", megabytes, done)),
		"long.toml":  service("long", "exec = 'head -c 10000000 /dev/zero | tr \"\\\\0\" x; echo; echo end; exec sleep 100000'\n"),
	}
	for i := range chatty {
		name := fmt.Sprintf("chat%d", i)
		files[name+".toml"] = service(name, "exec = 'while sleep 1; do echo a line of a chatty service; done'\n")
	}
	s := testkit.Start(t, files, testkit.Options{})
	c := s.Client()
	begun := time.Now()
	if !answersQuickly(t, c, "flood", time.Second) {
		t.Error("status is slow beside a flood")
	}
	s.Await("the end of the flood", func() bool { _, err := os.Stat(done); return err == nil })
	t.Logf("%d MB in %s", megabytes, time.Since(begun).Round(time.Millisecond))
	lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{"long"}, Lines: 10})
	if err != nil || len(lines) == 0 || lines[len(lines)-1].Content != "end" || len(lines[0].Content) != 64<<10 || !lines[0].Continued {
		t.Errorf("the line of 10 MB: %d lines, %v", len(lines), err)
	}
	st, err := c.SystemStatus(ctx)
	if err != nil || st.LogArenaBytes > 64<<20 {
		t.Errorf("log memory: %d bytes, %v", st.LogArenaBytes, err)
	}
	if rss := residentKB(s.Command.Process.Pid); rss > 120<<10 {
		t.Errorf("resident memory is %d kB after the flood", rss)
	}
}

func residentKB(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(b), "\n") {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	return 0
}

// TestLogFile: every line goes to the file too; it is rotated, and opened anew on SIGHUP.
func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.log")
	s := testkit.Start(t, map[string]string{
		"w.toml": service("w", "exec = 'n=0; while [ $n -lt 300 ]; do echo line $n; n=$((n+1)); done; exec sleep 100000'\n"+
			fmt.Sprintf("[logging]\nfile = %q\nrotate_bytes = 1024\nrotate_keep = 2\n", path)),
		"hup.toml": service("hup", "exec = 'echo first; while [ ! -e "+filepath.Join(dir, "go")+" ]; do sleep 0.02; done; echo second; exec sleep 100000'\n"+
			fmt.Sprintf("[logging]\nfile = %q\n", filepath.Join(dir, "hup.log"))),
	}, testkit.Options{})
	read := func(name string) string { b, _ := os.ReadFile(filepath.Join(dir, name)); return string(b) }
	s.Await("the last line in the file", func() bool { return strings.Contains(read("out.log"), "line 299\n") })
	if read("out.log.1") == "" || read("out.log.2") == "" || read("out.log.3") != "" {
		t.Error("rotate_keep = 2 did not keep two older files")
	}
	all := read("out.log.2") + read("out.log.1") + read("out.log")
	var first int
	if _, err := fmt.Sscanf(all, "line %d", &first); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(all), "\n") {
		if line != fmt.Sprintf("line %d", first+i) {
			t.Fatalf("line %d of the files is %q", i, line)
		}
	}
	s.Await("the first line of hup", func() bool { return read("hup.log") == "first\n" })
	if err := os.Rename(filepath.Join(dir, "hup.log"), filepath.Join(dir, "hup.old")); err != nil {
		t.Fatal(err)
	}
	if err := s.Command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Await("the reload", func() bool { return strings.Contains(s.Logs(), "configuration reloaded") })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Await("the second line in a new file", func() bool { return read("hup.log") == "second\n" })
	if read("hup.old") != "first\n" {
		t.Errorf("the file that was moved away: %q", read("hup.old"))
	}
}

// TestForwardDefault: zinit.toml names a destination for all services; one opts out.
func TestForwardDefault(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan map[string]any, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for scan := bufio.NewScanner(conn); scan.Scan(); {
					var m map[string]any
					if json.Unmarshal(scan.Bytes(), &m) == nil {
						got <- m
					}
				}
			}()
		}
	}()
	settings := filepath.Join(t.TempDir(), "zinit.toml")
	if err := os.WriteFile(settings, []byte(fmt.Sprintf("[logging]\nforward = \"tcp://%s\"\n", l.Addr())), 0o644); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, map[string]string{
		"a.toml": service("a", "exec = 'echo shipped; exec sleep 100000'\n"),
		"b.toml": service("b", "exec = 'echo kept; exec sleep 100000'\n[logging]\nforward = false\n"),
	}, testkit.Options{Args: []string{"--settings", settings}})
	select {
	case m := <-got:
		if m["message"] != "shipped" || m["service"] != "a" || m["stream"] != "stdout" || m["seq"] != 1.0 || m["host"] == "" || m["timestamp"] == nil || m["pid"] == 0.0 {
			t.Errorf("shipped: %v", m)
		}
	case <-time.After(wait.Patience):
		t.Fatal("nothing was shipped\n" + s.Logs())
	}
	c := s.Client()
	s.Await("the counters", func() bool {
		st, err := c.StatusFull(ctx, "a")
		return err == nil && len(st.Sinks) == 1 && st.Sinks[0].Written == 1
	})
	select {
	case m := <-got:
		t.Errorf("shipped although forward = false: %v", m)
	default:
	}
}

// TestForwardHTTPS: the receiver's certificate is verified; zinit.toml in the directory above services/ names the default.
func TestForwardHTTPS(t *testing.T) {
	got := make(chan string, 10)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body, _ := io.ReadAll(z)
		got <- string(body)
		w.WriteHeader(http.StatusNoContent)
	}))
	receiver.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer receiver.Close()
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})
	if err := os.WriteFile(trusted, text, 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"zinit.toml":      fmt.Sprintf("[logging]\nforward = \"%s/in\"\n", receiver.URL),
		"services/a.toml": service("a", "exec = 'echo over TLS; exec sleep 100000'\n"),
	}
	for _, test := range []struct{ certificates, status string }{{os.DevNull, "1 waiting"}, {trusted, "1 line"}} {
		s := testkit.Start(t, files, testkit.Options{Env: []string{"SSL_CERT_FILE=" + test.certificates, "SSL_CERT_DIR=/nowhere"}})
		s.Await("status to say "+test.status, func() bool {
			out, _, _ := s.Zinit("status", "a")
			return strings.Contains(out, test.status) && strings.Contains(out, "x509:") == (test.certificates != trusted)
		})
		if code := s.Stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if sent := len(got); sent > 0 && test.certificates != trusted {
			t.Fatalf("sent to a receiver that nobody vouches for: %s", <-got)
		}
	}
	if body := <-got; !strings.Contains(body, `"message":"over TLS"`) {
		t.Errorf("received: %s", body)
	}
}

// TestSyslog: a message is filed under the service whose process sent it, others under syslog.
func TestSyslog(t *testing.T) {
	logger := need.Program(t, "logger")
	dir, err := os.MkdirTemp("", "zts")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "log")
	s := testkit.Start(t, map[string]string{
		"app.toml": service("app", fmt.Sprintf("exec = 'while :; do %s -u %s -t pretender from the service; sleep 0.05; done'\n", logger, socket)),
	}, testkit.Options{Args: []string{"--syslog", socket, "--log-format", "json"}})
	c := s.Client()
	find := func(name, text string) func() bool {
		return func() bool {
			lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 1, Grep: text})
			return err == nil && len(lines) == 1 && lines[0].Stream == "syslog"
		}
	}
	s.Await("the message under its service", find("app", "from the service"))
	if out, err := exec.Command(logger, "-u", socket, "-p", "auth.crit", "-t", "app", "from outside").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.Await("the other message under syslog", find("syslog", "from outside"))
	out, _, _ := s.Zinit("logs", "syslog", "-o", "json", "-g", "from outside")
	var line struct{ Stream, Severity, Facility, Content string }
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.Stream != "syslog" || line.Severity != "crit" || line.Facility != "auth" || line.Content != "app: from outside" {
		t.Errorf("logs -o json: %v %s", err, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(s.Logs()), "\n")[1:] {
		if !json.Valid([]byte(line)) {
			t.Errorf("--log-format json: %s", line)
		}
	}
	own, err := c.Logs(ctx, rpc.LogQuery{Names: []string{"zinit"}, Lines: 10})
	if err != nil || len(own) == 0 {
		t.Errorf("the server's own log is not readable as zinit: %v", err)
	}
}

// TestSyslogOfShortLives: programs that send one message and end, as logger does: each message comes once. It stands under
// the service also when its process was reaped before the server looked, where there are control groups and the kernel (6.16)
// tells the group of a sender that has ended; elsewhere it may stand under syslog.
func TestSyslogOfShortLives(t *testing.T) {
	logger := need.Program(t, "logger")
	bothWays(t, func(t *testing.T, env []string) {
		dir, err := os.MkdirTemp("", "zts")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		socket := filepath.Join(dir, "log")
		const n = 200
		s := testkit.Start(t, map[string]string{
			"app.toml": service("app", fmt.Sprintf("exec = 'i=0; while [ $i -lt %d ]; do i=$((i+1)); %s -u %s $i; done; exec sleep 100000'\n", n, logger, socket)),
		}, testkit.Options{Args: []string{"--syslog", socket}, Env: env})
		c := s.Client()
		count := func(name string) int {
			lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 2 * n, Stream: "syslog"})
			if err != nil {
				t.Fatal(err)
			}
			return len(lines)
		}
		s.Await("all messages", func() bool { return count("app")+count("syslog") >= n })
		app, astray := count("app"), count("syslog")
		st, err := c.StatusFull(ctx, "app")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d under the service, %d under syslog, tracking %s", app, astray, st.Tracking)
		if app+astray != n || app == 0 || (astray > 0 && st.Tracking == "cgroup" && kernelAtLeast(6, 16)) {
			t.Errorf("%d messages stand under the service and %d under syslog, of %d", app, astray, n)
		}
	})
}

func kernelAtLeast(major, minor int) bool {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var x, y int
	_, _ = fmt.Sscanf(string(b), "%d.%d", &x, &y)
	return x > major || x == major && y >= minor
}
