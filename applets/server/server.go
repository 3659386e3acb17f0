// Package server is the zinit-server applet: flags, paths and the wiring of supervisor and RPC.
package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/internal/memory"
	"github.com/zinit/zinit/internal/project"
	"github.com/zinit/zinit/internal/version"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
	"github.com/zinit/zinit/supervisor/answer"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/ownlog"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/system"
)

// Exit codes of the server, as the client's of the same meaning.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitInvalid = 6
)

// stderrPatience is how long the end waits for who reads what this server says.
const stderrPatience = 500 * time.Millisecond

// closePatience is how long open connections may take to end when everything else has.
const closePatience = 500 * time.Millisecond

// Main runs the server until it is told to stop and returns its exit code. argv[0] is the name.
func Main(argv []string) int {
	memory.Start()
	if len(argv) > 1 && argv[1] == supervisor.SelfTest {
		return selfTest(argv[2:])
	}
	if len(argv) > 1 && (argv[1] == "--version" || argv[1] == "-V") {
		fmt.Println("zinit " + version.String())
		return exitOK
	}
	if err := proc.ClearMaskOrReexec(); err != nil {
		fmt.Fprintln(os.Stderr, "zinit-server: "+err.Error())
	}
	o, err := parseFlags(argv[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(os.Stderr, "zinit server: "+err.Error())
		return exitUsage
	}
	nameProcess("zinit-server")
	if err := proc.Prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "zinit server: "+err.Error())
	}
	code, err := run(o, argv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "zinit server: "+err.Error())
	}
	return code
}

// selfTest answers whether this executable can take over the state of the version that asks.
func selfTest(args []string) int {
	if len(args) != 1 {
		return exitUsage
	}
	fmt.Printf("zinit %s state %d\n", version.String(), supervisor.JournalVersion)
	if v, err := strconv.Atoi(args[0]); err != nil || v > supervisor.JournalVersion {
		fmt.Printf("cannot take over state version %s: this executable reads up to %d\n", args[0], supervisor.JournalVersion)
		return exitInvalid
	}
	return exitOK
}

// server is the applet at work.
type server struct {
	o             *options
	argv          []string
	own           *ownlog.Handler
	stderr        *ownlog.Queue // own writes to it, and never waits for who reads it
	log           *slog.Logger
	settings      *confdir.Settings
	project       *project.Project // that it is the server of; nil where it was told what to load
	arena         *logring.Arena
	keeper        *keeper.Client
	handover      *keeper.Handover      // from a keeper, or from the server this process was before an exec; nil on a fresh start
	lock          int                   // descriptor of the socket's lock after an exec, -1 = none
	inherited     *supervisor.Inherited // from the image before, nil on a fresh start
	mu            sync.Mutex            // of socket and served, and of what is made anew
	socket        *rpc.Socket
	sup           *supervisor.Supervisor
	rpc           *rpc.Server
	gid           int             // group whose members may do everything, 0 = none
	served        []chan struct{} // each closed when its Serve has returned
	socketOptions rpc.SocketOptions
	handed        []rpc.ConnState
	orders        orders
	leaving       bool                      // guarded by orders.mu: the socket goes with the server, so it is not made anew
	flushed       chan struct{}             // gets a word for each flushSignal
	kept          []*os.File                // duplicates of listener and lock for an exec
	stopped       atomic.Pointer[time.Time] // when the first stop was asked for by a signal or the keeper
}

// run wires everything and runs until the end.
func run(o *options, argv []string) (int, error) {
	s := &server{o: o, argv: argv, lock: -1, flushed: make(chan struct{}, 1)}
	s.stderr = ownlog.NewQueue(os.Stderr, o.logFormat == "json")
	defer s.stderr.Flush(stderrPatience)
	began := make(chan int)
	var err error
	go func() { // this goroutine keeps the main thread, so each switch to another one is one of threads
		var code int
		code, err = s.begin()
		began <- code
	}()
	if code := <-began; err != nil {
		return code, err
	}
	copied := s.copyToStdout()
	if s.keeper != nil && s.handover.Order != 0 {
		s.order(s.handover.Order) // the server before died over it
	}
	code := s.sup.Run()
	s.leaveSocket()
	closing, stop := context.WithTimeout(context.Background(), closePatience)
	_ = s.rpc.Close(closing)
	stop()
	s.awaitServed()
	s.farewell(code)
	copied()
	if s.keeper != nil {
		_ = s.keeper.Bye(s.sup.Bye(), code)
	}
	return code, nil
}

// begin does all that comes before the first service. The order matters: the control socket is taken before anything
// starts, so that a second server on the same socket does nothing at all. The code counts when there is an error.
func (s *server) begin() (int, error) {
	go journal.Warm()
	runtime.GOMAXPROCS(system.Processors(runtime.GOMAXPROCS(0)))
	fault.Here("image")
	early.ReleaseAll() // they are caught from package early's init on
	if err := s.inherit(); err != nil {
		return exitFailed, err
	}
	fault.Here("inherited")
	if err := s.openLog(); err != nil {
		return exitUsage, err
	}
	if err := proc.CheckProc(); err != nil {
		s.log.Warn("processes are known by their control groups and as children only: " + err.Error() +
			"; mount -t proc proc /proc before this server starts")
	}
	s.chooseDirs()
	s.loadSettings()
	if err := s.openArena(); err != nil {
		return exitFailed, err
	}
	opt := s.options()
	if s.handover == nil || s.handover.Journal < 0 { // else there is most likely no need of the files
		opt.Preload()
	}
	if err := s.listen(); err != nil {
		if s.keeper != nil && s.handover.Listener < 0 { // with one, there are services that must not end for it
			_ = s.keeper.Bye(keeper.ByeRefused, exitFailed)
		}
		return exitFailed, err
	}
	if err := s.supervise(opt); err != nil {
		return exitFailed, err
	}
	fault.Here("restored")
	go s.handleSignals()
	s.inheritConnections()
	s.serve()
	go s.watchSocket()
	s.announce()
	return exitOK, nil
}

