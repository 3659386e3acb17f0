package loop

import (
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/proc"
)

// empty is a world in which no process is.
type empty struct{ World }

func (empty) Exists(int) bool { return false }

// TestMainPIDOfOneThatHasEnded: MAINPID that names a process which has been reaped since it was verified changes nothing.
func TestMainPIDOfOneThatHasEnded(t *testing.T) {
	d := &driver{world: empty{}, byPID: map[int]*child{}}
	c := &child{gen: 1, pid: 10, config: &graph.Config{}}
	d.byPID[10] = c
	d.mainChanged(c, &Verdict{OK: true, Main: proc.Process{PID: 11, Start: 5}})
	if c.pid != 10 || d.byPID[10] != c || d.byPID[11] != nil {
		t.Errorf("the main process is %d now", c.pid)
	}
}
