package loop

import (
	"strings"
	"time"
)

// waiting tells, while everything is being stopped, what is waited for: at once, and again whenever that has changed.
type waiting struct {
	told  string    // what the last line named
	cut   string    // and whose time it said is cut
	began time.Time // zero = nothing is being stopped
	next  time.Time // before it no line is said
	due   bool      // a look is under way
}

// tellWaiting says what is waited for, if that is not what was said last. Lines keep waitingPause between them.
func (d *driver) tellWaiting() {
	w, now := &d.waiting, d.clock.Time()
	if w.began.IsZero() {
		w.began = now
	}
	switch {
	case w.due:
		return
	case now.Before(w.next):
		w.due = true
		d.world.After(w.next.Sub(now), func() { w.due = false; d.tellWaiting() })
		return
	}
	ending := d.views.Load().Ending(d.clock.Now())
	if ending == nil || ending.Text == "" {
		return
	}
	what, cut := strings.Join(ending.Waiting, " "), strings.Join(ending.Cut, " ")
	if what == w.told && cut == w.cut {
		return
	}
	// A machine that boots quietly shows it too when it takes long, or when more is cut than was said.
	warn := cut != w.cut && cut != "" || now.Sub(w.began) >= waitingLong
	w.told, w.cut, w.next = what, cut, now.Add(waitingPause)
	if warn {
		d.log.Warn(ending.Text)
		return
	}
	d.log.Info(ending.Text)
}
