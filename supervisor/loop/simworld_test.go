package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// simWorld is a World that follows from a seed: the truth about processes, of which the loop hears by words that come late or
// never. It runs the loop itself, turn by turn on one goroutine, and checks each question and each turn (see sim_test.go).
type simWorld struct {
	rng    *rand.Rand
	faults simFaults
	now    time.Duration // since the world began
	events []simEvent
	seq    int

	l        *Loop
	told     Listener
	life     int // of the server, from 1; words to a life that is over are lost
	up       bool
	crashIn  int // the server dies at this question from now, 0 = it does not
	alarm    *simTimer
	forks    []*simFork // asked of this life and not answered
	held     func()
	quiet    bool // held was called
	keeper   *simKeeper
	procs    map[int]*simProcess // by pid, zombies included
	lastPID  int
	freed    []int
	ticks    uint64
	reaped   map[int]bool // told by Ended in this life and not reaped
	healed   bool
	services map[string]*simService
	says     map[uint64]*simReporter // by incarnation, as long as somebody may say something
	trace    []string
	play     *simPlay
	failure  string
}

// simFaults is how often what goes wrong, in percent; drawn for each world.
type simFaults struct {
	late, hang, forkFails, exits, stubborn, undead, kids, liar, refused, silent, slow int
}

type simEvent struct {
	at   time.Duration
	seq  int
	life int // 0 = it happens whoever lives
	run  func()
}

// simService is what the world knows of one service.
type simService struct {
	name    string
	pidFile int    // what stands in its file
	why     string // why nothing does
	forks   int
	refuses bool // signals to its processes are not permitted
}

// Parents that are no process of the world.
const (
	byServer = -1
	byKeeper = -2
)

type simProcess struct {
	pid, parent, group int
	start              uint64
	gen                uint64 // its mark
	hook               string
	service            *simService
	main               bool // it was started as a main process, or has become one
	config             *graph.Config
	dead               bool
	status             machine.Status
	obeys              bool
	undead             bool
	refused            bool // SIGKILL was not permitted
	says               *simReporter
}

func (w *simWorld) draw(percent int) bool { return !w.healed && w.rng.IntN(100) < percent }

func (w *simWorld) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

// soon is how long most things take; some take their time.
func (w *simWorld) soon() time.Duration {
	if w.draw(w.faults.late) {
		return w.between(0, 300*time.Millisecond)
	}
	return w.between(10*time.Microsecond, 300*time.Microsecond)
}

func (w *simWorld) say(format string, args ...any) {
	if len(w.trace) > 4000 {
		w.trace = slices.Delete(w.trace, 0, 2000)
	}
	w.trace = append(w.trace, fmt.Sprintf("%12v  ", w.now)+fmt.Sprintf(format, args...))
}

func (w *simWorld) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.say("!! %s", w.failure)
	}
}

// at lets something happen; it is a word to a server when life is not 0.
func (w *simWorld) at(wait time.Duration, life int, run func()) {
	w.seq++
	e := simEvent{w.now + max(0, wait), w.seq, life, run}
	i, _ := slices.BinarySearchFunc(w.events, e, func(a, b simEvent) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return a.seq - b.seq
	})
	w.events = slices.Insert(w.events, i, e)
}

// word sends one to the server of now.
func (w *simWorld) word(wait time.Duration, word func()) {
	w.at(wait, w.life, func() { w.turn(word) })
}

// simTimer is a Timer.
type simTimer struct{ off bool }

func (t *simTimer) Stop() bool {
	was := !t.off
	t.off = true
	return was
}

// asked counts the questions of the loop: at any of them the server may die.
func (w *simWorld) asked() {
	if w.crashIn > 0 && w.up {
		if w.crashIn--; w.crashIn == 0 {
			panic(simCrash{})
		}
	}
}

type simCrash struct{}

func (w *simWorld) Connect(l Listener) { w.told = l }

func (w *simWorld) Clock() view.Clock {
	epoch := time.Unix(1_700_000_000, 0)
	return view.ToldClock(machine.Time(time.Hour), func() time.Time { return epoch.Add(w.tick()) })
}

// tick is the time; on a slow machine some has gone by since the last look.
func (w *simWorld) tick() time.Duration {
	if w.draw(w.faults.slow) {
		w.now += 700 * time.Microsecond
	}
	return w.now
}

