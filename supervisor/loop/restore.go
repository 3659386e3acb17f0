package loop

import (
	"encoding/json"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/parallel"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// Restore makes the machine of the server before, and takes over from it: definitions, states, processes, pipes. Nothing is
// signalled or started before Run; then every word about the time in between is given to the machine, and Resumed.
func (l *Loop) Restore() *view.Definitions {
	d := l.d
	st := d.opt.Restored
	defs := restoreDefinitions(st)
	g := defs.Graph()
	d.m = machine.Restore(g, d.opt.Machine, st.Records, st.Globals, stopSent(st), d.clock.Now())
	d.boot.Restore(st.Notes)
	for _, c := range defs.Configs {
		d.world.Direct(c)
	}
	r := &restorer{d: d, st: st, exits: map[int]keeper.Exit{}, own: d.world.Children()}
	r.inherit(d.opt.Handover)
	for i := range st.Records {
		r.service(&st.Records[i])
	}
	r.words = append(r.words, machine.Resumed{})
	d.resume = r.words
	d.allDirty = true
	d.publish()
	return defs
}

// stopSent returns the incarnations whose stop signal was sent and noted.
func stopSent(st *journal.State) map[machine.Gen]bool {
	sent := map[machine.Gen]bool{}
	for i := range st.Records {
		r := &st.Records[i]
		if r.State != machine.Stopping {
			continue
		}
		var n runNote
		sent[r.Gen] = json.Unmarshal(st.Notes[runKey(r.Gen)], &n) == nil && n.Signalled
	}
	return sent
}

// restoreDefinitions reads the loaded definitions back; edited files act only through a reload. Those of removed services
// that were still ending are left out.
func restoreDefinitions(st *journal.State) *view.Definitions {
	ending := map[string]bool{}
	for _, r := range st.Records {
		ending[r.Name] = r.Gone
	}
	defs := &view.Definitions{Configs: map[string]*graph.Config{}}
	parsed := make([]*graph.Config, len(st.Definitions))
	problems := make([][]graph.Problem, len(st.Definitions))
	parallel.Do(len(parsed), func(i int) {
		parsed[i], problems[i] = confdir.Parse(st.Definitions[i].Source, st.Definitions[i].Doc, confdir.Options{Lenient: true})
	})
	for i, c := range parsed {
		if c == nil {
			defs.Problems = append(defs.Problems, problems[i]...)
			continue
		}
		c.Source, c.Ephemeral = st.Definitions[i].Source, st.Definitions[i].Ephemeral
		if !ending[c.Name] {
			defs.Configs[c.Name] = c
		}
	}
	_ = json.Unmarshal(st.Notes[brokenNote], &defs.Broken)
	return defs
}

// restorer finds out what became of each incarnation while nobody watched.
type restorer struct {
	d            *driver
	st           *journal.State
	exits        map[int]keeper.Exit
	helpersEnded bool         // the helpers of the server before
	own          map[int]bool // our children: not empty after an upgrade in place
	words        []machine.Event
	scan         map[uint64][]Marked // by incarnation, made when an intent has no pid
}

// inherit takes the descriptors that the keeper held.
func (r *restorer) inherit(h *keeper.Handover) {
	if h == nil {
		return
	}
	for _, e := range h.Exits {
		r.exits[e.PID] = e
	}
	for _, p := range h.Pipes {
		if p.Stream >= StreamReady {
			r.d.inherited = append(r.d.inherited, p)
		} else {
			r.d.world.Inherit(p)
		}
	}
}

// service finds out about one service.
func (r *restorer) service(rec *machine.Record) {
	left := rec.Leftovers()
	if rec.State != machine.Starting && rec.State != machine.Running && rec.State != machine.Stopping && !left || rec.Gen == 0 {
		return
	}
	id, ok := r.d.m.ByGen(rec.Gen)
	if !ok || r.d.m.Config(id).Target {
		return
	}
	c := &child{gen: rec.Gen, config: r.d.m.Config(id)}
	var n runNote
	if json.Unmarshal(r.st.Notes[runKey(rec.Gen)], &n) != nil {
		n = runNote{}
	}
	if rec.State == machine.Stopping || n.Hook {
		r.endHooks(c)
	}
	switch {
	case n.PID == 0 && rec.HadProcess():
		return // it has ended: post_stop runs, and begins anew
	case n.Hook:
		r.words = append(r.words, machine.Vanished{Gen: c.gen, NeverWas: true})
		return
	case n.PID == 0:
		r.intent(c)
		return
	}
	c.pid, c.start, c.daemonized, c.warning = n.PID, n.Start, n.Daemonized, n.Warning
	c.signalled, c.inputs = n.Signalled, n.Inputs
	c.ending = n.Signalled && rec.State == machine.Stopping && machine.Phase(rec.Phase) == machine.PhaseTerm
	if n.Cgroup != "" {
		c.group = r.d.world.OpenGroup(n.Cgroup)
	}
	if rec.MainGone() || left {
		c.gone, c.reaped, c.adopted = true, true, true
		r.d.lost = append(r.d.lost, c)
		return
	}
	r.known(c)
}

// endHooks ends the hook that was running for an incarnation: whoever waited for its end is dead, and it begins anew.
// Up to version 0.4 a hook had the signs of its service.
func (r *restorer) endHooks(c *child) {
	if !r.helpersEnded {
		r.helpersEnded = true
		r.d.world.EndOldHelpers(r.d.firstHelper, r.d.children.knows)
	}
	for _, p := range r.byGen()[uint64(c.gen)] {
		if p.Hook != "" && p.Hook != HookReload {
			r.d.world.KillStray(p.Process)
		}
	}
}

// kept reports whether the keeper vouches for a process: it is a child of the keeper or of ours whose end nobody has
// reaped, so the number is still its own, and its end, should it be dead already, will be told. That spares a look into
// /proc for each service of a thousand.
func (r *restorer) kept(c *child) bool {
	h := r.d.opt.Handover
	if r.d.keeper == nil || h == nil || c.daemonized || h.Tracked[c.pid] != uint64(c.gen) {
		return false
	}
	_, ended := r.exits[c.pid]
	return !ended
}

// known settles an incarnation whose pid was recorded.
func (r *restorer) known(c *child) {
	d := r.d
	d.children.enter(c)
	d.world.SetPID(uint64(c.gen), c.pid)
	if r.kept(c) {
		c.adopted = !r.own[c.pid]
		d.children.main(c, c.pid, c.start)
		r.words = append(r.words, machine.Adopted{Gen: c.gen, PID: c.pid})
		d.reopenNotify(c)
		return
	}
	p, ours, there := d.world.Process(c.pid)
	if there && p.Start == c.start && !p.Dead() {
		c.adopted = !ours
		d.children.main(c, c.pid, c.start)
		r.words = append(r.words, machine.Adopted{Gen: c.gen, PID: c.pid})
		d.reopenNotify(c)
		return
	} else if there && p.Start == c.start && ours {
		// Our own zombie after an upgrade in place: reap will report it first hand.
		d.children.main(c, c.pid, c.start)
		d.reopenNotify(c)
		r.words = append(r.words, machine.Adopted{Gen: c.gen, PID: c.pid})
		return
	}
	c.adopted = true
	if e, ok := r.exits[c.pid]; ok && (e.Start == 0 || e.Start == c.start) {
		r.ended(c, e)
		return
	}
	if d.keeper != nil {
		// It ended so lately that the keeper had not reaped it when it handed over: the word is on its way.
		d.children.main(c, c.pid, c.start)
		d.awaited = append(d.awaited, c)
		r.words = append(r.words, machine.Adopted{Gen: c.gen, PID: c.pid})
		d.reopenNotify(c)
		return
	}
	c.gone, c.reaped = true, true
	d.lost = append(d.lost, c)
	r.words = append(r.words, machine.Vanished{Gen: c.gen, Alive: r.leftovers(c)})
}

// ended tells the machine about an exit that the keeper saw. Where another process may have taken over, what it has said
// and written is looked at first, as if the end were one of now.
func (r *restorer) ended(c *child, e keeper.Exit) {
	delete(r.exits, c.pid)
	if r.mayHaveSuccessor(c) {
		c.adopted = true
		r.d.children.enter(c)
		r.d.children.reaped(c)
		c.endedAt = machine.Time(e.At)
		r.d.late = append(r.d.late, foreignEnd(c, e))
		r.words = append(r.words, machine.Adopted{Gen: c.gen, PID: c.pid})
		r.d.reopenNotify(c)
		return
	}
	c.gone, c.reaped, c.adopted = true, true, true
	r.d.lost = append(r.d.lost, c)
	r.words = append(r.words, machine.ProcessExited{Gen: c.gen, PID: c.pid, Alive: r.leftovers(c),
		Status: machine.Status{Code: e.Code, Signal: e.Signal, Core: e.Core}, At: machine.Time(e.At)})
}

// mayHaveSuccessor reports whether another process of a service may be its main one by now.
func (r *restorer) mayHaveSuccessor(c *child) bool {
	id, ok := r.d.m.ByGen(c.gen)
	if !ok || c.config.Oneshot || c.config.PIDFile == "" && c.config.Ready.Kind != graph.ReadyNotify {
		return false
	}
	state := r.d.m.Info(id).State
	return state == machine.Starting || state == machine.Running
}

// leftovers counts what else of a tree lives.
func (r *restorer) leftovers(c *child) int {
	return r.d.world.Strays(c.owner())
}

// intent settles an incarnation that was to be forked: whether it was is told by the mark of what
// lives, and by the keeper's exits of processes that nobody had named yet.
func (r *restorer) intent(c *child) {
	d := r.d
	c.group = d.world.FindGroup(c.config.Name, uint64(c.gen))
	for _, p := range r.byGen()[uint64(c.gen)] {
		if p.Hook == "" && p.Session == p.PID && c.pid == 0 {
			c.pid, c.start = p.PID, p.Start
		}
	}
	if c.pid > 0 {
		d.diary.run(c)
		r.known(c)
		return
	}
	if e, ok := r.unclaimedExit(uint64(c.gen)); ok {
		d.children.enter(c)
		c.pid, c.start = e.PID, e.Start
		d.diary.run(c) // this server may die before the machine knows of the end
		r.ended(c, e)
		return
	}
	if p, ok := r.unclaimedZombie(uint64(c.gen)); ok {
		c.pid, c.start = p.PID, p.Start
		d.diary.run(c)
		r.known(c)
		return
	}
	if c.group != nil {
		d.world.Leave(&Forked{Group: c.group}, false)
	}
	r.words = append(r.words, machine.Vanished{Gen: c.gen, NeverWas: true})
}

// unclaimedZombie finds a dead child of the keeper that it has not reaped yet and that may be the main process of an
// incarnation: by its tag, which a zombie still has, or as a session leader that nobody else claims.
func (r *restorer) unclaimedZombie(gen uint64) (proc.Process, bool) {
	var leader proc.Process
	for _, p := range r.d.world.Dead() {
		switch {
		case r.d.children.mainOf(p.PID) != nil:
		case p.Gen == gen:
			return p.Process, true
		case p.Gen == 0 && p.Session == p.PID:
			leader = p.Process
		}
	}
	return leader, leader.PID > 0
}

// unclaimedExit takes an exit that no incarnation was known to have: by its tag or control group, else one without, which
// is that of a process that died before it could be tagged. Only that one is a guess, and only without cgroup v2 and
// where more than one fork was under way at the crash; they are taken in the order they happened.
func (r *restorer) unclaimedExit(gen uint64) (keeper.Exit, bool) {
	if r.d.opt.Handover == nil {
		return keeper.Exit{}, false
	}
	var guess *keeper.Exit
	for i := range r.d.opt.Handover.Exits {
		e := &r.d.opt.Handover.Exits[i]
		if _, left := r.exits[e.PID]; !left || e.Gen != 0 {
			continue
		}
		if e.Tag == gen || e.Tag != 0 && e.Tag == r.d.world.TagOf(gen) {
			return *e, true
		}
		if e.Tag == 0 && guess == nil {
			guess = e
		}
	}
	if guess == nil {
		return keeper.Exit{}, false
	}
	return *guess, true
}

// byGen lists the living processes by their incarnation.
func (r *restorer) byGen() map[uint64][]Marked {
	if r.scan == nil {
		r.scan = r.d.world.Marked(r.d.children.knows)
	}
	return r.scan
}
