// Package closer gives up descriptors that somebody else has sent us. That may take as long as the
// sender likes: a socket with SO_LINGER whose peer does not answer, a file of a FUSE daemon that is
// stuck, a terminal that drains. The kernel makes the thread wait that lets go of the last copy, be it
// by close(2), by throwing away a message that carries it, or by closing a socket in which such a
// message waits. So neither a loop nor a holder of a lock does any of these.
package closer

// atOnce bounds how many threads may be held up at the same time; the Go runtime ends a program with
// more than 10,000. What comes beyond waits for one of them, without a thread.
const atOnce = 512

var places = make(chan struct{}, atOnce)

// Go calls f, which lets go of something, on a goroutine of its own. Nobody waits for it.
func Go(f func()) {
	go func() {
		places <- struct{}{}
		defer func() { <-places }()
		f()
	}()
}
