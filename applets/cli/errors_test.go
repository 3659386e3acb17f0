package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func TestExitCode(t *testing.T) {
	lost := func(cause error) error { return &rpc.TransportError{Socket: "/s", Op: "connect", Err: cause} }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("anything"), 1}, {usagef("x"), 2}, {silent(3), 3}, {silent(0), 0},
		{lost(syscall.EACCES), 4}, {lost(&os.SyscallError{Syscall: "connect", Err: syscall.EACCES}), 4}, {lost(syscall.ENOENT), 69},
		{lost(syscall.ECONNREFUSED), 69}, {lost(io.EOF), 69}, {lost(context.Canceled), 130}, {fmt.Errorf("around: %w", lost(syscall.ENOENT)), 69},
		{wire.NewError(wire.CodeNotFound, ""), 5}, {wire.NewError(wire.CodeNotRunning, ""), 7}, {wire.NewError(wire.CodeCycle, ""), 6},
		{wire.NewError(wire.CodeInvalidConfig, ""), 6}, {wire.NewError(wire.CodeValidation, ""), 6}, {wire.NewError(wire.CodeUnsafeRemoval, ""), 1},
		{wire.NewError(wire.CodeExists, ""), 1}, {wire.NewError(wire.CodeNotPermitted, ""), 4}, {wire.NewError(wire.CodeTimedOut, ""), 124},
		{wire.NewError(wire.CodeInternal, ""), 1}, {wire.NewError(wire.CodeMissingDependency, ""), 1},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// TestDescribe: people are told the next step, which the library's errors leave to them.
func TestDescribe(t *testing.T) {
	lost := func(cause error) error { return &rpc.TransportError{Socket: "/s", Op: "connect", Err: cause} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{lost(syscall.ENOENT), "start one with: zinit server"}, {lost(syscall.ECONNREFUSED), "--socket PATH"},
		{lost(syscall.EACCES), "become root"}, {lost(context.Canceled), "interrupted"},
		{&rpc.TransportError{Socket: "/s", Op: "receive", Err: io.EOF, Sent: true}, "look with: zinit status"},
		{errors.New("as it is"), "as it is"},
	} {
		if got := describe(c.err); !strings.Contains(got, c.want) {
			t.Errorf("describe(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}

// TestIsZinit: process 1 is only ever signalled when it is zinit.
func TestIsZinit(t *testing.T) {
	process := func(exe, comm string) string {
		dir := t.TempDir()
		if err := errors.Join(os.Symlink(exe, filepath.Join(dir, "exe")), os.WriteFile(filepath.Join(dir, "comm"), []byte(comm+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	same := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(same, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		exe, comm, own string
		want           bool
	}{
		{"/usr/bin/zinit", "zinit-pid1", "/own", true}, {"/usr/bin/zinit (deleted)", "zinit-pid1", "/own", true}, {"/init", "zinit-pid1", "/own", true},
		{same, "x", same, true}, {"/usr/lib/systemd/systemd", "systemd", "/own", false}, {"/init", "init", "/own", false}, {"/bin/busybox", "zinit-pid1", "/own", false},
	} {
		if got := isZinit(process(c.exe, c.comm), process(c.own, "zinit")); got != c.want {
			t.Errorf("isZinit(%s, %s) = %v", c.exe, c.comm, got)
		}
	}
	if isZinit(filepath.Join(t.TempDir(), "nothing"), "/proc/self") {
		t.Error("a process that cannot be looked at is taken for zinit")
	}
}
