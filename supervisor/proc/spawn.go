package proc

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/mark"
)

// Spec is everything about a process to start.
type Spec struct {
	Plan
	Dir      string   // working directory, "" = the supervisor's own
	Env      []string // see Environ
	Files    []int    // the child's descriptors 0, 1, 2, …; -1 = closed
	Identity graph.Identity
	Cgroup   *Group // the child is born in it; nil = the supervisor's own
	// Pdeathsig makes the kernel send SIGKILL to the child when the thread that forked it ends, which happens before
	// the process ends when that thread was a short-lived one. So Start must then be called from a goroutine that is
	// locked to its thread (runtime.LockOSThread) and never ends. An execve by any other thread of the supervisor ends
	// the forking thread too: an upgrade in place must execute from the thread that forked (see Thread).
	Pdeathsig bool
	// Tty is a terminal that becomes descriptors 0, 1 and 2 and the controlling terminal, "" = none.
	Tty string
	// WatchdogPID puts the child's own pid into WATCHDOG_PID (sd_watchdog_enabled(3)).
	WatchdogPID bool
	// Tag marks the child and all its descendants, 0 = none; see Tag.
	Tag uint64
	// TrampolinePath is the executable whose main calls TrampolineMain when argv[0] is TrampolineName; "" means
	// /proc/self/exe.
	TrampolinePath string
}

// Start forks and executes, and returns when the exec has succeeded or failed. The child is the leader of a session and
// a process group of its own, has an empty signal mask, default dispositions and no descriptors but Files. It blocks
// for as long as the file system does, so it is called from a worker goroutine; several may run at once.
//
// When it fails no process is left: a child that never came to its program has been waited for already. A reaper that
// runs meanwhile sees such a child as a dead one with an unknown pid; it may reap it, too.
//
// A nil error does not prove that the program ran: a child that is killed before its exec looks the same.
func Start(s *Spec) (pid int, err *Error) {
	cred, err := ResolveIdentity(&s.Identity)
	if err != nil {
		return 0, err
	}
	s.touch()
	s.givePipes(cred)
	c := child{spec: s, cred: cred, files: s.Files}
	defer c.close()
	if err := c.openTty(); err != nil {
		return 0, err
	}
	if err := c.openCgroup(); err != nil {
		return 0, err
	}
	beginFork()
	defer endFork()
	if pid, err, done := c.startByClone(); done {
		return c.started(pid), err
	}
	pid, err = c.startByLibrary()
	if err == nil && c.refused {
		cloneRefused.Store(true) // no further start need try
	}
	return c.started(pid), err
}

// started notes a child where nothing else lists it.
func (c *child) started(pid int) int {
	if pid > 0 && !usable() {
		unlisted.add(pid)
	}
	return pid
}

// startByLibrary forks as every kernel allows.
func (c *child) startByLibrary() (pid int, err *Error) {
	s := c.spec
	if s.needsTrampoline() {
		pid, err = c.startByTrampoline()
	} else {
		pid, err = c.startDirectly()
	}
	if err == nil && s.Tag != 0 {
		mark.Seal(pid, s.place(), s.Tag)
	}
	return pid, err
}

// child is what Start holds while it works.
type child struct {
	spec    *Spec
	cred    *Credential
	files   []int
	tty     int  // descriptor, 0 = none
	cgroup  int  // descriptor of the folder, 0 = none
	refused bool // clone3 was
}

func (c *child) close() {
	if c.tty > 0 {
		unix.Close(c.tty)
	}
	if c.cgroup > 0 {
		unix.Close(c.cgroup)
	}
}

// startDirectly lets ForkExec do everything.
func (c *child) startDirectly() (int, *Error) {
	s := c.spec
	attr := c.attr(s.Env)
	attr.Dir = s.Dir
	attr.Sys.Credential = c.cred.native()
	pid, err := c.fork(s.Path, s.Argv, attr)
	if err == syscall.ENOEXEC && s.Script && looksLikeScript(inDir(s.Path, s.Dir)) {
		argv := append([]string{"sh", s.Path}, s.Argv[1:]...)
		pid, err = c.fork(shellPath, argv, attr)
	}
	if err != nil {
		return 0, s.explain(errnoOf(err), c.cred)
	}
	return pid, nil
}

