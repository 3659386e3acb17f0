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
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/version"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/ownlog"
	"github.com/zinit/zinit/supervisor/proc"
)

// Exit codes of the server, as the client's of the same meaning.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitInvalid = 6
)

// closePatience is how long open connections may take to end when everything else has.
const closePatience = 500 * time.Millisecond

// Main runs the server until it is told to stop and returns its exit code. argv[0] is the name.
func Main(argv []string) int {
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
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
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
	o        *options
	argv     []string
	own      *ownlog.Handler
	log      *slog.Logger
	settings *confdir.Settings
	arena    *logring.Arena
	keeper   *keeper.Client
	handover *keeper.Handover // from a keeper, or from the server this process was before an exec; nil on a fresh start
	lock     int              // descriptor of the socket's lock after an exec, -1 = none
	socket   *rpc.Socket
	sup      *supervisor.Supervisor
	rpc      *rpc.Server
	gid      int        // group whose members may do everything, 0 = none
	kept     []*os.File // duplicates of listener and lock for an exec
	stopping atomic.Bool
}

// run wires everything and runs until the end. The order matters: the control socket is taken before anything starts,
// so that a second server on the same socket does nothing at all.
func run(o *options, argv []string) (int, error) {
	s := &server{o: o, argv: argv, lock: -1}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	if err := s.inherit(); err != nil {
		return exitFailed, err
	}
	if err := s.openLog(); err != nil {
		return exitUsage, err
	}
	s.chooseDirs()
	if code := s.loadSettings(); code != exitOK {
		return code, nil
	}
	if err := s.openArena(); err != nil {
		return exitFailed, err
	}
	if err := s.listen(); err != nil {
		if s.keeper != nil {
			_ = s.keeper.Bye(keeper.ByeRefused, exitFailed)
		}
		return exitFailed, err
	}
	if err := s.supervise(); err != nil {
		return exitFailed, err
	}
	go s.handleSignals(signals)
	served := make(chan error, 1)
	go func() { served <- s.rpc.Serve(s.socket.Listener) }()
	s.announce()
	copied := s.copyToStdout()
	code := s.sup.Run()
	copied()
	closing, stop := context.WithTimeout(context.Background(), closePatience)
	_ = s.rpc.Close(closing)
	stop()
	<-served
	s.farewell(code)
	return code, nil
}

// inherit takes over from the keeper, or from the server that this process was.
func (s *server) inherit() error {
	if text := os.Getenv(supervisor.KeeperEnv); text != "" {
		os.Unsetenv(supervisor.KeeperEnv)
		fd, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s=%s is no descriptor", supervisor.KeeperEnv, text)
		}
		s.keeper, s.handover, err = keeper.Dial(fd)
		if err != nil {
			return fmt.Errorf("cannot reach the keeper: %w", err)
		}
		return nil
	}
	var err error
	s.handover, s.lock, err = supervisor.Inherit()
	return err
}

// openLog makes the server's own log. What it says before the rings exist is filed in them later.
func (s *server) openLog() error {
	level, err := logLevel(s.o.logLevel)
	if err != nil {
		return err
	}
	onMachine := s.handover != nil && s.keeper != nil && s.handover.Mode == keeper.Machine // the console: the kernel has its own stamps
	s.own = ownlog.New(ownlog.Options{Level: level, JSON: s.o.logFormat == "json", Time: !onMachine})
	s.log = slog.New(s.own)
	return nil
}

// logLevel reads the words of --log-level; trace is 0.3.9's, for us as fine as debug.
func logLevel(word string) (slog.Level, error) {
	switch strings.ToLower(word) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("--log-level %s: want debug, info, warn or error", word)
}

// openArena takes over the log rings of the server before, or makes new ones.
func (s *server) openArena() error {
	var err error
	if h := s.handover; h != nil && h.Arena >= 0 {
		if s.arena, err = logring.Open(h.Arena); err != nil {
			s.log.Error("the log rings of the server before are lost", "error", err)
		}
	}
	if s.arena == nil {
		if s.arena, err = logring.New(int(s.settings.TotalBytes)); err != nil {
			return fmt.Errorf("cannot make the log rings: %w", err)
		}
		if s.keeper != nil {
			_ = s.keeper.StoreArena(s.arena.FD())
		}
	}
	s.own.SetArena(s.arena)
	return nil
}

