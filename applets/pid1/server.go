package pid1

import (
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
)

// server is what pid1 knows of the server that it keeps running.
type server struct {
	pid       int    // 0 = none
	self      int    // pid1's own executable, -1 = could not be opened
	selfPath  string // its path
	exe       int    // what is started as the server, -1 = path
	path      string
	starts    int
	spawnedAt int64 // CLOCK_BOOTTIME
	settled   bool  // the present one serves
	greeted   bool  // some server has said hello: there can be services
	ever      bool  // some server has served
	streak    int   // deaths in a row that did not get as far as serving
	bye       keeper.Reason
	byeCode   int
	crash     string // how the last one ended
	rollback  string // why an upgrade was taken back
	bad       int    // malformed messages
}

// upgrade is the executable to go back to while a new one has not proved itself.
type upgrade struct {
	exe     int // -1 = no upgrade under way
	path    string
	deaths  int
	greeted bool // the new one has said hello
	fresh   bool // and not yet settled
}

// openSelf finds the own executable, which is the first server too: by /proc, else by the path that the kernel was asked to
// execute. Never by a usual name, which may be another init's.
func (v *server) openSelf() {
	v.self, v.exe = -1, -1
	from := "/proc/self/exe"
	buf := make([]byte, 4096)
	if n, err := unix.Readlink(from, buf); err == nil {
		v.selfPath = strings.TrimSuffix(string(buf[:n]), " (deleted)")
	} else {
		from = executedFrom()
		v.selfPath = from
	}
	if fd, err := unix.Open(from, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		v.self = fd
		if v.exe, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			v.exe = -1
		}
	}
	v.path = v.selfPath
}

// goOn finds the own executable again after an execution, and keeps what is started as the server. Without /proc the
// image before has left it open: the kernel only tells that a descriptor was executed.
func (v *server) goOn() {
	before := *v
	v.openSelf()
	closeFD(v.exe)
	v.exe, v.path = before.exe, before.path
	if v.self < 0 && before.self >= 0 {
		v.self, v.selfPath = before.self, before.selfPath
		setCloexec(v.self, true)
		return
	}
	closeFD(before.self)
}

// executedFrom is the path that this image was executed by, made absolute (AT_EXECFN of getauxval(3)).
func executedFrom() string {
	const execFn = 31
	vector, err := unix.Auxv()
	if err != nil {
		return ""
	}
	for _, entry := range vector {
		if entry[0] != execFn {
			continue
		}
		path := unix.BytePtrToString((*byte)(unsafe.Add(unsafe.Pointer(nil), entry[1])))
		if wd, err := unix.Getwd(); err == nil && !strings.HasPrefix(path, "/") {
			path = wd + "/" + path
		}
		return path
	}
	return ""
}

// about is what the next handover tells.
func (s *shim) about() keeper.About {
	a := keeper.About{Mode: s.mode, Starts: s.server.starts, StartedAt: s.started, SpawnedAt: s.server.spawnedAt,
		Target: s.target, LastCrash: s.server.crash, RolledBack: s.server.rollback, Executable: s.server.path,
		UpgradeDone: s.upgrade.fresh}
	if s.stop.phase == phaseStop {
		a.Order = orderOf(s.stop.action)
	}
	return a
}

// startServer starts one and gives it its end of a new connection.
func (s *shim) startServer() {
	if s.server.pid > 0 || s.stop.phase > phaseStop {
		return
	}
	s.disarm(timerRespawn)
	s.server.starts++
	s.server.spawnedAt = boottime()
	s.server.settled, s.server.bye, s.server.byeCode = false, keeper.ByeNone, 0
	pid, err := s.spawnServer()
	if err != nil {
		s.serverFailed("cannot start the server "+s.server.path+": "+err.Error(), false, 1)
		return
	}
	s.server.pid = pid
	s.arm(timerTrim, trimAfter)
}