// fork starts a program whose processes have the tag from birth.
func (c *child) fork(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	mark.Under(c.spec.place(), c.spec.Tag, func() { pid, err = syscall.ForkExec(path, argv, attr) })
	return pid, err
}

// attr is what both ways of starting have in common.
func (c *child) attr(env []string) *syscall.ProcAttr {
	files := make([]uintptr, len(c.files), len(c.files)+1)
	for i, fd := range c.files {
		files[i] = uintptr(fd) // -1 becomes the value that ForkExec takes as closed
	}
	sys := &syscall.SysProcAttr{Setsid: true}
	if c.tty > 0 {
		sys.Setctty, sys.Ctty = true, 0
	}
	if c.cgroup > 0 {
		sys.UseCgroupFD, sys.CgroupFD = true, c.cgroup
	}
	if c.spec.Pdeathsig && deathSignals() {
		sys.Pdeathsig = syscall.SIGKILL
	}
	return &syscall.ProcAttr{Env: env, Files: files, Sys: sys}
}

// touch looks at the directory and reads from the program before forking. From the fork to the exec ForkExec blocks its
// thread without the Go scheduler knowing, so a program on a dead network mount would hold up the whole supervisor at
// its next garbage collection; here it holds up only this goroutine. Failures are left for the exec to find.
func (s *Spec) touch() {
	var st unix.Stat_t
	if s.Dir != "" {
		_ = unix.Stat(s.Dir, &st)
	}
	path := inDir(s.Path, s.Dir)
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	var first [1]byte
	_, _ = unix.Pread(fd, first[:], 0)
	unix.Close(fd)
}

// givePipes makes the pipes that the child writes into its user's own, where the kernel allows it: else a program that
// opens /dev/stdout or /dev/stderr by name, as shells and log settings do, may not.
func (s *Spec) givePipes(cred *Credential) {
	if cred == nil {
		return
	}
	for _, fd := range s.Files {
		var st unix.Stat_t
		if fd >= 0 && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, cred.UID, cred.GID)
		}
	}
}

// openTty opens the terminal without waiting for a carrier and without making it the supervisor's own.
func (c *child) openTty() *Error {
	path := c.spec.Tty
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return failf(StepTTY, errnoOf(err), "cannot open the terminal %s: %v", path, err)
	}
	c.tty = fd
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return failf(StepTTY, errnoOf(err), "cannot use %s: it is no terminal", path)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return failf(StepTTY, errnoOf(err), "cannot use the terminal %s: %v", path, err)
	}
	c.files = append([]int{fd, fd, fd}, c.files[min(3, len(c.files)):]...)
	return nil
}

// openCgroup opens the folder for the child to be born in. Where the kernel cannot do that the trampoline joins it.
func (c *child) openCgroup() *Error {
	g := c.spec.Cgroup
	if g == nil || !g.cloneInto() {
		return nil
	}
	fd, err := unix.Open(g.Main(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failf(StepCgroup, errnoOf(err), "cannot open the control group %s: %v", g.Main(), err)
	}
	c.cgroup = fd
	return nil
}

// trampolinePath is the executable that holds the trampoline.
func (s *Spec) trampolinePath() string {
	if s.TrampolinePath != "" {
		return s.TrampolinePath
	}
	return "/proc/self/exe"
}

// Thread is a goroutine that is tied to one OS thread which lives as long as the process: the place to fork children with
// Pdeathsig from, and to execute a new version of the supervisor from without ending them.
type Thread struct{ work chan func() }

// NewThread starts one. It is never stopped.
func NewThread() *Thread {
	t := &Thread{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range t.work {
			f()
		}
	}()
	return t
}

// Do runs f on the thread and waits for it.
func (t *Thread) Do(f func()) {
	done := make(chan struct{})
	t.work <- func() { defer close(done); f() }
	<-done
}
