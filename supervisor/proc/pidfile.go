package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadPIDFile reads the pid out of a file, which is relative to a folder unless its path is absolute; 0 when it says nothing
// usable. A service may have put anything there: a FIFO is not waited for. A file system that does not answer is.
func ReadPIDFile(dir, path string) int {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0
	}
	var buf [32]byte
	n, _ := f.Read(buf[:])
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return pid
}
