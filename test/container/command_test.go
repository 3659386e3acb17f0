package container

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// inits are what a container's command may run under: ours must behave as the two that everybody uses.
func inits(t *testing.T) map[string][]string {
	t.Helper()
	dir := t.TempDir()
	return map[string][]string{
		"zinit":     {shim(t, testkit.Binary(t, "")), "--config", dir, "--socket", dir + "/s", "--"},
		"tini":      {need.Program(t, "tini"), "--"},
		"catatonit": {need.Program(t, "catatonit"), "--"},
	}
}

// TestCommandStatus: the command's status is the container's.
func TestCommandStatus(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	tests := []struct {
		argv []string
		want int
		not  string // an init that is different here
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "exit 77"}, 77, ""},
		{[]string{"sh", "-c", "exit 255"}, 255, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"sh", "-c", "kill -SEGV $$"}, 128 + 11, ""},
		{[]string{"/nonexistent"}, 127, "catatonit"}, // 1
		{[]string{"no-such-program"}, 127, "catatonit"},
		{[]string{"/etc/passwd"}, 126, "catatonit"},
		{[]string{"/tmp"}, 126, "catatonit"},
		{[]string{"sh", "-c", "sleep 1000 & exit 5"}, 5, ""},
		{[]string{"sh", "-c", "cat; exit 6"}, 6, ""}, // standard input is passed on: /dev/null
		{[]string{"sh", "-c", `test "$$" -ne 1 && test "$(ps -o pgid= -p $$ | tr -d ' ')" = "$$"`}, 0, ""},
	}
	for name, init := range inits(t) {
		for _, test := range tests {
			if test.not == name {
				continue
			}
			b := enter(t, "", append(init, test.argv...), nil)
			if got := b.wait(); got != test.want {
				t.Errorf("%s: %q gives %d, want %d\n%s", name, test.argv, got, test.want, b.out)
			}
		}
	}
}

// TestCommandSignals: every signal sent to process 1 reaches the command, and only it decides what that means.
func TestCommandSignals(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	signals := map[syscall.Signal]string{unix.SIGTERM: "TERM", unix.SIGINT: "INT", unix.SIGHUP: "HUP", unix.SIGQUIT: "QUIT", unix.SIGUSR1: "USR1",
		unix.SIGUSR2: "USR2", unix.SIGALRM: "ALRM", unix.SIGWINCH: "WINCH", unix.SIGCONT: "CONT", unix.SIGPWR: "PWR", 37: "RTMIN+3", 38: "RTMIN+4", 50: "RTMIN+16"}
	script := "echo() { printf '%s\\n' \"$*\"; }\n"
	for _, name := range signals {
		script += fmt.Sprintf("trap 'echo got %s.' %s\n", name, name)
	}
	script += "trap 'exit 31' VTALRM\necho up.\nwhile :; do sleep 0.01; done"
	bash := need.Program(t, "bash")
	for name, init := range inits(t) {
		b := enter(t, "", append(init, bash, "-c", script), nil)
		b.says("up.")
		for sig, word := range signals {
			b.signal(sig)
			b.says("got " + word + ".")
		}
		if n := strings.Count(b.out.String(), "got "); n != len(signals) {
			t.Errorf("%s: %d signals arrived, %d were sent", name, n, len(signals))
		}
		b.signal(unix.SIGVTALRM)
		if got := b.wait(); got != 31 {
			t.Errorf("%s: status %d, want 31", name, got)
		}
	}
}

// TestCommandStops: a command without handlers ends by the signal, as docker stop expects.
func TestCommandStops(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	for name, init := range inits(t) {
		b := enter(t, "", append(init, "sleep", "1000"), nil)
		b.await("the command", func() bool { return b.pidOf("sleep") != 0 })
		began := time.Now()
		b.signal(unix.SIGTERM)
		if got := b.wait(); got != 128+15 {
			t.Errorf("%s: status %d, want 143", name, got)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// TestCommandReaps: orphans are reaped while the command runs.
func TestCommandReaps(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	script := `i=0; while [ $i -lt 200 ]; do (sleep 0.01 &) ; i=$((i+1)); done
for t in $(seq 500); do
	sleep 0.01
	ps -e -o stat=,comm= | grep -q sleep || { ps -e -o stat= | grep -q Z || exit 12; }
done; ps -e; exit 13`
	for name, init := range inits(t) {
		if got := enter(t, "", append(init, "sh", "-c", script), nil); got.wait() != 12 {
			t.Errorf("%s: zombies stay\n%s", name, got.out)
		}
	}
}

// TestCommandTerminal: the command gets the terminal: it can read from it, and ^C goes to it alone.
func TestCommandTerminal(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	for name, init := range inits(t) {
		master, slave := openTerminal(t)
		script := `trap 'echo interrupted.; exit 9' INT; echo up.; read word; echo "read $word."; while :; do sleep 0.01; done`
		argv := append(init, need.Program(t, "bash"), "-c", script)
		b := enter(t, "", argv, func(cmd *exec.Cmd) {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr.Setpgid = false
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, true, 0
		})
		_ = slave.Close()
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := master.Read(buf)
				_, _ = b.out.Write(buf[:n])
				if err != nil {
					return
				}
			}
		}()
		b.says("up.")
		if _, err := master.WriteString("hello\n"); err != nil {
			t.Fatal(err)
		}
		b.says("read hello.")
		if _, err := master.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		b.says("interrupted.")
		if got := b.wait(); got != 9 {
			t.Errorf("%s: status %d, want 9", name, got)
		}
		_ = master.Close()
	}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	need.That(t, err == nil, "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "terminal"), slave
}
