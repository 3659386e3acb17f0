package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ReadPIDFile reads the pid out of a file, which is relative to a folder unless its path is absolute: the first number of its
// first line, as PostgreSQL (8 lines) and sendmail (2) write it too. Where there is none, why says what the file is or holds.
// A service may have put anything there: a FIFO is not waited for. A file system that does not answer is.
func ReadPIDFile(dir, path string) (pid int, why string) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, "its pid_file " + path + " does not exist"
	case err != nil:
		return 0, "its pid_file cannot be read: " + err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0, "its pid_file " + path + " is no file"
	}
	var buf [128]byte
	n, _ := f.Read(buf[:])
	line, _, _ := bytes.Cut(buf[:n], []byte("\n"))
	digits := bytes.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) > 0 {
		pid, _ = strconv.Atoi(string(digits[0]))
	}
	if pid <= 0 {
		return 0, fmt.Sprintf("its pid_file %s holds %q and no process id", path, line)
	}
	return pid, ""
}
