package initramfs

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zinit/zinit/internal/elf"
)

// object is an ELF file with what decides where its libraries are looked for.
type object struct {
	source string // on disk
	placed string // in the tree
	kind   elf.Kind
	interp string
	needed []string
	rpath  []string // DT_RPATH: searched for the libraries of this one and of those it loads; ignored beside a RUNPATH
	run    []string // DT_RUNPATH: for its own libraries only
	parent *object  // who needs it, nil for the program
}

// readObject returns nil for a file that is no ELF file.
func readObject(source, placed string, parent *object) (*object, error) {
	file, err := os.Open(source)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", source, bare(err))
	}
	defer file.Close() //nolint:errcheck // it is only read
	f, ok := elf.Read(file)
	if !ok {
		return nil, nil
	}
	return &object{source: source, placed: placed, kind: f.Kind, parent: parent, interp: f.Interp,
		needed: f.Needed, rpath: f.RPath, run: f.RunPath}, nil
}

// needs adds the loader and the libraries of an ELF file, and of these in turn, and warns of a script whose
// interpreter the tree may lack.
func (t *Tree) needs(placed, source string) error {
	o, err := readObject(source, path.Clean("/"+placed), nil)
	if err != nil {
		return err
	}
	if o == nil {
		t.lookScript(placed, source)
		return nil
	}
	if o.interp != "" {
		if err := t.addLibrary(o.interp, o.interp); err != nil {
			return fmt.Errorf("cannot add the loader of %s: %w", source, err)
		}
	}
	return t.libraries(o)
}

// libraries adds what o needs, breadth first, each once.
func (t *Tree) libraries(o *object) error {
	musl := strings.HasPrefix(path.Base(o.interp), "ld-musl-")
	seen := map[string]bool{}
	for queue := []*object{o}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, name := range at.needed {
			if seen[name] || name == path.Base(o.interp) {
				continue
			}
			seen[name] = true
			found, err := t.findLibrary(at, name, musl)
			if err != nil {
				return err
			}
			if found == nil {
				t.warn("%s needs %s, which was not found on this machine", o.source, name)
				continue
			}
			if err := t.addLibrary(found.source, found.placed); err != nil {
				return err
			}
			queue = append(queue, found)
		}
	}
	return nil
}

// addLibrary adds a library under placed; where it is a link on disk the link is kept.
func (t *Tree) addLibrary(source, placed string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	if info.Mode().IsRegular() {
		return t.put(placed, &entry{kind: kindFile, mode: permissions(info.Mode()), source: source, size: info.Size()})
	}
	target, err := os.Readlink(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	if !path.IsAbs(target) && !strings.Contains(target, "/") { // libx.so.1 -> libx.so.1.2.3 beside it
		if err := t.Symlink(placed, target); err != nil {
			return err
		}
		return t.addLibrary(path.Join(path.Dir(source), target), path.Join(path.Dir(placed), target))
	}
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return fmt.Errorf("cannot add %s: %w", source, bare(err))
	}
	return t.addLibrary(real, placed)
}

