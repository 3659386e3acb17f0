package syslog

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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

// Every message brings descriptors at most for as long as it is looked at, also when the sender sends some along.
func TestNoDescriptorStays(t *testing.T) {
	f := newFixture(t, nil)
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
	count := func() int { names, _ := filepath.Glob("/proc/self/fd/*"); return len(names) }
	before := 0
	for i := range 200 {
		rights := unix.UnixRights(int(null.Fd()), int(null.Fd()))
		if err := unix.Sendmsg(fd, []byte("<13>x"), rights, &unix.SockaddrUnix{Name: f.path}, 0); err != nil {
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
	if after := count(); after > before+2 { // the last one may still be open
		t.Errorf("%d descriptors, %d at the beginning", after, before)
	}
}
