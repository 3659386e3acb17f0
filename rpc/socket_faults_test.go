package rpc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/need"
)

// nobody is a user that no test machine has: another one in each process, since some of its paths are in shared directories.
var nobody = 20000 + rand.IntN(40000)

// asOther runs fn as another user: on a thread of its own, since only that one's credentials change.
func asOther(t *testing.T, fn func()) {
	t.Helper()
	need.Root(t)
	done := make(chan error, 1)
	go func() {
		lockThread()
		err := becomeOther(nobody, nobody, nil)
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// says fails the test unless err says all of want, in one line.
func says(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v, want %q", what, err, w)
			return
		}
	}
}

// reachable lets everybody into a directory of the test's.
func reachable(t *testing.T, dir string) {
	t.Helper()
	for ; strings.Contains(dir, "Test"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// bound reports whether a socket with this path is open in some process.
func bound(t *testing.T, path string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), " "+path+"\n")
}

// held is how many descriptors of this process are of a file.
func held(t *testing.T, path string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + entry.Name()); to == path {
			n++
		}
	}
	return n
}

func listenAt(t *testing.T, path string) *Socket {
	t.Helper()
	s, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(true) })
	return s
}

// deadAt leaves a socket behind that nobody listens on.
func deadAt(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
}

// TestListenLeavesNothing: a Listen that is refused says why, and keeps neither the lock nor a socket.
func TestListenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	reachable(t, dir)
	listenAt(t, path)
	if _, err := Listen(SocketOptions{Path: path}); err == nil || held(t, path+".lock") != 1 {
		t.Errorf("%v, and the lock is open %d times", err, held(t, path+".lock"))
	}

	// The lock may be taken there, but nothing be made.
	closed := filepath.Join(dir, "closed")
	if err := os.WriteFile(closed+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(closed+".lock", nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	asOther(t, func() {
		_, err := Listen(SocketOptions{Path: closed})
		says(t, "a directory of root's", err, "cannot listen on "+closed+": permission denied")
		if held(t, closed+".lock") != 0 {
			t.Error("the lock is kept")
		}
	})

	gone := filepath.Join(dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(SocketOptions{Path: "s"})
	says(t, "a working directory that was removed", err, "cannot listen on s: ")
}

func TestBindLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	reachable(t, dir)
	missing := filepath.Join(dir, "none", "s")
	if l, err := bind(missing, SocketOptions{}); l != nil || err == nil || err.Error() != "cannot listen on "+missing+": no such file or directory" {
		t.Errorf("%v", err)
	}
	if err := grant(missing, 0o600, 0); err == nil || err.Error() != "cannot set the mode of "+missing+": no such file or directory" {
		t.Errorf("%v", err)
	}
	if err := grant(missing, 0o600, 7); err == nil || err.Error() != "cannot give "+missing+" to group 7: no such file or directory" {
		t.Errorf("%v", err)
	}
	if err := bareError(io.EOF); err != io.EOF {
		t.Errorf("an error without a number: %v", err)
	}
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(own, "s")
	asOther(t, func() {
		l, err := bind(path, SocketOptions{GID: 7})
		says(t, "a group of others", err, "cannot give "+path+" to group 7: operation not permitted")
		if l != nil || bound(t, path) {
			t.Error("the socket is open still")
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the path is left: %v", err)
		}
	})
	l, err := bind(path, SocketOptions{Mode: 0o640, GID: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o640 || info.Sys().(*syscall.Stat_t).Gid != 7 {
		t.Errorf("%v %v", info, err)
	}
}

func TestRemoveDead(t *testing.T) {
	dir := t.TempDir()
	reachable(t, dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, "below a file", removeDead(file+"/s"), "cannot look at "+file+"/s: ")

	alive := filepath.Join(dir, "alive")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: alive})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	says(t, "a server", removeDead(alive), "a server is running on "+alive)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who only looks keeps the connection: %v", err)
	}
	if err := os.Chmod(alive, 0o700); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	deadAt(t, dead)
	if err := os.Chmod(dead, 0o777); err != nil {
		t.Fatal(err)
	}
	asOther(t, func() {
		says(t, "a socket of root's", removeDead(alive), "cannot tell whether a server is running on "+alive)
		says(t, "a directory of root's", removeDead(dead), "cannot remove the dead socket "+dead)
	})
	if err := removeDead(dead); err != nil {
		t.Error(err)
	}
}

