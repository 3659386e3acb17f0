package pid1

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/zinit/zinit/internal/memory"
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
	memory.Unmap()
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
