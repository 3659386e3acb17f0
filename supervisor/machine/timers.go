package machine

// timerKind is one of the three deadlines that a service can have.
type timerKind int32

const (
	timerLife     timerKind = iota // of the state and phase: start, stop, kill, hook, restart, next precheck
	timerProbe                     // the next health check
	timerWatchdog                  // no ping in time
	nTimers
)

type timer struct {
	at  Time
	key int32 // service * nTimers + kind
}

// timers is an indexed binary heap: at most three deadlines for each service, the earliest in one look, cancelled in
// log n. Equal deadlines come in order of their key, so that nothing depends on history.
type timers struct {
	heap []timer
	pos  []int32 // by key: place in heap + 1, 0 = not armed
}

func newTimers(services int) timers { return timers{pos: make([]int32, services*int(nTimers))} }

func (t *timers) grow(services int) {
	for len(t.pos) < services*int(nTimers) {
		t.pos = append(t.pos, 0)
	}
}

func (t *timers) less(a, b timer) bool { return a.at < b.at || a.at == b.at && a.key < b.key }

func (t *timers) arm(i int32, kind timerKind, at Time) {
	key := i*int32(nTimers) + int32(kind)
	if p := t.pos[key]; p != 0 {
		t.heap[p-1].at = at
		t.down(t.up(int(p - 1)))
		return
	}
	t.heap = append(t.heap, timer{at, key})
	t.pos[key] = int32(len(t.heap))
	t.up(len(t.heap) - 1)
}

func (t *timers) cancel(i int32, kind timerKind) {
	if p := t.pos[i*int32(nTimers)+int32(kind)]; p != 0 {
		t.removeAt(int(p - 1))
	}
}

// at returns when a timer ends, 0 when it is not armed.
func (t *timers) at(i int32, kind timerKind) Time {
	if p := t.pos[i*int32(nTimers)+int32(kind)]; p != 0 {
		return t.heap[p-1].at
	}
	return 0
}

// pop takes out the earliest timer if it has ended.
func (t *timers) pop(now Time) (i int32, kind timerKind, ok bool) {
	if len(t.heap) == 0 || t.heap[0].at > now {
		return 0, 0, false
	}
	key := t.heap[0].key
	t.removeAt(0)
	return key / int32(nTimers), timerKind(key % int32(nTimers)), true
}

func (t *timers) removeAt(p int) {
	last := len(t.heap) - 1
	t.pos[t.heap[p].key] = 0
	if p != last {
		t.heap[p] = t.heap[last]
		t.pos[t.heap[p].key] = int32(p + 1)
	}
	t.heap = t.heap[:last]
	if p != last {
		t.down(t.up(p))
	}
}

func (t *timers) swap(a, b int) {
	t.heap[a], t.heap[b] = t.heap[b], t.heap[a]
	t.pos[t.heap[a].key], t.pos[t.heap[b].key] = int32(a+1), int32(b+1)
}

func (t *timers) up(p int) int {
	for p > 0 {
		parent := (p - 1) / 2
		if !t.less(t.heap[p], t.heap[parent]) {
			break
		}
		t.swap(p, parent)
		p = parent
	}
	return p
}

func (t *timers) down(p int) {
	for {
		child := 2*p + 1
		if child >= len(t.heap) {
			return
		}
		if child+1 < len(t.heap) && t.less(t.heap[child+1], t.heap[child]) {
			child++
		}
		if !t.less(t.heap[child], t.heap[p]) {
			return
		}
		t.swap(p, child)
		p = child
	}
}

// arm starts (or moves) a deadline. For a service that has announced its end neither checks nor pings count any more.
func (m *Machine) arm(i int32, kind timerKind, at Time) {
	if kind != timerLife && m.services[i].is(flagSelfStopping) {
		return
	}
	m.timers.arm(i, kind, at)
	m.touch(i)
}

// disarm cancels a deadline.
func (m *Machine) disarm(i int32, kind timerKind) {
	if m.bug(BugTimersKept) && kind == timerLife {
		return
	}
	m.timers.cancel(i, kind)
}
