package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
)

// atOnce restarts always and without delay: every run is long enough to reset it.
const atOnce = "[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 0\nstability_period_ms = 0\n"

// restart is W3: from SIGKILL to the first instruction of the replacement, after a rest, as it is when something crashes.
func (b *bench) restart(t *testing.T) {
	s := listen(t)
	one := &work{n: 1, command: []string{b.service, "stay", s.path}, again: true}
	for _, rest := range []struct {
		ms    int
		kills int
		to    float64
	}{{3, b.kills, 1}, {20, b.kills / 2, 1}, {300, b.kills / 10, 1}} {
		median := b.row(fmt.Sprintf("W3 restart after %d ms of rest, median", rest.ms), "ms", ratioTo(1.25), to(peerDinit, rest.to))
		p99 := b.row(fmt.Sprintf("   after %d ms, p99", rest.ms), "ms", ratioTo(1.4))
		for range b.repeat {
			for _, who := range b.contenders() {
				p := b.launch(t, who, one)
				if p == nil {
					continue
				}
				var took []float64
				pid := s.take(t, 1)[0].pid
				for range max(1, rest.kills) {
					time.Sleep(time.Duration(rest.ms) * time.Millisecond) // the rest
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
				median.add(who, took[len(took)/2], p)
				p99.add(who, took[len(took)*99/100], p)
				p.stop()
			}
		}
	}
}

// storm is W8: services that exit at once and are restarted at once, all the time, and a status query meanwhile. Each adds
// a byte to a file, so that all contenders are counted alike.
func (b *bench) storm(t *testing.T) {
	rate := b.row(fmt.Sprintf("W8 %d exiting at once: restarts", b.sizes.storm), "1/s", least(4500), atLeastTo(peerDinit, 1.2))
	slow := b.row("   status p99 meanwhile", "ms", most(3))
	memory := b.row("   RSS in the storm", "MB", most(20))
	count := filepath.Join(t.TempDir(), "starts")
	w := &work{n: b.sizes.storm, command: []string{b.service, "quick", count}, again: true}
	for range b.repeat {
		for _, who := range b.contenders() {
			if err := os.WriteFile(count, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			p := b.launch(t, who, w)
			if p == nil {
				continue
			}
			ok := wait.Until(wait.Patience, func() bool { return starts(t, count) >= w.n })
			if !ok {
				t.Fatalf("%s: only %d of %d services were started", who, starts(t, count), w.n)
			}
			before, at := starts(t, count), monotonic()
			if p.socket == "" {
				time.Sleep(b.stormFor) // the span that is measured
			} else {
				slow.add(who, p.rage(w.n, b.stormFor), p)
			}
			rate.add(who, float64(starts(t, count)-before)/(float64(monotonic()-at)/1e9), p)
			memory.add(who, rssOf(p.pid()), p)
			p.stop()
		}
	}
}

// starts is how many services have begun so far.
func starts(t *testing.T, count string) int {
	st, err := os.Stat(count)
	if err != nil {
		t.Fatal(err)
	}
	return int(st.Size())
}

// rage asks for states for a while, and returns the 99th percentile of a call in ms.
func (p *program) rage(n int, length time.Duration) (p99 float64) {
	c := p.client()
	var took []float64
	for i, at := 0, monotonic(); monotonic()-at < int64(length); i++ {
		began := monotonic()
		if _, err := c.Status(context.Background(), name(i%n)); err != nil {
			p.t.Fatal(err)
		}
		took = append(took, float64(monotonic()-began)/1e6)
		time.Sleep(2 * time.Millisecond) // the pace of the questions
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}
