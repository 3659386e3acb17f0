package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
)

// begun is a server in this process, with a configuration directory of its own, and how to end it.
func begun(t *testing.T, args ...string) (s *server, end func() int) {
	t.Helper()
	clean(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "services"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	o, err := parseFlags(append([]string{"--config", dir, "--socket", filepath.Join(dir, "s", "zinit.sock"), "--log-level", "error"}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	was := early.ServerSignals
	signals := make(chan os.Signal, 8)
	early.ServerSignals = signals // what a test puts there came as a signal
	s = &server{o: o, argv: []string{"zinit-server"}, lock: -1, flushed: make(chan struct{}, 1)}
	if code, err := s.begin(); err != nil {
		t.Fatalf("%d, %v", code, err)
	}
	signals <- flushSignal
	select {
	case <-s.flushed:
	case <-time.After(wait.Patience):
		t.Fatal("nobody takes signals")
	}
	ran := make(chan int, 1)
	go func() { ran <- s.sup.Run() }()
	ended := false
	end = func() int {
		t.Helper()
		ended = true
		select {
		case code := <-ran:
			s.leaveSocket()
			ctx, stop := context.WithTimeout(context.Background(), wait.Patience)
			defer stop()
			if err := s.rpc.Close(ctx); err != nil {
				t.Error(err)
			}
			s.awaitServed()
			s.farewell(code)
			return code
		case <-time.After(wait.Patience):
			t.Fatal("the server does not end")
			return -1
		}
	}
	t.Cleanup(func() {
		if !ended {
			s.order(keeper.OrderStop)
			end()
		}
		early.ServerSignals = was
		close(signals)
	})
	return s, end
}

func dial(t *testing.T, s *server) *rpc.Client {
	t.Helper()
	c, err := rpc.Dial(t.Context(), s.socket.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestServerLives: it serves, reloads at an order, makes its socket anew, goes on after an upgrade that came to nothing, and ends
// with its socket gone.
func TestServerLives(t *testing.T) {
	notify := filepath.Join(t.TempDir(), "notify")
	above, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	said := func() string {
		t.Helper()
		buf := make([]byte, 4096)
		_ = above.SetReadDeadline(time.Now().Add(wait.Patience))
		n, err := above.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	number, err := unix.Dup(descriptor(readyEnd))
	if err != nil {
		t.Fatal(err)
	}
	_ = readyEnd.Close()

	s, end := begun(t)
	s.o.readyFD = number
	t.Setenv("NOTIFY_SOCKET", notify)
	s.announce()
	if got := said(); got != "READY=1" {
		t.Errorf("said above: %q", got)
	}
	if line, err := io.ReadAll(ready); err != nil || string(line) != "\n" { // closed behind it
		t.Errorf("on the readiness descriptor: %q, %v", line, err)
	}
	c := dial(t, s)
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := os.Getenv("ZINIT_SOCKET"); got != s.socket.Path {
		t.Errorf("services are told the socket %q", got)
	}

	dir := s.o.configDirs[0]
	if err := os.WriteFile(filepath.Join(dir, "services", "late.toml"), []byte("[service]\nname = \"late\"\nexec = \"true\"\nstatus = \"stop\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.order(keeper.OrderReload)
	if got := said(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("said above: %q", got)
	}
	if got := said(); got != "READY=1" {
		t.Errorf("said above: %q", got)
	}
	if names, err := c.List(t.Context()); err != nil || !slices.Contains(names, "late") {
		t.Errorf("after the reload there are %v, %v", names, err)
	}

	// Somebody deletes the socket: inotify tells.
	if err := os.Remove(s.socket.Path); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the socket", func() bool { _, err := os.Lstat(s.socket.Path); return err == nil })
	if _, err := dial(t, s).Ping(t.Context()); err != nil {
		t.Errorf("by the new socket: %v", err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Errorf("a client of before: %v", err)
	}

	// An upgrade takes the connections and gives them back; orders wait meanwhile.
	conns, err := s.handOver()
	if err != nil || len(conns) < 1 {
		t.Fatalf("%d connections, %v", len(conns), err)
	}
	s.order(keeper.OrderReload)
	if got := s.orders.forNext(); !slices.Equal(got, []keeper.Order{keeper.OrderReload}) {
		t.Errorf("kept for the next image: %v", got)
	}
	l, k := s.socketDescriptors()
	for _, fd := range []int{l, k} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d for the next image: %v", fd, err)
		}
	}
	if again, _ := s.socketDescriptors(); again < 0 {
		t.Error("asked again there is none")
	}
	s.takeBack()
	if got := said(); !strings.HasPrefix(got, "RELOADING=1") {
		t.Errorf("what was kept is not carried out: %q", got)
	}
	if got := said(); got != "READY=1" {
		t.Errorf("said above: %q", got)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Errorf("a client of before the upgrade: %v", err)
	}

	path := s.socket.Path
	s.stop(keeper.OrderStop, false)
	s.stop(keeper.OrderStop, false) // the same again
	if code := end(); code != exitOK {
		t.Errorf("it ends with %d", code)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is there: %v", err)
	}
	if _, err := s.handOver(); err == nil || err.Error() != "the server is ending" {
		t.Errorf("an upgrade at the end: %v", err)
	}
	s.restoreSocket()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error("an ending server makes its socket anew")
	}
}

// TestSignals: each does what it says; a second stop kills, one that comes at once is the same.
func TestSignals(t *testing.T) {
	s, end := begun(t)
	dir := s.o.configDirs[0]
	definition := "[service]\nname = \"deaf\"\nexec = [\"sh\", \"-c\", \"trap '' TERM; echo ready; while :; do sleep 1; done\"]\n[lifecycle]\nstop_timeout_ms = 600000\n"
	if err := os.WriteFile(filepath.Join(dir, "services", "deaf.toml"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	early.ServerSignals <- unix.SIGHUP
	wait.For(t, "the service's word", func() bool { return s.arena.Find("deaf") != nil && s.arena.Find("deaf").Next() > 1 })
	early.ServerSignals <- unix.SIGTERM
	wait.For(t, "the stop", func() bool {
		st, err := c.Status(t.Context(), "deaf")
		return err == nil && strings.HasPrefix(strings.ToLower(st.State), "stopping")
	})
	begin := time.Now()
	early.ServerSignals <- unix.SIGQUIT
	if code := end(); code != exitOK {
		t.Errorf("it ends with %d", code)
	}
	if took := time.Since(begin); took > wait.Patience/2 {
		t.Errorf("the second stop took %v", took)
	}
}

// TestStopsThatAreTheSame: only one that comes later, or is sure, kills.
func TestStopsThatAreTheSame(t *testing.T) {
	s := &server{}
	if err := s.orders.close(wait.Patience); err != nil { // so that all are kept
		t.Fatal(err)
	}
	now := time.Now()
	s.order(keeper.OrderPowerOff)
	if s.stopped.Load() == nil || s.stopped.Load().Before(now) {
		t.Error("the time of the first stop is not known")
	}
	s.stop(keeper.OrderStop, false)
	long := time.Now().Add(-2 * doubled)
	s.stopped.Store(&long)
	s.stop(keeper.OrderStop, false)
	soon := time.Now().Add(time.Hour) // a stop of just now
	s.stopped.Store(&soon)
	s.stop(keeper.OrderHalt, false)
	s.stop(keeper.OrderStop, true)
	s.order(keeper.OrderUpgrade)
	want := []keeper.Order{keeper.OrderPowerOff, keeper.OrderKill, keeper.OrderKill, keeper.OrderUpgrade}
	if got := s.orders.forNext(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// quiet is a server that has not begun, with a log.
func quiet(t *testing.T, args ...string) *server {
	t.Helper()
	clean(t)
	o, err := parseFlags(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &server{o: o, lock: -1, log: slog.New(slog.DiscardHandler)}
}

// TestListen takes the socket as flags and settings say, and refuses a second server and an unknown group.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "z.sock")
	first := quiet(t, "--socket", path, "--config", t.TempDir(), "--socket-mode", "0600")
	first.loadSettings()
	if err := first.listen(); err != nil {
		t.Fatal(err)
	}
	defer first.socket.Close(true) //nolint:errcheck // the end of the test
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || first.socketOptions.Mode != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	second := quiet(t, "--socket", path, "--config", t.TempDir())
	second.loadSettings()
	if err := second.listen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a second server: %v", err)
	}
	second.o.socketGroup = "no-such-group"
	if err := second.listen(); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("an unknown group: %v", err)
	}
	second.o.socketMode = "9"
	if err := second.listen(); err == nil {
		t.Error("a mode of no digits")
	}
	first.o.socketGroup = "0"
	if first.socket.Close(true); first.listen() != nil || first.gid != 0 {
		t.Errorf("group %d", first.gid)
	}

	// The next image takes both over.
	l, k, err := first.socket.Files()
	if err != nil {
		t.Fatal(err)
	}
	third := quiet(t, "--socket", "/elsewhere", "--config", t.TempDir())
	third.settings = first.settings
	dup := func(f *os.File) int {
		fd, err := unix.FcntlInt(uintptr(descriptor(f)), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	third.handover = &keeper.Handover{Listener: dup(l), SocketPath: path, Files: []keeper.File{{Name: keeperLock, FD: dup(k)}}}
	if err := third.listen(); err != nil || third.socket.Path != path {
		t.Fatalf("taken over: %v", err)
	}
	_ = third.socket.Close(false)
	_ = l.Close()
	_ = k.Close()
	if descriptor(l) != -1 {
		t.Error("a closed file has a descriptor")
	}
}

// TestSettings: a file that is wrong, or missing, is told, and the defaults count.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, nil))
	s := quiet(t, "--config", dir)
	s.log = log
	s.loadSettings()
	if s.settings == nil || s.settings.SocketMode != 0o660 || text.Len() != 0 {
		t.Errorf("without a file: %+v, %s", s.settings, text.String())
	}
	s = quiet(t, "--config", dir, "--settings", filepath.Join(dir, "missing.toml"))
	s.log = log
	if s.loadSettings(); s.settings == nil || !strings.Contains(text.String(), "cannot read the settings") {
		t.Errorf("a missing one: %s", text.String())
	}
	text.Reset()
	if err := os.WriteFile(filepath.Join(dir, "s.toml"), []byte("[socket]\nmode = \"0600\"\nnonsense = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = quiet(t, "--config", dir, "--settings", filepath.Join(dir, "s.toml"))
	s.log = log
	if s.loadSettings(); s.settings == nil || !strings.Contains(text.String(), "nonsense") || !strings.Contains(text.String(), "s.toml:3:1: ") {
		t.Errorf("a wrong one: %+v, %s", s.settings, text.String())
	}
}

// TestChooseDirs makes them absolute and says which are not there.
func TestChooseDirs(t *testing.T) {
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, nil))
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s := quiet(t, "--config", "testing", "--config", here)
	s.log = log
	s.chooseDirs()
	if !slices.Equal(s.o.configDirs, []string{filepath.Join(here, "testing"), here}) {
		t.Errorf("%v", s.o.configDirs)
	}
	if n := strings.Count(text.String(), "does not exist"); n != 1 || !strings.Contains(text.String(), filepath.Join(here, "testing")) {
		t.Errorf("%s", text.String())
	}
	s = quiet(t)
	s.log = log
	if s.chooseDirs(); len(s.o.configDirs) != 1 || !filepath.IsAbs(s.o.configDirs[0]) {
		t.Errorf("the default is %v", s.o.configDirs)
	}
}

// TestSyslogPath: a machine serves /dev/log unless the variable says no.
func TestSyslogPath(t *testing.T) {
	for _, c := range []struct {
		flag, variable string
		machine        bool
		want           string
	}{
		{"", "", false, ""}, {"/x", "", false, "/x"}, {"", "", true, "/dev/log"}, {"/x", "", true, "/x"}, {"/x", "0", true, ""}, {"", "0", true, ""},
		{"", "1", true, "/dev/log"},
	} {
		s := quiet(t)
		s.o.syslog = c.flag
		t.Setenv("ZINIT_SYSLOG", c.variable)
		if c.machine {
			s.keeper, s.handover = &keeper.Client{}, &keeper.Handover{Mode: keeper.Machine}
		}
		if got := s.syslogPath(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestOptionsOfAKeeper: what a handover says reaches the supervisor.
func TestOptionsOfAKeeper(t *testing.T) {
	t.Setenv(keeper.EnvKillAfter, "1500")
	s := quiet(t, "--config", t.TempDir(), "--target", "mine")
	if opt := s.options(); opt.About.Mode != "server" || opt.About.Starts != 1 || opt.Files.Only != "mine" || opt.Files.System || opt.KillAfter != 0 {
		t.Errorf("alone: %+v, %+v", opt.About, opt.Files)
	}
	s.keeper = &keeper.Client{}
	s.handover = &keeper.Handover{Mode: keeper.Machine, Starts: 3, LastCrash: "SIGSEGV", RolledBack: "no", StartedAt: 9, Target: "kernel"}
	opt := s.options()
	if a := opt.About; a.Mode != "machine" || a.Starts != 3 || a.LastCrash != "SIGSEGV" || a.RolledBack != "no" || a.KeeperStartNS != 9 {
		t.Errorf("%+v", a)
	}
	if opt.Files.Only != "kernel" || !opt.Files.System || opt.KillAfter != 1500*time.Millisecond || opt.Syslog != "/dev/log" {
		t.Errorf("%+v, %v", opt.Files, opt.KillAfter)
	}
	t.Setenv(keeper.EnvKillAfter, "-1")
	s.handover.Mode, s.handover.Target = keeper.Container, ""
	if opt := s.options(); opt.KillAfter != 0 || opt.Files.System || opt.Files.Only != "mine" || opt.Syslog != "" {
		t.Errorf("in a container: %+v, %v", opt.Files, opt.KillAfter)
	}
}

// TestTakeJournal: the one of the server before, or a new one; what is lost is told and noted.
func TestTakeJournal(t *testing.T) {
	memfd := func(text string) int {
		fd, err := unix.MemfdCreate("j", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	j, err := journal.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	sound, err := unix.FcntlInt(uintptr(j.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		handover *keeper.Handover
		lost     bool
	}{
		"a fresh start":                 {nil, false},
		"none was stored":               {&keeper.Handover{Journal: -1}, false},
		"none, and processes are there": {&keeper.Handover{Journal: -1, Tracked: map[int]uint64{5: 6}}, true},
		"a damaged one":                 {&keeper.Handover{Journal: memfd("nonsense")}, true},
		"a sound one":                   {&keeper.Handover{Journal: sound}, false},
	} {
		s := quiet(t)
		s.handover = c.handover
		opt := s.options()
		s.takeJournal(opt)
		if opt.Loop.Journal == nil || opt.StateLost != c.lost || opt.Loop.Restored != nil {
			t.Errorf("%s: lost %v, restored %v", what, opt.StateLost, opt.Loop.Restored)
		}
		if opt.Loop.Journal != nil {
			_ = opt.Loop.Journal.Close()
		}
	}
}

// TestOpenArena: the rings of the server before, or new ones.
func TestOpenArena(t *testing.T) {
	s := quiet(t, "--config", t.TempDir())
	if err := s.openLog(); err != nil {
		t.Fatal(err)
	}
	s.loadSettings()
	s.handover = &keeper.Handover{Arena: -1}
	if err := s.openArena(); err != nil {
		t.Fatal(err)
	}
	s.arena.Ring("web", logring.Limits{}).Append(line("kept"))
	for what, arena := range map[string]func() int{
		"sound": func() int { fd, _ := unix.FcntlInt(uintptr(s.arena.FD()), unix.F_DUPFD_CLOEXEC, 0); return fd },
		"none":  func() int { fd, _ := unix.MemfdCreate("x", unix.MFD_CLOEXEC); return fd },
	} {
		next := quiet(t, "--config", t.TempDir())
		if err := next.openLog(); err != nil {
			t.Fatal(err)
		}
		next.log = slog.New(slog.DiscardHandler)
		next.loadSettings()
		next.handover = &keeper.Handover{Arena: arena()}
		if err := next.openArena(); err != nil {
			t.Fatal(err)
		}
		if (next.arena.Find("web") != nil) != (what == "sound") {
			t.Errorf("%s: rings %v", what, next.arena.Names())
		}
	}
}

// TestInherit refuses a keeper that is none.
func TestInherit(t *testing.T) {
	s := quiet(t)
	if err := s.inherit(); err != nil || s.handover != nil {
		t.Errorf("a fresh start: %v", err)
	}
	for text, want := range map[string]string{"x": supervisor.KeeperEnv + "=x is no descriptor", "999": "cannot reach the keeper"} {
		t.Setenv(supervisor.KeeperEnv, text)
		if err := s.inherit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
		if os.Getenv(supervisor.KeeperEnv) != "" {
			t.Error("services would see it")
		}
	}
	ours, theirs, err := keeper.Pair()
	if err != nil {
		t.Fatal(err)
	}
	store := keeper.NewStore()
	store.Attach(ours)
	defer store.Detach()
	t.Setenv(supervisor.KeeperEnv, strconv.Itoa(theirs))
	done := make(chan error)
	go func() { done <- s.inherit() }()
	wait.For(t, "the hello", func() bool {
		_, _, _ = store.Read()
		_, _ = store.Write()
		return store.Greeted()
	})
	if err := <-done; err != nil || s.keeper == nil || s.handover == nil || s.handover.Listener != -1 {
		t.Errorf("%v, %+v", err, s.handover)
	}
}

// TestNotifyAbove says nothing where nobody asked, or where the path means nothing.
func TestNotifyAbove(t *testing.T) {
	name := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(here, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", relative, "@zinit-test-nobody", name} {
		t.Setenv("NOTIFY_SOCKET", path)
		notifyAbove("FROM=" + path)
	}
	buf := make([]byte, 200)
	_ = c.SetReadDeadline(time.Now().Add(wait.Patience))
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "FROM="+name {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// TestStdoutCopyEnds with everything written, and is not begun where nobody wants it.
func TestStdoutCopyEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = was }()
	s := quiet(t, "--config", t.TempDir(), "--log-stdout=prefix")
	s.loadSettings()
	s.arena = testArena(t)
	finish := s.copyToStdout()
	s.arena.Ring("web", logring.Limits{}).Append(line("hello"))
	finish()
	s.o.logStdout = stdoutOff
	off := s.copyToStdout()
	s.arena.Ring("web", logring.Limits{}).Append(line("not copied"))
	off()
	_ = w.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "web | hello\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestStdoutOfAClosedReader ends the copy, and holds up nobody.
func TestStdoutOfAClosedReader(t *testing.T) {
	a := testArena(t)
	f := a.Follow(nil, map[string]uint64{"web": 1})
	a.Ring("web", logring.Limits{}).Append(line("x"))
	ended := make(chan struct{})
	go func() {
		newStdoutCopy(a, brokenWriter{}, "plain", "auto").run(f, nil)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(wait.Patience):
		t.Error("it goes on")
	}
	if from := copiedBefore(a); len(from) != 0 {
		t.Errorf("marked as copied: %v", from)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestStdoutTellsWhatIsLost, as text, ending a line that was begun.
func TestStdoutTellsWhatIsLost(t *testing.T) {
	a := testArena(t)
	got := copied(t, "plain", a, func() {
		begun := line("begun")
		begun.Continued = true
		a.Ring("aa", logring.Limits{}).Append(begun)
		few := a.Ring("few", logring.Limits{Lines: 2, Bytes: 4 << 10})
		for _, text := range []string{"1", "2", "3"} {
			few.Append(line(text))
		}
	})
	if want := "begun\nfew | [1 line lost: the reader of stdout was too slow]\n2\n3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestInHandler: nothing is blocked while nobody handles a signal.
func TestInHandler(t *testing.T) {
	if inHandler() {
		t.Error("a thread runs a handler")
	}
}

// TestStatesOfConnections keeps what was read and not answered.
func TestStatesOfConnections(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := unix.Dup(descriptor(w))
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	states := statesOf([]supervisor.Connection{{FD: fd, Pending: []byte("half a req")}})
	if len(states) != 1 || descriptor(states[0].File) != fd || string(states[0].Pending) != "half a req" {
		t.Errorf("%+v", states)
	}
	_ = states[0].File.Close()
}
