//go:build !race

package loop

const slowness = 1
