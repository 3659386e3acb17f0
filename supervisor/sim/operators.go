package sim

import (
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// do carries out one line of the script.
func (w *World) do(o *op, number int) {
	f, isFault := o.fault()
	if w.b.mask.lacksOp(number) || isFault && w.b.mask.Faults&(1<<f) != 0 {
		return
	}
	switch o.what {
	case opJump:
		w.now += o.length
		w.tracer.line("  ~ the clock jumps")
		return
	case opPort:
		w.foreign[o.arg] = w.now + o.length
		w.push(item{at: w.now + o.length, what: hPortFree, arg: int32(o.arg)})
		return
	case opOutside:
		w.outside(w.services[o.service], o)
		return
	case opSay:
		w.say(w.services[o.service], o)
		return
	case opClock:
		w.setClock(o)
		return
	case opCrash:
		w.doomsday = o
		if w.down {
			w.doomsday = nil
		} else if o.arg == atOnce {
			w.crash()
		}
		return
	}
	if w.upgrading != nil && !w.upgrading.done { // the old image takes nothing more
		w.upgrading.kept = append(w.upgrading.kept, number)
		return
	}
	if w.down { // the client waits in the backlog
		w.push(item{at: w.back, what: hOp, arg: int32(number)})
		return
	}
	w.asked[number]++
	switch o.what {
	case opReload:
		w.planReload(o)
	case opUpgrade:
		w.beginUpgrade(o)
	case opShutdown:
		w.step(machine.ShutdownAsked{Code: 7, Now: o.number > 1})
	default:
		w.request(o)
	}
}

// outside ends a main process from outside, or lets it step aside.
func (w *World) outside(s *service, o *op) {
	p := s.cur
	if !p.alive() || p.killed {
		return
	}
	if o.number%4 == 3 {
		w.stepAside(p)
		return
	}
	if p.main {
		w.endMain(p, 0, machine.Status{Signal: int32(o.sig)})
	}
}

// say sends a notify message. Most are harmless; one in eight is the watchdog's trigger.
func (w *World) say(s *service, o *op) {
	if p := s.cur; p.alive() && p.main {
		words := [...]wordKind{wordExtend, wordExtend, wordExtend, wordSetDog, wordSetDog, wordStopping, wordStopping, wordTrigger}
		w.report(p, words[o.arg])
	}
}

// request asks for what an operator wants.
func (w *World) request(o *op) {
	ids := w.targets(o)
	if len(ids) == 0 {
		return
	}
	w.nextReq++
	ev := machine.Asked{Req: w.nextReq, Verb: verbs[o.what], IDs: ids, Sig: o.sig, NoDeps: o.noDeps && (o.what == opStart || o.what == opRun),
		RunOnly: o.what == opStopRun}
	if o.wait && len(ids) == 1 && ev.Verb != machine.VerbKill && ev.Verb != machine.VerbReloadSignal {
		ev.Wait = true
		if o.patience > 0 {
			ev.Deadline = w.now + o.patience
		}
		if o.hangup > 0 {
			w.push(item{at: w.now + o.hangup, what: hHangup, gen: Gen(ev.Req)})
		}
	}
	w.step(ev)
}

// targets are the services that a request is about.
func (w *World) targets(o *op) []graph.ID {
	if o.what != opStartAll && o.what != opStopAll {
		s := w.services[o.service]
		if !s.present {
			return nil
		}
		return []graph.ID{s.id}
	}
	var ids []graph.ID
	for id := range graph.ID(w.g.Len()) {
		c := w.g.Config(id)
		if w.g.Class(id) == graph.ClassUser && (o.what == opStopAll || c.Status == graph.StatusStart) {
			ids = append(ids, id)
		}
	}
	return ids
}

// hangup is a client that goes away.
func (w *World) hangup(req machine.ReqID) {
	if w.checker.open(req) {
		w.step(machine.Cancelled{Req: req})
	}
}