func (w *simWorld) After(wait time.Duration, word func()) Timer {
	t := &simTimer{}
	w.word(wait, func() {
		if !t.off {
			t.off = true
			word()
		}
	})
	return t
}

func (w *simWorld) Alarm(wait time.Duration) {
	if w.alarm != nil {
		w.alarm.off = true
	}
	if wait >= 0 {
		w.alarm = w.After(wait, w.told.Ticked).(*simTimer)
	}
}

func (w *simWorld) WatchClock(func()) (ClockWatch, error) { return simWatch{}, nil }
func (w *simWorld) Zone(string) *time.Location            { return time.UTC }

// simWatch is a watch of a wall clock that nobody sets.
type simWatch struct{}

func (simWatch) Zones([]string) {}
func (simWatch) Close()         {}

// simFork is a start on its way.
type simFork struct {
	w             *simWorld
	life          int
	begun, called bool
	do            func() (word func()) // nil once it is done
}

func (f *simFork) Begun() bool { return f.begun }
func (f *simFork) CallOff() bool {
	if f.begun || f.called {
		return false
	}
	f.called = true
	f.w.forks = slices.DeleteFunc(f.w.forks, func(o *simFork) bool { return o == f })
	return true
}

// fork asks for a start: it may wait for its files, then it is begun, done, and answered.
func (w *simWorld) fork(do func() (word func())) Fork {
	w.asked()
	f := &simFork{w: w, life: w.life, do: do}
	w.forks = append(w.forks, f)
	if w.draw(w.faults.hang) {
		w.at(w.between(0, 20*time.Second), w.life, f.begin)
	} else {
		f.begin()
	}
	return f
}

func (f *simFork) begin() {
	w := f.w
	switch {
	case f.called:
	case w.held != nil:
		w.at(time.Millisecond, f.life, f.begin)
	default:
		f.begun = true
		w.at(w.soon(), f.life, func() {
			word := f.do()
			f.do = nil
			w.word(w.soon(), func() {
				w.forks = slices.DeleteFunc(w.forks, func(o *simFork) bool { return o == f })
				word()
			})
		})
	}
}

func (w *simWorld) Forking() bool {
	return slices.ContainsFunc(w.forks, func(f *simFork) bool { return f.begun })
}

func (w *simWorld) Turned() {
	w.asked()
	if w.held != nil && !w.quiet && !w.Forking() {
		w.HoldNoLonger()
	}
}

func (w *simWorld) Hold(quiet func()) { w.held, w.quiet = quiet, false; w.Turned() }
func (w *simWorld) HoldNoLonger() {
	if w.held != nil && !w.quiet {
		w.quiet = true
		w.held()
	}
}
func (w *simWorld) Resume()              { w.held = nil }
func (w *simWorld) Leave(*Forked, bool)  {}
func (w *simWorld) Direct(*graph.Config) {}
func (w *simWorld) Undirect(string)      {}
func (w *simWorld) Claimed()             {}
func (w *simWorld) Drain([]uint64)       { w.asked() }

func (w *simWorld) Release(uint64, time.Duration)         {}
func (w *simWorld) SetPID(uint64, int)                    {}
func (w *simWorld) LastLine(string, int) string           { return "" }
func (w *simWorld) NextLine(string) (string, uint64)      { return "", 1 }
func (w *simWorld) Beside(work func())                    { work() }
func (w *simWorld) ClearBelongings(*graph.Config, bool)   {}
func (w *simWorld) SweepBelongings(func(string) bool)     {}
func (w *simWorld) Captured(h *Helper, then func([]byte)) { w.word(w.soon(), func() { then(nil) }) }
func (w *simWorld) WatchGroup(Group) bool                 { return false }
func (w *simWorld) OpenGroup(string) Group                { return nil }
func (w *simWorld) FindGroup(string, uint64) Group        { return nil }
func (w *simWorld) Inherit(keeper.Pipe)                   {}
func (w *simWorld) Lose(keeper.Pipe)                      {}
func (w *simWorld) Instance() string                      { return "sim" }
func (w *simWorld) TagOf(gen uint64) uint64               { return 1<<63 | gen }
func (w *simWorld) Deaths() <-chan proc.Death             { return nil }
func (w *simWorld) Obstacles(_ Tree, _ Known, then func(string)) {
	w.word(w.soon(), func() { then("stuck") })
}
func (w *simWorld) EndNotices(gen machine.Gen, _ Reporter) { delete(w.says, uint64(gen)) }
func (w *simWorld) FlushNotices(_ Reporter, then func())   { w.word(w.soon(), then) }
func (w *simWorld) Conflict(_ *graph.Config, _ []proc.Owner, _ bool, then func(*machine.Conflict)) {
	w.word(w.soon(), func() { then(nil) })
}

