package loop

// Slowness is how many times longer a program computes under the race detector.
const Slowness = slowness

// Turn is one turn of the loop, for tests that measure it.
func (l *Loop) Turn() { l.d.turn() }

// Halted reports whether the loop has come to its end.
func (l *Loop) Halted() bool { return l.d.halted }
