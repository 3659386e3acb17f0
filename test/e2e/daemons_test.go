// Package e2e runs the real binary with real daemons and real signals.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

var ctx = context.Background()

// freePort finds a TCP port on loopback that nobody uses now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// postgresBin is the directory of Debian's PostgreSQL server programs.
func postgresBin(t *testing.T) string {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	need.That(t, len(dirs) > 0, "postgresql (server programs)")
	return filepath.Dir(dirs[len(dirs)-1])
}

// stack is a configuration of redis, nginx behind it, and postgres with its initdb, all in dir.
func stack(t *testing.T, dir string) map[string]string {
	redis, nginx, pg := need.Program(t, "redis-server"), need.Program(t, "nginx"), postgresBin(t)
	redisPort, webPort, pgPort := freePort(t), freePort(t), freePort(t)
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log stderr notice;
events { worker_connections 64; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen 127.0.0.1:%[2]d; location / { return 200 "ok\n"; } } }`, dir, webPort)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "pg")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = `user = "postgres"`
		if err := chownTo(data, "postgres"); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{
		"redis.toml": fmt.Sprintf(`
[service]
name = "redis"
exec = "%s --port %d --bind 127.0.0.1 --save '' --dir %s"
[health]
type = "tcp"
target = "127.0.0.1:%d"
[lifecycle]
restart_delay_ms = 50
`, redis, redisPort, dir, redisPort),
		"web.toml": fmt.Sprintf(`
[service]
name = "web"
exec = "%s -c %s"
[dependencies]
requires = ["redis"]
[health]
type = "http"
target = "http://127.0.0.1:%d/"
[lifecycle]
restart_delay_ms = 50
`, nginx, conf, webPort),
		"initdb.toml": fmt.Sprintf(`
[service]
name = "initdb"
exec = "%s/initdb -D %s -A trust -U postgres --no-sync"
oneshot = true
%s
`, pg, data, user),
		"db.toml": fmt.Sprintf(`
[service]
name = "db"
exec = "%s/postgres -D %s -p %d -k %s -c listen_addresses=127.0.0.1"
%s
[dependencies]
requires = ["initdb"]
[health]
type = "exec"
target = "%s/pg_isready -h 127.0.0.1 -p %d -U postgres"
[lifecycle]
restart_delay_ms = 50
stop_signal = "SIGINT"
`, pg, data, pgPort, data, user, pg, pgPort),
		"all.toml": "[target]\nname = \"all\"\n[dependencies]\nrequires = [\"web\", \"db\"]\n",
	}
}

// TestDaemons runs redis, nginx and postgres as a newcomer would: they come up in order, are killed and come back, are
// restarted with what depends on them, and leave nothing behind.
func TestDaemons(t *testing.T) {
	dir, err := os.MkdirTemp("", "ztd") // not t.TempDir: the postgres user must be able to reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, stack(t, dir), testkit.Options{})
	c := s.Client()
	for _, name := range []string{"redis", "web", "db", "all"} {
		s.AwaitState(c, name, "running")
	}
	if st := s.AwaitState(c, "initdb", "exited"); st.State.ExitCode == nil || *st.State.ExitCode != 0 {
		t.Fatalf("initdb: %+v", st.State)
	}
	assertOrder(t, c, "redis running", "web starting")
	assertOrder(t, c, "initdb exited", "db starting")
	assertOrder(t, c, "web running", "all running")

	t.Run("killed ones come back", func(t *testing.T) {
		for _, name := range []string{"redis", "web", "db"} {
			killAndAwait(t, s, c, name)
		}
	})
	t.Run("restart takes dependents along", func(t *testing.T) {
		webBefore := s.AwaitState(c, "web", "running")
		ok, err := c.Restart(ctx, "redis", rpc.Change{Wait: true})
		if err != nil || ok.Outcome != "done" {
			t.Fatalf("restart: %+v %v", ok, err)
		}
		webAfter := s.AwaitState(c, "web", "running")
		if webAfter.PID == webBefore.PID || webAfter.Restarts != webBefore.Restarts {
			t.Errorf("web was not brought back uncounted: pid %d -> %d, restarts %d -> %d", webBefore.PID, webAfter.PID, webBefore.Restarts, webAfter.Restarts)
		}
		if alive(webBefore.PID) {
			t.Errorf("the old nginx %d lives", webBefore.PID)
		}
	})
	t.Run("stop and start", func(t *testing.T) {
		if _, stderr, code := s.Zinit("stop", "redis"); code != 0 {
			t.Fatalf("stop: %d %s", code, stderr)
		}
		st := s.AwaitState(c, "web", "blocked")
		if !strings.Contains(st.Cause, "redis") {
			t.Errorf("why web is blocked: %q", st.Cause)
		}
		if _, stderr, code := s.Zinit("start", "redis"); code != 0 {
			t.Fatalf("start: %d %s", code, stderr)
		}
		s.AwaitState(c, "web", "running")
		s.AwaitState(c, "all", "running")
	})
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM\n%s", code, s.Logs())
	}
	if left := s.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// killAndAwait kills the main process and waits until another one runs.
func killAndAwait(t *testing.T, s *testkit.Server, c *rpc.Client, name string) {
	t.Helper()
	before := s.AwaitState(c, name, "running")
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var after wire.StatusFull
	s.Await(name+" to be back", func() bool {
		after, _ = c.StatusFull(ctx, name)
		return after.State.State == "running" && after.PID != before.PID
	})
	if after.LastExit == nil || after.LastExit.Signal == nil || *after.LastExit.Signal != int(syscall.SIGKILL) {
		t.Errorf("%s: last exit %+v, want signal 9", name, after.LastExit)
	}
	if alive(before.PID) {
		t.Errorf("%s: the old process %d lives", name, before.PID)
	}
}

// assertOrder checks in the events that one "service state" came before another.
func assertOrder(t *testing.T, c *rpc.Client, first, second string) {
	t.Helper()
	evs, err := c.Events(ctx, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := func(what string) int {
		return slices.IndexFunc(evs.Events, func(e wire.Event) bool { return e.Service+" "+e.To == what })
	}
	if a, b := at(first), at(second); a < 0 || b < 0 || a > b {
		t.Errorf("%q (event %d) should come before %q (event %d)", first, a, second, b)
	}
}

// exists reports whether a process is there, be it only as a zombie.
func exists(pid int) bool { return syscall.Kill(pid, 0) == nil }

// alive reports whether a process runs. One that has ended may be there as a zombie for a moment more, until whoever its
// parent is by then has heard of it.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, found := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return err == nil && found && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
