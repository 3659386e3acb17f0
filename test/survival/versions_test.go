package survival

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/test/survival/storm"
)

// earlier is the release before this one as the history has it: 0.4.0. A clone may have no tags.
const earlier = "67c0677"

// earlierBinary builds it, once.
func earlierBinary(t *testing.T) string {
	t.Helper()
	path, err := buildEarlier()
	if err != nil {
		need.That(t, false, err.Error())
	}
	return path
}

var buildEarlier = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "zinit-earlier-")
	if err != nil {
		return "", err
	}
	earlierDir = dir
	steps := fmt.Sprintf("git archive %s | tar -x -C %s && cd %s && CGO_ENABLED=0 go build -buildvcs=false -trimpath -tags urfave_cli_no_docs -o zinit .",
		earlier, dir, dir)
	build := exec.Command("sh", "-c", steps)
	build.Dir = testkit.Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the release before, %s, from the history (git fetch --unshallow): %w\n%s", earlier, err, out)
	}
	return filepath.Join(dir, "zinit"), nil
})

var earlierDir string // of buildEarlier; TestMain removes it

// versionWorld has a service that runs and one that an operator has stopped.
type versionWorld struct {
	t   *testing.T
	s   *testkit.Server
	one wire.StatusFull
}

func newVersionWorld(t *testing.T, o testkit.Options) *versionWorld {
	two := strings.ReplaceAll(sleeper, "one", "two")
	w := &versionWorld{t: t, s: testkit.Start(t, map[string]string{"one.toml": sleeper, "two.toml": two}, o)}
	c := w.s.Client()
	w.one = w.s.AwaitState(c, "one", "running")
	w.s.AwaitState(c, "two", "running")
	if _, err := c.Stop(ctx, "two", rpc.Change{Wait: true}); err != nil {
		t.Fatal(err)
	}
	return w
}

// same checks that nothing has happened to the services.
func (w *versionWorld) same(after string) {
	w.t.Helper()
	c := w.s.Client()
	now := w.s.AwaitState(c, "one", "running")
	if now.PID != w.one.PID || now.Incarnation != w.one.Incarnation {
		w.t.Errorf("after %s: %d.%d, at first %d.%d\n%s", after, now.PID, now.Incarnation, w.one.PID, w.one.Incarnation, w.s.Logs())
	}
	two, err := c.StatusFull(ctx, "two")
	if err != nil || two.PID != 0 || two.Wanted != "down" {
		w.t.Errorf("after %s: what was stopped is %+v, %v\n%s", after, two.State, err, w.s.Logs())
	}
}

// upgrade executes another binary in the server's place and waits until that one serves.
func (w *versionWorld) upgrade(to string) {
	w.t.Helper()
	c := w.s.Client()
	pid := serverPIDOf(w.t, c)
	if _, err := c.Upgrade(ctx, to); err != nil {
		w.t.Fatalf("to %s: %v\n%s", to, err, w.s.Logs())
	}
	w.s.Await("the executable "+to, func() bool { return exeOf(pid) == to })
	w.same("the upgrade to " + to)
}

// TestVersionsOfTheServer: the release before takes over from this one, and this one from it, in place and after a crash.
func TestVersionsOfTheServer(t *testing.T) {
	old, now := earlierBinary(t), testkit.Binary(t, "")
	for _, applet := range applets {
		for _, first := range []string{old, now} {
			w := newVersionWorld(t, testkit.Options{Applet: applet, Bin: first})
			list := []string{now, old, now, old}
			if first == now {
				list = list[1:]
			}
			for _, to := range list {
				w.upgrade(to)
				if applet == "pid1" {
					killServer(t, w.s, serverPIDOf(t, w.s.Client()))
					w.same("a crash of " + to)
				}
			}
		}
	}
}

// TestVersionsRolledBack: this release takes over from the one before, runs, and dies three times: the one before reads
// what it left.
func TestVersionsRolledBack(t *testing.T) {
	old, bad, points := earlierBinary(t), testkit.Binary(t, "zinit_fault"), t.TempDir()
	w := newVersionWorld(t, testkit.Options{Applet: "pid1", Bin: old, Env: []string{"ZINIT_FAULT=" + points}})
	w.upgrade(bad)
	for range 3 {
		c := w.s.Client()
		if err := os.WriteFile(filepath.Join(points, "reply"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Start(ctx, "one", rpc.Change{Wait: true}) // it dies over the answer
		c.Close()
		w.s.Await("its death", func() bool { _, err := os.Stat(filepath.Join(points, "reply")); return err != nil })
	}
	w.s.Await("the release before", func() bool { pid := storm.ServerOf(w.s.PID()); return pid > 0 && exeOf(pid) == old })
	awaitAnswer(w.s, "an answer of the release before", func(c *rpc.Client) bool {
		st, err := c.SystemStatus(ctx)
		return err == nil && st.RolledBack != ""
	})
	w.same("the rollback")
	if strings.Contains(w.s.Logs(), "lost") {
		t.Errorf("something is lost\n%s", w.s.Logs())
	}
}

// TestVersionsOfTheKeeper: process 1 of the release before and of this one execute each other, and have everything.
func TestVersionsOfTheKeeper(t *testing.T) {
	old, now := earlierBinary(t), testkit.Binary(t, "")
	bin := copyOf(t, now, "zinit", nil)
	w := newVersionWorld(t, testkit.Options{Applet: "pid1", Bin: bin})
	for n, to := range []string{old, now, old} {
		replaceBy(t, bin, copyOf(t, to, "next", nil))
		if err := syscall.Kill(w.s.PID(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		w.s.Await("the execution", func() bool { return strings.Count(w.s.Logs(), "goes on, executed again") > n })
		w.same("the execution of " + to)
		killServer(t, w.s, storm.ServerOf(w.s.PID()))
		w.same("the crash after the execution of " + to)
	}
	if code := w.s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d\n%s", code, w.s.Logs())
	}
}
