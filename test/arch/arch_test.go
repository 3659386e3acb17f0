// Package arch runs the real server on machines that this one is not: natively where the processor can, else in QEMU's
// user mode, where every system call is this kernel's.
package arch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc"
)

// machines are those whose server is run; .ci/run builds for more.
var machines = []struct {
	goarch string
	run    func(t *testing.T, bin string) string // makes the program that runs bin
}{
	{"386", native},
	{"mipsle", emulated("mipsel", `\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00`)},
	{"arm64", emulated("aarch64", `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`)},
}

// TestServer: a server of another machine starts services in order, tells of them, keeps their lines, and stops them.
func TestServer(t *testing.T) {
	for _, m := range machines {
		t.Run(m.goarch, func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), "zinit")
			build := exec.Command("go", "build", "-buildvcs=false", "-tags", "urfave_cli_no_docs", "-o", bin, ".")
			build.Dir = testkit.Root()
			build.Env = append(os.Environ(), "GOARCH="+m.goarch, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			serve(t, m.run(t, bin))
		})
	}
}

func serve(t *testing.T, program string) {
	s := testkit.Start(t, map[string]string{
		"first.toml": "[service]\nname = \"first\"\nexec = [\"sh\", \"-c\", \"echo the first; sleep 1000\"]\n",
		"then.toml": "[service]\nname = \"then\"\nexec = [\"sh\", \"-c\", \"echo the second; exit 3\"]\n" +
			"oneshot = true\n[lifecycle]\nrestart = \"never\"\n[dependencies]\nrequires = [\"first\"]\n",
	}, testkit.Options{Bin: program})
	c := s.Client()
	s.AwaitState(c, "first", "running")
	if st := s.AwaitState(c, "then", "failed"); st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 3 {
		t.Errorf("the exit code that a child ended with is told as %+v", st.LastExit)
	}
	s.Await("the lines of both", func() bool {
		out, _, code := s.Zinit("logs", "first", "then")
		return code == 0 && strings.Contains(out, "the first") && strings.Contains(out, "the second")
	})
	if _, err := c.Stop(context.Background(), "first", rpc.Change{}); err != nil {
		t.Errorf("stop: %v", err)
	}
	if st := s.AwaitState(c, "first", "exited"); st.LastExit == nil || st.LastExit.Signal == nil {
		t.Errorf("a service that was stopped by a signal ended with %+v", st.LastExit)
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}

// native is for a machine whose programs this processor and its kernel run.
func native(t *testing.T, bin string) string {
	out, err := exec.Command(bin, "--version").CombinedOutput()
	need.That(t, err == nil, fmt.Sprintf("a kernel that runs %s (%v: %s)", bin, err, out))
	return bin
}

// emulated runs programs of a machine by QEMU's user mode. The server executes itself, so the kernel must know what to do
// with such a file; that knowledge is given to a user namespace (Linux 6.7), and so to this one server.
func emulated(qemu, magic string) func(t *testing.T, bin string) string {
	return func(t *testing.T, bin string) string {
		interpreter := need.Program(t, "qemu-"+qemu+"-static")
		mask := `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
		script := fmt.Sprintf("#!/bin/sh\nexec unshare -Urm sh -c '%s' %s \"$@\"\n", strings.Join([]string{
			"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc",
			fmt.Sprintf(`printf "%%s" ":zinit:M::%s:%s:%s:PF" >/proc/sys/fs/binfmt_misc/register`, magic, mask, interpreter),
			`exec "$0" "$@"`,
		}, " && "), bin)
		path := bin + "-emulated"
		if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "--version").CombinedOutput()
		need.That(t, err == nil, fmt.Sprintf("binfmt_misc in a user namespace (%v: %s)", err, out))
		return path
	}
}
