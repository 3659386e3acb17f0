// Package memory gives back what a process that has come to rest does not need, and keeps the runtime's own clock from
// waking it.
package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Start is for the beginning, in which nearly all that is allocated stays: collecting it would be for nothing.
func Start() { debug.SetGCPercent(startPercent) }

const (
	startPercent = 400
	// slack is how much may become garbage at least before it is collected, in bytes.
	slack = 4 << 20
	// large is a heap from which on the usual rules are better, in bytes.
	large = 64 << 20
)

// Rest collects all garbage, gives free memory back, and unmaps the pages of the executable (clean ones, which are mapped
// again when they are needed; most were touched by initialisation alone). From then on the heap is collected when it has
// doubled and not every two minutes, which would wake an idle process and map half of the executable again.
func Rest() {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc < large {
		limit := int64(m.Sys-m.HeapReleased) + int64(max(m.HeapAlloc, slack))
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(-1)
		if resting.Swap(limit) == 0 {
			sentinel()
		}
	} else {
		usual()
	}
	Unmap()
}

func usual() {
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
}

// resting is the limit that Rest has set, 0 while the usual rules hold.
var resting atomic.Int64

// sentinel is an object that every collection finds dead. At the first one that leaves more than fits well below the limit
// it returns to the usual rules: near the limit the runtime would collect without end.
func sentinel() {
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if int64(m.Sys-m.HeapIdle) > resting.Load()-slack/2 {
			resting.Store(0)
			usual()
			return
		}
		sentinel()
	})
}

// Unmap drops the clean pages of the executable from this process's memory.
func Unmap() {
	for _, m := range cleanMappings(smaps()) {
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// smaps reads the file without package os, which would start the runtime's poller: pid1 has none.
func smaps() string {
	fd, err := unix.Open("/proc/self/smaps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var data []byte
	for chunk := make([]byte, 32<<10); ; {
		n, err := unix.Read(fd, chunk)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || len(data) > 1<<20 {
			return string(data)
		}
		data = append(data, chunk[:n]...)
	}
}

type mapping struct{ from, to uintptr }

// cleanMappings finds in smaps the private mappings of files that cannot be written and have no page of their own (as
// relocation makes them).
func cleanMappings(smaps string) (list []mapping) {
	var now mapping
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 6 && strings.HasSuffix(fields[1], "p") && !strings.Contains(fields[1], "w") && strings.HasPrefix(fields[5], "/"):
			from, to, _ := strings.Cut(fields[0], "-")
			now = mapping{hex(from), hex(to)}
		case len(fields) >= 2 && strings.Contains(fields[0], "-"):
			now = mapping{}
		case len(fields) >= 2 && fields[0] == "Anonymous:" && fields[1] == "0" && now.to > now.from && now.from > 0:
			list = append(list, now)
			now = mapping{}
		}
	}
	return list
}

func hex(s string) (n uintptr) {
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uintptr(c-'a'+10)
		default:
			return 0
		}
	}
	return n
}
