package rpc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "deep/er/z.sock")
	socket, err := Listen(SocketOptions{Path: path, Mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	_, err = Listen(SocketOptions{Path: path})
	if err == nil || !strings.Contains(err.Error(), "another server (pid "+strconv.Itoa(os.Getpid())+") has "+path+".lock locked") {
		t.Errorf("a second one: %v", err)
	}
	if err := socket.Close(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestListenReplacesDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_, err = Listen(SocketOptions{Path: path})
	if err == nil || !strings.Contains(err.Error(), "a server is running on "+path) {
		t.Errorf("a live server without a lock, as 0.3.9 is: %v", err)
	}
	_ = dead.Close()
	socket, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatalf("a dead socket: %v", err)
	}
	_ = socket.Close(false)
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path went although it was to stay: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "l")
	if err := os.Symlink(file, link+".lock"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{file, "something that is no socket has this name"},
		{dir, "something that is no socket has this name"},
		{filepath.Join(file, "x"), "cannot create its directory"},
		{filepath.Join(dir, strings.Repeat("y", 120)), "at most 107 are possible; name a shorter one with --socket"},
		{link, "too many levels of symbolic links"},
	} {
		socket, err := Listen(SocketOptions{Path: c.path})
		if err == nil {
			_ = socket.Close(true)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "x" {
		t.Errorf("the file was touched: %q %v", text, err)
	}
}

// TestListenRace: of many at the same time exactly one gets the socket.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	var won []*Socket
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			socket, err := Listen(SocketOptions{Path: path})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, socket)
			} else if !strings.Contains(err.Error(), "another server") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d got it", len(won))
	}
	_ = won[0].Close(true)
}

func TestPrivateDir(t *testing.T) {
	base := t.TempDir()
	uid := os.Geteuid()
	dir := filepath.Join(base, "zinit-"+strconv.Itoa(uid))
	socket, err := Listen(SocketOptions{Path: filepath.Join(dir, "zinit.sock")})
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close(true)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", info, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(SocketOptions{Path: filepath.Join(dir, "zinit.sock")}); err == nil || !strings.Contains(err.Error(), "can be written by others (mode 0777)") {
		t.Errorf("writable for others: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(SocketOptions{Path: filepath.Join(dir, "zinit.sock")}); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("a link: %v", err)
	}
	if err := checkPrivate(base, uid+1); err == nil || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("somebody else's: %v", err)
	}
}

func env(uid int, pairs ...string) Environment {
	return Environment{UID: uid, Getenv: func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}, Exists: func(path string) bool { return slices.Contains(pairs, "exists:"+path) }}
}

func TestDefaultPaths(t *testing.T) {
	for _, c := range []struct {
		name          string
		env           Environment
		config, where string
		legacy        bool
		clients       []string
	}{
		{"root", env(0, "HOME", "/root"), "/etc/zinit", "/run/zinit.sock", false,
			[]string{"/run/zinit.sock", "/dev/shm/zinit-0/zinit.sock", "/root/hero/var/zinit.sock"}},
		{"user", env(7, "HOME", "/h", "XDG_RUNTIME_DIR", "/run/user/7"), "/h/.config/zinit", "/run/user/7/zinit.sock", false,
			[]string{"/run/user/7/zinit.sock", "/tmp/zinit-7/zinit.sock", "/dev/shm/zinit-7/zinit.sock", "/h/hero/var/zinit.sock"}},
		{"bare", env(7, "HOME", "/h", "XDG_CONFIG_HOME", "/c"), "/c/zinit", "/tmp/zinit-7/zinit.sock", false,
			[]string{"/tmp/zinit-7/zinit.sock", "/dev/shm/zinit-7/zinit.sock", "/h/hero/var/zinit.sock"}},
		{"variables", env(0, "ZINIT_SOCKET", "/s", "ZINIT_CONFIG_DIR", "/d"), "/d", "/s", false, []string{"/s"}},
		{"0.3.9", env(7, "HOME", "/h", "exists:/h/hero/cfg/zinit", ""), "/h/hero/cfg/zinit", "/tmp/zinit-7/zinit.sock", true,
			[]string{"/tmp/zinit-7/zinit.sock", "/dev/shm/zinit-7/zinit.sock", "/h/hero/var/zinit.sock"}},
		{"both", env(7, "HOME", "/h", "exists:/h/hero/cfg/zinit", "exists:/h/.config/zinit"), "/h/.config/zinit",
			"/tmp/zinit-7/zinit.sock", false,
			[]string{"/tmp/zinit-7/zinit.sock", "/dev/shm/zinit-7/zinit.sock", "/h/hero/var/zinit.sock"}},
	} {
		config, legacy := c.env.ConfigDir()
		if config != c.config || legacy != c.legacy || c.env.SocketPath() != c.where {
			t.Errorf("%s: %s %v %s", c.name, config, legacy, c.env.SocketPath())
		}
		if got := c.env.ClientSockets(""); !slices.Equal(got, c.clients) {
			t.Errorf("%s: clients look at %v", c.name, got)
		}
		if got := c.env.ClientSockets("/flag"); !slices.Equal(got, []string{"/flag"}) {
			t.Errorf("%s: with a flag %v", c.name, got)
		}
	}
}

