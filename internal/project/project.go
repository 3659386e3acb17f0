// Package project finds the project that a directory belongs to: a zinit.toml with services in it, or a directory .zinit, with a
// server of its own whose socket and state have a place and a name that follow from the directory.
package project

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph/confdir"
)

// Hidden is the directory of files that makes the one it stands in a project, as a zinit.toml with services does.
const Hidden = ".zinit"

const (
	maxSlug   = 20  // bytes of the directory's name in that of the project
	hashBytes = 4   // of the hash of its path
	maxSocket = 107 // what fits into sun_path with its closing zero, in bytes
)

// origin is the file beside the socket that says which directory it is for.
const origin = "directory"

// Project is a directory with services of its own.
type Project struct {
	Dir     string   // absolute, without links
	Configs []string // what a server of it loads
	Name    string   // of the directory, and unique: "shop-1f2e3d4c"
	Runtime string   // directory of the socket
}

// Socket is where the server of the project listens.
func (p *Project) Socket() string { return filepath.Join(p.Runtime, "zinit.sock") }

// System is the user and the environment that Find goes by; tests give their own.
type System struct {
	UID       int
	Getenv    func(string) string
	ConfigDir string // of the server that is no project's: it is no project itself
}

// Ours is the system of this process, with the directory of its default configuration.
func Ours(configDir string) System {
	return System{UID: os.Geteuid(), Getenv: os.Getenv, ConfigDir: configDir}
}

// Found is what Find has found; both are zero where there is no project.
type Found struct {
	Project *Project
	// Foreign is a directory that would be the project, but belongs to another user.
	Foreign string
}

// Find looks upwards from a directory. What belongs to another user, who is not root, is nobody's project; anyone lets it be one.
func (s System) Find(dir string, anyone bool) (Found, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Found{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return Found{}, err
	}
	var found Found
	for ; ; dir = filepath.Dir(dir) {
		configs, owners := configsOf(dir)
		switch {
		case len(configs) == 0 || dir == s.ConfigDir:
		case anyone || s.mayUse(owners):
			found.Project = s.project(dir, configs)
			return found, nil
		case found.Foreign == "":
			found.Foreign = dir
		}
		if dir == filepath.Dir(dir) {
			return found, nil
		}
	}
}

// configsOf is what a server of dir would load, none where it is no project, and who owns it.
func configsOf(dir string) (configs []string, owners []int) {
	hidden := filepath.Join(dir, Hidden)
	var stat unix.Stat_t
	if unix.Stat(hidden, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		configs, owners = append(configs, hidden), append(owners, int(stat.Uid))
	}
	if file := filepath.Join(dir, confdir.ProjectFile); unix.Stat(file, &stat) == nil && confdir.IsProject(dir) {
		configs, owners = append(configs, dir), append(owners, int(stat.Uid))
	}
	return configs, owners
}

func (s System) mayUse(owners []int) bool {
	for _, uid := range owners {
		if uid != 0 && uid != s.UID {
			return false
		}
	}
	return true
}

func (s System) project(dir string, configs []string) *Project {
	p := &Project{Dir: dir, Configs: configs, Name: nameOf(dir)}
	for _, base := range s.bases() {
		p.Runtime = filepath.Join(base, p.Name)
		if len(p.Socket()) <= maxSocket {
			break
		}
	}
	return p
}

// nameOf is short enough for a socket's path, and another one for each directory.
func nameOf(dir string) string {
	slug := strings.TrimLeft(strings.Map(func(c rune) rune {
		if c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '-'
	}, filepath.Base(dir)), ".-")
	sum := sha256.Sum256([]byte(dir))
	return slug[:min(len(slug), maxSlug)] + "-" + hex.EncodeToString(sum[:hashBytes])
}

// bases are the directories that those of the projects stand in: the first is used, the second where a path would be too long.
func (s System) bases() []string {
	private := filepath.Join("/tmp", "zinit-"+strconv.Itoa(s.UID))
	if xdg := s.Getenv("XDG_RUNTIME_DIR"); xdg != "" && owned(xdg, s.UID) {
		return []string{filepath.Join(xdg, "zinit"), private}
	}
	if s.UID == 0 {
		return []string{"/run/zinit", private}
	}
	return []string{private}
}

func owned(dir string, uid int) bool {
	var stat unix.Stat_t
	return unix.Stat(dir, &stat) == nil && int(stat.Uid) == uid
}

// Has reports whether a socket is that of a project.
func (s System) Has(socket string) bool {
	for _, base := range s.bases() {
		if filepath.Dir(filepath.Dir(socket)) == base && filepath.Base(socket) == "zinit.sock" {
			return true
		}
	}
	return false
}

// List lists the projects that have a place for their socket; which of them run is told by who answers there.
func (s System) List() (list []*Project) {
	for _, base := range s.bases() {
		entries, err := os.ReadDir(base)
		if err != nil || checkPrivate(base, s.UID) != nil {
			continue
		}
		for _, e := range entries {
			place := filepath.Join(base, e.Name())
			if dir, err := os.ReadFile(filepath.Join(place, origin)); err == nil {
				list = append(list, &Project{Dir: strings.TrimSuffix(string(dir), "\n"), Name: e.Name(), Runtime: place})
			}
		}
	}
	return list
}

// Prepare makes the directory of the socket, which only this user may enter, and notes which project it is for.
func (p *Project) Prepare(uid int) error {
	if err := os.MkdirAll(p.Runtime, 0o700); err != nil {
		return fmt.Errorf("cannot make a place for the socket of project %s: %w", p.Dir, err)
	}
	for _, dir := range []string{filepath.Dir(p.Runtime), p.Runtime} {
		if err := checkPrivate(dir, uid); err != nil {
			return fmt.Errorf("cannot use %s for the socket of project %s: %w", dir, p.Dir, err)
		}
	}
	return os.WriteFile(filepath.Join(p.Runtime, origin), []byte(p.Dir+"\n"), 0o600)
}

// checkPrivate reports why dir is not one that only uid can change.
func checkPrivate(dir string, uid int) error {
	var stat unix.Stat_t
	switch err := unix.Lstat(dir, &stat); {
	case err != nil:
		return err
	case stat.Mode&unix.S_IFMT != unix.S_IFDIR:
		return errors.New("it is no directory")
	case int(stat.Uid) != uid:
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	case stat.Mode&0o022 != 0:
		return fmt.Errorf("others can write it (chmod 0700 %s)", dir)
	}
	return nil
}
