package graph

// rankAll gives every service its place by Kahn's algorithm; among those that could come next the first by name does.
// The edges have no cycle any more when it runs, so that everyone gets a place.
func (g *Graph) rankAll() {
	n := len(g.configs)
	waits := make([]int32, n)
	for id := range ID(n) {
		for k := range KindConflicts {
			waits[id] += int32(len(g.out[k].row(id)))
		}
	}
	var ready minHeap
	for id := range ID(n) {
		if waits[id] == 0 {
			ready.push(id)
		}
	}
	g.rank = make([]int32, n)
	g.order = make([]ID, 0, n)
	for len(ready) > 0 {
		id := ready.pop()
		g.rank[id] = int32(len(g.order))
		g.order = append(g.order, id)
		for k := range KindConflicts {
			for _, follower := range g.in[k].row(id) {
				if waits[follower]--; waits[follower] == 0 {
					ready.push(follower)
				}
			}
		}
	}
}

// minHeap is a binary heap of IDs, smallest first. (container/heap would box every one.)
type minHeap []ID

func (h *minHeap) push(id ID) {
	list := append(*h, id)
	at := len(list) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if list[parent] <= list[at] {
			break
		}
		list[parent], list[at] = list[at], list[parent]
		at = parent
	}
	*h = list
}

func (h *minHeap) pop() ID {
	list := *h
	top, last := list[0], len(list)-1
	list[0] = list[last]
	list = list[:last]
	at := 0
	for {
		child := 2*at + 1
		if child >= last {
			break
		}
		if child+1 < last && list[child+1] < list[child] {
			child++
		}
		if list[at] <= list[child] {
			break
		}
		list[at], list[child] = list[child], list[at]
		at = child
	}
	*h = list
	return top
}
