//go:build !cgo

package proc

const underCgo = false