// options are what the supervisor is told, but for the socket.
func (s *server) options() *supervisor.Options {
	opt := &supervisor.Options{
		Files: supervisor.Files{Dirs: s.o.configDirs, Settings: s.settings, Lenient: s.o.lenient, System: s.o.pid1Mode, Profiles: s.o.profiles, Only: s.o.only,
			StateDir: s.stateDir()},
		About: answer.About{Version: version.String(), Mode: "server", Starts: 1},
		Loop: loop.Options{Log: s.log, Arena: s.arena, Keeper: s.keeper, Handover: s.handover, AtRest: memory.Rest,
			Ending: func() { notifyAbove("STOPPING=1") }},
		Exec:   supervisor.Exec{Argv: s.argv},
		Syslog: s.syslogPath(),
	}
	opt.Loop.Order = s.order
	if h := s.handover; h != nil && s.keeper != nil {
		about := &opt.About
		about.Mode, about.Starts, about.LastCrash, about.RolledBack = h.Mode.String(), h.Starts, h.LastCrash, h.RolledBack
		about.KeeperStartNS = h.StartedAt
		if h.Target != "" {
			opt.Files.Only = h.Target
		}
		opt.Files.System = opt.Files.System || h.Mode == keeper.Machine
		if ms, err := strconv.Atoi(os.Getenv(keeper.EnvKillAfter)); err == nil && ms > 0 {
			opt.KillAfter = time.Duration(ms) * time.Millisecond
		}
	}
	return opt
}

// supervise makes the supervisor, fresh or from the journal of the server before.
func (s *server) supervise(opt *supervisor.Options) error {
	opt.About.Socket = s.socket.Path
	os.Setenv("ZINIT_SOCKET", s.socket.Path) // so that a service can call zinit
	opt.Loop.Environ = proc.BaseEnviron(os.Environ())
	s.takeJournal(opt)
	opt.Loop.Dead, opt.Loop.KeepLeftovers = s.socket.Dead, s.o.keepLeft
	if s.keeper == nil {
		opt.Exec.Socket = s.socketDescriptors
	}
	opt.Exec.HandOver, opt.Exec.LastWord, opt.Exec.TakeBack = s.handOver, s.lastWord, s.takeBack
	var err error
	if s.sup, err = supervisor.New(*opt); err != nil {
		return err
	}
	s.socket.Note(s.sup.Instance())
	signal.Notify(s.sup.Reap(), unix.SIGCHLD)
	s.rpc = rpc.NewServer(s.sup, rpc.ServerOptions{Lenient: s.o.lenient, MaxConnections: s.settings.MaxConnections,
		MaxRequestBytes: s.settings.MaxRequestBytes, GID: s.gid, GroupName: s.settings.SocketGroup, Log: s.log})
	return nil
}

// copyToStdout starts copying the services' output if that was asked for; what it returns waits until all is written.
func (s *server) copyToStdout() (finish func()) {
	format := s.o.logStdout
	if format == "" {
		format = s.settings.Stdout
	}
	if format == "" || format == stdoutOff {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	from := copiedBefore(s.arena)
	if s.handover == nil || s.handover.Arena < 0 { // else the server before has written some of it
		from[ownlog.Service] = 1
	}
	follower := s.arena.Follow(nil, from)
	go func() {
		defer close(ended)
		newStdoutCopy(s.arena, os.Stdout, format, s.o.color).run(follower, done)
	}()
	return func() {
		close(done)
		select {
		case <-ended:
		case <-time.After(closePatience):
		}
	}
}

// announce says that the server serves: to people, to a supervisor above, and on the readiness descriptor.
func (s *server) announce() {
	s.log.Info("zinit server", "version", version.String(), "socket", s.socket.Path, "config", strings.Join(s.o.configDirs, ":"))
	notifyAbove("READY=1")
	if s.o.readyFD >= 0 {
		_, _ = unix.Write(s.o.readyFD, []byte("\n"))
		_ = unix.Close(s.o.readyFD)
	}
}

// farewell takes the socket's path away and says that the server ends.
func (s *server) farewell(code int) {
	if code == exitOK && !s.o.keepLeft {
		s.socket.Forget()
	}
	s.mu.Lock() // restoreSocket may be at work: that the path is gone wakes it
	_ = s.socket.Close(true)
	s.mu.Unlock()
	s.own.Flush()
	s.log.Info("zinit server ends", "code", code)
}

// nameProcess sets what ps and pgrep show. /proc/self/comm names the main thread; prctl(2) would name the calling one.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}
