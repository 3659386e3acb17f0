// Package system is the world that the loop asks, for real: it forks, signals, looks into /proc, watches control groups and
// runs checks. What may take a while it does on goroutines of its own, and answers by a word. It knows no services and
// decides nothing.
package system

import (
	"crypto/rand"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/logfile"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
	"github.com/zinit/zinit/supervisor/output"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/ship"
	"github.com/zinit/zinit/supervisor/view"
)

// System is a loop.World. The methods that are not of that interface may be called from any goroutine.
type System struct {
	opt   *loop.Options
	log   *slog.Logger
	clock view.Clock
	told  loop.Listener
	ended chan struct{} // closed by Close
	alarm *time.Timer

	pool       *spawnPool
	births     birthClock
	belongings *proc.Belongings
	clearing   sync.WaitGroup // of belongings of services that have ended
	captures   sync.Map       // by number of the helper: what reads its output
	out        *output.Reader
	sinks      *sinks
	notices    *notify.Poller // nil: there is none
	devNull    int

	deaths    chan os.Signal
	reaper    *proc.Reaper
	files     proc.Asker // of pid files
	scanner   *proc.Scanner
	cgroups   *proc.Root       // nil: none
	noCgroups string           // why not
	groups    *proc.GroupWatch // nil: there are no control groups, or they cannot be watched
	survey    survey
	roll      roll
	graves    graves

	dead      []string    // names of servers before, see loop.Options
	leftovers bool        // of theirs are there
	deserted  atomic.Bool // of servers on other sockets

	keeper *keeper.Client // nil: none
	// receiving is held while a word of the keeper is taken, and by an upgrade from its last word on.
	receiving sync.Mutex
}

var _ loop.World = (*System)(nil)

// New prepares the world of a loop. Nothing happens in it before it is asked.
func New(o *loop.Options) (*System, error) {
	y := &System{opt: o, log: o.Log, clock: view.NewClock(), ended: make(chan struct{}), deaths: make(chan os.Signal, 1),
		reaper: proc.NewReaper(), belongings: proc.NewBelongings(o.Environ), devNull: proc.EmptyInput(), keeper: o.Keeper}
	y.pool = newSpawnPool(y.post, o.Keeper == nil)
	y.survey.y = y
	y.scanner = &proc.Scanner{Instance: instance(o)}
	y.dead = slices.DeleteFunc(slices.Clone(o.Dead), func(name string) bool { return name == y.scanner.Instance })
	if o.Handover != nil && o.Keeper != nil {
		y.scanner.Keeper = o.Handover.PID
	}
	var err error
	if y.out, err = output.New(o.Arena, output.Options{Closed: y.outputClosed}); err != nil {
		return nil, err
	}
	if y.noCgroups = "switched off by ZINIT_CGROUP=0"; os.Getenv("ZINIT_CGROUP") != "0" {
		y.cgroups, y.noCgroups = proc.DetectCgroupsOf(owner(o))
	}
	if y.cgroups != nil {
		if o.Restored == nil {
			o.Machine.Seq = max(o.Machine.Seq, machine.Gen(y.cgroups.LastGen()))
		}
		y.watchGroups()
	}
	y.notices = y.newNotices()
	y.sinks = newSinks(y)
	return y, nil
}

// owner is the process that outlives a crash: the keeper, else this one.
func owner(o *loop.Options) int {
	if o.Keeper != nil && o.Handover != nil && o.Handover.PID > 0 {
		return o.Handover.PID
	}
	return os.Getpid()
}

// instance names this supervisor over all its lives, so that its services are told from those of another one.
func instance(o *loop.Options) string {
	if o.Restored != nil {
		if name := o.Restored.Notes[loop.InstanceNote]; len(name) > 0 {
			return string(name)
		}
	}
	if o.Instance != "" {
		return o.Instance
	}
	return rand.Text()
}

// Connect implements loop.World.
func (y *System) Connect(l loop.Listener) {
	y.told = l
	y.alarm = time.AfterFunc(time.Hour, func() { y.told.Post(y.told.Ticked) })
	y.alarm.Stop()
}

// post hands a word to the loop, from any goroutine but its own.
func (y *System) post(word func()) { y.told.Post(word) }

// beside does what may take a while, and then runs the word that it returns; nil = none.
func (y *System) beside(work func() (word func())) {
	go func() {
		if word := work(); word != nil {
			y.post(word)
		}
	}()
}

