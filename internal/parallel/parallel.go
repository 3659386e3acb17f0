// Package parallel divides work that is the same many times over, such as reading a thousand files.
package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// few is how much work is not worth a goroutine, and how much one takes at a time.
const few = 16

// Do calls f with 0 to n-1, on all processors when n is large, and returns when all calls have. Calls with different
// arguments must not touch the same memory.
func Do(n int, f func(i int)) {
	workers := min(runtime.NumCPU(), n/few)
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(few)) - few
			if from >= n {
				return
			}
			for i := from; i < min(from+few, n); i++ {
				f(i)
			}
		}
	}
	var group sync.WaitGroup
	for range workers - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
}
