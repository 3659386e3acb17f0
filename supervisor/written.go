package supervisor

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph/confdir"
)

// written is the list of the service files that a server wrote itself, with the SHA-256 of what it wrote, in the form of
// sha256sum(1): a file that is on it and unchanged since was nobody's work. It stands in the state directory and is shared by
// the servers of a user. The last line about a file counts.
type written struct{ path string }

// newWritten is the list in a state directory, "" = none: then no file is known to be the server's.
func newWritten(stateDir string) written {
	if stateDir == "" {
		return written{}
	}
	return written{filepath.Join(stateDir, "written.sha256")}
}

// listed is how a definition stands in the list: by its file, and where that holds others too with its name.
func listed(file, name string) string {
	if confdir.IsProjectFile(file) {
		return file + "#" + name
	}
	return file
}

// note adds the file of a service as it is now, or its part of it.
func (w written) note(file, name string) error {
	switch {
	case w.path == "":
		return errors.New("there is no state directory")
	case strings.ContainsAny(file, "\n\\"): // sha256sum would write them escaped
		return errors.New("its path has a character that the list cannot hold")
	}
	sum, err := sumOf(file, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(w.path), 0o700); err != nil {
		return err
	}
	return w.locked(func() error {
		if info, err := os.Stat(w.path); err == nil && info.Size() > writtenMax/2 {
			if err := w.rewrite(nil); err != nil {
				return err
			}
		}
		f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "%s  %s\n", sum, listed(file, name))
		return errors.Join(err, f.Close())
	})
}

// has reports whether the file of a service, or its part of it, is the server's own work, unchanged.
func (w written) has(file, name string) bool {
	before := w.read()[listed(file, name)]
	sum, err := sumOf(file, name)
	return err == nil && before != "" && sum == before
}

// forget takes files off the list, and with them those that no longer exist.
func (w written) forget(files []string) error {
	if len(files) == 0 || len(w.read()) == 0 {
		return nil
	}
	return w.locked(func() error { return w.rewrite(files) })
}

// rewrite writes the list anew without these files and those that no longer exist; the caller has the lock.
func (w written) rewrite(without []string) error {
	list := w.read()
	var b bytes.Buffer
	for _, file := range slices.Sorted(maps.Keys(list)) {
		path, _, _ := strings.Cut(file, "/"+confdir.ProjectFile+"#")
		if path != file {
			path += "/" + confdir.ProjectFile
		}
		if _, err := os.Lstat(path); err == nil && !slices.Contains(without, file) {
			fmt.Fprintf(&b, "%s  %s\n", list[file], file)
		}
	}
	fresh := w.path + ".new"
	if err := os.WriteFile(fresh, b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, w.path)
}

// read is the list, empty where it cannot be read.
func (w written) read() map[string]string {
	list := map[string]string{}
	if w.path == "" {
		return list
	}
	f, err := os.Open(w.path)
	if err != nil {
		return list
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, writtenMax)); lines.Scan(); {
		if sum, file, ok := strings.Cut(lines.Text(), "  "); ok {
			list[file] = sum
		}
	}
	return list
}

// locked runs change while no other server changes the list.
func (w written) locked(change func() error) error {
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return change()
}

func sumOf(file, name string) (string, error) {
	data, err := confdir.Text(file, name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
