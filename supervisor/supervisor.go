// Package supervisor is the facade of its rooms: it loads and changes the configuration, hands requests to the loop, which
// alone writes, and answers the RPC server's questions from what the loop shows. It is an rpc.Backend.
package supervisor

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/syslog"
	"github.com/zinit/zinit/supervisor/system"
	"github.com/zinit/zinit/supervisor/view"
	"github.com/zinit/zinit/supervisor/xinet"
)

// Options is everything a Supervisor is told from outside, by who has to know it.
type Options struct {
	Files  Files        // what is loaded
	About  answer.About // who answers; ConfigDirs and Survives are filled in by New
	Loop   loop.Options // what the loop works with; Machine, Forward and NotifyDir are filled in by New
	Exec   Exec         // what an upgrade in place needs
	Syslog string       // path of a syslog socket to serve, "" = none
	// StateLost says that a server was here before of which the state cannot be read.
	StateLost bool
	// KillAfter is after how long of a stop, by the keeper, what is left is killed; 0 = no such bound.
	KillAfter time.Duration

	preloaded <-chan *confdir.Loaded // see Preload
	ports     *autoPorts
}

// Files says which configuration is loaded, and how strictly it is read.
type Files struct {
	Dirs     []string
	Settings *confdir.Settings // nil = defaults
	Lenient  bool              // unknown keys are warnings
	System   bool              // load system/ too
	Profiles []string          // which services with profiles are loaded
	Only     string            // start only what this target pulls in, "" = all
	StateDir string            // where it is noted which files the server wrote, "" = nowhere
}

// Exec is what an upgrade in place needs to know of the server around the supervisor.
type Exec struct {
	Argv []string // of this server
	// Socket returns the descriptors of the control socket and its lock that a lone server leaves open for the executable
	// that replaces it, -1 = none; nil under a keeper, which has them.
	Socket func() (listener, lock int)
	// HandOver gives up the clients' connections for an exec in place, and keeps orders from then on; nil = they are closed.
	// An error calls the upgrade off: something that was asked for is not finished.
	HandOver func() ([]Connection, error)
	// LastWord lets signals wait for the next image, and returns the orders kept for it; nil = none.
	LastWord func() []keeper.Order
	// TakeBack takes all that back when there was no exec, after an error of HandOver too.
	TakeBack func()
}

func (o *Options) maxServices() int {
	if s := o.Files.Settings; s != nil && s.MaxServices > 0 {
		return s.MaxServices
	}
	return maxServices
}

// derive fills in what follows from the rest.
func (o *Options) derive() {
	if o.ports == nil {
		o.ports = newAutoPorts()
	}
	o.About.ConfigDirs, o.About.Survives = o.Files.Dirs, o.Loop.Keeper != nil
	o.Loop.Machine = machine.Options{PID1: o.About.Mode == "machine", ShutdownTimeout: int64(o.shutdownTimeout())}
	if n := len(o.Loop.Dead); o.StateLost && n > 0 {
		o.Loop.Instance = o.Loop.Dead[n-1] // what it left is no stranger's
	}
	if o.Loop.Restored == nil {
		o.Loop.Machine.Seq = machine.Gen(lastGen(o.Loop.Handover))
	}
	if o.Files.Settings != nil {
		o.Loop.Forward = o.Files.Settings.Forward
		o.Loop.Machine.JobsAtOnce = o.Files.Settings.JobsAtOnce
	}
	o.Loop.Machine.HostSeed = hostSeed()
	o.Loop.Jobs = jobs.Open(o.Files.StateDir, "jobs-"+strconv.FormatUint(textHash(strings.Join(o.Files.Dirs, ":")), 16)+".jsonl", o.Loop.Log)
	if o.About.Socket != "" {
		o.Loop.NotifyDir = o.About.Socket + ".notify"
	}
}

// hostSeed is a number that stays the same on one host and differs between hosts (machine-id(5), else the name).
func hostSeed() uint64 {
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && len(id) > 1 {
		return textHash(string(id))
	}
	name, _ := os.Hostname()
	return textHash(name)
}

func textHash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}

