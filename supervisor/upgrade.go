package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/elf"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
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
	if err := elf.Whole(fd); err != nil {
		return "", err
	}
	file := "/proc/self/fd/" + strconv.Itoa(fd)
	out, st, err := s.loop.Capture(ctx, &proc.Spec{Env: s.opt.Loop.Environ,
		Plan: proc.Plan{Path: file, Argv: []string{"zinit-server", SelfTest, strconv.Itoa(JournalVersion)}}})
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
		return "", fmt.Errorf("its self test failed: %s %s", view.ExitText(st), text)
	case len(words) < 2 || words[0] != "zinit":
		return "", errors.New("it is not a zinit: its self test did not answer")
	}
	return words[1], nil
}

// execute replaces this process. First the clients' connections are handed over and the forks under way come to their
// end, then it happens in the driver, so that nothing is half done; the exec itself happens on the thread that forked the
// services of a lone server (their parent-death signal fires when that thread ends).
func (s *Supervisor) execute(u *upgrade) {
	var conns []Connection
	if s.opt.Exec.HandOver != nil {
		conns = s.opt.Exec.HandOver()
	}
	s.loop.Pause(func() { s.executeNow(u, conns) })
}

func (s *Supervisor) executeNow(u *upgrade, conns []Connection) {
	s.log.Info("upgrading in place", "to", u.version, "path", u.path)
	if err := s.prepareExec(u, conns); err != nil {
		s.undoExec(u, err)
		return
	}
	s.loop.OnForkThread(func() error {
		fault.Here("exec")
		return proc.Exec("/proc/self/fd/"+strconv.Itoa(u.fd), s.opt.Exec.Argv, os.Environ())
	}, func(err error) { s.undoExec(u, err) })
}

// prepareExec tells the keeper, or lets the descriptors stay open and says which they are.
func (s *Supervisor) prepareExec(u *upgrade, conns []Connection) error {
	o := &s.opt.Loop
	if err := u.passConnections(conns); err != nil {
		return err
	}
	if err := o.Journal.Note("upgraded", []byte(s.opt.About.Version)); err != nil {
		return err
	}
	if o.Keeper != nil {
		keep(o.Keeper.FD())
		if err := os.Setenv(KeeperEnv, strconv.Itoa(o.Keeper.FD())); err != nil {
			return err
		}
		return o.Keeper.Upgrade(u.fd, u.path)
	}
	in := inheritance{Syslog: s.syslogFD, Listener: s.opt.Exec.ListenerFD, Arena: o.Arena.FD(), Journal: o.Journal.FD(),
		Lock: s.opt.Exec.LockFD, Pipes: s.loop.Pipes()}
	for _, fd := range in.descriptors() {
		keep(fd)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return os.Setenv(inheritEnv, string(b))
}

// undoExec goes on where there was no exec.
func (s *Supervisor) undoExec(u *upgrade, err error) {
	s.log.Error("cannot upgrade; the running version goes on", "error", err)
	for _, name := range []string{inheritEnv, connectionsEnv, KeeperEnv} {
		os.Unsetenv(name)
	}
	unix.Close(u.fd)
	if u.list >= 0 {
		unix.Close(u.list)
	}
	_ = s.opt.Loop.Journal.Note("upgraded", nil)
	if k := s.opt.Loop.Keeper; k != nil {
		_ = k.CancelUpgrade()
	}
	s.loop.Resume()
	s.upgrading.Store(false)
	if s.opt.Exec.TakeBack != nil {
		go s.opt.Exec.TakeBack()
	}
}

func keep(fd int) {
	if fd >= 0 {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// Connection is a client's on its way to the executable that replaces this one.
type Connection struct {
	FD      int
	Pending []byte // what was read from it and not yet handled
}

// connectionsEnv names the descriptor of a list of connections. It is private to the server.
const connectionsEnv = "ZINIT_CONNECTIONS"

// passConnections leaves the connections open and writes down which they are.
func (u *upgrade) passConnections(conns []Connection) error {
	u.list = -1
	if len(conns) == 0 {
		return nil
	}
	b, err := json.Marshal(conns)
	if err != nil {
		return err
	}
	if u.list, err = unix.MemfdCreate("zinit-connections", unix.MFD_CLOEXEC); err != nil {
		return fmt.Errorf("cannot hand over the connections: %w", err)
	}
	if _, err := unix.Pwrite(u.list, b, 0); err != nil {
		return fmt.Errorf("cannot hand over the connections: %w", err)
	}
	for _, c := range conns {
		keep(c.FD)
	}
	keep(u.list)
	return os.Setenv(connectionsEnv, strconv.Itoa(u.list))
}

// InheritConnections returns the connections that the server which this process was before its exec had. They are
// close-on-exec again.
func InheritConnections() (conns []Connection, err error) {
	text := os.Getenv(connectionsEnv)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(connectionsEnv)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%s is no descriptor", connectionsEnv, text)
	}
	list := os.NewFile(uintptr(fd), "connections")
	defer list.Close()
	if err := json.NewDecoder(io.NewSectionReader(list, 0, 1<<40)).Decode(&conns); err != nil {
		return nil, fmt.Errorf("cannot read the list of connections: %w", err)
	}
	for _, c := range conns {
		unix.CloseOnExec(c.FD)
	}
	return conns, nil
}

// inheritance is what a lone server leaves open for the executable that replaces it.
type inheritance struct {
	Listener, Arena, Journal, Lock int
	Syslog                         int
	Pipes                          []keeper.Pipe
}

func (in *inheritance) descriptors() []int {
	fds := []int{in.Listener, in.Arena, in.Journal, in.Lock, in.Syslog}
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
	h = &keeper.Handover{Listener: in.Listener, Arena: in.Arena, Journal: in.Journal, Pipes: in.Pipes, Mode: keeper.Plain}
	if in.Syslog >= 0 {
		h.Files = []keeper.File{{Name: keeperSyslog, FD: in.Syslog}}
	}
	return h, in.Lock, nil
}
