package machine

import (
	"slices"

	"github.com/zinit/zinit/graph"
)

// pullIn makes everything that root requires, binds or wants, directly or through others, wanted up and due. strong means
// an explicit start: then what root needs over requires and binds alone is pulled in even with status stop or held down.
// Dependencies come before dependents, so that a stop cancelled below lets the one above be cancelled too.
func (m *Machine) pullIn(root int32, strong bool) {
	m.stamp++
	m.found = m.found[:0]
	m.services[root].mark = m.stamp
	if strong {
		m.collect(root, true)
		for at := -1; at < len(m.found); at++ {
			from := root
			if at >= 0 {
				from = m.found[at]
			}
			if at < 0 || m.services[from].job == nil {
				m.collect(from, false)
			}
		}
	} else {
		m.collect(root, false)
	}
	found := slices.Clone(m.found)
	slices.SortFunc(found, func(a, b int32) int { return int(m.services[a].rank) - int(m.services[b].rank) })
	by := m.services[root].name
	for _, i := range found {
		if s := &m.services[i]; s.job != nil { // it runs when it is due, not because it is needed
			if !s.is(flagHeld) {
				m.wantJob(i)
			}
			continue
		}
		m.dispatch(i, inPull, command{CausePulledIn, by})
	}
}

// collect walks from a service to what it pulls in and appends it to m.found.
func (m *Machine) collect(from int32, strong bool) {
	m.walk = append(m.walk[:0], from)
	for len(m.walk) > 0 {
		i := m.walk[len(m.walk)-1]
		m.walk = m.walk[:len(m.walk)-1]
		m.collectKind(m.graph.Requires(graph.ID(i)), strong)
		m.collectKind(m.graph.Binds(graph.ID(i)), strong)
		if !strong {
			m.collectKind(m.graph.Wants(graph.ID(i)), false)
		}
	}
}

func (m *Machine) collectKind(ids []graph.ID, strong bool) {
	for _, id := range ids {
		s := &m.services[id]
		status := m.status(int32(id))
		if s.mark == m.stamp || status == graph.StatusIgnore {
			continue
		}
		if !strong && (status == graph.StatusStop || s.is(flagHeld)) {
			continue
		}
		s.mark = m.stamp
		m.found = append(m.found, int32(id))
		if s.job == nil { // what a job needs is started when it runs
			m.walk = append(m.walk, int32(id))
		}
	}
}
