package sim

// Shrink makes the failing world of o smaller while the same check goes on failing: it leaves out services, then kinds of
// faults, then requests, in ever smaller groups. It returns the options of the smallest world found and its run, with a
// trace. budget bounds the number of worlds tried.
func Shrink(o Options, budget int) (Options, Result) {
	o.Trace = false
	first := Run(o)
	if first.Failure == nil {
		return o, first
	}
	s := shrinker{options: o, check: first.Failure.Check, budget: budget}
	for before := -1; s.options.Mask.count() != before && s.budget > 0; {
		before = s.options.Mask.count()
		s.groups(first.Total, func(m *Mask, i int) { m.Services[i>>6] |= 1 << (i & 63) })
		s.groups(int(nFaults), func(m *Mask, i int) { m.Faults |= 1 << i })
		s.groups(first.Ops, func(m *Mask, i int) { m.Ops[i>>6] |= 1 << (i & 63) })
	}
	s.options.Trace = true
	return s.options, Run(s.options)
}

type shrinker struct {
	options Options
	check   string
	budget  int
}

// groups tries to leave out n things, first half of them at once, then a quarter, … then one by one.
func (s *shrinker) groups(n int, leaveOut func(m *Mask, i int)) {
	n = min(n, 256)
	for size := max(1, n/2); ; size /= 2 {
		for from := 0; from < n && s.budget > 0; from += size {
			try := s.options
			for i := from; i < min(from+size, n); i++ {
				leaveOut(&try.Mask, i)
			}
			if try.Mask == s.options.Mask {
				continue
			}
			s.budget--
			if r := Run(try); r.Failure != nil && r.Failure.Check == s.check {
				s.options = try
			}
		}
		if size == 1 {
			return
		}
	}
}
