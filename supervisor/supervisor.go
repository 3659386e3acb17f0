// Package supervisor is the driver around the pure machine: it feeds the machine events, carries out its actions with
// real processes, keeps logs and the journal, and answers the RPC server's questions from snapshots.
package supervisor

import (
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/xinet"
)

// Options is everything a Supervisor is told from outside.
type Options struct {
	ConfigDirs []string
	Settings   *confdir.Settings // nil = defaults
	Lenient    bool              // unknown keys are warnings
	System     bool              // load system/ too
	Only       string            // start only what this target pulls in, "" = all
	Socket     string            // for showing
	Version    string
	Mode       string   // machine, container, keeper or server
	Environ    []string // the environment that services inherit
	Log        *slog.Logger

	Keeper        *keeper.Client   // nil: nobody above outlives us
	Handover      *keeper.Handover // what the keeper handed over, nil without one
	Arena         *logring.Arena
	Journal       *journal.Journal // nil: nothing outlives this process
	Restored      *journal.State   // what the journal held, nil = a fresh start
	Upgraded      bool             // this process was a server of another version before
	Starts        int              // servers since the keeper began
	LastCrash     string
	RolledBack    string
	KeeperStartNS int64              // CLOCK_BOOTTIME of pid1's start
	Order         func(keeper.Order) // gets what the keeper asks, nil = nobody listens
	Ending        func()             // called once when the stop of everything has begun; must not block; nil = nobody listens
	ListenerFD    int                // descriptors that a lone server leaves open for the executable that replaces it, -1 = none
	LockFD        int
	HandOver      func() []Connection // gives up the clients' connections for an exec in place, nil = they are closed
	TakeBack      func()              // takes them back when there was no exec
	Argv          []string            // of this server, for an upgrade in place
	Syslog        string              // path of a syslog socket to serve, "" = none
	KillAfter     time.Duration       // of a stop, by the keeper: what is left then is killed, 0 = no such bound

	AtRest func() // called, on a goroutine of its own, when much work is done and all is quiet; nil = not

	preloaded <-chan *confdir.Loaded // see Preload
	done      chan struct{}          // closed when the driver has ended
}

func (o *Options) maxServices() int {
	if o.Settings != nil && o.Settings.MaxServices > 0 {
		return o.Settings.MaxServices
	}
	return 20000
}

// machine is what the machine is told once.
func (o *Options) machine() machine.Options {
	return machine.Options{PID1: o.Mode == "machine", ShutdownTimeout: int64(o.shutdownTimeout())}
}

// executable is the file this server was started from.
func (o *Options) executable() string {
	path, err := os.Executable()
	if err != nil {
		return "/proc/self/exe"
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// Supervisor runs the services of a configuration. Its methods answer the RPC server (it is an rpc.Backend).
type Supervisor struct {
	opt     *Options
	started time.Time
	driver  *driver
	defs    atomic.Pointer[definitions]
	turn    chan struct{} // one change of the configuration at a time
	stats   *statsKeeper
	power   powerState
	proxies *xinet.Manager

	upgrading atomic.Bool // one at a time
}

// New loads the configuration, or takes over what the journal of the server before holds, and prepares everything. No
// process is started before Run.
func New(opt Options) (*Supervisor, error) {
	opt.done = make(chan struct{})
	s := &Supervisor{opt: &opt, started: time.Now(), turn: make(chan struct{}, 1), stats: newStatsKeeper()}
	var err error
	if s.driver, err = newDriver(&opt); err != nil {
		return nil, err
	}
	s.driver.rest = rest{post: s.driver.post, act: opt.AtRest}
	s.proxies = xinet.New(proxied{s}, opt.Log)
	if opt.Restored != nil {
		s.restore(opt.Restored)
	} else {
		s.load()
	}
	return s, nil
}

// load reads the directories for the first time.
func (s *Supervisor) load() {
	defs, g := s.read()
	if s.opt.Handover == nil || s.opt.Handover.Starts <= 1 {
		if s.takeLegacy(defs); len(s.driver.legacy) > 0 {
			g = defs.graph()
		}
	}
	s.defs.Store(defs)
	d := s.driver
	d.boot.loaded = d.clock.now()
	for _, p := range allProblems(defs, g) {
		level := slog.LevelWarn
		if p.Severity == graph.SeverityError.String() {
			level = slog.LevelError
		}
		d.log.Log(ctxNone, level, problemLine(p))
	}
	d.m = machine.New(g, s.opt.machine())
	if d.journal != nil {
		d.journal.Hold() // until the first step is in it too, see begin
	}
	d.saveAll(defs)
	for _, c := range defs.configs {
		d.direct(c)
	}
	d.allDirty = true
	d.publish()
	d.first = machine.Loaded{Only: s.opt.Only}
}

// Run feeds the first event and runs the driver until the machine halts; it returns the exit code. Without a keeper it
// must be called on the main thread of the process, with runtime.LockOSThread: the services are forked there.
func (s *Supervisor) Run() int {
	code := make(chan int, 1)
	go func() { code <- s.run() }() // not on a thread of its own, or each word to the driver would cost a switch of threads
	if s.opt.Keeper != nil {
		return <-code
	}
	return s.driver.pool.serve(code)
}

func (s *Supervisor) run() int {
	defer close(s.opt.done)
	defer s.proxies.Close()
	d := s.driver
	d.begin()
	s.restoreProxies()
	s.serveSyslog()
	code := d.run()
	s.closeSinks()
	if d.cgroups != nil {
		d.cgroups.Close()
	}
	return code
}

// Done is closed when Run has returned.
func (s *Supervisor) Done() <-chan struct{} { return s.opt.done }

// Reap wakes the driver for dead children; signals feed it.
func (s *Supervisor) Reap() chan<- os.Signal { return s.driver.sigchld }
