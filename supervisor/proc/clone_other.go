//go:build !amd64 && !arm64

package proc

// canClone: children of this architecture are forked by the Go library.
const canClone = false

func cloneAndRun(*cloneArgs, uintptr, *call, *failure, *uint64, *uint64) int { return -1 }
