//go:build race

package loop

// slowness is how many times longer the race detector lets a program compute, by its own documentation at most.
const slowness = 20
