package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

const sleeper = "exec = \"sleep 100000\"\n"

func service(name, rest string) string {
	return fmt.Sprintf("[service]\nname = %q\n%s", name, rest)
}

// code is the error code of an answer, 0 for none.
func code(err error) wire.Code {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// TestManyDependents: 0.3.9's event loop waits for its own full queue with more than 256 dependents of one service, and
// never finishes a chain of 300.
func TestManyDependents(t *testing.T) {
	files := map[string]string{"hub.toml": service("hub", sleeper)}
	for i := range 300 {
		files[fmt.Sprintf("leaf%d.toml", i)] = service(fmt.Sprintf("leaf%d", i), "oneshot = true\nexec = \"true\"\n[dependencies]\nrequires = [\"hub\"]\n")
		after := "hub"
		if i > 0 {
			after = fmt.Sprintf("link%d", i-1)
		}
		files[fmt.Sprintf("link%d.toml", i)] = service(fmt.Sprintf("link%d", i), "oneshot = true\nexec = \"true\"\n[dependencies]\nafter = [\""+after+"\"]\n")
	}
	s := testkit.Start(t, files, testkit.Options{})
	c := s.Client()
	s.Await("all 601 services", func() bool {
		st, err := c.SystemStatus(ctx)
		return err == nil && st.Counts["exited"] == 600 && st.Counts["running"] == 1
	})
}

// TestChangesThatKilled039: set on an existing service, dependence on itself, kill of a target, delete with dependents.
func TestChangesThatKilled039(t *testing.T) {
	s := testkit.Start(t, map[string]string{
		"db.toml":    service("db", sleeper),
		"web.toml":   service("web", sleeper+"[dependencies]\nrequires = [\"db\"]\n"),
		"fan.toml":   service("fan", sleeper+"[dependencies]\nwants = [\"db\"]\nafter = [\"db\"]\n"),
		"group.toml": "[target]\nname = \"group\"\n[dependencies]\nrequires = [\"web\"]\n",
	}, testkit.Options{})
	c := s.Client()
	for _, name := range []string{"db", "web", "fan", "group"} {
		s.AwaitState(c, name, "running")
	}
	web, fan := s.AwaitState(c, "web", "running"), s.AwaitState(c, "fan", "running")

	if _, err := c.Set(ctx, json.RawMessage(`{"service":{"name":"fan","exec":"sleep 100000"},"lifecycle":{"max_restarts":3},"dependencies":{"wants":["db"]}}`), false); err != nil {
		t.Errorf("set of a running service: %v", err)
	}
	if now := s.AwaitState(c, "fan", "running"); now.PID != fan.PID || now.MaxRestarts != 3 {
		t.Errorf("a change of max_restarts touched the process: %d -> %d, or was lost: %d", fan.PID, now.PID, now.MaxRestarts)
	}
	_, err := c.Set(ctx, json.RawMessage(`{"service":{"name":"me","exec":"true"},"dependencies":{"requires":["me"]}}`), false)
	if code(err) != wire.CodeValidation {
		t.Errorf("a service that requires itself: %v", err)
	}
	_, err = c.Set(ctx, json.RawMessage(`{"service":{"name":"db","exec":"sleep 1"},"dependencies":{"requires":["web"]}}`), false)
	if code(err) != wire.CodeCycle {
		t.Errorf("a cycle by set: %v", err)
	}
	if _, err = c.Kill(ctx, "group", "SIGTERM"); code(err) != wire.CodeNotRunning {
		t.Errorf("kill of a target: %v", err)
	}
	if _, err = c.Remove(ctx, "db", false); code(err) != wire.CodeUnsafeRemoval {
		t.Errorf("removal of what web requires: %v", err)
	}
	if now := s.AwaitState(c, "web", "running"); now.PID != web.PID {
		t.Error("a refused removal restarted web")
	}
	if _, err = c.Remove(ctx, "db", true); err != nil {
		t.Errorf("removal with cascade: %v", err)
	}
	names, err := c.List(ctx)
	if err != nil || strings.Join(names, " ") != "fan" {
		t.Errorf("after the removal: %v %v, want only fan, which wants and follows db", names, err)
	}
	if now := s.AwaitState(c, "fan", "running"); now.PID != fan.PID {
		t.Error("the removal touched fan, which only wants db")
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "db.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a removed service: %v", err)
	}
}

// TestSecondServer: a second server on the same socket refuses and takes nothing away; a socket that cannot be made ends
// the server before anything has started.
func TestSecondServer(t *testing.T) {
	work := t.TempDir()
	s := testkit.Start(t, map[string]string{"a.toml": service("a", "exec = 'echo up >>"+filepath.Join(work, "runs")+"; exec sleep 100000'\n")}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "a", "running")
	out, err := exec.Command(s.Bin, "server", "--config", s.Dir, "--socket", s.Socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), s.Socket) {
		t.Errorf("a second server: %v %s", err, out)
	}
	long := filepath.Join(work, strings.Repeat("x", 120))
	if out, err = exec.Command(s.Bin, "server", "--config", s.Dir, "--socket", long).CombinedOutput(); err == nil || !strings.Contains(string(out), "107") {
		t.Errorf("a path too long: %v %s", err, out)
	}
	if _, err := c.Ping(ctx); err != nil {
		t.Errorf("the first server after the attempts: %v", err)
	}
	if _, err := rpc.Dial(ctx, s.Socket); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(work, "runs")); string(b) != "up\n" {
		t.Errorf("services were started by a server that refused: %q", b)
	}
}

