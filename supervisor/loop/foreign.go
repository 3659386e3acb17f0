package loop

import (
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
)

// adoptLegacy answers a Spawn by the process that runs already.
func (d *driver) adoptLegacy(c *child) bool {
	p, ok := d.legacy[c.config.Name]
	if !ok {
		return false
	}
	delete(d.legacy, c.config.Name)
	now, err := proc.ReadProcess(p.PID)
	if err != nil || now.Start != p.Start || now.Dead() {
		return false
	}
	c.adopted, c.daemonized = true, true // not started by us, so nobody but the kernel tells of its end
	c.warning = "taken over from zinit 0.3.9: its output is captured after its next start"
	if p.Gen != 0 {
		c.warning = "taken over without the state of the server before"
		if d.cgroups != nil {
			c.group = d.cgroups.Find(c.config.Name, p.Gen)
		}
	}
	d.spawned(c, forked{pid: p.PID, start: p.Start, at: time.Now()})
	d.watchForeign(c)
	return true
}

// takePipes reads on what the keeper holds of a server without a state; what it knew by the other descriptors is lost.
func (d *driver) takePipes() {
	if d.opt.Handover == nil {
		return
	}
	for _, p := range d.opt.Handover.Pipes {
		if p.Stream < streamReady {
			d.inheritPipe(p)
			continue
		}
		unix.Close(p.FD)
		if d.keeper != nil {
			_ = d.keeper.DropPipe(p.Gen, p.Stream)
		}
	}
}

// startLegacy asks for the services that ran without being wanted by their files.
func (d *driver) startLegacy() {
	var ids []graph.ID
	for _, name := range slices.Sorted(maps.Keys(d.legacy)) {
		if id, ok := d.m.Graph().Lookup(name); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		d.step(machine.Asked{Verb: machine.VerbStart, IDs: ids})
	}
}

// watchForeign waits for the end of a process that is neither our child nor, perhaps, the keeper's.
func (d *driver) watchForeign(c *child) {
	pid, start := c.pid, c.start
	fd, err := proc.OpenPidfd(pid, start)
	if err != nil {
		d.giveUpLater(c)
		return
	}
	_ = unix.SetNonblock(fd, true) // so that the runtime polls it
	f := os.NewFile(uintptr(fd), "pidfd")
	go func() {
		defer f.Close()
		if raw, err := f.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
				n, err := unix.Poll(set, 0)
				return n > 0 || err != nil && err != unix.EINTR
			})
		}
		d.post(func() {
			if c.pid == pid && c.start == start {
				d.giveUpLater(c)
			}
		})
	}()
}
