package container

import (
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestWithoutProc: process 1 of a container without /proc starts the server from its own file, never another init, and
// executes itself again by descriptor.
func TestWithoutProc(t *testing.T) {
	need.Root(t)
	unshare := need.Program(t, "unshare")
	// Everything that another init could be started by is a trap.
	trap := t.TempDir() + "/trap"
	s := testkit.Start(t, map[string]string{"one.toml": "[service]\nname = \"one\"\nexec = \"sleep 100000\"\n"},
		testkit.Options{Applet: "pid1", Args: []string{"--container"}, Under: []string{unshare, "--mount", "--pid", "--fork", "sh", "-c",
			"mount -t tmpfs none /proc && mount -t tmpfs none /sbin && printf '#!/bin/sh\ntouch " + trap + "\n' >/sbin/init && chmod 755 /sbin/init && " +
				"exec \"$@\"", "sh"}})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.Await("the execution", func() bool { return strings.Contains(s.Logs(), "goes on, executed again from "+s.Bin) })
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
		t.Errorf("pid %d, before %d", now.PID, one.PID)
	}
	if exists(trap) {
		t.Errorf("another init was executed\n%s", s.Logs())
	}
}
