package loop

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/output"
	"github.com/zinit/zinit/supervisor/proc"
)

// Streams of what the keeper holds for an incarnation: the log pipes are numbered as in the ring.
const (
	streamReady  = 16 // read end of a readiness descriptor
	streamNotify = 17 // sd_notify socket
)

// pipes are the log pipes of one process on its way.
type pipes struct {
	gen    uint64
	name   string
	read   [2]int // by stream: logring.Stdout, logring.Stderr
	write  [2]int // the child's ends
	inodes []uint64
}

// openPipes makes the log pipes of one process. The keeper gets the read ends before the fork: from then on no line may be
// in a pipe that only this process holds.
func (d *driver) openPipes(name string, gen uint64) (*pipes, *proc.Error) {
	p := &pipes{gen: gen, name: name, read: [2]int{-1, -1}, write: [2]int{-1, -1}}
	for i := range p.read {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			p.abandon(d)
			return nil, &proc.Error{Step: "fork", Detail: "cannot make a log pipe: " + err.Error()}
		}
		p.read[i], p.write[i] = fds[0], fds[1]
		var st unix.Stat_t
		if unix.Fstat(fds[0], &st) == nil {
			p.inodes = append(p.inodes, st.Ino)
		}
	}
	fault.Here("store")
	if d.keeper != nil {
		_ = d.keeper.StorePipes([]keeper.Pipe{{Service: name, Gen: gen, Stream: logring.Stdout, FD: p.read[0]},
			{Service: name, Gen: gen, Stream: logring.Stderr, FD: p.read[1]}})
	}
	return p, nil
}

// attach hands the read ends to the reader, once the pid that the lines carry is known.
func (p *pipes) attach(d *driver, pid int) {
	p.closeWrite()
	for i, fd := range p.read {
		if err := d.out.Add(fd, output.Source{Service: p.name, Gen: p.gen, Stream: uint8(i), PID: int32(pid)}); err != nil {
			d.log.Error("cannot read the output of a service", "service", p.name, "error", err)
		}
	}
}

// abandon closes everything: there is no process.
func (p *pipes) abandon(d *driver) {
	p.closeWrite()
	for i, fd := range p.read {
		if fd >= 0 {
			unix.Close(fd)
			if d.keeper != nil {
				_ = d.keeper.DropPipe(p.gen, uint8(i))
			}
		}
	}
}

func (p *pipes) closeWrite() {
	for i, fd := range p.write {
		if fd >= 0 {
			unix.Close(fd)
			p.write[i] = -1
		}
	}
}

// forkMain runs on a worker: it prepares everything about the main process and starts it.
func (d *driver) forkMain(c *child, base []string) (f forked) {
	cfg, gen := c.config, uint64(c.gen)
	defer func() {
		if f.err != nil && f.group != nil {
			f.group.Remove()
			f.group = nil
		}
	}()
	// Read before the start reads them again: a change in between is one that a reload finds.
	f.inputs, _ = proc.ReadInputs(cfg)
	if f.err = d.belongings.Make(cfg, gen); f.err != nil {
		return f
	}
	if f.group, f.err = d.newGroup(cfg, gen); f.err != nil {
		return f
	}
	var extra []string
	f.notify, extra, f.err = d.openNotify(cfg, gen)
	if f.err != nil {
		return f
	}
	spec, err := d.specFor(cfg, cfg.Exec, gen, base, extra)
	if err != nil {
		f.err = err
		return f
	}
	w, err := d.openPipes(cfg.Name, gen)
	if err != nil {
		f.err = err
		return f
	}
	spec.Files = []int{d.devNull, w.write[0], w.write[1]}
	if fd := f.notify.ChildFD(); fd >= 0 {
		spec.Files = placeAt(spec.Files, cfg.Ready.FD, fd)
		defer f.notify.CloseChildFD()
	}
	spec.Cgroup, spec.Tty, spec.Identity = f.group, cfg.Tty, cfg.Identity
	spec.WatchdogPID = cfg.Watchdog > 0 && f.notify.IsSocket()
	fault.Here("fork")
	began := d.births.begin()
	f.pid, f.err = proc.Start(spec)
	for range groupTries {
		if !proc.LostGroup(f.err) {
			break
		}
		if f.group, f.err = d.newGroup(cfg, gen); f.err == nil { // somebody has removed the empty one
			spec.Cgroup = f.group
			f.pid, f.err = proc.Start(spec)
		}
	}
	fault.Here("forked")
	if f.err != nil {
		w.abandon(d)
		return f
	}
	f.start = d.births.of(f.pid, began)
	w.attach(d, f.pid)
	f.at, f.inodes = time.Now(), w.inodes
	return f
}

// placeAt puts a descriptor at number n of the child, closed ones before it.
func placeAt(files []int, n, fd int) []int {
	for len(files) <= n {
		files = append(files, -1)
	}
	files[n] = fd
	return files
}

// specFor is what all processes of a service have in common: program, directory, environment.
func (d *driver) specFor(cfg *graph.Config, cmd graph.Command, gen uint64, base, extra []string) (*proc.Spec, *proc.Error) {
	extra = append(append(extra, d.belongings.Environ(cfg)...), proc.EnvInstance+"="+d.scanner.Instance)
	env, err := proc.Environ(base, cfg, gen, extra...)
	if err != nil {
		return nil, err
	}
	plan, err := proc.Resolve(cmd, cfg.Expand, env, cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &proc.Spec{Plan: plan, Dir: cfg.Dir, Env: env, Pdeathsig: d.keeper == nil, Tag: proc.Tag(d.scanner.Instance, gen)}, nil
}

// startTime names a process for ever, together with its pid; 0 when it is gone or /proc is not there.
func startTime(pid int) uint64 {
	p, err := proc.ReadProcess(pid)
	if err != nil {
		return 0
	}
	return p.Start
}

// newGroup makes a fresh cgroup for one incarnation: one that was ever killed would kill its next child at birth.
func (d *driver) newGroup(cfg *graph.Config, gen uint64) (*proc.Group, *proc.Error) {
	if d.cgroups == nil {
		if !cfg.Cgroup.IsZero() {
			return nil, &proc.Error{Step: "cgroup", Detail: "cannot apply [cgroup]: " + d.noCgroups}
		}
		return nil, nil
	}
	return d.cgroups.New(cfg.Name, gen, cfg.Cgroup)
}
