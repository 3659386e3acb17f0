package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxSocketPath is what fits into sun_path with its closing zero, in bytes.
const maxSocketPath = 107

// Environment is what default paths depend on; tests give their own.
type Environment struct {
	UID    int
	Proc   string // where proc(5) is mounted, "" = nowhere
	Getenv func(string) string
	Exists func(path string) bool
}

// System is the environment of this process.
func System() Environment {
	return Environment{UID: os.Geteuid(), Proc: "/proc", Getenv: os.Getenv, Exists: func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}}
}

// ConfigDir returns the configuration directory where no flag names one: ZINIT_CONFIG_DIR, else /etc/zinit for root and
// $XDG_CONFIG_HOME/zinit (by default ~/.config/zinit) for others. legacy is true when that does not exist and 0.3.9's
// $HOME/hero/cfg/zinit is used because it does; the caller says so.
func (e Environment) ConfigDir() (dir string, legacy bool) {
	if dir = e.Getenv("ZINIT_CONFIG_DIR"); dir != "" {
		return dir, false
	}
	home := e.Getenv("HOME")
	switch xdg := e.Getenv("XDG_CONFIG_HOME"); {
	case e.UID == 0:
		dir = "/etc/zinit"
	case xdg != "":
		dir = filepath.Join(xdg, "zinit")
	default:
		dir = filepath.Join(home, ".config", "zinit")
	}
	if old := filepath.Join(home, "hero", "cfg", "zinit"); home != "" && !e.Exists(dir) && e.Exists(old) {
		return old, true
	}
	return dir, false
}

// StateDir returns where the server keeps what must outlive it, "" where there is no place: ZINIT_STATE_DIR, else
// /var/lib/zinit for root and $XDG_STATE_HOME/zinit (by default ~/.local/state/zinit) for others.
func (e Environment) StateDir() string {
	home, xdg := e.Getenv("HOME"), e.Getenv("XDG_STATE_HOME")
	switch dir := e.Getenv("ZINIT_STATE_DIR"); {
	case dir != "":
		return dir
	case e.UID == 0:
		return "/var/lib/zinit"
	case xdg != "":
		return filepath.Join(xdg, "zinit")
	case home != "":
		return filepath.Join(home, ".local", "state", "zinit")
	}
	return ""
}

// SocketPath returns where a server listens when no flag says so: ZINIT_SOCKET, else /run/zinit.sock for root, else
// $XDG_RUNTIME_DIR/zinit.sock, else /tmp/zinit-UID/zinit.sock (whose directory must be checked: PrepareSocketDir).
func (e Environment) SocketPath() string {
	if path := e.Getenv("ZINIT_SOCKET"); path != "" {
		return path
	}
	return e.defaultSocket()
}

func (e Environment) defaultSocket() string {
	if e.UID == 0 {
		return "/run/zinit.sock"
	}
	if dir := e.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "zinit.sock")
	}
	return filepath.Join(e.privateDir("/tmp"), "zinit.sock")
}

// privateDir is a directory of this user's own below a shared one.
func (e Environment) privateDir(base string) string {
	return filepath.Join(base, "zinit-"+strconv.Itoa(e.UID))
}

// FallbackSocket is where a server listens when the directory of SocketPath cannot be written (a read-only root).
func (e Environment) FallbackSocket() string {
	return filepath.Join(e.privateDir("/dev/shm"), "zinit.sock")
}

// ClientSockets returns where a client looks for a server, in order. flag is the value of --socket; with it, or with
// ZINIT_SOCKET, there is only that one. Else: the server's default, its fallbacks, and last 0.3.9's
// $HOME/hero/var/zinit.sock. Another user's server is never taken by accident.
func (e Environment) ClientSockets(flag string) []string {
	if flag != "" {
		return []string{flag}
	}
	if path := e.Getenv("ZINIT_SOCKET"); path != "" {
		return []string{path}
	}
	paths := []string{e.defaultSocket()}
	if e.UID != 0 {
		paths = append(paths, filepath.Join(e.privateDir("/tmp"), "zinit.sock"))
	}
	paths = append(paths, e.FallbackSocket())
	if home := e.Getenv("HOME"); home != "" {
		paths = append(paths, filepath.Join(home, "hero", "var", "zinit.sock"))
	}
	return unique(paths)
}

