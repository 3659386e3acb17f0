package sim

// upgrade is an execution of another image in place, from the moment on when the old one takes nothing more: what is asked
// for waits for the new one, or for the old one when it comes to nothing.
type upgrade struct {
	kept     []int // lines of the script that were asked for meanwhile
	patience Time  // until when what is under way may end
	length   Time  // how long nobody serves
	done     bool  // the new image was executed
}

// upgradePatience is how long an upgrade waits for a change of the configuration and for forks under way.
const upgradePatience = 2 * second

// beginUpgrade closes the old image. One upgrade at a time: a second is kept as everything else is.
func (w *World) beginUpgrade(o *op) {
	w.tracer.line("  ~ an upgrade begins")
	w.upgrading = &upgrade{patience: w.now + upgradePatience, length: millisecond + o.length%(200*millisecond)}
	w.push(item{at: w.now + o.length%(5*millisecond), what: hExec})
}

// exec replaces the old image, when nothing is half done, or calls the upgrade off.
func (w *World) exec() {
	u := w.upgrading
	switch {
	case u == nil:
		return
	case w.down: // it died first; what its connections had sent is asked of the next
		w.push(item{at: w.back, what: hExec})
		return
	case u.done:
		w.upgrading = nil
		w.askKept(u)
		return
	case w.m.ShuttingDown():
		w.tracer.line("  ~ the upgrade is called off")
		w.upgrading = nil
		w.askKept(u)
		return
	case w.reloading != nil || w.forking():
		if w.now < u.patience {
			w.push(item{at: w.now + millisecond, what: hExec})
			return
		}
		if w.reloading != nil {
			w.upgrading = nil
			w.askKept(u)
			return
		}
	}
	if w.commit(); w.down || w.failure != nil || w.halted {
		w.push(item{at: w.now, what: hExec})
		return
	}
	if w.Slips&SlipAskTwice != 0 {
		w.upgrading = nil
		w.askKept(u)
		w.upgrading = u
	}
	w.tracer.line("  ~ another image is executed")
	w.doomsday, u.done = &op{length: u.length}, true
	w.crash()
	w.push(item{at: w.back, what: hExec})
}

// forking reports whether a fork is under way.
func (w *World) forking() bool {
	for _, p := range w.procs {
		if p != nil && p.stage == stageRequested {
			return true
		}
	}
	return false
}

// askKept asks for what was kept, in order.
func (w *World) askKept(u *upgrade) {
	if w.Slips&SlipLoseKept != 0 {
		return
	}
	for _, number := range u.kept {
		if w.down { // it died over the one before
			w.push(item{at: w.back, what: hOp, arg: int32(number)})
			continue
		}
		if w.failure == nil && !w.halted {
			w.do(&w.b.script[number], number)
		}
	}
}

// askedOnce is the check that whatever was asked for, at any instant of an upgrade, was carried out once.
func (w *World) askedOnce() {
	for i := range w.b.script {
		o := &w.b.script[i]
		f, isFault := o.fault()
		if w.b.mask.lacksOp(i) || isFault && w.b.mask.Faults&(1<<f) != 0 {
			continue
		}
		switch o.what {
		case opJump, opPort, opOutside, opSay, opCrash, opUpgrade, opClock:
			continue
		}
		if n := w.asked[i]; n != 1 {
			w.fail("U1", opNames[o.what]+" was asked for once and carried out "+number(n)+" times")
			return
		}
	}
}

func number(n int) string {
	switch n {
	case 0:
		return "no"
	case 1:
		return "one"
	}
	return "several"
}
