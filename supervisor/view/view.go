// Package view is what the rest of the server sees of the loop: the picture of all services that the loop publishes,
// the events, the time line of the start, what is loaded, and the words for all that. It imports nothing of the loop.
package view

import (
	"sync/atomic"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// View is what the outside sees: an immutable picture of all services, published by the driver after each batch, so
// that list, status, why and tree never queue behind the driver.
type View struct {
	Graph   *graph.Graph
	Entries []*Entry // by graph.ID; the ones after Graph.Len() are removed services that are still ending
	All     []*Entry // by the machine's ID: with the removed ones of which nothing is left
	Halting bool
	KillAt  machine.Time // when what is left of the stop of everything is killed, 0 = not bounded
}

// Entry is one service in a View.
type Entry struct {
	Config   *graph.Config
	Info     machine.Info
	Standing graph.Standing
	Left     []proc.Process // what it has left running when it was stopped (kill_mode = "process")
	Run      *Run           // what the driver knows of the present incarnation, nil without one
}

// Run is the part of an incarnation that queries need; it is immutable, the driver replaces it.
type Run struct {
	Gen        machine.Gen
	PID        int
	Owner      proc.Owner // how its processes are recognised
	Cgroup     string     // path below the mount, "" = none
	StatusText string     // STATUS= of sd_notify
	Announced  string     // "reloading", "stopping": RELOADING=1, STOPPING=1
	Warning    string
	Inputs     proc.Inputs // what its files said when it started
	Stuck      string      // why processes are still there after SIGKILL
}

// Lookup finds a service by name, also one that was removed and is still ending.
func (v *View) Lookup(name string) (*Entry, graph.ID, bool) {
	if id, ok := v.Graph.Lookup(name); ok {
		return v.Entries[id], id, true
	}
	for i := v.Graph.Len(); i < len(v.Entries); i++ {
		if v.Entries[i].Config.Name == name {
			return v.Entries[i], graph.ID(i), true
		}
	}
	return nil, graph.None, false
}

// Standing is the function graph.CanStart asks.
func (v *View) Standing(id graph.ID) graph.Standing { return v.Entries[id].Standing }

// Unmet is what a service waits for, by the same function the machine uses.
func (v *View) Unmet(id graph.ID) []graph.Unmet {
	if int(id) >= v.Graph.Len() {
		return nil
	}
	return graph.CanStart(v.Graph, id, v.Standing)
}

// Publisher holds the current View and wakes those who wait for the next one.
type Publisher struct {
	current atomic.Pointer[View]
	waiters atomic.Pointer[chan struct{}] // nil: nobody waits, so publishing costs nothing
}

// Load is the current View.
func (p *Publisher) Load() *View { return p.current.Load() }

// Watch returns the current View and a channel that is closed when a later one has been published.
func (p *Publisher) Watch() (*View, <-chan struct{}) {
	for {
		if ch := p.waiters.Load(); ch != nil {
			return p.Load(), *ch
		}
		ch := make(chan struct{})
		p.waiters.CompareAndSwap(nil, &ch)
	}
}

// Store publishes a View and wakes the waiters.
func (p *Publisher) Store(v *View) {
	p.current.Store(v)
	if ch := p.waiters.Swap(nil); ch != nil {
		close(*ch)
	}
}

// Active reports whether a service in this state has, or is about to have, processes.
func Active(st machine.State) bool {
	return st == machine.Starting || st == machine.Running || st == machine.Stopping
}
