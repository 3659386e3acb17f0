package answer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// statsKeeper remembers the last readings of CPU time, so that a percentage is of the time since the reading before.
type statsKeeper struct {
	mu   sync.Mutex
	last map[machine.Gen]cpuReading
}

type cpuReading struct {
	at      time.Time
	used    time.Duration
	percent float64
}

func newStatsKeeper() *statsKeeper { return &statsKeeper{last: map[machine.Gen]cpuReading{}} }

// percent is the CPU use of an incarnation since the previous reading at least statsWindow ago, else since its start.
func (k *statsKeeper) percent(gen machine.Gen, used, uptime time.Duration) float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	last, ok := k.last[gen]
	if ok && now.Sub(last.at) < statsWindow {
		return last.percent
	}
	span, spent := uptime, used
	if ok {
		span, spent = now.Sub(last.at), used-last.used
	}
	r := cpuReading{at: now, used: used}
	if span > 0 {
		r.percent = max(0, 100*float64(spent)/float64(span))
	}
	if len(k.last) > 2*maxReadings {
		clear(k.last)
	}
	k.last[gen] = r
	return r.percent
}

// tree lists the processes of one incarnation, the main one first.
func (s *Reader) tree(e *view.Entry) []proc.Process {
	if e.Run == nil || e.Run.PID == 0 {
		return nil
	}
	return s.from.Scanner.Tree(&e.Run.Owner, s.knownMains())
}

// knownMains tells the main processes of the present View.
func (s *Reader) knownMains() func(pid int) bool {
	entries := s.from.Views.Load().Entries
	mains := make(map[int]struct{}, len(entries))
	for _, e := range entries {
		if e.Run != nil {
			mains[e.Run.PID] = struct{}{}
		}
	}
	return func(pid int) bool { _, ok := mains[pid]; return ok }
}

// trees lists the processes of several incarnations with one pass over /proc at most.
func (s *Reader) trees(es []*view.Entry) map[machine.Gen][]proc.Process {
	out := map[machine.Gen][]proc.Process{}
	var owners []proc.Owner
	for _, e := range es {
		switch {
		case e.Run == nil || e.Run.PID == 0:
		default:
			owners = append(owners, e.Run.Owner)
		}
	}
	if len(owners) > 0 {
		members, _ := s.from.Scanner.Scan(owners)
		for gen, ps := range members {
			out[machine.Gen(gen)] = ps
		}
	}
	return out
}

// usage adds up memory and CPU of a tree.
func usage(ps []proc.Process) (memory uint64, cpu time.Duration) {
	for _, p := range ps {
		memory += p.RSSBytes
		cpu += time.Duration(p.UTime+p.STime) * (time.Second / 100)
	}
	return memory, cpu
}

// grouped is memory and CPU of one incarnation as its cgroup tells, false where there is none.
func (s *Reader) grouped(e *view.Entry) (memory uint64, percent float64, ok bool) {
	if e.Run == nil || e.Run.Cgroup == "" {
		return 0, 0, e.Run == nil
	}
	memory, cpu, ok := proc.GroupUsage(e.Run.Cgroup)
	if !ok {
		return 0, 0, false
	}
	return memory, s.percent(e, cpu), true
}

// measured is memory and CPU of one incarnation by its processes.
func (s *Reader) measured(e *view.Entry, ps []proc.Process) (memory uint64, percent float64) {
	memory, cpu := usage(ps)
	return memory, s.percent(e, cpu)
}

func (s *Reader) percent(e *view.Entry, cpu time.Duration) float64 {
	return s.stats.percent(e.Run.Gen, cpu, max(s.uptime(e), 0))
}

// Stats is memory and CPU of the whole tree.
func (s *Reader) Stats(name string) (wire.Stats, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return wire.Stats{}, err
	}
	w := wire.Stats{PID: e.Info.PID}
	var ok bool
	if w.MemoryBytes, w.CPUPercent, ok = s.grouped(e); !ok {
		w.MemoryBytes, w.CPUPercent = s.measured(e, s.tree(e))
	}
	return w, nil
}

// addStats puts memory and CPU into the rows of a list. Processes are looked at only where no cgroup tells.
func (s *Reader) addStats(v *view.View, rows []wire.Listed) {
	var others []int
	var entries []*view.Entry
	for i, e := range v.Entries {
		memory, percent, ok := s.grouped(e)
		if !ok {
			others, entries = append(others, i), append(entries, e)
		}
		rows[i].MemoryBytes, rows[i].CPUPercent = &memory, &percent
	}
	trees := s.trees(entries)
	for k, i := range others {
		*rows[i].MemoryBytes, *rows[i].CPUPercent = s.measured(entries[k], trees[entries[k].Run.Gen])
	}
}

