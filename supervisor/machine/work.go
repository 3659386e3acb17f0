package machine

import "math/bits"

// rankSet is a set of services by rank: a two-level bitset with both ends in a few instructions. A service is in it
// or not, so it is bounded by construction.
type rankSet struct {
	words   []uint64 // bit r of all: the service with rank r
	summary []uint64 // bit w: words[w] is not 0
	count   int
}

func newRankSet(n int) rankSet {
	words := (n + 63) / 64
	return rankSet{make([]uint64, words), make([]uint64, (words+63)/64), 0}
}

func (s *rankSet) add(rank int32) {
	w, bit := rank>>6, uint64(1)<<(rank&63)
	if s.words[w]&bit == 0 {
		s.words[w] |= bit
		s.summary[w>>6] |= 1 << (w & 63)
		s.count++
	}
}

func (s *rankSet) remove(rank int32) {
	w, bit := rank>>6, uint64(1)<<(rank&63)
	if s.words[w]&bit == 0 {
		return
	}
	s.words[w] &^= bit
	if s.words[w] == 0 {
		s.summary[w>>6] &^= 1 << (w & 63)
	}
	s.count--
}

// popLowest takes out the lowest rank, -1 when empty.
func (s *rankSet) popLowest() int32 {
	if s.count == 0 {
		return -1
	}
	for i, sum := range s.summary {
		if sum != 0 {
			w := int32(i<<6 + bits.TrailingZeros64(sum))
			rank := w<<6 + int32(bits.TrailingZeros64(s.words[w]))
			s.remove(rank)
			return rank
		}
	}
	panic("machine: rank set counts more than it has")
}

// popHighest takes out the highest rank, -1 when empty.
func (s *rankSet) popHighest() int32 {
	if s.count == 0 {
		return -1
	}
	for i := len(s.summary) - 1; i >= 0; i-- {
		if sum := s.summary[i]; sum != 0 {
			w := int32(i<<6 + 63 - bits.LeadingZeros64(sum))
			rank := w<<6 + int32(63-bits.LeadingZeros64(s.words[w]))
			s.remove(rank)
			return rank
		}
	}
	panic("machine: rank set counts more than it has")
}

// wake puts a service among those that may start or whose counts changed.
func (m *Machine) wake(i int32) {
	if m.bug(BugRankOrderOff) {
		m.fifo = append(m.fifo, i)
		return
	}
	m.starts.add(m.services[i].rank)
}

// drain puts a service among those that may have to go on with a stop.
func (m *Machine) drain(i int32) { m.stops.add(m.services[i].rank) }

// settle works off both sets: all stops first, highest rank first, then starts, lowest first. It ends because a start
// uses up the service's due bit and only an event sets it again.
func (m *Machine) settle() {
	for {
		if m.shutdownDue && !m.shutting {
			m.shutdown(m.haltCode)
		}
		if m.bug(BugRankOrderOff) && len(m.fifo) > 0 && !m.restoring {
			i := m.fifo[0]
			m.fifo = m.fifo[1:]
			m.dispatch(i, inWake, nil)
			continue
		}
		if rank := m.stops.popHighest(); rank >= 0 {
			m.dispatch(m.byRank[rank], inDrain, nil)
			continue
		}
		if m.restoring {
			return
		}
		rank := m.starts.popLowest()
		if rank < 0 {
			return
		}
		m.dispatch(m.byRank[rank], inWake, nil)
	}
}
