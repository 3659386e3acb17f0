// Package graph holds what a service is and how services depend on each other: the configuration types with their
// defaults, the immutable graph over them, its order, its cycles, and the one answer to "what is unmet". It is pure: no
// clock, no files, no goroutines.
package graph
