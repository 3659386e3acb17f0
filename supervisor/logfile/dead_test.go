package logfile

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/deadmount"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

// TestCloseLeavesADeadFileAlone: a log file on a mount that never answers holds up neither other files nor the end.
func TestCloseLeavesADeadFileAlone(t *testing.T) {
	f := newFixture(t)
	f.fs.opt.Stall = 5 * time.Millisecond
	dead := deadmount.New(t)
	ring := f.a.Ring("dead", logring.Limits{Lines: 100, Bytes: 16 << 10})
	f.fs.Set("dead", &Config{Path: dead + "/x.log"})
	f.fs.Set("well", &Config{Path: f.path})
	for range 3000 {
		f.log("dead", strings.Repeat("x", 99))
	}
	f.log("well", "one line")
	wait.For(t, "the hold to end", func() bool { return !ring.Congested() })
	ctx, stop := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer stop()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.fs.Flush(ctx)
		f.fs.Close(ctx)
	}()
	select {
	case <-closed:
	case <-time.After(wait.Patience):
		t.Fatal("the end waits for a file that does not answer")
	}
	if got := content(t, f.path); got != "one line\n" {
		t.Errorf("the other file holds %q", got)
	}
}