func (s *shim) spawnServer() (int, error) {
	ours, theirs, err := keeper.Pair()
	if err != nil {
		return 0, err
	}
	defer closeFD(theirs)
	pid, err := s.spawn(child{
		exe: s.server.exe, path: s.server.path,
		argv:  append([]string{"zinit-server"}, s.flags...),
		env:   s.serverEnv(),
		files: []uintptr{0, 1, 2, uintptr(theirs)},
		sys:   &syscall.SysProcAttr{Setsid: true},
		oom:   s.serverOOM(),
	})
	if err != nil {
		closeFD(ours)
		return 0, err
	}
	s.store.Attach(ours)
	s.polled = -1
	return pid, nil
}

// serverOOM is the oom_score_adj of the server, "" = the one that pid1 found, which an administrator has set. As process 1,
// of which there is no administrator's, the server is the last to go but one.
func (s *shim) serverOOM() string {
	if s.mode != keeper.Plain && s.oom == "0" {
		return "-900"
	}
	return ""
}

// serverEnv is the environment of the server: how to reach us, and when it must kill what is left of a stop.
func (s *shim) serverEnv() []string {
	env := append(environ(keeper.EnvFD, keeper.EnvKillAfter, stateEnv), keeper.EnvFD+"=3")
	if s.bounded() {
		env = append(env, keeper.EnvKillAfter+"="+itoa(int(s.killAfter()/millisecond)))
	}
	return env
}

// serverDied takes the end of the server: a goodbye, an upgrade, or a crash.
func (s *shim) serverDied(status unix.WaitStatus) {
	s.drain()
	s.store.Detach()
	s.server.pid = 0
	bye, code := s.server.bye, s.server.byeCode
	switch {
	case s.stop.phase > phaseStop:
		// Its time was over.
	case bye == keeper.ByeUpgrade:
		s.arm(timerRespawn, 0)
	case bye == keeper.ByeRefused:
		s.server.bye = keeper.ByeNone
		s.serverRefused(code)
	case bye != keeper.ByeNone:
		s.serverStopped(actOf(bye, s.mode, s.stop.action), code)
	default:
		s.serverFailed("the server ended: "+statusText(status), status.Signaled() && status.Signal() == unix.SIGKILL, exitCode(status))
	}
}

// serverFailed counts a death and decides about the next start.
func (s *shim) serverFailed(why string, killed bool, code int) {
	if s.server.settled {
		s.server.streak = 0
	}
	s.server.streak++
	s.server.crash = strings.TrimPrefix(why, "the server ended: ")
	s.con.warn(why)
	s.countUpgradeDeath()
	if s.stop.phase == phaseStop {
		s.crashWhileStopping()
		return
	}
	hopeless := s.mode != keeper.Machine && !s.server.ever && !killed && s.server.streak >= shellAfter && !s.mainExpected()
	if hopeless {
		s.con.warn("giving up: the server never came up")
		s.end(code)
		return
	}
	if s.server.streak == shellAfter && !killed {
		s.releaseMain("the server does not stay up")
		s.openShell("", "the server does not stay up: "+s.server.crash)
	}
	s.arm(timerRespawn, retryDelay(s.server.streak, killed))
}

// serverRefused is for a server that cannot work and says so: a container ends, a machine tries again, slowly.
func (s *shim) serverRefused(code int) {
	s.countUpgradeDeath()
	if s.stop.phase == phaseStop {
		s.afterServer()
		return
	}
	if s.mode != keeper.Machine && !s.mainExpected() {
		s.end(code)
		return
	}
	s.releaseMain("the server cannot start")
	s.server.streak = max(s.server.streak+1, shellAfter)
	if s.server.streak == shellAfter {
		s.openShell("", "the server cannot start")
	}
	s.arm(timerRespawn, longRetry)
}

// startUpgrade takes over a new executable and keeps the present one until it has proved itself. fd -1 takes the upgrade
// back: the server could not execute it.
func (s *shim) startUpgrade(fd int, path string) {
	if fd < 0 {
		if s.upgrade.exe >= 0 {
			s.goBack()
		}
		return
	}
	if s.upgrade.exe >= 0 {
		closeFD(s.server.exe)
	} else {
		s.upgrade.exe, s.upgrade.path = s.server.exe, s.server.path
	}
	s.upgrade.deaths, s.upgrade.greeted, s.upgrade.fresh = 0, false, true
	s.server.exe, s.server.path, s.server.rollback = fd, path, ""
	s.arm(timerUpgrade, upgradeWindow)
}

