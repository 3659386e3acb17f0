package loop

import (
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
)

// Settled is how a request ended.
type Settled struct {
	machine.Outcome
	Info machine.Info // of its service, right after the step that settled it
	Gen  machine.Gen  // of a run: the incarnation that it ended with, 0 = none
}

// requests are those whose outcome somebody waits for. Each is answered once, or withdrawn.
type requests struct {
	last    machine.ReqID
	waiting map[machine.ReqID]chan<- Settled
	due     []answer               // outcomes that are sent when the View that shows them is out
	sending map[machine.ReqID]bool // their signals are on the way, and the outcome with them
}

// answer is an outcome for a request that waits for it; the channel has room for it.
type answer struct {
	to      chan<- Settled
	outcome Settled
}

// open makes the number of a request whose outcome goes to a channel, which must have room for it.
func (r *requests) open(to chan<- Settled) machine.ReqID {
	if r.waiting == nil {
		r.waiting = map[machine.ReqID]chan<- Settled{}
	}
	r.last++
	r.waiting[r.last] = to
	return r.last
}

// withdraw ends the interest in an outcome.
func (r *requests) withdraw(req machine.ReqID) {
	delete(r.waiting, req)
	delete(r.sending, req)
}

// hold keeps the answer of the machine back: sent has the outcome.
func (r *requests) hold(req machine.ReqID) {
	if _, ok := r.waiting[req]; !ok {
		return
	}
	if r.sending == nil {
		r.sending = map[machine.ReqID]bool{}
	}
	r.sending[req] = true
}

// sent settles a request that was held.
func (r *requests) sent(req machine.ReqID, o Settled) {
	delete(r.sending, req)
	r.settle(req, o)
}

// settle keeps an outcome until the View that shows it is published: who is answered must not see the state before.
func (r *requests) settle(req machine.ReqID, o Settled) {
	if r.sending[req] {
		return
	}
	if to, ok := r.waiting[req]; ok {
		delete(r.waiting, req)
		r.due = append(r.due, answer{to, o})
	}
}

// send hands out what settle kept.
func (r *requests) send() {
	for _, a := range r.due {
		fault.Here("reply")
		a.to <- a.outcome
	}
	r.due = r.due[:0]
}
