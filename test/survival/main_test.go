// Package survival kills the server over and over and counts what is left: every process, exit status and log line.
package survival

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/seccomp"
	"github.com/zinit/zinit/test/survival/storm"
)

// TestMain plays the services when the binary is executed as one, else runs the tests.
func TestMain(m *testing.M) {
	if bin := os.Getenv("ZT_DENY"); bin != "" {
		deny(bin, unix.ENOSYS, unix.SYS_MEMFD_CREATE, unix.SYS_FALLOCATE)
	}
	if bin := os.Getenv("ZT_UNTRACED"); bin != "" {
		deny(bin, unix.EPERM, unix.SYS_PTRACE)
	}
	storm.Play()
	code := m.Run()
	if earlierDir != "" {
		os.RemoveAll(earlierDir)
	}
	os.Exit(code)
}

// deny executes a zinit, with this process's arguments, for which some system calls fail, and which with ZT_READ_ONLY has no
// directory for temporary files: those in memory are read-only, and TMPDIR is none.
func deny(bin string, with unix.Errno, calls ...uint32) {
	os.Unsetenv("ZT_DENY")
	os.Unsetenv("ZT_UNTRACED")
	var err error
	if os.Getenv("ZT_READ_ONLY") != "" {
		err = readOnly()
	}
	if err == nil {
		err = seccomp.Deny(with, calls...)
	}
	if err == nil {
		err = syscall.Exec(bin, append([]string{"zinit"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// readOnly gives this thread, which is to execute, mounts of its own.
func readOnly() error {
	os.Unsetenv("ZT_READ_ONLY")
	os.Setenv("TMPDIR", "/proc")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/dev/shm", "/run"} {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
			return err
		}
	}
	return nil
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }
