package pid1

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/internal/elf"
	"github.com/zinit/zinit/supervisor/keeper"
)

const (
	// stateEnv names the descriptor with the state of the image before.
	stateEnv = "ZINIT_PID1_STATE"
	// checkFlag asks an executable whether it is a zinit-pid1 that can take over the state on descriptor 3.
	checkFlag   = "--check-state"
	checkAnswer = "zinit-pid1 takes over\n"
	checkLimit  = 10 * second
)

// reexec is a self test under way.
type reexec struct {
	pid  int // 0 = none
	exe  int // the new executable
	path string
	out  int // what it answers
}

// checkNewSelf starts the executable that stands where ours came from, to see whether it can take over.
func (s *shim) checkNewSelf() {
	if s.reexec.pid > 0 {
		return
	}
	path := s.server.selfPath
	exe, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = elf.Whole(exe); err != nil {
			closeFD(exe)
		}
	}
	if err != nil {
		s.con.warn("cannot execute ", path, ": ", err.Error(), "; going on as before")
		return
	}
	s.reexec = reexec{exe: exe, path: path, out: -1}
	if err := s.spawnCheck(); err != nil {
		s.con.warn("cannot execute ", path, ": ", err.Error(), "; going on as before")
		s.dropCheck()
	}
}

func (s *shim) spawnCheck() error {
	state, err := s.saveState()
	if err != nil {
		return err
	}
	defer closeFD(state)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	defer closeFD(pipe[1])
	s.reexec.out = pipe[0]
	s.reexec.pid, err = s.spawn(child{exe: s.reexec.exe, path: s.reexec.path, argv: []string{"zinit-pid1", checkFlag},
		env: environ(stateEnv), files: []uintptr{0, uintptr(pipe[1]), 2, uintptr(state)}})
	if err == nil {
		s.arm(timerReexec, checkLimit)
	}
	return err
}

func (s *shim) reexecTooLong() {
	if s.reexec.pid > 0 {
		_ = unix.Kill(s.reexec.pid, unix.SIGKILL)
	}
}

// checkedNewSelf executes the new image when it gave the right answer.
func (s *shim) checkedNewSelf(ws unix.WaitStatus) {
	s.disarm(timerReexec)
	buf := make([]byte, 64)
	n, _ := unix.Read(s.reexec.out, buf)
	path := s.reexec.path
	if !ws.Exited() || ws.ExitStatus() != 0 || string(buf[:max(n, 0)]) != checkAnswer {
		s.con.warn(path, " is no zinit that can take over (", statusText(ws), "); going on as before")
		s.dropCheck()
		return
	}
	exe := s.reexec.exe
	s.reexec.exe, s.reexec.pid = -1, 0
	s.dropCheck()
	s.con.info("executing ", path)
	s.execute(exe, path)
	closeFD(exe)
}

func (s *shim) dropCheck() {
	closeFD(s.reexec.out)
	closeFD(s.reexec.exe)
	s.reexec = reexec{out: -1, exe: -1}
}

// checkState is the self test's other side: read the state, touch nothing.
func checkState() int {
	if _, ok := loadState(3); !ok {
		return 1
	}
	console{fd: 1}.writeAll(checkAnswer)
	return 0
}

func (c console) writeAll(text string) { c.write([]byte(text)) }

// execute replaces this image by another, which takes over everything. It returns when that could not be done.
func (s *shim) execute(exe int, path string) {
	kept := append(s.descriptors(), exe, early.Page())
	for _, fd := range kept {
		setCloexec(fd, false)
	}
	early.Block(s.holdSignals())
	self, selfPath := s.server.self, s.server.selfPath
	s.server.self, s.server.selfPath = exe, path // as the next image has them
	state, err := s.saveState()
	s.server.self, s.server.selfPath = self, selfPath
	if err == nil {
		setCloexec(state, false)
		err = execFile(exe, path, os.Args, append(environ(stateEnv), stateEnv+"="+itoa(state)))
		closeFD(state)
	}
	early.Unblock()
	for _, fd := range kept {
		setCloexec(fd, true)
	}
	s.con.warn("cannot execute ", path, ": ", err.Error())
}

// execFile executes an open file, by its descriptor also where there is no /proc; -1 means the path.
func execFile(exe int, path string, argv, env []string) error {
	if exe < 0 || exists("/proc/self/fd/"+itoa(exe)) {
		return syscall.Exec(execPath(exe, path), argv, env)
	}
	none, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	vars, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(exe), uintptr(unsafe.Pointer(none)),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&vars[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// holdSignals starts the process that keeps signals away during the execution. Where that is not possible a few
// milliseconds are left in which some of them are lost (see package early).
func (s *shim) holdSignals() (held bool) {
	defer func() { _ = recover() }() // this may run because of a panic
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(pair[0])
	pid, err := s.spawn(child{exe: s.server.self, path: s.server.selfPath, argv: []string{early.Holder}, env: environ(stateEnv),
		files: []uintptr{0, 1, 2, uintptr(pair[1])}})
	closeFD(pair[1])
	if err != nil {
		return false
	}
	s.holder = pid
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(pid), 0, 0, 0) // EINVAL where nothing restricts tracing
	_, _ = unix.Write(pair[0], []byte("go"))
	set := []unix.PollFd{{Fd: int32(pair[0]), Events: unix.POLLIN}}
	for end := monotonic() + holdWait; monotonic() < end; {
		if n, err := unix.Poll(set, int(holdWait/millisecond)); n > 0 || err != nil && err != unix.EINTR {
			break
		}
	}
	word := make([]byte, 1)
	n, _, _ := unix.Recvfrom(pair[0], word, unix.MSG_DONTWAIT)
	if held = n == 1 && word[0] == 'y'; !held {
		_ = unix.Kill(pid, unix.SIGKILL) // it must not begin when nobody will release it
	}
	return held
}

// holdWait is how long the holder may take to begin.
const holdWait = 2 * second

func setCloexec(fd int, on bool) {
	if fd < 0 {
		return
	}
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags)
}

// descriptors are those that the next image needs.
func (s *shim) descriptors() []int {
	fds := append(s.store.Descriptors(), s.server.exe, s.upgrade.exe)
	for fd := range s.main.listen {
		fds = append(fds, listenFirst+fd)
	}
	return fds
}

// resume takes over from the image before, if there is one.
func (s *shim) resume() bool {
	text := os.Getenv(stateEnv)
	if text == "" {
		return false
	}
	_ = os.Unsetenv(stateEnv)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return false
	}
	loaded, ok := loadState(fd)
	closeFD(fd)
	if !ok {
		s.con.warn("the state of the image before cannot be read")
		return false
	}
	*s = *loaded
	early.Adopt(s.counted)
	for _, fd := range s.descriptors() {
		setCloexec(fd, true)
	}
	s.server.goOn()
	if s.mode == keeper.Machine {
		quiet := s.con.quiet
		s.con = openConsole()
		s.con.quiet = quiet
	}
	s.con.warn("goes on, executed again from ", s.server.selfPath)
	return true
}
