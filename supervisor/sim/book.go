package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// wish is what is wanted of a service, as the book sees it.
type wish uint8

const (
	wishDown wish = iota
	wishUp
	wishEither // the specification leaves it open: the machine decides, and is held to it
)

// warrant is what entitles the machine to spawn a service: a set of these.
type warrant uint8

const (
	byWish    warrant = 1 << iota // load, start, restart, pulled in, added by a reload
	byReturn                      // it was stopped or failed for a dependency
	byRestart                     // its restart deadline, not before book.notBefore
	byReload                      // a reload changed it
	byCrash                       // the server died over an earlier spawn
	byEdge                        // a reload may have brought it back what it failed for

	owing = byWish | byReturn | byReload | byCrash
)

// book is what the checker knows of one service: from what the machine was told, from what it published, and from the
// processes of the world; never from the machine's own fields.
type book struct {
	state   machine.State
	gen     Gen // of the latest Precheck or Spawn
	wish    wish
	held    bool // an operator stopped it
	warrant warrant

	notBefore   Time // of a restart
	spawned     Gen  // of the latest Spawn
	checked     Gen  // whose ports were found free
	done        bool // oneshot: exited with success, not asked to stop since
	asked       bool // a stop or restart was asked for, or reached it, since it became active
	sick        int  // health failures in a row that count
	pinged      Time
	alone       bool // in Stopping: it goes down by itself
	stopGen     Gen  // whose stop signal was sent
	stopLimit   Time // how long SIGKILL has to wait
	stopAt      Time
	stopLife    uint32 // of the server that sent it
	killGen     Gen
	killLife    uint32
	killAt      Time
	abortGen    Gen
	abortAt     Time
	reached     bool         // Running as a target
	turned      bool         // a stop that was asked for means something
	begun       bool         // in Stopping: something was sent that cannot be taken back
	restarts    int          // since the last reset
	unsureRuns  bool         // whether the counts were reset is open: take the machine's
	unsureDelay bool         // its lifecycle changed since the counts were reset
	ended       bool         // it left its process behind in this Step
	spawning    bool         // a Spawn stands in this Step
	info        machine.Info // of the last Step that was looked at
}

// satisfied is what docs/design/states.md 4 calls so.
func (s *service) satisfied() bool {
	b := &s.book
	switch {
	case !s.present:
		return false
	case s.config.Oneshot:
		return b.state == machine.Exited && b.done
	}
	return b.state == machine.Running
}

// active reports whether a process exists or is about to, or a target is reached.
func (s *service) active() bool {
	switch s.book.state {
	case machine.Starting, machine.Running, machine.Stopping:
		return true
	}
	return false
}

// tree reports whether the machine knows of processes: told of them, and not of their end.
func (s *service) tree() bool {
	return s.cur != nil && s.cur.heard&(heardSpawn|heardExit) != 0 && s.cur.heard&heardEmpty == 0
}

// unkillable: everything was tried, nobody needs to wait for it any more (docs/design/states.md 3; machine/doc.go for an Abort).
func (s *service) unkillable(now Time) bool {
	b := &s.book
	switch {
	case b.killGen == b.gen && b.gen != 0:
		return now >= b.killAt+killGrace
	case b.abortGen == b.gen && b.gen != 0:
		return now >= b.abortAt+killGrace
	}
	return false
}

// missing reports whether a required name does not exist.
func (w *World) missing(s *service) bool { return len(w.g.Missing(s.id)) > 0 }

// broken reports whether the definition cannot be used.
func (w *World) broken(s *service) bool {
	kind, _ := w.g.Broken(s.id)
	return kind != ""
}

// hard calls f for what s requires or binds, until it returns false.
func (w *World) hard(s *service, f func(d *service) bool) bool {
	for _, id := range w.g.Requires(s.id) {
		if !f(w.byID[id]) {
			return false
		}
	}
	for _, id := range w.g.Binds(s.id) {
		if !f(w.byID[id]) {
			return false
		}
	}
	return true
}

