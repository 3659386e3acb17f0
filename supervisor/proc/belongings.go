package proc

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Belongings are what is made for services beside their processes: the directories of runtime_dir
// and its siblings, and the copies of their credentials. Methods are safe for concurrent use.
type Belongings struct {
	places      [graph.NDirs]string // "" = this user has none
	credentials string

	mu sync.Mutex
	of map[string]*belonging
}

// belonging is what one service has.
type belonging struct {
	mu   sync.Mutex // held while something is made or removed, which may take long
	made atomic.Pointer[made]
}

// made says for which incarnation something was made last, so that clearing after the one before
// comes too late to take it away, and by which definition.
type made struct {
	gen    uint64
	config *graph.Config
}

// credentialMax bounds a credential, as systemd does; secretMax a value of env_from_file: the
// kernel takes no longer string of an environment (MAX_ARG_STRLEN).
const (
	credentialMax = 1 << 20
	secretMax     = 128 << 10
)

// NewBelongings finds the places of the server's user: those of systemd's system and user services.
// env is the server's environment; its ZINIT_SOCKET tells the credentials of several servers of one
// user apart.
func NewBelongings(env []string) *Belongings {
	b := &Belongings{of: map[string]*belonging{}}
	if os.Geteuid() == 0 {
		b.places = [graph.NDirs]string{"/run", "/var/lib", "/var/cache", "/var/log"}
	} else {
		home, _ := Getenv(env, "HOME")
		place := func(variable, below string) string {
			if dir, _ := Getenv(env, variable); filepath.IsAbs(dir) {
				return dir
			}
			if below == "" || !filepath.IsAbs(home) {
				return ""
			}
			return filepath.Join(home, below)
		}
		state := place("XDG_STATE_HOME", ".local/state")
		b.places = [graph.NDirs]string{
			place("XDG_RUNTIME_DIR", ""), state, place("XDG_CACHE_HOME", ".cache"), ""}
		if state != "" {
			b.places[graph.DirLogs] = filepath.Join(state, "log")
		}
	}
	if b.places[graph.DirRuntime] != "" {
		socket, _ := Getenv(env, "ZINIT_SOCKET")
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(socket))
		b.credentials = filepath.Join(b.places[graph.DirRuntime], "zinit", "credentials",
			strconv.FormatUint(uint64(hash.Sum32()), 16))
	}
	return b
}

// dirVariables are what a service reads its directories from (systemd.exec(5)).
var dirVariables = [graph.NDirs]string{
	"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY"}

// Environ returns the variables that name c's belongings, several of a kind with colons between.
func (b *Belongings) Environ(c *graph.Config) []string {
	var env []string
	for kind, dir := range c.Dirs {
		if len(dir.Names) == 0 {
			continue
		}
		paths := make([]string, len(dir.Names))
		for i, name := range dir.Names {
			paths[i] = filepath.Join(b.places[kind], name)
		}
		env = append(env, dirVariables[kind]+"="+strings.Join(paths, ":"))
	}
	if len(c.Credentials) > 0 {
		env = append(env, "CREDENTIALS_DIRECTORY="+filepath.Join(b.credentials, c.Name))
	}
	return env
}

// missingPlaces say what the server of a user other than root lacks.
var missingPlaces = [graph.NDirs]string{
	"XDG_RUNTIME_DIR is not set in the server's environment",
	"neither HOME nor XDG_STATE_HOME is set in the server's environment",
	"neither HOME nor XDG_CACHE_HOME is set in the server's environment",
	"neither HOME nor XDG_STATE_HOME is set in the server's environment",
}

// has reports whether anything is to be made for a service.
func has(c *graph.Config) bool {
	return len(c.Credentials) > 0 ||
		slices.ContainsFunc(c.Dirs[:], func(d graph.Dir) bool { return len(d.Names) > 0 })
}