func (w *simWorld) Probe(h *graph.Health, then func(bool, string)) (cancel func()) {
	off := false
	w.word(w.soon(), func() { then(!off && !w.draw(w.faults.exits), "x") })
	return func() { off = true }
}

// newProcess is one more, with a number that may have been another's before.
func (w *simWorld) newProcess(parent int, gen uint64, s *simService) *simProcess {
	pid := 0
	if len(w.freed) > 3 {
		pid, w.freed = w.freed[0], w.freed[1:]
	} else {
		w.lastPID++
		pid = w.lastPID
	}
	w.ticks++
	p := &simProcess{pid: pid, parent: parent, group: pid, start: w.ticks, gen: gen, service: s, obeys: !w.draw(w.faults.stubborn),
		undead: w.draw(w.faults.undead)}
	w.procs[pid] = p
	return p
}

func (w *simWorld) StartMain(c *graph.Config, gen machine.Gen, then func(Forked)) Fork {
	return w.fork(func() func() {
		if w.draw(w.faults.forkFails) {
			return func() { then(Forked{Err: &proc.Error{Step: proc.StepTTY, Detail: "resource temporarily unavailable"}}) }
		}
		f := w.startMain(c, uint64(gen))
		return func() { then(f) }
	})
}

// startMain is the moment of the fork.
func (w *simWorld) startMain(c *graph.Config, gen uint64) Forked {
	s := w.services[c.Name]
	s.forks++
	w.oneAtATime(s, gen)
	p := w.newProcess(byServer, gen, s)
	p.main, p.config = true, c
	w.say("~ forked %s gen %d: pid %d", c.Name, gen, p.pid)
	f := Forked{PID: p.pid, Start: p.start, At: time.Unix(1_700_000_000, 0).Add(w.now)}
	if c.Ready.Kind == graph.ReadyNotify {
		p.says = &simReporter{w: w, gen: gen, pid: p.pid}
		f.Notify, w.says[gen] = p.says, p.says
	}
	w.conduct(p)
	return f
}

// conduct is what a main process will do.
func (w *simWorld) conduct(p *simProcess) {
	c := p.config
	ends := func(after time.Duration, st machine.Status) { w.at(after, 0, func() { w.die(p, st) }) }
	failed := machine.Status{Code: 1}
	if w.rng.IntN(3) == 0 {
		failed = machine.Status{Signal: 11}
	}
	if w.draw(w.faults.kids) {
		w.at(w.between(0, time.Millisecond), 0, func() { w.kid(p, w.between(0, 3*time.Second)) })
	}
	switch {
	case c.Oneshot && w.draw(w.faults.exits):
		ends(w.between(0, 2*time.Millisecond), failed)
	case c.Oneshot:
		ends(w.between(0, 20*time.Millisecond), machine.Status{})
	case c.PIDFile != "":
		w.daemonize(p)
	case w.draw(w.faults.exits):
		ends(w.between(0, 5*time.Millisecond), failed)
	case w.draw(w.faults.exits):
		ends(w.between(0, 3*time.Second), failed)
	}
	if p.says != nil && !w.draw(w.faults.silent) {
		w.at(w.between(0, 5*time.Millisecond), 0, func() {
			if !p.dead {
				p.says.send(notify.Message{Ready: true}, p.pid)
			}
		})
	}
}

// daemonize is a program that puts itself into the background: a child goes on, and its pid file says so, perhaps before the
// first process ends, perhaps behind it, perhaps wrongly.
func (w *simWorld) daemonize(p *simProcess) {
	w.at(w.between(0, 2*time.Millisecond), 0, func() {
		if p.dead {
			return
		}
		d := w.kid(p, -1)
		d.group = d.pid // setsid
		w.at(w.between(0, 4*time.Millisecond), 0, func() {
			p.service.pidFile, p.service.why = d.pid, ""
			if w.draw(w.faults.liar) {
				p.service.pidFile = 1 + w.rng.IntN(200)
			}
		})
		w.at(w.between(0, 4*time.Millisecond), 0, func() { w.die(p, machine.Status{}) })
		if w.draw(w.faults.exits) {
			w.at(w.between(0, 2*time.Second), 0, func() { w.die(d, machine.Status{Code: 3}) })
		}
	})
}