// Root finds the server of a container whose program is another user's, and nobody else's.
func TestFirstUsersSockets(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: only what finds nothing is tried")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "z.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const user = 4321
	first := func(uid int, owner int) []string {
		proc := t.TempDir()
		if err := os.Mkdir(filepath.Join(proc, "1"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"status":  fmt.Sprintf("Name:\tzinit\nUid:\t%d\t%d\t%d\t%d\nGid:\t0\n", uid, uid, uid, uid),
			"cmdline": "zinit\x00pid1\x00--socket\x00" + socket + "\x00",
		} {
			if err := os.WriteFile(filepath.Join(proc, "1", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(socket, owner, -1); err != nil && os.Getuid() == 0 {
			t.Fatal(err)
		}
		e := env(0)
		e.Proc = proc
		return e.firstUsersSockets()
	}
	if got := first(user, user); os.Getuid() == 0 && !slices.Equal(got, []string{socket}) {
		t.Errorf("the container's user: %v", got)
	}
	if got := first(0, user); len(got) > 0 {
		t.Errorf("a machine, where process 1 is root's: %v", got)
	}
	if got := first(user+1, user); len(got) > 0 {
		t.Errorf("a socket of a third user: %v", got)
	}
}

func TestListenDefault(t *testing.T) {
	dir := t.TempDir()
	where := filepath.Join(dir, "run")
	socket, fallback, err := ListenDefault(env(os.Geteuid(), "ZINIT_SOCKET", where), "", SocketOptions{})
	if err != nil || fallback || socket.Path != where {
		t.Fatal(socket, fallback, err)
	}
	_ = socket.Close(true)
	other := filepath.Join(dir, "flag")
	socket, fallback, err = ListenDefault(env(os.Geteuid(), "ZINIT_SOCKET", where), other, SocketOptions{})
	if err != nil || fallback || socket.Path != other {
		t.Fatal(socket, fallback, err)
	}
	_ = socket.Close(true)
	for _, err := range []error{syscall.EROFS, syscall.EACCES, os.ErrPermission} {
		if !notWritable(err) {
			t.Errorf("%v is a reason for the fallback", err)
		}
	}
	if notWritable(syscall.EADDRINUSE) || notWritable(errors.New("another server")) {
		t.Error("a running server is no reason for the fallback")
	}
}

func TestDialDefault(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	client, err := DialDefault(t.Context(), server.path)
	if err != nil || client.Socket() != server.path {
		t.Fatal(client, err)
	}
	_ = client.Close()
	t.Setenv("ZINIT_SOCKET", filepath.Join(t.TempDir(), "none"))
	var lost *TransportError
	if _, err := DialDefault(t.Context(), ""); !errors.As(err, &lost) {
		t.Error(err)
	}
	t.Setenv("ZINIT_SOCKET", server.path)
	if client, err = DialDefault(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
}

// TestRestore: a deleted socket is made anew with its mode, a deleted lock is taken again, and what somebody else has put
// into its place is left alone.
func TestRestore(t *testing.T) {
	o := SocketOptions{Path: filepath.Join(t.TempDir(), "run", "s"), Mode: 0o640}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(true) }()
	for _, gone := range [][]string{nil, {s.Path}, {s.Path, s.Path + ".lock"}, {filepath.Dir(s.Path)}} {
		for _, path := range gone {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		old, err := s.Restore(o)
		if err != nil || (old != nil) != (gone != nil) {
			t.Fatalf("without %v: %v, %v", gone, old, err)
		}
		info, err := os.Lstat(s.Path)
		if err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o640 {
			t.Errorf("without %v: %v %v", gone, info.Mode(), err)
		}
		if _, err := Listen(o); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Errorf("without %v: another server may listen: %v", gone, err)
		}
		if old != nil {
			_ = old.Close()
		}
	}
	if err := os.Remove(s.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if old, err := s.Restore(o); old != nil || err == nil || !strings.Contains(err.Error(), "replaced by something else") {
		t.Errorf("%v, %v", old, err)
	}
	if b, _ := os.ReadFile(s.Path); string(b) != "mine" {
		t.Errorf("somebody else's file has %q now", b)
	}
	_ = s.Close(true)
	if old, err := s.Restore(o); old != nil || err != nil {
		t.Errorf("after Close: %v, %v", old, err)
	}
}
