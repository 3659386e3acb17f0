//go:build cgo

package proc

// underCgo: the C library makes the threads of this program.
const underCgo = true