// Close ends what goes on beside the loop, after it. What is being removed gets a moment: behind it this process ends.
func (y *System) Close() {
	close(y.ended)
	done := make(chan struct{})
	go func() { y.clearing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(sinkPatience):
	}
	if y.cgroups != nil {
		y.cgroups.Close()
	}
}

// FlushLogs lets files and destinations take the last lines, for a bounded time, and closes them.
func (y *System) FlushLogs() { y.sinks.close() }

// EndWhatIsLeft ends what services have left behind, where no keeper does, which finds only what is below it; it reports
// whether all of it has ended.
func (y *System) EndWhatIsLeft() bool {
	if y.keeper != nil && y.scanner.Adopts() {
		return true
	}
	left := y.endWhatIsLeft()
	for _, text := range left {
		y.log.Error("left behind: " + text)
	}
	return len(left) == 0
}

// ServeForks forks on the calling thread, which must be the main one, until the exit code is there. A server without a
// keeper has to call it.
func (y *System) ServeForks(code <-chan int) int { return y.pool.serve(code) }

// OnForkThread calls f on the thread that forks the services of a lone server: their parent-death signal fires when that
// thread ends.
func (y *System) OnForkThread(f func()) { y.pool.onFirst(f) }

// SIGCHLD is where the signals of ended children go.
func (y *System) SIGCHLD() chan<- os.Signal { return y.deaths }

// Files are the log files, Shipper the destinations of lines.
func (y *System) Files() *logfile.Files { return y.sinks.files }

// Shipper sends lines to their destinations.
func (y *System) Shipper() *ship.Shipper { return y.sinks.ship }

// Scanner looks at processes.
func (y *System) Scanner() *proc.Scanner { return y.scanner }

// Cgroups are the control groups; nil = there are none, and why.
func (y *System) Cgroups() (root *proc.Root, why string) { return y.cgroups, y.noCgroups }

// Pipes are the log pipes that the services of now write into.
func (y *System) Pipes() (pipes []keeper.Pipe) {
	for _, p := range y.out.Pipes() {
		pipes = append(pipes, keeper.Pipe{Service: p.Service, Gen: p.Gen, Stream: p.Stream, FD: p.FD})
	}
	return pipes
}

// Clock implements loop.Timers.
func (y *System) Clock() view.Clock { return y.clock }

// After implements loop.Timers.
func (y *System) After(wait time.Duration, word func()) loop.Timer {
	return time.AfterFunc(wait, func() { y.post(word) })
}

// Alarm implements loop.Timers.
func (y *System) Alarm(wait time.Duration) {
	if wait < 0 {
		y.alarm.Stop()
		return
	}
	y.alarm.Reset(wait)
}

// WatchClock implements loop.Timers.
func (y *System) WatchClock(changed func()) (loop.ClockWatch, error) {
	return proc.WatchClock(func() { y.post(changed) })
}

// Zone implements loop.Timers.
func (y *System) Zone(name string) *time.Location {
	if name == "" {
		return proc.LocalZone()
	}
	zone, _ := time.LoadLocation(name)
	return zone
}

// Beside implements loop.Services.
func (y *System) Beside(work func()) { go work() }

// ClearBelongings implements loop.Services.
func (y *System) ClearBelongings(c *graph.Config, keepDirs bool) {
	clear := y.belongings.Clear(c, keepDirs)
	if clear == nil {
		return
	}
	y.clearing.Go(func() {
		if err := clear(); err != nil {
			y.log.Warn("cannot remove what belonged to a service that has ended", "service", c.Name, "error", err)
		}
	})
}

// SweepBelongings implements loop.Services.
func (y *System) SweepBelongings(runs func(service string) bool) { y.belongings.Sweep(runs) }

// Forking implements loop.Forks.
func (y *System) Forking() bool { return y.pool.busy() }

// Turned implements loop.Forks.
func (y *System) Turned() { y.pool.feed() }

// Hold implements loop.Forks.
func (y *System) Hold(quiet func()) { y.pool.pause(quiet) }

// HoldNoLonger implements loop.Forks.
func (y *System) HoldNoLonger() { y.pool.calm() }

// Resume implements loop.Forks.
func (y *System) Resume() { y.pool.resume() }
