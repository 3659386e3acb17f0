package system

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/output"
	"github.com/zinit/zinit/supervisor/proc"
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
func (y *System) openPipes(name string, gen uint64) (*pipes, *proc.Error) {
	p := &pipes{gen: gen, name: name, read: [2]int{-1, -1}, write: [2]int{-1, -1}}
	for i := range p.read {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			p.abandon(y)
			return nil, &proc.Error{Step: "fork", Detail: "cannot make a log pipe: " + err.Error()}
		}
		p.read[i], p.write[i] = fds[0], fds[1]
		var st unix.Stat_t
		if unix.Fstat(fds[0], &st) == nil {
			p.inodes = append(p.inodes, st.Ino)
		}
	}
	fault.Here("store")
	if y.keeper != nil {
		_ = y.keeper.StorePipes([]keeper.Pipe{{Service: name, Gen: gen, Stream: logring.Stdout, FD: p.read[0]},
			{Service: name, Gen: gen, Stream: logring.Stderr, FD: p.read[1]}})
	}
	return p, nil
}

// attach hands the read ends to the reader, once the pid that the lines carry is known.
func (p *pipes) attach(y *System, pid int) {
	p.closeWrite()
	for i, fd := range p.read {
		if err := y.out.Add(fd, output.Source{Service: p.name, Gen: p.gen, Stream: uint8(i), PID: int32(pid)}); err != nil {
			y.log.Error("cannot read the output of a service", "service", p.name, "error", err)
		}
	}
}

// abandon closes everything: there is no process.
func (p *pipes) abandon(y *System) {
	p.closeWrite()
	for i, fd := range p.read {
		if fd >= 0 {
			unix.Close(fd)
			if y.keeper != nil {
				_ = y.keeper.DropPipe(p.gen, uint8(i))
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

// StartMain implements loop.Forks.
func (y *System) StartMain(c *graph.Config, gen machine.Gen, then func(loop.Forked)) loop.Fork {
	return y.pool.submit(proc.Needs(c, c.Exec), func() func() {
		f := y.forkMain(c, uint64(gen))
		return func() { then(f) }
	})
}

// forkMain runs on a worker: it prepares everything about the main process and starts it.
func (y *System) forkMain(cfg *graph.Config, gen uint64) (f loop.Forked) {
	// Read before the start reads them again: a change in between is one that a reload finds.
	f.Inputs, _ = proc.ReadInputs(cfg)
	if f.Err = y.belongings.Make(cfg, gen); f.Err != nil {
		return f
	}
	group, err := y.newGroup(cfg, gen)
	if err == nil {
		group, err = y.forkInto(&f, cfg, gen, group)
	}
	if f.Err = err; err == nil {
		f.Group = asGroup(group)
	} else if group != nil {
		_ = group.Remove()
	}
	return f
}

// forkInto starts a main process in a control group; nil = there are none. It returns the one that was used in the end.
func (y *System) forkInto(f *loop.Forked, cfg *graph.Config, gen uint64, group *proc.Group) (*proc.Group, *proc.Error) {
	conn, extra, err := y.openNotify(cfg, gen)
	if err != nil {
		return group, err
	}
	if conn != nil {
		f.Notify = conn
	}
	spec, err := y.specFor(cfg, cfg.Exec, gen, extra)
	if err != nil {
		return group, err
	}
	w, err := y.openPipes(cfg.Name, gen)
	if err != nil {
		return group, err
	}
	spec.Files = []int{y.devNull, w.write[0], w.write[1]}
	if fd := conn.ChildFD(); fd >= 0 {
		spec.Files = placeAt(spec.Files, cfg.Ready.FD, fd)
		defer conn.CloseChildFD()
	}
	spec.Cgroup, spec.Tty, spec.Identity = group, cfg.Tty, cfg.Identity
	spec.WatchdogPID = cfg.Watchdog > 0 && conn.IsSocket()
	fault.Here("fork")
	began := y.births.begin()
	f.PID, err = proc.Start(spec)
	for range groupTries {
		if !proc.LostGroup(err) {
			break
		}
		if group, err = y.newGroup(cfg, gen); err == nil { // somebody has removed the empty one
			spec.Cgroup = group
			f.PID, err = proc.Start(spec)
		}
	}
	fault.Here("forked")
	if err != nil {
		w.abandon(y)
		return group, err
	}
	f.Start = y.births.of(f.PID, began)
	w.attach(y, f.PID)
	f.At, f.Inodes = time.Now(), w.inodes
	return group, nil
}

// asGroup keeps no group a nil interface.
func asGroup(g *proc.Group) loop.Group {
	if g == nil {
		return nil
	}
	return g
}

// groupOf is the other way.
func groupOf(g loop.Group) *proc.Group {
	group, _ := g.(*proc.Group)
	return group
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
func (y *System) specFor(cfg *graph.Config, cmd graph.Command, gen uint64, extra []string) (*proc.Spec, *proc.Error) {
	extra = append(append(extra, y.belongings.Environ(cfg)...), proc.EnvInstance+"="+y.scanner.Instance)
	env, err := proc.Environ(y.opt.Environ, cfg, gen, extra...)
	if err != nil {
		return nil, err
	}
	plan, err := proc.Resolve(cmd, cfg.Expand, env, cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &proc.Spec{Plan: plan, Dir: cfg.Dir, Env: env, Pdeathsig: y.keeper == nil, Tag: proc.Tag(y.scanner.Instance, gen)}, nil
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
func (y *System) newGroup(cfg *graph.Config, gen uint64) (*proc.Group, *proc.Error) {
	if y.cgroups == nil {
		if !cfg.Cgroup.IsZero() {
			return nil, &proc.Error{Step: "cgroup", Detail: "cannot apply [cgroup]: " + y.noCgroups}
		}
		return nil, nil
	}
	return y.cgroups.New(cfg.Name, gen, cfg.Cgroup)
}
