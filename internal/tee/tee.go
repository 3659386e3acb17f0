// Package tee looks into pipes.
package tee

import "golang.org/x/sys/unix"

// Copy copies at most n bytes that wait in a pipe to another one, without taking them and without waiting, as tee(2) with
// SPLICE_F_NONBLOCK. Like that it says 0 at the end of the first, and unix.EAGAIN where there is nothing yet.
//
// unix.Tee of golang.org/x/sys makes its result of two registers on 32-bit machines, of which the kernel sets only one:
// the other holds what was there before.
func Copy(from, to, n int) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_TEE, uintptr(from), uintptr(to), uintptr(n), unix.SPLICE_F_NONBLOCK, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