// bindLost reports whether something that s binds is not satisfied.
func (w *World) bindLost(s *service) bool {
	if !s.present {
		return true
	}
	for _, id := range w.g.Binds(s.id) {
		if !w.byID[id].satisfied() {
			return true
		}
	}
	for _, name := range s.config.Deps.Binds {
		if _, ok := w.g.Lookup(name); !ok {
			return true
		}
	}
	return false
}

// wantUp notes that somebody wants s up, and pulls in what it needs: docs/design/states.md 4, Pull-in.
func (c *checker) wantUp(s *service, explicit, pull bool) {
	b := &s.book
	b.wish, b.held = wishUp, false
	moved := s.moved == c.w.steps
	if b.state != machine.Starting && b.state != machine.Running || moved {
		b.warrant |= byWish
	}
	switch b.state {
	case machine.Starting, machine.Running:
		b.unsureRuns = b.unsureRuns || moved
	case machine.Stopping:
		b.unsureRuns = true
	default:
		b.restarts, b.unsureRuns, b.unsureDelay = 0, false, false
	}
	if pull {
		c.pull(s, explicit, true)
	}
}

// wantJob notes that a job is to run when it is due. What it needs is started with it.
func (c *checker) wantJob(s *service) {
	s.book.wish, s.book.held = wishUp, false
	c.oppose(s)
}

// pull walks the closure. hard: the way to s is one of requires and binds alone.
func (c *checker) pull(s *service, explicit, hard bool) {
	w := c.w
	visit := func(ids []graph.ID, hard bool) {
		for _, id := range ids {
			d := w.byID[id]
			shy := d.config.Status == graph.StatusStop || d.book.held
			if d.config.Status == graph.StatusIgnore || shy && !(explicit && hard) {
				continue
			}
			mark := pulledSoft
			if hard {
				mark = pulledHard
			}
			if c.pulled[id] >= mark {
				continue
			}
			c.pulled[id] = mark
			if c.isJob(d) {
				if !d.book.held {
					c.wantJob(d)
				}
				continue
			}
			if w.broken(d) { // it cannot start, but what it needs is pulled in
				c.oppose(d)
				c.pull(d, explicit, hard)
				continue
			}
			d.book.wish, d.book.held = wishUp, false
			standing := d.book.state == machine.Starting || d.book.state == machine.Running
			if (!d.satisfied() || d.book.asked) && !standing || d.moved == c.w.steps {
				d.book.warrant |= byWish
			}
			up := d.book.state == machine.Starting || d.book.state == machine.Running
			d.book.unsureRuns = d.book.unsureRuns || c.unsettled || !up
			c.oppose(d)
			c.pull(d, explicit, hard)
		}
	}
	visit(w.g.Requires(s.id), hard)
	visit(w.g.Binds(s.id), hard)
	visit(w.g.Wants(s.id), false)
}

const (
	pulledSoft uint8 = 1
	pulledHard uint8 = 2
)

// beginPull forgets whom earlier requests pulled in.
func (c *checker) beginPull() {
	c.pulled = append(c.pulled[:0], make([]uint8, len(c.w.byID))...)
}

// spread notes that a stop of s reaches everything active that requires or binds it, directly or through others: those
// come back by themselves.
func (c *checker) spread(s *service) {
	c.beginPull()
	c.spreadFrom(s, byReturn)
}

func (c *checker) spreadFrom(s *service, back warrant) {
	for _, id := range c.w.g.Requirers(s.id) {
		if c.pulled[id] != 0 {
			continue
		}
		c.pulled[id] = 1
		d := c.w.byID[id]
		if d.satisfied() && d.config.Oneshot && !d.tree() {
			continue // it has nothing to stop, and passes nothing on
		}
		if d.book.state == machine.Stopping && d.book.alone {
			c.spreadFrom(d, back) // it goes on with its own end
			continue
		}
		if d.active() || d.tree() {
			d.book.asked = true
			if d.book.wish != wishDown {
				d.book.warrant |= back
			}
		}
		c.spreadFrom(d, back)
	}
}