// Make makes what incarnation gen of a service needs, unless that was done for it already. It reads
// and writes files, so it may block: call it from a worker. The error's step is the key.
func (b *Belongings) Make(c *graph.Config, gen uint64) *Error {
	if !has(c) {
		return nil
	}
	mine := b.belonging(c.Name)
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if was := mine.made.Load(); was != nil && was.gen == gen {
		return nil
	}
	cred, err := ResolveIdentity(&c.Identity)
	if err != nil {
		return err
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if cred != nil {
		uid, gid = cred.UID, cred.GID
	}
	for kind, dir := range c.Dirs {
		for _, name := range dir.Names {
			step := graph.DirKind(kind).String()
			if b.places[kind] == "" {
				return failf(step, 0, "cannot make the %s %s: %s", step, name, missingPlaces[kind])
			}
			if err := makeBelow(b.places[kind], name, uid, gid, dir.Mode); err != nil {
				return failf(step, errnoOf(err), "cannot make the %s %s: %v", step,
					filepath.Join(b.places[kind], name), err)
			}
		}
	}
	if err := b.copyCredentials(c, uid, gid); err != nil {
		return err
	}
	mine.made.Store(&made{gen, c})
	return nil
}

func (b *Belongings) belonging(service string) *belonging {
	b.mu.Lock()
	defer b.mu.Unlock()
	mine := b.of[service]
	if mine == nil {
		mine = &belonging{}
		b.of[service] = mine
	}
	return mine
}

// Clear returns a function that takes away what does not outlive a service: its credentials, and
// unless keepDirs says otherwise its runtime directories; nil when there is nothing. c is its
// definition, which counts where another server has made them. The function may block; it does
// nothing once something was made for a later incarnation than that of this call.
func (b *Belongings) Clear(c *graph.Config, keepDirs bool) (clear func() error) {
	mine := b.belonging(c.Name)
	was := mine.made.Load()
	if was != nil {
		c = was.config
	}
	if !has(c) {
		return nil
	}
	return func() error {
		mine.mu.Lock()
		defer mine.mu.Unlock()
		if mine.made.Load() != was {
			return nil
		}
		mine.made.Store(nil)
		var errs []error
		if len(c.Credentials) > 0 {
			errs = append(errs, removeBelow(b.credentials, c.Name))
		}
		for _, name := range c.Dirs[graph.DirRuntime].Names {
			if !keepDirs {
				errs = append(errs, removeBelow(b.places[graph.DirRuntime], name))
			}
		}
		return errors.Join(errs...)
	}
}

// Sweep takes away the credentials of all services but those that run: a server before this one was
// killed.
func (b *Belongings) Sweep(runs func(service string) bool) {
	if b.credentials == "" {
		return
	}
	found, _ := os.ReadDir(b.credentials)
	for _, entry := range found {
		if !runs(entry.Name()) {
			_ = removeBelow(b.credentials, entry.Name())
		}
	}
}

// copyCredentials makes a fresh directory with the files: nobody but the service's user, and root,
// may look into it.
func (b *Belongings) copyCredentials(c *graph.Config, uid, gid int) *Error {
	if len(c.Credentials) == 0 {
		return nil
	}
	const step = StepCredentials
	if b.credentials == "" {
		return failf(step, 0, "cannot keep credentials: XDG_RUNTIME_DIR is not set")
	}
	dir := filepath.Join(b.credentials, c.Name)
	failed := func(err error) *Error {
		return failf(step, errnoOf(err), "cannot make the credentials directory %s: %v", dir, cause(err))
	}
	give := func(path string) error {
		if uid == os.Geteuid() && gid == os.Getegid() {
			return nil
		}
		return os.Lchown(path, uid, gid)
	}
	if err := os.MkdirAll(b.credentials, 0o711); err != nil {
		return failed(err)
	}
	if err := removeBelow(b.credentials, c.Name); err != nil {
		return failed(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return failed(err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Credentials)) {
		data, problem := readCredential(c, name)
		if problem != nil {
			return problem
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o400); err != nil {
			return failed(err)
		}
		if err := give(path); err != nil {
			return failed(err)
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		return failed(err)
	}
	if err := give(dir); err != nil {
		return failed(err)
	}
	return nil
}

// readCredential reads what a credential is copied from.
func readCredential(c *graph.Config, name string) ([]byte, *Error) {
	from := c.Credentials[name]
	data, err := readSmall(from, credentialMax)
	if err != nil {
		return nil, failf(StepCredentials, errnoOf(err), "cannot read the credential %s from %s: %v",
			name, from, cause(err))
	}
	return data, nil
}

// removeBelow removes name and everything in it; no symbolic link leads it out of place.
func removeBelow(place, name string) error {
	root, err := os.OpenRoot(place)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	_ = root.Chmod(name, 0o700) // not everybody may empty what may not be written
	return root.RemoveAll(name)
}

// makeBelow makes a directory below a place, with what is above it, and gives it its owner and
// mode. One that is there keeps what is in it; where it belongs to somebody else everything in it
// gets the new owner too, as systemd does it. A symbolic link counts only if this server's user
// made it: another could point anywhere.
func makeBelow(place, name string, uid, gid int, mode uint32) error {
	if err := os.MkdirAll(place, 0o755); err != nil {
		return err
	}
	at, err := unix.Open(place, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	for part := range strings.SplitSeq(name, "/") {
		if err := unix.Mkdirat(at, part, 0o755); err != nil && err != unix.EEXIST {
			return err
		}
		next, err := openDir(at, part)
		if err != nil {
			return err
		}
		unix.Close(at)
		at = next
	}
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if st.Mode&0o7777 != mode {
		if err := unix.Fchmod(at, mode); err != nil {
			return err
		}
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	if err := chownBelow(at, uid, gid, 0); err != nil {
		return err
	}
	return unix.Fchown(at, uid, gid)
}

// openDir opens a directory by its name in another.
func openDir(at int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := unix.Openat(at, name, flags|unix.O_NOFOLLOW, 0)
	var st unix.Stat_t
	if err == nil || unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return fd, err
	}
	if int(st.Uid) != os.Geteuid() {
		return -1, fmt.Errorf("%s is a symbolic link of user %d", name, st.Uid)
	}
	return unix.Openat(at, name, flags, 0)
}

// chownBelow gives everything in a directory to somebody, following no links.
func chownBelow(at, uid, gid, depth int) error {
	if depth > dirDepthMax {
		return fmt.Errorf("more than %d directories lie in each other", dirDepthMax)
	}
	again, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(again), ".")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if err := unix.Fchownat(at, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
			below, err := unix.Openat(at, name, flags, 0)
			if err != nil {
				continue // no directory
			}
			err = chownBelow(below, uid, gid, depth+1)
			unix.Close(below)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err != nil || len(names) == 0 {
			return nil
		}
	}
}

// dirDepthMax bounds how deep chownBelow goes; each level costs two descriptors.
const dirDepthMax = 100

// addSecrets sets the variables of env_from_file. Newlines at the end of a file are not part of the
// value, as in a shell's $(cat FILE). An error says nothing of what stands in the file.
func (e *environment) addSecrets(c *graph.Config) *Error {
	for _, name := range slices.Sorted(maps.Keys(c.EnvFromFile)) {
		path := c.EnvFromFile[name]
		data, err := readSmall(path, secretMax)
		if err == nil && slices.Contains(data, 0) {
			err = errNUL
		}
		if err != nil {
			return failf(StepEnvFromFile, errnoOf(err), "cannot set %s from %s: %v", name, path, cause(err))
		}
		e.set(name, strings.TrimRight(string(data), "\r\n"))
	}
	return nil
}
