// Package loop is the only writer: one goroutine that owns the machine, feeds it events and carries out its actions with
// real processes, and keeps the journal. What others may ask of it are the methods of Loop; what they may read at any time
// is its Window. It imports nothing of those who ask.
package loop

import (
	"log/slog"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// Options is what the loop is told from outside.
type Options struct {
	Machine   machine.Options
	Environ   []string      // the environment that services inherit
	NotifyDir string        // where notify sockets are, made at the first need; "" makes abstract ones
	Forward   graph.Forward // where the lines of those services go that do not say so themselves
	Log       *slog.Logger

	Keeper   *keeper.Client   // nil: nobody above outlives us
	Handover *keeper.Handover // what the keeper handed over, nil without one
	Arena    *logring.Arena
	Journal  *journal.Journal // nil: nothing outlives this process
	Restored *journal.State   // what the journal held, nil = a fresh start
	Jobs     *jobs.History    // of services with a schedule
	World    World            // what it asks

	// Dead are the names of servers before this one that were killed and had no keeper, see Loop.Instance; what they have
	// left is ended before anything starts, unless KeepLeftovers is set.
	Dead          []string
	KeepLeftovers bool
	// Instance is the name of the server before whose state is lost and whose processes are taken over, "" = none.
	Instance string

	Order  func(keeper.Order) // gets what the keeper asks, and what was asked of the image before; nil = nobody listens
	Ending func()             // called once when the stop of everything has begun; must not block; nil = nobody listens
	AtRest func()             // called, on a goroutine of its own, when much work is done and all is quiet; nil = not

	done chan struct{} // closed when the loop has ended
}

// Loop is the loop from outside. Its methods may be called from any goroutine, unless they say that they belong into a
// word; those that wait for the loop return ok = false when it has ended before it answered.
type Loop struct{ d *driver }

// Window is what everybody may look at, at any time and from any goroutine.
type Window struct {
	Views  *view.Publisher
	Events *view.EventLog
	Tally  *view.Tally
	Boot   *view.BootLine
}

// New prepares everything but the machine, which Load or Restore makes. No process is started before Begin.
func New(o Options) *Loop {
	o.done = make(chan struct{})
	return &Loop{newDriver(&o)}
}

// Window is what everybody may look at.
func (l *Loop) Window() Window {
	return Window{Views: &l.d.views, Events: l.d.events, Tally: l.d.tally, Boot: l.d.boot}
}

// Found is the main process of a service that a server left running of which there is no state.
type Found struct {
	proc.Process
	Gen uint64 // its incarnation there, 0 = it was a zinit 0.3.9
}

// Load makes the machine for a fresh start: of only, or of everything when that is "". What was found, by service, is
// adopted in place of a start.
func (l *Loop) Load(defs *view.Definitions, g *graph.Graph, found map[string]Found, only string) {
	d := l.d
	d.legacy = found
	d.takePipes()
	d.m = machine.New(g, d.opt.Machine)
	d.diary.hold() // until the first step is in it too, see begin
	d.diary.note(view.BootNote, d.boot.Kept())
	d.diary.loaded(defs)
	for _, c := range defs.Configs {
		d.world.Direct(c)
	}
	d.allDirty = true
	d.publish()
	d.first = machine.Loaded{Only: only, LastRuns: d.opt.Jobs.LastRuns()}
}

// Begin feeds the first events. Then Run has to follow, on the same goroutine.
func (l *Loop) Begin() { l.d.begin() }

// Run is the loop, until the machine halts; it returns the exit code.
func (l *Loop) Run() int { return l.d.run() }

// Close lets go of those who wait for an answer. It comes after Run.
func (l *Loop) Close() {
	if l.d.clockWatch != nil {
		l.d.clockWatch.Close()
	}
	l.d.opt.Jobs.Flush(historyPatience)
	close(l.d.opt.done)
}

// Done is closed when the loop has ended.
func (l *Loop) Done() <-chan struct{} { return l.d.opt.done }

// Ask gives a request about one service to the machine; the name is looked up in the loop, against the graph of that
// moment, and req is 0 when it is unknown. Its outcome is sent once, unless Cancel comes first.
func (l *Loop) Ask(name string, a machine.Asked, timeout time.Duration) (req machine.ReqID, outcomes <-chan Settled, ok bool) {
	got := make(chan Settled, 1)
	ids := make(chan machine.ReqID, 1)
	d := l.d
	d.post(func() {
		id, ok := d.m.Graph().Lookup(name)
		if !ok {
			ids <- 0
			return
		}
		a.Req, a.IDs = d.requests.open(got), []graph.ID{id}
		if timeout > 0 {
			a.Deadline = d.clock.Now() + machine.Time(timeout)
		}
		ids <- a.Req
		d.step(a)
	})
	req, ok = await(d, ids)
	return req, got, ok
}

// await returns what a word sends, or false when the loop has ended.
func await[T any](d *driver, answer <-chan T) (T, bool) {
	select {
	case a := <-answer:
		return a, true
	case <-d.opt.done:
		var none T
		return none, false
	}
}

// Cancel withdraws the interest in an outcome; what was asked for goes on.
func (l *Loop) Cancel(req machine.ReqID) {
	d := l.d
	d.post(func() {
		d.requests.withdraw(req)
		d.step(machine.Cancelled{Req: req})
	})
}

// Bulk asks for all services of class user that are wanted, in one step so that the order holds, and names them.
func (l *Loop) Bulk(verb machine.Verb, want func(*view.Entry) bool) (names []string, ok bool) {
	done := make(chan []string, 1)
	d := l.d
	d.post(func() {
		names := []string{}
		var ids []graph.ID
		for id := range graph.ID(d.m.Graph().Len()) {
			if e := d.entry(id); d.m.Graph().Class(id) == graph.ClassUser && want(e) {
				ids, names = append(ids, id), append(names, e.Config.Name)
			}
		}
		if len(ids) > 0 {
			d.step(machine.Asked{Verb: verb, IDs: ids})
		}
		done <- names
	})
	return await(d, done)
}

// RefuseReload says why the machine would not take a graph, one line for each reason.
func (l *Loop) RefuseReload(g *graph.Graph) (reasons []string, ok bool) {
	done := make(chan []string, 1)
	l.d.post(func() { done <- l.d.m.RefuseReload(g) })
	return await(l.d, done)
}

// Reload takes a new graph over, or says why not and changes nothing.
func (l *Loop) Reload(next *view.Definitions, g *graph.Graph, plan *graph.Plan) (refused []string, ok bool) {
	done, texts := make(chan []string, 1), documents(touched(next, plan))
	l.d.post(func() { done <- l.d.reload(next, g, plan, texts) })
	return await(l.d, done)
}

// Shutdown stops all services in order and then ends the loop. What follows it is named in the log.
func (l *Loop) Shutdown(then string) {
	d := l.d
	d.post(func() {
		d.halting = true
		d.log.Info("stopping all services; a second signal kills what is left", "then", then)
		d.step(machine.ShutdownAsked{})
	})
}

// TellWaiting says again what the stop of everything waits for.
func (l *Loop) TellWaiting() { l.d.post(func() { l.d.waiting.told = "" }) }

// KillAll ends what is left with SIGKILL.
func (l *Loop) KillAll() {
	d := l.d
	d.post(func() {
		d.log.Warn("killing what is left")
		d.step(machine.ShutdownAsked{Now: true})
	})
}

// Note keeps a value in the journal, and returns when it is there.
func (l *Loop) Note(key string, value []byte) {
	d := l.d
	done := make(chan struct{})
	d.post(func() { d.diary.note(key, value); close(done) })
	await(d, done)
}

// ConvertJournal writes the journal in the newest version, when a release that reads nothing newer can no longer come back.
func (l *Loop) ConvertJournal() {
	d := l.d
	d.post(func() {
		if err := d.diary.journal.Convert(journal.Version); err != nil {
			d.log.Error("the journal stays in the version that it was taken over in", "error", err)
		}
	})
}

// Pause lets the forks under way come to their end, for a bounded time, begins no other, and then calls quiet as a word of
// the loop, with nothing left to carry out.
func (l *Loop) Pause(quiet func()) {
	d := l.d
	d.post(func() {
		d.world.Hold(func() {
			d.commit()
			quiet()
		})
		d.world.After(forkPatience, d.world.HoldNoLonger)
	})
}

// Halting reports whether everything is being stopped. It belongs into a word.
func (l *Loop) Halting() bool { return l.d.halting || l.d.m.Globals().ShuttingDown }

// Resume ends a pause. It belongs into a word.
func (l *Loop) Resume() { l.d.world.Resume() }

// Do runs a word of somebody else.
func (l *Loop) Do(word func()) { l.d.post(word) }

// Pipes are the ways by which the services of now report. It belongs into a word.
func (l *Loop) Pipes() (pipes []keeper.Pipe) {
	for _, c := range l.d.children.all() {
		pipes = append(pipes, notifyPipes(c)...)
	}
	return pipes
}
