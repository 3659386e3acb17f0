// Package stuck makes a descriptor whose last close waits, as a program may send one along with a
// message.
package stuck

import (
	"net"
	"os"
	"testing"
	"time"
)

// waits is how long the close would take if nothing ended it: for ever, as a test sees it.
const waits = 3600

// Socket returns a connection with SO_LINGER whose peer takes nothing, and free, which ends the peer and
// so any close that waits.
func Socket(t testing.TB) (file *os.File, free func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a listener
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // file is the copy that counts
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	free = func() { _ = peer.(*net.TCPConn).SetLinger(0); _ = peer.Close() }
	t.Cleanup(free)
	_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // until nobody has room any more
	for err == nil {
		_, err = conn.Write(make([]byte, 1<<20))
	}
	if err := conn.(*net.TCPConn).SetLinger(waits); err != nil {
		t.Fatal(err)
	}
	if file, err = conn.(*net.TCPConn).File(); err != nil {
		t.Fatal(err)
	}
	return file, free
}
