package parallel

import (
	"sync/atomic"
	"testing"
)

func TestEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, few, 2*few - 1, 2 * few, 1000, 1001} {
		calls := make([]atomic.Int32, n)
		Do(n, func(i int) { calls[i].Add(1) })
		for i := range calls {
			if got := calls[i].Load(); got != 1 {
				t.Fatalf("of %d: %d was called %d times", n, i, got)
			}
		}
	}
}
