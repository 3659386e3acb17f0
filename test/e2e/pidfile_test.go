package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc/wire"
)

// TestPIDFile: the first number of the first line counts, however late the launcher ends; a program in the foreground is
// ready when the file names it; a reason says what the file held.
func TestPIDFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	daemon := func(name, file string, before string) string {
		return service(name, fmt.Sprintf("pid_file = \"%[1]s/%[2]s.pid\"\nexec = '''\n%[3]s\nsetsid sleep 100000 & p=$!\nsetsid sleep 100000 &\n%[4]s >%[1]s/%[2]s.pid\nexit 0\n'''\n",
			dir, name, before, file)+"[lifecycle]\nrestart = \"never\"\n")
	}
	s := testkit.Start(t, map[string]string{
		"late.toml":  daemon("late", `printf 'pid %s\n/var/lib/data\n5432\n' $p`, "sleep 6"),
		"text.toml":  daemon("text", "echo starting", ""),
		"other.toml": daemon("other", "echo 1", ""),
		"fore.toml":  service("fore", fmt.Sprintf("pid_file = \"%[1]s/fore.pid\"\nexec = \"sleep 0.5; echo $$ >%[1]s/fore.pid; exec sleep 100000\"\n", dir)),
		"none.toml": service("none", fmt.Sprintf("pid_file = \"%s/none.pid\"\nexec = \"exec sleep 100000\"\n", dir)+
			"[lifecycle]\nrestart = \"never\"\nstart_timeout_ms = 1000\n"),
		"after.toml": service("after", "exec = \"cat "+dir+"/fore.pid; exec sleep 100000\"\n[dependencies]\nrequires = [\"fore\"]\n"),
	}, testkit.Options{})
	c := s.Client()
	fore := s.AwaitState(c, "fore", "running")
	s.Await("what requires it to start when it is ready", hasLine(s, "after", strconv.Itoa(fore.PID)))
	for name, want := range map[string]string{
		"text":  `text.pid holds "starting" and no process id`,
		"other": "its pid_file names 1, which is no process of the service",
		"none":  "none.pid did not name its main process",
	} {
		if st := s.AwaitState(c, name, "failed"); !strings.Contains(st.Cause, want) {
			t.Errorf("%s: %q, want %q", name, st.Cause, want)
		}
	}
	late := s.AwaitState(c, "late", "running")
	b, _ := os.ReadFile(filepath.Join(dir, "late.pid"))
	if !strings.HasPrefix(string(b), fmt.Sprintf("pid %d\n", late.PID)) {
		t.Errorf("main process %d, pid_file %q", late.PID, b)
	}
}

