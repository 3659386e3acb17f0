package loop

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// The hooks, as ZINIT_HOOK tells the command and reasons name it.
const (
	hookPreStart = "pre_start"
	hookPostStop = "post_stop"
	hookStop     = "stop_command"
	hookReload   = "reload"
)

// auxiliary is a process that runs for a service beside its main process: a hook or an exec check. It is its own group
// and always our child.
type auxiliary struct {
	pid     int // 0 = the fork is under way
	dead    bool
	expired bool
	leaves  bool // what is left of its group at its end belongs to the service
	timer   *time.Timer
	done    func(machine.Status)
	job     *job // its fork
	failed  func(*proc.Error)
}

// kill ends the command with its group; its exit comes through reap like every other.
func (a *auxiliary) kill() {
	a.expired = true
	if a.pid > 0 && !a.dead {
		_ = unix.Kill(-a.pid, unix.SIGKILL)
	}
}

// runHook runs one hook command of a service, its output in the service's log. done gets whether it exited 0 in time,
// and one line for people. While the main process is there the command runs in its control group, and what it leaves
// belongs to the service; pre_start and post_stop have one of their own, and what they leave ends with them.
func (d *driver) runHook(c *child, name string, h graph.Hook, done func(ok bool, detail string)) {
	a := &auxiliary{}
	c.hook = a
	d.lastHook++
	gen := hookGens | d.lastHook
	finish := func(ok bool, detail string) {
		if c.hook == a {
			c.hook = nil
		}
		done(ok, detail)
	}
	group, alone := c.group, name == hookPreStart || name == hookPostStop
	a.leaves = !alone
	a.done = func(st machine.Status) {
		d.out.Drain([]uint64{gen})
		d.out.Release(gen, outputGrace)
		ok, detail := true, ""
		switch {
		case a.expired:
			ok, detail = false, "did not end within "+graph.Duration(h.Timeout)+d.lastWords(c, a.pid)
		case st.Signal != 0 || st.Code != 0:
			ok, detail = false, view.ExitText(st)+d.lastWords(c, a.pid)
		}
		if !alone {
			finish(ok, detail)
			return
		}
		d.sweep(c, group, func() { finish(ok, detail) })
	}
	extra := []string{"ZINIT_HOOK=" + name}
	if c.pid > 0 && !c.gone {
		extra = append(extra, "MAINPID="+strconv.Itoa(c.pid))
	}
	d.startAux(a, proc.Needs(c.config, h.Command), h.Timeout, func() (_ int, err *proc.Error) {
		if alone {
			if err = d.belongings.Make(c.config, uint64(c.gen)); err != nil {
				return 0, err
			}
			if group, err = d.newGroup(c.config, gen); err != nil {
				return 0, err
			}
			defer func() {
				if err != nil && group != nil {
					_ = group.Remove()
				}
			}()
		}
		spec, err := d.specFor(c.config, h.Command, uint64(c.gen), d.opt.Environ, extra)
		if err != nil {
			return 0, err
		}
		w, err := d.openPipes(c.config.Name, gen)
		if err != nil {
			return 0, err
		}
		spec.Files = []int{d.devNull, w.write[0], w.write[1]}
		spec.Identity, spec.Cgroup = c.config.Identity, group
		pid, err := proc.Start(spec)
		if err != nil {
			w.abandon(d)
			return 0, err
		}
		w.attach(d, pid)
		return pid, nil
	}, func(err *proc.Error) { finish(false, "cannot run: "+err.Detail) })
}

// sweep ends what a hook without a main process beside it has left, then goes on. It is cheap when nothing is.
func (d *driver) sweep(c *child, group *proc.Group, then func()) {
	unknown := d.scanner.Unknown(d.knows)
	if group == nil && unknown.None() {
		then()
		return
	}
	owner := proc.Owner{Service: c.config.Name, Gen: uint64(c.gen)}
	go func() {
		if group != nil {
			_ = group.Kill()
		}
		left := slices.ContainsFunc(unknown.Orphans(), func(o proc.Orphan) bool { return o.Gen == owner.Gen || o.Gen == 0 })
		if left {
			d.scanner.KillTree(&owner)
		}
		if left || group != nil {
			d.awaitEmpty(&owner, group)
		}
		d.post(then)
		if group != nil {
			_ = group.Remove()
		}
	}()
}

