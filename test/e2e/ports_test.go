package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc/wire"
)

// TestPortIsReevaluated: a port held by a foreign process blocks, why names port, pid and program, and the service
// starts by itself when the port gets free.
func TestPortIsReevaluated(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	s := testkit.Start(t, map[string]string{
		"web.toml": fmt.Sprintf("[service]\nname = \"web\"\nexec = \"sleep 100000\"\nports = [%d]\n", port),
	}, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "web", "blocked")
	var w wire.Why
	s.Await("why to name the holder", func() bool {
		w, err = c.Why(ctx, "web")
		return err == nil && w.PortConflict != nil
	})
	if w.PortConflict.Port != port || w.PortConflict.PID == 0 || !strings.Contains(w.ASCII, fmt.Sprint(port)) {
		t.Errorf("why: %+v\n%s", w.PortConflict, w.ASCII)
	}
	l.Close()
	s.AwaitState(c, "web", "running")
}