// pidIn is the number in a file, 0 without one.
func pidIn(path string) int {
	b, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// answers reports whether a web server answers.
func answers(port int) bool {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// upgrades sends what starts a new main process, waits for it, ends the old one, and sees that the service goes on with the
// new one and was not restarted.
func upgrades(t *testing.T, s *testkit.Server, name string, port int, successor func(old int) int, end syscall.Signal) {
	t.Helper()
	c := s.Client()
	before := s.AwaitState(c, name, "running")
	s.Await(name+" to answer", func() bool { return answers(port) })
	if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	next := 0
	s.Await("the new main process of "+name, func() bool { next = successor(before.PID); return next > 0 })
	if err := syscall.Kill(before.PID, end); err != nil {
		t.Fatal(err)
	}
	s.Await(name+" to go on with it", func() bool {
		st, err := c.StatusFull(t.Context(), name)
		return err == nil && st.PID == next && st.State.State == "running"
	})
	s.Await(name+" to answer", func() bool { return answers(port) })
	st := s.AwaitState(c, name, "running")
	if st.Restarts != 0 || st.Incarnation != before.Incarnation {
		t.Errorf("%s: %d restarts, incarnation %d after %d", name, st.Restarts, st.Incarnation, before.Incarnation)
	}
	if _, stderr, code := s.Zinit("stop", name); code != 0 {
		t.Errorf("stop %s: %d %s", name, code, stderr)
	}
	if alive(next) || alive(before.PID) {
		t.Errorf("%s: a main process lives after the stop", name)
	}
}

// TestHotUpgrade: nginx and gunicorn executed anew by USR2 keep their service; nginx writes its pid file before the old
// main process ends, gunicorn after that.
func TestHotUpgrade(t *testing.T) {
	t.Parallel()
	nginx, gunicorn := need.Program(t, "nginx"), need.Program(t, "gunicorn")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	web, app := freePort(t), freePort(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("nginx.conf", fmt.Sprintf("pid %[1]s/nginx.pid; error_log %[1]s/error.log; events {}\nhttp { access_log off; server { listen 127.0.0.1:%[2]d; location / { return 200 up; } } }\n", dir, web))
	write("app.py", "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    return [b'up']\n")
	s := testkit.Start(t, map[string]string{
		"nginx.toml": service("nginx", fmt.Sprintf("exec = [%q, \"-c\", \"%[2]s/nginx.conf\"]\npid_file = \"%[2]s/nginx.pid\"\n", nginx, dir)+
			"[lifecycle]\nstop_signal = \"SIGQUIT\"\n"),
		"gunicorn.toml": service("gunicorn", fmt.Sprintf("dir = %[2]q\nexec = [%[1]q, \"--bind\", \"127.0.0.1:%[3]d\", \"--pid\", \"%[2]s/gunicorn.pid\", \"app:app\"]\npid_file = \"%[2]s/gunicorn.pid\"\n",
			gunicorn, dir, app)),
	}, testkit.Options{})
	upgrades(t, s, "nginx", web, func(old int) int {
		if pid := pidIn(filepath.Join(dir, "nginx.pid")); pid != old {
			return pid
		}
		return 0
	}, syscall.SIGQUIT)
	upgrades(t, s, "gunicorn", app, func(int) int { return pidIn(filepath.Join(dir, "gunicorn.pid.2")) }, syscall.SIGTERM)
}

// TestMainPIDUpgrade: a successor that MAINPID names is the service, whoever says it, however soon the predecessor ends after
// it was said, and as often as it happens. Nothing is killed, and nothing counts as a restart.
func TestMainPIDUpgrade(t *testing.T) {
	t.Parallel()
	for _, applet := range []string{"server", "pid1"} {
		t.Run(applet, func(t *testing.T) {
			bothWays(t, func(t *testing.T, env []string) { handOverByWord(t, applet, env) })
		})
	}
}

func handOverByWord(t *testing.T, applet string, env []string) {
	t.Parallel()
	hows := []string{"after", "at-once", "predecessor"}
	files := map[string]string{}
	for _, how := range hows {
		files[how+".toml"] = service(how, "ready = \"notify\"\n"+helper(t, "succeed "+how))
	}
	s := testkit.Start(t, files, testkit.Options{Applet: applet, Env: env})
	c := s.Client()
	for _, how := range hows {
		first := s.AwaitState(c, how, "running")
		for range 5 {
			before := s.AwaitState(c, how, "running")
			if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			var now wire.StatusFull
			s.Await(how+": the successor to be the main process", func() bool {
				var err error
				now, err = c.StatusFull(t.Context(), how)
				return err == nil && now.PID != before.PID && now.State.State == "running"
			})
			if now.Restarts != 0 || now.Incarnation != first.Incarnation {
				t.Fatalf("%s: %d restarts, incarnation %d after %d\n%s", how, now.Restarts, now.Incarnation, first.Incarnation, s.Logs())
			}
			if how == "after" {
				if !alive(before.PID) {
					t.Errorf("the predecessor %d was killed", before.PID)
				}
				if err := syscall.Kill(now.PID, syscall.SIGUSR2); err != nil {
					t.Fatal(err)
				}
			}
			s.Await(how+": the end of the predecessor", func() bool { return !alive(before.PID) })
			if now = s.AwaitState(c, how, "running"); now.Incarnation != first.Incarnation || !alive(now.PID) {
				t.Fatalf("%s: incarnation %d after %d, main process %d\n%s", how, now.Incarnation, first.Incarnation, now.PID, s.Logs())
			}
		}
		last := s.AwaitState(c, how, "running")
		if out, stderr, code := s.Zinit("stop", how); code != 0 || out != how+": stopped\n" || alive(last.PID) {
			t.Errorf("%s: stop: %d %s %s", how, code, out, stderr)
		}
	}
}
