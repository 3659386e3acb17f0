package notify

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/seccomp"
	"github.com/zinit/zinit/internal/testkit/stuck"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// sendStuck sends a word with a descriptor whose last close waits, and lets go of the sender's copy. The
// socket must not be read before, or the sender's copy may be the last one.
func sendStuck(t *testing.T, socket, state string) (free func()) {
	t.Helper()
	file, free := stuck.Socket(t)
	sendWithFiles(t, socket, state, int(file.Fd()))
	file.Close()
	return free
}

// TestCloseThatWaits: what one service sends along holds up no other service.
func TestCloseThatWaits(t *testing.T) {
	s := newStation(t)
	a, b := s.socket(t, 1, ""), s.socket(t, 2, "")
	var frees []func()
	for range awayMax {
		frees = append(frees, sendStuck(t, a.Env(), "FDSTORE=1"))
	}
	sendStuck(t, a.Env(), "STATUS=unread")
	if err := Send(b.Env(), "READY=1"); err != nil {
		t.Fatal(err)
	}
	a.Begin()
	b.Begin()
	heard := map[uint64]int{}
	for range awayMax + 1 {
		heard[s.next(t).Gen]++
	}
	if heard[1] != awayMax || heard[2] != 1 {
		t.Fatalf("heard %v", heard)
	}
	flushed := make(chan bool)
	s.Flush(a, func() { close(flushed) })
	over(t, flushed, "the answer to a flush")
	frees[0]()
	if w := s.next(t); w.Gen != 1 || w.Message.Status != "unread" {
		t.Errorf("got %+v", w)
	}
}

// TestEndThatWaits: what lies in the socket of a service that has ended holds up nobody.
func TestEndThatWaits(t *testing.T) {
	s := newStation(t)
	a := s.socket(t, 1, "")
	free := sendStuck(t, a.Env(), "FDSTORE=1")
	ended := make(chan bool)
	a.Close(func() { close(ended) })
	select {
	case <-ended:
		t.Error("it has ended although what lies in the socket cannot be closed")
	default:
	}
	s.silent(t)
	free()
	over(t, ended, "the end")
}

func over(t *testing.T, done <-chan bool, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(wait.Patience):
		t.Fatal(what + " does not come")
	}
}

// TestNoRoomForCopies: with no descriptors left the kernel throws away what comes along with a datagram
// when that is taken out.
func TestNoRoomForCopies(t *testing.T) {
	s := newStation(t)
	a, b := s.socket(t, 1, ""), s.socket(t, 2, "")
	b.Begin()
	file, _ := stuck.Socket(t)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	sendWithFiles(t, a.Env(), "STATUS=first", int(file.Fd()))
	file.Close()
	other := connected(t, b.Env())
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	a.Begin()
	first := s.next(t)
	_, err := unix.Write(other, []byte("READY=1"))
	second := s.next(t)
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if err != nil {
		t.Fatal(err)
	}
	if first.Message.Status != "first" || second.Gen != 2 {
		t.Errorf("got %+v, then %+v", first, second)
	}
}

func connected(t *testing.T, socket string) int {
	t.Helper()
	fd, err := newSocket()
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestFullDisk: a folder in which nothing can be made any more does not keep a service from reporting.
func TestFullDisk(t *testing.T) {
	need.Root(t)
	for name, options := range map[string]string{"no inodes": "nr_inodes=2", "read-only": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			runtime.LockOSThread() // the thread ends with its mounts
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				need.That(t, false, "a mount namespace")
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				t.Fatal(err)
			}
			flags := uintptr(0)
			if options == "" {
				flags = unix.MS_RDONLY
			}
			if err := unix.Mount("full", dir, "tmpfs", flags, options); err != nil {
				t.Fatal(err)
			}
			defer unix.Unmount(dir, unix.MNT_DETACH) //nolint:errcheck // it ends with the thread, too
			if flags == 0 {
				if err := os.WriteFile(filepath.Join(dir, "last"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := newStation(t)
			c := s.socket(t, 1, dir)
			if c.Env()[0] != '@' {
				t.Fatalf("socket %s", c.Env())
			}
			c.Begin()
			if err := Send(c.Env(), "READY=1"); err != nil {
				t.Fatal(err)
			}
			if w := s.next(t); !w.Message.Ready {
				t.Errorf("got %+v", w)
			}
		})
	}
}

// TestNoTee: a sandbox that does not allow tee(2) takes no readiness away.
func TestNoTee(t *testing.T) {
	const inside = "ZINIT_TEST_NO_TEE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoTee$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := seccomp.Deny(unix.EPERM, unix.SYS_TEE); err != nil {
		need.That(t, false, "seccomp: "+err.Error())
	}
	s := newStation(t)
	for gen, text := range []string{"\n", "starting", "starting\n"} {
		c, err := s.Descriptor(uint64(gen))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(nil) })
		c.Begin()
		if _, err := unix.Write(c.ChildFD(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if text[len(text)-1] != '\n' {
			c.CloseChildFD()
		}
		if w := s.next(t); int(w.Gen) != gen || w.Message.Ready == w.Closed || w.Closed != (text == "starting") {
			t.Errorf("%q: got %+v", text, w)
		}
	}
}
