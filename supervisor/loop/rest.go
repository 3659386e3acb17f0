package loop

import "time"

// rest notices that the supervisor has come to rest after much work, such as a start: then it is worth giving back what
// the work needed. It belongs to the driver, and has a timer only while there is something to wait for.
type rest struct {
	world  World
	act    func() // nil: nobody cares
	work   int    // entries published since the last rest
	last   time.Time
	enough int // work after which a rest is due
	armed  bool
}

// busy counts published entries.
func (r *rest) busy(n int) {
	r.work += n
	r.last = r.world.Clock().Time()
	if r.act != nil && !r.armed && r.work > r.enough {
		r.arm(restAfter)
	}
}

func (r *rest) arm(after time.Duration) {
	r.armed = true
	r.world.After(after, r.look)
}

// look begins the rest when nothing has happened for long enough.
func (r *rest) look() {
	if left := restAfter - r.world.Clock().Time().Sub(r.last); left > 0 {
		r.arm(left)
		return
	}
	r.armed, r.work, r.enough = false, 0, restWork
	r.world.Beside(r.act)
}
