package graph

import (
	"maps"
	"slices"
	"strings"
)

// Plan is what a reload changes. The lists are sorted by name.
type Plan struct {
	Added, Removed []string
	Changed        []Change
	Quiet          []string // of Added: not started by being added, whatever their status says (service.add)
}

// Change is one service that a reload changes or touches.
type Change struct {
	Name    string
	Restart bool     // a running process depends on what changed, or Because
	Fields  []string // the keys that changed, sorted; nil for an unchanged service that is touched through others
	Because string   // "requires db, exec changed"; "" when the service itself changed
}

// Empty reports whether nothing changes.
func (p *Plan) Empty() bool { return len(p.Added)+len(p.Removed)+len(p.Changed) == 0 }

// Diff compares two graphs by the rules of docs/config.md, Reload. Restart of a changed service follows from the fields alone:
// one without a process simply takes the new definition. An unchanged service with a process is touched when one that it
// requires or binds, directly or through others, is removed, or must restart and has a process. hasProcess is asked
// by name; a reached target counts; nil = all have one. drifted names the keys of a service with a process whose files say
// something else than when it started, though its definition is the same; nil = there are none.
func Diff(old, new *Graph, hasProcess func(name string) bool, drifted func(name string) []string) *Plan {
	if hasProcess == nil {
		hasProcess = func(string) bool { return true }
	}
	plan := &Plan{}
	changed := map[string]int{}
	for id := range ID(new.Len()) {
		before, ok := old.Lookup(new.Name(id))
		if !ok {
			plan.Added = append(plan.Added, new.Name(id))
			continue
		}
		fields, restart := changes(old, before, new, id)
		if drifted != nil && hasProcess(new.Name(id)) && new.flaws[id].kind == "" {
			if more := drifted(new.Name(id)); len(more) > 0 {
				fields, restart = append(fields, more...), true
				slices.Sort(fields)
				fields = slices.Compact(fields)
			}
		}
		if len(fields) > 0 {
			changed[new.Name(id)] = len(plan.Changed)
			plan.Changed = append(plan.Changed, Change{Name: new.Name(id), Restart: restart, Fields: fields})
		}
	}
	for id := range ID(old.Len()) {
		if _, ok := new.Lookup(old.Name(id)); !ok {
			plan.Removed = append(plan.Removed, old.Name(id))
		}
	}
	spread(new, plan, changed, hasProcess)
	slices.SortFunc(plan.Changed, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return plan
}

// cause is where a restart comes from, for one service that it reaches.
type cause struct {
	root string // the service that changed or is gone
	what string // "exec changed", "removed"
}

// spread adds the unchanged services that a restart or a removal reaches.
func spread(g *Graph, plan *Plan, changed map[string]int, hasProcess func(string) bool) {
	reached := map[ID]bool{}
	causes := map[ID]cause{}
	var queue []ID
	reach := func(id, through ID, c cause) {
		if reached[id] {
			return
		}
		reached[id], causes[id] = true, c
		queue = append(queue, id)
		touch(g, plan, changed, hasProcess, id, through, c)
	}
	gone := map[string]bool{}
	for _, name := range plan.Removed {
		gone[name] = true
	}
	for _, id := range slices.Sorted(maps.Keys(g.missing)) {
		for _, m := range g.missing[id] {
			if m.kind <= KindBinds && gone[m.name] {
				reach(id, None, cause{m.name, "removed"})
			}
		}
	}
	for _, c := range slices.Clone(plan.Changed) {
		if id, _ := g.Lookup(c.Name); c.Restart && hasProcess(c.Name) && !reached[id] {
			reached[id], causes[id] = true, cause{c.Name, strings.Join(c.Fields, ", ") + " changed"}
			queue = append(queue, id)
		}
	}
	for at := 0; at < len(queue); at++ {
		for _, dependent := range g.Requirers(queue[at]) {
			reach(dependent, queue[at], causes[queue[at]])
		}
	}
}

// touch enters one reached service into the plan.
func touch(g *Graph, plan *Plan, changed map[string]int, hasProcess func(string) bool, id, through ID, c cause) {
	name := g.Name(id)
	if !hasProcess(name) {
		return
	}
	verb := "requires "
	if to, ok := g.Lookup(c.root); ok && g.out[KindBinds].has(id, to) {
		verb = "binds "
	}
	because := verb + c.root
	if through != None && g.Name(through) != c.root {
		because += " through " + g.Name(through)
	}
	because += ", " + c.what
	if at, ok := changed[name]; ok {
		if !plan.Changed[at].Restart {
			plan.Changed[at].Restart, plan.Changed[at].Because = true, because
		}
		return
	}
	if _, broken := g.flaws[id]; broken {
		return
	}
	plan.Changed = append(plan.Changed, Change{Name: name, Restart: true, Because: because})
}

// changes lists the keys that differ between two definitions and whether a running process depends on one of them.
func changes(old *Graph, before ID, new *Graph, after ID) (fields []string, restart bool) {
	a, b := old.configs[before], new.configs[after]
	if a == b && old.flaws[before] == new.flaws[after] {
		return nil, false
	}
	if (old.flaws[before].kind == "") != (new.flaws[after].kind == "") {
		fields, restart = append(fields, "definition"), true
	}
	more, needs := compare(a, b)
	fields, restart = append(fields, more...), restart || needs
	slices.Sort(fields)
	return slices.Compact(fields), restart
}

// Changes lists the keys in which two definitions of a service differ, sorted.
func Changes(a, b *Config) []string {
	fields, _ := compare(a, b)
	slices.Sort(fields)
	return fields
}

// compare lists the keys that differ, and whether a running process depends on one of them.
func compare(a, b *Config) (fields []string, restart bool) {
	if a.Target != b.Target {
		fields, restart = append(fields, "definition"), true
	}
	for i := range comparisons {
		c := &comparisons[i]
		if !c.same(a, b) {
			fields = append(fields, c.key)
			restart = restart || c.restart
		}
	}
	return fields, restart
}

// comparison is one key of the file: how to tell that it changed, and whether a running process depends on it.
type comparison struct {
	key     string
	restart bool
	same    func(a, b *Config) bool
}

// by compares what get returns.
func by[T comparable](get func(*Config) T) func(a, b *Config) bool {
	return func(a, b *Config) bool { return get(a) == get(b) }
}

// list compares slices; nil and empty are the same.
func list[T comparable](get func(*Config) []T) func(a, b *Config) bool {
	return func(a, b *Config) bool { return slices.Equal(get(a), get(b)) }
}

// optional compares what pointers point to.
func optional[T comparable](get func(*Config) *T) func(a, b *Config) bool {
	return func(a, b *Config) bool {
		x, y := get(a), get(b)
		return x == y || x != nil && y != nil && *x == *y
	}
}
