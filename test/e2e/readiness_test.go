package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/supervisor/proc"
)

// TestReadyRedis: a daemon of Debian's that speaks sd_notify by libsystemd.
func TestReadyRedis(t *testing.T) {
	redis := need.Program(t, "redis-server")
	dir, port := t.TempDir(), freePort(t)
	s := testkit.Start(t, map[string]string{"r.toml": service("r", fmt.Sprintf(
		"ready = \"notify\"\nexec = \"%s --port %d --bind 127.0.0.1 --save '' --dir %s --supervised systemd\"\n", redis, port, dir))}, testkit.Options{})
	c := s.Client()
	if st := s.AwaitState(c, "r", "running"); !strings.Contains(st.StatusText, "Ready to accept connections") {
		t.Errorf("its status: %q", st.StatusText)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Errorf("ready, but: %v", err)
	} else {
		conn.Close()
	}
	if out, _, _ := s.Zinit("status", "r"); !strings.Contains(out, "Ready to accept connections") {
		t.Errorf("zinit status does not show it:\n%s", out)
	}
}

// TestReadyDaemons: PostgreSQL and rsyslog of Debian's are built with libsystemd too. (nginx is not: Debian's, like the
// original, knows no NOTIFY_SOCKET; with it an http check tells.)
func TestReadyDaemons(t *testing.T) {
	need.Root(t)
	pg, rsyslog, port := postgresBin(t), need.Program(t, "rsyslogd"), freePort(t)
	dir, err := os.MkdirTemp("", "ztr") // not t.TempDir: the postgres user must be able to reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "pg")
	for _, step := range []func() error{
		func() error { return os.Chmod(dir, 0o755) }, func() error { return os.Mkdir(data, 0o700) }, func() error { return chownTo(data, "postgres") },
		func() error {
			return os.WriteFile(dir+"/rsyslog.conf", []byte("module(load=\"immark\")\n*.* "+dir+"/messages\n"), 0o644)
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	s := testkit.Start(t, map[string]string{
		"db.toml": service("db", fmt.Sprintf("user = \"postgres\"\nready = \"notify\"\npre_start = \"%[1]s/initdb -D %[2]s -A trust -U postgres --no-sync\"\npre_start_timeout_ms = 120000\n"+
			"exec = \"%[1]s/postgres -D %[2]s -p %[3]d -k %[2]s -c listen_addresses=127.0.0.1\"\n[lifecycle]\nstop_signal = \"SIGINT\"\nstart_timeout_ms = 60000\n", pg, data, port)),
		"log.toml": service("log", fmt.Sprintf("ready = \"notify\"\nexec = \"%[1]s -n -iNONE -f %[2]s/rsyslog.conf\"\n", rsyslog, dir)),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "log", "running")
	s.AwaitState(c, "db", "running")
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Errorf("ready, but: %v", err)
	} else {
		conn.Close()
	}
	for _, name := range []string{"db", "log"} {
		if _, stderr, code := s.Zinit("stop", name); code != 0 {
			t.Errorf("stop %s: %d %s", name, code, stderr)
		}
	}
}

// TestReadyGoSystemd: readiness, status, RELOADING and the watchdog with go-systemd; a service that stops pinging fails.
func TestReadyGoSystemd(t *testing.T) {
	s := testkit.Start(t, map[string]string{
		"pings.toml": service("pings", "ready = \"notify\"\nwatchdog_ms = 1500\n"+helper(t, "notify")),
		"falls.toml": service("falls", "ready = \"notify\"\nwatchdog_ms = 1500\n"+helper(t, "notify 2")+"[lifecycle]\nrestart = \"never\"\n"),
	}, testkit.Options{})
	c := s.Client()
	st := s.AwaitState(c, "pings", "running")
	if st.StatusText != "serving by go-systemd" {
		t.Errorf("status %q", st.StatusText)
	}
	for _, name := range []string{"pings", "falls"} {
		s.Await("the environment of the watchdog", hasLine(s, name, "watchdog 1.5s true"))
	}
	failed := s.AwaitState(c, "falls", "failed")
	if r := failed.State.Reason; r == nil || r.Type != "health_check_failed" || r.Kind != "watchdog" {
		t.Errorf("without pings: %+v", failed.State.Reason)
	}
	if again := s.AwaitState(c, "pings", "running"); again.PID != st.PID {
		t.Errorf("the one that pings was touched: %d -> %d", st.PID, again.PID)
	}
	if _, stderr, code := s.Zinit("signal-reload", "pings"); code != 0 {
		t.Fatalf("signal-reload: %d %s", code, stderr)
	}
	s.Await("status to say that it reloads", func() bool {
		out, _, _ := s.Zinit("status", "pings")
		return strings.Contains(out, "reloading: reading files")
	})
}

// TestReadyWords: what systemd-notify can say: MAINPID, STOPPING, EXTEND_TIMEOUT_USEC, WATCHDOG_USEC, a barrier; and
// words that are said right before the end.
func TestReadyWords(t *testing.T) {
	need.Program(t, "systemd-notify")
	s := testkit.Start(t, map[string]string{
		"mainpid.toml":  service("mainpid", "ready = \"notify\"\nexec = '''\nsleep 100001 & sleep 100002 &\nsystemd-notify --no-block --ready MAINPID=$!\nexit 0\n'''\n"),
		"extend.toml":   service("extend", "ready = \"notify\"\nexec = '''\nfor i in 1 2 3 4 5 6; do systemd-notify EXTEND_TIMEOUT_USEC=8000000; sleep 0.75; done\nsystemd-notify --ready\nexec sleep 100003\n'''\n[lifecycle]\nstart_timeout_ms = 4000\n"),
		"late.toml":     service("late", "ready = \"notify\"\nexec = 'sleep 100004'\n[lifecycle]\nstart_timeout_ms = 300\nrestart = \"never\"\n"),
		"stopping.toml": service("stopping", "ready = \"notify\"\nexec = '''\nsystemd-notify --ready; systemd-notify --status=closing STOPPING=1\nexec sleep 100005\n'''\n"),
		"trigger.toml":  service("trigger", "ready = \"notify\"\nexec = '''\nsystemd-notify --ready; systemd-notify WATCHDOG=trigger\nexec sleep 100006\n'''\n[lifecycle]\nrestart = \"never\"\n"),
		"barrier.toml":  service("barrier", "ready = \"notify\"\nexec = '''\nsystemd-notify --ready && echo passed\nexec sleep 100007\n'''\n"),
		"brief.toml":    service("brief", "ready = \"notify\"\nexec = '''\nsystemd-notify --no-block --ready\nexit 0\n'''\n"),
		"adaptive.toml": service("adaptive", "ready = \"notify\"\nexec = '''\nsystemd-notify --ready; systemd-notify WATCHDOG_USEC=200000\nexec sleep 100008\n'''\n[lifecycle]\nrestart = \"never\"\n"),
	}, testkit.Options{})
	c := s.Client()
	main := s.AwaitState(c, "mainpid", "running")
	if cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", main.PID)); string(cmd) != "sleep\x00100002\x00" {
		t.Errorf("the main process is %d %q, want the one that MAINPID named", main.PID, cmd)
	}
	if len(main.Warnings) > 0 {
		t.Errorf("warnings: %v", main.Warnings)
	}
	if st := s.AwaitState(c, "brief", "exited"); st.ReadyAt == "" && st.LastExit == nil {
		t.Errorf("READY=1 right before the end was not heard: %+v", st)
	}
	s.AwaitState(c, "extend", "running")
	if st := s.AwaitState(c, "late", "failed"); st.State.Reason.Type != "start_timeout" {
		t.Errorf("without EXTEND_TIMEOUT_USEC: %+v", st.State.Reason)
	}
	s.Await("STOPPING=1 in status", func() bool {
		out, _, _ := s.Zinit("status", "stopping")
		return strings.Contains(out, "stopping: closing")
	})
	for _, name := range []string{"trigger", "adaptive"} {
		if r := s.AwaitState(c, name, "failed").State.Reason; r.Type != "health_check_failed" || r.Kind != "watchdog" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s.Await("the barrier to be lifted", hasLine(s, "barrier", "passed"))

	// The end of the process that MAINPID named is seen, and the rest of the tree ends with it.
	if err := syscall.Kill(main.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await("the end of the main process to be seen", func() bool {
		st, err := c.StatusFull(ctx, "mainpid")
		return err == nil && st.LastExit != nil && st.LastExit.Signal != nil && *st.LastExit.Signal == 9
	})
	s.Await("no zombie to be left", func() bool { return !exists(main.PID) })
}

// TestReadyStrangers: everybody may write to the socket of a service, and only the service is heard; MAINPID must be its own.
func TestReadyStrangers(t *testing.T) {
	need.Program(t, "systemd-notify")
	s := testkit.Start(t, map[string]string{
		"victim.toml": service("victim", "ready = \"notify\"\nexec = 'echo $NOTIFY_SOCKET; exec sleep 100001'\n"),
		"liar.toml":   service("liar", fmt.Sprintf("ready = \"notify\"\nexec = 'systemd-notify --ready MAINPID=%d; exec sleep 100002'\n", os.Getpid())),
	}, testkit.Options{})
	c := s.Client()
	var pid int
	s.Await("the victim's process", func() bool {
		st, err := c.StatusFull(ctx, "victim")
		pid = st.PID
		return err == nil && pid > 0
	})
	socket := variable(t, s, pid, "NOTIFY_SOCKET")
	s.Write(map[string]string{"mean.toml": service("mean", helper(t, "pretend "+socket+" READY=1 STATUS=hijacked"))})
	if _, stderr, code := s.Zinit("reload"); code != 0 {
		t.Fatalf("reload: %s", stderr)
	}
	s.Await("another service to have sent", hasLine(s, "mean", "pretended <nil>"))
	s.Await("the refusal in the log", func() bool { return strings.Contains(s.Logs(), "a notification was not accepted") })
	if st, _ := c.StatusFull(ctx, "victim"); st.State.State != "starting" || st.StatusText != "" {
		t.Errorf("another service was heard: %+v %q", st.State, st.StatusText)
	}
	s.Await("the refused MAINPID in the log", func() bool { return strings.Contains(s.Logs(), "MAINPID names a process") })
	if st, _ := c.StatusFull(ctx, "liar"); st.State.State != "starting" || st.PID == os.Getpid() {
		t.Errorf("a false MAINPID: %+v pid %d", st.State, st.PID)
	}
}

// variable reads the environment of a process.
func variable(t *testing.T, s *testkit.Server, pid int, name string) (value string) {
	t.Helper()
	s.Await(name+" in the environment", func() bool {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				value = v
				return true
			}
		}
		return false
	})
	return value
}

// TestReadyUser: a dead sender of the service's user is heard, and a program that has given up root, wherever the server's
// folder is.
func TestReadyUser(t *testing.T) {
	need.Root(t)
	need.Program(t, "systemd-notify")
	s := testkit.Start(t, map[string]string{
		"n.toml": service("n", "user = \"nobody\"\nready = \"notify\"\nexec = 'systemd-notify --no-block --ready --status=mine; exec sleep 100000'\n"),
		"d.toml": service("d", "ready = \"notify\"\nexec = 'exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"systemd-notify --ready && exec sleep 100000\"'\n"),
	}, testkit.Options{})
	c := s.Client()
	// In a folder that not everybody can search a socket would be of no use: they get an abstract one.
	for _, name := range []string{"n", "d"} {
		st := s.AwaitState(c, name, "running")
		if socket := variable(t, s, st.PID, "NOTIFY_SOCKET"); socket[0] != '@' {
			t.Errorf("%s: %s is in a folder that is root's alone", name, socket)
		}
	}
	if err := os.Chmod(filepath.Dir(s.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n", "d"} {
		if _, err := c.Restart(ctx, name, change(true)); err != nil {
			t.Fatal(err)
		}
		st := s.AwaitState(c, name, "running")
		socket := variable(t, s, st.PID, "NOTIFY_SOCKET")
		info, err := os.Stat(socket)
		if err != nil || info.Mode().Perm() != 0o666 {
			t.Fatalf("%s: %s: %v %v", name, socket, info, err)
		}
		if folder, err := os.Stat(filepath.Dir(socket)); err != nil || folder.Mode().Perm() != 0o711 {
			t.Errorf("%s: its folder: %v %v", name, folder, err)
		}
	}
}

// TestReadyManager: systemd-notify speaks in the name of its parent unless that is the service manager, whom MANAGERPID
// names. So does its --exec (from version 254 on), with which a service begins as systemd-notify.
func TestReadyManager(t *testing.T) {
	need.Program(t, "systemd-notify")
	s := testkit.Start(t, map[string]string{
		"x.toml": service("x", "ready = \"notify\"\nexec = [\"systemd-notify\", \"--ready\", \"--status=said\"]\n[lifecycle]\nrestart = \"never\"\n"),
	}, testkit.Options{})
	c := s.Client()
	s.Await("the end", func() bool {
		st, err := c.StatusFull(ctx, "x")
		return err == nil && st.LastExit != nil
	})
	if st, err := c.StatusFull(ctx, "x"); err != nil || st.State.State != "exited" || st.StatusText != "said" && st.ReadyAt == "" {
		t.Errorf("it was not heard: %+v %v\n%s", st.State, err, s.Logs())
	}
}

// TestReadyDescriptor: s6's way, on any descriptor; nothing else of ours is open in the child.
func TestReadyDescriptor(t *testing.T) {
	s := testkit.Start(t, map[string]string{
		"five.toml":   service("five", "ready = \"fd:5\"\nexec = 'ls /proc/self/fd | tr \"\\n\" \" \"; echo; printf \"x\\n\" >&5; exec 5>&-; exec sleep 100001'\n"),
		"slow.toml":   service("slow", "ready = \"fd:3\"\nexec = 'printf no-newline >&3; exec sleep 100002'\n[lifecycle]\nstart_timeout_ms = 300\nrestart = \"never\"\n"),
		"closed.toml": service("closed", "ready = \"fd:3\"\nexec = 'exec 3>&-; exec sleep 100003'\n"),
		"brief.toml":  service("brief", "ready = \"fd:3\"\nexec = 'echo >&3; exit 0'\n"),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "five", "running")
	s.Await("the list of descriptors", hasLine(s, "five", "0 1 2 3 5"))
	if st := s.AwaitState(c, "slow", "failed"); st.State.Reason.Type != "start_timeout" {
		t.Errorf("without a newline: %+v", st.State.Reason)
	}
	s.Await("a warning for the closed descriptor", func() bool {
		st, err := c.StatusFull(ctx, "closed")
		return err == nil && strings.Contains(strings.Join(st.Warnings, " "), "without a newline")
	})
	s.AwaitState(c, "brief", "exited")
}

// TestServerNotifies: the server itself says READY=1, RELOADING=1 and STOPPING=1 to the socket above it, and writes a
// newline to --ready-fd.
func TestServerNotifies(t *testing.T) {
	dir, err := os.MkdirTemp("", "ztn")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "n")
	above, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	next := func(want ...string) {
		t.Helper()
		buf := make([]byte, 4096)
		_ = above.SetReadDeadline(time.Now().Add(wait.Patience))
		n, err := above.Read(buf)
		if err != nil {
			t.Fatalf("want %v: %v", want, err)
		}
		for _, w := range want {
			if !strings.Contains("\n"+string(buf[:n]), "\n"+w) {
				t.Errorf("the server said %q, want %v", buf[:n], want)
			}
		}
	}
	for _, way := range []string{"signal", "rpc", "on_exit"} {
		t.Run(way, func(t *testing.T) {
			files := map[string]string{"a.toml": service("a", "exec = 'echo \"<$NOTIFY_SOCKET>\"; exec sleep 100000'\n")}
			if way == "on_exit" {
				files["b.toml"] = service("b", "exec = 'while [ ! -e "+dir+"/go ]; do sleep 0.02; done; exit 3'\n[lifecycle]\nrestart = \"never\"\non_exit = \"shutdown\"\n")
			}
			s := testkit.Start(t, files, testkit.Options{Env: []string{"NOTIFY_SOCKET=" + path}})
			next("READY=1")
			s.Await("the service not to see our socket", hasLine(s, "a", "<>"))
			switch way {
			case "signal":
				if err := s.Command.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				next("RELOADING=1", "MONOTONIC_USEC=")
				next("READY=1")
				if code := s.Stop(syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d", code)
				}
			case "rpc":
				if _, stderr, code := s.Zinit("shutdown"); code != 0 {
					t.Errorf("shutdown: %d %s", code, stderr)
				}
			case "on_exit":
				if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			next("STOPPING=1")
			s.Wait()
		})
	}
	t.Run("ready-fd", func(t *testing.T) {
		out := filepath.Join(dir, "ready")
		s := testkit.Start(t, map[string]string{"outer.toml": service("outer", fmt.Sprintf(
			"ready = \"fd:4\"\nexec = [%q, \"server\", \"--config\", %q, \"--socket\", %q, \"--ready-fd\", \"4\"]\n", testkit.Binary(t, ""), t.TempDir(), out))}, testkit.Options{})
		st := s.AwaitState(s.Client(), "outer", "running")
		if _, err := os.Stat(out); err != nil {
			t.Errorf("ready before its socket: %v", err)
		}
		if _, err := os.Readlink("/proc/" + strconv.Itoa(st.PID) + "/fd/4"); err == nil {
			if link, _ := os.Readlink("/proc/" + strconv.Itoa(st.PID) + "/fd/4"); strings.HasPrefix(link, "pipe:") {
				t.Error("the readiness descriptor was not closed")
			}
		}
	})
}

// TestStoppingItself: what has announced its end is left to it: watchdog and health checks do not count any more, the stop
// timeout does.
func TestStoppingItself(t *testing.T) {
	need.Program(t, "systemd-notify")
	ends := func(name, last, rest string) string {
		return service(name, "ready = \"notify\"\nexec = '''\nsystemd-notify --ready; systemd-notify STOPPING=1; echo announced\n"+last+"\n'''\n"+rest)
	}
	s := testkit.Start(t, map[string]string{
		"dog.toml": ends("dog", "sleep 1.5; exit 0", "watchdog_ms = 500\n[lifecycle]\nrestart = \"never\"\n"),
		"sick.toml": ends("sick", "sleep 1.5; exit 0",
			"[lifecycle]\nrestart = \"never\"\n[health]\ntype = \"exec\"\ntarget = \"false\"\ninterval_ms = 100\nretries = 4\n"),
		"late.toml": ends("late", "exec sleep 100000", "[lifecycle]\nrestart = \"never\"\nstop_timeout_ms = 500\n"),
	}, testkit.Options{})
	c := s.Client()
	for _, name := range []string{"dog", "sick"} {
		if st := s.AwaitState(c, name, "exited"); st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 0 {
			t.Errorf("%s was not left to its end: %+v", name, st.LastExit)
		}
	}
	if r := s.AwaitState(c, "late", "failed").State.Reason; r.Type != "stop_timeout" {
		t.Errorf("late: %+v", r)
	}
}

// TestKeeperLetsGo: the keeper holds the notify socket of the incarnation that runs, and no older one.
func TestKeeperLetsGo(t *testing.T) {
	need.Program(t, "systemd-notify")
	s := testkit.Start(t, map[string]string{
		"n.toml": service("n", "ready = \"notify\"\nexec = 'systemd-notify --ready; exec sleep 100000'\n"),
	}, testkit.Options{Applet: "pid1"})
	c := s.Client()
	s.AwaitState(c, "n", "running")
	status, err := c.SystemStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := proc.ReadProcess(status.PID)
	if err != nil {
		t.Fatal(err)
	}
	held := func() int {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", stat.PPID))
		return len(entries)
	}
	before := held()
	for range 10 {
		if _, err := c.Restart(ctx, "n", change(true)); err != nil {
			t.Fatal(err)
		}
	}
	s.Await("the keeper to let go", func() bool { return held() <= before })
}
