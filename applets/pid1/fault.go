//go:build zinit_fault

package pid1

// faultSignal makes pid1 panic, in test builds only.
const faultSignal = 63

// fault panics, every second time by a fault of the processor.
func (s *shim) fault() {
	if s.panics%2 == 1 {
		var nowhere *int
		*nowhere = s.panics
	}
	panic("fault asked for")
}
