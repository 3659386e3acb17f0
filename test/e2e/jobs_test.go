package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// history is what is remembered of a job's runs.
func history(t *testing.T, c *rpc.Client, name string) []wire.JobRun {
	t.Helper()
	list, err := c.JobHistory(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// good counts the runs that exited with 0.
func good(runs []wire.JobRun) (n int) {
	for _, r := range runs {
		if r.Code != nil && *r.Code == 0 {
			n++
		}
	}
	return n
}

// keeping is a state directory of the test's own.
func keeping(t *testing.T) testkit.Options {
	return testkit.Options{Env: []string{"ZINIT_STATE_DIR=" + t.TempDir()}}
}

// TestDumpJob: pg_dump of a database that serves, again and again, through a restart of the database and a crash of the server;
// each dump that counts as good can be restored.
func TestDumpJob(t *testing.T) {
	pg, dump := postgresBin(t), need.Program(t, "pg_dump")
	dir, err := os.MkdirTemp("", "ztd") // not t.TempDir: the postgres user must be able to reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	user := ""
	if os.Geteuid() == 0 {
		user = `user = "postgres"`
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := chownTo(dir, "postgres"); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	o := keeping(t)
	o.Applet = "pid1"
	s := testkit.Start(t, map[string]string{
		"initdb.toml": fmt.Sprintf("[service]\nname = \"initdb\"\nexec = \"%s/initdb -D %s/pg -A trust -U postgres --no-sync\"\noneshot = true\n%s\n", pg, dir, user),
		"db.toml": fmt.Sprintf(`[service]
name = "db"
exec = "%s/postgres -D %s/pg -p %d -k %s -c listen_addresses=127.0.0.1"
%s
[dependencies]
requires = ["initdb"]
[health]
type = "exec"
target = "%s/pg_isready -h 127.0.0.1 -p %d -U postgres"
[lifecycle]
stop_signal = "SIGINT"
restart_delay_ms = 50
`, pg, dir, port, dir, user, pg, port),
		"dump.toml": fmt.Sprintf(`[service]
name = "dump"
exec = "sh -c '%s -h 127.0.0.1 -p %d -U postgres -Fc -f %s/next postgres && mv %s/next %s/last'"
%s
[dependencies]
requires = ["db"]
[schedule]
cron = "* * * * * *"
keep = 100
`, dump, port, dir, dir, dir, user),
	}, o)
	c := s.Client()
	s.AwaitState(c, "db", "running")
	s.Await("two dumps", func() bool { return good(history(t, c, "dump")) >= 2 })
	if _, stderr, code := s.Zinit("restart", "db"); code != 0 {
		t.Fatalf("restart: %s", stderr)
	}
	before := good(history(t, c, "dump"))
	s.Await("a dump after the restart", func() bool { return good(history(t, c, "dump")) > before })
	before = good(history(t, c, "dump"))
	ping, err := c.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := os.FindProcess(ping.PID); err != nil || p.Kill() != nil {
		t.Fatal("cannot kill the server")
	}
	var after *rpc.Client
	s.Await("the next server", func() bool {
		var err error
		if after, err = rpc.Dial(t.Context(), s.Socket); err != nil {
			return false
		}
		_, err = after.Ping(t.Context())
		return err == nil
	})
	defer after.Close()
	s.Await("a dump after the crash", func() bool { return good(history(t, after, "dump")) > before })
	if out, errs, code := s.Zinit("run", "dump"); code != 0 && !strings.Contains(errs, "it runs already") {
		t.Errorf("run: %d, %s%s", code, out, errs)
	}
	s.Zinit("stop", "dump") // the file is not replaced any more
	out, err := exec.Command(filepath.Join(filepath.Dir(dump), "pg_restore"), "--list", dir+"/last").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "dbname: postgres") {
		t.Errorf("the last dump cannot be read: %v\n%s", err, out)
	}
}

// backup writes when it begins and ends, and fails when another one is at it.
const backup = `mkdir busy || exit 9; echo begin >>log; trap "echo stopped >>log; rmdir busy; exit 0" TERM; i=0;
while [ $i -lt 25 ]; do sleep 0.1; i=$((i+1)); done; echo end >>log; rmdir busy`

// TestBackupsOverlap: a backup of 2.5 s that is due every second, under each overlap. Never are two at work; skip says what it left out,
// queue runs as often as it was due, replace ends the one before.
func TestBackupsOverlap(t *testing.T) {
	files := map[string]string{}
	dirs := map[string]string{}
	for _, overlap := range []string{"skip", "queue", "replace"} {
		dirs[overlap] = t.TempDir()
		files[overlap+".toml"] = fmt.Sprintf("[service]\nname = %q\nexec = [\"sh\", \"-c\", '''%s''']\ndir = %q\n[schedule]\ncron = \"* * * * * *\"\noverlap = %q\nkeep = 100\n",
			overlap, backup, dirs[overlap], overlap)
	}
	s := testkit.Start(t, files, keeping(t))
	c := s.Client()
	lines := func(overlap string) []string {
		text, _ := os.ReadFile(filepath.Join(dirs[overlap], "log"))
		return strings.Fields(string(text))
	}
	count := func(overlap, word string) (n int) {
		for _, l := range lines(overlap) {
			if l == word {
				n++
			}
		}
		return n
	}
	s.Await("backups that ended", func() bool {
		return count("skip", "end") >= 2 && count("queue", "end") >= 2 && count("replace", "stopped") >= 2
	})
	s.Await("a run that was left out", func() bool {
		return slices.ContainsFunc(history(t, c, "skip"), func(r wire.JobRun) bool { return r.LeftOut == "the run before has not ended" })
	})
	if n := count("replace", "end"); n != 0 {
		t.Errorf("%d backups came to their end although each was replaced", n)
	}
	jobs, err := c.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		if j.Name == "queue" && j.Queued == 0 {
			t.Error("nothing is queued behind a backup that takes longer than its period")
		}
	}
	for overlap := range dirs {
		for _, r := range history(t, c, overlap) {
			if r.Code != nil && *r.Code == 9 {
				t.Errorf("%s: two backups at once: %+v", overlap, r)
			}
		}
		open := 0
		for _, word := range lines(overlap) {
			if word == "begin" {
				open++
			} else {
				open--
			}
			if open < 0 || open > 1 {
				t.Fatalf("%s: %v", overlap, lines(overlap))
			}
		}
	}
}

// TestLogrotateJob: Debian's logrotate as a job moves the file of a service away and has it opened anew; no line is lost.
func TestLogrotateJob(t *testing.T) {
	rotate := need.Program(t, "logrotate")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // logrotate refuses directories that others can write
		t.Fatal(err)
	}
	conf := fmt.Sprintf("%s/app.log {\n size 1k\n rotate 100\n missingok\n nocreate\n postrotate\n  %s signal-reload app\n endscript\n}\n", dir, testkit.Binary(t, ""))
	if err := os.WriteFile(filepath.Join(dir, "logrotate.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	o := keeping(t)
	s := testkit.Start(t, map[string]string{
		"app.toml": fmt.Sprintf(`[service]
name = "app"
dir = %q
exec = ["sh", "-c", '''exec 9>>app.log; trap "exec 9>>app.log" HUP; i=0; while :; do i=$((i+1)); echo "line $i" >&9; sleep 0.01; done''']
`, dir),
		"logrotate.toml": fmt.Sprintf(`[service]
name = "logrotate"
exec = "%s -s %s/status %s/logrotate.conf"
[dependencies]
after = ["app"]
[schedule]
cron = "* * * * * *"
`, rotate, dir, dir),
	}, o)
	c := s.Client()
	rotated := func() []string {
		list, _ := filepath.Glob(dir + "/app.log.*")
		return list
	}
	s.Await("three rotated files", func() bool { return len(rotated()) >= 3 })
	for _, r := range history(t, c, "logrotate") {
		if r.Code != nil && *r.Code != 0 {
			log, _ := c.Logs(t.Context(), rpc.LogQuery{Names: []string{"logrotate"}, Lines: 20})
			t.Fatalf("logrotate failed: %+v\n%v", r, log)
		}
	}
	for _, name := range []string{"logrotate", "app"} {
		if _, stderr, code := s.Zinit("stop", name); code != 0 {
			t.Fatal(stderr)
		}
	}
	next := 1
	for n := len(rotated()); n >= 0; n-- {
		name := fmt.Sprintf("%s/app.log.%d", dir, n)
		if n == 0 {
			name = dir + "/app.log"
		}
		text, err := os.ReadFile(name)
		if err != nil && n > 0 {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line != fmt.Sprintf("line %d\n", next) {
				t.Fatalf("%s has %q where line %d is due", name, line, next)
			}
			next++
		}
	}
	if next < 100 {
		t.Errorf("%d lines in all", next-1)
	}
}

// TestThousandJobsAtOnce: jobs that are due in the same second start in order of their names, and no more at once than
// [jobs] concurrency allows.
func TestThousandJobsAtOnce(t *testing.T) {
	const jobs, atOnce = 1000, 8
	dir := t.TempDir()
	files := map[string]string{}
	for n := range jobs {
		files[fmt.Sprintf("conf/j%03d.toml", n)] = fmt.Sprintf("[service]\nname = \"j%03d\"\nexec = \"true\"\n[schedule]\nboot = \"2s\"\n", n)
	}
	files["zinit.toml"] = fmt.Sprintf("[jobs]\nconcurrency = %d\n", atOnce)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := keeping(t)
	o.Dir = filepath.Join(dir, "conf")
	s := testkit.Start(t, nil, o)
	c := s.Client()
	var events []wire.Event
	s.Await("all jobs to have run", func() bool {
		list, err := c.Events(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		events = list.Events
		ended := 0
		for _, e := range events {
			if e.To == "exited" || e.To == "failed" {
				ended++
			}
		}
		return ended == jobs
	})
	var order []string
	running, most := 0, 0
	for _, e := range events {
		switch {
		case e.To == "starting":
			order = append(order, e.Service)
			running++
			most = max(most, running)
		case e.To == "exited":
			running--
		default:
			t.Errorf("%+v", e)
		}
	}
	if !slices.IsSorted(order) || len(order) != jobs {
		t.Errorf("%d jobs started, not in order of their names: %v", len(order), order)
	}
	if most != atOnce {
		t.Errorf("%d jobs ran at once, of at most %d", most, atOnce)
	}
}
