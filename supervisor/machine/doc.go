// Package machine is the pure core of the supervisor: Step(now, event) -> actions. It holds every state, timer, counter
// and pending request, and knows no clock, no process, no file and no goroutine.
package machine
