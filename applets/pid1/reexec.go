package pid1

import (
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
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
	s.execute(execPath(exe, path))
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
func (s *shim) execute(path string) {
	kept := append(s.descriptors(), early.Page())
	for _, fd := range kept {
		setCloexec(fd, false)
	}
	runtime.GOMAXPROCS(2) // signals are counted on while this goroutine is in the system call
	defer runtime.GOMAXPROCS(1)
	early.Block()
	state, err := s.saveState()
	if err == nil {
		setCloexec(state, false)
		err = syscall.Exec(path, os.Args, append(environ(stateEnv), stateEnv+"="+itoa(state)))
		closeFD(state)
	}
	early.Hush()
	for _, fd := range kept {
		setCloexec(fd, true)
	}
	s.con.warn("cannot execute ", path, ": ", err.Error())
}

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
	return append(s.store.Descriptors(), s.server.exe, s.upgrade.exe)
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
	exe := s.server.exe
	path := s.server.path
	s.server.openSelf(os.Args)
	closeFD(s.server.exe)
	s.server.exe, s.server.path = exe, path
	if s.mode == keeper.Machine {
		quiet := s.con.quiet
		s.con = openConsole()
		s.con.quiet = quiet
	}
	s.con.warn("goes on, executed again from ", s.server.selfPath)
	return true
}
