package loop

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
	"github.com/zinit/zinit/supervisor/proc"
)

// newNotices starts the poller for readiness. A word is verified and told to the machine before the poller goes on, so
// that a barrier is released only when everything before it has been taken.
func (d *driver) newNotices() *notify.Poller {
	p, err := notify.NewPoller(func(w notify.Word) {
		done := make(chan struct{})
		d.post(func() {
			fault.Here("notice")
			d.notified(w, done)
			fault.Here("heed")
		})
		select {
		case <-done:
		case <-d.opt.done:
		}
	})
	if err != nil {
		d.log.Error("services with ready = … cannot be started", "error", err)
	}
	return p
}

// openNotify makes the way by which an incarnation reports, if its definition asks for one. The keeper gets it before
// the fork: a word that is said while no server is there must not be lost.
func (d *driver) openNotify(c *graph.Config, gen uint64) (conn *notify.Conn, extra []string, fail *proc.Error) {
	if c.Ready.Kind == graph.ReadyNone && c.Watchdog == 0 {
		return nil, nil, nil
	}
	if d.notices == nil {
		return nil, nil, &proc.Error{Step: "ready", Detail: "cannot watch for readiness: no epoll set"}
	}
	var err error
	if c.Ready.Kind == graph.ReadyFD {
		conn, err = d.notices.Descriptor(gen)
	} else {
		conn, err = d.notifySocket(c, gen)
	}
	if err != nil {
		return nil, nil, &proc.Error{Step: "ready", Detail: err.Error()}
	}
	if d.keeper != nil {
		_ = d.keeper.StorePipes([]keeper.Pipe{{Service: c.Name, Gen: gen, Stream: streamOf(conn), FD: conn.FD()}})
	}
	if env := conn.Env(); env != "" {
		extra = append(extra, "NOTIFY_SOCKET="+env, "MANAGERPID="+strconv.Itoa(os.Getpid()))
		if c.Watchdog > 0 {
			extra = append(extra, "WATCHDOG_USEC="+strconv.FormatInt(c.Watchdog.Microseconds(), 10))
		}
	}
	return conn, extra, nil
}

// notifySocket makes the notify socket. A service that may become any user needs a folder that any user
// can search: it would never be ready, without a word why.
func (d *driver) notifySocket(c *graph.Config, gen uint64) (*notify.Conn, error) {
	dir, cred := d.notifyDir(), &proc.Credential{UID: nobody, GID: nobody}
	if os.Geteuid() != 0 {
		var fail *proc.Error
		if cred, fail = proc.ResolveIdentity(&c.Identity); fail != nil {
			return nil, fail
		}
	}
	if cred != nil && !proc.MaySearch(dir, cred) {
		dir = ""
	}
	return d.notices.Socket(gen, dir)
}

// nobody is a user and group that own nothing.
const nobody = 65534

// notifyDir is where notify sockets are; "" makes abstract ones.
func (d *driver) notifyDir() string {
	dir := d.opt.NotifyDir
	if dir == "" {
		return ""
	}
	if os.MkdirAll(filepath.Clean(dir), 0o711) != nil {
		return ""
	}
	return dir
}

// notified takes one word. done is closed when the machine knows, or when it does not count.
func (d *driver) notified(w notify.Word, done chan<- struct{}) {
	c := d.children[machine.Gen(w.Gen)]
	if c == nil {
		close(done)
		return
	}
	if w.OnDescriptor || int(w.Sender.Pid) == c.pid && w.Message.MainPID == 0 {
		d.heed(c, &w)
		close(done)
		return
	}
	owner := c.owner()
	go func() {
		uid := userOf(c.config)
		members := map[int]bool{}
		for _, p := range d.scanner.Members(&owner) {
			members[p.PID] = true
		}
		alive := func(pid int) bool { return unix.Kill(pid, 0) != unix.ESRCH && !zombie(pid) }
		ok, why := notify.Verify(&w, uid, alive, func(pid int) bool { return members[pid] })
		d.post(func() {
			defer close(done)
			if !ok {
				d.log.Warn("a notification was not accepted", "service", c.config.Name, "sender", w.Sender.Pid, "reason", why)
				return
			}
			if d.children[c.gen] == c {
				d.heed(c, &w)
			}
		})
	}()
}

func zombie(pid int) bool {
	p, err := proc.ReadProcess(pid)
	return err != nil || p.Dead()
}

// userOf is the user a service runs as. It may have to read the list of accounts.
func userOf(c *graph.Config) uint32 {
	if cred, err := proc.ResolveIdentity(&c.Identity); err == nil && cred != nil {
		return uint32(cred.UID)
	}
	return uint32(os.Getuid())
}

// heed tells the machine what an accepted word means.
func (d *driver) heed(c *child, w *notify.Word) {
	m := &w.Message
	gen := c.gen
	if m.HasStatus {
		c.statusText = m.Status
	}
	if m.MainPID > 0 && m.MainPID != c.pid {
		d.mainChanged(c, m.MainPID)
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
func (d *driver) mainChanged(c *child, pid int) {
	if c.gone || unix.Kill(pid, 0) == unix.ESRCH {
		return
	}
	delete(d.byPID, c.pid)
	c.pid, c.start, c.daemonized = pid, startTime(pid), true
	if p, err := proc.ReadProcess(pid); err == nil {
		c.adopted = p.PPID != os.Getpid()
	}
	d.byPID[pid] = c
	d.diary.run(c)
	if d.keeper != nil {
		_ = d.keeper.Track(pid, uint64(c.gen))
	}
	d.step(machine.MainChanged{Gen: c.gen, PID: pid})
	if c.adopted {
		d.watchForeign(c)
	}
}

// reopenNotify gives an adopted incarnation its socket or readiness descriptor back.
func (d *driver) reopenNotify(c *child) {
	for _, p := range d.inherited {
		if p.Gen != uint64(c.gen) || d.notices == nil {
			continue
		}
		conn, err := d.notices.Adopt(p.Gen, p.FD)
		if err != nil {
			d.log.Error("lost the readiness of a service", "service", c.config.Name, "error", err)
			continue
		}
		c.notify = conn
	}
}

// closeNotify ends the way by which an incarnation reported. The keeper lets go of its copy when nothing is left
// in it.
func (d *driver) closeNotify(gen uint64, c *notify.Conn) {
	if c == nil {
		return
	}
	stream := streamOf(c)
	c.Close(func() {
		if d.keeper != nil {
			_ = d.keeper.DropPipe(gen, stream)
		}
	})
}

// dropUnclaimed closes what the keeper held for incarnations of which nothing is left.
func (d *driver) dropUnclaimed() {
	for _, p := range d.inherited {
		if d.children[machine.Gen(p.Gen)] != nil || d.notices == nil {
			continue
		}
		if conn, err := d.notices.Adopt(p.Gen, p.FD); err == nil {
			d.closeNotify(p.Gen, conn)
		}
	}
	d.inherited = nil
}

// streamOf is the number under which the keeper holds the supervisor's end.
func streamOf(c *notify.Conn) uint8 {
	if c.IsSocket() {
		return streamNotify
	}
	return streamReady
}

// notifyPipes is what a lone server leaves open for the executable that replaces it.
func notifyPipes(c *child) []keeper.Pipe {
	if c.notify.FD() < 0 {
		return nil
	}
	return []keeper.Pipe{{Service: c.config.Name, Gen: uint64(c.gen), Stream: streamOf(c.notify), FD: c.notify.FD()}}
}
