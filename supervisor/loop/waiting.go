package loop

import (
	"strings"
	"time"
)

// waiting tells, while everything is being stopped, what is waited for: at once, and again whenever that has changed.
type waiting struct {
	told  string    // what the last line named
	began time.Time // zero = nothing is being stopped
	next  time.Time // before it no line is said
	due   bool      // a look is under way
}

// tellWaiting says what is waited for, if that is not what was said last. Lines keep waitingPause between them.
func (d *driver) tellWaiting() {
	w, now := &d.waiting, time.Now()
	if w.began.IsZero() {
		w.began = now
	}
	switch {
	case w.due:
		return
	case now.Before(w.next):
		w.due = true
		time.AfterFunc(w.next.Sub(now), func() { d.post(func() { w.due = false; d.tellWaiting() }) })
		return
	}
	ending := d.views.Load().Ending(d.clock.Now())
	if ending == nil || ending.Text == "" || strings.Join(ending.Waiting, " ") == w.told {
		return
	}
	w.told, w.next = strings.Join(ending.Waiting, " "), now.Add(waitingPause)
	if now.Sub(w.began) < waitingLong {
		d.log.Info(ending.Text)
		return
	}
	d.log.Warn(ending.Text) // it takes long: a machine that boots quietly shows it too
}
