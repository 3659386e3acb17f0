package graph

import "slices"

type edge struct{ from, to ID }

// rows are the edges of one kind in compressed rows: those of id are edges[start[id]:start[id+1]], sorted, unique.
type rows struct {
	start []int32
	edges []ID
}

// row returns the edges of id, nil when the kind has none at all.
func (r *rows) row(id ID) []ID {
	if len(r.edges) == 0 {
		return nil
	}
	from, to := r.start[id], r.start[id+1]
	return r.edges[from:to:to]
}

// has reports whether there is an edge from one to the other.
func (r *rows) has(from, to ID) bool {
	_, ok := slices.BinarySearch(r.row(from), to)
	return ok
}

// makeRows sorts edges into rows for n services. Edges with from == None are left out.
func makeRows(n int, edges []edge) rows {
	start := make([]int32, n+1)
	for _, e := range edges {
		if e.from != None {
			start[e.from+1]++
		}
	}
	for i := range n {
		start[i+1] += start[i]
	}
	if start[n] == 0 {
		return rows{start: start}
	}
	list := make([]ID, start[n])
	next := slices.Clone(start[:n])
	for _, e := range edges {
		if e.from != None {
			list[next[e.from]] = e.to
			next[e.from]++
		}
	}
	r := rows{start, list}
	r.normalize()
	return r
}

// normalize sorts each row and drops what is twice in it.
func (r *rows) normalize() {
	kept := int32(0)
	for id := range len(r.start) - 1 {
		row := r.edges[r.start[id]:r.start[id+1]]
		slices.Sort(row)
		row = slices.Compact(row)
		r.start[id] = kept
		kept += int32(copy(r.edges[kept:], row))
	}
	r.start[len(r.start)-1] = kept
	r.edges = r.edges[:kept]
}

// reverse returns the edges the other way round. Going through the sources in order leaves each row sorted.
func (r *rows) reverse() rows {
	n := len(r.start) - 1
	start := make([]int32, n+1)
	for _, to := range r.edges {
		start[to+1]++
	}
	for i := range n {
		start[i+1] += start[i]
	}
	list := make([]ID, len(r.edges))
	next := slices.Clone(start[:n])
	for from := range n {
		for _, to := range r.row(ID(from)) {
			list[next[to]] = ID(from)
			next[to]++
		}
	}
	return rows{start, list}
}

// merge returns the union of two, row by row.
func merge(a, b rows) rows {
	if len(b.edges) == 0 {
		return a
	}
	if len(a.edges) == 0 {
		return b
	}
	n := len(a.start) - 1
	edges := make([]edge, 0, len(a.edges)+len(b.edges))
	for from := range n {
		for _, to := range a.row(ID(from)) {
			edges = append(edges, edge{ID(from), to})
		}
		for _, to := range b.row(ID(from)) {
			edges = append(edges, edge{ID(from), to})
		}
	}
	return makeRows(n, edges)
}
