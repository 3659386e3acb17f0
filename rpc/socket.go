package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocketMode is the mode of the control socket where no setting says otherwise.
const DefaultSocketMode fs.FileMode = 0o660

// SocketOptions say where and for whom the control socket is.
type SocketOptions struct {
	Path string      // at most 107 bytes
	Mode fs.FileMode // 0: DefaultSocketMode
	GID  int         // its group; 0 or less: left as it is
}

// Socket is a control socket with its lock. The lock file PATH.lock stays when the server ends; the lock does not.
type Socket struct {
	Path     string // absolute
	Listener *net.UnixListener
	// Dead are the names that servers before this one have noted and that ended without Forget: they were killed.
	Dead  []string
	lock  *os.File
	inode uint64 // of Path, as far as known: whether it is still ours
	ended bool   // Close was called: that the path is gone is as it should be
}

// Listen makes the control socket: its directory is created, PATH.lock is locked, a dead socket is replaced, mode and
// group are set before anybody can connect. It refuses, naming the path and the reason, when a live server (one of ours
// or 0.3.9) answers there, when something that is no socket is in the way, or when the path is too long.
func Listen(o SocketOptions) (*Socket, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", o.Path, err)
	}
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; name a shorter one with --socket", path, err)
	}
	if err := prepareDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	if err := removeDead(path); err != nil {
		lock.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	listener, err := bind(path, o)
	if err != nil {
		lock.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return newSocket(path, listener, lock), nil
}

// newSocket writes our pid into the lock, and reads what is left in it of servers before.
func newSocket(path string, listener *net.UnixListener, lock *os.File) *Socket {
	s := &Socket{Path: path, Listener: listener, lock: lock, inode: inodeAt(path)}
	text := make([]byte, deadMax)
	n, _ := lock.ReadAt(text, 0)
	if words := strings.Fields(string(text[:n])); len(words) > 1 {
		s.Dead = words[1:]
	}
	s.sign(s.Dead)
	return s
}

// deadMax bounds what is read of a lock, in bytes.
const deadMax = 4096

// deadKept is how many names of servers before are kept beside our own.
const deadKept = 16

// sign writes our pid into the lock, for the message of the next who wants it, and the names that are not done with.
func (s *Socket) sign(names []string) {
	text := strings.Join(append([]string{strconv.Itoa(os.Getpid())}, names...), "\n") + "\n"
	if len(text) <= deadMax && s.lock.Truncate(0) == nil {
		_, _ = s.lock.WriteAt([]byte(text), 0)
	}
}

// Note keeps the name of this server beside the socket, so that the next one knows it when this one is killed.
func (s *Socket) Note(name string) {
	if !slices.Contains(s.Dead, name) {
		s.sign(append(slices.Clone(s.Dead[max(0, len(s.Dead)-deadKept):]), name))
	}
}

// Forget drops all names: nothing is left of this server and those before.
func (s *Socket) Forget() { s.sign(nil) }

// ListenDefault listens on flag (the value of --socket), else ZINIT_SOCKET, else the default path of this user. Where
// the default's directory cannot be written, /dev/shm serves; fallback is then true, and the caller says so.
func ListenDefault(env Environment, flag string, o SocketOptions) (socket *Socket, fallback bool, err error) {
	o.Path = flag
	if o.Path == "" {
		o.Path = env.SocketPath()
	}
	socket, err = Listen(o)
	if err == nil || flag != "" || env.Getenv("ZINIT_SOCKET") != "" || !notWritable(err) {
		return socket, false, err
	}
	o.Path = env.FallbackSocket()
	socket, second := Listen(o)
	if second != nil {
		return nil, false, errors.Join(err, second)
	}
	return socket, true, nil
}

func notWritable(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}

// prepareDir creates the socket's directory. One that is named zinit-UID below a directory for everybody must be ours.
func prepareDir(dir string) error {
	own := filepath.Base(dir) == "zinit-"+strconv.Itoa(os.Geteuid())
	mode := fs.FileMode(0o755)
	if own {
		mode = 0o700
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("cannot create its directory: %w", err)
	}
	if !own {
		return nil
	}
	return checkPrivate(dir, os.Geteuid())
}

// lockSocket takes PATH.lock.
func lockSocket(path string) (*os.File, error) {
	name := path + ".lock"
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot make the lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(name)
		lock.Close() //nolint:errcheck // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another server%s has %s locked and serves %s; stop it first, or use another --socket",
				pidText(holder), name, path)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", name, err)
	}
	return lock, nil
}

func pidText(holder []byte) string {
	first, _, _ := strings.Cut(string(holder), "\n")
	if pid, err := strconv.Atoi(strings.TrimSpace(first)); err == nil && pid > 0 {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

// removeDead removes a socket that nobody listens on.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot look at %s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("cannot listen on %s: something that is no socket has this name; move it away or use another --socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close() //nolint:errcheck // it was only to see whether somebody answers
		return fmt.Errorf("a server is running on %s already; stop it first, or use another --socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot tell whether a server is running on %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the dead socket %s: %w", path, err)
	}
	return nil
}