// awaitEmpty waits until killed processes have ended, which takes them a moment; for sweepPatience, since one may be in an
// uninterruptible sleep.
func (d *driver) awaitEmpty(owner *proc.Owner, group *proc.Group) {
	end := time.Now().Add(sweepPatience)
	tick := time.NewTicker(treePollFirst)
	defer tick.Stop()
	for time.Now().Before(end) {
		if group != nil && !group.Populated(0) || group == nil && d.scanner.KillTree(owner) == 0 {
			return
		}
		<-tick.C
	}
}

// startAux forks an auxiliary process on a worker. failed is called when there is none.
func (d *driver) startAux(a *auxiliary, needs []string, timeout time.Duration, start func() (int, *proc.Error), failed func(*proc.Error)) {
	a.failed = failed
	a.job = d.pool.submit(needs, func() func() {
		pid, err := start()
		return func() {
			if err != nil {
				failed(err)
				return
			}
			a.pid = pid
			d.aux[pid] = a
			if a.expired {
				a.kill()
			}
			if timeout > 0 {
				a.timer = time.AfterFunc(timeout, func() { d.post(a.kill) })
			}
		}
	})
	if timeout > 0 && !a.job.begun {
		time.AfterFunc(timeout, func() { d.post(func() { d.callOffAux(a) }) })
	}
}

// callOffAux ends a command that has not been started, since it waits for a file system that does not answer.
func (d *driver) callOffAux(a *auxiliary) {
	if d.pool.callOff(a.job) {
		a.failed(&proc.Error{Step: "exec", Detail: "it waited for a file system that does not answer"})
	}
}

// endAux ends a command, started or not; its exit comes through reap like every other.
func (d *driver) endAux(a *auxiliary) {
	a.kill()
	d.callOffAux(a)
}

// auxExited takes the end of an auxiliary process, which is still a zombie: its group gets SIGKILL first, while the
// number is certainly its own.
func (d *driver) auxExited(a *auxiliary, st machine.Status) {
	if !a.leaves || a.expired {
		_ = unix.Kill(-a.pid, unix.SIGKILL)
	}
	a.dead = true
	fault.Here("hook")
	delete(d.aux, a.pid)
	d.reaper.Reap(a.pid)
	if a.timer != nil {
		a.timer.Stop()
	}
	a.done(st)
}

// lastWords is the last line a process wrote, for a reason.
func (d *driver) lastWords(c *child, pid int) string {
	line := d.lastLineOf(c.config.Name, pid)
	if line == "" {
		return ""
	}
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return ": " + strings.TrimSpace(line)
}

// postStop runs post_stop after the tree of an incarnation is gone.
func (d *driver) postStop(gen machine.Gen, cfg *graph.Config) {
	c := d.children[gen]
	if c == nil {
		c = &child{gen: gen, config: cfg}
	}
	d.runHook(c, hookPostStop, cfg.PostStop, func(ok bool, detail string) {
		if !ok {
			d.log.Warn("post_stop failed", "service", cfg.Name, "detail", detail)
		}
		d.step(machine.HookDone{Gen: gen, OK: ok, Detail: detail})
	})
}

// lastLineOf is the last line that one process wrote, "" if none is kept.
func (d *driver) lastLineOf(name string, pid int) string {
	ring := d.arena.Find(name)
	if ring == nil {
		return ""
	}
	for _, rec := range slices.Backward(ring.Last(50, nil)) {
		if text := strings.TrimSpace(strings.ToValidUTF8(string(rec.Text), "\uFFFD")); int(rec.PID) == pid && text != "" {
			return text
		}
	}
	return ""
}
