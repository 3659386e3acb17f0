package confdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zinit/zinit/graph"
)

// SaveDir returns the directory that a persisted file goes into: the last one given, services/ of a root.
func SaveDir(dirs []string) string {
	if len(dirs) == 0 {
		return ""
	}
	dir := dirs[len(dirs)-1]
	if isRoot(dir) {
		return filepath.Join(dir, servicesDir)
	}
	return dir
}

// Save writes c into dir and returns the path: over the file it came from if that is in dir, else NAME.toml. It is
// atomic: after a crash the old or the new file is there, whole. The directory is made if it does not exist.
func Save(dir string, c *graph.Config) (path string, err error) {
	if err := CheckName(c.Name); err != nil {
		return "", fmt.Errorf("cannot save service: %w", err)
	}
	path = filepath.Join(dir, c.Name+".toml")
	if c.Source != "" && filepath.Dir(c.Source) == filepath.Clean(dir) {
		path = c.Source
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot save %s: %w", c.Name, err)
	}
	if err := writeAtomic(path, TOML(c)); err != nil {
		return "", fmt.Errorf("cannot save %s: %w", c.Name, err)
	}
	return path, nil
}

// writeAtomic writes a temporary file beside path, hidden so that nobody loads it, syncs it, renames it over path and
// syncs the directory. The mode of a file that is replaced is kept.
func writeAtomic(path string, data []byte) (err error) {
	mode := os.FileMode(0o644)
	if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
		mode = info.Mode().Perm()
	}
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil //nolint:nilerr // the file is in place; that it is on the disk cannot be seen to
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