// executable is the file this server was started from.
func (o *Options) executable() string {
	path, err := os.Executable()
	if err != nil {
		return "/proc/self/exe"
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// Supervisor runs the services of a configuration. Its methods answer the RPC server (it is an rpc.Backend): those that
// change something stand here, those that do not are the Reader's.
type Supervisor struct {
	*answer.Reader
	opt   *Options
	log   *slog.Logger
	loop  *loop.Loop
	world *system.System // what the loop asks
	shown loop.Window
	defs  atomic.Pointer[view.Definitions]

	turn    chan struct{} // one change of the configuration at a time
	power   powerState
	proxies *xinet.Manager
	asked   proc.Asker // about the files of services

	syslog *syslog.Server // nil: none is served
	// syslogFD is its socket, -1 = none; a lone server leaves it open for the executable that replaces it.
	syslogFD int

	upgradeTurn chan struct{} // one upgrade at a time
	last        atomic.Pointer[wire.LastUpgrade]
}

// New loads the configuration, or takes over what the journal of the server before holds, and prepares everything. No
// process is started before Run.
func New(opt Options) (*Supervisor, error) {
	opt.derive()
	s := &Supervisor{opt: &opt, log: opt.Loop.Log, turn: make(chan struct{}, 1), syslogFD: -1,
		upgradeTurn: make(chan struct{}, 1)}
	var err error
	if s.world, err = system.New(&opt.Loop); err != nil {
		return nil, err
	}
	opt.Loop.World = s.world
	s.loop = loop.New(opt.Loop)
	w := s.loop.Window()
	cgroups, noCgroups := s.world.Cgroups()
	s.shown = w
	s.Reader = answer.New(answer.Sources{About: opt.About, Views: w.Views, Events: w.Events, Tally: w.Tally, Boot: w.Boot, Clock: s.world.Clock(), Defs: &s.defs, LastUpgrade: &s.last,
		Arena: opt.Loop.Arena, Files: s.world.Files(), Ship: s.world.Shipper(), Jobs: opt.Loop.Jobs, Scanner: s.world.Scanner(), Cgroups: cgroups, NoCgroups: noCgroups, Done: s.loop.Done()})
	s.proxies = xinet.New(proxied{s}, s.log)
	if opt.Loop.Restored != nil {
		s.takeLastUpgrade(opt.Loop.Restored)
		s.defs.Store(s.loop.Restore())
	} else {
		s.load()
	}
	return s, nil
}

// load reads the directories for the first time.
func (s *Supervisor) load() {
	defs, g := s.read()
	var found map[string]loop.Found
	if h := s.opt.Loop.Handover; h == nil || h.Starts <= 1 {
		if found = s.takeLegacy(defs); len(found) > 0 {
			g = defs.Graph()
		}
	}
	if s.opt.StateLost {
		found = s.salvage(defs)
		s.tellUnknown(defs, found)
	}
	s.defs.Store(defs)
	s.shown.Boot.Loaded()
	for _, p := range view.AllProblems(defs, g) {
		level := slog.LevelWarn
		if p.Severity == graph.SeverityError.String() {
			level = slog.LevelError
		}
		s.log.Log(context.Background(), level, problemLine(p))
	}
	s.loop.Load(defs, g, found, s.opt.Files.Only)
}

// Instance names this server, and those that go on with its services.
func (s *Supervisor) Instance() string { return s.world.Instance() }

// Run feeds the first event and runs the loop until the machine halts; it returns the exit code. Without a keeper it
// must be called on the main thread of the process, with runtime.LockOSThread: the services are forked there.
func (s *Supervisor) Run() int {
	code := make(chan int, 1)
	go func() { code <- s.run() }() // not on a thread of its own, or each word to the loop would cost a switch of threads
	if s.opt.Loop.Keeper != nil {
		return <-code
	}
	return s.world.ServeForks(code)
}

func (s *Supervisor) run() int {
	defer s.world.Close()
	defer s.loop.Close()
	defer s.proxies.Close()
	if s.opt.Loop.Restored == nil {
		s.world.SettleLeftovers()
	}
	s.loop.Begin()
	s.carryOutOrders()
	s.settleJournal()
	s.restoreProxies()
	s.serveSyslog()
	code := s.loop.Run()
	if !s.world.EndWhatIsLeft() {
		code = max(code, 1)
	}
	s.closeSyslog()
	s.world.FlushLogs()
	return code
}

// Done is closed when Run has returned.
func (s *Supervisor) Done() <-chan struct{} { return s.loop.Done() }

// Reap wakes the loop for dead children; signals feed it.
func (s *Supervisor) Reap() chan<- os.Signal { return s.world.SIGCHLD() }

// problemLine is a problem of the configuration as one line: where, then what.
func problemLine(p wire.Problem) string {
	where := p.File
	if p.Line > 0 {
		where += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	switch {
	case where != "":
		return where + ": " + p.Message
	case p.Service != "":
		return p.Service + ": " + p.Message
	}
	return p.Message
}
