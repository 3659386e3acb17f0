package confdir

import (
	"errors"
	"os"
	"path/filepath"
)

// SaveDir returns the place that a persisted definition goes into: the last directory given, services/ of a root, and the
// zinit.toml of a project that has no services/.
func SaveDir(dirs []string) string {
	if len(dirs) == 0 {
		return ""
	}
	dir := dirs[len(dirs)-1]
	if !isRoot(dir) {
		return dir
	}
	services := filepath.Join(dir, servicesDir)
	if info, err := os.Stat(services); IsProject(dir) && (err != nil || !info.IsDir()) {
		return filepath.Join(dir, ProjectFile)
	}
	return services
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
