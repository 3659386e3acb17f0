package survival

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
)

// TestDeletedSocket: a control socket that somebody has deleted, alone or with its lock and directory, is there again; open
// connections go on, and so does everything that hands the socket on.
func TestDeletedSocket(t *testing.T) {
	for _, applet := range applets {
		s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: applet})
		c := s.Client()
		one := s.AwaitState(c, "one", "running")
		back := func(what string) {
			t.Helper()
			s.Await("the socket after "+what, func() bool { _, err := os.Lstat(s.Socket); return err == nil })
			if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
				t.Errorf("%s: pid %d, before %d", what, now.PID, one.PID)
			}
		}
		for range 3 {
			if err := os.Remove(s.Socket); err != nil {
				t.Fatal(err)
			}
			back("its deletion")
		}
		if _, err := c.Ping(ctx); err != nil {
			t.Errorf("%s: the connection of before: %v", applet, err)
		}
		dir := filepath.Dir(s.Socket)
		away := dir + ".away" // at once, where deleting all of it would meet what comes back
		t.Cleanup(func() { os.RemoveAll(away) })
		if err := os.Rename(dir, away); err != nil {
			t.Fatal(err)
		}
		back("the deletion of its directory")
		if err := os.Symlink(filepath.Join(away, filepath.Base(s.Log)), s.Log); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := s.Zinit("upgrade"); code != 0 {
			t.Errorf("%s: upgrade: %d %s", applet, code, stderr)
		}
		back("an upgrade")
		if applet == "pid1" {
			killServer(t, s, serverPIDOf(t, s.Client()))
			back("a crash")
		}
		if err := os.Remove(s.Socket); err != nil {
			t.Fatal(err)
		}
		back("its deletion under the next server")
		if other := secondServer(s); other == 0 {
			t.Errorf("%s: a second server on the same socket was let in", applet)
		}
	}
}

// secondServer starts another server on the same socket and returns its exit code.
func secondServer(s *testkit.Server) int {
	_, _, code := s.Zinit("server", "--config", s.Dir, "--socket", s.Socket)
	return code
}
