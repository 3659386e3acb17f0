package confdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// fileProblem is why a file was not read, or with a lower severity what is dubious about it.
type fileProblem struct {
	err      error
	severity graph.Severity
}

// readFile reads a regular file of at most MaxFileBytes (one byte more tells that it is longer). It does not hang on a
// FIFO and does not open devices for long.
func readFile(path string, t trust) ([]byte, *fileProblem) {
	fatal := func(err error) ([]byte, *fileProblem) { return nil, &fileProblem{err, graph.SeverityError} }
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return fatal(openError(path, err))
	}
	defer func() { _ = unix.Close(fd) }() // opened for reading: nothing to lose
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fatal(fmt.Errorf("cannot read file: %w", err))
	}
	if kind := stat.Mode & unix.S_IFMT; kind != unix.S_IFREG {
		return fatal(fmt.Errorf("this is %s, not a file", kindName(kind)))
	}
	var dubious *fileProblem
	if err := t.checkStat(&stat); err != nil {
		dubious = &fileProblem{err, t.severity(path)}
		if dubious.severity == graph.SeverityError {
			return nil, dubious
		}
	}
	data, err := readAll(fd, min(stat.Size, MaxFileBytes)+1)
	if err != nil {
		return fatal(fmt.Errorf("cannot read file: %w", err))
	}
	return data, dubious
}

// readAll reads to the end of a regular file, and not much more than MaxFileBytes.
func readAll(fd int, size int64) ([]byte, error) {
	data := make([]byte, 0, size)
	for len(data) <= MaxFileBytes {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return data, nil
		}
		data = data[:len(data)+n]
	}
	return data, nil // more than MaxFileBytes, which Parse says
}

// openError says what kind of file could not be opened, and why.
func openError(path string, err error) error {
	if info, statErr := os.Lstat(path); statErr == nil && errors.Is(err, fs.ErrNotExist) && info.Mode()&fs.ModeSymlink != 0 {
		to, _ := os.Readlink(path)
		return fmt.Errorf("dangling link: %s does not exist", to)
	}
	return fmt.Errorf("cannot read file: %w", err)
}

func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// cause strips the operation and the path from an error of package os.
func cause(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// trust is the check of owners and modes. It is for root only: what others may write they could use to become root.
type trust struct{ on, warns bool }

func trustOf(o Options) trust {
	return trust{on: o.Trust && os.Geteuid() == 0, warns: o.TrustWarns || o.Lenient}
}

// check looks at a path, following links.
func (t trust) check(path string) error {
	if !t.on {
		return nil
	}
	var stat unix.Stat_t
	if unix.Stat(path, &stat) != nil {
		return nil // whoever reads it says what is wrong
	}
	return t.checkStat(&stat)
}

func (t trust) checkStat(stat *unix.Stat_t) error {
	switch {
	case !t.on:
		return nil
	case stat.Mode&unix.S_IWOTH != 0:
		return errors.New("not trusted: everybody may write it (chmod o-w)")
	case stat.Uid != 0 && t.warns:
		return fmt.Errorf("not trusted: owned by user %d (chown it to root)", stat.Uid)
	case stat.Uid != 0:
		return fmt.Errorf("not trusted: owned by user %d (chown it to root, or accept it with --lenient)", stat.Uid)
	}
	return nil
}

// severity is how bad a failed check is: on a read-only mount nobody can use it.
func (t trust) severity(path string) graph.Severity {
	if t.warns || readOnly(path) || readOnly(filepath.Dir(path)) {
		return graph.SeverityWarning
	}
	return graph.SeverityError
}

func readOnly(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Flags&unix.ST_RDONLY != 0
}
