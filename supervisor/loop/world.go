package loop

import (
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// World is all that the loop asks of the system, and the only way by which it asks. No question waits: what may take a while
// is answered by a word, named then, that runs on the loop's goroutine, late or never; what is answered at once reads no
// file system that may hang. Package system answers for real, the simulator of this package's tests from a seed.
type World interface {
	// Connect names the loop that asks, once, before any question.
	Connect(Listener)

	Timers
	Forks
	Processes
	Trees
	Lines
	Services

	Past            // what is asked before the loop runs
	Keeper() Keeper // nil: nobody above outlives us
}

// Listener is what the world tells without having been asked. Post may be called from any goroutine but the loop's; the
// others are words, and are called in one.
type Listener struct {
	Post    func(word func())
	Ticked  func()                                      // the time of Alarm has come
	Exited  func(keeper.Exit)                           // a process that is no child of ours has ended, as the keeper tells
	Alone   func()                                      // the keeper is gone
	Noticed func(w notify.Word, heeded chan<- struct{}) // a service said something; heeded is closed when that has been taken
	Emptied func()                                      // a control group that is watched has become empty
}

// Keeper is told what it has to know to outlive this process. What it says comes to the Listener.
type Keeper interface {
	Track(pid int, gen uint64) error
	Untrack(pid int) error
	AckExit(pid int, start uint64) error
	AckExits([]keeper.Exit) error
	Settled() error
	Booted() error
	Budget(longest time.Duration) error
	Critical(service string, reachable bool) error
}

// Timer is a word that is due later.
type Timer interface {
	// Stop calls it off; a word that is on its way already is not.
	Stop() bool
}

// ClockWatch is a watch of the wall clock.
type ClockWatch interface {
	// Zones says which zones are watched beside the machine's own.
	Zones(names []string)
	Close()
}

// Timers tell the time.
type Timers interface {
	Clock() view.Clock
	After(wait time.Duration, word func()) Timer
	// Alarm sets the one timer of the machine's deadlines, which was not set or set to another time; negative = off.
	Alarm(wait time.Duration)
	// WatchClock begins to watch: changed is a word, the wall clock was set or a zone file was replaced.
	WatchClock(changed func()) (ClockWatch, error)
	// Zone reads a time zone by its IANA name, that of the machine for ""; nil where there is none.
	Zone(name string) *time.Location
}

// Forks starts processes.
type Forks interface {
	// StartMain starts the main process of an incarnation.
	StartMain(c *graph.Config, gen machine.Gen, then func(Forked)) Fork
	// StartHelper starts a command that runs beside one.
	StartHelper(h *Helper, then func(Forked)) Fork
	// Captured gives what a helper that has ended printed, when its output was to be kept.
	Captured(h *Helper, then func(output []byte))
	Forking() bool               // a fork may be under way of which the answer has not been taken
	Turned()                     // the loop has taken words: forks that waited for room go on
	Hold(quiet func())           // begins no further fork; quiet, a word, is called when none is under way any more
	HoldNoLonger()               // it is called now at the latest
	Resume()                     // ends Hold
	Leave(f *Forked, alone bool) // lets go of the control groups of what has ended: alone = nothing of them is used any more
}

// Fork is a start that was asked for.
type Fork interface {
	Begun() bool   // it is on its way
	CallOff() bool // takes it back when it is not; false when it is too late, or was done
}

// Forked is the answer to a start.
type Forked struct {
	PID    int
	Start  uint64 // its start time, 0 = not known
	At     time.Time
	Inodes []uint64    // of its log pipes
	Inputs proc.Inputs // what its files said
	Group  Group       // nil = none
	Parent Group       // a helper's: that of its incarnation, nil = none
	Notify Reporter    // nil = none
	Limit  Timer       // a helper's, nil = none
	Err    *proc.Error // there is no process
}

// Reporter is the way by which an incarnation says that it is ready, and more.
type Reporter interface {
	Begin() // what it says is told from now on, what it has said before too
	IsSocket() bool
	FD() int
}

// Streams of what the keeper holds for an incarnation: the log pipes are numbered as in the ring.
const (
	StreamReady  = 16 // read end of a readiness descriptor
	StreamNotify = 17 // sd_notify socket
)

// StreamOf is the number under which the keeper holds the supervisor's end.
func StreamOf(r Reporter) uint8 {
	if r.IsSocket() {
		return StreamNotify
	}
	return StreamReady
}

// Group is a control group.
type Group interface {
	Path() string
	Main() string // the folder in which the processes are
	OOMKilled() bool
}

// Helper is a command that runs beside a main process, as it is to be started.
type Helper struct {
	Gen     uint64        // a number that is used once, with proc.Aside
	Config  *graph.Config // of its service, nil = none
	Of      machine.Gen   // its incarnation
	Command graph.Command
	Spec    *proc.Spec    // in place of a service and a command
	Env     []string      // beside that of the service
	Within  Group         // the group of its incarnation, nil = none
	Alone   bool          // it runs without a main process, in a group beside that of the incarnation
	Capture bool          // its output is kept for Captured; else it goes into the service's log
	Limit   time.Duration // 0 = none
	Over    func()        // a word: that time is over since it began
}

// Processes tells of single processes.
type Processes interface {
	Deaths() <-chan proc.Death                                                                 // wakes: children have ended
	Ended() (e proc.Exit, ok bool)                                                             // a child that has ended, each once; false ends a round
	Reap(pid int)                                                                              // lets go of one
	Lives(pid int, start uint64) bool                                                          // exactly this one is there, and no zombie
	Exists(pid int) bool                                                                       // something has this number, if only a zombie
	Process(pid int) (p proc.Process, ours, ok bool)                                           // what has this number, zombies included
	Stands(p proc.Process) (there, asleep bool)                                                // it is there, in an uninterruptible sleep
	Watch(pid int, start uint64, ended func()) bool                                            // ended is a word; false: it cannot be watched
	Signal(service string, pid int, sig graph.Signal) (sent bool)                              // to a child that was not reaped
	SignalGroup(service string, main int, sig graph.Signal) (sent bool)                        // to its group, else to it alone
	KillGroup(main int)                                                                        // SIGKILL, whatever comes of it
	SignalOther(service string, pid int, start uint64, sig graph.Signal, then func(sent bool)) // to one that is no child
	SignalEach(ps []proc.Process, sigs []graph.Signal)
	PIDFile(c *graph.Config, then func(pid int, why string))
	AwaitPIDFile(c *graph.Config, pid int, then func()) (stop func()) // then, once it names this one
	Verify(w *notify.Word, o proc.Owner, c *graph.Config, then func(Verdict))
}

// Verdict is whether a word of a service counts.
type Verdict struct {
	OK   bool
	Why  string
	Main proc.Process // the one that it names as the main process
	Ours bool         // that is our child
}

// Tree is an incarnation or a helper as it is to be looked at: a copy, since the loop goes on.
type Tree struct {
	Owner proc.Owner
	Group Group
	Kill  bool // what is left of it is to be killed
	Ends  bool // what may be its own counts as that
	Held  bool // its main process, or the zombie of it, is ours: the number of its group is certain
}

// Life says whether a tree is alive, and who tells of its end.
type Life uint8

// The kinds of life.
const (
	Lifeless Life = iota
	InGroup       // the kernel tells when its control group is empty
	Outside       // a process lives that has left the group, or there is none: only looking tells
)

// Left are the living processes of incarnations, without their main ones.
type Left map[machine.Gen][]proc.Process

// Known answers for the processes that the loop accounts for.
type Known func(pid int) bool

// Trees looks at what belongs together. A Known is asked from any goroutine, but that of Survey and Clean before they return.
type Trees interface {
	// Survey tells what main processes that have ended have left. then may be called at once: when nothing is left, which is
	// nearly always so, no look is needed.
	Survey(trees []Tree, known Known, then func(Left))
	// Look tells which trees live, and kills what is left of those that are to be killed.
	Look(trees []Tree, known Known, then func(map[machine.Gen]Life))
	// Members lists the processes of a tree.
	Members(o proc.Owner, known Known, then func([]proc.Process))
	// SignalTree signals all processes of a tree; sent = at least one.
	SignalTree(o proc.Owner, sig graph.Signal, then func(sent bool))
	// KillTree sends SIGKILL to all that belongs to a tree. unseen is a main process that can be named by its number only, 0 =
	// none. then may be nil.
	KillTree(t Tree, outside bool, unseen int, then func())
	// Clean reports whether a helper that has ended has certainly left nothing.
	Clean(t Tree, known Known) bool
	// Sweep ends what a helper has left, for a bounded time; remains is one that is there all the same.
	Sweep(t Tree, known Known, then func(remains proc.Process))
	// Obstacles says why what was killed is still there.
	Obstacles(t Tree, known Known, then func(text string))
	WatchGroup(g Group) bool // Listener.Emptied will tell
}

// Lines is where output goes.
type Lines interface {
	Direct(c *graph.Config) // gives a service its ring, file and destination, before it can write a line
	Undirect(name string)   // ends them, of a service that is gone
	Claimed()               // all pipes that came back are there
	Drain(gens []uint64)    // reads what is in the pipes now
	Release(gen uint64, grace time.Duration)
	SetPID(gen uint64, pid int)
	LastLine(service string, pid int) string
	NextLine(service string) (log string, number uint64) // where the next line will stand
}

// Services asks about what services need.
type Services interface {
	// Conflict tells who holds the ports and matches the filters of a service; nil = nobody. With kill they are ended first.
	Conflict(c *graph.Config, ours []proc.Owner, kill bool, then func(*machine.Conflict))
	// Probe runs a check that is no command.
	Probe(h *graph.Health, then func(ok bool, detail string)) (cancel func())
	Beside(work func()) // what is somebody else's, and may take its time
	ClearBelongings(c *graph.Config, keepDirs bool)
	SweepBelongings(runs func(service string) bool)
	FlushNotices(r Reporter, then func()) // then is a word: what was said before has been told
	EndNotices(gen machine.Gen, r Reporter)
}

// Past is what is asked about the time before, while nothing runs yet; these questions may take a moment.
type Past interface {
	Instance() string
	Children() map[int]bool
	Strays(o proc.Owner) int // the living processes of an incarnation beside its main one
	// Marked lists the living processes by their incarnation.
	Marked(known Known) map[uint64][]Marked
	// Dead lists the children of the keeper that it has not reaped.
	Dead() []Marked
	TagOf(gen uint64) uint64
	OpenGroup(path string) Group
	FindGroup(service string, gen uint64) Group
	EndOldHelpers(first uint64, known Known)
	KillStray(p proc.Process)
	Inherit(p keeper.Pipe)                 // a log pipe
	Adopt(p keeper.Pipe) (Reporter, error) // the way by which an incarnation reports
	Lose(p keeper.Pipe)                    // one that nobody knows any more
	Listen()                               // to the keeper, from now on
}

// Marked is a process with the incarnation that its marks name, 0 = none.
type Marked struct {
	proc.Process
	Gen  uint64
	Hook string // ZINIT_HOOK of its environment
}
