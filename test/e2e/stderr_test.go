package e2e

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
)

// TestNobodyReadsStderr: a server whose messages nobody reads serves on and ends, however much it has to say.
func TestNobodyReadsStderr(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("s%02d", i)
		files[name+".toml"] = "[service]\nname = \"" + name + "\"\nexec = \"sleep 1000\"\n"
	}
	s := testkit.Start(t, files, testkit.Options{Args: []string{"--log-level", "debug"}, Stderr: w})
	for range 5 { // each of them has hundreds of lines
		if out, text, code := s.Zinit("stop-all"); code != 0 {
			t.Fatal(code, out, text)
		}
		if out, text, code := s.Zinit("start-all"); code != 0 {
			t.Fatal(code, out, text)
		}
	}
	c := s.Client()
	s.AwaitState(c, "s19", "running")
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
