package loop

import (
	"testing"

	"github.com/zinit/zinit/supervisor/proc"
)

// TestChildren: a main process is found by its pid until it has ended, another one takes its place, and the number that it
// had is not taken from whoever has it then.
func TestChildren(t *testing.T) {
	k := newChildren()
	a, b := &child{gen: 1}, &child{gen: 2}
	k.enter(a)
	k.enter(b)
	if k.knows(0) || k.mainOf(0) != nil {
		t.Error("no pid is one")
	}
	k.main(a, 10, 5)
	k.main(a, 11, 6) // MAINPID
	if k.mainOf(10) != nil || k.mainOf(11) != a || a.pid != 11 || a.start != 6 {
		t.Errorf("%d, %v, %v", a.pid, k.mainOf(10), k.mainOf(11))
	}
	k.help(12, &helper{})
	known := k.accountedFor()
	k.ended(a)
	if !a.gone || k.knows(11) || !known(11) || !known(12) || known(13) || !k.current(a) {
		t.Error("what ended is known, or what was known is not")
	}
	k.main(b, 11, 7) // the number is used again
	k.leave(a)
	if k.mainOf(11) != b || k.of(1) != nil || k.current(a) {
		t.Error("the process of another was taken for its own")
	}
	again := &child{gen: 2}
	k.leave(again)
	if k.of(2) != b || len(k.all()) != 1 {
		t.Error("an incarnation was ended for another with its number")
	}
	k.main(b, 14, 8)
	if k.ended(b); k.mainOf(14) != nil || len(k.byPID) != 0 {
		t.Error("left")
	}
	k.main(b, 16, 9)
	k.reaped(b)
	if k.knows(16) || !k.isMain(b, 16) {
		t.Error("a number that may be another's is known, or its owner's end was taken")
	}
	if k.main(b, 17, 10); b.reaped || k.mainOf(17) != b {
		t.Error("the next main process counts as reaped")
	}
	k.early[15] = proc.Exit{PID: 15}
	if k.knows(15) {
		t.Error("nobody knows yet whose it is")
	}
}
