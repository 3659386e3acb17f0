//go:build zinit_fault

package fault

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	dir = os.Getenv("ZINIT_FAULT")
	mu  sync.Mutex
)

// Here marks a point.
func Here(point string) {
	if dir == "" {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	file := filepath.Join(dir, point)
	b, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if string(b) == "wait" {
		mu.Unlock()
		defer mu.Lock()
		await(file)
		return
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	if n > 1 {
		_ = os.WriteFile(file, []byte(strconv.Itoa(n-1)), 0o600)
		return
	}
	if os.Remove(file) == nil {
		_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
		select {} // the signal ends every thread
	}
}

// await says that the point is reached and waits until its file is gone.
func await(file string) {
	_ = os.WriteFile(file+".here", nil, 0o600)
	for {
		if _, err := os.Stat(file); err != nil {
			return
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 200_000}, nil)
	}
}
