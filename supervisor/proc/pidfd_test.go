package proc

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/seccomp"
)

// TestNoPidfdSendSignal: a sandbox that knows pidfds but not the call that signals through one does not
// keep a signal away from its process.
func TestNoPidfdSendSignal(t *testing.T) {
	const inside = "ZINIT_TEST_NO_PIDFD_SEND_SIGNAL"
	errno := map[string]unix.Errno{"EPERM": unix.EPERM, "ENOSYS": unix.ENOSYS}
	denied := os.Getenv(inside)
	if denied == "" {
		for name := range errno {
			cmd := exec.Command(os.Args[0], "-test.run=^TestNoPidfdSendSignal$")
			cmd.Env = append(os.Environ(), inside+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
		return
	}
	if err := seccomp.Deny(errno[denied], unix.SYS_PIDFD_SEND_SIGNAL); err != nil {
		need.That(t, false, "seccomp: "+err.Error())
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := ReadProcess(cmd.Process.Pid)
	if err == nil {
		err = SignalProcess(p.PID, p.Start, unix.SIGKILL)
	}
	if err != nil {
		_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		t.Errorf("the signal was not sent: %v", err)
	}
	_ = cmd.Wait()
	if err := SignalProcess(p.PID, p.Start, unix.SIGKILL); err != ErrGone {
		t.Errorf("a process that has ended: %v", err)
	}
}