// upgradeDone ends the time that a new executable had to prove itself.
func (s *shim) upgradeDone() {
	if s.upgrade.exe < 0 {
		return
	}
	if !s.upgrade.greeted {
		s.rollBack("did not come up within " + seconds(upgradeWindow))
		if s.server.pid > 0 {
			_ = unix.Kill(s.server.pid, unix.SIGKILL)
		}
		return
	}
	closeFD(s.upgrade.exe)
	s.upgrade = upgrade{exe: -1}
}

func (s *shim) countUpgradeDeath() {
	if s.upgrade.exe < 0 {
		return
	}
	if s.upgrade.deaths++; s.upgrade.deaths >= upgradeDeaths {
		s.rollBack("died " + itoa(upgradeDeaths) + " times within " + seconds(upgradeWindow) + " (" + s.server.crash + ")")
	}
}

// rollBack goes back to the executable that ran before, and says so.
func (s *shim) rollBack(why string) {
	s.server.rollback = s.server.path + " " + why
	s.con.warn("upgrade taken back: ", s.server.rollback, "; running ", s.upgrade.path)
	s.goBack()
	s.server.streak = 0
}

func (s *shim) goBack() {
	closeFD(s.server.exe)
	s.server.exe, s.server.path = s.upgrade.exe, s.upgrade.path
	s.upgrade = upgrade{exe: -1}
	s.disarm(timerUpgrade)
}

// listen takes what the server says, a bounded number of messages at a time.
func (s *shim) listen() {
	s.store.About(s.about())
	s.trimLater()
	for range 256 {
		n, ok, err := s.store.Read()
		if err != nil {
			s.store.Detach()
			return
		}
		if !ok {
			return
		}
		s.notice(n)
	}
}

// drain takes all that a dead server has said.
func (s *shim) drain() {
	for s.store.FD() >= 0 {
		n, ok, err := s.store.Read()
		if err != nil || !ok {
			return
		}
		s.notice(n)
	}
}

func (s *shim) notice(n keeper.Notice) {
	switch n.Kind {
	case keeper.NoticeHello:
		s.server.greeted, s.upgrade.greeted = true, true
	case keeper.NoticeSettled:
		s.server.settled, s.server.ever, s.upgrade.fresh, s.panics = true, true, false, 0
	case keeper.NoticeBye:
		s.goodbye(n.Reason, n.Code)
	case keeper.NoticeBooted:
		s.releaseMain("")
	case keeper.NoticeBudget:
		s.stop.longest = n.Budget
	case keeper.NoticeUpgrade:
		s.startUpgrade(n.FD, n.Text)
	case keeper.NoticeEmergency:
		s.openShell(n.Name, n.Text)
	case keeper.NoticeBad:
		if s.server.bad++; s.server.bad == 1 || s.server.bad%1000 == 0 {
			s.con.warn("malformed messages from the server: ", itoa(s.server.bad))
		}
	}
	s.store.About(s.about())
}

// goodbye notes why the server is about to end; what follows waits for its end.
func (s *shim) goodbye(r keeper.Reason, code int) {
	s.server.bye, s.server.byeCode = r, code
	if r == keeper.ByeUpgrade || r == keeper.ByeRefused {
		return
	}
	if s.stop.phase == phaseRun {
		s.beginStop(actOf(r, s.mode, actNone))
	}
	if at := monotonic() + byeGrace; s.timers[timerDeadline] == 0 || at < s.timers[timerDeadline] {
		s.timers[timerDeadline] = at
	}
}

// byeGrace is how long a server may take to end after its goodbye.
const byeGrace = 5 * second

// statusText is how a process ended, for people.
func statusText(ws unix.WaitStatus) string {
	if ws.Signaled() {
		text := "signal " + unix.SignalName(ws.Signal())
		if ws.CoreDump() {
			text += ", core dumped"
		}
		return text
	}
	return "exit status " + itoa(ws.ExitStatus())
}

// exitCode is what a shell makes of a status.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
