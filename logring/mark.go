package logring

import (
	"hash/fnv"
	"sync/atomic"
)

// Position is where a sink stands, kept in the arena: the sequence number of the next line it wants, and what else it
// must know after a crash (a file's identity and offset, a batch under way).
type Position struct {
	Seq    uint64
	Values [7]uint64
}

// Mark is a place for one Position. It outlives the server as the lines do. Its fields are guarded by the arena's mutex.
type Mark struct {
	r      *Ring
	key    uint64
	number uint32
	ver    uint64
	pos    Position

	stored    bool // has a slot in the arena
	forgotten bool
}

// Mark finds or makes the mark of the sink called key (its URL or path). known is false when it is new: then its
// position is the oldest line there is. A ring has at most 8 marks; further ones work but do not outlive the server.
func (r *Ring) Mark(key string) (m *Mark, known bool) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.marks {
		if m.key == h.Sum64() {
			return m, true
		}
	}
	m = &Mark{r: r, key: h.Sum64(), pos: Position{Seq: r.firstHeld()}}
	r.marks = append(r.marks, m)
	return m, false
}

// Get returns the position last set.
func (m *Mark) Get() Position {
	m.r.a.mu.Lock()
	defer m.r.a.mu.Unlock()
	return m.pos
}

// Set records a position. It is in the arena when Set returns, whole: a crash leaves the old one or the new one.
func (m *Mark) Set(p Position) {
	a := m.r.a
	a.mu.Lock()
	defer a.mu.Unlock()
	m.pos = p
	if !m.stored && !m.store() {
		return
	}
	m.ver++
	s := a.mark(m.number)
	s.vals[m.ver&1] = p
	atomic.StoreUint64(&s.cur, m.ver)
}

// store gives the mark its slot.
func (m *Mark) store() bool {
	r := m.r
	r.begin()
	defer r.end()
	if m.forgotten || len(r.marks) > maxMarks || !r.needHead() {
		return false
	}
	number, ok := r.a.allocSlot()
	if !ok {
		return false
	}
	s := r.a.mark(number)
	*s = markSlot{head: r.number, key: m.key, vals: [2]Position{m.pos, m.pos}}
	atomic.StoreUint32(&s.kind, slotMark)
	m.number, m.stored = number, true
	return true
}

// drop frees the slot; the ring's marks are the caller's.
func (m *Mark) drop() {
	m.forgotten = true
	if m.stored {
		m.r.a.freeSlot(m.number)
		m.stored = false
	}
}

// Forget removes the mark: its sink is no longer configured.
func (m *Mark) Forget() {
	r := m.r
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.marks {
		if other == m {
			r.marks = append(r.marks[:i:i], r.marks[i+1:]...)
			m.drop()
			return
		}
	}
}