// kid forks a child of a process, which ends by itself after a while; negative = it does not.
func (w *simWorld) kid(p *simProcess, after time.Duration) *simProcess {
	if p.dead {
		return p
	}
	k := w.newProcess(p.pid, p.gen, p.service)
	k.group, k.hook, k.config = p.group, p.hook, p.config
	if after >= 0 {
		w.at(after, 0, func() { w.die(k, machine.Status{}) })
	}
	return k
}

// die ends a process. What it has forked becomes a child of the server, or of the keeper.
func (w *simWorld) die(p *simProcess, st machine.Status) {
	if p.dead {
		return
	}
	p.dead, p.status = true, st
	if p.main || p.gen&proc.Aside != 0 {
		w.say("~ pid %d of %s gen %d ends: %+v", p.pid, p.service.name, p.gen&^proc.Aside, st)
	}
	heir := p.parent
	for heir > 0 {
		heir = w.procs[heir].parent
	}
	for _, pid := range w.pids() {
		if k := w.procs[pid]; k.parent == p.pid {
			if k.parent = heir; k.dead {
				w.waitFor(k)
			}
		}
	}
	w.waitFor(p)
}

// waitFor tells the parent of a process that has ended.
func (w *simWorld) waitFor(p *simProcess) {
	switch p.parent {
	case byServer:
		if w.up {
			w.word(w.soon(), func() { w.l.d.reap() })
		}
	case byKeeper:
		w.at(w.between(0, 3*time.Millisecond), 0, func() { w.keeper.reap(p) })
	default:
		w.gone(p)
	}
}

// gone frees the number of a process.
func (w *simWorld) gone(p *simProcess) {
	if w.procs[p.pid] == p {
		delete(w.procs, p.pid)
		w.freed = append(w.freed, p.pid)
	}
}

func (w *simWorld) pids() []int {
	pids := make([]int, 0, len(w.procs))
	for pid := range w.procs {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

func (w *simWorld) Ended() (proc.Exit, bool) {
	w.asked()
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.dead && p.parent == byServer && !w.reaped[pid] {
			w.reaped[pid] = true
			return proc.Exit{PID: pid, Status: p.status}, true
		}
	}
	return proc.Exit{}, false
}

func (w *simWorld) Reap(pid int) {
	w.asked()
	if p := w.procs[pid]; p != nil && p.dead && p.parent == byServer {
		delete(w.reaped, pid)
		w.gone(p)
	}
}

func (w *simWorld) Lives(pid int, start uint64) bool {
	p := w.procs[pid]
	return p != nil && p.start == start && !p.dead
}

func (w *simWorld) Exists(pid int) bool { return w.procs[pid] != nil }

func (w *simWorld) Stands(p proc.Process) (there, asleep bool) { return w.Lives(p.PID, p.Start), false }

func (w *simWorld) Watch(pid int, start uint64, ended func()) bool {
	if !w.Lives(pid, start) {
		return false
	}
	life := w.life
	var look func()
	look = func() {
		if w.Lives(pid, start) {
			w.at(5*time.Millisecond, life, look)
		} else {
			w.turn(ended)
		}
	}
	w.at(5*time.Millisecond, life, look)
	return true
}

// strike is a signal to a process; false when it does not get it.
func (w *simWorld) strike(p *simProcess, sig graph.Signal) (sent bool) {
	if p.refused = p.refused || sig == proc.SIGKILL && p.service.refuses && !w.healed; p.dead || p.service.refuses && !w.healed {
		return false
	}
	st := machine.Status{Signal: int32(sig)}
	switch {
	case sig == proc.SIGKILL && p.undead && !w.healed:
		w.at(w.between(0, 9*time.Second), 0, func() { w.die(p, st) })
	case sig == proc.SIGKILL:
		w.at(w.between(0, time.Millisecond), 0, func() { w.die(p, st) })
	case sig == proc.SIGTERM && (p.obeys || w.healed):
		w.at(w.between(0, 30*time.Millisecond), 0, func() { w.die(p, st) })
	}
	return true
}

// ourChild checks that a number is signalled only while it is certainly that of a process which was meant.
func (w *simWorld) ourChild(pid int, sig graph.Signal) bool {
	w.asked()
	p := w.procs[pid]
	if p == nil || p.parent != byServer {
		w.fail("signal %d to the number %d, which is no child of this server: it may be anybody (it is %+v)", sig, pid, p)
		return false
	}
	return true
}

func (w *simWorld) Signal(_ string, pid int, sig graph.Signal) (sent bool) {
	return w.ourChild(pid, sig) && w.strike(w.procs[pid], sig)
}

func (w *simWorld) SignalGroup(_ string, main int, sig graph.Signal) (sent bool) {
	if !w.ourChild(main, sig) {
		return false
	}
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.group == main {
			sent = w.strike(p, sig) || sent
		}
	}
	return sent
}

