package syslog

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/stuck"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// A descriptor for a process tells its group while the process lives; what is no such descriptor tells nothing.
func TestGroupOf(t *testing.T) {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	t.Logf("group %d", groupOf(pidfd)) // 0 before Linux 6.13
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []int{-1, int(null.Fd())} {
		if got := groupOf(fd); got != 0 {
			t.Errorf("descriptor %d has group %d", fd, got)
		}
	}
}

// Every message brings descriptors at most for as long as it is looked at, also when the sender sends some along and the
// kernel does not refuse them.
func TestNoDescriptorStays(t *testing.T) {
	f := newFixture(t, nil)
	refused := unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, soPassRights, 1) == nil
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	send := func(files ...*os.File) error {
		var fds []int
		for _, file := range files {
			fds = append(fds, int(file.Fd()))
		}
		return unix.Sendmsg(fd, []byte("<13>x"), unix.UnixRights(fds...), &unix.SockaddrUnix{Name: f.path}, 0)
	}
	count := func() int { names, _ := filepath.Glob("/proc/self/fd/*"); return len(names) }
	before := 0
	for i := range 200 {
		if err := send(null, null); err != nil {
			t.Fatal(err)
		}
		if i == 9 {
			f.await(t, Service, 10)
			before = count()
		}
	}
	if out, err := exec.Command("logger", "-u", f.path, "one that has ended").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.await(t, Service, 201)
	if !wait.Until(wait.Patience, func() bool { return count() <= before }) {
		t.Errorf("%d descriptors, %d at the beginning", count(), before)
	}

	if refused {
		_ = unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, soPassRights, 0)
		if err := send(null); err != unix.EPERM {
			t.Errorf("a descriptor was not refused: %v", err)
		}
	}
}

// TestCloseThatWaits: a descriptor whose close waits holds up nobody's messages.
func TestCloseThatWaits(t *testing.T) {
	gate := make(chan bool)
	f := newFixture(t, func(int32, uint32) string { <-gate; return "" })
	_ = unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, soPassRights, 1) // as on kernels that cannot refuse them
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	waits, _ := stuck.Socket(t)
	for _, rights := range [][]byte{nil, unix.UnixRights(int(waits.Fd())), nil} {
		if err := unix.Sendmsg(fd, []byte("<13>x"), rights, &unix.SockaddrUnix{Name: f.path}, 0); err != nil {
			t.Fatal(err)
		}
	}
	waits.Close() // the copy in the socket is the last one
	close(gate)
	f.await(t, Service, 3)
}

// TestDescriptorsAreRefused, where the kernel can.
func TestDescriptorsAreRefused(t *testing.T) {
	f := newFixture(t, nil)
	on, err := unix.GetsockoptInt(f.fd, unix.SOL_SOCKET, soPassRights)
	need.That(t, err == nil, "Linux 6.16")
	if on != 0 {
		t.Error("the socket takes descriptors")
	}
}
