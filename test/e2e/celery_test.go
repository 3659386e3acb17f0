package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// tasks is a celery application: a task says that it has begun and ends when it may.
const tasks = `
import os, time
from celery import Celery
app = Celery("tasks", broker="redis://127.0.0.1:%d/0")

@app.task
def work(path):
    open(path + ".began", "w").close()
    while not os.path.exists(path + ".go"):
        time.sleep(0.05)
    open(path + ".done", "w").close()
`

// TestCelery: a worker of celery with its prefork pool ends a task that is under way at the stop where the stop signal is for
// its main process alone, and loses it where all processes get it.
func TestCelery(t *testing.T) {
	t.Parallel()
	redis := need.Program(t, "redis-server")
	need.Program(t, "celery")
	const python = "/usr/bin/python3" // that of the package, whatever else is in PATH
	for mode, done := range map[string]bool{"mixed": true, "process": true, "control-group": false} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir, port := t.TempDir(), freePort(t)
			if err := os.WriteFile(filepath.Join(dir, "tasks.py"), fmt.Appendf(nil, tasks, port), 0o644); err != nil {
				t.Fatal(err)
			}
			s := testkit.Start(t, map[string]string{
				"redis.toml": service("redis", fmt.Sprintf("exec = [%q, \"--port\", \"%d\", \"--bind\", \"127.0.0.1\", \"--save\", \"\", \"--dir\", %q]\n[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:%d\"\n",
					redis, port, dir, port)),
				"worker.toml": service("worker", fmt.Sprintf("exec = [%q, \"-m\", \"celery\", \"-A\", \"tasks\", \"worker\", \"-l\", \"info\", \"-c\", \"2\", \"--without-mingle\", \"--without-gossip\"]\ndir = %q\n", python, dir)+
					"[dependencies]\nrequires = [\"redis\"]\n[lifecycle]\nstop_timeout_ms = 60000\nkill_mode = \""+mode+"\"\n"),
			}, testkit.Options{})
			s.AwaitState(s.Client(), "worker", "running")
			task := filepath.Join(dir, "task")
			ask := exec.Command(python, "-c", "import sys, tasks; tasks.work.delay(sys.argv[1])", task)
			ask.Dir = dir
			if out, err := ask.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			there := func(suffix string) bool { _, err := os.Stat(task + suffix); return err == nil }
			s.Await("the task to begin", func() bool { return there(".began") })
			var out, stderr string
			var code int
			stopped := make(chan struct{})
			go func() {
				out, stderr, code = s.Zinit("stop", "worker")
				close(stopped)
			}()
			s.Await("the worker to begin its end", hasLine(s, "worker", "Warm shutdown"))
			if !done {
				s.Await("the loss of the task", hasLine(s, "worker", "WorkerLostError"))
			}
			if err := os.WriteFile(task+".go", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			<-stopped
			if code != 0 || out != "worker: stopped\n" {
				t.Errorf("stop: %d %s %s", code, out, stderr)
			}
			if there(".done") != done {
				t.Errorf("the task was done: %v, want %v\n%s", !done, done, logText(s, "worker"))
			}
		})
	}
}
