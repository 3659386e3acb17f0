package loop

import (
	"testing"

	"github.com/zinit/zinit/supervisor/machine"
)

// TestRequestsAreAnsweredOnce: not before the View is out, not twice, and not when nobody waits any more.
func TestRequestsAreAnsweredOnce(t *testing.T) {
	var r requests
	a, b := make(chan Settled, 1), make(chan Settled, 1)
	first, second := r.open(a), r.open(b)
	if first == 0 || first == second {
		t.Fatalf("numbers %d and %d", first, second)
	}
	r.withdraw(second)
	r.settle(first, Settled{Outcome: machine.OutcomeDone})
	r.settle(first, Settled{Outcome: machine.OutcomeFailed})
	r.settle(second, Settled{Outcome: machine.OutcomeDone})
	if len(a) != 0 {
		t.Error("answered before the View is out")
	}
	r.send()
	r.send()
	if len(a) != 1 || (<-a).Outcome != machine.OutcomeDone || len(b) != 0 || len(r.waiting) != 0 {
		t.Errorf("%d and %d answers, %d wait", len(a), len(b), len(r.waiting))
	}
}

// TestASignalIsAnsweredWhenItWasSent: the machine's answer waits for what kill(2) says, which then counts.
func TestASignalIsAnsweredWhenItWasSent(t *testing.T) {
	var r requests
	a := make(chan Settled, 1)
	req := r.open(a)
	r.hold(req)
	r.settle(req, Settled{Outcome: machine.OutcomeDone})
	if r.send(); len(a) != 0 {
		t.Error("answered before the signal was sent")
	}
	r.sent(req, Settled{Outcome: machine.OutcomeNotSent})
	if r.send(); len(a) != 1 || (<-a).Outcome != machine.OutcomeNotSent {
		t.Error("not answered with what kill(2) said")
	}
	r.hold(req) // nobody waits any more
	if len(r.sending) != 0 || len(r.waiting) != 0 {
		t.Errorf("kept: %v %v", r.sending, r.waiting)
	}
}