func unique(paths []string) []string {
	seen := map[string]bool{}
	kept := paths[:0]
	for _, path := range paths {
		if !seen[path] {
			seen[path] = true
			kept = append(kept, path)
		}
	}
	return kept
}

// DialDefault connects to the first server that answers at ClientSockets(flag) of this process. When none does, the
// error is the first socket's, or the one that exists and refuses.
func DialDefault(ctx context.Context, flag string, options ...Option) (*Client, error) {
	env := System()
	paths := env.ClientSockets(flag)
	var failure error
	for _, path := range paths {
		if flag == "" && !env.trusted(path) {
			continue
		}
		client, err := Dial(ctx, path, options...)
		if err == nil {
			return client, nil
		}
		if failure == nil || (!errors.Is(err, os.ErrNotExist) && errors.Is(failure, os.ErrNotExist)) {
			failure = err
		}
	}
	if flag == "" {
		for _, path := range env.firstUsersSockets() {
			if client, err := Dial(ctx, path, options...); err == nil {
				return client, nil
			}
		}
	}
	if failure == nil {
		failure = &TransportError{Socket: paths[0], Op: "connect", Err: errors.New("its directory belongs to another user")}
	}
	return nil, failure
}

// firstUsersSockets are those of the user whom process 1 runs as, where that is neither root nor this one, and this one is
// root: of the container whose program is another user's, which root looks into (docker exec). On a machine process 1 is
// root's, and no other user's server is ever taken for the machine's.
func (e Environment) firstUsersSockets() []string {
	if e.UID != 0 || e.Proc == "" || e.Getenv("ZINIT_SOCKET") != "" {
		return nil
	}
	status, _ := os.ReadFile(filepath.Join(e.Proc, "1", "status"))
	_, uids, _ := bytes.Cut(status, []byte("\nUid:"))
	uid := 0
	if fields := bytes.Fields(uids); len(fields) > 1 { // real, effective, …
		uid, _ = strconv.Atoi(string(fields[1]))
	}
	if uid <= 0 {
		return nil
	}
	first := Environment{UID: uid, Getenv: func(key string) string { return valueOf(e.words("environ"), key+"=") }}
	line := e.words("cmdline")
	paths := []string{valueOf(line, "--socket="), wordAfter(line, "--socket"), wordAfter(line, "-s")}
	if first.Getenv("XDG_RUNTIME_DIR") == "" { // it may not be ours to read
		paths = append(paths, "/run/user/"+strconv.Itoa(uid)+"/zinit.sock")
	}
	paths = append(paths, first.ClientSockets("")...)
	return slices.DeleteFunc(unique(paths), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.Mode().Type() != os.ModeSocket || ownerOf(info) != uid
	})
}

// words are the zero-terminated ones of a file of process 1, none where it cannot be read.
func (e Environment) words(name string) []string {
	text, _ := os.ReadFile(filepath.Join(e.Proc, "1", name))
	return strings.Split(string(text), "\x00")
}

// valueOf is what follows a prefix in the first word that has it.
func valueOf(words []string, prefix string) string {
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, prefix); ok {
			return value
		}
	}
	return ""
}

// wordAfter is the word after the first one that is word.
func wordAfter(words []string, word string) string {
	if i := slices.Index(words, word); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// trusted refuses a private directory below /tmp or /dev/shm that another user has made.
func (e Environment) trusted(path string) bool {
	dir := filepath.Dir(path)
	if dir != e.privateDir("/tmp") && dir != e.privateDir("/dev/shm") {
		return true
	}
	err := checkPrivate(dir, e.UID)
	return err == nil || errors.Is(err, os.ErrNotExist)
}

// checkPrivate reports why dir is not a directory that only uid can change.
func checkPrivate(dir string, uid int) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case ownerOf(info) != uid:
		return fmt.Errorf("%s belongs to user %d, not to user %d", dir, ownerOf(info), uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others (mode %04o); remove it or: chmod 0700 %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}
