package sim

import (
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// journal stands for supervisor/journal: the newest record of each name, the globals, and the loaded definitions. A
// batch is atomic there, so a torn batch is the same as one that was never written (beforeJournal).
type journal struct {
	records  map[string]machine.Record
	globals  machine.Globals
	graph    *graph.Graph
	versions []int
}

// record appends what the last Step touched.
func (w *World) record() {
	j := &w.journal
	if j.records == nil {
		j.records = map[string]machine.Record{}
	}
	dirty := w.m.Dirty()
	if w.Slips&SlipForgetDirty != 0 && len(dirty) > 1 {
		dirty = dirty[:len(dirty)-1]
	}
	for _, id := range dirty {
		r := w.m.Record(id)
		j.records[r.Name] = r
	}
	j.globals = w.m.Globals()
	w.recordGraph()
}

// recordAll appends everything; only a slip does that.
func (w *World) recordAll() {
	j := &w.journal
	j.records = map[string]machine.Record{}
	for id := range graph.ID(w.m.Len()) {
		r := w.m.Record(id)
		j.records[r.Name] = r
	}
	j.globals = w.m.Globals()
	w.recordGraph()
}

// recordGraph keeps the loaded definitions, and drops the records of names that are neither loaded nor going.
func (w *World) recordGraph() {
	j := &w.journal
	if j.graph == w.g {
		return
	}
	j.graph = w.g
	j.versions = make([]int, len(w.services))
	for i, s := range w.services {
		j.versions[i] = s.version
	}
}

// sorted returns the records by name.
func (j *journal) sorted() []machine.Record {
	list := make([]machine.Record, 0, len(j.records))
	for _, r := range j.records {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b machine.Record) int { return strings.Compare(a.Name, b.Name) })
	return list
}
