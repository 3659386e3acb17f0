package loop

import (
	"context"
	"log/slog"

	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
)

// notified takes one word. done is closed when the machine knows, or when it does not count.
func (d *driver) notified(w notify.Word, done chan<- struct{}) {
	c := d.children.of(machine.Gen(w.Gen))
	if c == nil {
		close(done)
		return
	}
	if w.OnDescriptor || int(w.Sender.Pid) == c.pid && w.Message.MainPID == 0 {
		d.heed(c, &w, nil)
		close(done)
		return
	}
	d.world.Verify(&w, c.owner(), c.config, func(v Verdict) {
		defer close(done)
		if !v.OK {
			d.log.Warn("a notification was not accepted", "service", c.config.Name, "sender", w.Sender.Pid, "reason", v.Why)
			return
		}
		if d.children.current(c) {
			d.heed(c, &w, &v)
		}
	})
}

// heed tells the machine what an accepted word means.
func (d *driver) heed(c *child, w *notify.Word, v *Verdict) {
	m := &w.Message
	gen := c.gen
	if d.log.Enabled(context.Background(), slog.LevelDebug) && !w.OnDescriptor {
		d.log.Debug(c.config.Name+" says "+m.String(), "service", c.config.Name, "sender", w.Sender.Pid)
	}
	if m.HasStatus {
		c.statusText = m.Status
	}
	if m.MainPID > 0 && m.MainPID != c.pid && v != nil {
		d.mainChanged(c, v)
	}
	if m.WatchdogTimeout > 0 || m.Watchdog || m.WatchdogTrigger || m.ExtendTimeout > 0 {
		d.step(machine.Extended{Gen: gen, By: int64(m.ExtendTimeout), Watchdog: m.Watchdog, Trigger: m.WatchdogTrigger,
			SetWatchdog: int64(m.WatchdogTimeout)})
	}
	switch {
	case m.Stopping:
		c.announced = "stopping"
	case m.Ready:
		c.announced = ""
	case m.Reloading:
		c.announced = "reloading"
	}
	if m.Stopping {
		d.step(machine.StoppingSelf{Gen: gen})
	}
	if m.Ready {
		d.step(machine.Readied{Gen: gen})
	}
	if w.Closed {
		c.warning = "it closed its readiness descriptor without a newline, so it will not become ready"
	}
	d.changed(c)
}

// mainChanged follows MAINPID. Once the main process has ended it is too late for that, as it is when the new one has been
// reaped since it was looked at: nobody would tell of its end again.
func (d *driver) mainChanged(c *child, v *Verdict) {
	if c.gone || !d.isThere(v.Main) {
		return
	}
	pid := v.Main.PID
	d.follow(c, pid, v.Main.Start)
	c.daemonized = true
	if v.Main.Start != 0 {
		c.adopted = !v.Ours
	}
	d.diary.run(c)
	d.step(machine.MainChanged{Gen: c.gen, PID: pid})
	if c.adopted {
		d.watchForeign(c)
	}
}

// reopenNotify gives an adopted incarnation its socket or readiness descriptor back.
func (d *driver) reopenNotify(c *child) {
	for _, p := range d.inherited {
		if p.Gen != uint64(c.gen) {
			continue
		}
		conn, err := d.world.Adopt(p)
		if err != nil {
			d.log.Error("lost the readiness of a service", "service", c.config.Name, "error", err)
			continue
		}
		c.notify = conn
	}
}

// dropUnclaimed closes what the keeper held for incarnations of which nothing is left.
func (d *driver) dropUnclaimed() {
	for _, p := range d.inherited {
		if d.children.of(machine.Gen(p.Gen)) != nil {
			continue
		}
		if conn, err := d.world.Adopt(p); err == nil {
			d.world.EndNotices(machine.Gen(p.Gen), conn)
		}
	}
	d.inherited = nil
}

// notifyPipes is what a lone server leaves open for the executable that replaces it.
func notifyPipes(c *child) []keeper.Pipe {
	if c.notify == nil || c.notify.FD() < 0 {
		return nil
	}
	return []keeper.Pipe{{Service: c.config.Name, Gen: uint64(c.gen), Stream: StreamOf(c.notify), FD: c.notify.FD()}}
}