// findLibrary looks for a library as the loader would, in this order: RPATH of the object and of those that need it,
// RUNPATH, the loader's cache, the default directories. nil = not found.
func (t *Tree) findLibrary(o *object, name string, musl bool) (*object, error) {
	if strings.Contains(name, "/") {
		return o.accept(name, name)
	}
	for _, dir := range o.searchPath() {
		if found, err := o.accept(path.Join(dir.source, name), path.Join(dir.placed, name)); found != nil || err != nil {
			return found, err
		}
	}
	defaults := defaultDirs(o.kind.Wide, musl)
	if !musl {
		for _, file := range cachedLibraries(cacheFile)[name] {
			found, err := o.accept(file, file)
			if err != nil {
				return nil, err
			}
			if found != nil {
				return found, t.needsCache(path.Dir(file), defaults)
			}
		}
	}
	for _, dir := range defaults {
		if found, err := o.accept(path.Join(dir, name), path.Join(dir, name)); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// needsCache adds the loader's cache when a library stands where the loader does not look without it.
func (t *Tree) needsCache(dir string, defaults []string) error {
	if slices.Contains(defaults, dir) {
		return nil
	}
	return t.addLibrary(cacheFile, cacheFile)
}

// accept returns the library at source if it is one for the same processor.
func (o *object) accept(source, placed string) (*object, error) {
	if info, err := os.Stat(source); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	found, err := readObject(source, placed, o)
	if err != nil || found == nil || found.kind != o.kind {
		return nil, err
	}
	return found, nil
}

// searchDir is a directory to look into, and where what is found there stands in the tree: they differ for $ORIGIN.
type searchDir struct{ source, placed string }

func (o *object) searchPath() []searchDir {
	var dirs []searchDir
	if len(o.run) == 0 {
		for at := o; at != nil; at = at.parent {
			if len(at.run) == 0 {
				dirs = append(dirs, at.expand(at.rpath)...)
			}
		}
	}
	return append(dirs, o.expand(o.run)...)
}

func (o *object) expand(dirs []string) []searchDir {
	real, err := filepath.EvalSymlinks(o.source)
	if err != nil {
		real = o.source
	}
	lib := "lib"
	if o.kind.Wide {
		lib = "lib64"
	}
	var out []searchDir
	for _, dir := range dirs {
		dir = strings.NewReplacer("$LIB", lib, "${LIB}", lib).Replace(dir)
		with := func(origin string) string {
			return path.Clean(strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin).Replace(dir))
		}
		out = append(out, searchDir{with(filepath.Dir(real)), with(path.Dir(o.placed))})
	}
	return out
}

// defaultDirs are where a loader looks without being told: the C library's directories with those of Debian's layout,
// or musl's.
func defaultDirs(wide, musl bool) []string {
	if musl {
		return []string{"/lib", "/usr/local/lib", "/usr/lib"}
	}
	var dirs []string
	for _, base := range []string{"/lib", "/usr/lib"} {
		tuples, _ := filepath.Glob(base + "/*-linux-gnu*") // a bad pattern is not possible
		dirs = append(dirs, tuples...)
	}
	if wide {
		dirs = append(dirs, "/lib64", "/usr/lib64")
	}
	return append(dirs, "/lib", "/usr/lib")
}

// lookScript warns of a script whose interpreter is not in the tree so far.
func (t *Tree) lookScript(placed, source string) {
	info, err := os.Stat(source)
	if err != nil || info.Mode()&0o111 == 0 {
		return
	}
	f, err := os.Open(source)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // it is only read
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "#!")
	if words := strings.Fields(rest); ok && len(words) > 0 {
		t.scripts = append(t.scripts, script{path.Clean("/" + placed), words[0]})
	}
}

type script struct{ placed, interpreter string }

// Finish looks over the whole: scripts without their interpreter, links that lead nowhere.
func (t *Tree) Finish() {
	for _, s := range t.scripts {
		if !t.has(s.interpreter) {
			t.warn("%s is a script for %s, which is not in the image (--add %s)", s.placed, s.interpreter, s.interpreter)
		}
	}
	for _, p := range t.Paths() {
		e := t.entries[p]
		if e.kind != kindSymlink {
			continue
		}
		target := string(e.data)
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(p), target)
		}
		if !t.has(target) && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "/run/") {
			t.warn("%s is a link to %s, which is not in the image", p, target)
		}
	}
}

// has reports whether p is in the tree, over links.
func (t *Tree) has(p string) bool {
	for range maxLinks {
		at, err := t.place(p)
		if err != nil {
			return false
		}
		e := t.entries[at]
		if e == nil || e.kind != kindSymlink {
			return e != nil || at == "/"
		}
		p = string(e.data)
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(at), p)
		}
	}
	return false
}
