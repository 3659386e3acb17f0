package supervisor

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
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

// maxReadings bounds the readings of incarnations that are long gone.
const maxReadings = 20000

// tree lists the processes of one incarnation, the main one first.
func (s *Supervisor) tree(e *Entry) []proc.Process {
	if e.Run == nil || e.Run.pid == 0 {
		return nil
	}
	return s.driver.scanner.Tree(&e.Run.owner, s.knownMains())
}

// knownMains tells the main processes of the present View.
func (s *Supervisor) knownMains() func(pid int) bool {
	entries := s.driver.views.load().Entries
	mains := make(map[int]struct{}, len(entries))
	for _, e := range entries {
		if e.Run != nil {
			mains[e.Run.pid] = struct{}{}
		}
	}
	return func(pid int) bool { _, ok := mains[pid]; return ok }
}

// trees lists the processes of several incarnations with one pass over /proc at most.
func (s *Supervisor) trees(es []*Entry) map[machine.Gen][]proc.Process {
	out := map[machine.Gen][]proc.Process{}
	var owners []proc.Owner
	for _, e := range es {
		switch {
		case e.Run == nil || e.Run.pid == 0:
		default:
			owners = append(owners, e.Run.owner)
		}
	}
	if len(owners) > 0 {
		members, _ := s.driver.scanner.Scan(owners)
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

// measured is memory and CPU of one incarnation, from its cgroup where there is one.
func (s *Supervisor) measured(e *Entry, ps []proc.Process) (memory uint64, percent float64) {
	if e.Run == nil {
		return 0, 0
	}
	memory, cpu := usage(ps)
	if e.Run.cgroup != "" {
		if m, c, ok := proc.GroupUsage(e.Run.cgroup); ok {
			memory, cpu = m, c
		}
	}
	return memory, s.stats.percent(e.Run.gen, cpu, max(s.uptime(e), 0))
}

// Stats is memory and CPU of the whole tree.
func (s *Supervisor) Stats(name string) (wire.Stats, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return wire.Stats{}, err
	}
	w := wire.Stats{PID: e.Info.PID}
	w.MemoryBytes, w.CPUPercent = s.measured(e, s.tree(e))
	return w, nil
}

// addStats puts memory and CPU into the rows of a list.
func (s *Supervisor) addStats(v *View, rows []wire.Listed) {
	trees := s.trees(v.Entries)
	for i, e := range v.Entries {
		var ps []proc.Process
		if e.Run != nil {
			ps = trees[e.Run.gen]
		}
		memory, percent := s.measured(e, ps)
		rows[i].MemoryBytes, rows[i].CPUPercent = &memory, &percent
	}
}

// Children lists the processes below the main one; threads are none.
func (s *Supervisor) Children(name string) (wire.Children, error) {
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
		out = append(out, wire.Process{PID: p.PID, PPID: p.PPID, Name: p.Comm, Cmdline: strings.Join(proc.Cmdline(p.PID), " "), State: stateWord(p.State),
			MemoryBytes: p.RSSBytes, CPUMS: int64(p.UTime+p.STime) * 10})
	}
	return out
}

func stateWord(b byte) string {
	switch b {
	case 'R':
		return "running"
	case 'D':
		return "disk-sleep"
	case 'T', 't':
		return "stopped"
	case 'Z', 'X':
		return "zombie"
	}
	return "sleeping"
}

// ProcessTree draws the processes of a service as 0.3.9's debug.process_tree does.
func (s *Supervisor) ProcessTree(name string) (string, error) {
	_, e, _, err := s.find(name)
	if err != nil {
		return "", err
	}
	if e.Run == nil || e.Run.pid == 0 || !active(e.Info.State) {
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
		text += fmt.Sprintf("\n  %s %s (pid=%d, ppid=%d, %s)", mark, p.Comm, p.PID, p.PPID, stateWord(p.State))
	}
	return text, nil
}

// childLines is what debug.state shows below each service.
func (s *Supervisor) childLines(v *View) map[machine.Gen][]string {
	out := map[machine.Gen][]string{}
	trees := s.trees(v.Entries)
	for _, e := range v.Entries {
		if e.Run == nil {
			continue
		}
		for _, p := range trees[e.Run.gen] {
			if p.PID != e.Run.pid && !p.Dead() {
				out[e.Run.gen] = append(out[e.Run.gen], fmt.Sprintf("%s (pid=%d, state=%c)", p.Comm, p.PID, p.State))
			}
		}
	}
	return out
}

// tracking says how processes are kept together.
func (s *Supervisor) tracking() string {
	if s.driver.cgroups != nil {
		return "cgroup " + s.driver.cgroups.Path()
	}
	return "process group and /proc (" + s.driver.noCgroups + ")"
}

func (s *Supervisor) trackingOf(e *Entry) string {
	if e.Run != nil && e.Run.cgroup != "" {
		return "cgroup"
	}
	if e.Config.Target {
		return ""
	}
	return "process group and /proc"
}

// strays are processes below the supervisor that belong to no service any more.
func (s *Supervisor) strays() []wire.Process {
	var owners []proc.Owner
	for _, e := range s.driver.views.load().Entries {
		if e.Run != nil && e.Run.pid != 0 {
			owners = append(owners, e.Run.owner)
		}
	}
	_, strays := s.driver.scanner.Scan(owners)
	out := wireProcesses(strays)
	for i := range out {
		out[i].Stray = true
	}
	return out
}

// features is what a client may count on.
func (s *Supervisor) features() []string {
	f := []string{"events", "follow", "reload", "wait", "upgrade"}
	if s.driver.cgroups != nil {
		f = append(f, "cgroup2")
	}
	if s.opt.Keeper != nil {
		f = append(f, "survival")
	}
	return f
}
