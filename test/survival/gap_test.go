package survival

import (
	"flag"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/test/survival/storm"
)

var gapRounds = flag.Int("gap-rounds", 7, "how often the gap is measured with each number of services")

// gapTarget is from SIGKILL to the first answered request with 1,000 services on an idle machine; a loaded one gets
// gapSlack times as much before it is a failure.
const (
	gapTarget = 100 * time.Millisecond
	gapSlack  = 10
)

// TestGap measures the time from SIGKILL of the server to the first answered request.
func TestGap(t *testing.T) {
	for _, n := range []int{10, 100, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { measureGap(t, n) })
	}
}

func measureGap(t *testing.T, n int) {
	sleep := need.Program(t, "sleep")
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("s%d.toml", i)] = fmt.Sprintf("[service]\nname = \"s%d\"\nexec = [%q, \"100000\"]\n", i, sleep)
	}
	s := testkit.Start(t, files, testkit.Options{Applet: "pid1"})
	c := s.Client()
	running := func() bool {
		list, err := c.ListFull(ctx, false)
		up := 0
		for _, l := range list {
			if l.State.State == "running" {
				up++
			}
		}
		return err == nil && up == n
	}
	s.Await("all to run", running)
	var gaps []time.Duration
	for range *gapRounds {
		gaps = append(gaps, oneGap(t, s))
		s.Await("all to run still", running)
	}
	slices.Sort(gaps)
	median := gaps[len(gaps)/2]
	t.Logf("%d services: SIGKILL to first answer: least %v, median %v, most %v", n, gaps[0], median, gaps[len(gaps)-1])
	if gaps[0] > gapTarget*gapSlack {
		t.Errorf("the best of %d is over %v", len(gaps), gapTarget*gapSlack)
	}
}

func oneGap(t *testing.T, s *testkit.Server) time.Duration {
	pid := storm.ServerOf(s.Command.Process.Pid)
	began := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for { // the first connection may still be one to the dead
		c, err := rpc.Dial(ctx, s.Socket)
		if err == nil {
			ping, pingErr := c.Ping(ctx)
			c.Close()
			if err = pingErr; err == nil && ping.PID != pid {
				return time.Since(began)
			}
		}
		if time.Since(began) > wait.Patience {
			t.Fatalf("no answer: %v\n%s", err, s.Logs())
		}
	}
}