func TestPidText(t *testing.T) {
	for text, want := range map[string]string{"12\n": " (pid 12)", " 3 ": " (pid 3)", "7\nname\n": " (pid 7)",
		"": "", "0\n": "", "-4\n": "", "x\n": "", "99999999999999999999\n": ""} {
		if got := pidText([]byte(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestNames: the names of servers that ended without a word are found by the next one, until it is done with them.
func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	next := func(want ...string) *Socket {
		t.Helper()
		s := listenAt(t, path)
		if !slices.Equal(s.Dead, want) {
			t.Errorf("left by servers before: %v, want %v", s.Dead, want)
		}
		return s
	}
	s := next()
	s.Note("one")
	_ = s.Close(true)
	s = next("one")
	s.Note("one") // by itself: it is there
	s.Note("two")
	_ = s.Close(true)
	s = next("one", "two")
	s.Forget()
	_ = s.Close(true)
	s = next()
	var names []string
	for i := range deadKept + 4 {
		names = append(names, "n"+strconv.Itoa(i))
	}
	s.sign(names)
	_ = s.Close(true)
	s = next(names...)
	s.Note("last")
	_ = s.Close(true)
	s = next(append(names[4:], "last")...)
	s.sign([]string{strings.Repeat("x", deadMax)}) // more than is read: what there was stays
	_ = s.Close(true)
	s = next(append(names[4:], "last")...)
	s.sign([]string{strings.Repeat("x", deadMax-len(fmt.Sprintln(os.Getpid()))-1)})
	_ = s.Close(true)
	next(strings.Repeat("x", deadMax-len(fmt.Sprintln(os.Getpid()))-1))
}

func TestAdoptSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	plain, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, err = AdoptSocket(path, plain, nil)
	says(t, "a file", err, "cannot adopt the socket "+path+": ")

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	_, err = AdoptSocket(path, file, nil)
	says(t, "a socket of TCP", err, "cannot adopt the socket "+path+": it is no Unix socket")
	_, _ = file.Close(), tcp.Close()
	if conn, err := net.Dial("tcp", tcp.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("what was refused is open still")
	}

	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if file, err = unix.File(); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lock, err := lockSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetUnlinkOnClose(false)
	_ = unix.Close()
	_, err = AdoptSocket(path, file, nil)
	says(t, "a lock that another holds", err, "another server has "+path+".lock locked")
	_ = lock.Close()
	s, err := AdoptSocket(path, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockSocket(path)
	says(t, "the lock of the adopted", err, "another server (pid "+strconv.Itoa(os.Getpid())+")")
	if err := s.Close(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path went with the listener: %v", err)
	}
	// Of two copies one is left: ours.
	if lock, err = lockSocket(path); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := AdoptSocket(path, file, nil); err == nil {
		t.Error("the lock is free")
	}
	_ = file.Close()
	if bound(t, path) {
		t.Error("a socket that was not adopted is open still")
	}
}

func TestFilesOfAClosedSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := listenAt(t, path)
	_ = s.lock.Close()
	_, _, err := s.Files()
	says(t, "without a lock", err, "cannot duplicate the socket's lock")
	_ = s.Listener.Close()
	if bound(t, path) {
		t.Error("the copy of the listener is open still")
	}
	_, _, err = s.Files()
	says(t, "without a listener", err, "cannot duplicate the socket: ")
}

// TestRestoreRefuses: what is in the way of a new socket is told, and the next try may succeed.
func TestRestoreRefuses(t *testing.T) {
	base := t.TempDir()
	reachable(t, base)
	dir := filepath.Join(base, "run")
	o := SocketOptions{Path: filepath.Join(dir, "s")}
	s := listenAt(t, o.Path)
	s.inode = 0 // as on a file system without
	if old, err := s.Restore(o); old != nil || err != nil {
		t.Errorf("nothing is known of its file: %v, %v", old, err)
	}
	remove := func(path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what, want string) {
		t.Helper()
		old, err := s.Restore(o)
		says(t, what, err, want)
		if old != nil {
			t.Errorf("%s: the listener was replaced", what)
		}
	}
	remove(o.Path)
	asOther(t, func() { refused("a directory of root's", "cannot listen on "+o.Path+": permission denied") })
	remove(o.Path + ".lock")
	other, err := lockSocket(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	refused("another server", "another server has "+o.Path+".lock locked")
	_ = other.Close()
	remove(dir)
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file in place of its directory", "cannot look at the control socket "+o.Path+": not a directory")
	remove(dir)
	if err := os.Symlink(filepath.Join(base, "none", "none"), dir); err != nil {
		t.Fatal(err)
	}
	refused("a link to nowhere", "cannot make the control socket "+o.Path+" again: cannot create its directory")
	remove(dir)
	if old, err := s.Restore(o); old == nil || err != nil {
		t.Errorf("with nothing in the way: %v", err)
	} else {
		_ = old.Close()
	}
	remove(o.Path)
	_ = s.lock.Close()
	refused("a lock that is closed", "cannot look at the lock of "+o.Path)
}

// TestFallback: where the default cannot be written /dev/shm serves, but never in place of what somebody named.
func TestFallback(t *testing.T) {
	// Nobody, not even root, makes a directory in /proc.
	const closed = "/proc/zinit-none"
	e := env(nobody, "XDG_RUNTIME_DIR", closed)
	at := e.FallbackSocket()
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(at)) })
	s, fallback, err := ListenDefault(e, "", SocketOptions{})
	if err != nil || !fallback || s.Path != at {
		t.Fatal(s, fallback, err)
	}
	_, fallback, err = ListenDefault(e, "", SocketOptions{})
	if fallback {
		t.Error("a second one is said to have listened")
	}
	says(t, "a server on the fallback", err, "cannot listen on "+closed, "another server")
	_ = s.Close(true)
	for what, listen := range map[string]func() (*Socket, bool, error){
		"the flag": func() (*Socket, bool, error) { return ListenDefault(e, closed+"/s", SocketOptions{}) },
		"the variable": func() (*Socket, bool, error) {
			return ListenDefault(env(nobody, "ZINIT_SOCKET", closed+"/s"), "", SocketOptions{})
		},
	} {
		s, fallback, err := listen()
		if s != nil || fallback {
			t.Errorf("%s: %v", what, s)
		}
		says(t, what, err, "cannot listen on "+closed+"/s")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, fallback, err = ListenDefault(env(nobody, "XDG_RUNTIME_DIR", file), "", SocketOptions{})
	if s != nil || fallback {
		t.Errorf("a file in place of the directory: %v", s)
	}
	says(t, "a file in place of the directory", err, "cannot create its directory")
}

// TestTrusted: a private directory below a shared one counts only when it is this user's.
func TestTrusted(t *testing.T) {
	need.Root(t)
	for _, base := range []string{"/tmp", "/dev/shm"} {
		e := env(nobody)
		dir := e.privateDir(base)
		path := filepath.Join(dir, "zinit.sock")
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if !e.trusted(path) {
			t.Errorf("%s: is not there", dir)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if e.trusted(path) {
			t.Errorf("%s: is root's", dir)
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if !e.trusted(path) {
			t.Errorf("%s: is its own", dir)
		}
	}
}

// TestDialDefaultOrder: which of several servers and errors it is.
func TestDialDefaultOrder(t *testing.T) {
	home := t.TempDir()
	reachable(t, home)
	t.Setenv("HOME", home)
	for _, key := range []string{"ZINIT_SOCKET", "XDG_RUNTIME_DIR"} {
		t.Setenv(key, "")
	}
	server := serveFake(t, newFake("a"), ServerOptions{})
	e := env(nobody)
	shared := []string{e.privateDir("/tmp"), e.privateDir("/dev/shm")}
	for _, dir := range shared {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	dial := func(flag string) (string, error) {
		client, err := DialDefault(t.Context(), flag)
		if err != nil {
			return "", err
		}
		_ = client.Close()
		return client.Socket(), nil
	}
	old := filepath.Join(home, "hero", "var", "zinit.sock")
	asOther(t, func() {
		_, err := dial("")
		says(t, "nothing at all", err, "cannot connect to "+shared[0]+"/zinit.sock: no such file")
	})
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	deadAt(t, old)
	if err := os.Chmod(old, 0o777); err != nil {
		t.Fatal(err)
	}
	asOther(t, func() {
		_, err := dial("")
		says(t, "one that is there and refuses", err, "cannot connect to "+old+": connection refused")
	})
	ownDir := shared[1]
	if err := os.Mkdir(ownDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(ownDir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	deadAt(t, filepath.Join(ownDir, "zinit.sock"))
	if err := os.Chmod(filepath.Join(ownDir, "zinit.sock"), 0o777); err != nil {
		t.Fatal(err)
	}
	asOther(t, func() {
		_, err := dial("")
		says(t, "two that refuse", err, "cannot connect to "+ownDir+"/zinit.sock: connection refused")
	})
	if err := os.RemoveAll(ownDir); err != nil {
		t.Fatal(err)
	}
	// Root's server, in a directory that bears the user's name.
	for _, dir := range shared {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	trap := filepath.Join(shared[0], "zinit.sock")
	if err := os.Chmod(server.path, 0o777); err != nil {
		t.Fatal(err)
	}
	listener := listenIn(t, server, trap)
	defer listener.Close()
	asOther(t, func() {
		_, err := dial("")
		says(t, "a directory of another user's", err, "cannot connect to "+old+": connection refused")
		if path, err := dial(trap); err != nil || path != trap {
			t.Errorf("the same by its name: %v", err)
		}
	})
	t.Setenv("HOME", "")
	asOther(t, func() {
		_, err := dial("")
		says(t, "others' directories only", err, "cannot connect to "+trap+": its directory belongs to another user")
	})
}

// listenIn lets a server listen on one more path, for everybody.
func listenIn(t *testing.T, server *running, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	return l
}

// TestFirstUsersSocketsByAllNames: where the server of process 1's user is looked for, and where nothing is.
func TestFirstUsersSocketsByAllNames(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	process1 := func(status, cmdline, environ string) string {
		t.Helper()
		proc := t.TempDir()
		if err := os.Mkdir(filepath.Join(proc, "1"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"status": status, "cmdline": cmdline, "environ": environ} {
			if err := os.WriteFile(filepath.Join(proc, "1", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return proc
	}
	socket := func(path string, uid int) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		deadAt(t, path)
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own, roots := socket(filepath.Join(dir, "own"), nobody), socket(filepath.Join(dir, "roots"), 0)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, nobody, -1); err != nil {
		t.Fatal(err)
	}
	runtimeDir := filepath.Join(dir, "runtime")
	session := socket(filepath.Join(runtimeDir, "zinit.sock"), nobody)
	usual := "/run/user/" + strconv.Itoa(nobody) + "/zinit.sock"
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(usual)) })
	socket(usual, nobody)
	user := fmt.Sprintf("Name:\tx\nUid:\t0\t%d\t0\t0\n", nobody)
	for _, c := range []struct {
		what, status, cmdline, environ string
		want                           []string
	}{
		{"--socket=", user, "zinit\x00--socket=" + own + "\x00", "", []string{own, usual}},
		{"-s", user, "zinit\x00-s\x00" + own + "\x00", "", []string{own, usual}},
		{"its runtime directory", user, "zinit\x00", "A=b\x00XDG_RUNTIME_DIR=" + runtimeDir + "\x00", []string{session}},
		{"a file, and root's", user, "zinit\x00-s\x00" + file + "\x00--socket=" + roots, "", []string{usual}},
		{"root's process 1", "Name:\tx\nUid:\t0\t0\t0\t0\n", "zinit\x00-s\x00" + roots + "\x00", "", nil},
		{"half a line", fmt.Sprintf("Name:\tx\nUid:\t%d", nobody), "zinit\x00-s\x00" + own + "\x00", "", nil},
	} {
		e := env(0)
		e.Proc = process1(c.status, c.cmdline, c.environ)
		if got := e.firstUsersSockets(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	proc := process1(user, "zinit\x00-s\x00"+own+"\x00", "")
	t.Chdir(proc)
	other, nowhere, named := env(7), env(0), env(0, "ZINIT_SOCKET", "/x")
	other.Proc, named.Proc = proc, proc
	for what, e := range map[string]Environment{"another user": other, "without proc": nowhere, "with a name": named} {
		if got := e.firstUsersSockets(); len(got) > 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
}
