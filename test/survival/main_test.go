// Package survival kills the server over and over and counts what is left: every process, exit status and log line.
package survival

import (
	"encoding/json"
	"fmt"
	"os"
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

// deny executes a zinit, with this process's arguments, for which some system calls fail.
func deny(bin string, with unix.Errno, calls ...uint32) {
	os.Unsetenv("ZT_DENY")
	os.Unsetenv("ZT_UNTRACED")
	err := seccomp.Deny(with, calls...)
	if err == nil {
		err = syscall.Exec(bin, append([]string{"zinit"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }
