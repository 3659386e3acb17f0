package pid1

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/keeper"
)

// timer names what the loop wakes for.
type timer uint8

const (
	timerRespawn  timer = iota // start the server
	timerUpgrade               // the new executable has proved itself
	timerReexec                // the self test of a new pid1 takes too long
	timerKill                  // bounded: what is left is killed now
	timerDeadline              // the ordered stop is given up
	timerSweep                 // look again for what is left
	timerFinal                 // the disks do not come to an end
	timerTrim                  // the memory of the start is given back
	timerMain                  // the command waits for the services no longer
	nTimers
)

// phase is how far a stop is.
type phase uint8

const (
	phaseRun   phase = iota
	phaseStop        // the server stops the services
	phaseTerm        // what is left got TERM
	phaseKill        // and KILL
	phaseFinal       // machine: the disks
	phaseDone        // container: exit now
)

// shim is all of process 1. One goroutine owns it.
type shim struct {
	mode    keeper.Mode
	opt     options
	flags   []string // of the server
	target  string
	con     console
	store   *keeper.Store
	poll    int
	polled  int // the store's descriptor in poll, -1 = none
	writes  bool
	started int64 // CLOCK_BOOTTIME
	timers  [nTimers]int64
	oom     string // oom_score_adj that children get, "" = unknown

	server  server
	upgrade upgrade
	main    mainCommand
	shell   shell
	reexec  reexec
	stop    stopping
	panics  int
	trimmed int // pipes that were held at the last trim
	holder  int // keeps signals away during an execution, see early.Holder
	counted int // the page with the signals that the image before had not carried out, see early.Adopt
	page    int // the own one, while the state is written
}

// Main is the PID 1 applet. argv[0] is its name. It returns the exit status, on a machine never.
func Main(argv []string) int {
	if len(argv) == 2 && argv[1] == checkFlag {
		return checkState()
	}
	early.Listen()
	startPoller()
	prepare()
	s := newShim()
	if !s.resume() {
		if status, ok := s.guardedBegin(argv); !ok {
			return status
		}
	}
	s.arm(timerTrim, trimAfter)
	for {
		if status, ended := s.guarded(); ended {
			return status
		}
	}
}

func newShim() *shim {
	s := &shim{store: keeper.NewStore(), poll: -1, polled: -1, con: console{fd: 2}}
	s.server.self, s.server.exe, s.upgrade.exe, s.reexec.out, s.reexec.exe = -1, -1, -1, -1, -1
	return s
}

// guardedBegin survives a panic of the preparations: the server is started all the same.
func (s *shim) guardedBegin(argv []string) (status int, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			s.con.warn("internal error: ", panicText(r))
			s.arm(timerRespawn, 0)
			ok = true
		}
	}()
	return s.begin(argv)
}

// begin decides the mode and prepares a first start. ok is false when there is nothing to run.
func (s *shim) begin(argv []string) (status int, ok bool) {
	var unknown []string
	s.opt, unknown = parseOptions(argv[min(1, len(argv)):])
	s.started = boottime()
	s.mode = decideMode(look(), s.opt.container)
	if s.mode != keeper.Machine {
		if s.opt.help {
			s.con.write([]byte(usage))
			return 0, false
		}
		if len(unknown) > 0 {
			s.con.warn("unknown argument ", unknown[0], "; see: zinit pid1 --help")
			return 2, false
		}
	}
	s.flags = s.opt.server
	rescue := false
	switch s.mode {
	case keeper.Machine:
		words := bootMachine(&s.con)
		s.flags, s.target, rescue = words.serverFlags(s.opt.server), words.target, words.rescue
		if s.opt.shutdownMS == 0 {
			s.opt.shutdownMS = words.shutdownMS
		}
	case keeper.Container:
		if !exists("/run") {
			mountAll([]mount{{"/run", "tmpfs", "mode=0755", nosuid | nodev, 0o755}})
		}
	case keeper.Plain:
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	s.server.openSelf()
	s.protect()
	s.startAll(rescue)
	return 0, true
}

// startAll starts what pid1 runs: first a rescue shell when the kernel command line asks for it, then the rest.
func (s *shim) startAll(rescue bool) {
	if rescue && s.openShell("", "rescue: the services start when this shell ends") {
		s.shell.first = true
		return
	}
	if len(s.opt.command) > 0 {
		s.prepareMain()
	}
	if s.mode == keeper.Machine {
		s.checkConfig()
	}
	if s.stop.phase == phaseRun {
		s.arm(timerRespawn, 0)
	}
}

// checkConfig opens a shell on a machine that has nothing to run: nobody could log in to repair it.
func (s *shim) checkConfig() {
	dirs := configDirs(s.flags)
	if !slices.ContainsFunc(dirs, exists) {
		s.openShell("", "no configuration: "+dirs[0]+" does not exist")
	}
}

// configDirs are the directories that the server will read.
func configDirs(flags []string) (dirs []string) {
	for i, f := range flags {
		name, value, has := strings.Cut(f, "=")
		if name != "--config" && name != "--config-dir" {
			continue
		}
		if !has && i+1 < len(flags) {
			value = flags[i+1]
		}
		dirs = append(dirs, value)
	}
	if text := os.Getenv("ZINIT_CONFIG_DIR"); len(dirs) == 0 && text != "" {
		dirs = strings.Split(text, ":")
	}
	if len(dirs) == 0 {
		dirs = []string{"/etc/zinit"}
	}
	return dirs
}

// protect keeps the kernel's out-of-memory killer away from pid1; children get back what was.
func (s *shim) protect() {
	s.oom = oneLine(readFile("/proc/self/oom_score_adj", 16))
	if s.oom != "" && !writeFile("/proc/self/oom_score_adj", "-1000") {
		s.oom = ""
	}
}

func oneLine(s string) string {
	for len(s) > 0 && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}

// prepare makes the threads that the runtime may ask for, since creating one fails for good when no pid is free, and
// keeps the heap small.
func prepare() {
	runtime.LockOSThread()
	early.Open()
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
	const threads = 4
	ready, leave := make(chan bool), make(chan bool)
	for range threads {
		go func() {
			runtime.LockOSThread()
			ready <- true
			<-leave
			runtime.UnlockOSThread()
		}()
	}
	for range threads {
		<-ready
	}
	close(leave)
}

// guarded runs the loop until it ends or panics; a panic makes pid1 execute itself anew, with everything it holds.
func (s *shim) guarded() (status int, ended bool) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(r)
		}
	}()
	return s.loop(), true
}

func panicText(r any) string {
	switch v := r.(type) {
	case error:
		return v.Error()
	case string:
		return v
	}
	return "unknown"
}

func (s *shim) panicked(r any) {
	s.panics++
	s.con.warn("internal error, executing itself anew: ", panicText(r))
	if s.panics > 3 {
		// It does not help: at least do not spin.
		_, _ = unix.Poll(nil, 1000)
	}
	s.execute(s.server.self, s.server.selfPath)
	s.closePoll()
}

// loop waits for signals, messages and deadlines until the process is to end.
func (s *shim) loop() int {
	for s.stop.phase != phaseDone {
		s.watch()
		s.wait()
		s.signals()
		s.reap()
		s.listen()
		s.expire(monotonic())
		s.disksEnd()
	}
	return s.stop.status
}

// closePoll forgets the epoll set, so that the next watch builds it anew.
func (s *shim) closePoll() {
	closeFD(s.poll)
	s.poll, s.polled = -1, -1
}

// watch makes sure that the epoll set has the bell and the present server.
func (s *shim) watch() {
	if s.poll < 0 {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return
		}
		s.poll, s.polled = fd, -1
		if bell := early.Bell(); bell >= 0 {
			_ = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(bell)})
		}
	}
	blocked, err := s.store.Write()
	if err != nil {
		s.store.Detach()
	}
	fd := s.store.FD()
	if fd == s.polled && blocked == s.writes {
		return
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if blocked {
		ev.Events |= unix.EPOLLOUT
	}
	if fd >= 0 {
		err := unix.EpollCtl(s.poll, unix.EPOLL_CTL_MOD, fd, &ev)
		if err == unix.ENOENT {
			err = unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, fd, &ev)
		}
		if err != nil {
			return // polled again after the next event, at the latest in a second: see wait
		}
	}
	s.polled, s.writes = fd, blocked
}

