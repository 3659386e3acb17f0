package proc

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/deadmount"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestAskerKeepsOneQuestion: many questions to a mount that hangs leave one goroutine; another key and, after an answer, the
// same one are not held up.
func TestAskerKeepsOneQuestion(t *testing.T) {
	dead := deadmount.New(t)
	var a Asker
	before := runtime.NumGoroutine()
	for range 50 {
		if a.Ask("dead", time.Millisecond, func() { _, _ = os.Stat(dead + "/x") }) {
			t.Fatal("a dead mount answered")
		}
	}
	if n := runtime.NumGoroutine() - before; n > 1 {
		t.Errorf("%d goroutines are left", n)
	}
	if !a.Ask("other", wait.Patience, func() {}) {
		t.Error("another question was not answered")
	}
	deadmount.Abort(dead)
	asked := 0
	if !a.Ask("dead", wait.Patience, func() { asked++ }) || asked != 1 {
		t.Errorf("asked %d times after the answer", asked)
	}
}
