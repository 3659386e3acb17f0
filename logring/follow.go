package logring

import "slices"

// Watch wakes one follower. C has one slot: it is filled when a watched ring got lines since it was last emptied.
type Watch struct {
	C     chan struct{}
	f     func() // instead of C
	a     *Arena
	rings []*Ring // nil = all
}

// Watch begins to watch rings, all of them (also those to come) when none is given. The channel is filled at once, so that what
// was there before is looked at. Close it.
func (a *Arena) Watch(rings ...*Ring) *Watch {
	return a.watchInto(&Watch{C: make(chan struct{}, 1)}, rings)
}

// WatchFunc is Watch with a function instead of a channel. It runs in the writer's goroutine, under its locks: it must only
// set a flag, or start a goroutine.
func (a *Arena) WatchFunc(f func(), rings ...*Ring) *Watch {
	return a.watchInto(&Watch{f: f}, rings)
}

func (a *Arena) watchInto(w *Watch, rings []*Ring) *Watch {
	w.a, w.rings = a, rings
	w.Wake()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(rings) == 0 {
		a.watchers = append(a.watchers, w)
	}
	for _, r := range rings {
		r.mu.Lock()
		r.watchers = append(r.watchers, w)
		r.mu.Unlock()
	}
	return w
}

// Add watches one more ring.
func (w *Watch) Add(r *Ring) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.rings = append(w.rings, r)
	r.mu.Lock()
	r.watchers = append(r.watchers, w)
	r.mu.Unlock()
	w.Wake()
}

// Remove ends watching one ring.
func (w *Watch) Remove(r *Ring) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.rings = without(w.rings, r)
	r.mu.Lock()
	r.watchers = without(r.watchers, w)
	r.mu.Unlock()
}

// Close ends watching.
func (w *Watch) Close() {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.watchers = without(w.a.watchers, w)
	for _, r := range w.rings {
		r.mu.Lock()
		r.watchers = without(r.watchers, w)
		r.mu.Unlock()
	}
}

func without[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// Wake fills the channel.
func (w *Watch) Wake() {
	if w.f != nil {
		w.f()
		return
	}
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// notify wakes who watches the ring; the caller holds a.mu and r.mu.
func (r *Ring) notify() {
	for _, w := range r.watchers {
		w.Wake()
	}
	for _, w := range r.a.watchers {
		w.Wake()
	}
}

// Batch is what a Follower returns: lines of one service in their order.
type Batch struct {
	Service string
	Records []Record
	Missed  uint64 // lines that were given up before Records[0]
}

// Follower reads the rings of some services from given numbers on, without gap or duplicate. One goroutine uses it.
type Follower struct {
	C <-chan struct{} // says when Next may have something new

	a      *Arena
	c      chan struct{}
	watch  *Watch
	names  []string // nil = all
	from   map[string]uint64
	places []*place
	epoch  uint64 // of a.epoch when places was made
	turn   int
}

// place is how far one service was read. ring is nil while it does not exist.
type place struct {
	name string
	ring *Ring
	next uint64
}

// Follow begins to follow the named services, all when there is no name. from gives the first number wanted of a
// service; one without an entry is followed from now on, and one that appears later from its first line.
func (a *Arena) Follow(names []string, from map[string]uint64) *Follower {
	c := make(chan struct{}, 1)
	f := &Follower{a: a, C: c, c: c, names: slices.Clone(names), from: from}
	f.refresh(true)
	return f
}

// Close ends following.
func (f *Follower) Close() { f.watch.Close() }

// refresh brings places and the watch in line with the rings that exist now.
func (f *Follower) refresh(begin bool) {
	f.epoch = f.a.epoch.Load()
	old := map[string]*place{}
	for _, p := range f.places {
		old[p.name] = p
	}
	names := f.names
	if len(names) == 0 {
		names = f.a.Names()
	}
	f.places = f.places[:0:0]
	var rings []*Ring
	for _, name := range names {
		p := f.locate(name, old[name], begin)
		f.places = append(f.places, p)
		if p.ring != nil {
			rings = append(rings, p.ring)
		}
	}
	if len(f.names) == 0 || len(rings) < len(names) {
		rings = nil // all, so that a ring which comes to be is seen
	}
	was := f.watch
	f.watch = f.a.watchInto(&Watch{C: f.c}, rings)
	if was != nil {
		was.Close()
	}
}

// locate finds the ring of a name, going on from p where the ring is still the same one.
func (f *Follower) locate(name string, p *place, begin bool) *place {
	ring := f.a.Find(name)
	if p != nil && (p.ring == ring || p.ring == nil) {
		p.ring = ring
		return p
	}
	p = &place{name: name, ring: ring, next: 1}
	if seq, ok := f.from[name]; ok && begin {
		p.next = max(seq, 1)
	} else if begin && ring != nil {
		p.next = ring.Next()
	}
	return p
}

// Position is the number of the next line of a service that Next will return, 1 for one that is not followed yet.
func (f *Follower) Position(service string) uint64 {
	for _, p := range f.places {
		if p.name == service {
			return p.next
		}
	}
	return 1
}

// Next returns up to limit lines of one service that has news, taking services in turn; ok is false when there are
// none: wait on C then.
func (f *Follower) Next(limit int) (b Batch, ok bool) {
	if f.epoch != f.a.epoch.Load() {
		f.refresh(false)
	}
	for i := range f.places {
		k := (f.turn + i) % len(f.places)
		p := f.places[k]
		if p.ring == nil || p.ring.Next() <= p.next {
			continue
		}
		b.Service = p.name
		b.Records, p.next, b.Missed = p.ring.Read(p.next, limit)
		f.turn = k + 1
		return b, true
	}
	return Batch{}, false
}
