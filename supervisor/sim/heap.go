package sim

// item is something that will happen in the world.
type item struct {
	at   Time
	seq  uint32 // order among those of one time
	what happening
	arg  int32  // an index or a token, by what
	life uint32 // of the server: words to a server that is dead are lost
	p    *process
	word wordKind
	gen  Gen
}

// happening is what an item is.
type happening uint8

const (
	hOp        happening = iota // arg: index in the script
	hFork                       // a spawn request reaches its fork, or fails
	hMainExit                   // arg: token
	hKidsExit                   // arg: token
	hReady                      // the process says that it is ready
	hWord                       // a report reaches the driver
	hRestart                    // the keeper starts a new server
	hPortFree                   // a foreign process lets go of a port
	hStepAside                  // MAINPID: another process of the tree takes over
	hPing                       // a watchdog ping
	hHangup                     // gen: the request whose client goes away
	hReloaded                   // a reload that was planned is applied
	hClock                      // the driver hears that the wall clock was set
	hExec                       // an upgrade comes to its execution, or the new image to what was kept for it
)

// eventHeap is a binary heap by (at, seq).
type eventHeap struct {
	items []item
	next  uint32
}

func (h *eventHeap) push(it item) {
	it.seq = h.next
	h.next++
	list := append(h.items, it)
	at := len(list) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if !earlier(&list[at], &list[parent]) {
			break
		}
		list[at], list[parent] = list[parent], list[at]
		at = parent
	}
	h.items = list
}

func (h *eventHeap) pop() item {
	list := h.items
	top, last := list[0], len(list)-1
	list[0] = list[last]
	list[last].p = nil
	list = list[:last]
	at := 0
	for {
		child := 2*at + 1
		if child >= last {
			break
		}
		if child+1 < last && earlier(&list[child+1], &list[child]) {
			child++
		}
		if !earlier(&list[child], &list[at]) {
			break
		}
		list[at], list[child] = list[child], list[at]
		at = child
	}
	h.items = list
	return top
}

func earlier(a, b *item) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
