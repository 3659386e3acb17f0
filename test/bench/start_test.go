package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
)

// start is W1 and W7: from execve to the last service's own stamp, what that cost, and the graceful end of all.
func (b *bench) start(t *testing.T) {
	many := fmt.Sprintf("W1 start %d", b.many)
	few := b.row(fmt.Sprintf("W1 start %d", b.few), "ms", ratioTo(1.1), to(peerDinit, 1.1))
	some := b.row(fmt.Sprintf("W1 start %d", b.some), "ms", to(peerDinit, 0.8))
	wall := b.row(many, "ms", ratioTo(1.1), to(peerDinit, 0.55))
	cpu := b.row("   CPU with children", "s", most(0.45), to(peerDinit, 0.5))
	pss := b.row("   PSS with all running", "MB", most(12))
	stop := b.row(fmt.Sprintf("W7 stop of %d", b.many), "ms", most(60), to(peerDinit, 1.4))
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	works := map[*row]*work{few: {n: b.few, command: stay}, some: {n: b.some, command: stay}}
	all := &work{n: b.many, command: stay}
	for range b.repeat {
		for _, who := range b.contenders() {
			for _, r := range []*row{few, some} {
				p := b.launch(t, who, works[r])
				if p == nil {
					continue
				}
				r.add(who, p.since(last(s.take(t, works[r].n))), p)
				p.stop()
			}
			p := b.launch(t, who, all)
			if p == nil {
				continue
			}
			got := s.take(t, b.many)
			wall.add(who, p.since(last(got)), p)
			p.settle(b.many)
			cpu.add(who, p.cpu()+cpuOf(got), p)
			p.rest()
			pss.add(who, pssOf(p.pid()), p)
			took := p.stop()
			if p.code == 0 {
				stop.add(who, took, p)
			}
			for _, st := range got {
				if alive(st.pid) && (p.code == 0 || !wait.Until(wait.Patience, func() bool { return !alive(st.pid) })) {
					t.Fatalf("%s: service %d lives after the end", who, st.index)
				}
			}
		}
	}
}

func (p *program) since(ns int64) float64 { return float64(ns-p.began) / 1e6 }

// settle waits until a server knows that all its services run: the last stamp is earlier than its own end of the start.
func (p *program) settle(n int) {
	if p.socket == "" {
		return
	}
	c := p.client()
	ok := wait.Until(wait.Patience, func() bool {
		st, err := c.SystemStatus(context.Background())
		return err == nil && st.Counts["running"] == n
	})
	if !ok {
		p.t.Fatalf("not all of %d services are running", n)
	}
}

// rest gives a server the time to come to rest, after which it has given back what it does not need.
func (p *program) rest() {
	if *measure && p.socket != "" {
		time.Sleep(4 * time.Second) // twice the time after the last change at which it rests, which nobody is told
	}
}

// cpu is the processor time of a process's threads in s.
func (p *program) cpu() float64 {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid()))
	var ns float64
	for _, path := range threads {
		ns += firstNumber(path)
	}
	return ns / 1e9
}

func cpuOf(st []stamp) float64 {
	var ns float64
	for _, s := range st {
		ns += firstNumber(fmt.Sprintf("/proc/%d/schedstat", s.pid))
	}
	return ns / 1e9
}

func firstNumber(path string) float64 {
	data, _ := os.ReadFile(path)
	word, _, _ := strings.Cut(string(data), " ")
	v, _ := strconv.ParseFloat(word, 64)
	return v
}

// pssOf is the proportional set size in MB.
func pssOf(pid int) float64 { return field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:") / 1024 }
func rssOf(pid int) float64 { return field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") / 1024 }

// field is the number behind a word of a file in /proc.
func field(path, key string) float64 {
	data, _ := os.ReadFile(path)
	for line := range strings.SplitSeq(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return v
		}
	}
	return 0
}

func alive(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// dependencies is W2: a chain, and layers in which each service requires three of the layer before.
func (b *bench) dependencies(t *testing.T) {
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	chain := &work{n: b.chain, command: stay, needs: func(i int) []int {
		if i == 0 {
			return nil
		}
		return []int{i - 1}
	}}
	layers := &work{n: 10 * b.layer, command: stay, needs: func(i int) []int { return above(i, b.layer) }}
	b.dependent(t, s, b.row(fmt.Sprintf("W2 chain of %d", b.chain), "ms", most(80), to(peerDinit, 0.6)), chain)
	b.dependent(t, s, b.row(fmt.Sprintf("W2 layers 10 x %d", b.layer), "ms", most(380), to(peerDinit, 0.8)), layers)
}

func (b *bench) dependent(t *testing.T, s *stamps, r *row, w *work) {
	for range b.repeat {
		for _, who := range b.contenders() {
			if who == floorGo2 {
				continue
			}
			p := b.launch(t, who, w)
			if p == nil {
				continue
			}
			r.add(who, p.since(last(s.take(t, w.n))), p)
			if p.socket != "" {
				p.settle(w.n)
				p.checkOrder(w.n, w.needs)
			}
			p.stop()
		}
	}
}

// checkOrder proves by the numbers of the events that no service was started before what it requires was running.
func (p *program) checkOrder(n int, edges func(i int) []int) {
	ev, err := p.client().Events(context.Background(), 0, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	starting, running := map[string]uint64{}, map[string]uint64{}
	for _, e := range ev.Events {
		switch e.To {
		case "starting":
			starting[e.Service] = e.Seq
		case "running":
			running[e.Service] = e.Seq
		}
	}
	for i := range n {
		for _, o := range edges(i) {
			if s, r := starting[name(i)], running[name(o)]; s == 0 || r == 0 || s < r {
				p.t.Fatalf("%s started (event %d) before %s was running (event %d)", name(i), s, name(o), r)
			}
		}
	}
}

// above are three services of the layer before that of i.
func above(i, layer int) []int {
	if i < layer {
		return nil
	}
	base := (i/layer - 1) * layer
	out := []int{base + i%layer, base + (i*7+1)%layer, base + (i*13+5)%layer}
	slices.Sort(out)
	return slices.Compact(out)
}

func requires(deps ...int) string {
	if len(deps) == 0 {
		return ""
	}
	names := make([]string, len(deps))
	for i, d := range deps {
		names[i] = name(d)
	}
	return "[dependencies]\nrequires = " + tomlList(names) + "\n"
}
