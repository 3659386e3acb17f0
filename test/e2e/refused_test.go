package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
)

// helpNoPrctl executes its arguments where prctl(2) is refused, as a strict seccomp profile does.
func helpNoPrctl([]string) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PRCTL, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(syscall.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	if _, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		must(errno)
	}
	must(os.Unsetenv(helperVariable))
	must(syscall.Exec(os.Args[1], os.Args[1:], os.Environ()))
}

// TestPrctlRefused: without prctl(2) there is no subreaper and no signal at the death of a parent; services start all the
// same, a stop finds what they have left by its mark, and the server ends at once, with 0.
func TestPrctlRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		m, l := mark(t, 90+len(env)), mark(t, 95+len(env))
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		wrapper := filepath.Join(t.TempDir(), "zinit")
		script := fmt.Sprintf("#!/bin/sh\ncase $1 in server|pid1) %s=noprctl exec %s %[3]s \"$@\";; esac\nexec %[3]s \"$@\"\n", helperVariable, self,
			testkit.Binary(t, ""))
		if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, applet := range []string{"server", "pid1"} {
			s := testkit.Start(t, map[string]string{"a.toml": service("a", "exec = [\"sh\", \"-c\", '''env -i setsid sleep "+m+
				" </dev/null >/dev/null 2>&1 & exec sleep "+m+"''']\n"),
				"left.toml": service("left", "exec = [\"sh\", \"-c\", '''env -i setsid sleep "+l+
					" </dev/null >/dev/null 2>&1 & exec sleep 1000''']\n[lifecycle]\nkill_mode = \"process\"\n")}, testkit.Options{Applet: applet, Bin: wrapper, Env: env})
			s.AwaitState(s.Client(), "a", "running")
			s.Await("both processes", func() bool { return len(marked(m)) == 2 })
			if _, stderr, code := s.Zinit("stop", "a"); code != 0 || len(marked(m)) > 0 {
				t.Errorf("%s: stop: %d %s, left %v", applet, code, stderr, marked(m))
			}
			if out, stderr, code := s.Zinit("start", "a"); code != 0 {
				t.Errorf("%s: start: %d %s%s", applet, code, out, stderr)
			}
			s.Await("both processes", func() bool { return len(marked(m)) == 2 })
			begun := time.Now()
			// What its service has left with leave, and so belongs to no incarnation any more, is found as well.
			s.AwaitState(s.Client(), "left", "running")
			s.Await("what the service leaves", func() bool { return len(marked(l)) == 1 })
			if _, stderr, code := s.Zinit("stop", "left"); code != 0 || len(marked(l)) != 1 {
				t.Errorf("%s: stop: %d %s, left %v", applet, code, stderr, marked(l))
			}
			if code, took := s.Stop(syscall.SIGTERM), time.Since(begun); code != 0 || took > 5*time.Second || len(marked(m))+len(marked(l)) > 0 {
				t.Errorf("%s: exit code %d after %v, left %v %v\n%s", applet, code, took, marked(m), marked(l), s.Logs())
			}
			if !strings.Contains(s.Logs(), "cannot become a child subreaper") {
				t.Errorf("nothing was refused:\n%s", s.Logs())
			}
		}
	})
}
