package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc/wire"
)

// TestPortIsReevaluated: a port held by a foreign process blocks, why names port, pid and program, and the service
// starts by itself when the port gets free.
func TestPortIsReevaluated(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	s := testkit.Start(t, map[string]string{
		"web.toml": fmt.Sprintf("[service]\nname = \"web\"\nexec = \"sleep 100000\"\nports = [%d]\n", port),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "web", "blocked")
	var w wire.Why
	s.Await("why to name the holder", func() bool {
		w, err = c.Why(ctx, "web")
		return err == nil && w.PortConflict != nil
	})
	if w.PortConflict.Port != port || w.PortConflict.PID == 0 || !strings.Contains(w.ASCII, fmt.Sprint(port)) {
		t.Errorf("why: %+v\n%s", w.PortConflict, w.ASCII)
	}
	l.Close()
	s.AwaitState(c, "web", "running")
}

// inNamespaces is a script that runs the binary in network and process namespaces of its own, after some lines of shell
// have started strangers there. Its end ends all of them.
func inNamespaces(t *testing.T, strangers string) string {
	t.Helper()
	need.Root(t)
	need.Program(t, "unshare")
	need.Program(t, "ip")
	path := filepath.Join(t.TempDir(), "zinit-in-namespaces")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare --net --pid --fork --mount-proc --kill-child sh -c 'ip link set lo up\n%s\n%s \"$@\"; exit $?' sh \"$@\"\n",
		strangers, testkit.Binary(t, ""))
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKillOthers: exactly the foreign processes that listen on the ports, or match the filter, are ended, with SIGKILL
// where SIGTERM is ignored; never a process of another service, the server, or one that only looks like it.
func TestKillOthers(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	listen := func(words, log string) string {
		return fmt.Sprintf("%s=\"listen %s\" %s >/dev/null 2>&1 & echo $! >%s/%s", helperVariable, words, self, dir, log)
	}
	strangers := strings.Join([]string{
		listen("1001", "soft"), listen("1002 deaf", "deaf"), listen("1003", "other"),
		fmt.Sprintf("cp /bin/sleep %[1]s/Zvictim; cp /bin/sleep %[1]s/innocent; %[1]s/Zvictim 100001 & echo $! >%[1]s/victim; %[1]s/innocent 100002 & echo $! >%[1]s/innocentpid", dir),
		"while [ $(grep -c \" 0A \" /proc/net/tcp) -lt 3 ]; do sleep 0.05; done",
	}, "\n")
	mine := func(port string) string { return helper(t, "listen "+port) }
	s := testkit.Start(t, map[string]string{
		"soft.toml":    service("soft", mine("1001")+"ports = [1001]\nkill_others = true\n"),
		"deaf.toml":    service("deaf", mine("1002")+"ports = [1002]\nkill_others = true\n"),
		"polite.toml":  service("polite", mine("1003")+"ports = [1003]\n"),
		"filter.toml":  service("filter", sleeper+"process_filters = [\"zVICTIM\"]\nkill_others = true\n"),
		"patient.toml": service("patient", sleeper+"process_filters = [\"innocent\"]\n"),
		"suicide.toml": service("suicide", sleeper+"process_filters = [\"zinit\"]\nkill_others = true\n"),
		"rival.toml":   service("rival", mine("1001")+"status = \"stop\"\nports = [1001]\nkill_others = true\n"),
	}, testkit.Options{Bin: inNamespaces(t, strangers)})
	s.Bin = testkit.Binary(t, "")
	defer func() { _, _, _ = s.Zinit("shutdown"); s.Wait() }()
	c := s.Client()
	for _, name := range []string{"soft", "filter", "suicide", "deaf"} {
		s.AwaitState(c, name, "running")
	}
	holder := func(name string) wire.PortConflict {
		var w wire.Why
		s.Await("why "+name+" is blocked", func() bool {
			var err error
			w, err = c.Why(ctx, name)
			return err == nil && w.Blocked && (w.PortConflict != nil || w.ProcessConflict != nil)
		})
		if w.PortConflict != nil {
			return *w.PortConflict
		}
		return *w.ProcessConflict
	}
	pidIn := func(file string) int {
		b, _ := os.ReadFile(filepath.Join(dir, file))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return pid
	}
	if h := holder("polite"); h.Port != 1003 || h.PID != pidIn("other") || h.Process == "" || h.Service != "" {
		t.Errorf("polite waits for %+v, want pid %d", h, pidIn("other"))
	}
	if h := holder("patient"); h.Filter != "innocent" || h.PID != pidIn("innocentpid") || h.Process != "innocent" {
		t.Errorf("patient waits for %+v", h)
	}
	soft := s.AwaitState(c, "soft", "running").PID
	if _, _, code := s.Zinit("start", "rival"); code == 0 {
		t.Error("a rival for another service's port started")
	}
	if h := holder("rival"); h.Service != "soft" || h.PID != soft {
		t.Errorf("rival waits for %+v, want soft, pid %d", h, soft)
	}
	if now := s.AwaitState(c, "soft", "running").PID; now != soft {
		t.Error("kill_others ended a process of another service")
	}
	if _, stderr, code := s.Zinit("stop", "soft"); code != 0 {
		t.Fatal(stderr)
	}
	s.AwaitState(c, "rival", "running") // the port is free
	why, _, _ := s.Zinit("why", "polite")
	if !strings.Contains(why, "1003") || !strings.Contains(why, strconv.Itoa(pidIn("other"))) {
		t.Errorf("zinit why polite:\n%s", why)
	}
}

// TestKillOthersNotAtRestarts: a stranger that takes the port while the service restarts by itself is left alone, and the
// service is blocked by it; an explicit start ends it.
func TestKillOthersNotAtRestarts(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The stranger comes when the test says so, and has the port before the crashed service is tried again.
	stranger := fmt.Sprintf("(while [ ! -e %[1]s/go ]; do sleep 0.02; done; until %[2]s=\"listen 1004 %[1]s/stranger\" %[3]s; do sleep 0.02; done) >/dev/null 2>&1 &", dir, helperVariable, self)
	s := testkit.Start(t, map[string]string{
		"web.toml": service("web", helper(t, "listen 1004")+"ports = [1004]\nkill_others = true\npost_stop_timeout_ms = 60000\n"+
			"post_stop = 'while [ ! -e "+dir+"/stranger ]; do sleep 0.02; done'\n[lifecycle]\nrestart_delay_ms = 20\n"),
	}, testkit.Options{Bin: inNamespaces(t, stranger)})
	s.Bin = testkit.Binary(t, "")
	defer func() { _, _, _ = s.Zinit("shutdown"); s.Wait() }()
	c := s.Client()
	s.AwaitState(c, "web", "running")
	if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := s.Zinit("kill", "web", "SIGKILL"); code != 0 {
		t.Fatal(stderr)
	}
	var w wire.Why
	s.Await("web to be blocked by the stranger", func() bool {
		w, err = c.Why(ctx, "web")
		return err == nil && w.Blocked && w.PortConflict != nil
	})
	b, _ := os.ReadFile(dir + "/stranger")
	if pid := strings.TrimSpace(string(b)); strconv.Itoa(w.PortConflict.PID) != pid {
		t.Errorf("web waits for %+v, want the stranger %s", w.PortConflict, pid)
	}
	if _, _, code := s.Zinit("reload"); code != 0 { // whatever makes it look again
		t.Error("reload")
	}
	if _, err := os.Stat(dir + "/stranger.term"); err == nil {
		t.Error("the automatic restart ended the stranger")
	}
	if _, stderr, code := s.Zinit("start", "web"); code != 0 {
		t.Fatalf("start: %d %s", code, stderr)
	}
	st := s.AwaitState(c, "web", "running")
	if _, err := os.Stat(dir + "/stranger.term"); err != nil {
		t.Error("the explicit start did not end the stranger with SIGTERM")
	}
	if st.Restarts != 0 {
		t.Errorf("an explicit start leaves %d restarts", st.Restarts)
	}
}

// TestTimeWaitHoldsNothing: a port in TIME_WAIT, or one that is only an end of a connection, is free.
func TestTimeWaitHoldsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // the side that closes first is left in TIME_WAIT
	_, _ = client.Read(make([]byte, 1))
	client.Close()
	l.Close()
	local := fmt.Sprintf(" 0100007F:%04X ", port)
	if !wait.Until(wait.Patience, func() bool {
		b, _ := os.ReadFile("/proc/self/net/tcp")
		for line := range strings.SplitSeq(string(b), "\n") {
			if strings.Contains(line, local) && strings.Contains(line, " 06 ") {
				return true
			}
		}
		return false
	}) {
		t.Fatal("no TIME_WAIT")
	}
	s := testkit.Start(t, map[string]string{"web.toml": service("web", sleeper+fmt.Sprintf("ports = [%d]\n", port))}, testkit.Options{})
	s.AwaitState(s.Client(), "web", "running")
}
