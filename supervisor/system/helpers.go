package system

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/proc"
)

// StartHelper implements loop.Forks.
func (y *System) StartHelper(h *loop.Helper, then func(loop.Forked)) loop.Fork {
	var needs []string
	if h.Config != nil {
		needs = proc.Needs(h.Config, h.Command)
	}
	return y.pool.submit(needs, func() func() {
		var f loop.Forked
		if h.Limit > 0 {
			f.Limit = y.After(h.Limit, h.Over)
		}
		f.Parent, f.Group, f.Err = y.helperGroup(h)
		if f.Err == nil {
			if f.PID, f.Err = y.forkHelper(h, groupOf(f.Group)); f.Err == nil {
				f.Start = startTime(f.PID)
			}
		}
		return func() { then(f) }
	})
}

// helperGroup makes the control group of a helper, within that of its incarnation.
func (y *System) helperGroup(h *loop.Helper) (parent, group loop.Group, fail *proc.Error) {
	within := groupOf(h.Within)
	if h.Alone {
		if fail = y.belongings.Make(h.Config, uint64(h.Of)); fail != nil {
			return asGroup(within), nil, fail
		}
		if within, fail = y.newGroup(h.Config, h.Gen); fail != nil {
			return nil, nil, fail
		}
	}
	if within == nil {
		return nil, nil, nil
	}
	own, fail := within.Helper(h.Gen &^ proc.Aside)
	return asGroup(within), asGroup(own), fail
}

// forkHelper starts a helper, its output in the log of its service or kept for Captured.
func (y *System) forkHelper(h *loop.Helper, group *proc.Group) (pid int, fail *proc.Error) {
	spec := h.Spec
	if spec == nil {
		if spec, fail = y.specFor(h.Config, h.Command, h.Gen, h.Env); fail != nil {
			return 0, fail
		}
		spec.Identity = h.Config.Identity
	} else {
		spec.Tag = proc.Tag(y.scanner.Instance, h.Gen)
	}
	spec.Cgroup = group
	if h.Capture {
		return y.forkCaptured(h, spec)
	}
	w, fail := y.openPipes(h.Config.Name, h.Gen)
	if fail != nil {
		return 0, fail
	}
	spec.Files = []int{y.devNull, w.write[0], w.write[1]}
	if pid, fail = proc.Start(spec); fail != nil {
		w.abandon(y)
		return 0, fail
	}
	w.attach(y, pid)
	return pid, nil
}

// captured reads what a command prints.
type captured struct {
	read   *os.File
	output chan []byte
}

func (y *System) forkCaptured(h *loop.Helper, spec *proc.Spec) (pid int, fail *proc.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, &proc.Error{Step: proc.StepFork, Detail: "cannot make a pipe: " + err.Error()}
	}
	defer w.Close()
	out := int(w.Fd())
	spec.Files = []int{y.devNull, out, out}
	if pid, fail = proc.Start(spec); fail != nil {
		r.Close()
		return 0, fail
	}
	c := &captured{r, make(chan []byte, 1)}
	y.captures.Store(h.Gen, c)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(r, captureMax))
		_, _ = io.Copy(io.Discard, r)
		c.output <- b
		r.Close()
	}()
	return pid, nil
}

// Captured implements loop.Forks. What children of the command hold open is not waited for.
func (y *System) Captured(h *loop.Helper, then func(output []byte)) {
	v, ok := y.captures.LoadAndDelete(h.Gen)
	if !ok {
		then(nil)
		return
	}
	c := v.(*captured)
	y.beside(func() func() {
		_ = c.read.SetReadDeadline(time.Now().Add(captureGrace))
		b := <-c.output
		return func() { then(b) }
	})
}

// Leave implements loop.Forks. Where no helper runs any more, which removes it then, nothing may be left in a group, such as
// what a server before this one has run.
func (y *System) Leave(f *loop.Forked, alone bool) {
	y.graves.add(grave{groupOf(f.Group), groupOf(f.Parent), alone})
}

// graves removes control groups, one after the other beside the loop: the kernel has one lock for all of them, for which a
// thousand goroutines would wait in a thread each.
type graves struct {
	mu      sync.Mutex
	waiting []grave
	digging bool
}

type grave struct {
	group, parent *proc.Group // nil = none
	alone         bool
}

func (g *graves) add(one grave) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, one)
	if !g.digging {
		g.digging = true
		go g.dig()
	}
}

func (g *graves) dig() {
	for {
		g.mu.Lock()
		some := g.waiting
		g.waiting = nil
		g.digging = len(some) > 0
		g.mu.Unlock()
		if len(some) == 0 {
			return
		}
		for _, one := range some {
			if one.parent != nil || one.group != nil && !one.group.RemoveEmpty() {
				go one.remove() // it may take its time, for which the others do not wait
			}
		}
	}
}

// remove removes groups with all that is in them.
func (g grave) remove() {
	if g.group != nil {
		if g.alone {
			for _, helper := range g.group.Helpers() {
				_ = helper.Kill()
			}
		}
		_ = g.group.Remove()
	}
	if g.parent != nil {
		_ = g.parent.Remove()
	}
}