func (w *simWorld) KillGroup(main int) { w.SignalGroup("", main, proc.SIGKILL) }

func (w *simWorld) SignalOther(_ string, pid int, start uint64, sig graph.Signal, then func(sent bool)) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		sent := w.Lives(pid, start) && w.strike(w.procs[pid], sig)
		w.word(w.soon(), func() { then(sent) })
	})
}

func (w *simWorld) SignalEach(ps []proc.Process, sigs []graph.Signal) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		for _, p := range ps {
			for _, sig := range sigs {
				if w.Lives(p.PID, p.Start) {
					w.strike(w.procs[p.PID], sig)
				}
			}
		}
	})
}

func (w *simWorld) PIDFile(c *graph.Config, then func(int, string)) {
	w.asked()
	wait := w.soon()
	if w.draw(w.faults.hang) {
		wait = w.between(0, 30*time.Second)
	}
	w.at(wait, w.life, func() {
		s := w.services[c.Name]
		pid, why := s.pidFile, s.why
		w.word(0, func() { then(pid, why) })
	})
}

func (w *simWorld) AwaitPIDFile(c *graph.Config, pid int, then func()) (stop func()) {
	off, life := false, w.life
	var look func()
	look = func() {
		switch {
		case off:
		case w.services[c.Name].pidFile == pid:
			w.word(w.soon(), then)
		default:
			w.at(20*time.Millisecond, life, look)
		}
	}
	w.at(10*time.Millisecond, life, look)
	return func() { off = true }
}

func (w *simWorld) Verify(n *notify.Word, o proc.Owner, _ *graph.Config, then func(Verdict)) {
	w.at(w.soon(), w.life, func() {
		v := Verdict{OK: true, Main: proc.Process{PID: n.Message.MainPID}}
		if m := w.procs[n.Message.MainPID]; m != nil && m.gen == o.Gen {
			v.Main, v.Ours = m.public(), m.parent == byServer
		} else if n.Message.MainPID != 0 {
			v.OK, v.Why = false, "it is not the service's"
		}
		w.word(w.soon(), func() { then(v) })
	})
}

func (p *simProcess) public() proc.Process {
	out := proc.Process{PID: p.pid, PGRP: p.group, Session: p.group, Start: p.start, State: 'S', Threads: 1, Comm: p.service.name}
	if p.dead {
		out.State = 'Z'
	}
	return out
}

// members are the living processes with the mark of an incarnation or a helper.
func (w *simWorld) members(gen uint64) (ps []proc.Process) {
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.gen == gen && !p.dead {
			ps = append(ps, p.public())
		}
	}
	return ps
}

// strangers reports whether the server or its keeper has a child that is not known.
func (w *simWorld) strangers(known Known) bool {
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.parent < 0 && !known(pid) && !w.reaped[pid] {
			return true
		}
	}
	return false
}

func (w *simWorld) Survey(trees []Tree, known Known, then func(Left)) {
	w.asked()
	if !w.strangers(known) {
		then(Left{})
		return
	}
	w.at(w.soon(), w.life, func() {
		left := Left{}
		for i := range trees {
			gen := trees[i].Owner.Gen
			for _, p := range w.members(gen) {
				if p.PID != trees[i].Owner.Main {
					left[machine.Gen(gen)] = append(left[machine.Gen(gen)], p)
				}
			}
		}
		w.word(w.soon(), func() { then(left) })
	})
}

