package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/rpc"
)

// atOnce restarts always and without delay: every run is long enough to reset it.
const atOnce = "[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 0\nstability_period_ms = 0\n"

// restart is W3: from SIGKILL to the first instruction of the replacement.
func (b *bench) restart(t *testing.T) {
	median := b.row("W3 restart, median", "ms", most(0.75), ratioTo(1.25))
	p99 := b.row("   p99", "ms", most(1.2), ratioTo(1.4))
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	dir := b.services(t, 1, stay, func(int) string { return atOnce })
	for range b.repeat {
		for _, who := range contenders {
			p := b.launch(t, who, "restart", 1, dir, append(stay, "0")...)
			if p == nil {
				continue
			}
			var took []float64
			pid := s.take(t, 1)[0].pid
			for range b.kills {
				time.Sleep(3 * time.Millisecond) // a supervisor at rest, as it is when something crashes
				began := monotonic()
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				st := s.take(t, 1)[0]
				if st.pid == pid {
					t.Fatal("the same process")
				}
				took, pid = append(took, float64(st.ns-began)/1e6), st.pid
			}
			slices.Sort(took)
			median.add(who, took[len(took)/2])
			p99.add(who, took[len(took)*99/100])
			p.stop()
		}
	}
}

// storm is W8: services that exit at once and are restarted at once, all the time, and a status query meanwhile.
func (b *bench) storm(t *testing.T) {
	rate := b.row(fmt.Sprintf("W8 %d exiting at once: restarts", b.sizes.storm), "1/s", least(4500))
	slow := b.row("   status p99 meanwhile", "ms", most(3))
	quick := []string{b.service, "quick", "x"}
	dir := b.services(t, b.sizes.storm, quick, func(int) string { return atOnce })
	for range b.repeat {
		for _, who := range contenders {
			p := b.launch(t, who, "restart", b.sizes.storm, dir, append(quick, "0")...)
			switch {
			case p == nil:
			case p.socket == "":
				time.Sleep(b.stormFor)
				p.stop()
				rate.add(who, number(t, p.out.String())/(float64(monotonic()-p.began)/1e9))
			default:
				r, l := p.rage(b.sizes.storm, b.stormFor)
				rate.add(who, r)
				slow.add(who, l)
				p.stop()
			}
		}
	}
}

func number(t *testing.T, s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil {
		t.Fatalf("a floor printed %q", s)
	}
	return v
}

// rageAtMost is how much longer than asked for rage goes on until every service has been restarted once.
const rageAtMost = 20 * time.Second

// rage counts restarts over a time and returns them a second, and the 99th percentile of a status call in ms.
func (p *program) rage(n int, length time.Duration) (rate, p99 float64) {
	c := p.client()
	ctx := context.Background()
	before, at := p.restarts(c, n), monotonic()
	var took []float64
	enough := func() bool { // a busy machine needs longer for the few that a check wants
		spent := monotonic() - at
		return spent > int64(length) && (spent > int64(length+rageAtMost) || p.restarts(c, n)-before >= n)
	}
	for i := 0; !enough(); i++ {
		began := monotonic()
		if _, err := c.Status(ctx, name(i%n)); err != nil {
			p.t.Fatal(err)
		}
		took = append(took, float64(monotonic()-began)/1e6)
		time.Sleep(2 * time.Millisecond)
	}
	after, until := p.restarts(c, n), monotonic()
	if after-before < n {
		p.t.Fatalf("only %d restarts of %d services", after-before, n)
	}
	slices.Sort(took)
	return float64(after-before) / (float64(until-at) / 1e9), took[len(took)*99/100]
}

// restarts is the number of starts so far: incarnations are numbered over all services. It is some short of it, by the
// starts that came after the latest of the services asked.
func (p *program) restarts(c *rpc.Client, n int) (total int) {
	for i := range min(n, 8) {
		st, err := c.StatusFull(context.Background(), name(i))
		if err != nil {
			p.t.Fatal(err)
		}
		total = max(total, int(st.Incarnation))
	}
	return total
}
