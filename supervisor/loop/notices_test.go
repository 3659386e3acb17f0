package loop

import (
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/proc"
)

// empty is a world in which no process is.
type empty struct{ World }

func (empty) Process(int) (p proc.Process, ours, ok bool) { return p, false, false }

// TestMainPIDOfOneThatHasEnded: MAINPID that names a process which has been reaped since it was verified changes nothing.
func TestMainPIDOfOneThatHasEnded(t *testing.T) {
	d := &driver{world: empty{}, children: newChildren()}
	c := &child{gen: 1, config: &graph.Config{}}
	d.children.main(c, 10, 1)
	d.mainChanged(c, &Verdict{OK: true, Main: proc.Process{PID: 11, Start: 5}})
	if c.pid != 10 || d.children.mainOf(10) != c || d.children.mainOf(11) != nil {
		t.Errorf("the main process is %d now", c.pid)
	}
}