// TestBadDirectory: one bad file of every kind harms only itself.
func TestBadDirectory(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "binary.toml"), []byte{0xff, 0xfe, 0, 1}, 0o644))
	must(os.Mkdir(filepath.Join(dir, "folder.toml"), 0o755))
	must(os.Symlink("/nonexistent/x", filepath.Join(dir, "dangling.toml")))
	must(syscall.Mkfifo(filepath.Join(dir, "fifo.toml"), 0o644))
	files := map[string]string{
		"good.toml":   service("good", sleeper),
		"typo.toml":   service("typo", "exce = \"true\"\n"),
		"twin.toml":   service("twin", sleeper),
		"twin2.toml":  service("twin", sleeper),
		"x.toml":      service("x", sleeper+"[dependencies]\nrequires = [\"y\"]\n"),
		"y.toml":      service("y", sleeper+"[dependencies]\nafter = [\"x\"]\n"),
		"orphan.toml": service("orphan", sleeper+"[dependencies]\nrequires = [\"nobody\"]\n"),
		"empty.toml":  "",
	}
	files["empty.toml"] = "# nothing\n"
	s := testkit.Start(t, files, testkit.Options{Dir: dir})
	c := s.Client()
	s.AwaitState(c, "good", "running")
	s.AwaitState(c, "twin", "running")
	typo := s.AwaitState(c, "typo", "failed")
	if !strings.Contains(typo.Cause, "exce") || !strings.Contains(typo.Cause, "exec") {
		t.Errorf("why typo failed: %q", typo.Cause)
	}
	for _, name := range []string{"x", "y"} {
		if st := s.AwaitState(c, name, "failed"); !strings.Contains(st.Cause, "cycle") {
			t.Errorf("why %s failed: %q", name, st.Cause)
		}
	}
	if st := s.AwaitState(c, "orphan", "failed"); st.State.Reason.Type != "missing_dependency" {
		t.Errorf("orphan: %+v", st.State.Reason)
	}
	st, err := c.SystemStatus(ctx)
	must(err)
	text := fmt.Sprint(st.Problems)
	for _, file := range []string{"binary.toml", "folder.toml", "dangling.toml", "fifo.toml", "typo.toml", "twin2.toml", "empty.toml"} {
		if !strings.Contains(text, file) {
			t.Errorf("%s is not reported: %s", file, text)
		}
	}
	if _, _, code := s.Zinit("check", dir); code != 6 {
		t.Errorf("check exits %d, want 6", code)
	}
}

// TestReloadTouchesOnlyWhatChanged: SIGHUP applies the difference; a cycle refuses the whole; a broken file keeps the
// running definition; dependents of a restarted service come back.
func TestReloadTouchesOnlyWhatChanged(t *testing.T) {
	s := testkit.Start(t, map[string]string{
		"db.toml":   service("db", sleeper),
		"web.toml":  service("web", sleeper+"[dependencies]\nrequires = [\"db\"]\n"),
		"side.toml": service("side", sleeper),
	}, testkit.Options{})
	c := s.Client()
	db, web, side := s.AwaitState(c, "db", "running"), s.AwaitState(c, "web", "running"), s.AwaitState(c, "side", "running")

	s.Write(map[string]string{"db.toml": service("db", "exec = \"sleep 100001\"\n"), "side.toml": service("side", "exce = 1\n"),
		"new.toml": service("new", sleeper)})
	plan, err := c.Plan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(plan.Actions)
	for _, want := range []string{"db restart exec changed", "web restart requires db", "new start"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan lacks %q: %s", want, text)
		}
	}
	if err := s.Command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.AwaitState(c, "new", "running")
	s.Await("db and web to be new", func() bool {
		a, _ := c.StatusFull(ctx, "db")
		b, _ := c.StatusFull(ctx, "web")
		return a.State.State == "running" && b.State.State == "running" && a.PID != db.PID && b.PID != web.PID
	})
	if now := s.AwaitState(c, "side", "running"); now.PID != side.PID {
		t.Error("a file that broke restarted its running service")
	}
	s.Write(map[string]string{"db.toml": service("db", sleeper+"[dependencies]\nafter = [\"web\"]\n"), "side.toml": "", "other.toml": service("other", sleeper)})
	if _, err := c.Reload(ctx, false); code(err) != wire.CodeCycle {
		t.Errorf("reload with a cycle: %v", err)
	}
	if up, err := c.IsRunning(ctx, "other"); err != nil || up {
		t.Errorf("a refused reload started other: %v %v", up, err)
	}
	if names, _ := c.List(ctx); strings.Join(names, " ") != "db new side web" {
		t.Errorf("a refused reload changed something: %v", names)
	}
}
