package view

import (
	"sync"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
)

// BootLine records when each service was due, started and ready for the first time. The driver writes, queries read.
type BootLine struct {
	mu       sync.Mutex
	clock    Clock
	zero     machine.Time // time zero of the line on CLOCK_MONOTONIC
	kernel   bool         // zero is the kernel's
	began    machine.Time // the server's first instruction that we control
	loaded   machine.Time
	services map[string]*bootTimes
	order    []string
}

type bootTimes struct {
	due, start, ready machine.Time
	waited            string
}

// NewBootLine begins the line now. With kernel its time zero is the start of the kernel, else it is now.
func NewBootLine(c Clock, kernel bool) *BootLine {
	b := &BootLine{clock: c, kernel: kernel, began: c.Now(), services: map[string]*bootTimes{}}
	if !kernel {
		b.zero = b.began
	}
	return b
}

// Note takes a transition; only the first start of a service counts.
func (b *BootLine) Note(name string, n machine.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.services[name]
	if t == nil {
		t = &bootTimes{}
		b.services[name] = t
		b.order = append(b.order, name)
	}
	now := b.clock.Now()
	if t.due == 0 {
		t.due = now
	}
	switch n.To {
	case machine.Starting:
		if t.start == 0 {
			t.start = now
			if n.Cause == machine.CauseDependency {
				t.waited = n.By
			}
		}
	case machine.Running, machine.Exited:
		if t.ready == 0 {
			t.ready = now
			if t.start == 0 {
				t.start = now
			}
			if t.waited == "" && n.Cause == machine.CauseTarget {
				t.waited = n.By
			}
		}
	}
}

func (b *BootLine) ms(t machine.Time) float64 {
	if t == 0 {
		return -1
	}
	return float64(t-b.zero) / 1e6
}

// Kernel reports whether time zero of the line is the start of the kernel.
func (b *BootLine) Kernel() bool { return b.kernel }

// Loaded notes that the configuration has been read.
func (b *BootLine) Loaded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded = b.clock.Now()
}

// Wire is the whole line. v is the present View.
func (b *BootLine) Wire(v *View) wire.Boot {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := wire.Boot{ServerMS: b.ms(b.began), LoadedMS: b.ms(b.loaded), Services: []wire.BootService{}, Critical: []string{}}
	last := ""
	for _, name := range b.order {
		t := b.services[name]
		if t.waited == "" {
			t.waited = b.lastReadyOf(v, name)
		}
		w.Services = append(w.Services, wire.BootService{Name: name, DueMS: b.ms(t.due), StartMS: b.ms(t.start), ReadyMS: b.ms(t.ready), Waited: t.waited})
		if t.ready > 0 && (last == "" || t.ready > b.services[last].ready) {
			last = name
		}
	}
	if last != "" {
		w.DoneMS = b.ms(b.services[last].ready)
	}
	for name := last; name != "" && len(w.Critical) <= len(b.order); {
		w.Critical = append(w.Critical, name)
		if t := b.services[name]; t != nil {
			name = t.waited
		} else {
			name = ""
		}
	}
	return w
}

// lastReadyOf is the dependency whose readiness came last before the start of a service: the one it waited for.
func (b *BootLine) lastReadyOf(v *View, name string) string {
	id, ok := v.Graph.Lookup(name)
	if !ok {
		return ""
	}
	best, at := "", machine.Time(0)
	for _, ids := range [][]graph.ID{v.Graph.Requires(id), v.Graph.Binds(id), v.Graph.After(id)} {
		for _, o := range ids {
			if t := b.services[v.Graph.Name(o)]; t != nil && t.ready > at {
				best, at = v.Graph.Name(o), t.ready
			}
		}
	}
	return best
}
