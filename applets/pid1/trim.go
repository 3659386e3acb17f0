package pid1

import (
	"math"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// trimAfter is when the memory of the start is given back, once, after the last start of a server.
const trimAfter = 3 * second

// trim gives back what the start needed: the heap's garbage, and the pages of the executable that only the initialisation
// of packages which pid1 never uses has touched. Those are clean pages of the file; one that is needed again is mapped
// again.
func (s *shim) trim() {
	s.trimmed, _ = s.store.Len()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	if mem.HeapAlloc < smallHeap {
		// The runtime's collection every two minutes would wake an idle process and map half of the executable again.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(heapLimit)
	} else {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	}
	debug.FreeOSMemory()
	for _, m := range cleanMappings(readFile("/proc/self/smaps", 1<<20)) {
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// A heap below smallHeap is collected only when the process comes near heapLimit.
const (
	smallHeap = 4 << 20
	heapLimit = 16 << 20
)

// trimLater comes back when the server has stored many pipes since the last time.
func (s *shim) trimLater() {
	if pipes, _ := s.store.Len(); pipes > 2*s.trimmed+1000 && s.timers[timerTrim] == 0 {
		s.arm(timerTrim, trimAfter)
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
