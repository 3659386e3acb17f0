package syslog

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log syslog:server=unix:%[2]s,tag=frontend info;
events {}
http {
  access_log syslog:server=unix:%[2]s,tag=frontend;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen unix:%[1]s/http; return 204; }
}
`

// A real daemon that logs to syslog: its messages stand under the service that it is.
func TestRealDaemon(t *testing.T) {
	nginx := need.Program(t, "nginx")
	f := newFixture(t, func(pid int32, _ uint32) string {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(comm)) == "nginx" {
			return "web"
		}
		return ""
	})
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConfig, dir, f.path), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(nginx, "-c", conf, "-e", dir+"/early")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	}()
	var conn net.Conn
	var err error
	if !wait.Until(wait.Patience, func() bool { conn, err = net.Dial("unix", dir+"/http"); return err == nil }) {
		t.Fatalf("nginx does not start: %v: %s", err, out.String())
	}
	defer conn.Close()
	_, _ = fmt.Fprint(conn, "GET /hello HTTP/1.0\r\n\r\n")
	var rec logring.Record
	wait.For(t, "the request to be logged", func() bool {
		recs := f.await(t, "web", 1)
		i := slices.IndexFunc(recs, func(r logring.Record) bool { return strings.Contains(string(r.Text), "GET /hello") })
		if i >= 0 {
			rec = recs[i]
		}
		return i >= 0
	})
	if !strings.Contains(string(rec.Text), "frontend: ") || rec.PID != int32(cmd.Process.Pid) || rec.Priority.Severity() != "info" || rec.Priority.Facility() != "local7" {
		t.Errorf("got %q of %d, %s.%s", rec.Text, rec.PID, rec.Priority.Facility(), rec.Priority.Severity())
	}
}