// wait sleeps until something happens.
func (s *shim) wait() {
	timeout := int64(-1)
	now := monotonic()
	for _, at := range s.timers {
		if at != 0 && (timeout < 0 || at-now < timeout) {
			timeout = max(at-now, 0)
		}
	}
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+millisecond-1)/millisecond, 3600_000))
	}
	if s.poll < 0 || early.Bell() < 0 || s.polled != s.store.FD() {
		// Something that we wait for could not be made or watched, for want of memory: look now and then.
		if ms < 0 || ms > 100 {
			ms = 100
		}
	}
	if s.poll < 0 {
		_, _ = unix.Poll(nil, ms)
		return
	}
	var events [4]unix.EpollEvent
	n, _ := unix.EpollWait(s.poll, events[:], ms)
	for _, ev := range events[:max(n, 0)] {
		if bell := early.Bell(); int(ev.Fd) == bell {
			var b [8]byte
			_, _ = unix.Read(bell, b[:])
		}
	}
}

// arm sets a timer, in nanoseconds from now.
func (s *shim) arm(t timer, in int64) { s.timers[t] = max(monotonic()+in, 1) }

func (s *shim) disarm(t timer) { s.timers[t] = 0 }

// expire runs the timers that are due.
func (s *shim) expire(now int64) {
	for t := range nTimers {
		if s.timers[t] == 0 || s.timers[t] > now {
			continue
		}
		s.timers[t] = 0
		switch t {
		case timerRespawn:
			s.startServer()
		case timerUpgrade:
			s.upgradeDone()
		case timerReexec:
			s.reexecTooLong()
		case timerKill:
			s.killNow()
		case timerDeadline:
			s.giveUpServer()
		case timerSweep:
			s.sweep()
		case timerFinal:
			s.finish()
		case timerTrim:
			s.trim()
		case timerMain:
			s.releaseMain("the services are not all up after " + seconds(s.patience()))
		}
	}
}

// signals takes what has arrived.
func (s *shim) signals() {
	came := false
	for n := 1; n < early.NSignals; n++ {
		times := early.Take(n)
		came = came || times > 0
		if n == int(unix.SIGCHLD) || early.Own(n) {
			continue
		}
		for range min(times, 16) {
			s.signal(n)
		}
	}
	if came {
		early.Open()
	}
}

// signal carries out one signal.
func (s *shim) signal(n int) {
	if faultSignal == n {
		s.fault()
	}
	if len(s.opt.command) > 0 {
		if s.main.pid > 0 {
			_ = unix.Kill(s.main.pid, unix.Signal(n))
			return
		}
	}
	table := containerSignals
	if s.mode == keeper.Machine {
		table = machineSignals
	}
	switch a := table[n]; a {
	case actNone:
	case actReload, actUpgrade:
		s.store.Ask(orderOf(a))
	case actReexec:
		s.checkNewSelf()
	default:
		if n == int(unix.SIGINT) && s.mode == keeper.Machine && s.stop.presses.press(monotonic()) {
			s.force()
			return
		}
		s.ask(a, n == int(unix.SIGQUIT))
	}
}

// ownTerminal tells whether standard input is the controlling terminal, which a main command is then given.
func ownTerminal() bool {
	_, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil
}

func environ(drop ...string) []string {
	var env []string
	path := false
outer:
	for _, e := range os.Environ() {
		for _, d := range drop {
			if len(e) > len(d) && e[:len(d)] == d && e[len(d)] == '=' {
				continue outer
			}
		}
		if len(e) > 5 && e[:5] == "PATH=" {
			path = true
		}
		env = append(env, e)
	}
	if !path {
		env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return env
}
