package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
)

// TestCommandWaits: the command behind -- starts when every service that starts at boot is up, done, failed, blocked or in a
// restart delay, and reaches the server; descriptors that were passed to the keeper (sd_listen_fds(3)) are its own.
func TestCommandWaits(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	service := func(name, rest string) {
		if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte("[service]\nname = \""+name+"\"\n"+rest), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	service("slow", "exec = \"sleep 0.7; echo >&4; exec sleep 100000\"\nready = \"fd:4\"\n")
	service("job", "exec = \"sleep 0.5\"\noneshot = true\n")
	service("after", "exec = \"sleep 100000\"\n[dependencies]\nrequires = [\"slow\", \"job\"]\n")
	service("broken", "exec = \"/nowhere\"\n[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 600000\nrestart_delay_max_ms = 600000\n")
	service("held", "exec = \"sleep 100000\"\n[dependencies]\nrequires = [\"off\"]\n")
	service("off", "exec = \"sleep 100000\"\nstatus = \"stop\"\n")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()

	script := `test "$LISTEN_PID" = $$ && echo "$LISTEN_FDS passed" && readlink /proc/self/fd/3; zinit=` + testkit.Binary(t, "") + `
		for name in slow job after broken held; do echo $name $($zinit list -o json $name | tr -d ' \n' | grep -o '"state":"[a-z]*"'); done; exit 5`
	// The shell in front becomes the keeper, so that LISTEN_PID is right.
	cmd := exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh", testkit.Binary(t, ""), "pid1", "--config", dir,
		"--socket", filepath.Join(run, "s"), "--", "sh", "-c", script)
	cmd.ExtraFiles = []*os.File{file}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"1 passed\nsocket:", "slow \"state\":\"running\"", "job \"state\":\"exited\"", "after \"state\":\"running\"",
		"broken \"state\":\"failed\"", "held \"state\":\"blocked\""} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in:\n%s\n%s", want, &out, &errs)
		}
	}
}
