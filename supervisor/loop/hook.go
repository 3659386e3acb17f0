package loop

import (
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
	HookReload   = "reload" // is left to come to its end by a server that takes over
)

// runHook runs one hook command of a service, its output in the service's log. done gets whether it exited 0 in time,
// and one line for people.
func (d *driver) runHook(c *child, name string, h graph.Hook, done func(ok bool, detail string)) {
	a := d.newHelper(c)
	c.hook = a
	finish := func(ok bool, detail string) {
		if c.hook == a {
			c.hook = nil
		}
		done(ok, detail)
	}
	a.done = func(st machine.Status) {
		d.world.Drain([]uint64{a.gen})
		d.world.Release(a.gen, outputGrace)
		switch {
		case a.expired:
			finish(false, "did not end within "+graph.Duration(h.Timeout)+a.stuckText(d)+d.lastWords(c, a.forked.PID))
		case st.Signal != 0 || st.Code != 0:
			finish(false, view.ExitText(st)+d.lastWords(c, a.forked.PID))
		default:
			finish(true, "")
		}
	}
	ask := Helper{Config: c.config, Command: h.Command, Limit: h.Timeout, Env: []string{"ZINIT_HOOK=" + name},
		Alone: name == hookPreStart || name == hookPostStop}
	if c.pid > 0 && !c.gone {
		ask.Env = append(ask.Env, "MAINPID="+strconv.Itoa(c.pid))
	}
	d.startHelper(a, ask, func(err *proc.Error) { finish(false, "cannot run: "+err.Detail) })
}

// lastWords is the last line a process wrote, for a reason.
func (d *driver) lastWords(c *child, pid int) string {
	line := d.world.LastLine(c.config.Name, pid)
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
	c := d.children.of(gen)
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
