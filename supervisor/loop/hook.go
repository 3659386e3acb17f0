package loop

import (
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
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

// runHook runs one hook command of a service, its output in the service's log. done gets whether it exited 0 in time,
// and one line for people.
func (d *driver) runHook(c *child, name string, h graph.Hook, done func(ok bool, detail string)) {
	a := d.newHelper(c)
	c.hook = a
	a.alone = name == hookPreStart || name == hookPostStop
	finish := func(ok bool, detail string) {
		if c.hook == a {
			c.hook = nil
		}
		done(ok, detail)
	}
	a.done = func(st machine.Status) {
		d.out.Drain([]uint64{a.gen})
		d.out.Release(a.gen, outputGrace)
		switch {
		case a.expired:
			finish(false, "did not end within "+graph.Duration(h.Timeout)+a.stuckText()+d.lastWords(c, a.pid))
		case st.Signal != 0 || st.Code != 0:
			finish(false, view.ExitText(st)+d.lastWords(c, a.pid))
		default:
			finish(true, "")
		}
	}
	extra := []string{"ZINIT_HOOK=" + name}
	if c.pid > 0 && !c.gone {
		extra = append(extra, "MAINPID="+strconv.Itoa(c.pid))
	}
	d.startHelper(a, proc.Needs(c.config, h.Command), h.Timeout, func() (int, *proc.Error) {
		spec, err := d.specFor(c.config, h.Command, a.gen, d.opt.Environ, extra)
		if err != nil {
			return 0, err
		}
		w, err := d.openPipes(c.config.Name, a.gen)
		if err != nil {
			return 0, err
		}
		spec.Files = []int{d.devNull, w.write[0], w.write[1]}
		spec.Identity, spec.Cgroup = c.config.Identity, a.group
		pid, err := proc.Start(spec)
		if err != nil {
			w.abandon(d)
			return 0, err
		}
		w.attach(d, pid)
		return pid, nil
	}, func(err *proc.Error) { finish(false, "cannot run: "+err.Detail) })
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
