package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc/wire"
)

// TestPostgresDaemon: PostgreSQL in the background, started by pg_ctl, with its own postmaster.pid of eight lines as pid_file:
// it can be used when it is running, however long the launcher takes, and it is stopped, restarted and brought back
// after a crash, always with one postmaster, whose end is a clean one.
func TestPostgresDaemon(t *testing.T) {
	t.Parallel()
	bin := postgresBin(t)
	dir, err := os.MkdirTemp("", "ztg") // not t.TempDir: the postgres user must be able to reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	user := ""
	if os.Geteuid() == 0 {
		user = "user = \"postgres\"\n"
		if err := chownTo(dir, "postgres"); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{}
	for name, after := range map[string]string{"db": "", "slow": "; sleep 7"} {
		data := filepath.Join(dir, name)
		files["init-"+name+".toml"] = service("init-"+name, fmt.Sprintf("exec = \"%s/initdb -D %s -A trust -U postgres --no-sync\"\noneshot = true\n%s", bin, data, user))
		files[name+".toml"] = service(name, fmt.Sprintf("exec = ['sh', '-c', '%[1]s/pg_ctl -w -D %[2]s -l %[2]s.log -o \"-k %[2]s -c listen_addresses=\" start%[3]s']\npid_file = \"%[2]s/postmaster.pid\"\n%[4]s",
			bin, data, after, user)+
			"[dependencies]\nrequires = [\"init-"+name+"\"]\n"+
			"[lifecycle]\nstart_timeout_ms = 120000\nstop_signal = \"SIGINT\"\nkill_mode = \"mixed\"\nstop_timeout_ms = 60000\nrestart_delay_ms = 50\n")
	}
	s := testkit.Start(t, files, testkit.Options{})
	c := s.Client()
	p := &postgres{t: t, s: s, bin: bin, dir: dir}

	first := p.up("db", 0)
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := p.up("db", first.PID)
	if second.Restarts != 1 || second.LastExit == nil || second.LastExit.Signal == nil || *second.LastExit.Signal != int(syscall.SIGKILL) {
		t.Errorf("after a crash: %d restarts, last exit %+v", second.Restarts, second.LastExit)
	}
	p.recovered("db", 1)
	if out, stderr, code := s.Zinit("restart", "db"); code != 0 {
		t.Errorf("restart: %d %s %s", code, out, stderr)
	}
	third := p.up("db", second.PID)
	if out, stderr, code := s.Zinit("stop", "db"); code != 0 || out != "db: stopped\n" {
		t.Errorf("stop: %d %s %s", code, out, stderr)
	}
	p.down("db", third)
	if _, stderr, code := s.Zinit("start", "db"); code != 0 {
		t.Errorf("start: %d %s", code, stderr)
	}
	p.up("db", third.PID)
	p.recovered("db", 1) // by the crash alone: every other end was clean

	slow := p.up("slow", 0)
	if s.AwaitState(c, "slow", "running").PID != slow.PID {
		t.Error("the main process has changed")
	}
	if out, stderr, code := s.Zinit("stop", "slow"); code != 0 || out != "slow: stopped\n" {
		t.Errorf("stop: %d %s %s", code, out, stderr)
	}
	p.down("slow", slow)
	p.recovered("slow", 0)
}

// postgres is what the test asks of the databases.
type postgres struct {
	t        *testing.T
	s        *testkit.Server
	bin, dir string
}

// up waits until another postmaster than the one before is the main process of a running service, and asks it something.
func (p *postgres) up(name string, before int) (st wire.StatusFull) {
	p.t.Helper()
	c := p.s.Client()
	p.s.Await(name+" to be running", func() bool {
		var err error
		st, err = c.StatusFull(p.t.Context(), name)
		return err == nil && st.State.State == "running" && st.PID != before
	})
	text, _ := os.ReadFile(filepath.Join(p.dir, name, "postmaster.pid"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 8 || lines[0] != strconv.Itoa(st.PID) {
		p.t.Errorf("%s: main process %d, postmaster.pid\n%s", name, st.PID, text)
	}
	out, err := exec.Command(p.bin+"/psql", "-h", filepath.Join(p.dir, name), "-U", "postgres", "-Atc", "select 6 * 7").CombinedOutput()
	if err != nil || string(out) != "42\n" {
		p.t.Errorf("%s is running and does not answer: %v %s", name, err, out)
	}
	return st
}

// down checks that a postmaster has ended and taken its file away.
func (p *postgres) down(name string, st wire.StatusFull) {
	p.t.Helper()
	if _, err := os.Stat(filepath.Join(p.dir, name, "postmaster.pid")); err == nil || alive(st.PID) {
		p.t.Errorf("%s: postmaster.pid or %d is still there", name, st.PID)
	}
}

// recovered checks how often a database had to recover from an end that was not clean.
func (p *postgres) recovered(name string, want int) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name+".log"))
	if n := strings.Count(string(text), "was not properly shut down"); err != nil || n != want {
		p.t.Errorf("%s recovered %d times, want %d: %v\n%s", name, n, want, err, text)
	}
}