// bind makes the socket. Its inode is born with at most the wanted mode: the mode of the socket before bind counts.
func bind(path string, o SocketOptions) (*net.UnixListener, error) {
	mode := o.Mode
	if mode == 0 {
		mode = DefaultSocketMode
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failure error
		err := raw.Control(func(fd uintptr) { failure = unix.Fchmod(int(fd), uint32(mode.Perm()&0o600)) })
		return errors.Join(err, failure)
	}}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, bareError(err))
	}
	unixListener := listener.(*net.UnixListener)
	unixListener.SetUnlinkOnClose(false)
	if err := grant(path, mode, o.GID); err != nil {
		unixListener.Close() //nolint:errcheck // it is given up
		_ = os.Remove(path)
		return nil, err
	}
	return unixListener, nil
}

func grant(path string, mode fs.FileMode, gid int) error {
	if gid > 0 {
		if err := os.Lchown(path, -1, gid); err != nil {
			return fmt.Errorf("cannot give %s to group %d: %w", path, gid, bareError(err))
		}
	}
	if err := os.Chmod(path, mode.Perm()); err != nil {
		return fmt.Errorf("cannot set the mode of %s: %w", path, bareError(err))
	}
	return nil
}

// bareError takes the operation and path off an error that is wrapped with both again.
func bareError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// AdoptSocket takes over a listening descriptor that another process has made: the keeper's store, an upgrade, socket
// activation. The lock is taken anew; lock is the descriptor that held it before, or nil.
func AdoptSocket(path string, listener, lock *os.File) (*Socket, error) {
	l, err := net.FileListener(listener)
	if err != nil {
		return nil, fmt.Errorf("cannot adopt the socket %s: %w", path, err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		l.Close() //nolint:errcheck // it is given up
		return nil, fmt.Errorf("cannot adopt the socket %s: it is no Unix socket", path)
	}
	unixListener.SetUnlinkOnClose(false)
	if lock == nil {
		if lock, err = lockSocket(path); err != nil {
			unixListener.Close() //nolint:errcheck // it is given up
			return nil, err
		}
	}
	return newSocket(path, unixListener, lock), nil
}

// Files returns duplicates of the listener and the lock for the next process; the caller closes them. Close-on-exec is set.
func (s *Socket) Files() (listener, lock *os.File, err error) {
	if listener, err = s.Listener.File(); err != nil {
		return nil, nil, fmt.Errorf("cannot duplicate the socket: %w", err)
	}
	fd, err := unix.FcntlInt(s.lock.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		listener.Close() //nolint:errcheck // a duplicate
		return nil, nil, fmt.Errorf("cannot duplicate the socket's lock: %w", err)
	}
	return listener, os.NewFile(uintptr(fd), s.lock.Name()), nil
}

// Close stops listening and gives the lock back. remove takes the path away too: not when another process goes on with it.
func (s *Socket) Close(remove bool) error {
	s.ended = true
	if remove {
		_ = os.Remove(s.Path)
	}
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.lock.Close())
}

// Restore makes the socket anew when its path, or the whole directory, was deleted, and takes the lock again when that was.
// It returns the listener in whose place there is a new one now, nil when nothing was missing: connections that wait in the
// old one are still accepted, nobody finds it any more. What somebody else has put there is left alone, with an error.
// After Close it does nothing; both are not to be called at once.
func (s *Socket) Restore(o SocketOptions) (old *net.UnixListener, err error) {
	if s.ended {
		return nil, nil
	}
	switch info, err := os.Lstat(s.Path); {
	case err == nil && (s.inode == 0 || inodeOf(info) == s.inode):
		return nil, nil
	case err == nil:
		return nil, fmt.Errorf("the control socket %s was replaced by something else; move that away and send SIGHUP", s.Path)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot look at the control socket %s: %w", s.Path, bareError(err))
	}
	if err := prepareDir(filepath.Dir(s.Path)); err != nil {
		return nil, fmt.Errorf("cannot make the control socket %s again: %w", s.Path, err)
	}
	if err := s.relock(); err != nil {
		return nil, err
	}
	listener, err := bind(s.Path, o)
	if err != nil {
		return nil, err
	}
	old, s.Listener, s.inode = s.Listener, listener, inodeAt(s.Path)
	return old, nil
}

// relock takes the lock of a new file when the old one is no longer where others look for it.
func (s *Socket) relock() error {
	held, err := s.lock.Stat()
	if err != nil {
		return fmt.Errorf("cannot look at the lock of %s: %w", s.Path, bareError(err))
	}
	if inodeAt(s.Path+".lock") == inodeOf(held) {
		return nil
	}
	lock, err := lockSocket(s.Path)
	if err != nil {
		return err
	}
	text := make([]byte, deadMax)
	n, _ := s.lock.ReadAt(text, 0)
	_, _ = lock.WriteAt(text[:n], 0) // what it says of this server and those before
	_ = s.lock.Close()
	s.lock = lock
	return nil
}

// inodeAt is the number of the file that has a name now, 0 when none has.
func inodeAt(path string) uint64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return inodeOf(info)
}
