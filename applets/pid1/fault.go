//go:build zinit_fault

package pid1

// faultSignal makes pid1 panic, in test builds only.
const faultSignal = 63
