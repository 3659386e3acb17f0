// Package initramfs builds the archive that a Linux kernel unpacks as its first root: files, directories, links and device
// nodes in a cpio archive of the newc format. The same input gives the same bytes: entries are sorted, owners are root,
// times and inode numbers do not come from the disk.
package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// kind is what an entry is.
type kind uint8

const (
	kindDir kind = iota
	kindFile
	kindSymlink
	kindDevice
)

// The type bits of a mode, as the archive has them.
var typeBits = map[kind]uint32{kindDir: 0o040000, kindFile: 0o100000, kindSymlink: 0o120000, kindDevice: 0o020000}

// entry is one path of the archive.
type entry struct {
	kind         kind
	mode         uint32 // permission bits
	source       string // kindFile: the file on disk whose content it has, "" = data
	data         []byte // kindFile without source; kindSymlink: the target
	size         int64
	major, minor uint32 // kindDevice
}

// Tree is the content of an archive that is being put together. Paths in it are absolute and clean.
type Tree struct {
	entries map[string]*entry
	scripts []script

	// Warnings are what the caller should show: nothing that stops the archive from being made, but what may be missing.
	Warnings []string
}

// New returns a tree with nothing but its root.
func New() *Tree { return &Tree{entries: map[string]*entry{}} }

// Len is how many entries the tree has.
func (t *Tree) Len() int { return len(t.entries) }

// Paths returns the paths of all entries, sorted.
func (t *Tree) Paths() []string {
	paths := make([]string, 0, len(t.entries))
	for p := range t.entries {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

func (t *Tree) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(t.Warnings, text) {
		t.Warnings = append(t.Warnings, text)
	}
}

// maxLinks bounds the symbolic links that are followed inside the tree.
const maxLinks = 40

// place returns where p really stands in the tree: its directories may be links there.
func (t *Tree) place(p string) (string, error) {
	p = path.Clean("/" + p)
	for range maxLinks {
		resolved, again := t.stepLink(p)
		if !again {
			return p, nil
		}
		p = resolved
	}
	return "", fmt.Errorf("cannot add %s: too many links in its path", p)
}

// stepLink replaces the first directory of p that is a link in the tree.
func (t *Tree) stepLink(p string) (string, bool) {
	for i := 1; i < len(p); i++ {
		if p[i] != '/' {
			continue
		}
		e := t.entries[p[:i]]
		if e == nil || e.kind != kindSymlink {
			continue
		}
		target := string(e.data)
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(p[:i]), target)
		}
		return path.Join("/", target, p[i:]), true
	}
	return p, false
}

// put adds an entry, with the directories above it. What stands there is replaced, but a directory stays one.
func (t *Tree) put(p string, e *entry) error {
	p, err := t.place(p)
	if err != nil {
		return err
	}
	if p == "/" {
		return nil
	}
	if old := t.entries[p]; old != nil && (old.kind == kindDir) != (e.kind == kindDir) {
		if e.kind == kindDir && old.kind == kindSymlink {
			return nil // a link to a directory will do
		}
		return fmt.Errorf("cannot add %s: it is a directory in one place and none in another", p)
	}
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if above := t.entries[dir]; above == nil {
			t.entries[dir] = &entry{kind: kindDir, mode: 0o755}
		} else if above.kind != kindDir {
			return fmt.Errorf("cannot add %s: %s is no directory", p, dir)
		}
	}
	t.entries[p] = e
	return nil
}

// Dir adds a directory with permission bits mode.
func (t *Tree) Dir(p string, mode uint32) error { return t.put(p, &entry{kind: kindDir, mode: mode}) }

// Symlink adds a symbolic link.
func (t *Tree) Symlink(p, target string) error {
	return t.put(p, &entry{kind: kindSymlink, mode: 0o777, data: []byte(target)})
}

// Device adds a character device.
func (t *Tree) Device(p string, mode, major, minor uint32) error {
	return t.put(p, &entry{kind: kindDevice, mode: mode, major: major, minor: minor})
}

// Data adds a file with the given content.
func (t *Tree) Data(p string, mode uint32, data []byte) error {
	return t.put(p, &entry{kind: kindFile, mode: mode, data: data, size: int64(len(data))})
}

// Base adds what every image needs: mount points and the device nodes without which a Go program cannot start.
func (t *Tree) Base() error {
	var errs []error
	for _, dir := range []string{"bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "usr", "var", "var/log"} {
		errs = append(errs, t.Dir(dir, 0o755))
	}
	errs = append(errs, t.Dir("tmp", 0o1777), t.Dir("root", 0o700))
	for _, d := range devices {
		errs = append(errs, t.Device(d.path, d.mode, d.major, d.minor))
	}
	return errors.Join(errs...)
}

