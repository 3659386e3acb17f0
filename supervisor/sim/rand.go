package sim

// rng is PCG-XSH-RR 64/32 (pcg-random.org). Every part of a world has its own, derived from the seed and the part's
// name, so that leaving one part out while shrinking does not change what the others draw.
type rng struct{ state, inc uint64 }

const pcgMultiplier = 6364136223846793005

// newRng returns the generator for one part; keys name the part.
func newRng(seed uint64, keys ...uint64) rng {
	h := mix(seed, 0x9e3779b97f4a7c15)
	for _, k := range keys {
		h = mix(h, k)
	}
	r := rng{state: h, inc: mix(h, 0xda3e39cb94b95bdb) | 1}
	r.u32()
	return r
}

// mix is one round of splitmix64 over both words.
func mix(a, b uint64) uint64 {
	z := a + 0x9e3779b97f4a7c15 + b*0xbf58476d1ce4e5b9
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func (r *rng) u32() uint32 {
	old := r.state
	r.state = old*pcgMultiplier + r.inc
	x := uint32(((old >> 18) ^ old) >> 27)
	rot := uint32(old >> 59)
	return x>>rot | x<<((-rot)&31)
}

func (r *rng) u64() uint64 { return uint64(r.u32())<<32 | uint64(r.u32()) }

// n draws from [0, n); n > 0.
func (r *rng) n(n int) int { return int(uint64(r.u32()) * uint64(n) >> 32) }

// chance is true with probability permille/1000.
func (r *rng) chance(permille int) bool { return r.n(1000) < permille }

// between draws from [lo, hi].
func (r *rng) between(lo, hi Time) Time {
	if hi <= lo {
		return lo
	}
	return lo + Time(r.u64()%uint64(hi-lo+1))
}

// choose draws one of list.
func choose[T any](r *rng, list ...T) T { return list[r.n(len(list))] }

// shuffle returns 0..n-1 in random order.
func (r *rng) shuffle(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := r.n(i + 1)
		list[i], list[j] = list[j], list[i]
	}
	return list
}
