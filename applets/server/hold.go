package server

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/proc"
)

// flushSignal is sent by the server to itself: when it comes out of the channel, all that came before has come out.
const flushSignal = unix.SIGIO

// holdPatience is how long each step of holding signals back may take.
const holdPatience = time.Second

// holdSignals lets signals wait from now on: a tracer keeps them until the next image listens, or until ReleaseAll (see
// early.Holder). What had been delivered before is carried out, or kept as an order, when it returns. Where tracing is
// forbidden what arrives between here and the first instructions of the next image is lost (see early.Ignore).
func (s *server) holdSignals() {
	err := s.startHolder()
	if err != nil {
		defer early.Ignore()
		s.log.Warn("cannot hold signals back during the upgrade; one that comes in these milliseconds can be lost", "error", err)
	}
	for end := time.Now().Add(holdPatience); inHandler() && time.Now().Before(end); {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil) // a handler takes microseconds
	}
	signal.Notify(early.ServerSignals, flushSignal)
	defer signal.Reset(flushSignal)
	if unix.Kill(unix.Getpid(), flushSignal) == nil {
		select {
		case <-s.flushed:
		case <-time.After(holdPatience):
		}
	}
}

// startHolder starts the tracer and waits until it traces every thread of this process.
func (s *server) startHolder() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	pid, failure := proc.Start(&proc.Spec{Plan: proc.Plan{Path: "/proc/self/exe", Argv: []string{early.HolderOfAll}},
		Env: []string{}, Files: []int{0, 1, 2, pair[1]}})
	unix.Close(pair[1])
	if failure != nil {
		return failure
	}
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(pid), 0, 0, 0) // EINVAL where nothing restricts tracing
	_, _ = unix.Write(pair[0], []byte("go"))
	limit := unix.NsecToTimeval(holdPatience.Nanoseconds())
	_ = unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	var word [1]byte
	for {
		n, _, err := unix.Recvfrom(pair[0], word[:], 0)
		switch {
		case err == unix.EINTR:
			continue
		case n == 1 && word[0] == 'y':
			return nil
		}
		_ = unix.Kill(pid, unix.SIGKILL) // it must not begin when nobody will release it
		return unix.EPERM
	}
}

// inHandler reports whether a thread of this process runs a signal handler: there, and for a moment after its birth, it
// has everything blocked.
func inHandler() bool {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	for _, task := range tasks {
		status, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		_, line, _ := bytes.Cut(status, []byte("\nSigBlk:\t"))
		line, _, _ = bytes.Cut(line, []byte{'\n'})
		if set, err := strconv.ParseUint(string(line), 16, 64); err == nil && set&(1<<(unix.SIGTERM-1)) != 0 {
			return true
		}
	}
	return false
}