// devices are the nodes of Base. The kernel opens /dev/console for process 1 before anything is mounted, and the Go
// runtime opens /dev/null where a descriptor below 3 is closed.
var devices = []struct {
	path               string
	mode, major, minor uint32
}{
	{"dev/console", 0o600, 5, 1}, {"dev/null", 0o666, 1, 3}, {"dev/zero", 0o666, 1, 5}, {"dev/full", 0o666, 1, 7},
	{"dev/random", 0o666, 1, 8}, {"dev/urandom", 0o666, 1, 9}, {"dev/kmsg", 0o600, 1, 11}, {"dev/tty", 0o666, 5, 0},
	{"dev/ptmx", 0o666, 5, 2}, {"dev/tty0", 0o600, 4, 0}, {"dev/tty1", 0o600, 4, 1}, {"dev/ttyS0", 0o600, 4, 64},
}

// File adds the regular file source as p, and if it is dynamically linked what it needs to run.
func (t *Tree) File(p, source string) error {
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	case !info.Mode().IsRegular():
		return fmt.Errorf("cannot add %s: it is no regular file", source)
	case info.Size() > maxFile:
		return fmt.Errorf("cannot add %s: an archive holds files below 4 GiB", source)
	}
	if err := t.put(p, &entry{kind: kindFile, mode: permissions(info.Mode()), source: source, size: info.Size()}); err != nil {
		return err
	}
	return t.needs(p, source)
}

// permissions are the permission bits of mode with set-user, set-group and sticky, as the kernel counts them.
func permissions(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, b := range []struct {
		flag fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&b.flag != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// bare is the cause in an error about a path that the caller names.
func bare(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// Add adds source, a file, a directory with everything in it, or a link, as destination ("" = the same path). A link that
// is added under its own path stays one, and what it leads to is added too; under another path it is followed.
func (t *Tree) Add(source, destination string) error {
	if destination == "" {
		if !path.IsAbs(source) {
			return fmt.Errorf("cannot add %s: a relative path needs a destination (%s:/PATH)", source, source)
		}
		return t.addSame(source, 0)
	}
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	case info.IsDir():
		return t.addDir(source, destination, false)
	}
	if strings.HasSuffix(destination, "/") {
		destination = path.Join(destination, path.Base(source))
	}
	return t.File(destination, source)
}

// addSame adds what stands at p on disk under the same path.
func (t *Tree) addSame(p string, depth int) error {
	p = path.Clean(p)
	info, err := os.Lstat(p)
	switch {
	case err != nil:
		return fmt.Errorf("cannot add %s: %w", p, bare(err))
	case depth > maxLinks:
		return fmt.Errorf("cannot add %s: too many links", p)
	case info.IsDir():
		return t.addDir(p, p, false)
	case info.Mode()&fs.ModeSymlink == 0:
		return t.File(p, p)
	}
	target, err := os.Readlink(p)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", p, bare(err))
	}
	if err := t.Symlink(p, target); err != nil {
		return err
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(p), target)
	}
	return t.addSame(target, depth+1)
}

// AddConfig adds a configuration directory as destination. Links that lead out of it are followed: the image has only
// what is in the directory.
func (t *Tree) AddConfig(source, destination string) error {
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	case !info.IsDir():
		return fmt.Errorf("cannot add %s: it is no directory", source)
	}
	return t.addDir(source, destination, true)
}

func (t *Tree) addDir(source, destination string, follow bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	if err := t.Dir(destination, permissions(info.Mode())); err != nil {
		return err
	}
	list, err := os.ReadDir(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	for _, item := range list {
		if err := t.addItem(item, path.Join(source, item.Name()), path.Join(destination, item.Name()), follow); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) addItem(item fs.DirEntry, source, destination string, follow bool) error {
	switch {
	case item.IsDir():
		return t.addDir(source, destination, follow)
	case item.Type().IsRegular():
		return t.File(destination, source)
	case item.Type()&fs.ModeSymlink == 0:
		t.warn("%s is left out: neither file, directory nor link", source)
		return nil
	}
	target, err := os.Readlink(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	if follow && leavesTree(target) {
		if info, err := os.Stat(source); err == nil && info.Mode().IsRegular() {
			return t.File(destination, source)
		}
	}
	return t.Symlink(destination, target)
}

func leavesTree(target string) bool {
	return path.IsAbs(target) || strings.HasPrefix(path.Clean(target), "..")
}