// chooseDirs finds the configuration when no flag names one.
func (s *server) chooseDirs() {
	if len(s.o.configDirs) > 0 {
		for i, dir := range s.o.configDirs { // what is shown and written means the same from everywhere
			if absolute, err := filepath.Abs(dir); err == nil {
				s.o.configDirs[i] = absolute
			}
		}
		return
	}
	dir, legacy := rpc.System().ConfigDir()
	if legacy {
		s.log.Info("using the configuration of zinit 0.3.9", "dir", dir)
	}
	s.o.configDirs = []string{dir}
}

// loadSettings reads zinit.toml; a flag wins over it.
func (s *server) loadSettings() int {
	path := s.o.settings
	if path == "" {
		path = confdir.SettingsFile(s.o.configDirs[len(s.o.configDirs)-1])
		if _, err := os.Stat(path); err != nil {
			s.settings = confdir.DefaultSettings()
			return exitOK
		}
	}
	settings, problems := confdir.LoadSettings(path, confdir.Options{Lenient: s.o.lenient, Trust: true})
	for _, p := range problems {
		s.log.Error(p.String())
	}
	if settings == nil {
		return exitInvalid
	}
	s.settings = settings
	return exitOK
}

// listen takes the control socket, or takes it over.
func (s *server) listen() error {
	o := rpc.SocketOptions{Mode: os.FileMode(s.settings.SocketMode)}
	if s.o.socketMode != "" {
		mode, err := strconv.ParseUint(s.o.socketMode, 8, 9)
		if err != nil {
			return fmt.Errorf("--socket-mode %s: want octal permissions such as 0660", s.o.socketMode)
		}
		o.Mode = os.FileMode(mode)
	}
	group := s.settings.SocketGroup
	if s.o.socketGroup != "" {
		group = s.o.socketGroup
	}
	if group != "" {
		gid, err := proc.LookupGroup(group)
		if err != nil {
			return err
		}
		o.GID, s.gid = gid, gid
	}
	if h := s.handover; h != nil && h.Listener >= 0 {
		return s.adoptSocket(h)
	}
	socket, fallback, err := rpc.ListenDefault(rpc.System(), s.o.socket, o)
	if err != nil {
		return err
	}
	if fallback {
		s.log.Warn("the usual place of the control socket cannot be written", "socket", socket.Path)
	}
	s.socket = socket
	if s.keeper != nil {
		return s.storeListener()
	}
	return nil
}

func (s *server) adoptSocket(h *keeper.Handover) error {
	path := h.SocketPath
	if path == "" {
		path = s.o.socket
	}
	var lock *os.File
	if s.lock >= 0 {
		lock = os.NewFile(uintptr(s.lock), path+".lock")
	}
	var err error
	s.socket, err = rpc.AdoptSocket(path, os.NewFile(uintptr(h.Listener), path), lock)
	return err
}

// storeListener gives the listening socket to the keeper, so that a connect during a crash waits and is served.
func (s *server) storeListener() error {
	listener, lock, err := s.socket.Files()
	if err != nil {
		return err
	}
	defer listener.Close()
	defer lock.Close()
	return s.keeper.StoreListener(descriptor(listener), s.socket.Path)
}

// supervise makes the supervisor, fresh or from the journal of the server before.
func (s *server) supervise() error {
	opt := supervisor.Options{ConfigDirs: s.o.configDirs, Settings: s.settings, Lenient: s.o.lenient, System: s.o.pid1Mode,
		Only: s.o.only, Socket: s.socket.Path, Version: version.String(), Mode: "server", Log: s.log, Arena: s.arena,
		Keeper: s.keeper, Handover: s.handover, Starts: 1, ListenerFD: -1, LockFD: -1, Argv: s.argv, Syslog: s.syslogPath()}
	os.Setenv("ZINIT_SOCKET", s.socket.Path) // so that a service can call zinit
	opt.Environ = proc.BaseEnviron(os.Environ())
	s.takeJournal(&opt)
	if h := s.handover; h != nil && s.keeper != nil {
		opt.Mode, opt.Starts, opt.LastCrash, opt.RolledBack = h.Mode.String(), h.Starts, h.LastCrash, h.RolledBack
		opt.KeeperStartNS = h.StartedAt
		if h.Target != "" {
			opt.Only = h.Target
		}
		opt.System = opt.System || h.Mode == keeper.Machine
		opt.Order = s.order
	}
	if listener, lock, err := s.socket.Files(); err == nil && s.keeper == nil {
		opt.ListenerFD, opt.LockFD = descriptor(listener), descriptor(lock)
		s.kept = []*os.File{listener, lock}
	}
	var err error
	if s.sup, err = supervisor.New(opt); err != nil {
		return err
	}
	signal.Notify(s.sup.Reap(), unix.SIGCHLD)
	s.rpc = rpc.NewServer(s.sup, rpc.ServerOptions{Lenient: s.o.lenient, MaxConnections: s.settings.MaxConnections,
		MaxRequestBytes: s.settings.MaxRequestBytes, GID: s.gid, GroupName: s.settings.SocketGroup, Log: s.log})
	return nil
}