func (w *simWorld) kill(gen uint64) (left int) {
	for _, p := range w.members(gen) {
		left++
		w.strike(w.procs[p.PID], proc.SIGKILL)
	}
	return left
}

func (w *simWorld) Look(trees []Tree, _ Known, then func(map[machine.Gen]Life)) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		alive := map[machine.Gen]Life{}
		for i := range trees {
			t := &trees[i]
			if len(w.members(t.Owner.Gen)) > 0 {
				alive[machine.Gen(t.Owner.Gen)] = Outside
				if t.Kill {
					w.kill(t.Owner.Gen)
				}
			}
		}
		w.word(w.soon(), func() { then(alive) })
	})
}

func (w *simWorld) Members(o proc.Owner, _ Known, then func([]proc.Process)) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		ps := w.members(o.Gen)
		w.word(w.soon(), func() { then(ps) })
	})
}

func (w *simWorld) SignalTree(o proc.Owner, sig graph.Signal, then func(sent bool)) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		sent := false
		for _, p := range w.members(o.Gen) {
			sent = w.strike(w.procs[p.PID], sig) || sent
		}
		w.word(w.soon(), func() { then(sent) })
	})
}

func (w *simWorld) KillTree(t Tree, _ bool, _ int, then func()) {
	w.asked()
	w.at(w.soon(), w.life, func() {
		w.kill(t.Owner.Gen)
		if then != nil {
			w.word(w.soon(), then)
		}
	})
}

func (w *simWorld) Clean(_ Tree, known Known) bool {
	w.asked()
	return !w.strangers(known)
}

func (w *simWorld) Sweep(t Tree, _ Known, then func(proc.Process)) {
	w.asked()
	life, end := w.life, w.now+2*time.Second
	var look func()
	look = func() {
		left := slices.DeleteFunc(w.members(t.Owner.Gen), func(p proc.Process) bool { return p.PID == t.Owner.Main })
		switch {
		case len(left) == 0:
			w.turn(func() { then(proc.Process{}) })
		case w.now > end:
			w.turn(func() { then(left[0]) })
		default:
			w.kill(t.Owner.Gen)
			w.at(5*time.Millisecond, life, look)
		}
	}
	w.at(w.soon(), life, look)
}

func (w *simWorld) StartHelper(h *Helper, then func(Forked)) Fork {
	return w.fork(func() func() {
		if w.draw(w.faults.forkFails) {
			return func() { then(Forked{Err: &proc.Error{Step: proc.StepTTY, Detail: "resource temporarily unavailable"}}) }
		}
		p := w.newProcess(byServer, h.Gen, w.services[h.Config.Name])
		p.config = h.Config
		for _, v := range h.Env {
			if name, ok := strings.CutPrefix(v, "ZINIT_HOOK="); ok {
				p.hook = name
			}
		}
		f := Forked{PID: p.pid, Start: p.start}
		if h.Limit > 0 {
			f.Limit = w.After(h.Limit, h.Over)
		}
		if w.draw(w.faults.kids) {
			w.at(0, 0, func() { w.kid(p, w.between(0, 3*time.Second)) })
		}
		switch {
		case w.draw(w.faults.silent): // it hangs
		case w.draw(w.faults.exits):
			w.at(w.between(0, 2*time.Millisecond), 0, func() { w.die(p, machine.Status{Code: 1}) })
		default:
			w.at(w.between(0, 2*time.Millisecond), 0, func() { w.die(p, machine.Status{}) })
		}
		w.say("~ %s of %s: pid %d", p.hook, h.Config.Name, p.pid)
		return func() { then(f) }
	})
}

// simReporter is a notify socket: what is said waits in it for whoever reads it.
type simReporter struct {
	w     *simWorld
	gen   uint64
	pid   int
	life  int // that reads it, 0 = nobody yet
	words []notify.Word
}

func (r *simReporter) IsSocket() bool { return true }
func (r *simReporter) FD() int        { return -1 }
func (r *simReporter) Begin() {
	if r.life != r.w.life {
		r.life = r.w.life
		r.flush()
	}
}

func (r *simReporter) send(m notify.Message, pid int) {
	word := notify.Word{Gen: r.gen, Message: m}
	word.Sender.Pid = int32(pid)
	r.words = append(r.words, word)
	r.flush()
}

