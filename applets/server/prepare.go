package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/project"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/ownlog"
	"github.com/zinit/zinit/supervisor/proc"
)

// inherit takes over from the keeper, or from the server that this process was.
func (s *server) inherit() (err error) {
	if s.inherited, err = supervisor.Inherit(); err != nil {
		return err
	}
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
	if s.inherited != nil {
		s.handover, s.lock = s.inherited.Handover, s.inherited.Lock
	}
	return nil
}

// openLog makes the server's own log. What it says before the rings exist is filed in them later.
func (s *server) openLog() error {
	level, err := logLevel(s.o.logLevel)
	if err != nil {
		return err
	}
	onMachine := s.handover != nil && s.keeper != nil && s.handover.Mode == keeper.Machine // the console: the kernel has its own stamps
	s.own = ownlog.New(ownlog.Options{Level: level, JSON: s.o.logFormat == "json", Time: !onMachine, Out: s.stderr})
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
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) { // a mistyped name would look like an empty one
				s.log.Warn("the configuration directory " + s.o.configDirs[i] + " does not exist: no services")
			}
		}
		return
	}
	if s.chooseProject() {
		return
	}
	dir, legacy := rpc.System().ConfigDir()
	if legacy {
		s.log.Info("using the configuration of zinit 0.3.9", "dir", dir)
	} else if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		s.log.Info("no services: " + dir + " does not exist; put NAME.toml files into " + dir + "/services, or name another directory with --config")
	}
	s.o.configDirs = []string{dir}
}

// chooseProject takes the project that the working directory is in, if there is one. An executable that replaces this one is
// told, wherever it finds itself.
func (s *server) chooseProject() bool {
	if s.o.system || s.o.pid1Mode || s.keeper != nil {
		return false
	}
	here, err := os.Getwd()
	if err != nil {
		return false
	}
	dir, _ := rpc.System().ConfigDir()
	found, err := project.Ours(dir).Find(here, s.o.socket != "")
	if found.Foreign != "" {
		s.log.Warn("the project " + found.Foreign + " belongs to another user and is left alone")
	}
	if err != nil || found.Project == nil {
		return false
	}
	s.project = found.Project
	s.o.configDirs = found.Project.Configs
	for _, dir := range s.o.configDirs {
		s.argv = append(slices.Clip(s.argv), "--config", dir)
	}
	if s.o.socket == "" {
		s.o.socket = found.Project.Socket()
		s.argv = append(s.argv, "--socket", s.o.socket)
	}
	if s.o.stateDir == "" {
		if base := rpc.System().StateDir(); base != "" {
			s.o.stateDir = filepath.Join(base, found.Project.Name)
			s.argv = append(s.argv, "--state-dir", s.o.stateDir)
		}
	}
	return true
}

// stateDir is where the server keeps what must outlive it, "" where nothing can be written: that is said once, and memory
// serves.
func (s *server) stateDir() string {
	dir := s.o.stateDir
	if dir == "" {
		dir = rpc.System().StateDir()
	}
	for at := dir; at != ""; at = filepath.Dir(at) {
		err := unix.Access(at, unix.W_OK)
		switch {
		case err == nil:
			return dir
		case !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at):
			s.log.Warn("cannot write "+dir+": what is kept there (runs of jobs, which files the server wrote) is lost when the server ends; "+
				"name another place with --state-dir", "error", err)
			return ""
		}
	}
	return ""
}

// loadSettings reads zinit.toml; a flag wins over it. What is wrong in it is told, and the default counts: a mistake there
// must not keep a machine from booting.
func (s *server) loadSettings() {
	path := s.o.settings
	if path == "" {
		path = confdir.SettingsFile(s.o.configDirs[len(s.o.configDirs)-1])
		if _, err := os.Stat(path); err != nil {
			s.settings = confdir.DefaultSettings()
			return
		}
	} else if _, err := os.Stat(path); err != nil {
		s.log.Error("cannot read the settings, the defaults count", "error", err)
	}
	contained := s.handover != nil && s.keeper != nil && s.handover.Mode == keeper.Container
	settings, problems := confdir.LoadSettings(path, confdir.Options{Lenient: s.o.lenient, Trust: true, TrustWarns: contained, Dirs: s.o.configDirs})
	for _, p := range problems {
		level := slog.LevelError
		if p.Severity != graph.SeverityError {
			level = slog.LevelWarn
		}
		s.log.Log(context.Background(), level, p.Where()+p.Message)
	}
	s.settings = settings
}

// listen takes the control socket, or takes it over.
func (s *server) listen() error {
	o := rpc.SocketOptions{Mode: os.FileMode(s.settings.SocketMode)}
	if s.o.socketMode != "" {
		mode, err := socketMode(s.o.socketMode)
		if err != nil {
			return err
		}
		o.Mode = mode
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
	s.socketOptions = o
	if h := s.handover; h != nil && h.Listener >= 0 {
		return s.adoptSocket(h)
	}
	if p := s.project; p != nil && s.o.socket == p.Socket() {
		if err := p.Prepare(os.Geteuid()); err != nil {
			return err
		}
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
	fd := s.lock
	if at := slices.IndexFunc(h.Files, func(f keeper.File) bool { return f.Name == keeperLock }); at >= 0 {
		fd = h.Files[at].FD
	}
	var lock *os.File
	if fd >= 0 {
		lock = os.NewFile(uintptr(fd), path+".lock")
	}
	listener := os.NewFile(uintptr(h.Listener), path)
	defer listener.Close()
	for end := time.Now().Add(lockPatience); ; time.Sleep(time.Millisecond) {
		// A child that the server before was forking when it was killed holds the lock until its exec. flock(2) can only be
		// asked again: it waits without a limit or not at all.
		var err error
		s.socket, err = rpc.AdoptSocket(path, listener, lock)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// keeperLock is the name under which the keeper holds the lock of the control socket.
const keeperLock = "lock"

// lockPatience is how long a server that takes over waits for the lock if the keeper does not have it.
const lockPatience = 5 * time.Second

// storeListener gives the listening socket to the keeper, so that a connect during a crash waits and is served.
func (s *server) storeListener() error {
	listener, lock, err := s.socket.Files()
	if err != nil {
		return err
	}
	defer listener.Close()
	defer lock.Close()
	if err := s.keeper.StoreListener(descriptor(listener), s.socket.Path); err != nil {
		return err
	}
	return s.keeper.StoreFile(keeperLock, lock.Name(), descriptor(lock)) // last: without the listener it must be free
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
			opt.Loop.Journal = j
			if loop.Began(state) {
				opt.Loop.Restored = state
			}
			return
		}
		s.log.Error("the state of the server before is lost: what can be proven to run is taken over", "error", err)
		opt.StateLost = true
	} else if h != nil && (len(h.Tracked) > 0 || h.Starts > 1) { // one that ran nothing may have stopped it all
		s.log.Error("the server before had no state: what can be proven to run is taken over")
		opt.StateLost = true
	}
	j, err := journal.Create()
	if err != nil {
		s.log.Warn("no journal: an upgrade in place will not be possible", "error", err)
		return
	}
	opt.Loop.Journal = j
	if s.keeper != nil {
		if err := s.keeper.StoreJournal(j.FD()); err != nil {
			s.log.Error("the keeper does not take the journal: a crash of this server would lose its state", "error", err)
		}
	}
}
