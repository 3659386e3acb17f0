package survival

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/test/survival/storm"
)

var (
	kills = flag.Int("kills", 300, "how often the server is killed in the storm")
	seed  = flag.Uint64("storm-seed", 1, "seed of the times between two kills")
)

var ctx = context.Background()

// TestStorm is the kill storm of issue 8.
func TestStorm(t *testing.T) { stormOver(t, testkit.Options{Applet: "pid1"}, *kills) }

// TestStormInContainer: the keeper is process 1 of a pid namespace.
func TestStormInContainer(t *testing.T) {
	need.Root(t)
	unshare := need.Program(t, "unshare")
	stormOver(t, testkit.Options{Applet: "pid1", Args: []string{"--container"},
		Under: []string{unshare, "--pid", "--fork", "--mount-proc", "--"}}, *kills)
}

func stormOver(t *testing.T, o testkit.Options, kills int) {
	s, _ := startStorm(t, o)
	if d, ok := t.Deadline(); ok { // a machine too busy for all of them fails here, rather than by a timeout of all tests
		s.End = time.Now().Add(time.Until(d) / 3)
	}
	survived, err := s.Kill(kills)
	if err != nil {
		t.Error(err)
	}
	for _, bad := range s.Finish() {
		t.Error(bad)
	}
	if survived < kills {
		t.Errorf("only %d of %d kills in the time there was", survived, kills)
	}
	t.Logf("%d kills, %s", survived, s.Summary())
}

// startStorm starts the services and the clients of the storm; the caller ends it with Finish.
func startStorm(t *testing.T, o testkit.Options) (*storm.Storm, *testkit.Server) {
	t.Helper()
	s := &storm.Storm{Self: self(t), Work: t.TempDir(), Tick: 10 * time.Millisecond, Pause: 50 * time.Millisecond, Seed: *seed,
		Patience: wait.Patience}
	server := testkit.Start(t, s.Config(), o)
	s.Socket, s.Keeper = server.Socket, server.PID()
	if err := s.Begin(); err != nil {
		t.Fatalf("%v\n%s", err, server.Logs())
	}
	return s, server
}

// self is this test's executable, which plays the services.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// autopsy tells what a keeper and its server are waiting for and hold open.
func autopsy(keeper int) string {
	text := ""
	for _, pid := range []int{keeper, storm.ServerOf(keeper)} {
		text += fmt.Sprintf("--- process %d\n", pid)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, task := range tasks {
			comm, _ := os.ReadFile(task + "/comm")
			where, _ := os.ReadFile(task + "/wchan")
			text += strings.TrimSpace(string(comm)) + " in " + string(where) + "\n"
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			text += filepath.Base(fd) + " " + to + "\n"
		}
	}
	return text
}
