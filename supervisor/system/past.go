package system

import (
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/output"
	"github.com/zinit/zinit/supervisor/proc"
)

// Instance implements loop.Past.
func (y *System) Instance() string { return y.scanner.Instance }

// Children implements loop.Past.
func (y *System) Children() map[int]bool {
	own := map[int]bool{}
	for _, pid := range proc.Children(nil) {
		own[pid] = true
	}
	return own
}

// Process implements loop.Past.
func (y *System) Process(pid int) (p proc.Process, ours, ok bool) {
	p, err := proc.ReadProcess(pid)
	return p, p.PPID == os.Getpid(), err == nil
}

// Strays implements loop.Past.
func (y *System) Strays(o proc.Owner) (n int) {
	for _, p := range y.scanner.Members(&o) {
		if p.PID != o.Main {
			n++
		}
	}
	return n
}

// TagOf implements loop.Past.
func (y *System) TagOf(gen uint64) uint64 { return proc.Tag(y.scanner.Instance, gen) }

// OpenGroup implements loop.Past.
func (y *System) OpenGroup(path string) loop.Group {
	if y.cgroups == nil {
		return nil
	}
	return asGroup(y.cgroups.Open(path))
}

// FindGroup implements loop.Past.
func (y *System) FindGroup(service string, gen uint64) loop.Group {
	if y.cgroups == nil {
		return nil
	}
	return asGroup(y.cgroups.Find(service, gen))
}

// KillStray implements loop.Past.
func (y *System) KillStray(p proc.Process) { _ = proc.SignalProcess(p.PID, p.Start, unix.SIGKILL) }

// EndOldHelpers implements loop.Past: whoever waited for the helpers of a server before this one is dead. A command that makes
// a service reload is left to come to its end.
func (y *System) EndOldHelpers(first uint64, known loop.Known) {
	old := func(gen uint64) bool { return gen&proc.Aside != 0 && gen&^proc.Aside < first }
	for _, o := range y.scanner.Orphans(known) {
		if hook, _ := proc.Variable(o.PID, "ZINIT_HOOK"); old(o.Gen) && hook != loop.HookReload {
			y.scanner.KillTree(&proc.Owner{Gen: o.Gen, Main: o.PID, Start: o.Start})
		}
	}
	if y.cgroups == nil {
		return
	}
	for _, g := range y.cgroups.Groups(old) {
		_ = g.Kill()
		go g.Remove() //nolint:errcheck // one that is still busy stays
	}
}

// Dead implements loop.Past.
func (y *System) Dead() (dead []loop.Marked) {
	if y.scanner.Keeper == 0 {
		return nil
	}
	for _, pid := range proc.ChildrenOf(nil, y.scanner.Keeper) {
		p, err := proc.ReadProcess(pid)
		if err != nil || !p.Dead() {
			continue
		}
		gen := y.scanner.Tagged(pid)
		if gen == 0 {
			gen = proc.GroupGen(pid)
		}
		dead = append(dead, loop.Marked{Process: p, Gen: gen})
	}
	return dead
}

// Marked implements loop.Past, with one pass over the children of the keeper and of this server. A child that the server
// before was forking when it died has no sign before its exec: it is waited for, or it would become a second copy later.
// Nothing tells of the exec of a process that is not our child, so it is looked at again.
func (y *System) Marked(known loop.Known) map[uint64][]loop.Marked {
	for end := time.Now().Add(unbornPatience); ; time.Sleep(time.Millisecond) {
		unborn := y.unborn()
		if len(unborn) == 0 {
			break
		}
		if time.Now().After(end) {
			for _, p := range unborn {
				_ = proc.SignalProcess(p.PID, p.Start, unix.SIGKILL)
			}
		}
	}
	marked := map[uint64][]loop.Marked{}
	for _, o := range y.scanner.Orphans(known) {
		if o.Gen != 0 {
			hook, _ := proc.Variable(o.PID, "ZINIT_HOOK")
			marked[o.Gen] = append(marked[o.Gen], loop.Marked{Process: o.Process, Gen: o.Gen, Hook: hook})
		}
	}
	return marked
}

// unborn are children of the keeper that are still an image of the server before: their environment is a server's.
func (y *System) unborn() (found []proc.Process) {
	if y.scanner.Keeper == 0 {
		return nil
	}
	ours, _ := proc.Variable(os.Getpid(), proc.EnvID) // this supervisor may itself be somebody's service
	for _, pid := range proc.ChildrenOf(nil, y.scanner.Keeper) {
		if pid == os.Getpid() {
			continue
		}
		if _, server := proc.Variable(pid, keeper.EnvFD); !server {
			continue
		}
		p, err := proc.ReadProcess(pid)
		if id, _ := proc.Variable(pid, proc.EnvID); err == nil && !p.Dead() && id == ours {
			found = append(found, p)
		}
	}
	return found
}

// Inherit implements loop.Past.
func (y *System) Inherit(p keeper.Pipe) {
	_ = y.out.Add(p.FD, output.Source{Service: p.Service, Gen: p.Gen, Stream: p.Stream})
}

// Lose implements loop.Past.
func (y *System) Lose(p keeper.Pipe) {
	unix.Close(p.FD)
	if y.keeper != nil {
		_ = y.keeper.DropPipe(p.Gen, p.Stream)
	}
}

// Claimed implements loop.Lines.
func (y *System) Claimed() { y.opt.Arena.FlushUnclaimed(time.Now().UnixMilli()) }

// Drain implements loop.Lines.
func (y *System) Drain(gens []uint64) { y.out.Drain(gens) }

// Release implements loop.Lines.
func (y *System) Release(gen uint64, grace time.Duration) { y.out.Release(gen, grace) }

// SetPID implements loop.Lines.
func (y *System) SetPID(gen uint64, pid int) { y.out.SetPID(gen, pid) }

// outputClosed is called by the reader, from its goroutine, when a log pipe has been read to its end.
func (y *System) outputClosed(s output.Source) {
	if y.keeper != nil {
		_ = y.keeper.DropPipe(s.Gen, s.Stream)
	}
}

// NextLine implements loop.Lines.
func (y *System) NextLine(service string) (log string, number uint64) {
	a := y.opt.Arena
	if ring := a.Find(service); ring != nil {
		return a.ID(), ring.Next()
	}
	return a.ID(), 1
}

// LastLine implements loop.Lines: the last line that one process wrote, "" if none is kept.
func (y *System) LastLine(service string, pid int) string {
	ring := y.opt.Arena.Find(service)
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
