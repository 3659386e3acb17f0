package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/zinit/zinit/rpc"
)

// TestLeavingSocketStaysAway: a deleted control socket is made anew until the server leaves, and not after. Else the watch
// takes the server's own removal for somebody else's, and a socket that nobody serves stays behind.
func TestLeavingSocketStaysAway(t *testing.T) {
	options := rpc.SocketOptions{Path: filepath.Join(t.TempDir(), "s")}
	socket, err := rpc.Listen(options)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close(true) //nolint:errcheck // the end of the test
	s := &server{log: slog.New(slog.DiscardHandler), socket: socket, socketOptions: options}
	s.rpc = rpc.NewServer(nil, rpc.ServerOptions{Log: s.log})
	removed := func() bool {
		t.Helper()
		if err := os.Remove(socket.Path); err != nil {
			t.Fatal(err)
		}
		s.restoreSocket()
		_, err := os.Lstat(socket.Path)
		return os.IsNotExist(err)
	}
	if removed() {
		t.Error("a deleted socket was not made anew")
	}
	s.leaveSocket()
	if !removed() {
		t.Error("the server made a socket anew that it was about to leave")
	}
}
