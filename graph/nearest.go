package graph

import "iter"

// Nearest returns the candidate with the smallest edit distance to name, the first of several; "" when even that one
// is further away than a typing error: more edits than a third of the name's length, or more than 3.
func Nearest(name string, candidates iter.Seq[string]) string {
	limit := min(len(name)/3, 3)
	best, bestDistance := "", limit+1
	for candidate := range candidates {
		if d := distance(name, candidate, bestDistance-1); d < bestDistance && candidate != name {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the number of inserted, removed, changed or swapped bytes between a and b, limit+1 when that is more
// than limit.
func distance(a, b string, limit int) int {
	if limit < 0 || len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 128 || len(b) > 128 {
		return limit + 1
	}
	var space [3][129]int
	before, last, row := &space[0], &space[1], &space[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		smallest := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			smallest = min(smallest, row[j])
		}
		if smallest > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit+1)
}