// flush tells what was said; a word is taken out when it has been heeded.
func (r *simReporter) flush() {
	if r.life != r.w.life || !r.w.up {
		return
	}
	for _, word := range r.words {
		r.w.word(r.w.soon(), func() {
			r.words = nil
			r.w.told.Noticed(word, make(chan struct{}))
		})
	}
}

// simKeeper outlives the servers.
type simKeeper struct {
	w       *simWorld
	tracked map[int]uint64
	exits   []keeper.Exit // not acknowledged
	listens int           // the life that gets the news
}

func (w *simWorld) Keeper() Keeper {
	if w.keeper == nil {
		return nil
	}
	return w.keeper
}

// reap is the keeper's.
func (k *simKeeper) reap(p *simProcess) {
	w := k.w
	if w.procs[p.pid] != p {
		return
	}
	w.gone(p)
	e := keeper.Exit{PID: p.pid, Start: p.start, Gen: k.tracked[p.pid], Code: p.status.Code, Signal: p.status.Signal, Tag: w.TagOf(p.gen)}
	delete(k.tracked, p.pid)
	k.exits = append(k.exits, e)
	if k.listens == w.life && w.up {
		w.word(w.soon(), func() { w.told.Exited(e) })
	}
}

func (k *simKeeper) Track(pid int, gen uint64) error { k.w.asked(); k.tracked[pid] = gen; return nil }
func (k *simKeeper) Untrack(pid int) error           { k.w.asked(); delete(k.tracked, pid); return nil }
func (k *simKeeper) AckExits(exits []keeper.Exit) error {
	for _, e := range exits {
		_ = k.AckExit(e.PID, e.Start)
	}
	return nil
}
func (k *simKeeper) AckExit(pid int, start uint64) error {
	k.w.asked()
	k.exits = slices.DeleteFunc(k.exits, func(e keeper.Exit) bool { return e.PID == pid && e.Start == start })
	return nil
}
func (k *simKeeper) Settled() error              { return nil }
func (k *simKeeper) Booted() error               { return nil }
func (k *simKeeper) Budget(time.Duration) error  { return nil }
func (k *simKeeper) Critical(string, bool) error { return nil }

func (w *simWorld) Listen() {
	if w.keeper != nil {
		w.keeper.listens = w.life
	}
}

func (w *simWorld) Children() map[int]bool {
	own := map[int]bool{}
	for pid, p := range w.procs {
		if p.parent == byServer {
			own[pid] = true
		}
	}
	return own
}

func (w *simWorld) Process(pid int) (proc.Process, bool, bool) {
	p := w.procs[pid]
	if p == nil {
		return proc.Process{}, false, false
	}
	return p.public(), p.parent == byServer, true
}

func (w *simWorld) Strays(o proc.Owner) int {
	return len(slices.DeleteFunc(w.members(o.Gen), func(p proc.Process) bool { return p.PID == o.Main }))
}

func (w *simWorld) Marked(known Known) map[uint64][]Marked {
	marked := map[uint64][]Marked{}
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.parent < 0 && !p.dead && !known(pid) {
			marked[p.gen] = append(marked[p.gen], Marked{Process: p.public(), Gen: p.gen, Hook: p.hook})
		}
	}
	return marked
}

func (w *simWorld) Dead() (dead []Marked) {
	for _, pid := range w.pids() {
		if p := w.procs[pid]; p.parent == byKeeper && p.dead {
			dead = append(dead, Marked{Process: p.public(), Gen: p.gen})
		}
	}
	return dead
}

func (w *simWorld) EndOldHelpers(first uint64, known Known) {
	for _, pid := range w.pids() {
		p := w.procs[pid]
		if p.gen&proc.Aside != 0 && p.gen&^proc.Aside < first && !known(pid) && p.hook != HookReload {
			w.strike(p, proc.SIGKILL)
		}
	}
}

func (w *simWorld) KillStray(p proc.Process) {
	if w.Lives(p.PID, p.Start) {
		w.strike(w.procs[p.PID], proc.SIGKILL)
	}
}

// Adopt gives the notify socket of an incarnation to the server of now.
func (w *simWorld) Adopt(p keeper.Pipe) (Reporter, error) {
	return w.says[p.Gen], nil
}