// Children lists the processes below the main one; threads are none.
func (s *Reader) Children(name string) (wire.Children, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return wire.Children{}, err
	}
	w := wire.Children{Children: []wire.Child{}}
	for _, p := range s.tree(e) {
		if p.PID != e.Info.PID && !p.Dead() {
			w.Children = append(w.Children, wire.Child{PID: p.PID, Name: p.Comm, MemoryBytes: p.RSSBytes})
		}
	}
	return w, nil
}

// processes is the tree for status.
func wireProcesses(ps []proc.Process) []wire.Process {
	out := []wire.Process{}
	for _, p := range ps {
		out = append(out, wire.Process{PID: p.PID, PPID: p.PPID, Name: p.Comm, Cmdline: strings.Join(proc.Cmdline(p.PID), " "), State: stateWord(&p),
			MemoryBytes: p.RSSBytes, CPUMS: int64(p.UTime+p.STime) * 10})
	}
	return out
}

func stateWord(p *proc.Process) string {
	switch p.State {
	case 'R':
		return "running"
	case 'D':
		return "disk-sleep"
	case 'T', 't':
		return "stopped"
	case 'Z', 'X':
		if p.Dead() {
			return "zombie"
		}
	}
	return "sleeping"
}

// markOutside marks the processes that are not in the control group of their service.
func markOutside(ps []wire.Process, cgroup string) {
	if cgroup == "" {
		return
	}
	inside := proc.GroupProcesses(cgroup)
	for i := range ps {
		ps[i].Outside = !slices.Contains(inside, ps[i].PID)
	}
}

// ProcessTree draws the processes of a service as 0.3.9's debug.process_tree does.
func (s *Reader) ProcessTree(name string) (string, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return "", err
	}
	if e.Run == nil || e.Run.PID == 0 || !view.Active(e.Info.State) {
		return name + " is not running", nil
	}
	text := fmt.Sprintf("%s (pid=%d)", name, e.Info.PID)
	ps := s.tree(e)
	n := 0
	for _, p := range ps {
		if p.PID != e.Info.PID && !p.Dead() {
			n++
		}
	}
	if n == 0 {
		return text + "\n  └─ (no child processes)", nil
	}
	for _, p := range ps {
		if p.PID == e.Info.PID || p.Dead() {
			continue
		}
		n--
		mark := "├─"
		if n == 0 {
			mark = "└─"
		}
		text += fmt.Sprintf("\n  %s %s (pid=%d, ppid=%d, %s)", mark, p.Comm, p.PID, p.PPID, stateWord(&p))
	}
	return text, nil
}

// childLines is what debug.state shows below each service.
func (s *Reader) childLines(v *view.View) map[machine.Gen][]string {
	out := map[machine.Gen][]string{}
	trees := s.trees(v.Entries)
	for _, e := range v.Entries {
		if e.Run == nil {
			continue
		}
		for _, p := range trees[e.Run.Gen] {
			if p.PID != e.Run.PID && !p.Dead() {
				out[e.Run.Gen] = append(out[e.Run.Gen], fmt.Sprintf("%s (pid=%d, state=%c)", p.Comm, p.PID, p.State))
			}
		}
	}
	return out
}

// tracking says how processes are kept together.
func (s *Reader) tracking() string {
	if s.from.Cgroups != nil {
		return "cgroup " + s.from.Cgroups.Path()
	}
	return "process group and /proc (" + s.from.NoCgroups + ")"
}

func (s *Reader) trackingOf(e *view.Entry) string {
	if e.Run != nil && e.Run.Cgroup != "" {
		return "cgroup"
	}
	if e.Config.Target {
		return ""
	}
	return "process group and /proc"
}

// strays are processes below the supervisor that belong to no service any more.
// All of them hang below a child that no service has as its main process: where there is none, nothing more is looked at.
func (s *Reader) strays() []wire.Process {
	if s.from.Scanner.Unknown(s.knownMains()).None() {
		return []wire.Process{}
	}
	var owners []proc.Owner
	for _, e := range s.from.Views.Load().Entries {
		if e.Run != nil && e.Run.PID != 0 {
			owners = append(owners, e.Run.Owner)
		}
	}
	_, strays := s.from.Scanner.Scan(owners)
	out := wireProcesses(strays)
	for i := range out {
		out[i].Stray = true
	}
	return out
}

// features is what a client may count on.
func (s *Reader) features() []string {
	f := []string{"events", "follow", "reload", "wait", "upgrade"}
	if s.from.Cgroups != nil {
		f = append(f, "cgroup2")
	}
	if s.from.Survives {
		f = append(f, "survival")
	}
	return f
}
