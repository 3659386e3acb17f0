package view

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/record"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
)

// BootLine records when each service was due, started and ready for the first time. The driver writes, queries read. It is
// kept in the journal as it grows, so that the next server tells of the same start.
type BootLine struct {
	mu       sync.Mutex
	clock    Clock
	zero     machine.Time // time zero of the line on CLOCK_MONOTONIC
	kernel   bool         // zero is the kernel's
	spawned  machine.Time // the keeper started the server, 0 = nobody told
	began    machine.Time // the server's first instruction that we control
	loaded   machine.Time
	services map[string]*bootTimes
	order    []string
}

type bootTimes struct {
	due, start, ready machine.Time
	waited            string
}

// NewBootLine begins the line now. With kernel its time zero is the start of the kernel, else it is now. spawned is when the
// keeper started the server.
func NewBootLine(c Clock, kernel bool, spawned int64) *BootLine {
	b := &BootLine{clock: c, kernel: kernel, spawned: machine.Time(spawned), began: c.Now(), services: map[string]*bootTimes{}}
	if !kernel {
		b.zero = b.began
	}
	return b
}

// Note takes a transition; only the first start of a service counts. It reports whether there is something to be kept.
func (b *BootLine) Note(name string, n machine.Note) (news bool) {
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
			t.start, news = now, true
			if n.Cause == machine.CauseDependency {
				t.waited = n.By
			}
		}
	case machine.Running, machine.Exited:
		if t.ready == 0 {
			t.ready, news = now, true
			if t.start == 0 {
				t.start = now
			}
			if t.waited == "" && n.Cause == machine.CauseTarget {
				t.waited = n.By
			}
		}
	}
	return news
}

// The keys of the journal's notes: of the line itself, and with a name behind it, of a service.
const (
	BootNote        = "boot"
	BootServiceNote = "boot/"
)

// fields visits what is kept of the line itself.
func (b *BootLine) fields(c *record.Codec) {
	record.Int(c, 1, &b.zero)
	record.Int(c, 2, &b.spawned)
	record.Int(c, 3, &b.began)
	record.Int(c, 4, &b.loaded)
}

// fields visits what is kept of a service.
func (t *bootTimes) fields(c *record.Codec) {
	record.Int(c, 1, &t.due)
	record.Int(c, 2, &t.start)
	record.Int(c, 3, &t.ready)
	c.Text(4, &t.waited)
}

// Kept is the line without its services, for the journal.
func (b *BootLine) Kept() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := record.Writer(nil)
	b.fields(&c)
	return c.Bytes()
}

// KeptService is what is known of a service, for the journal.
func (b *BootLine) KeptService(name string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := record.Writer(nil)
	b.services[name].fields(&c)
	return c.Bytes()
}

// Restore makes it the line that another server has kept; what was not kept is not known.
func (b *BootLine) Restore(notes map[string][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if kept, ok := notes[BootNote]; ok {
		c := record.Reader(kept)
		b.fields(&c)
	}
	for key, value := range notes {
		name, ok := strings.CutPrefix(key, BootServiceNote)
		if !ok {
			continue
		}
		t, c := &bootTimes{}, record.Reader(value)
		if t.fields(&c); c.Err() == nil {
			b.services[name] = t
			b.order = append(b.order, name)
		}
	}
	slices.SortFunc(b.order, func(x, y string) int {
		return cmp.Or(cmp.Compare(b.services[x].due, b.services[y].due), strings.Compare(x, y))
	})
}

// Forget takes a service out.
func (b *BootLine) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.services, name)
	b.order = slices.DeleteFunc(b.order, func(n string) bool { return n == name })
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
	if b.kernel {
		w.PID1MS = max(b.ms(b.spawned), 0)
	}
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
