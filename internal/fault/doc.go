// Package fault kills the process at named points, or makes it wait there, for tests of what survives. In a normal build
// a point costs nothing.
//
// In a build with the tag zinit_fault the environment variable ZINIT_FAULT names a directory. A process that passes a
// point for which a file stands there, with a number N in it, counts it down, and at 1 removes the file and kills itself
// with SIGKILL: so a test says when, and the process that comes back is not killed again. With "wait" in the file the
// process makes a file POINT.here and waits until the other is gone: so a test does something exactly then.
package fault
