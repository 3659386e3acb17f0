package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/proc"
)

// SelfTest is the hidden argument by which a new executable is asked whether it can take over: it prints its version
// and exits 0 if it reads the journal version that follows.
const SelfTest = "--self-test"

// inheritEnv carries what an executable that replaces a lone server needs: without a keeper the descriptors stay open
// across the exec. It is private to the server.
const inheritEnv = "ZINIT_INHERIT"

// KeeperEnv is the variable by which a server learns the descriptor of its keeper.
const KeeperEnv = "ZINIT_KEEPER_FD"

// JournalVersion is the state version that this executable writes and reads.
const JournalVersion = journal.Version

// selfTest runs the new executable.
func (s *Supervisor) selfTest(ctx context.Context, fd int, path string) (version string, err error) {
	d := s.driver
	file := "/proc/self/fd/" + strconv.Itoa(fd)
	out, st, err := d.capture(ctx, func(stdout int) (int, *proc.Error) {
		return proc.Start(&proc.Spec{Plan: proc.Plan{Path: file, Argv: []string{"zinit-server", SelfTest, strconv.Itoa(JournalVersion)}},
			Env: s.opt.Environ, Files: []int{d.devNull, stdout, stdout}})
	})
	words := strings.Fields(string(out))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", errors.New("its self test did not end in time")
	case err != nil:
		return "", fmt.Errorf("it does not run: %w", err)
	case st.Signal != 0 || st.Code != 0:
		text := strings.TrimSpace(string(out))
		if len(text) > 200 {
			text = text[:200]
		}
		return "", fmt.Errorf("its self test failed: %s %s", exitText(st), text)
	case len(words) < 2 || words[0] != "zinit":
		return "", errors.New("it is not a zinit: its self test did not answer")
	}
	return words[1], nil
}

// execute replaces this process. It runs in the driver, so that nothing is half done; the exec itself happens on the
// thread that forked the services of a lone server (their parent-death signal fires when that thread ends).
func (s *Supervisor) execute(u *upgrade) {
	d := s.driver
	d.post(func() {
		d.commit()
		d.log.Info("upgrading in place", "to", u.version, "path", u.path)
		if err := s.prepareExec(u); err != nil {
			d.log.Error("cannot upgrade; the running version goes on", "error", err)
			return
		}
		d.pool.onFirst(func() {
			fault.Here("exec")
			err := syscall.Exec("/proc/self/fd/"+strconv.Itoa(u.fd), s.opt.Argv, os.Environ())
			d.log.Error("cannot upgrade; the running version goes on", "error", err)
			d.post(func() { s.undoExec(u) })
		})
	})
}

// prepareExec tells the keeper, or lets the descriptors stay open and says which they are.
func (s *Supervisor) prepareExec(u *upgrade) error {
	d := s.driver
	if err := d.journal.Note("upgraded", []byte(s.opt.Version)); err != nil {
		return err
	}
	if d.keeper != nil {
		keep(d.keeper.FD())
		if err := os.Setenv(KeeperEnv, strconv.Itoa(d.keeper.FD())); err != nil {
			return err
		}
		return d.keeper.Upgrade(u.fd, u.path)
	}
	in := inheritance{Listener: s.opt.ListenerFD, Arena: d.arena.FD(), Journal: d.journal.FD(), Lock: s.opt.LockFD}
	for _, p := range d.out.Pipes() {
		in.Pipes = append(in.Pipes, keeper.Pipe{Service: p.Service, Gen: p.Gen, Stream: p.Stream, FD: p.FD})
	}
	for _, c := range d.children {
		in.Pipes = append(in.Pipes, notifyPipes(c)...)
	}
	for _, fd := range in.descriptors() {
		keep(fd)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return os.Setenv(inheritEnv, string(b))
}

// undoExec goes on after an exec that failed.
func (s *Supervisor) undoExec(u *upgrade) {
	os.Unsetenv(inheritEnv)
	os.Unsetenv(KeeperEnv)
	unix.Close(u.fd)
	_ = s.driver.journal.Note("upgraded", nil)
}

func keep(fd int) {
	if fd >= 0 {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// inheritance is what a lone server leaves open for the executable that replaces it.
type inheritance struct {
	Listener, Arena, Journal, Lock int
	Pipes                          []keeper.Pipe
}

func (in *inheritance) descriptors() []int {
	fds := []int{in.Listener, in.Arena, in.Journal, in.Lock}
	for _, p := range in.Pipes {
		fds = append(fds, p.FD)
	}
	return fds
}

// Inherit returns what the server that this process was before its exec left open, as a keeper would hand it over; nil
// when this is a fresh process. The descriptors are close-on-exec again.
func Inherit() (h *keeper.Handover, lock int, err error) {
	text := os.Getenv(inheritEnv)
	if text == "" {
		return nil, -1, nil
	}
	os.Unsetenv(inheritEnv)
	var in inheritance
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, -1, fmt.Errorf("cannot read %s: %w", inheritEnv, err)
	}
	for _, fd := range in.descriptors() {
		if fd >= 0 {
			unix.CloseOnExec(fd)
		}
	}
	return &keeper.Handover{Listener: in.Listener, Arena: in.Arena, Journal: in.Journal, Pipes: in.Pipes, Mode: keeper.Plain}, in.Lock, nil
}