// descriptor is the number of a file's descriptor. File.Fd would make the open file block, also for the listener that
// shares it.
func descriptor(f *os.File) int {
	fd := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// syslogPath is where syslog is served: where --syslog says, on a machine at /dev/log unless ZINIT_SYSLOG=0 says no.
func (s *server) syslogPath() string {
	switch {
	case os.Getenv("ZINIT_SYSLOG") == "0":
		return ""
	case s.o.syslog == "" && s.keeper != nil && s.handover.Mode == keeper.Machine:
		return "/dev/log"
	}
	return s.o.syslog
}

// takeJournal opens the journal of the server before, or makes a new one. A journal that cannot be used is a loss of
// state, never a reason not to run.
func (s *server) takeJournal(opt *supervisor.Options) {
	if h := s.handover; h != nil && h.Journal >= 0 {
		j, state, err := journal.Open(h.Journal)
		if err == nil {
			opt.Journal = j
			if supervisor.Began(state) {
				opt.Restored = state
			}
			return
		}
		s.log.Error("the state of the server before is lost: services start afresh", "error", err)
	}
	j, err := journal.Create()
	if err != nil {
		s.log.Warn("no journal: an upgrade in place will not be possible", "error", err)
		return
	}
	opt.Journal = j
	if s.keeper != nil {
		if err := s.keeper.StoreJournal(j.FD()); err != nil {
			s.log.Error("the keeper does not take the journal: a crash of this server would lose its state", "error", err)
		}
	}
}

// copyToStdout starts copying the services' output if that was asked for; what it returns waits until all is written.
func (s *server) copyToStdout() (finish func()) {
	if s.o.logStdout == "" {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	follower := s.arena.Follow(nil, nil)
	go func() {
		defer close(ended)
		copyLogs(follower, os.Stdout, s.o.logStdout, done)
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

// handleSignals turns signals into what they ask for; a second stop kills at once.
func (s *server) handleSignals(signals <-chan os.Signal) {
	for sig := range signals {
		switch sig {
		case unix.SIGTERM, unix.SIGINT:
			s.order(keeper.OrderStop)
		case unix.SIGHUP:
			s.order(keeper.OrderReload)
		case unix.SIGUSR1:
			s.order(keeper.OrderUpgrade)
		}
	}
}

// order carries out what a signal or the keeper asks.
func (s *server) order(o keeper.Order) {
	switch o {
	case keeper.OrderReload:
		go s.reload()
	case keeper.OrderUpgrade:
		go s.upgrade()
	case keeper.OrderKill:
		s.sup.KillAll()
	default:
		if s.stopping.Swap(true) {
			s.sup.KillAll()
			return
		}
		notifyAbove("STOPPING=1")
		s.sup.End(powerOf[o])
	}
}

var powerOf = map[keeper.Order]rpc.Power{keeper.OrderStop: rpc.PowerStop, keeper.OrderPowerOff: rpc.PowerPoweroff,
	keeper.OrderReboot: rpc.PowerReboot, keeper.OrderHalt: rpc.PowerHalt}

func (s *server) reload() {
	notifyAbove("RELOADING=1")
	s.sup.ReopenLogs()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if _, err := s.sup.Reload(ctx, false); err != nil {
		s.log.Error("cannot reload", "error", err)
	}
	notifyAbove("READY=1")
}

func (s *server) upgrade() {
	_, begin, err := s.sup.Upgrade("")
	if err != nil {
		s.log.Error("cannot upgrade", "error", err)
		return
	}
	begin()
}

// farewell takes the socket's path away and tells the keeper why the server ends.
func (s *server) farewell(code int) {
	_ = s.socket.Close(true)
	s.log.Info("zinit server ends", "code", code)
	s.own.Flush()
	if s.keeper != nil {
		_ = s.keeper.Bye(s.sup.Bye(), code)
	}
}

// notifyAbove tells the supervisor that runs this server, if it asked for it (sd_notify(3)).
func notifyAbove(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" || !filepath.IsAbs(path) && path[0] != '@' {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, []byte(state), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: path})
}

// nameProcess sets what ps and pgrep show. /proc/self/comm names the main thread; prctl(2) would name the calling one.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}
