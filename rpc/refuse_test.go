package rpc

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/stuck"
	"github.com/zinit/zinit/rpc/wire"
)

// TestRefusalDoesNotWait: a peer that is refused may have sent a descriptor already whose close waits; the loop that accepts
// goes on.
func TestRefusalDoesNotWait(t *testing.T) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	file, _ := stuck.Socket(t)
	if _, _, err := peer.WriteMsgUnix([]byte("{"), unix.UnixRights(int(file.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	file.Close() // the copy on its way is the last one
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		refuse(conn, wire.NewError(wire.CodeRequest, "too many connections"))
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("the refusal waits for what the peer has sent")
	}
}
